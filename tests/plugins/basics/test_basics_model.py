"""The parts within a whole model: padding, gradients, shapes, precision."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks, normal, seeds

from seqvae_core.functional import masked_sum
from seqvae_core.model import SeqVAE
from seqvae_core.records import Batch, Noise

IMAGE = (2, 5, 6)
PARTS = {
    "gru": {"encoder": {"name": "dsae-factorised", "hidden": 6}},
    "lstm": {"encoder": {"name": "dsae-factorised", "rnn": "lstm", "hidden": 6, "layers": 2}},
    "conv": {"encoder": {"name": "dsae-factorised", "rnn": "conv", "hidden": 6, "layers": 3}},
    "full-gru": {"encoder": {"name": "dsae-full", "hidden": 6}},
    "full-lstm": {"encoder": {"name": "dsae-full", "rnn": "lstm", "hidden": 6}},
    "full-conv": {"encoder": {"name": "dsae-full", "rnn": "conv", "hidden": 6, "layers": 2}},
    "mlp": {"backbone": {"name": "mlp", "hidden": [8, 5], "activation": "gelu"}},
    "conv1d": {"backbone": {"name": "conv1d", "channels": [8, 5], "kernel": 3}},
    "conv2d": {
        "frame": IMAGE,
        "backbone": {"name": "conv2d", "channels": [3, 4], "hidden": 8},
        "decoder": {"name": "framewise", "hidden": [7], "network": "deconv", "channels": [4, 3]},
        "likelihood": {"name": "gaussian", "scale": "network", "sigma": 0.5},
    },
    "fixed": {"frame": IMAGE, "likelihood": {"name": "gaussian", "scale": "fixed", "sigma": 0.1}},
    "lstm-prior": {
        "latents": {
            "s": {
                "scope": "local",
                "dim": 3,
                "prior": {"name": "autoregressive-gaussian", "rnn": "lstm", "hidden": 5},
            }
        }
    },
    "global-only": {"latents": {"z": {"scope": "global", "dim": 3, "prior": "standard-normal"}}},
    "many": {
        "latents": {
            "s": {"scope": "local", "dim": 2, "prior": "standard-normal"},
            "z": {"scope": "global", "dim": 3, "prior": "standard-normal"},
            "y": {"scope": "global", "dim": 1, "prior": "standard-normal"},
            "t": {"scope": "local", "dim": 1, "prior": "standard-normal"},
        },
        "encoder": {"name": "dsae-full", "hidden": 6},
    },
}
parts = pytest.mark.parametrize("name", PARTS)


def terms(model: SeqVAE, batch: Batch, seed: int) -> dict[str, torch.Tensor]:
    """Return every (B,) term of the loss, and the gradient of their sum by parameter."""
    model.zero_grad()
    out = model(batch, Noise(seed))
    found = {"nll": -masked_sum(out.likelihood.log_prob(out.batch.x), batch.mask)}
    found |= {name: latent.kl() for name, latent in out.latents.items()}
    sum(found.values()).sum().backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    return {name: value.detach() for name, value in found.items()} | grads


@parts
@given(mask=masks(), seed=seeds, fill=st.sampled_from([float("nan"), float("inf"), 1e30]))
def test_what_stands_in_the_padding_changes_no_bit(build, name, mask, seed, fill):
    model = build(**PARTS[name])
    x = normal(seed, *mask.shape, *model.shapes.frame)
    spoilt = torch.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, fill)
    one, two = (terms(model, Batch.of(value, mask=mask), seed) for value in (x, spoilt))
    for key in one:
        assert one[key].equal(two[key]), key


@parts
@given(mask=masks(), seed=seeds, more=st.integers(1, 9))
def test_how_much_padding_there_is_changes_next_to_nothing(build, name, mask, seed, more):
    model = build(**PARTS[name])
    x = normal(seed, *mask.shape, *model.shapes.frame)
    longer = Batch(
        torch.cat([x, x.new_zeros(len(x), more, *x.shape[2:])], 1),
        torch.cat([mask, mask.new_zeros(len(x), more)], 1),
    )
    one, two = terms(model, Batch(x, mask), seed), terms(model, longer, seed)
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-6, atol=1e-9)


@parts
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_any_number_of_frames_and_rows_trains_and_generates(build, name, frames, rows):
    model = build(**PARTS[name])
    x = normal(0, rows, frames, *model.shapes.frame)
    found = terms(model, Batch.of(x), 0)
    assert all(torch.isfinite(value).all() for value in found.values())
    assert found["nll"].shape == (rows,)
    lengths = torch.arange(rows) % frames + 1
    generated = model.generate(rows, lengths, noise=Noise(1))
    assert generated.shape == (rows, int(lengths.max()), *model.shapes.frame)
    assert torch.isfinite(generated).all()


@parts
def test_every_parameter_gets_a_gradient(build, name):
    model = build(**PARTS[name])
    terms(model, Batch.of(normal(0, 5, 7, *model.shapes.frame)), 0)
    still = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@parts
def test_weights_survive_a_state_dict(build, name):
    model, other = build(**PARTS[name]), build(**PARTS[name], seed=1)
    batch = Batch.of(normal(0, 2, 4, *model.shapes.frame))
    other.load_state_dict(model.state_dict())
    assert terms(model, batch, 0)["nll"].equal(terms(other, batch, 0)["nll"])


@parts
def test_rows_of_a_batch_do_not_meet(build, name):
    model = build(**PARTS[name])
    x = normal(0, 4, 5, *model.shapes.frame)
    order = torch.tensor([2, 0, 3, 1])
    one, two = model.encode(Batch.of(x)), model.encode(Batch.of(x[order]))
    for key in one:
        torch.testing.assert_close(one[key][order], two[key])


def test_encoding_is_deterministic_and_gives_posterior_means(build):
    model = build()
    x = Batch.of(normal(0, 3, 5, 3))
    one, two = model.encode(x), model.encode(x)
    assert all(one[key].equal(two[key]) for key in one)
    assert one["z"].equal(model.output(x).latents["z"].posterior.mean)
    assert not model.encode(x, noise=Noise(0))["z"].equal(one["z"])


@pytest.mark.parametrize("name", ["gru", "lstm", "conv", "full-gru"])
def test_every_valid_frame_reaches_both_latents_and_no_other_does(build, name):
    model = build(**PARTS[name])
    x = normal(0, 1, 6, 3).requires_grad_()
    mask = (torch.arange(6) < 4)[None]
    latents = model(Batch.of(x, mask=mask), Noise(0)).latents
    for latent in (latents["z"].sample.sum(), latents["s"].sample[:, 1].sum()):
        (grad,) = torch.autograd.grad(latent, x, retain_graph=True)
        assert grad[0].any(1).tolist() == [True, True, True, True, False, False]


def test_full_posteriors_read_the_very_sample_and_factorised_ones_none(build):
    for encoder, expected in (("dsae-full", True), ("dsae-factorised", False)):
        model = build(encoder={"name": encoder, "hidden": 6})
        seen = {}

        def draw(name, posterior, seen=seen):
            seen[name] = posterior.mean.detach() + len(seen)
            seen[name].requires_grad_()
            seen[name + "_mean"] = posterior.mean
            return seen[name]

        model.encoder(normal(0, 2, 3, 3), torch.ones(2, 3, dtype=torch.bool), draw)
        local = seen["s_mean"].sum()
        (grad,) = torch.autograd.grad(local, seen["z"], allow_unused=True)
        assert (grad is not None and bool(grad.all())) is expected


@pytest.mark.parametrize("name", ["gru", "lstm", "conv", "full-lstm", "conv2d", "many"])
def test_likelihoods_and_divergences_are_float32_under_autocast(build, name):
    model = build(**PARTS[name]).float()
    batch = Batch.of(torch.randn(3, 5, *model.shapes.frame))
    with torch.autocast("cpu", torch.bfloat16):
        out = model(batch, Noise(0))
    assert out.likelihood.log_prob(out.batch.x).dtype == torch.float32
    for latent in out.latents.values():
        assert latent.sample.dtype == latent.kl().dtype == torch.float32
