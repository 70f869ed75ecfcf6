"""Files of images with known factors, made in the layout of the published ones."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from reading import build

from seqvae_core.errors import DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.images import dsprites, mpi3d, shapes3d
from seqvae_data.images.factors_config import MPI3D, DSprites, MPI3DMulti, Shapes3D

h5py = pytest.importorskip("h5py")

PARTS = ("train", "valid", "test")
SIZES = (4, 2, 2, 1, 3, 2, 3)  # of a small MPI3D


class Bomb:
    """What must never be unpickled."""

    def __reduce__(self):
        return (os.abort, ())


def items(splits):
    return [item for part in PARTS for item in getattr(splits, part)]


def refused(config, said):
    with pytest.raises(DataError, match=said) as caught:
        items(build(config))
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")


def numbered(count, channels):
    """Return images (count, 8, 8[, 3]) whose corner says which they are."""
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, *channels), np.uint8)
    flat = images.reshape(count, -1)
    flat[:, 0], flat[:, 1] = divmod(np.arange(count), 256)
    return images


def number(item):
    """Return which image an item is: bytes, as channels first."""
    high, low = item["x"].flatten().mul(255).round().int()[[0, 64 if item["x"].shape[1] > 1 else 1]]
    return int(high) * 256 + int(low)


# dSprites ----------------------------------------------------------------------------------------

GRID = (1, 3, 2, 4, 2, 3)


def sprites(**changes):
    classes = np.indices(GRID).reshape(6, -1).T
    images = np.zeros((len(classes), 8, 8), np.uint8)
    for bit in range(8):
        images[:, 0, bit] = np.arange(len(classes)) >> bit & 1
    arrays = {
        "metadata": np.array(Bomb(), dtype=object),
        "imgs": images,
        "latents_classes": classes,
        "latents_values": classes / np.maximum(np.array(GRID) - 1, 1),
    }
    return {**arrays, **changes}


@pytest.fixture
def dsprites_file(tmp_path):
    np.savez_compressed(tmp_path / "dsprites.npz", **sprites())
    return tmp_path / "dsprites.npz"


def bits(item):
    return int(sum(int(bit) << i for i, bit in enumerate(item["x"][0, 0, 0])))


def test_dsprites_keep_their_contract(dsprites_file):
    for settings in (
        {},
        {"factors": "numbers"},
        {"normalise": False, "split": SplitConfig(valid=0)},
    ):
        check_component(DSprites(path=dsprites_file, **settings))


def test_dsprites_labels_are_the_latents_of_the_image(dsprites_file):
    splits = build(DSprites(path=dsprites_file))
    classes = np.indices(GRID).reshape(6, -1)
    assert data_shapes(splits).frame == (1, 8, 8)
    assert list(splits.classes) == list(dsprites.FACTORS[1:])
    found = items(splits)
    assert sorted(map(bits, found)) == list(range(144))
    for item in found:
        row = bits(item)
        for i, name in enumerate(dsprites.FACTORS[1:], 1):
            assert splits.classes[name][item[name]] == str(classes[i, row])


def test_dsprites_values_are_numbers_on_request(dsprites_file):
    splits = build(DSprites(path=dsprites_file, factors="numbers"))
    families = {v.name: v.family for v in data_shapes(splits).labels.values()}
    assert families.pop("shape") == "class"
    assert set(families.values()) == {"number"}
    found = sorted({item["orientation"] for item in items(splits)})
    assert found == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_stand_in_of_dsprites_is_read(shared_data):
    path = shared_data / "dsprites_standin" / "dsprites_ndarray_co1sh3sc6or10x8y8_64x64.npz"
    splits = build(DSprites(path=path, split=SplitConfig(stratify="shape")))
    assert sum(len(getattr(splits, part)) for part in PARTS) == 11520
    sizes = {name: len(values) for name, values in splits.classes.items()}
    assert sizes == {"shape": 3, "scale": 6, "orientation": 10, "pos_x": 8, "pos_y": 8}
    x = splits.train[0]["x"]
    assert x.shape == (1, 1, 64, 64)
    assert set(x.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"imgs": np.zeros((144, 64), np.uint8)}, r"'imgs': expected uint8 \(N, 64, 64\), got"),
        ({"imgs": np.zeros((144, 8, 8))}, "'imgs': expected uint8"),
        ({"imgs": np.full((144, 8, 8), 255, np.uint8)}, r"row \d+: expected pixels 0 and 1"),
        ({"imgs": np.array([Bomb()] * 144)}, "'imgs': Python objects are never read"),
        ({"latents_classes": np.zeros((143, 6), int)}, r"\(144, 6\), got int64 \(143, 6\)"),
        ({"latents_classes": np.zeros((144, 6))}, "'latents_classes': expected integers"),
        ({"latents_classes": np.full((144, 6), -1)}, r"expected classes in 0\.\.255"),
        ({"latents_values": np.full((144, 6), np.nan)}, "'latents_values': has NaN"),
        ({"latents_values": np.zeros((144, 5))}, r"numbers \(144, 6\), got float64 \(144, 5\)"),
    ],
)  # fmt: skip
def test_a_wrong_dsprites_file_is_refused(tmp_path, changes, said):
    path = tmp_path / "wrong.npz"
    np.savez(path, **sprites(**changes))
    refused(DSprites(path=path, factors="numbers"), said)


def test_a_dsprites_file_without_an_array_is_refused(tmp_path):
    arrays = sprites()
    del arrays["latents_classes"]
    np.savez(tmp_path / "wrong.npz", **arrays)
    refused(DSprites(path=tmp_path / "wrong.npz"), "no array 'latents_classes'; known: imgs")


# MPI3D -------------------------------------------------------------------------------------------


@pytest.fixture
def mpi3d_file(tmp_path):
    np.savez_compressed(tmp_path / "mpi3d.npz", images=numbered(int(np.prod(SIZES)), (3,)))
    return tmp_path / "mpi3d.npz"


@given(sizes=st.lists(st.integers(1, 5), min_size=7, max_size=7))
def test_every_index_implies_factors_of_its_own(sizes):
    factors = np.stack(list(mpi3d.implied(tuple(sizes)).values()), 1)
    assert len(np.unique(factors, axis=0)) == len(factors) == np.prod(sizes)
    assert (factors < sizes).all()
    index = np.ravel_multi_index(tuple(factors.T), sizes)
    assert (index == np.arange(len(factors))).all()


def test_the_published_sizes_have_the_published_numbers_of_images():
    assert [int(np.prod(sizes)) for sizes in mpi3d.PUBLISHED] == [1_036_800, 460_800]


def test_mpi3d_keeps_its_contract(mpi3d_file):
    check_component(MPI3D(path=mpi3d_file, sizes=SIZES))
    check_component(MPI3DMulti(path=mpi3d_file, sizes=SIZES, count=6, valid=2, test=3))


def test_mpi3d_labels_are_implied_by_the_order_of_the_images(mpi3d_file):
    splits = build(MPI3D(path=mpi3d_file, sizes=SIZES))
    found = items(splits)
    assert sorted(map(number, found)) == list(range(np.prod(SIZES)))
    for item in found:
        factors = [int(splits.classes[name][item[name]]) for name in mpi3d.FACTORS]
        assert np.ravel_multi_index(factors, SIZES) == number(item)


def test_mpi3d_of_another_number_of_images_is_refused(mpi3d_file):
    refused(MPI3D(path=mpi3d_file), "expected 1036800 or 460800 images, got 288; data.sizes")
    refused(MPI3D(path=mpi3d_file, sizes=(1, 1, 1, 1, 1, 1, 2)), "expected 2 images, got 288")


def test_mpi3d_of_grey_images_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8))
    refused(
        MPI3D(path=tmp_path / "a.npz"), r"expected uint8 \(N, 64, 64, 3\), got uint8 \(4, 8, 8\)"
    )


def test_a_mosaic_shows_every_other_pixel_of_four_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (np.prod(SIZES), 8, 8, 3), np.uint8)
    np.savez(tmp_path / "mpi3d.npz", images=images)
    splits = build(MPI3DMulti(path=tmp_path / "mpi3d.npz", sizes=SIZES, count=9, valid=1, test=2))
    assert splits.classes["horizontal_3"] == ("0", "1")
    assert splits.classes["vertical_0"] == ("0", "1", "2")
    corners = {0: (0, 0), 1: (4, 0), 2: (0, 4), 3: (4, 4)}  # 1 is below 0, 2 right of it
    for item in items(splits):
        x = item["x"][0].mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        for k, (top, left) in corners.items():
            factors = (3, 1, 1, 0, 2, item[f"horizontal_{k}"], item[f"vertical_{k}"])
            image = images[np.ravel_multi_index(factors, SIZES)]
            assert np.array_equal(x[top : top + 4, left : left + 4], image[::2, ::2])


def test_a_mosaic_needs_the_fixed_factors(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((16, 8, 8, 3), np.uint8))
    config = MPI3DMulti(path=tmp_path / "a.npz", sizes=(1, 1, 1, 1, 1, 4, 4))
    refused(config, r"factors that have the values \(3, 1, 1, 0, 2\), got \(1, 1,")


# 3D Shapes ---------------------------------------------------------------------------------------

VALUES = ([0, 0.1, 0.2], [0, 0.1], [0, 0.1], [0.75, 1.25], [0, 1, 2, 3], [-30, 0, 30])


def write_shapes(path, *, blocks=(1, 8, 8, 3), **changes):
    labels = np.stack([v.ravel() for v in np.meshgrid(*VALUES, indexing="ij")], 1)
    arrays = {"images": numbered(len(labels), (3,)), "labels": labels, **changes}
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if value is not None:
                chunks = blocks if name == "images" and value.ndim == 4 else None
                gzip = {"compression": "gzip"} if chunks else {}
                file.create_dataset(name, data=value, chunks=chunks, **gzip)
    return path


@pytest.fixture
def shapes_file(tmp_path):
    return write_shapes(tmp_path / "3dshapes.h5")


def test_3d_shapes_keep_their_contract(shapes_file):
    check_component(Shapes3D(path=shapes_file, normalise=True))


@pytest.mark.parametrize("blocks", [(1, 8, 8, 3), (288, 1, 2, 1), None])
@pytest.mark.parametrize("keep", [True, False])
def test_3d_shapes_are_the_same_however_the_file_is_stored(tmp_path, blocks, keep):
    path = write_shapes(tmp_path / "3dshapes.h5", blocks=blocks)
    splits = build(Shapes3D(path=path, cache=CacheConfig(keep=keep, folder=tmp_path / "cache")))
    unpacked = list((tmp_path / "cache").rglob("*"))
    assert bool(unpacked) == (keep and blocks == (288, 1, 2, 1))
    assert not [file for file in unpacked if file.suffix == ".tmp"]
    found = items(splits)
    assert sorted(map(number, found)) == list(range(288))
    sizes = [len(values) for values in VALUES]
    for item in found:
        factors = [int(splits.classes[name][item[name]]) for name in shapes3d.FACTORS]
        assert np.ravel_multi_index(factors, sizes) == number(item)


def test_a_file_is_unpacked_once(tmp_path):
    path = write_shapes(tmp_path / "3dshapes.h5", blocks=(288, 1, 2, 1))
    config = Shapes3D(path=path, cache=CacheConfig(folder=tmp_path / "cache"))
    build(config)
    (unpacked,) = (tmp_path / "cache" / "arrays").iterdir()
    before = unpacked.stat()
    build(config)
    assert unpacked.stat().st_mtime_ns == before.st_mtime_ns
    assert np.array_equal(np.load(unpacked), numbered(288, (3,)))


def test_3d_shapes_values_are_numbers_on_request(shapes_file):
    splits = build(Shapes3D(path=shapes_file, factors="numbers"))
    found = items(splits)
    assert {item["orientation"] for item in found} == {-30.0, 0.0, 30.0}
    assert splits.classes == {"shape": ("0", "1", "2", "3")}


def test_other_processes_open_the_file_for_themselves(shapes_file):
    splits = build(Shapes3D(path=shapes_file))
    before = splits.train[0]["x"]
    assert torch.equal(pickle.loads(pickle.dumps(splits.train))[0]["x"], before)
    loader = torch.utils.data.DataLoader(splits.train, batch_size=None, num_workers=2)
    assert torch.equal(next(iter(loader))["x"], before)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": None}, r"no data set 'images' of shape \(N, 64, 64, 3\); known: labels"),
        ({"labels": None}, r"no data set 'labels' of shape \(288, 6\); known: images"),
        ({"images": np.zeros((288, 8, 8))}, r"uint8 .* got float64 \(288, 8, 8\)"),
        ({"labels": np.zeros((287, 6))}, r"expected numbers \(288, 6\), got float64 \(287, 6\)"),
        ({"labels": np.full((288, 6), np.nan)}, "'labels': has NaN or infinite values"),
        ({"labels": np.arange(1728.0).reshape(288, 6)}, "few values, got 288 of 'floor_hue'"),
    ],
)  # fmt: skip
def test_a_wrong_3d_shapes_file_is_refused(tmp_path, changes, said):
    refused(Shapes3D(path=write_shapes(tmp_path / "a.h5", **changes)), said)


# Whatever the format -----------------------------------------------------------------------------


def every(path, **settings):
    return (
        DSprites(path=path, **settings),
        MPI3D(path=path, **settings),
        MPI3DMulti(path=path, **settings),
        Shapes3D(path=path, **settings),
    )


def test_a_missing_file_is_refused_with_the_way_to_get_it(tmp_path):
    for config in every(tmp_path / "none"):
        refused(config, "no such file: .*none; data.download = true fetches ")
    refused(DSprites(), "no such file: .*downloads.dsprites.dsprites_ndarray")


@pytest.mark.parametrize("content", [b"", b"garbage" * 99, b"PK\x03\x04" + bytes(99)])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    for config in every(path):
        refused(config, f"{path}: damaged, or not ")


def test_a_file_cut_short_is_refused(dsprites_file, mpi3d_file, shapes_file):
    for path, config in (
        (dsprites_file, DSprites(path=dsprites_file)),
        (mpi3d_file, MPI3D(path=mpi3d_file, sizes=SIZES)),
        (shapes_file, Shapes3D(path=shapes_file)),
    ):
        content = path.read_bytes()
        for share in (0.3, 0.9, 0.99):
            path.write_bytes(content[: int(share * len(content))])
            refused(config, f"{path}.*damaged")


def test_damaged_blocks_are_refused_with_the_row(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (288, 8, 8, 3), np.uint8)
    for i, blocks in enumerate([(1, 8, 8, 3), (288, 1, 8, 3)]):
        path = write_shapes(tmp_path / f"{i}.h5", blocks=blocks, images=noise)
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 4000] = bytes(4000)
        path.write_bytes(content)
        refused(Shapes3D(path=path), f"{path}.*: damaged")


def test_a_damaged_member_of_an_archive_is_refused(tmp_path):
    packed = io.BytesIO()
    np.save(packed, numbered(288, (3,)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", packed.getvalue()[:-7])
    refused(MPI3D(path=tmp_path / "a.npz", sizes=SIZES), "array 'images': damaged")


def test_what_was_fitted_survives_json_and_gives_the_same_classes(shapes_file, mpi3d_file):
    for config in (Shapes3D(path=shapes_file), MPI3D(path=mpi3d_file, sizes=SIZES)):
        config = evolve(config, split=SplitConfig(label="name", pattern=r"row [0-9]"))
        splits = build(config)
        assert len(splits.test) == 10
        again = build(config, 0, json.loads(json.dumps(splits.fitted)))
        assert again.classes == splits.classes
