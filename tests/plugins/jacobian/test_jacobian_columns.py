"""The columns of the Jacobian: known answers of linear decoders, and when there are none."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal, seeds
from torch import nn

from seqvae_basics.config import Framewise, GaussianLikelihood
from seqvae_basics.distributions import Gaussian
from seqvae_core.components import Decoder, Likelihood
from seqvae_core.errors import ShapeError
from seqvae_core.loading import collate
from seqvae_core.records import Noise, Splits
from seqvae_core.testing.small import small_model, small_shapes, small_splits
from seqvae_jacobian.columns import Measures, measure
from seqvae_jacobian.columns_config import JacobianColumns
from seqvae_jacobian.columns_picture import draw_columns
from seqvae_jacobian.config import JacobianL1
from seqvae_tasks.derivatives import mean_columns
from seqvae_tasks.pictures import evenly

PNG = b"\x89PNG\r\n\x1a\n"
SHAPES = small_shapes(frame=(4,))
SPLITS = small_splits(SHAPES)


class Linear(Decoder):
    """Features W_z z + W_s s_t, (B, T, 4)."""

    framewise = True
    decoded = (4,)

    def __init__(self, of_z, of_s):
        super().__init__()
        self.of_z, self.of_s = nn.Parameter(of_z), nn.Parameter(of_s)

    def forward(self, latents, x=None):
        return (latents["z"] @ self.of_z.T)[:, None] + latents["s"] @ self.of_s.T, {}


class Mean(Likelihood):
    def forward(self, features):
        return Gaussian(features, torch.zeros_like(features))


def smooth():
    """Return a model in float64 whose decoder has no kinks: z of three numbers, s of two."""
    decoder = Framewise(hidden=(8,), activation="tanh")
    return small_model(SHAPES, decoder=decoder, likelihood=GaussianLikelihood()).double()


def linear(of_z, of_s):
    """Return a model in which x's mean is W_z z + W_s s_t."""
    model = smooth()
    model.decoder, model.likelihood = Linear(of_z, of_s), Mean()
    return model


def run(model, data=SPLITS, **settings):
    task = JacobianColumns(**{"resamples": 20, "pictures": 0, **settings}).build(model.shapes)
    return task(model, data, Noise(0))


def columns(model, name, **settings):
    """Return the columns at the posterior means of some sequences, and their mask."""
    out = model.output(evenly(SPLITS.test, 5))
    latents = {key: out.latents[key].sample for key in model.priors}
    return mean_columns(model, latents, out.batch.mask, name, **settings), out.batch.mask


def measured(items):
    return Measures(*np.stack([measure(np.asarray(item, dtype=float)) for item in items], 1))


def overlap_of(rows):
    """Return the weighted mean overlap of columns (D, E)."""
    found = measured([np.asarray(rows)[None]])
    return found.metrics("z", 0, 1).get("overlap/z")


def hoyer_of(column):
    found = measured([np.asarray(column)[None, None]])
    return found.metrics("z", 0, 1).get("hoyer/z")


# Columns ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forward", [True, False])
def test_the_columns_of_a_linear_decoder_are_those_of_its_matrix_in_every_real_frame(forward):
    model = linear(normal(1, 4, 3), normal(2, 4, 2))
    model.decoder.differentiable_forward = forward

    for name, matrix in (("z", model.decoder.of_z), ("s", model.decoder.of_s)):
        found, mask = columns(model, name)

        expected = mask[None, :, :, None] * matrix.detach().T[:, None, None]
        assert torch.allclose(found, expected, rtol=0.0, atol=1e-10)


def test_forward_mode_and_central_differences_agree_up_to_the_square_of_the_step():
    model = smooth()
    for name in ("z", "s"):
        model.decoder.differentiable_forward = True
        exact, _ = columns(model, name)
        model.decoder.differentiable_forward = False
        for step in (1e-2, 1e-3):
            found, _ = columns(model, name, epsilon=step)
            assert (found - exact).abs().max() < step**2


@pytest.mark.parametrize("name", ["z", "s"])
def test_the_total_is_the_value_of_the_penalty_at_the_posterior_means(name):
    model = smooth()
    out = model.output(evenly(SPLITS.test, 6))
    term = JacobianL1(latent=name, method="forward", columns=0).build(model.shapes)
    with torch.no_grad():
        expected = term(out).mean()

    found = run(model, items=6).metrics[f"l1/{name}"]

    assert found == pytest.approx(float(expected), rel=1e-10)


def test_what_stands_in_the_padding_and_how_much_there_is_changes_nothing():
    longer = [
        {"x": torch.cat([item["x"], torch.full((3, 4), math.nan)]), "length": len(item["x"])}
        for item in SPLITS.test
    ]
    padded = Splits(train=longer, valid=[], test=longer)

    plain, other = (run(smooth(), data, pictures=1, columns=1) for data in (SPLITS, padded))

    assert other.metrics == pytest.approx(plain.metrics, rel=1e-6)
    assert other.tables == plain.tables
    assert other.figures == plain.figures


