"""The convolutional networks of published image VAEs, from settings alone, layer by layer."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal
from torch import nn

from seqvae_basics import config
from seqvae_basics.distributions import bounded
from seqvae_core import sources
from seqvae_core.config import converter, structure_component
from seqvae_core.errors import ConfigError, ShapeError
from seqvae_core.experiment import ModelConfig
from seqvae_core.model import build_model
from seqvae_core.records import Batch, Shapes, Variable
from seqvae_core.testing import check_component

Z = Variable(name="z", scope="global", shape=(3,))
S = Variable(name="s", scope="local", shape=(2,))


class Cut(nn.Module):
    """What is left of an image without its last row and column."""

    def forward(self, x):
        return x[..., :-1, :-1]


def of_dots(channels):
    """Write out features, heads and decoder for 64×64 pixels, as Rhodes and Lee (2021) have them.

    Their transposed convolutions have no padding and are cropped afterwards, like TensorFlow's
    "same": by one on each side for kernel 4 and stride 2.
    """
    features = nn.Sequential(
        nn.Conv2d(channels, 32, 4, 2), nn.ReLU(), nn.Conv2d(32, 32, 4, 2), nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 4, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 256), nn.ReLU(),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(10, 256), nn.ReLU(), nn.Linear(256, 1024), nn.ReLU(),
        nn.Unflatten(1, (64, 4, 4)),
        nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(32, channels, 4, 2, 1), nn.Sigmoid(),
    )  # fmt: skip
    return features, nn.Linear(256, 10), nn.Linear(256, 10), decoder


def of_patches(channels):
    """Write out the same for 16×16 pixels; kernel 3 and stride 2 are cropped at the far end."""
    features = nn.Sequential(
        nn.Conv2d(channels, 64, 3, 2), nn.ReLU(), nn.Conv2d(64, 128, 3, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(128 * 3 * 3, 128), nn.ReLU(),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 1024), nn.ReLU(),
        nn.Unflatten(1, (64, 4, 4)),
        nn.ConvTranspose2d(64, 64, 3, 2), nn.ReLU(), Cut(),
        nn.ConvTranspose2d(64, 32, 3, 2), nn.ReLU(), Cut(),
        nn.ConvTranspose2d(32, channels, 3, 1, 1), nn.Sigmoid(),
    )  # fmt: skip
    return features, nn.Linear(128, 10), nn.Linear(128, 10), decoder


# preset, its frame, the published network, the parameters of encoder and decoder
PUBLISHED = [
    ("three-dots-beta-vae", (1, 64, 64), of_dots, 186_324, 381_313),
    ("mpi3d-multi-jl1", (3, 64, 64), of_dots, 187_348, 382_339),
    ("natural-patches-jl1", (1, 16, 16), of_patches, 224_660, 189_185),
]


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def model_of(plugins, preset, frame):
    data = sources.read(preset, plugins, [])["model"]
    return build_model(converter(plugins).structure(data, ModelConfig), Shapes(frame=frame), 0)


@torch.no_grad()
def copied(weights, module):
    """Copy weights to those of a module, whose shapes must be the same, one by one."""
    weights, own = list(weights), list(module.parameters())
    assert [w.shape for w in weights] == [w.shape for w in own]
    for weight, target in zip(weights, own, strict=True):
        target.copy_(weight)


@pytest.mark.parametrize(("preset", "frame", "published", "encoding", "decoding"), PUBLISHED)
def test_a_preset_is_the_published_network(plugins, preset, frame, published, encoding, decoding):
    model = model_of(plugins, preset, frame).double()
    features, mean, logvar, decoder = (module.double() for module in published(frame[0]))
    copied(model.backbone.parameters(), features)
    copied(model.decoder.parameters(), decoder)
    heads = [p.chunk(2) for p in model.encoder.global_heads["z"].linear.parameters()]
    for half, module in enumerate((mean, logvar)):
        copied([both[half] for both in heads], module)

    assert count(model.backbone, model.encoder) == count(features, mean, logvar) == encoding
    assert count(model.decoder, model.likelihood, model.priors) == count(decoder) == decoding
    assert not list(model.likelihood.parameters())

    x = torch.sigmoid(normal(0, 3, 1, *frame))
    out = model.output(Batch.of(x))
    posterior = out.latents["z"].posterior
    inner = features(x[:, 0])
    torch.testing.assert_close(posterior.mean, mean(inner), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(posterior.logvar, bounded(logvar(inner)), rtol=1e-10, atol=1e-12)
    expected = decoder(posterior.mean)[:, None]
    torch.testing.assert_close(out.likelihood.mean, expected, rtol=1e-10, atol=1e-12)


def test_a_bias_of_minus_3_starts_the_log_variance_at_minus_2_94(plugins):
    model = model_of(plugins, "three-dots-beta-vae", (1, 64, 64))
    head = model.encoder.global_heads["z"]
    assert head.linear.bias[10:].tolist() == [-3.0] * 10
    logvar = head(torch.zeros(256)).logvar.tolist()
    assert logvar == pytest.approx([12.0 * math.tanh(-0.25)] * 10)
    assert logvar == pytest.approx([-2.94] * 10, abs=5e-3)


# Encoder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0.0, 7.0, math.nan])
def test_a_global_latent_is_read_off_the_mean_over_real_frames_a_local_one_off_its_frame(padding):
    shapes = Shapes(frame=(4,), latents={"s": S, "z": Z}, features=4)
    encoder = config.FeedForward().build(shapes).double()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    features = normal(0, 2, 3, 4)
    features[0, 2] = padding
    found = {}
    encoder(features, mask, lambda name, posterior: found.setdefault(name, posterior).mean)

    assert list(found) == ["z", "s"]
    means = torch.stack([features[0, :2].mean(0), features[1].mean(0)])
    torch.testing.assert_close(found["z"].mean, encoder.global_heads["z"](means).mean)
    local = encoder.local_heads["s"](features)
    torch.testing.assert_close(found["s"].logvar[mask], local.logvar[mask])
    assert torch.isfinite(found["s"].mean).all()


def test_the_feedforward_encoder_refuses_an_unknown_family():
    latents = {"z": Variable(name="z", scope="global", shape=(3,), family="gumbel")}
    with pytest.raises(ConfigError, match="unknown family 'gumbel' of latent 'z'"):
        config.FeedForward().build(Shapes(frame=(4,), latents=latents, features=4))


# Convolutions ------------------------------------------------------------------------------------


@given(
    kernel=st.integers(1, 5),
    padding=st.integers(0, 2),
    channels=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    side=st.integers(1, 20),
)
def test_the_backbone_fits_any_image_that_its_convolutions_leave_something_of(
    kernel, padding, channels, side
):
    made = config.Conv2d(channels=tuple(channels), kernel=kernel, padding=padding, hidden=5)
    sides = [side]
    for _ in channels:
        sides.append((sides[-1] + 2 * padding - kernel) // 2 + 1)
    if min(sides) < 1:
        with pytest.raises(ShapeError, match="leaves nothing of frames"):
            made.build(Shapes(frame=(1, side, 20)))
    else:
        backbone = made.build(Shapes(frame=(1, side, 20)))
        x, mask = torch.zeros(2, 3, 1, side, 20), torch.ones(2, 3, dtype=torch.bool)
        assert backbone(x, mask).shape == (2, 3, 5)


@given(data=st.data(), kernel=st.integers(1, 5), output=st.sampled_from(["features", "frame"]))
def test_each_transposed_convolution_multiplies_the_grid_and_is_cropped_at_the_far_end(
    data, kernel, output
):
    layers = 1 + (output == "frame")
    strides = data.draw(st.tuples(*[st.integers(1, kernel)] * layers))
    height, width = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    made = config.Framewise(
        hidden=(4,), network="deconv", channels=(2,), kernel=kernel, strides=strides, output=output
    )
    decoder = made.build(Shapes(frame=(3, height, width), latents={"z": Z})).double()
    z = normal(0, 2, 3)
    decoded, _ = decoder({"z": z})
    assert decoder.decoded == ((3 if output == "frame" else 2), height, width)
    assert decoded.shape == (2, 1, *decoder.decoded)

    expected = nn.Sequential(*decoder.layers[:5])(z)
    convolutions = [m for m in decoder.layers if isinstance(m, nn.ConvTranspose2d)]
    for layer, stride in zip(convolutions, strides, strict=True):
        sides = [side * stride for side in expected.shape[2:]]
        near = (kernel - stride) // 2
        full = nn.functional.conv_transpose2d(expected, layer.weight, layer.bias, stride)
        expected = full[..., near : near + sides[0], near : near + sides[1]]
        if layer is not convolutions[-1] or output == "features":
            expected = torch.relu(expected)
    torch.testing.assert_close(decoded[:, 0], expected[..., :height, :width])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": 1}, "'kernel' must be >= the largest stride: 1"),
        ({"strides": [2]}, r"'strides' must be 2 numbers: \[2\]"),
        ({"strides": [2, 2], "output": "frame"}, r"'strides' must be 3 numbers: \[2, 2\]"),
        ({"strides": [2, 5]}, "'kernel' must be >= the largest stride: 4"),
        ({"strides": [2, 0]}, "'strides' must be >= 1: 0"),
        ({"network": "mlp", "output": "frame"}, "must be features unless 'network' is deconv"),
    ],
)
def test_transposed_convolutions_that_do_not_fit_are_refused(basics, settings, message):
    data = {"name": "framewise", "network": "deconv", **settings}
    with pytest.raises(ConfigError, match=message):
        structure_component("decoder", data, basics)


# Likelihoods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [(3,), (2, 6, 5)])
@pytest.mark.parametrize(
    "made",
    [
        config.BernoulliLikelihood(head="none"),
        *(config.GaussianLikelihood(head="none", scale=scale)
          for scale in ("fixed", "learned", "network")),
    ],
)  # fmt: skip
def test_a_likelihood_without_a_head_keeps_its_contract_and_takes_features_as_they_are(made, frame):
    shapes = Shapes(frame=frame, decoded=frame)
    check_component(made, shapes=shapes)
    features = normal(0, 2, 3, *frame)
    mean = made.build(shapes).double()(features).mean
    expected = torch.sigmoid(features) if made.name == "bernoulli" else features
    torch.testing.assert_close(mean, expected)


@pytest.mark.parametrize("decoded", [(6,), (2, 5, 7), (1, 5, 6)])
@pytest.mark.parametrize("kind", [config.BernoulliLikelihood, config.GaussianLikelihood])
def test_a_likelihood_without_a_head_refuses_features_of_another_shape(kind, decoded):
    with pytest.raises(ShapeError, match=r"head 'none' expects features of the frame's shape"):
        kind(head="none").build(Shapes(frame=(1, 5, 7), decoded=decoded))
