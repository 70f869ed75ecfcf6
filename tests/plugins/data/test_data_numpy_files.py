"""Arrays in NumPy's files: mapped when large, never unpickled, and damage of every kind."""

import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqvae_core.errors import DataError
from seqvae_data import numpy_files
from seqvae_data.config import CacheConfig
from seqvae_data.numpy_files import Archive, open_arrays, parse_npy

X = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
NAMES = np.array(["ä", "日本", "c", ""])


@pytest.fixture
def cache(tmp_path):
    return CacheConfig(folder=tmp_path / "cache")


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "data.npz", x=X, name=NAMES)
    return tmp_path / "data.npz"


def refused(said, action):
    with pytest.raises(DataError, match=said) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bomb(flag):
    """Return an array that makes the file `flag` if it is ever unpickled."""

    class Bomb:
        def __reduce__(self):
            return Path.touch, (flag,)

    array = np.empty(3, dtype=object)
    array[:] = [Bomb()] * 3
    return array


# What is there -----------------------------------------------------------------------------------


def test_an_archive_gives_its_arrays_by_name(path, cache):
    arrays = open_arrays(path, cache)

    assert sorted(arrays) == ["name", "x"]
    assert np.array_equal(arrays["x"], X)
    assert arrays["name"].tolist() == NAMES.tolist()
    assert arrays["x"] is arrays["x"]
    assert refused("no array 'y'; known: name, x", lambda: arrays["y"]).startswith(str(path))


def test_an_npy_file_is_mapped_and_named_as_asked(tmp_path, cache):
    np.save(tmp_path / "x.npy", X)

    arrays = open_arrays(tmp_path / "x.npy", cache, "frames")

    assert isinstance(arrays["frames"], np.memmap)
    assert np.array_equal(arrays["frames"], X)


@pytest.mark.parametrize(
    "array",
    [NAMES, X.astype(">f8"), np.asfortranarray(X), np.zeros((0, 3)), np.array(3.0), X > 3,
     np.zeros(3, [("a", "f4"), ("b", "U3")]), np.array([b"ab"], dtype="V2"), X * 1j,
     np.array(["2001-01-01"], dtype="M8[D]")],
    ids=lambda array: str(array.dtype),
)  # fmt: skip
@pytest.mark.parametrize("large", [False, True])
def test_every_type_but_objects_is_read_as_it_is_stored(tmp_path, cache, monkeypatch, array, large):
    np.savez(tmp_path / "data.npz", x=array)
    monkeypatch.setattr(numpy_files, "LARGE", 0 if large and array.size else 1 << 28)

    read = Archive(tmp_path / "data.npz", cache)["x"]

    assert isinstance(read, np.memmap) is bool(large and array.size)
    assert read.dtype == array.dtype
    assert np.array_equal(read, array)


# Large arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_large_array_is_unpacked_once_and_mapped(tmp_path, cache, monkeypatch, save):
    monkeypatch.setattr(numpy_files, "LARGE", 200)
    save(tmp_path / "data.npz", x=X, small=NAMES[:2])

    arrays = Archive(tmp_path / "data.npz", cache)
    assert isinstance(arrays["x"], np.memmap)
    assert not isinstance(arrays["small"], np.memmap)

    (unpacked,) = (tmp_path / "cache/arrays").iterdir()
    before = unpacked.stat().st_mtime_ns
    assert np.array_equal(Archive(tmp_path / "data.npz", cache)["x"], X)
    assert unpacked.stat().st_mtime_ns == before


def test_an_unpacked_array_that_was_cut_is_unpacked_anew(path, cache, monkeypatch):
    monkeypatch.setattr(numpy_files, "LARGE", 200)
    assert np.array_equal(Archive(path, cache)["x"], X)
    for unpacked in (cache.folder / "arrays").iterdir():
        unpacked.write_bytes(unpacked.read_bytes()[:-5])

    assert np.array_equal(Archive(path, cache)["x"], X)


def test_a_large_array_is_loaded_if_nothing_is_to_be_kept(path, cache, monkeypatch):
    monkeypatch.setattr(numpy_files, "LARGE", 0)

    array = Archive(path, CacheConfig(keep=False, folder=cache.folder))["x"]

    assert not isinstance(array, np.memmap)
    assert not cache.folder.exists()


