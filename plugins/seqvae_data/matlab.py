"""Arrays of numbers in MATLAB's `.mat` files, version 5: what `save` writes by "-v6" and "-v7".

Only real arrays are read; structs, cells and objects are passed over. SciPy's reader does more, but
one wrong byte in a file can make it end the process.

Source: The MathWorks, "MAT-File Format", on Level 5 MAT-files.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError

__all__ = ["load_mat"]

_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}  # fmt: skip
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8",
            15: "u8"}  # fmt: skip


def load_mat(path: Path) -> dict[str, NDArray[Any]]:
    """Return the real arrays of numbers in a file by name, in their own types.

    Raises:
        DataError: if the file is damaged or of another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise DataError("is no MATLAB file of version 5")
    if (version := struct.unpack(f"{order}H", content[124:126])[0]) == 0x0200:
        raise DataError("is a MATLAB v7.3 file, which is HDF5: save it by '-v7'")
    if version != 0x0100:
        raise DataError(f"is a MATLAB file of version {version:#06x}, expected 0x0100")
    try:
        return dict(_arrays(memoryview(content)[128:], order))
    except (struct.error, zlib.error, ValueError, MemoryError, RecursionError) as error:
        raise DataError(f"is a damaged MATLAB file: {error}") from None


def _arrays(content: memoryview, order: str) -> Iterator[tuple[str, NDArray[Any]]]:
    for kind, body in _elements(content, order):
        if kind == _COMPRESSED:
            yield from _arrays(memoryview(zlib.decompress(body)), order)
        elif kind == _MATRIX and (found := _array(body, order)) is not None:
            yield found


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the bytes of each element, at least one."""
    at = 0
    while at < len(content) or at == 0:
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start = at + 8
        at = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if kind >> 16:  # a small element: its size, its type and its bytes are within the tag
            size, kind, start, at = kind >> 16, kind & 0xFFFF, start - 4, start
        if start + size > len(content) or start + size > at:
            raise ValueError(f"an element of {size} bytes, where {len(content) - start} are left")
        yield kind, content[start : start + size]


def _array(body: memoryview, order: str) -> tuple[str, NDArray[Any]] | None:
    elements = _elements(body, order)
    flags = struct.unpack_from(f"{order}I", next(elements)[1])[0]
    if flags & 0xFF not in _CLASSES or flags & _COMPLEX:
        return None
    parts = list(elements)
    if len(parts) != 3 or parts[0][0] != 5 or parts[2][0] not in _STORED:
        raise ValueError("expected an array's shape, its name, and its numbers")
    shape = np.frombuffer(parts[0][1], f"{order}i4").tolist()
    name = bytes(parts[1][1]).decode("ascii")
    numbers = np.frombuffer(parts[2][1], order + _STORED[parts[2][0]])
    if min(shape, default=-1) < 0 or math.prod(shape) != numbers.size:
        raise ValueError(f"an array '{name}' {tuple(shape)} of {numbers.size} numbers")
    with np.errstate(all="ignore"):  # an own type that is too small is damage, and shows as inf
        own = numbers.astype(_CLASSES[flags & 0xFF], copy=False)
    return name, own.reshape(shape, order="F")
