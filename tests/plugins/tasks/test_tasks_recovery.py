"""What a linear reader finds of x in features that are known."""

from itertools import product

import numpy as np
import pytest
import torch
from attrs import evolve
from factors import copying
from mirror import padded, splits
from torch import nn

from seqvae_basics.config import GaussianLikelihood, Identity, StandardNormal
from seqvae_basics.distributions import Gaussian
from seqvae_core.components import Decoder, Encoder
from seqvae_core.functional import masked_mean
from seqvae_core.model import SeqVAE, seeded
from seqvae_core.records import Noise, Shapes, Splits, Variable
from seqvae_tasks.config_generation import Recovery
from seqvae_tasks.recovery import Map, offsets

Z = Variable(name="z", scope="global", shape=(2,))


class Mean(Encoder):
    """z is the mean over time of the first two numbers of a frame."""

    def __init__(self):
        super().__init__()
        self.logvar = nn.Parameter(torch.zeros(2))

    def forward(self, features, mask, draw):
        draw("z", Gaussian(masked_mean(features[..., :2], mask), self.logvar))


class Moved(Decoder):
    """Its feature h is x, moved on in time or along the rows of a grid."""

    autoregressive = True

    def __init__(self, frame, shift):
        super().__init__()
        self.axis, self.shift = 1 if len(frame) == 1 else 4, shift
        self.decoded, self.local_features = frame, {"h": frame}

    def forward(self, latents, x=None):
        moved = x.roll(self.shift, self.axis)
        return x, {"h": moved.index_fill(self.axis, torch.arange(self.shift), 0.0)}


def model_of(frame, shift):
    """Return a model with z and the feature h."""
    with seeded(0, "weights"):
        shapes = Shapes(frame=frame, latents={"z": Z})
        backbone, decoder = Identity().build(shapes), Moved(frame, shift)
        h = Variable(name="h", scope="local", shape=frame, family="feature")
        shapes = evolve(shapes, decoded=frame, latents={"z": Z, "h": h})
        priors = {"z": StandardNormal().build(evolve(shapes, target="z"))}
        likelihood = GaussianLikelihood().build(shapes)
        return SeqVAE(backbone, Mean(), priors, decoder, likelihood, shapes)


def white(frame, length=1, count=150):
    """Return sequences of white noise, of two lengths if they are long."""
    generator = torch.Generator().manual_seed(0)
    items = [
        {"x": torch.randn(max(1, length - index % 2), *frame, generator=generator)}
        for index in range(2 * count)
    ]
    return Splits(train=items[:count], valid=[], test=items[count:])


def run(model, data, seed=0, **settings):
    config = Recovery(**{"resamples": 20, **settings})
    return config.build(model.shapes)(model, data, Noise(seed))


# Known answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "expected"), [(0, (1.0, 0.0, 1.0)), (1, (0.0, 0.9, 0.9)), (2, (0.0, 0.0, 0.0))]
)
@pytest.mark.parametrize(("frame", "length"), [((4,), 10), ((1, 5, 10), 1)])
def test_a_feature_that_is_x_moved_on_is_read_where_it_has_come_to(frame, length, shift, expected):
    """Of ten places of white noise in a row the last has nothing after it."""
    metrics = run(model_of(frame, shift), white(frame, length)).metrics
    found = [metrics[f"h/{name} place"] for name in ("own", "next")]
    assert [*found, metrics["h/neighbourhood"]] == pytest.approx(expected, abs=0.05)


def test_a_wider_neighbourhood_sees_what_has_moved_further():
    metrics = run(model_of((4,), 2), white((4,), 10), radius=2).metrics
    assert metrics["h/neighbourhood"] == pytest.approx(0.8, abs=0.05)
    assert metrics["h/next place"] < 0.05


def test_z_is_read_off_for_each_frame_and_what_is_not_in_it_is_not():
    """z holds two of four channels, which hardly vary within a sequence, and s_t the others."""
    metrics = run(copying(), splits(train=60, test=60)).metrics
    frames = np.concatenate([item["x"].numpy() for item in splits(train=60, test=60).test])
    share = frames[:, :2].var(0).sum() / frames.var(0).sum()
    assert metrics["z/whole sequence"] == pytest.approx(share, abs=0.05)
    assert metrics["s/own place"] == pytest.approx(1.0 - share, abs=0.05)
    everything = run(copying(whole=True), splits(train=60, test=60)).metrics
    assert everything["s/own place"] == pytest.approx(1.0, abs=0.01)


