"""What the penalty refuses, warns of, computes and keeps in memory within a model."""

import math
import warnings

import pytest
import torch
from attrs import evolve
from torch import nn

from seqvae_basics.autoregressive_config import CategoricalLikelihood, CausalConv
from seqvae_basics.config import BernoulliLikelihood, Framewise, GaussianLikelihood
from seqvae_core.config import structure_component
from seqvae_core.errors import ConfigError
from seqvae_core.experiment import KLConfig
from seqvae_core.objective import Objective
from seqvae_core.records import Noise, Shapes, Variable
from seqvae_core.testing import small_batch, small_model, small_shapes
from seqvae_jacobian.config import JacobianL1, JacobianL2
from seqvae_jacobian.layers import has_kinks

ELU = Framewise(hidden=(6,), activation="elu")
RELU = Framewise(hidden=(6,), activation="relu")
FORWARD = JacobianL1(method="forward")


def made(decoder=ELU, likelihood=None, *, frame=(3,), dtype=torch.float64):
    """Return a small model with z and s, and its output of five sequences."""
    likelihood = likelihood or BernoulliLikelihood()
    model = small_model(small_shapes(frame=frame), decoder=decoder, likelihood=likelihood)
    model = model.to(dtype)
    return model, output(model)


def output(model):
    """Return the model's output of five sequences."""
    return model(small_batch(model.shapes), Noise(0)).term("jacobian")


def decodes(model, config, out):
    """Return how many rows each decode of one evaluation of the term has."""
    rows = []
    handle = model.decoder.register_forward_hook(lambda _, __, made: rows.append(len(made[0])))
    term = config.build(model.shapes)(out)
    handle.remove()
    return rows, term


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "complaint"),
    [
        ("epsilon", 0.0, "'epsilon' must be > 0"),
        ("epsilon", math.inf, "'epsilon' must be < inf"),
        ("columns", -1, "'columns' must be >= 0"),
        ("rows", -1, "'rows' must be >= 0"),
        ("chunk", 0, "'chunk' must be >= 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(setting, value, complaint, plugins):
    with pytest.raises(ConfigError, match=complaint):
        structure_component("regularizer", {"name": "jacobian-l2", setting: value}, plugins)


@pytest.mark.parametrize("given", ["w", "h"])
def test_a_latent_that_no_decoder_reads_is_refused_with_those_that_it_does(given):
    shapes = small_shapes()
    feature = Variable(name="h", scope="local", shape=(4,), family="feature")
    shapes = evolve(shapes, latents={**shapes.latents, "h": feature})
    with pytest.raises(ConfigError) as caught:
        JacobianL1(latent=given).build(shapes)
    assert str(caught.value) == (
        f"jacobian-l1 expects a latent in 'latent', got '{given}'; the model has: z, s"
    )


@pytest.mark.parametrize("names", [("a", "b"), ()])
def test_without_a_single_global_latent_one_must_be_named(names):
    latents = {name: Variable(name=name, scope="global", shape=(2,)) for name in names}
    latents["s"] = Variable(name="s", scope="local", shape=(2,))
    with pytest.raises(ConfigError, match="expects one global latent, or 'latent'; the model has"):
        JacobianL2().build(Shapes(frame=(3,), latents=latents))


def test_a_categorical_latent_has_no_columns():
    shapes = small_shapes()
    c = Variable(name="c", scope="global", shape=(3,), family="gumbel-categorical")
    shapes = evolve(shapes, latents={**shapes.latents, "c": c})
    with pytest.raises(
        ConfigError, match=r"a latent of numbers in 'latent', got 'c', which is cat"
    ):
        JacobianL1(latent="c").build(shapes)
    assert JacobianL1().build(shapes).latent == "z"


# Layers ------------------------------------------------------------------------------------------


def with_layer(layer):
    """Return a model whose decoder has one more layer, and its output."""
    model, _ = made()
    model.decoder.layers.append(layer)
    return model, output(model)


@pytest.mark.parametrize("method", ["finite-difference", "forward"])
def test_batch_norm_is_refused_in_training_and_welcome_after_it(method):
    config = JacobianL1(method=method)
    model, out = with_layer(nn.BatchNorm1d(6, dtype=torch.float64))
    with pytest.raises(ConfigError) as caught:
        config.build(model.shapes)(out)
    assert str(caught.value) == (
        "jacobian-l1 expects a decoder without batch normalisation in training, which couples the "
        "rows of a batch, got BatchNorm1d 'layers.2' in FramewiseDecoder"
    )
    model.eval()
    assert bool((config.build(model.shapes)(output(model)) > 0.0).all())


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.AlphaDropout(0.1), nn.RReLU()])
def test_dropout_is_refused_in_training_and_welcome_after_it(layer):
    model, out = with_layer(layer)
    with pytest.raises(ConfigError, match=r"without dropout in training, .* 'layers\.2' in"):
        JacobianL1().build(model.shapes)(out)
    model.eval()
    assert bool((JacobianL1().build(model.shapes)(output(model)) > 0.0).all())


