"""Arrays out of pickles: they come as they are, and nothing that a pickle asks for is run."""

import copyreg
import io
import os
import pickle
import struct
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seqvae_core.errors import DataError
from seqvae_data.eeg.restricted import load_arrays

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
ARRAYS = {
    "data": np.arange(24.0).reshape(2, 3, 4),
    "labels": np.array([[1.5, 2.5], [3.5, 9.0]], np.float32),
}


def python2(arrays):
    """Return what Python 2 writes in protocol 2, where bytes are text."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    def integer(value):
        return b"J" + struct.pack("<i", value)

    parts = [b"\x80\x02}("]
    for name, x in arrays.items():
        raw = x.tobytes()
        parts += [
            short(name.encode()),
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short(b"b"),
            b"\x87R(K\x01(" + b"".join(map(integer, x.shape)) + b"t",
            b"cnumpy\ndtype\n" + short(x.dtype.str[1:].encode()) + b"K\x00K\x01\x87R(K\x03",
            short(b"<") + b"NNN" + integer(-1) + integer(-1) + b"K\x00tb",
            b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb",
        ]
    return b"".join([*parts, b"u."])


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s01.dat"


def refused(path, content, said):
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        load_arrays(path)
    assert len(str(caught.value).splitlines()) == 1


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        assert found[name].dtype == x.dtype
        np.testing.assert_array_equal(found[name], x)


# What is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_are_read_in_every_protocol(path, protocol):
    fortran = {name: np.asfortranarray(x) for name, x in ARRAYS.items()}
    swapped = {name: x.astype(x.dtype.newbyteorder(">")) for name, x in ARRAYS.items()}
    integers = {"data": np.arange(6, dtype=np.int16), "labels": np.ones((1, 3), np.uint8)}
    for arrays in (ARRAYS, fortran, swapped, integers):
        path.write_bytes(pickle.dumps(arrays, protocol))
        same(load_arrays(path), arrays)


def test_arrays_of_python_2_are_read(path):
    path.write_bytes(python2(ARRAYS))
    same(load_arrays(path), ARRAYS)
    same(pickle.loads(python2(ARRAYS), encoding="latin1"), ARRAYS)


def test_nothing_of_numpy_is_called_while_reading(path, monkeypatch):
    path.write_bytes(pickle.dumps(ARRAYS, 2))
    core = pytest.importorskip("numpy._core.multiarray")
    monkeypatch.setattr(core, "_reconstruct", None)
    same(load_arrays(path), ARRAYS)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_call_of_a_pickle_is_run(path, protocol):
    mark = path.with_name("mark")
    bombs = [
        Calls(os.system, f"touch {mark}"),
        Calls(subprocess.check_output, ["touch", str(mark)]),
        Calls(eval, f"open({str(mark)!r}, 'w')"),
        Calls(exec, f"open({str(mark)!r}, 'w')"),
        Calls(open, str(mark), "w"),
        Calls(getattr, dict, "fromkeys"),
        Calls(__import__, "antigravity"),
        Calls(np.ndarray.tofile, np.zeros(2), str(mark)),
        Calls(np.load, str(mark)),
        Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {mark}"))),
        Calls(bytearray, 10),
        Calls(copyreg._reconstructor, object, object, None),
    ]
    for bomb in bombs:
        for wrapped in (
            bomb,
            {"data": bomb, "labels": ARRAYS["labels"]},
            {**ARRAYS, "more": [[{"deep": (bomb,)}]]},
            {bomb: ARRAYS["data"]},
            {"data": np.array([bomb], dtype=object), "labels": ARRAYS["labels"]},
        ):
            refused(path, pickle.dumps(wrapped, protocol), "is not read")
    assert not mark.exists()


def test_names_are_refused_by_any_instruction_that_can_ask_for_them(path):
    mark = path.with_name("mark")
    command = f"touch {mark}".encode()
    for content in (
        b"cos\nsystem\n(S'" + command + b"'\ntR.",  # GLOBAL, REDUCE
        b"(S'" + command + b"'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'" + command + b"'\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(command)]) + command + b"\x85R.",
        b"\x80\x02cbuiltins\neval\n(U\x01" + b"1t\x81.",  # NEWOBJ
        b"cnumpy\nndarray\n(dS'__class__'\ncos\nsystem\nsb.",  # BUILD
        b"c__builtin__\neval\n.",  # as Python 2 calls it
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        b"cnumpy\nload\n.",
        b"c_codecs\ndecode\n.",
    ):
        refused(path, content, r"a pickle that asks for '[\w.]+' is not read: only arrays are$")
    assert not mark.exists()


def test_references_to_the_outside_are_refused(path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return "outside" if value is ARRAYS else None

    for protocol in PROTOCOLS:
        buffer = io.BytesIO()
        Pickler(buffer, protocol).dump(ARRAYS)
        refused(path, buffer.getvalue(), "refers to things outside of it")


def test_registered_extensions_are_refused(path):
    copyreg.add_extension("os", "system", 240)
    try:
        for content in (b"\x80\x02\x82\xf0.", b"\x80\x02\x83\xf0\x00.", b"\x80\x02\x84\xf0\0\0\0."):
            refused(path, content, "asks for extension 240")
    finally:
        copyreg.remove_extension("os", "system", 240)


def test_stand_ins_keep_no_trace_of_what_a_pickle_does_to_them(path):
    names = (
        b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"c_codecs\nencode\n",
        b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy._core.numeric\n_frombuffer\n",
    )  # fmt: skip
    for name in names:
        for state in (b"}U\x01aK\x01s", b"N}U\x07__doc__K\x01s\x86"):
            refused(path, b"\x80\x02" + name + state + b"b.", "damaged|something else")
    path.write_bytes(python2(ARRAYS))
    same(load_arrays(path), ARRAYS)


def test_what_is_no_dict_of_arrays_of_numbers_is_refused(path):
    text, things = np.array(["a"]), np.array([{}, None], dtype=object)
    record = np.zeros(2, [("a", "f4"), ("b", "i4")])
    for value in (text, things, record, np.zeros(2, complex), np.array(["2000"], "M8[Y]")):
        refused(path, pickle.dumps({"data": value}, 2), "something else than arrays of numbers")
    for value in (ARRAYS["data"], [], {}, {"data": 1}, {1: ARRAYS["data"]}, None, "text"):
        refused(path, pickle.dumps(value, 2), "expected a pickled dict of arrays|damaged")


def test_an_array_whose_bytes_do_not_fit_its_shape_is_refused(path):
    good = python2({"data": np.zeros((2, 3))})
    for shape in ((2, 4), (2, 2), (2**30, 2**30), (-2, -3)):
        integers = [b"J" + struct.pack("<i", n) for n in shape]
        old = b"J" + struct.pack("<i", 2) + b"J" + struct.pack("<i", 3)
        content = good.replace(old, b"".join(integers))
        assert content != good or shape == (2, 3)
        refused(path, content, "damaged|something else")


def test_a_missing_file_is_an_error_of_one_line(path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load_arrays(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(position=st.integers(0, 700), content=st.binary(min_size=1, max_size=6), cut=st.booleans())
@example(position=3, content=b"r\xff\xff\xff\x3f", cut=False)  # a memo of 16 GB
@example(position=3, content=b"\x8e\xff\xff\xff\xff\xff\xff", cut=False)  # bytes without end
def test_any_damage_is_read_or_refused_in_one_line(path, position, content, cut):
    whole = bytearray(python2(ARRAYS))
    whole[position : position + len(content)] = content
    path.write_bytes(whole[: position + len(content)] if cut else whole)
    said = ""
    try:
        found = load_arrays(path)
    except DataError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
    assert said or all(x.dtype.kind in "fiu" for x in found.values())
