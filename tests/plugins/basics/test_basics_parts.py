"""Each part by itself: its contract, its settings, its errors."""

import copy
import math
import pickle

import pytest
import torch
from attrs import evolve
from hypothesis import given
from strategies import normal, seeds

from seqvae_basics import autoregressive_config, config
from seqvae_core.components import KINDS
from seqvae_core.config import plain, structure_component
from seqvae_core.errors import ConfigError, DataError, ShapeError
from seqvae_core.records import Noise, Shapes, Variable
from seqvae_core.testing.strategies import components

Z = Variable(name="z", scope="global", shape=(3,))
S = Variable(name="s", scope="local", shape=(2,))
SHAPES = Shapes(frame=(4,), latents={"z": Z, "s": S}, features=4, decoded=(6,))
LATENTS = {"z": normal(0, 2, 3), "s": normal(1, 2, 5, 2)}
CLASSES = [
    config.Identity, config.MLP, config.Conv1d, config.Conv2d,
    config.DSAEFactorised, config.DSAEFull, config.FeedForward,
    config.StandardNormal, config.AutoregressiveGaussian,
    config.Framewise, config.GaussianLikelihood, config.BernoulliLikelihood,
    autoregressive_config.PixelCNN, autoregressive_config.CausalConv,
    autoregressive_config.CategoricalLikelihood, autoregressive_config.DiscretisedLogisticMixture,
]  # fmt: skip


# Settings ----------------------------------------------------------------------------------------