def test_a_damaged_large_array_leaves_nothing_in_the_cache(path, cache, monkeypatch):
    monkeypatch.setattr(numpy_files, "LARGE", 0)
    path.write_bytes(path.read_bytes().replace(X[1].tobytes(), bytes(X[1].nbytes)))

    refused("data.npz, array 'x': damaged", lambda: Archive(path, cache)["x"])

    assert list((cache.folder / "arrays").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(path, cache, monkeypatch):
    monkeypatch.setattr(numpy_files, "LARGE", 0)
    cache.folder.write_text("in the way")

    refused("the cache .*/cache/arrays: ", lambda: Archive(path, cache)["x"])


# Pickles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [False, True])
def test_a_bomb_in_an_archive_is_named_and_never_goes_off(tmp_path, cache, monkeypatch, large):
    monkeypatch.setattr(numpy_files, "LARGE", 0 if large else 1 << 28)
    path, flag = tmp_path / "data.npz", tmp_path / "exploded"
    np.savez(path, x=X, notes=bomb(flag))

    arrays = open_arrays(path, cache)
    said = refused("Python objects are never read", lambda: arrays["notes"])

    assert np.array_equal(arrays["x"], X)
    assert str(path) in said or large
    assert not flag.exists()


def test_a_bomb_in_an_npy_file_or_a_bare_pickle_never_goes_off(tmp_path, cache):
    path, flag = tmp_path / "x.npy", tmp_path / "exploded"
    np.save(path, bomb(flag))
    refused(f"{path}: Python objects are never read", lambda: open_arrays(path, cache))
    path.write_bytes(pickle.dumps(bomb(flag)))
    refused(f"{path}: damaged, or not a NumPy file", lambda: open_arrays(path, cache))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", pickle.dumps(bomb(flag)))
    refused(f"{path}, array 'x': ", lambda: open_arrays(path, cache)["x"])
    assert not flag.exists()


def test_a_structure_with_an_object_inside_is_refused(tmp_path, cache):
    np.savez(tmp_path / "data.npz", x=np.zeros(2, [("a", "f4"), ("b", object)]))
    refused("array 'x': Python objects", lambda: open_arrays(tmp_path / "data.npz", cache)["x"])


# Damage ------------------------------------------------------------------------------------------


def read_all(path, cache):
    return {name: np.array(array) for name, array in open_arrays(path, cache).items()}


def read_or_one_line(path, cache):
    try:
        return read_all(path, cache)
    except DataError as error:
        said = str(error)
    assert path.name in said
    assert "\n" not in said
    return {}


@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required additional")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.booleans())
def test_a_flipped_byte_of_an_archive_changes_no_array_unnoticed(path, cache, data, packed):
    (np.savez_compressed if packed else np.savez)(path, x=X, name=NAMES)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    arrays = read_or_one_line(path, cache)

    kept = {"x": X, "name": NAMES}
    assert all(np.array_equal(array, kept[name]) for name, array in arrays.items())


@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required additional")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_byte_of_an_npy_file_raises_nothing_else(tmp_path, cache, data):
    path = tmp_path / "x.npy"
    np.save(path, X)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, 127))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    arrays = read_or_one_line(path, cache)

    assert all(array.nbytes == X.nbytes for array in arrays.values())


@pytest.mark.parametrize("name", ["data.npz", "x.npy"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.0, 0.999))
def test_a_truncated_file_is_named(tmp_path, cache, name, part):
    path = tmp_path / name
    np.savez(path, x=X) if name == "data.npz" else np.save(path, X)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])

    assert str(path) in refused("damaged", lambda: read_all(path, cache))


def test_an_npy_file_with_more_than_its_header_says_is_named(tmp_path, cache):
    np.save(tmp_path / "x.npy", X)
    with (tmp_path / "x.npy").open("ab") as file:
        file.write(b"more")
    refused("x.npy: 4 bytes more than", lambda: open_arrays(tmp_path / "x.npy", cache))


def test_a_header_that_promises_more_than_any_memory_is_refused(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846975,), }\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    refused("a.npy: damaged", lambda: parse_npy(io.BytesIO(content), tmp_path / "a.npy"))


@pytest.mark.parametrize("content", [b"", b"PK", b"junk" * 99, b"\x93NUMPY"])
def test_what_is_no_numpy_file_is_named(tmp_path, cache, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    assert str(path) in refused("damaged, or not a NumPy", lambda: open_arrays(path, cache))


def test_a_missing_file_and_a_folder_are_named(tmp_path, cache):
    missing = tmp_path / "no.npz"
    refused(f"cannot read {missing}: No such file", lambda: open_arrays(missing, cache))
    refused(f"cannot read {tmp_path}: Is a directory", lambda: open_arrays(tmp_path, cache))


def test_other_files_in_an_archive_are_no_arrays_and_none_is_written_elsewhere(
    tmp_path, cache, monkeypatch
):
    monkeypatch.setattr(numpy_files, "LARGE", 0)
    path = tmp_path / "data.npz"
    content = io.BytesIO()
    np.save(content, X)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("../../climbed.npy", content.getvalue())

    arrays = open_arrays(path, cache)

    assert list(arrays) == ["../../climbed"]
    assert np.array_equal(arrays["../../climbed"], X)
    assert not list(tmp_path.parent.rglob("climbed.npy"))


def test_no_warning_escapes_when_arrays_are_read(path, cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_all(path, cache)
