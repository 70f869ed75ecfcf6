"""Whole models with an autoregressive decoder: drawing, learning, and CMI over the local map."""

import pytest
import torch
from strategies import normal

from seqvae_core.config import structure_component
from seqvae_core.errors import ShapeError
from seqvae_core.noise import Noise
from seqvae_core.records import Batch

IMAGE, GLOBAL = (2, 4, 5), {"z": {"scope": "global", "dim": 3, "prior": "standard-normal"}}
PIXELS = {
    "name": "pixelcnn", "channels": 4, "blocks": 2, "first_kernel": 3, "hidden": [8],
}  # fmt: skip
STEPS = {"name": "causal-conv", "channels": 8, "dilations": [1, 2], "hidden": [8]}
LIKELIHOODS = [
    "bernoulli",
    "categorical",
    "discretised-logistic-mixture",
    {"name": "gaussian", "scale": "learned"},
    {"name": "gaussian", "scale": "network"},
]


@pytest.fixture
def images(build):
    """Return a function that builds a PixelCNN-VAE of small images."""

    def model(frame=IMAGE, likelihood="bernoulli", **changes):
        decoder = PIXELS | changes
        return build(frame=frame, latents=GLOBAL, decoder=decoder, likelihood=likelihood)

    return model


def binary(seed, *shape):
    return (normal(seed, *shape) > 0.0).double()


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=str)
@pytest.mark.parametrize(("decoder", "frame"), [(PIXELS, IMAGE), (STEPS, (3,)), (STEPS, IMAGE)])
def test_every_likelihood_trains_and_draws_in_its_support(build, decoder, frame, likelihood):
    model = build(frame=frame, latents=GLOBAL, decoder=decoder, likelihood=likelihood)
    out = model(Batch.of(binary(0, 3, 4, *frame)), Noise(0))
    out.likelihood.log_prob(out.batch.x).sum().backward()
    drawn = model.generate(3, torch.tensor([4, 1, 2]), noise=Noise(1))
    assert drawn.shape == (3, 4, *frame)
    assert not drawn[1, 1:].any()
    assert model.generate(3, torch.tensor([4, 1, 2]), noise=Noise(1)).equal(drawn)
    if not isinstance(likelihood, dict):
        assert model.likelihood.support(drawn, Noise(0)).equal(drawn)


@pytest.mark.parametrize(("decoder", "frame"), [(PIXELS, IMAGE), (STEPS, (3,))])
def test_longer_sequences_begin_with_the_same_draws(build, decoder, frame):
    model = build(frame=frame, latents=GLOBAL, decoder=decoder, likelihood="bernoulli")
    z = {"z": normal(0, 2, 3)}
    short, long = (
        model.decode(z, mask=torch.ones(2, frames, dtype=torch.bool), noise=Noise(0))
        for frames in (2, 5)
    )
    assert long[:, :2].equal(short)


def test_a_mask_wider_than_all_sequences_leaves_zeros(images):
    mask = torch.tensor([[True, True, False], [True, False, False]])
    drawn = images().decode({"z": normal(0, 2, 3)}, mask=mask)
    assert drawn.shape == (2, 3, *IMAGE)
    assert drawn.flatten(2).any(2).equal(mask)


def test_a_swapped_latent_is_drawn_from(images):
    model = images()
    a, b = (Batch.of(binary(seed, 2, 1, *IMAGE)) for seed in (0, 1))
    swapped = model.swap(a, b, "z", noise=Noise(3))
    assert swapped.equal(model.decode(model.encode(b), noise=Noise(3)))


def test_a_local_feature_may_not_take_a_latents_name(build):
    with pytest.raises(
        ShapeError, match="'s' is both a latent and a local feature of decoder 'causal-conv'"
    ):
        build(decoder=STEPS)


def test_images_in_which_each_pixel_repeats_the_one_before_are_learned(images):
    """Fixed seeds; from ln 2 each, only the first pixel of a row keeps its nats."""
    model = images(frame=(1, 2, 5), channels=8, blocks=1)
    x = binary(0, 32, 1, 1, 2, 1).expand(-1, -1, -1, -1, 5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for step in range(40):
        out = model(Batch.of(x), Noise(step))
        loss = -out.likelihood.log_prob(x).mean(0)[0, 0]
        optimizer.zero_grad()
        (loss.sum() + out.latents["z"].kl().mean()).backward()
        optimizer.step()
    assert (loss[:, 1:] < 0.1).all()
    drawn = model.generate(50, noise=Noise(0))
    assert (drawn[..., 1:] == drawn[..., :-1]).double().mean() > 0.95


@pytest.mark.parametrize("critic", ["conv", "location"])
@pytest.mark.parametrize("narrow", [None, 2])
def test_cmi_reaches_the_encoder_and_the_trunk_and_not_the_head(images, plugins, critic, narrow):
    model = images(feature_channels=narrow)
    data = {"name": "cmi", "local": "s", "critic": {"name": critic, "width": 6}}
    term = structure_component("regularizer", data, plugins).build(model.shapes).double()
    out = model(Batch.of(binary(0, 4, 2, *IMAGE)), Noise(0))
    loss = term.critic(out.term("cmi"))
    value = term(out.term("cmi"))
    assert value.shape == (4,)
    value.sum().backward()
    reached = {
        name: p.grad is not None and bool(p.grad.any()) for name, p in model.named_parameters()
    }
    head = ("decoder.layers", "likelihood")
    assert [name for name in reached if not reached[name]] == [
        name for name in reached if name.startswith(head)
    ]
    assert loss.isfinite()


def test_cmi_takes_the_trunk_of_a_sequence_too(build, plugins):
    model = build(latents=GLOBAL, decoder=STEPS, likelihood="bernoulli")
    data = {"name": "cmi", "critic": {"name": "conv", "width": 6}}
    term = structure_component("regularizer", data, plugins).build(model.shapes).double()
    mask = torch.arange(5) < torch.tensor([5, 2, 1])[:, None]
    out = model(Batch.of(binary(0, 3, 5, 3), mask=mask), Noise(0))
    assert out.latents["s"].sample.shape == (3, 5, 8)
    assert not out.latents["s"].sample[~mask].any()
    assert term(out.term("cmi")).isfinite().all()