def test_every_class_is_provided_under_its_kind(basics):
    provided = [c for kind in KINDS for c in basics.components(kind).values()]
    assert sorted(c.name for c in provided) == sorted(c.name for c in CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
def test_settings_survive_plain_data_pickle_and_hash(basics, kind):
    @given(components(kind, basics))
    def check(made):
        assert structure_component(kind.kind, plain(made), basics) == made
        assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
        assert hash(made) == hash(evolve(made))

    check()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (config.DSAEFull, {"hidden": 0}, "'hidden' must be >= 1: 0"),
        (config.DSAEFull, {"kernel": 4}, "'kernel' must be odd and >= 1: 4"),
        (config.Conv1d, {"kernel": 0}, "'kernel' must be odd and >= 1: 0"),
        (config.Framewise, {"hidden": [8, 0]}, "'hidden' must be >= 1: 0"),
        (config.GaussianLikelihood, {"sigma": 0.0}, "'sigma' must be >= 0.003: 0.0"),
        (config.GaussianLikelihood, {"scale": "loose"}, "expected one of learned, scalar, network"),
    ],
)
def test_settings_out_of_range_are_refused(basics, kind, settings, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        structure_component(kind.kind, {"name": kind.name} | settings, basics)


# Encoders ----------------------------------------------------------------------------------------


def test_an_unknown_family_is_refused_with_the_latent_and_the_known_ones():
    shapes = evolve(SHAPES, latents={"z": evolve(Z, family="gumbel")})
    with pytest.raises(
        ConfigError, match="unknown family 'gumbel' of latent 'z'; known: gaussian,"
    ):
        config.DSAEFactorised().build(shapes)


def test_no_network_is_built_for_a_scope_without_latents():
    build = config.DSAEFull(hidden=3).build
    both, local, global_ = (
        {key.split(".")[0] for key, _ in build(evolve(SHAPES, latents=chosen)).named_parameters()}
        for chosen in ({"z": Z, "s": S}, {"s": S}, {"z": Z})
    )
    assert both == {"global_network", "global_heads", "local_network", "local_heads"}
    assert local == {"local_network", "local_heads"}
    assert global_ == {"global_network", "global_heads"}


# Priors ------------------------------------------------------------------------------------------


def prior_of(made, target="s", **shapes):
    return made.build(evolve(SHAPES, target=target, **shapes)).double()


@pytest.mark.parametrize("rnn", ["gru", "lstm"])
def test_step_t_of_the_prior_sees_all_samples_before_t_alone(rnn):
    prior = prior_of(config.AutoregressiveGaussian(rnn=rnn, hidden=4))
    sample = normal(0, 1, 6, 2).requires_grad_()
    p = prior(sample, torch.ones(1, 6, dtype=torch.bool))
    for t in range(6):
        step = p.mean[0, t].sum() + p.logvar[0, t].sum()
        (grad,) = torch.autograd.grad(step, sample, retain_graph=True)
        assert grad[0].any(1).tolist() == [earlier < t for earlier in range(6)]


@pytest.mark.parametrize("rnn", ["gru", "lstm"])
@given(seed=seeds)
def test_free_running_draws_are_from_the_teacher_forced_prior_at_these_draws(rnn, seed):
    prior = prior_of(config.AutoregressiveGaussian(rnn=rnn, hidden=4))
    drawn = prior.sample(3, torch.tensor([4, 2, 5]), Noise(seed))
    assert drawn.shape == (3, 5, 2)
    forced = prior(drawn, torch.ones(3, 5, dtype=torch.bool))
    noise = Noise(seed)
    eps = torch.cat([noise.normal(drawn[:, :1]) for _ in range(5)], 1)
    torch.testing.assert_close(forced.mean + torch.exp(0.5 * forced.logvar) * eps, drawn)


@pytest.mark.parametrize("made", [config.AutoregressiveGaussian(), config.StandardNormal()])
def test_draws_of_longer_sequences_begin_with_the_same_numbers(made):
    prior = prior_of(made)
    short, long = (prior.sample(2, torch.tensor([n, 1]), Noise(3)) for n in (3, 6))
    torch.testing.assert_close(long[:, :3], short)


@pytest.mark.parametrize(
    ("target", "shape", "expected"),
    [("z", (3,), (2, 3)), ("s", (2,), (2, 5, 2)), ("s", (2, 3, 4), (2, 5, 2, 3, 4))],
)
def test_the_standard_normal_takes_any_scope_and_shape(target, shape, expected):
    latents = {target: evolve(SHAPES.latents[target], shape=shape)}
    prior = prior_of(config.StandardNormal(), target, latents=latents)
    drawn = prior.sample(2, torch.tensor([5, 3]), Noise(0))
    assert drawn.shape == expected
    p = prior(drawn, torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(
        p.log_prob(drawn), torch.distributions.Normal(0.0, 1.0).log_prob(drawn)
    )


def test_the_autoregressive_prior_refuses_a_global_latent():
    with pytest.raises(ConfigError, match="'autoregressive-gaussian' is for local latents, 'z' is"):
        prior_of(config.AutoregressiveGaussian(), "z")


# Decoder and likelihoods -------------------------------------------------------------------------

DECODERS = [
    *(
        config.Framewise(hidden=(5, 4), activation=name)
        for name in ("relu", "elu", "softplus", "gelu", "leaky-relu", "tanh")
    ),
    config.Framewise(hidden=(5,), network="deconv", channels=(3, 2), activation="elu"),
]


def decoder_of(made, latents=SHAPES.latents):
    return made.build(Shapes(frame=(1, 5, 7), latents=latents)).double()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own jvp
@pytest.mark.parametrize("made", DECODERS)
def test_jvp_and_vmap_pass_through_the_decoder(made):
    decoder = decoder_of(made)

    def decode(s):
        return decoder({"z": LATENTS["z"], "s": s})[0]

    tangent = normal(2, *LATENTS["s"].shape)
    value, push = torch.func.jvp(decode, (LATENTS["s"],), (tangent,))
    numeric = (decode(LATENTS["s"] + 1e-6 * tangent) - decode(LATENTS["s"] - 1e-6 * tangent)) / 2e-6
    torch.testing.assert_close(value, decode(LATENTS["s"]))
    torch.testing.assert_close(push, numeric, rtol=1e-4, atol=1e-6)
    several = torch.stack([LATENTS["s"], tangent])
    mapped = torch.func.vmap(decode)(several)
    torch.testing.assert_close(mapped, torch.stack([decode(s) for s in several]))


@pytest.mark.parametrize("made", DECODERS)
def test_features_have_the_declared_shape_and_frame_t_sees_step_t_alone(made):
    decoder = decoder_of(made)
    s = LATENTS["s"].clone().requires_grad_()
    features, local = decoder({"z": LATENTS["z"], "s": s})
    assert features.shape == (2, 5, *decoder.decoded)
    assert local == {}
    (grad,) = torch.autograd.grad(features[:, 2].sum(), s)
    assert not grad[:, [0, 1, 3, 4]].any()


def test_without_local_latents_frames_are_equal_and_as_many_as_those_of_x():
    decoder = decoder_of(DECODERS[0], {"z": Z})
    one, many = decoder(LATENTS)[0], decoder(LATENTS, torch.zeros(2, 4, 1, 5, 7))[0]
    assert one.shape == (2, 1, 4)
    assert many.equal(one.expand(2, 4, 4))


def test_a_deconv_needs_images():
    with pytest.raises(ShapeError, match=r"expects frames of shape \(C, H, W\), got \(4,\)"):
        config.Framewise(network="deconv").build(SHAPES)
    with pytest.raises(ShapeError, match="backbone 'conv2d' expects frames"):
        config.Conv2d().build(SHAPES)


def test_a_grid_that_is_not_the_frames_is_refused():
    with pytest.raises(ShapeError, match="cannot read frames of shape"):
        config.GaussianLikelihood().build(Shapes(frame=(1, 5, 7), decoded=(2, 5, 6)))


@pytest.mark.parametrize("scale", ["learned", "network", "fixed"])
@pytest.mark.parametrize(("frame", "decoded"), [((4,), (6,)), ((2, 3, 5), (6,)),
                                                ((2, 3, 5), (6, 3, 5))])  # fmt: skip
def test_the_gaussian_starts_near_its_sigma_and_is_fixed_only_when_asked(scale, frame, decoded):
    made = config.GaussianLikelihood(scale=scale, sigma=0.2)
    likelihood = made.build(Shapes(frame=frame, decoded=decoded)).double()
    p = likelihood(normal(0, 2, 3, *decoded))
    assert p.mean.shape == p.logvar.shape == p.log_prob(p.mean).shape == (2, 3, *frame)
    assert p.logvar.requires_grad is (scale != "fixed")
    rtol = 1e-6 if scale != "network" else 1.0
    torch.testing.assert_close(
        torch.exp(0.5 * p.logvar).mean().detach(), torch.tensor(0.2).double(), rtol=rtol, atol=0.0
    )


@pytest.mark.parametrize(("frame", "decoded"), [((4,), (6,)), ((2, 3, 5), (6, 3, 5))])
def test_one_scalar_deviation_is_trained_through_its_logarithm(frame, decoded):
    likelihood = config.GaussianLikelihood(scale="scalar", sigma=0.5).build(
        Shapes(frame=frame, decoded=decoded)
    )
    [scalar] = [value for value in likelihood.parameters() if value.ndim == 0]
    assert scalar.item() == pytest.approx(math.log(0.5), abs=0.01)  # but for the bound of ±12
    logvar = likelihood(torch.zeros(1, 1, *decoded)).logvar
    assert logvar.unique().numel() == 1
    [slope] = torch.autograd.grad(logvar.flatten()[0], scalar)
    assert slope.item() == pytest.approx(2.0, rel=0.02)


def test_dynamic_binarisation_draws_zeros_and_ones_anew_with_the_frequency_of_x():
    likelihood = config.BernoulliLikelihood(binarize="dynamic").build(SHAPES)
    x, noise = torch.tensor([0.0, 0.25, 1.0]).expand(1, 40_000, 3), Noise(0)
    one, two = likelihood.support(x, noise), likelihood.support(x, noise)
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert not one.equal(two)
    torch.testing.assert_close(one.mean(1), x[:, 0], rtol=0.0, atol=0.02)


def test_the_bernoulli_keeps_grey_values_and_refuses_what_is_no_probability():
    likelihood = config.BernoulliLikelihood().build(SHAPES)
    x = torch.rand(2, 3, 4)
    assert likelihood.support(x, Noise(0)) is x
    assert torch.isfinite(likelihood(torch.randn(2, 3, 6)).log_prob(x)).all()
    with pytest.raises(DataError, match=r"expects x within \[0, 1\], got 0 to 2"):
        likelihood.support(torch.tensor([[[0.0, 2.0]]]), Noise(0))
