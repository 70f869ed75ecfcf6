"""Patches of whitened natural images, from files of the published layout."""

import json

import numpy as np
import pytest
import torch
from attrs import evolve
from reading import build, refused
from scipy.io import savemat

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.images.config import Olshausen

PARTS = ("train", "valid", "test")


def numbered(images=5, height=40, width=32):
    """Return images whose numbers are all different and say where they are."""
    count = images * height * width
    return np.arange(count, dtype=float).reshape(images, height, width).transpose(1, 2, 0) - 100.0


def patches(splits):
    return [(part, item) for part in PARTS for item in getattr(splits, part)]


@pytest.fixture
def config(tmp_path):
    savemat(tmp_path / "IMAGES.mat", {"IMAGES": numbered()})
    return Olshausen(path=tmp_path / "IMAGES.mat", count=40, valid=6, test=10)


def test_a_patch_is_a_piece_of_the_image_that_its_label_names(config):
    images = numbered()
    low, high = images.min(), images.max()
    splits = build(config)
    assert [len(getattr(splits, part)) for part in PARTS] == [40, 6, 10]
    for _, item in patches(splits):
        assert item["x"].shape == (1, 1, 16, 16)
        first = round(float(item["x"][0, 0, 0, 0]) * (high - low))
        number, rest = divmod(first, 40 * 32)
        top, left = divmod(rest, 32)
        piece = images[top : top + 16, left : left + 16, number]
        np.testing.assert_array_equal(
            item["x"][0, 0].numpy(), ((piece - low) / (high - low)).astype(np.float32)
        )
        assert item["image"] == number


def test_no_patch_of_valid_or_test_shows_an_image_of_train(config):
    splits = build(config)
    seen = {part: {item["image"] for item in getattr(splits, part)} for part in PARTS}
    assert seen == {"train": {0, 1, 2}, "valid": {3}, "test": {4}}
    assert splits.classes == {"image": ("0", "1", "2", "3", "4")}
    shapes = data_shapes(splits)
    assert shapes.frame == (1, 16, 16)
    assert shapes.labels["image"].scope == "global"


def test_all_images_together_reach_from_0_to_1(tmp_path):
    images = np.zeros((16, 16, 3))
    images[3, 4, 0], images[5, 6, 2] = -2.0, 6.0
    savemat(tmp_path / "IMAGES.mat", {"IMAGES": images})
    splits = build(Olshausen(path=tmp_path / "IMAGES.mat", count=1, valid=1, test=1))
    train, valid, test = (getattr(splits, part)[0]["x"] for part in PARTS)
    assert (train.min(), train.max()) == (0.0, 0.25)
    assert valid.unique().tolist() == [0.25]
    assert (test.min(), test.max()) == (0.25, 1.0)


def test_places_are_drawn_from_corner_to_corner(config):
    x = torch.stack([item["x"] for item in build(evolve(config, count=20_000)).train])
    first = (x[:, 0, 0, 0, 0].double() * (5 * 40 * 32 - 1)).round().long()
    top, left = first % (40 * 32) // 32, first % 32
    assert top.unique().tolist() == list(range(40 - 15))
    assert left.unique().tolist() == list(range(32 - 15))


def test_a_patch_is_a_function_of_the_seed_and_its_index_alone(config):
    one, more = build(config, 3), build(evolve(config, count=70, valid=0, test=30), 3)
    for part in ("train", "test"):
        few, many = getattr(one, part), getattr(more, part)
        assert all(torch.equal(few[i]["x"], many[i]["x"]) for i in range(len(few)))
    other = build(config, 4)
    assert not all(torch.equal(one.train[i]["x"], other.train[i]["x"]) for i in range(40))


def test_a_run_goes_on_with_the_same_images_and_refuses_others(config):
    fitted = json.loads(json.dumps(dict(build(config).fitted)))
    assert torch.equal(build(config, 0, fitted).test[0]["x"], build(config).test[0]["x"])
    savemat(config.path, {"IMAGES": 2.0 * numbered()})
    with pytest.raises(DataError, match=r"the data do not fit the run: range is \[-200\.0, "):
        build(config, 0, fitted)


def test_the_published_shape_is_read(tmp_path):
    images = np.random.default_rng(0).normal(size=(512, 512, 10)).astype(np.float32)
    savemat(tmp_path / "IMAGES.mat", {"IMAGES": images})
    splits = build(Olshausen(path=tmp_path / "IMAGES.mat"))
    assert [len(getattr(splits, part)) for part in PARTS] == [100_000, 2_000, 10_000]
    assert {int(image) for image in splits.train.examples.labels["image"]} == set(range(10))


def test_olshausen_keeps_its_contract(config):
    check_component(config)
    check_component(evolve(config, valid=0))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"IMAGESr": numbered()}, "IMAGES.mat: expected a variable 'IMAGES', got IMAGESr"),
        ({"a": {"b": 1.0}}, "expected a variable 'IMAGES', got none"),
        ({"IMAGES": numbered(2)}, r"floats \(512, 512, 10\), got float64 \(40, 32, 2\)"),
        ({"IMAGES": numbered(width=15)}, r"got float64 \(40, 15, 5\)"),
        ({"IMAGES": np.eye(20)}, r"got float64 \(20, 20\)"),
        ({"IMAGES": numbered().astype(np.int32)}, "got int32"),
        ({"IMAGES": np.full((16, 16, 3), np.nan)}, "768 of 768 values are NaN or infinite"),
        ({"IMAGES": np.ones((16, 16, 3))}, "all numbers of 'IMAGES' are 1"),
    ],
)
def test_other_files_are_refused_by_name(config, arrays, said):
    savemat(config.path, arrays)
    assert str(config.path) in refused(config, said)


def test_a_missing_or_damaged_file_is_refused_by_name(config):
    config.path.write_bytes(config.path.read_bytes()[:500])
    assert str(config.path) in refused(config, "is a damaged MATLAB file")
    config.path.unlink()
    assert str(config.path) in refused(config, "cannot be read: No such file")


@pytest.mark.parametrize("settings", [{"count": 0}, {"test": 0}, {"valid": -1}])
def test_parts_of_no_patches_are_refused(config, settings):
    with pytest.raises(ValueError, match="must be >="):
        evolve(config, **settings)


def test_nothing_is_read_before_the_data_set_is_built(tmp_path):
    made = Olshausen(path=tmp_path / "none.mat")
    with pytest.raises(DataError, match=r"none\.mat"):
        made.build(DataRequest())