@pytest.mark.parametrize(
    "normalised", [nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm]
)
def test_spectral_norm_is_refused_in_training_and_welcome_after_it(normalised):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the older of the two
        model, out = with_layer(normalised(nn.Linear(6, 6, dtype=torch.float64)))
    with pytest.raises(ConfigError, match="without spectral normalisation in training"):
        JacobianL1().build(model.shapes)(out)
    model.eval()
    assert bool((JacobianL1().build(model.shapes)(output(model)) > 0.0).all())


def test_dropout_that_drops_nothing_is_welcome():
    model, out = with_layer(nn.Dropout(0.0))
    assert bool((JacobianL1().build(model.shapes)(out) > 0.0).all())


def test_forward_mode_is_refused_where_jvp_does_not_pass():
    model, out = made()
    model.decoder.differentiable_forward = False
    with pytest.raises(ConfigError) as caught:
        FORWARD.build(model.shapes)(out)
    assert str(caught.value) == (
        'jacobian-l1 with method = "forward" expects a decoder that jvp passes through, got '
        'FramewiseDecoder; use method = "finite-difference"'
    )
    assert bool((JacobianL1().build(model.shapes)(out) > 0.0).all())


@pytest.mark.parametrize("config", [JacobianL1(), FORWARD, JacobianL1(through_encoder=True)])
def test_a_likelihood_whose_mean_has_no_derivative_is_refused(config, monkeypatch):
    model, _ = made()
    kind = type(output(model).likelihood)
    monkeypatch.setattr(kind, "mean", property(lambda self: self.logits.detach().round()))
    with pytest.raises(ConfigError, match=r"mean can be differentiated, got Bernoulli$"):
        config.build(model.shapes)(output(model))


@pytest.mark.parametrize("likelihood", [CategoricalLikelihood(levels=3), GaussianLikelihood()])
@pytest.mark.parametrize("method", ["finite-difference", "forward"])
def test_the_mean_of_any_likelihood_that_has_one_will_do(likelihood, method):
    model, out = made(likelihood=likelihood)
    exact = JacobianL1(columns=0, method="forward").build(model.shapes)(out)
    found = JacobianL1(columns=0, method=method, epsilon=1e-6).build(model.shapes)(out)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-8)


def test_of_an_autoregressive_decoder_the_frames_before_are_held_fixed():
    decoder = CausalConv(channels=4, dilations=(1,), feature="h", hidden=(5,))
    model, out = made(decoder)
    for latent in ("z", "s"):
        config = JacobianL1(columns=0, latent=latent, epsilon=1e-6)
        exact = evolve(config, method="forward").build(model.shapes)(out)
        torch.testing.assert_close(config.build(model.shapes)(out), exact, rtol=1e-4, atol=1e-8)
        assert bool((exact > 0.0).all())


# The warnings ------------------------------------------------------------------------------------


def test_forward_mode_through_kinks_warns_once_that_its_gradient_is_biased():
    model, out = made(RELU)
    term = FORWARD.build(model.shapes)
    with pytest.warns(UserWarning, match="biased gradient"):
        term(out)
    term(out)  # another warning would be an error


@pytest.mark.parametrize(
    "layer",
    [nn.LeakyReLU(), nn.ReLU6(), nn.SELU(), nn.ELU(0.5), nn.Hardsigmoid(), nn.Hardswish(),
     nn.Threshold(0.1, 0.0), nn.Softshrink(), nn.MaxPool2d(2), nn.AdaptiveMaxPool1d(2),
     nn.RNN(2, 2, nonlinearity="relu"), nn.RNNCell(2, 2, nonlinearity="relu")],
    ids=repr,
)  # fmt: skip
def test_a_layer_whose_slope_jumps_has_kinks(layer):
    assert has_kinks([nn.Sequential(nn.Linear(2, 2), layer)])


@pytest.mark.parametrize(
    "layer",
    [nn.ELU(), nn.CELU(2.0), nn.GELU(), nn.SiLU(), nn.Tanh(), nn.Softplus(), nn.RNN(2, 2),
     nn.GRU(2, 2), nn.AvgPool2d(2)],
    ids=repr,
)  # fmt: skip
def test_a_layer_whose_slope_is_continuous_has_none(layer):
    assert not has_kinks([nn.Sequential(nn.Linear(2, 2), layer)])