def test_the_mean_of_each_pixel_is_no_recovery():
    """Pictures that differ from pixel to pixel and hardly among one another."""
    data = white((1, 3, 10))
    pattern = 5.0 * torch.arange(30.0).reshape(1, 1, 3, 10)
    parts = [[{"x": item["x"] + pattern} for item in part] for part in (data.train, data.test)]
    metrics = run(model_of((1, 3, 10), 2), Splits(train=parts[0], valid=[], test=parts[1])).metrics
    for name in ("h/own place", "h/neighbourhood", "z/whole sequence"):
        assert metrics[name] < 0.15


# The task ----------------------------------------------------------------------------------------


def test_the_table_has_every_latent_trained_and_untrained_and_the_mean_of_x():
    result = run(copying(), splits(train=12, test=12))
    rows = [(row["variable"], row["reads"]) for row in result.tables["x recovered"]]
    local = ("own place", "next place", "neighbourhood")
    expected = [("mean of x", "nothing")]
    for prefix in ("", "untrained "):
        expected += [(f"{prefix}z", "whole sequence"), *product([f"{prefix}s"], local)]
    assert rows == expected
    assert {f"{name}/{reading}" for name, reading in expected[1:]} <= result.metrics.keys()


def test_what_stands_in_the_padding_changes_nothing():
    data, found = splits(train=18, test=12, spread=2.0), []
    for junk in (float("nan"), 7.0):
        parts = [padded(part, junk) for part in (data.train, data.test)]
        found.append(run(copying(), Splits(train=parts[0], valid=[], test=parts[1])).metrics)
    assert found[0] == found[1] == run(copying(), data).metrics


@pytest.mark.parametrize("junk", [0.0, 7.0, float("nan")])
@pytest.mark.parametrize("more", [0, 3])
def test_a_map_is_centred_by_its_real_places_whatever_stands_beside_them(junk, more):
    values, valid = np.full((3, 2, 1, 4 + more), junk), np.zeros((3, 1, 4 + more), dtype=bool)
    values[:, :, 0, :4], valid[:, 0, :4] = 1.0 + np.arange(3)[:, None, None], True
    held_out = np.array([False, False, True])
    plain = Map(
        inputs=values, x=values, valid=valid, owner=np.arange(3), held_out=held_out, pixels=False
    )
    found = plain.centred()
    for each in (found.inputs, found.x):
        assert each[:, 0, 0, 0].tolist() == [-0.5, 0.5, 1.5]
        assert not each[:, :, 0, 4:].any()


def test_the_score_is_of_the_test_part():
    """Whose sequences of one frame have no next place, unlike those that were fitted."""
    data = Splits(train=white((4,), 10).train, valid=[], test=white((4,), 1).test)
    metrics = run(model_of((4,), 1), data).metrics
    assert metrics["h/next place"] == pytest.approx(0.0, abs=0.05)


def test_the_result_depends_on_the_noise_alone_and_lies_in_its_interval():
    settings = {"sequences": 10, "places": 30}
    first, second = (run(copying(), splits(spread=1.0), seed=3, **settings) for _ in range(2))
    assert first.metrics == second.metrics
    other = run(copying(), splits(spread=1.0), seed=4, **settings)
    assert other.metrics != first.metrics
    for name in [name for name in first.metrics if f"{name}/low" in first.metrics]:
        assert first.metrics[f"{name}/low"] <= first.metrics[name]
        assert first.metrics[f"{name}/high"] >= first.metrics[name]


def test_large_pictures_are_recovered_on_a_coarse_grid_unless_there_is_a_map_of_pixels():
    frame = (3, 32, 32)
    data = white(frame, count=8)
    maps = run(model_of(frame, 1), data, places=200)
    assert not any("averaged over blocks" in note for note in maps.notes)
    frames = model_of(frame, 1)
    del frames.shapes.latents["h"]
    assert any("at 16 × 16 pixels" in note for note in run(frames, data).notes)


def test_data_that_do_not_vary_have_no_number():
    still = [{"x": torch.ones(3, 4)} for _ in range(4)]
    result = run(model_of((4,), 1), Splits(train=still, valid=[], test=still))
    assert result.metrics == {}


def test_neighbours_in_time_lie_in_one_row():
    assert offsets(1, pixels=False) == [(0, -1), (0, 0), (0, 1)]
    assert len(offsets(2, pixels=True)) == 25
