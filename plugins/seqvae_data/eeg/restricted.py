"""Arrays out of a pickle, by a reader for which no name in the file means what it says.

A pickle is a program that calls whatever it names. Here the few names that a pickled NumPy array
needs stand for inert classes of this module, which check what they are given and hold it; any
other name ends the reading. So no code runs that the file chose, NumPy's own included.
"""

import math
import pickle
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError

__all__ = ["load_arrays"]


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a pickled dict of arrays of numbers, as Python 2 or 3 writes it in protocols 0 to 5.

    Raises:
        DataError: if the file is damaged, or has anything but such a dict in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None
    try:
        found = _Reader(BytesIO(content), encoding="latin1").load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its instructions happen upon
        raise DataError(f"damaged, or not a pickle of arrays: {_short(error)}") from None
    arrays = {
        name: value.value
        for name, value in (found.items() if isinstance(found, dict) else ())
        if isinstance(name, str) and isinstance(value, _Array) and value.value is not None
    }
    if not arrays or len(arrays) < len(found):
        raise DataError("expected a pickled dict of arrays by name, got something else")
    return arrays


def _short(error: Any) -> str:
    text = " ".join(str(error).split())
    return text[:80] or type(error).__name__


class _Reader(pickle._Unpickler):
    """The unpickler in Python: the one in C would allocate whatever a damaged file tells it to."""

    def find_class(self, module: str, name: str, /) -> Any:
        """Return the stand-in for a name of the list, and refuse any other."""
        if (module, name) not in _NAMES:
            asked = _short(f"{module}.{name}").encode("ascii", "replace").decode()
            raise DataError(f"a pickle that asks for '{asked}' is not read: only arrays are")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuse a reference to something outside of the file."""
        raise DataError("a pickle that refers to things outside of it is not read: only arrays are")

    def get_extension(self, code: int) -> Any:
        """Refuse a name that is a number in a register of the process."""
        raise DataError(f"a pickle that asks for extension {code} is not read: only arrays are")


def _check(condition: bool) -> None:
    if not condition:
        raise DataError("a pickle of something else than arrays of numbers is not read")


class _Type:
    """Stands for `numpy.ndarray`, which is only ever mentioned."""

    __slots__ = ()


class _Bytes:
    """Stands for `_codecs.encode`, which Python 3 writes for bytes in Python 2's protocols."""

    __slots__ = ()

    def __new__(cls, text: Any, encoding: Any) -> Any:
        """Return the bytes."""
        _check(isinstance(text, str) and encoding == "latin1")
        return text.encode("latin1")


class _DType:
    """Stands for `numpy.dtype`: numbers of one kind, no records and no objects."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any):
        _check(isinstance(code, str) and re.fullmatch(r"[fiu][1248]", code) is not None)
        self.code = code
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        _check(isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None))
        _check(state[1] in ("<", ">", "|"))
        self.order = state[1]


class _Array:
    """Stands for `_reconstruct`, and for the array that it makes, filled by its state."""

    __slots__ = ("value",)

    def __init__(self, *_: Any):
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _check(isinstance(state, tuple) and len(state) == 5)
        _, shape, dtype, fortran, raw = state
        content = raw.encode("latin1") if isinstance(raw, str) else raw
        self.value = _filled(content, dtype, shape, "F" if fortran else "C")


class _Buffer(_Array):
    """Stands for `_frombuffer`, which protocol 5 has in the place of `_reconstruct`."""

    __slots__ = ()

    def __init__(self, raw: Any, dtype: Any, shape: Any, order: Any):
        self.value = _filled(raw, dtype, shape, order)


def _filled(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    _check(isinstance(raw, bytes | bytearray) and isinstance(dtype, _DType) and order in ("C", "F"))
    _check(isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape))
    flat = np.frombuffer(raw, dtype.order + dtype.code)
    if math.prod(shape) != flat.size:
        raise DataError(f"damaged: an array {shape} of {flat.size} numbers")
    return flat.reshape(shape, order=order)


_NAMES: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Type,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _Bytes,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _Buffer,
    ("numpy._core.numeric", "_frombuffer"): _Buffer,
}