# Measures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 7, 64])
def test_hoyer_is_1_for_a_single_number_0_for_equal_ones_and_falls_in_between(size):
    assert hoyer_of(np.eye(size)[0]) == pytest.approx(1.0)
    assert hoyer_of(-3.0 * np.ones(size)) == pytest.approx(0.0, abs=1e-12)
    half = np.arange(size) < size // 2
    ratio = math.sqrt(size // 2)
    expected = (math.sqrt(size) - ratio) / (math.sqrt(size) - 1.0)
    assert hoyer_of(half) == pytest.approx(expected)


def test_disjoint_supports_do_not_overlap_and_equal_columns_do_whatever_their_sign_and_size():
    a, b = [1.0, -2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 1.0]

    assert overlap_of([a, b]) == 0.0
    assert overlap_of([a, -5.0 * np.array(a)]) == pytest.approx(1.0)
    assert overlap_of([a, [1.0, 0.0, 0.0, 0.0]]) == pytest.approx(1.0 / math.sqrt(5.0))


@given(seeds, st.floats(0.1, 10.0))
def test_sparsity_and_overlap_keep_to_their_ranges_and_ignore_scale_and_order(seed, scale):
    a = normal(seed, 3, 4, 9).numpy()
    order = np.random.default_rng(seed).permutation(9)

    plain = measured([a]).metrics("z", 0, 1)
    moved = measured([scale * a[:, ::-1, order]]).metrics("z", 0, 1)

    assert 0.0 <= plain["hoyer/z"] <= 1.0
    assert 0.0 <= plain["overlap/z"] <= 1.0
    assert 1.0 <= plain["l1 per l2/z"] <= 3.0
    for key in ("hoyer/z", "overlap/z", "l1 per l2/z"):
        assert moved[key] == pytest.approx(plain[key])
    assert moved["l1/z"] == pytest.approx(scale * plain["l1/z"])


@given(seeds)
def test_a_column_of_zeros_counts_for_nothing(seed):
    a = normal(seed, 2, 3, 5).numpy()
    more = np.concatenate([a, np.zeros((2, 1, 5))], 1)

    assert measured([more]).metrics("z", 0, 1) == pytest.approx(measured([a]).metrics("z", 0, 1))


def test_the_overlap_with_others_is_weighted_by_the_product_of_norms():
    _, l2, _, overlap, pairs = measure(np.array([[[3.0, 0.0], [1.0, 0.0], [0.0, 2.0]]]))

    assert l2.tolist() == [3.0, 1.0, 2.0]
    assert overlap.tolist() == [3.0, 3.0, 0.0]
    assert pairs.tolist() == [9.0, 5.0, 8.0]


def test_what_is_nothing_over_nothing_is_left_out():
    assert measured([np.zeros((1, 3, 4))]).metrics("z", 0, 1) == {"l1/z": 0.0}
    assert overlap_of([[1.0, 2.0]]) is None
    assert hoyer_of([2.0]) is None
    [row] = measured([np.array([[[2.0]]])]).table()
    assert row == {"dimension": 0, "norm": 2.0, "L1": 2.0, "L1/L2": 1.0, "Hoyer": None,
                   "overlap": None}  # fmt: skip


# The task -----------------------------------------------------------------------------------------


def test_a_decoder_of_disjoint_columns_is_found_sparse_and_listed_by_norm():
    of_z = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    of_s = torch.ones(4, 2)

    found = run(linear(of_z.double(), of_s.double()), items=3)

    assert found.metrics["overlap/z"] == 0.0
    assert found.metrics["overlap/s"] == pytest.approx(1.0)
    assert found.metrics["hoyer/s"] == pytest.approx(0.0, abs=1e-12)
    rows = found.tables["z: columns of the Jacobian"]
    assert [row["dimension"] for row in rows] == [2, 0, 1]
    lengths = collate(SPLITS.test).lengths[[0, 7, 14]].double()
    assert rows[0]["norm"] == pytest.approx(3.0 * float(lengths.sqrt().mean()), rel=1e-3)
    assert found.metrics["l1/s"] == pytest.approx(8.0 * float(lengths.mean()))


@pytest.mark.parametrize("frame", [(4,), (1, 2, 2), (3, 4, 2)])
def test_there_is_one_picture_a_latent_of_vectors_and_of_images(frame):
    shapes = small_shapes(frame=frame)
    model = small_model(shapes, decoder=Framewise(hidden=(8,)), likelihood=GaussianLikelihood())

    found = run(model, small_splits(shapes), pictures=2, columns=2)

    assert list(found.figures) == ["z: columns of the Jacobian", "s: columns of the Jacobian"]
    assert all(content.startswith(PNG) for content in found.figures.values())


def test_of_a_video_the_first_and_the_last_frame_are_drawn():
    video = np.zeros((8, 1, 16, 16))
    video[[0, -1]] = np.random.default_rng(0).normal(size=(2, 1, 16, 16))
    ends = video[[0, -1]]

    whole, short = (draw_columns([(each, each[None])], ["z[0]"]) for each in (video, ends))

    assert whole == short


def test_only_the_latent_that_is_asked_for_is_looked_at():
    found = run(smooth(), latent="s")

    assert list(found.tables) == ["s: columns of the Jacobian"]
    with pytest.raises(ShapeError, match="no latent or local feature 'y'"):
        run(smooth(), latent="y")


def test_an_autoregressive_decoder_is_not_applicable():
    model = smooth()
    model.decoder.autoregressive = True

    found = run(model)

    assert found.metrics == {}
    assert ["autoregressive" in note for note in found.notes] == [True]


def test_a_local_latent_needs_a_framewise_decoder_and_a_global_one_does_not():
    model = smooth()
    model.decoder.framewise = False

    found = run(model)

    assert list(found.tables) == ["z: columns of the Jacobian"]
    assert any("'s'" in note and "not framewise" in note for note in found.notes)