@pytest.mark.parametrize(("config", "decoder"), [(FORWARD, ELU), (JacobianL1(), RELU)])
def test_smooth_decoders_and_finite_differences_give_no_such_warning(config, decoder):
    model, out = made(decoder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        config.build(model.shapes)(out)


def test_a_step_below_what_float32_resolves_warns_once():
    model, out = made(RELU, dtype=torch.float32)
    term = JacobianL1(epsilon=1e-6).build(model.shapes)
    with pytest.warns(UserWarning, match="epsilon = 1e-06 is lost in the rounding of float32"):
        term(out)
    term(out)  # another warning would be an error


# Cost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (JacobianL1(), [5]),
        (JacobianL1(chunk=2), [2, 2, 1]),
        (JacobianL1(columns=0), [15]),
        (JacobianL1(columns=0, chunk=10), [9, 6]),
        (JacobianL1(columns=2, chunk=10), [10]),
        (JacobianL1(columns=0, chunk=2), [2, 1] * 5),
        (JacobianL1(rows=4), [4]),
        (JacobianL1(rows=2), [2, 2]),
        (JacobianL1(columns=0, latent="s"), [10]),
        (JacobianL1(columns=2, through_encoder=True, rows=2), [4]),
    ],
)
def test_no_decode_is_larger_than_a_chunk_and_the_base_is_the_reconstructions(config, expected):
    model, out = made()
    assert decodes(model, config, out)[0] == expected


def test_without_gradients_the_value_is_the_same_and_nothing_else_is_computed():
    model, out = made()
    for method in ("finite-difference", "forward"):
        config = JacobianL1(columns=0, chunk=9, method=method)
        value = config.build(model.shapes)(out)
        with torch.no_grad():
            rows, alone = decodes(model, config, output(model))
        assert not alone.requires_grad
        assert len(rows) == 2
        torch.testing.assert_close(alone, value.detach())


@pytest.mark.parametrize("method", ["finite-difference", "forward"])
def test_frozen_parts_leave_a_value_without_gradient(method):
    model, _ = made()
    for part in (model.decoder, model.likelihood):
        part.requires_grad_(False)
    config = JacobianL1(method=method)
    value = config.build(model.shapes)(output(model))
    assert not value.requires_grad
    assert bool((value > 0.0).all())


@pytest.mark.parametrize("method", ["finite-difference", "forward"])
def test_a_part_that_is_half_frozen_trains_its_other_half(method):
    model, _ = made(likelihood=GaussianLikelihood())
    model.decoder.requires_grad_(False)
    config = JacobianL1(columns=0, method=method)
    config.build(model.shapes)(output(model)).mean().backward()
    assert bool(model.likelihood.mean.layer.weight.grad.any())
    model.likelihood.mean.requires_grad_(False)
    assert not config.build(model.shapes)(output(model)).requires_grad  # σ alone is trained


# Training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        JacobianL1(weight=30.0),
        JacobianL1(weight=30.0, rows=2, columns=2),
        JacobianL2(weight=300.0),
        evolve(FORWARD, weight=30.0),
    ],
)
def test_training_by_it_makes_the_jacobian_small(config):
    model, out = made()
    exact = evolve(config, columns=0, rows=0, method="forward").build(model.shapes)
    before = float(exact(out).detach().mean())
    objective = Objective({"z": KLConfig()}, {"j": config}, {"j": config.build(model.shapes)})
    optimizer, noise = torch.optim.Adam(model.parameters(), 0.02), Noise(0)
    for step in range(40):
        optimizer.zero_grad()
        objective(model(small_batch(model.shapes), noise), step).total.mean().backward()
        optimizer.step()
    assert float(exact(output(model)).detach().mean()) < 0.3 * before


@pytest.mark.parametrize(
    ("config", "tolerance"),
    [
        (JacobianL1(columns=0, chunk=4), 0.2),
        (JacobianL1(rows=2), 0.3),
        (evolve(FORWARD, columns=0, chunk=4), 0.02),
    ],
)
def test_under_autocast_value_and_gradient_are_float32_and_as_near_as_bfloat16_allows(
    config, tolerance
):
    model, _ = made(dtype=torch.float32)
    found = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            value = config.build(model.shapes)(output(model))
            value.mean().backward()
        found.append((value.detach(), model.likelihood.head.layer.weight.grad.clone()))
    for exact, narrow in zip(*found, strict=True):
        assert narrow.dtype == torch.float32
        assert float((narrow - exact).norm()) < tolerance * float(exact.norm())
