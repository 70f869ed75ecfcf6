"""Images with known factors that are drawn or bundled: three dots, digits, mosaics of MPI3D."""

import json

import numpy as np
import pytest
import tiny
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from reading import build

from seqvae_core.errors import DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.images.factors_config import Digits, MPI3DMulti, ThreeDots
from seqvae_data.images.three_dots import FACTORS, render

DOTS = st.lists(st.integers(0, 63), min_size=6, max_size=6)
PARTS = ("train", "valid", "test")
FEW = ThreeDots(count=12, valid=3, test=5)


# Three dots: drawing -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many():
    factors = np.random.default_rng(0).integers(0, 64, (3000, 6))
    return render(factors).astype(np.float64)


@pytest.mark.statistical
def test_the_known_numbers_of_the_data_set_are_met(many):
    """Four standard errors of each mean at 3000 images, or the page's rounding."""
    inner = many[(many > 1e-6) & (many < 1 - 1e-6)]
    entropy = -(inner * np.log(inner) + (1 - inner) * np.log1p(-inner)).sum() / len(many)

    assert many.mean() == pytest.approx(0.9446, abs=5e-4)
    assert (many == 1).mean() == pytest.approx(0.9326, abs=6e-4)
    assert (many == 0).mean() == pytest.approx(0.0442, abs=5e-4)
    assert entropy == pytest.approx(42.5, abs=0.6)


def test_one_dot_has_an_area_of_83_8_pixels():
    inside = range(6, 58)
    same = np.array([[x, y] * 3 for x, y in zip(inside, reversed(inside), strict=True)])

    assert (1 - render(same)).sum((1, 2, 3)).mean() == pytest.approx(83.8, abs=0.05)


def test_every_grey_is_a_multiple_of_a_hundredth(many):
    levels = np.unique(many)
    np.testing.assert_allclose(levels * 100, np.round(levels * 100), atol=1e-4)
    assert (levels[0], levels[-1]) == (0, 1)
    assert len(levels) > 90


@given(factors=DOTS)
def test_an_image_is_the_box_mean_of_a_canvas_on_which_the_discs_are_black(factors):
    canvas, at = np.ones((640, 640)), np.arange(640)
    for x, y in np.array(factors).reshape(3, 2) * 640 / 63:
        across, down = np.abs(at - x), np.abs(at - y)[:, None]
        nearer = [np.maximum(distance - 0.5, 0.0) for distance in (across, down)]
        canvas[(down**2 + nearer[0] ** 2 <= 51.2**2) | (nearer[1] ** 2 + across**2 <= 51.2**2)] = 0
    expected = canvas.reshape(64, 10, 64, 10).sum((1, 3)).astype(np.float32) / np.float32(100)
    assert np.array_equal(render(np.array([factors]))[0, 0], expected)


@given(factors=st.lists(DOTS, min_size=1, max_size=4))
def test_an_image_depends_on_its_own_factors_alone(factors):
    together, before = np.array(factors), np.array(factors)
    images = render(together)
    assert images.shape == (len(factors), 1, 64, 64)
    assert images.dtype == np.float32
    assert (together == before).all()
    for one, image in zip(factors, images, strict=True):
        assert np.array_equal(render(np.array([one], np.uint8))[0], image)


@given(factors=DOTS, which=st.integers(0, 5), value=st.integers(0, 63))
def test_a_factor_moves_only_pixels_near_the_dot_s_old_and_new_place(factors, which, value):
    moved = list(factors)
    moved[which] = value
    before, after = render(np.array([factors, moved]))[:, 0]
    pixels = np.arange(64) + 0.5
    near = np.zeros((64, 64), bool)
    for dots in (factors, moved):
        x, y = np.array(dots[which - which % 2 :][:2]) * 64 / 63
        near |= np.hypot(pixels[None] - x, pixels[:, None] - y) < 5.17 + 0.75
    assert np.array_equal(before[~near], after[~near])


@given(factors=DOTS, order=st.permutations(range(3)))
def test_the_dots_are_exchangeable(factors, order):
    dots = np.array(factors).reshape(3, 2)
    one, other = render(np.stack([dots, dots[order]]).reshape(2, 6))
    assert np.array_equal(one, other)


