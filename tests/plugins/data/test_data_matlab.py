"""MATLAB's files of version 5: arrays come as SciPy reads them, and no damage ends the process."""

import io
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from seqvae_core.errors import DataError
from seqvae_data.matlab import load_mat

ARRAYS = {"data": np.arange(24.0).reshape(2, 3, 4), "labels": np.array([[1.5, 2.5], [3.5, 9.0]])}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.mat"


def written(arrays, compress=False):
    buffer = io.BytesIO()
    savemat(buffer, arrays, do_compression=compress)
    return buffer.getvalue()


def refused(path, content, said):
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        load_mat(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_of_every_type_are_those_that_scipy_reads(path, compress):
    types = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
    arrays = {f"of_{name}": np.arange(1, 7).reshape(3, 2).astype(name) for name in types}
    arrays |= {"number": np.float64(3.0), "empty": np.zeros((0, 2)), "deep": ARRAYS["data"]}
    path.write_bytes(written(arrays, compress))
    found, expected = load_mat(path), loadmat(path)
    assert found.keys() == arrays.keys()
    for name, x in found.items():
        assert x.dtype == expected[name].dtype
        np.testing.assert_array_equal(x, expected[name])


def test_numbers_that_matlab_stored_in_a_smaller_type_come_back_in_their_own(path):
    content = written({"x": np.array([[1.0, 2.0]])})
    doubles = struct.pack("<IIdd", 9, 16, 1.0, 2.0)
    bytes_ = struct.pack("<II8s", 2, 2, b"\x01\x02")
    shorter = struct.pack("<II", 14, struct.unpack("<I", content[132:136])[0] - 8)
    path.write_bytes(content[:128] + shorter + content[136:].replace(doubles, bytes_))
    x = load_mat(path)["x"]
    assert x.dtype == np.float64
    assert x.tolist() == [[1.0, 2.0]]


def test_files_of_the_other_byte_order_are_read(path):
    header = b"MATLAB 5.0".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    flags = struct.pack(">IIII", 6, 8, 6, 0)
    shape = struct.pack(">IIii", 5, 8, 1, 2)
    name = struct.pack(">HH4s", 1, 1, b"x")
    numbers = struct.pack(">IIdd", 9, 16, 1.0, 2.0)
    body = flags + shape + name + numbers
    path.write_bytes(header + struct.pack(">II", 14, len(body)) + body)
    assert load_mat(path)["x"].tolist() == [[1.0, 2.0]]


def test_what_is_no_real_array_of_numbers_is_passed_over(path):
    others = {
        "text": "abc", "cell": np.array(["x", 3], dtype=object), "struct": {"a": {"b": 1.0}},
        "complex": np.array([1.0 + 2.0j]),
    }  # fmt: skip
    path.write_bytes(written({**others, **ARRAYS}))
    assert load_mat(path).keys() == ARRAYS.keys()


def test_files_of_other_versions_are_refused_by_name(path):
    hdf5 = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM"
    refused(path, hdf5.ljust(600), "is a MATLAB v7.3 file, which is HDF5: save it by '-v7'")
    refused(path, hdf5[:124] + b"\x07\x01IM", "of version 0x0107, expected 0x0100")
    refused(path, b"\0" * 500, "is no MATLAB file of version 5")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load_mat(path.with_name("none.mat"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(
    position=st.integers(124, 700),
    content=st.binary(min_size=1, max_size=6),
    cut=st.booleans(),
    compress=st.booleans(),
)
@example(position=184, content=b"\x87", cut=False, compress=False)  # no such type of numbers
def test_any_damage_is_read_or_refused_in_one_line(path, position, content, cut, compress):
    whole = bytearray(written(ARRAYS, compress))
    whole[position : position + len(content)] = content
    path.write_bytes(whole[: position + len(content)] if cut else whole)
    said = ""
    try:
        found = load_mat(path)
    except DataError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
    assert said or all(x.dtype.kind in "fiu" for x in found.values())
