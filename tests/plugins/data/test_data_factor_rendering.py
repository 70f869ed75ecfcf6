"""Images that are made from the values of their factors are those of the data set."""

import pickle

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from reading import build, refused_by

from seqvae_core.loading import collate
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.images.factors_config import (
    MPI3D,
    Digits,
    DSprites,
    MPI3DMulti,
    Shapes3D,
    ThreeDots,
)

DOTS = ThreeDots(count=6, valid=2, test=5)
SIZES = (4, 2, 2, 1, 3, 2, 3)  # of a small MPI3D
GRID = (1, 3, 2, 4, 2, 3)  # of a small dSprites
HUES = ([0, 0.1, 0.2], [0, 0.1], [0, 0.1], [0.75, 1.25], [0, 1, 2, 3], [-30, 0, 30])


def pixels(count, *shape, high=256):
    return np.random.default_rng(0).integers(0, high, (count, *shape), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a small file of each published layout."""
    path = tmp_path_factory.mktemp("factors")
    classes = np.indices(GRID).reshape(6, -1).T
    order = np.random.default_rng(1).permutation(len(classes))  # rows need not be in order
    np.savez(
        path / "dsprites.npz",
        imgs=pixels(144, 8, 8, high=2),
        latents_classes=classes[order],
        latents_values=classes[order] / 7,
    )
    np.savez(path / "mpi3d.npz", images=pixels(288, 8, 8, 3))
    return path


@pytest.fixture(scope="module")
def hdf5(folder):
    h5py = pytest.importorskip("h5py")
    labels = np.stack([v.ravel() for v in np.meshgrid(*HUES, indexing="ij")], 1)
    with h5py.File(folder / "3dshapes.h5", "w") as file:
        file["images"], file["labels"] = pixels(288, 8, 8, 3), labels
    return folder / "3dshapes.h5"


def values_of(splits, item):
    """Return the values of an item's factors: the text of a class is the value."""
    return [int(splits.classes[name][item[name]]) for name in splits.factors.sizes]


def shown_again(splits):
    """Tell whether the labels of each item render that very item, alone and together."""
    for part in (splits.train, splits.test):
        items = [part[i] for i in range(min(len(part), 40))]
        values = np.array([values_of(splits, item) for item in items])
        x = splits.factors.render(values)
        assert x.dtype == torch.float32
        assert torch.equal(x, torch.stack([item["x"] for item in items]))
        assert torch.equal(splits.factors.render(values[:1]), x[:1])
    return True


def test_the_labels_of_three_dots_render_the_item():
    splits = build(DOTS, 3)
    assert shown_again(splits)
    assert list(splits.factors.sizes.values()) == [64] * 6
    assert splits.factors.ordered == set(splits.factors.sizes)


@pytest.mark.parametrize("normalise", [False, True])
def test_the_labels_of_a_file_s_images_render_the_item(folder, normalise):
    # the last image of a part may show what no other does: its classes come behind the others
    split = SplitConfig(valid=0, test=0.4)
    for config, ordered in (
        (DSprites(path=folder / "dsprites.npz"), {"scale", "orientation", "pos_x", "pos_y"}),
        (MPI3D(path=folder / "mpi3d.npz", sizes=SIZES),
         {"object_size", "camera_height", "horizontal_axis", "vertical_axis"}),
    ):  # fmt: skip
        splits = build(evolve(config, split=split, normalise=normalise))
        assert shown_again(splits)
        assert splits.factors.ordered == ordered


def test_values_stay_those_of_the_file_where_a_class_is_held_out(folder):
    """Label 2 is then the first of the file's three shapes."""
    split = SplitConfig(valid=0, label="shape", pattern="0")
    splits = build(DSprites(path=folder / "dsprites.npz", split=split))
    assert splits.classes["shape"] == ("1", "2", "0")
    assert shown_again(splits)


def test_the_labels_of_a_mosaic_render_the_item(folder):
    config = MPI3DMulti(path=folder / "mpi3d.npz", sizes=SIZES, count=6, valid=1, test=4)
    splits = build(config)
    assert shown_again(splits)
    assert list(splits.factors.sizes.values()) == [2, 3] * 4
    assert splits.factors.ordered == set(splits.factors.sizes)


@pytest.mark.parametrize("normalise", [False, True])
def test_the_labels_of_3d_shapes_render_the_item(hdf5, normalise):
    splits = build(Shapes3D(path=hdf5, normalise=normalise))
    assert shown_again(splits)
    assert splits.factors.ordered == set(splits.factors.sizes) - {"shape"}
    assert list(splits.factors.sizes.values()) == [3, 2, 2, 2, 4, 3]


def test_labels_that_are_numbers_leave_the_factors_as_they_are(folder, hdf5):
    for config in (DSprites(path=folder / "dsprites.npz"), Shapes3D(path=hdf5)):
        classes, numbers = build(config), build(evolve(config, factors="numbers"))
        assert numbers.factors.sizes == classes.factors.sizes
        values = np.array([[*map(int, np.array(list(classes.factors.sizes.values())) - 1)]])
        assert torch.equal(numbers.factors.render(values), classes.factors.render(values))


@given(
    values=st.lists(st.lists(st.integers(0, 63), min_size=6, max_size=6), min_size=1, max_size=3)
)
def test_three_dots_can_be_made_of_any_factors(values):
    x = build(DOTS).factors.render(np.array(values))
    assert x.shape == (len(values), 1, 1, 64, 64)
    assert collate(list(x)).x.shape == x.shape


def test_factors_that_do_not_exist_are_refused_in_one_line(folder):
    mosaics = MPI3DMulti(path=folder / "mpi3d.npz", sizes=SIZES, count=3, valid=0, test=2)
    for config in (DSprites(path=folder / "dsprites.npz"), mosaics):
        splits = build(config)
        name, size = next(iter(splits.factors.sizes.items()))
        good = np.zeros((2, len(splits.factors.sizes)), int)
        for bad, said in (
            (good[:, 1:], r"expected integer factors of shape \(N, "),
            (good.astype(float), "expected integer factors of shape"),
            (good - 1, rf"expected factor '{name}' in 0\.\.{size - 1}, got -1\.\.-1"),
            (good + size, f"expected factor '{name}'"),
        ):
            refused_by(lambda: splits.factors.render(bad), said)  # noqa: B023


def test_images_that_are_no_full_grid_of_factors_cannot_be_made_anew(tmp_path):
    classes = np.indices(GRID).reshape(6, -1).T
    for kept in (classes[:-1], np.concatenate([classes[1:], classes[1:2]])):
        path = tmp_path / f"{len(kept)}.npz"
        count = len(kept)
        np.savez(path, imgs=pixels(count, 8, 8, high=2), latents_classes=kept)
        assert build(DSprites(path=path)).factors is None
    assert build(Digits()).factors is None


def test_the_stand_in_of_dsprites_can_be_made_anew(shared_data):
    path = shared_data / "dsprites_standin" / "dsprites_ndarray_co1sh3sc6or10x8y8_64x64.npz"
    splits = build(DSprites(path=path, cache=CacheConfig(keep=False)))
    assert dict(splits.factors.sizes) == {
        "shape": 3, "scale": 6, "orientation": 10, "pos_x": 8, "pos_y": 8,
    }  # fmt: skip
    assert shown_again(splits)


def test_what_renders_can_be_handed_to_another_process(folder):
    splits = build(MPI3D(path=folder / "mpi3d.npz", sizes=SIZES))
    values = np.zeros((1, 7), int)
    again = pickle.loads(pickle.dumps(splits.factors.render))
    assert torch.equal(again(values), splits.factors.render(values))
