"""Columns of Arrow tables as arrays: lists of numbers, pictures, labels."""

import io
from typing import Any

import numpy as np
from attrs import define
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.extras import require
from seqvae_data.foreign.tables import Stored, blamed, is_list

__all__ = ["Lists", "Pictures", "dense", "label", "lengths_of"]

_PIXELS = 1 << 26  # an image of more is a trap


def lengths_of(stored: Stored, name: str) -> NDArray[np.int64]:
    """Return how many elements each row's list has.

    Raises:
        DataError: naming the first row that is missing or empty.
    """
    import pyarrow.compute

    lengths = pyarrow.compute.fill_null(
        pyarrow.compute.list_value_length(stored.column(name)), 0
    ).to_numpy()
    if not lengths.all():
        row = int((lengths == 0).argmax())
        raise DataError(f"{stored.path}, column '{name}', row {row}: is missing or empty")
    return np.asarray(lengths, np.int64)


def dense(values: Any) -> NDArray[Any]:
    """Return an Arrow array of numbers, or of lists of them, as an array.

    Raises:
        DataError: if lists differ in length, or anything is missing or no number.
    """
    from pyarrow import types

    kind = values.type
    if values.null_count:
        raise DataError(f"{values.null_count} of {len(values)} values are missing")
    if not is_list(kind):
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise DataError(f"expected numbers, got {kind}")
        numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return numbers
    sizes = np.unique(values.value_lengths().to_numpy())
    if sizes.size != 1:
        raise DataError(f"expected frames of one shape, got lists of {sizes[0]} and {sizes[-1]}")
    inner = dense(values.flatten())
    return inner.reshape(len(values), int(sizes[0]), *inner.shape[1:])


@define(eq=False)
class Lists:
    """Rows of nested lists as if they were one array (N, T, *frame), read row by row."""

    stored: Stored
    name: str
    time: bool
    shape: tuple[int, ...]

    @classmethod
    def of(cls, stored: Stored, name: str, time: bool, longest: int) -> "Lists":
        """Make them of a column, whose first row shows the shape of a frame."""
        lists = cls(stored, name, time, ())
        try:
            first = lists[0, slice(None)]
        except DataError as error:
            raise DataError(f"{stored.path}, column '{name}', row 0: {error}") from None
        lists.shape = (len(stored.column(name)), longest if time else 1, *first.shape[1:])
        return lists

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[int, slice]) -> NDArray[Any]:
        row, frames = key
        value = dense(self.stored.column(self.name)[row].values)
        if self.time:
            x = value[:, None] if value.ndim == 1 else value
        else:
            x = value[None, None] if value.ndim == 2 else value[None]
        if self.shape and x.shape[1:] != self.shape[2:]:
            raise DataError(f"expected frames {self.shape[2:]} as in row 0, got {x.shape[1:]}")
        return x[frames]


@define(eq=False)
class Pictures:
    """Rows of encoded images, or of lists of them, as if they were (N, T, C, H, W) of 8 bits."""

    stored: Stored
    name: str
    clips: bool
    shape: tuple[int, ...]

    @classmethod
    def of(cls, stored: Stored, name: str, clips: bool, longest: int) -> "Pictures":
        """Make them of a column, whose first image shows the size and whether it is in colour."""
        pictures = cls(stored, name, clips, ())
        try:
            first = pictures[0, slice(0, 1)]
        except DataError as error:
            raise DataError(f"{stored.path}, column '{name}', row 0: {error}") from None
        pictures.shape = (len(stored.column(name)), longest, *first.shape[1:])
        return pictures

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[int, slice]) -> NDArray[Any]:
        row, frames = key
        value = self.stored.column(self.name)[row].as_py()
        images = [_decoded(image) for image in (value[frames] if self.clips else [value])]
        shape = self.shape[2:] or images[0].shape
        for image in images:
            if image.shape != shape:
                raise DataError(f"expected images {shape} as in row 0, got {image.shape}")
        return np.stack(images) if self.clips else np.stack(images)[frames]


def _decoded(value: Any) -> NDArray[np.uint8]:
    """Return an image's pixels, (1, H, W) or (3, H, W)."""
    image = require("PIL.Image", "images", "decoding images")
    if value is None or not value["bytes"]:
        where = f", only the path '{value['path']}'" if value and value["path"] else ""
        raise DataError(f"holds no image{where}")
    try:
        with image.open(io.BytesIO(value["bytes"])) as opened:
            if opened.width * opened.height > _PIXELS:
                raise DataError(f"an image of {opened.width} x {opened.height} is too large")
            if opened.mode.startswith(("I", "F")):
                raise DataError(f"expected 8 bits a channel, got an image of mode {opened.mode}")
            pixels = np.asarray(opened.convert("L" if opened.mode in {"1", "L"} else "RGB"))
    except (OSError, SyntaxError, ValueError, image.DecompressionBombError):
        raise DataError("an image is damaged, or of an unknown format") from None
    return np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]


# Labels ------------------------------------------------------------------------------------------


def label(stored: Stored, name: str, lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Return a label of all rows: (N,), or (N, T) for lists, missing where a row ends.

    Args:
        stored: the rows.
        name: the column.
        lengths: frames of each row, (N,).

    Raises:
        DataError: for another type, or lists that are not as long as the frames.
    """
    import pyarrow

    column = stored.column(name)
    where = f"{stored.path}, column '{name}'"
    feature = stored.features[name]
    names = getattr(getattr(feature, "feature", feature), "names", None)
    if not is_list(column.type):
        return _values(column, names, where)
    own = lengths_of(stored, name)
    if not np.array_equal(own, lengths):
        row = int((own != lengths).argmax())
        raise DataError(
            f"{where}, row {row}: {own[row]} labels of {lengths[row]} frames; data.labels names "
            "those to read"
        )
    pieces = [piece.flatten() for piece in column.chunks]
    flat = _values(pyarrow.chunked_array(pieces), names, where)
    missing: Any = {"U": "", "f": np.nan}.get(flat.dtype.kind, -1)
    padded = np.full((len(lengths), lengths.max()), missing, flat.dtype)
    padded[np.arange(lengths.max()) < lengths[:, None]] = flat
    return padded


def _values(column: Any, names: list[str] | None, where: str) -> NDArray[Any]:
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    values: NDArray[Any]
    with blamed(where):
        if names is not None:
            values = compute.fill_null(column, -1).to_numpy()
            if values.size and not -1 <= values.min() <= values.max() < len(names):
                raise DataError(f"{where}: class {values.max()} of {len(names)}")
            values = np.array([*names, ""])[values]
            return values
        if types.is_string(kind) or types.is_large_string(kind):
            return np.array(compute.fill_null(column, "").to_pylist(), dtype=str)
        if types.is_boolean(kind) or types.is_integer(kind):
            values = compute.fill_null(column.cast(pyarrow.int64()), -1).to_numpy()
            return values
        if types.is_floating(kind):
            values = column.cast(pyarrow.float64()).to_numpy()
            return values
    raise DataError(f"{where}: expected classes, numbers or text, got {kind}")