@given(factors=DOTS)
def test_x_counts_columns_and_y_rows(factors):
    swapped = np.array(factors).reshape(3, 2)[:, ::-1].reshape(1, 6)
    assert np.array_equal(render(swapped)[0, 0], render(np.array([factors]))[0, 0].T)
    x, y = 50, 10
    image = render(np.array([[x, y] * 3]))[0, 0]
    assert (image[y, x], image[x, y]) == (0, 1)


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        (np.zeros((2, 5), int), r"integer factors of shape \(N, 6\), got int64 \(2, 5\)"),
        (np.zeros((2, 6)), "integer factors of shape"),
        (np.full((1, 6), 64), r"factors in 0\.\.63, got 64\.\.64"),
        (np.full((1, 6), -1), r"factors in 0\.\.63"),
    ],
)
def test_wrong_factors_are_refused(factors, said):
    with pytest.raises(DataError, match=said):
        render(factors)


# Three dots: the data set ------------------------------------------------------------------------


def test_three_dots_keep_their_contract():
    check_component(FEW)
    check_component(ThreeDots(count=4, valid=0, test=1))


def test_labels_are_the_factors_that_the_image_shows():
    splits = build(FEW)
    assert [len(getattr(splits, part)) for part in PARTS] == [12, 3, 5]
    shapes = data_shapes(splits)
    assert shapes.frame == (1, 64, 64)
    assert {(v.scope, v.family) for v in shapes.labels.values()} == {("global", "class")}
    for part in PARTS:
        for item in getattr(splits, part):
            factors = np.array([[item[name] for name in FACTORS]])
            assert np.array_equal(render(factors), item["x"].numpy())


def test_the_class_of_a_label_is_the_factor_s_value_though_few_are_seen():
    splits = build(FEW)
    assert splits.classes == {name: tuple(map(str, range(64))) for name in FACTORS}
    again = build(FEW, 0, json.loads(json.dumps(splits.fitted)))
    assert again.classes == splits.classes


def test_an_image_is_a_function_of_the_seed_and_its_index_alone():
    one, more = build(FEW, 3), build(evolve(FEW, count=40, valid=0, test=9), 3)
    for part in ("train", "test"):
        few, many = getattr(one, part), getattr(more, part)
        assert all(torch.equal(few[i]["x"], many[i]["x"]) for i in range(len(few)))
    assert not torch.equal(build(FEW, 4).train[0]["x"], one.train[0]["x"])
    assert not torch.equal(one.train[0]["x"], one.test[0]["x"])


def test_half_a_million_images_are_not_drawn_before_they_are_asked_for():
    splits = build(ThreeDots())
    assert len(splits.train) == 500_000
    assert splits.train[499_999]["x"].shape == (1, 1, 64, 64)
    counts = np.bincount(splits.train.examples.labels["y2"], minlength=64)
    assert counts.min() > 0.95 * 512_000 / 64


# Digits ------------------------------------------------------------------------------------------


def test_digits_are_grey_images_with_a_label():
    splits = build(Digits())
    assert sum(len(getattr(splits, part)) for part in PARTS) == 1797
    assert splits.classes == {"digit": tuple("0123456789")}
    x = torch.stack([splits.train[i]["x"] for i in range(50)])
    assert x.shape[1:] == (1, 1, 8, 8)
    assert (x.min(), x.max()) == (0, 1)
    assert np.bincount([item["digit"] for item in splits.test]).min() >= 34


def test_digits_keep_their_contract():
    check_component(Digits())


# Training ----------------------------------------------------------------------------------------

EXPERIMENT = """
[data]
{data}
[model]
backbone = {{ name = "conv2d", channels = [4, 4], hidden = 8 }}
encoder = {{ name = "dsae-factorised", hidden = 4 }}
decoder = {{ name = "framewise", hidden = [8], network = "deconv", channels = [4, 4] }}
likelihood = "bernoulli"
[model.latents.z]
scope = "global"
dim = 3
prior = "standard-normal"
[train]
steps = 2
batch_size = 4
threads = 1
optimizer = {{ name = "adam", lr = 1e-3 }}
"""


@pytest.mark.parametrize(
    "data", ['name = "three-dots"\ncount = 8\nvalid = 0\ntest = 2', 'name = "sklearn-digits"']
)
def test_two_steps_are_trained(tmp_path, data):
    path = tmp_path / "toy.toml"
    path.write_text(EXPERIMENT.format(data=data))
    tiny.call("train", path, "--out", tmp_path / "run")
    assert tiny.steps_of(tmp_path / "run")[-1] == 2


@pytest.mark.parametrize(
    "settings", [{"count": 0}, {"test": 0}, {"valid": -1}, {"count": 5, "test": -3}]
)
def test_parts_of_no_images_are_refused(settings):
    with pytest.raises(ValueError, match="must be >="):
        ThreeDots(**settings)


def test_mosaics_take_sizes_of_seven_factors():
    with pytest.raises(ValueError, match="'sizes' must be 7 numbers"):
        MPI3DMulti(sizes=(2, 2))
