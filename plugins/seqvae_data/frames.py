"""Frames that need not be in memory, and their sums."""

import mmap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, overload

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from seqvae_core.errors import DataError

__all__ = ["Cut", "Example", "Frames", "Rows", "Stats", "check_finite"]

_BLOCK = 1 << 24  # numbers that are summed up at once


class Frames(Protocol):
    """Frames of one sequence: an array, or whatever reads when it is sliced, in steps of 1."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (T, *frame), known without reading."""

    def __getitem__(self, index: slice, /) -> NDArray[Any]:
        """Read the frames of a slice."""


@frozen(eq=False)
class Cut:
    """Frames `start` to `stop` of others, read when asked for."""

    whole: Frames
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (stop - start, *frame)."""
        return (self.stop - self.start, *self.whole.shape[1:])

    def __getitem__(self, index: slice) -> NDArray[Any]:
        """Read the frames of a slice."""
        first, last, _ = index.indices(self.stop - self.start)
        return self.whole[self.start + first : self.start + last]


@frozen(eq=False, kw_only=True)
class Stats:
    """Sums over the frames (and the grid) of each channel, float64.

    Attributes:
        count: numbers in a channel.
        total: their sum, (C,).
        square: the sum of their squared distances from their own mean, (C,).
    """

    count: int
    total: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def of(cls, x: NDArray[Any]) -> "Stats":  # (T, C, ...)
        """Sum up frames that are in memory, block by block: float64 copies are large."""
        block = max(1, _BLOCK * len(x) // x.size)
        if len(x) > block:
            return cls.merged([cls.of(x[i : i + block]) for i in range(0, len(x), block)])
        axes = (0, *range(2, x.ndim))
        count = x.size // x.shape[1]
        total = x.sum(axes, dtype=np.float64)
        centred = x - (total / count).reshape(-1, *[1] * (x.ndim - 2))
        return cls(count=count, total=total, square=(centred**2).sum(axes))

    @classmethod
    def merged(cls, parts: Sequence["Stats"]) -> "Stats":
        """Join sums, as if all frames had been summed up together."""
        count = sum(part.count for part in parts)
        total = sum(part.total for part in parts)
        mean = total / count
        square = sum(p.square + p.count * (p.total / p.count - mean) ** 2 for p in parts)
        return cls(count=count, total=np.asarray(total), square=np.asarray(square))


@frozen(eq=False, kw_only=True)
class Example:
    """One sequence before normalisation.

    Attributes:
        x: its real frames, (T, *frame).
        labels: by name, () when global and (T,) when local; text and integers are classes
            ("" and -1 where missing), floats are numbers (NaN where missing).
        source: the file or item that errors name.
        name: what the run's list of its parts calls it; `source` if left out.
        utterance: which utterance it is a segment of.
        stats: the sums over x, where they are known already.
    """

    x: Frames
    labels: Mapping[str, NDArray[Any]]
    source: str
    name: str = ""
    utterance: int | None = None
    stats: Stats | None = None


@define(eq=False)
class Rows(Sequence[Example]):
    """Examples that are rows of arrays, made when asked for: there may be a million.

    Attributes:
        x: (N, T, *frame), perhaps a memory map.
        labels: by name, (N,) or (N, T).
        source: the file.
        lengths: real frames of each row, (N,); all T if left out.
        chosen: which rows, in which order; all if left out.
    """

    x: Any
    labels: Mapping[str, NDArray[Any]]
    source: str
    lengths: NDArray[np.int64] | None = None
    chosen: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.x) if self.chosen is None else len(self.chosen)

    @overload
    def __getitem__(self, position: int) -> Example: ...
    @overload
    def __getitem__(self, position: slice) -> "Rows": ...
    def __getitem__(self, position: int | slice) -> "Example | Rows":
        """Return one row, or those of a slice."""
        if isinstance(position, slice):
            return self.take(range(*position.indices(len(self))))
        row = self.rows[position]
        length = self.x.shape[1] if self.lengths is None else int(self.lengths[row])
        return Example(
            x=_Row(self.x, row, length),
            labels={name: value[row, :length] if value.ndim == 2 else np.asarray(value[row])
                    for name, value in self.labels.items()},
            source=f"{self.source}, row {row}",
            name=f"row {row}",
        )  # fmt: skip

    @property
    def rows(self) -> Sequence[int]:
        """Which rows, in their order."""
        return range(len(self.x)) if self.chosen is None else self.chosen

    @property
    def frames(self) -> list[int]:
        """The number of each one's real frames."""
        if self.lengths is None:
            return [self.x.shape[1]] * len(self)
        found: list[int] = self.lengths[np.asarray(self.rows, int)].tolist()
        return found

    @property
    def names(self) -> list[str]:
        """What each one is called."""
        return [f"row {row}" for row in self.rows]

    def label(self, name: str) -> NDArray[Any]:
        """Return a label's values: of each row, (rows,), or of all real frames, (frames,)."""
        value = self.labels[name]
        value = value if self.chosen is None else value[np.asarray(self.chosen, int)]
        if value.ndim < 2:
            return value
        real: NDArray[Any] = value[np.arange(value.shape[1]) < np.array(self.frames)[:, None]]
        return real

    def take(self, positions: Iterable[int]) -> "Rows":
        """Return chosen rows."""
        rows = self.rows
        chosen = [rows[position] for position in positions]
        return Rows(self.x, self.labels, self.source, self.lengths, chosen)


@frozen(eq=False)
class _Row:
    whole: Any
    row: int
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length, *self.whole.shape[2:])

    def __getitem__(self, index: slice) -> NDArray[Any]:
        first, last, _ = index.indices(self.length)
        return _read(self.whole[self.row, first:last])


def _read(part: NDArray[Any]) -> NDArray[Any]:
    """Return an array, copied if it is part of a map, whose pages are then let go.

    They would count as this process's memory until the system wants them back.
    """
    whole: Any = part
    while isinstance(whole, np.ndarray) and whole.base is not None:
        whole = whole.base
    if not isinstance(whole, mmap.mmap):
        return np.asarray(part)
    copy = np.array(part)
    if hasattr(mmap, "MADV_DONTNEED"):
        whole.madvise(mmap.MADV_DONTNEED)
    return copy


Prepare = Callable[[NDArray[Any]], NDArray[np.float32]]


def check_finite(x: NDArray[Any]) -> None:
    """Raise `DataError`, saying how many, if there are NaN or infinite values."""
    if x.dtype.kind == "f" and not (finite := np.isfinite(x)).all():
        bad = x.size - int(finite.sum())
        raise DataError(f"{bad} of {x.size} values are NaN or infinite")
