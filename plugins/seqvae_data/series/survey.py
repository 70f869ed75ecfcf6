"""The first pass over a table in long format: which sequences, how long, which labels change."""

from typing import Any

import numpy as np
from attrs import Factory, define
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.series.columns import Source, kind_of
from seqvae_data.series.config import Table

__all__ = ["PARTS", "Survey", "floats"]

PARTS = ("train", "valid", "test")


def floats(column: Any) -> NDArray[np.float64]:
    """Return a pyarrow array of numbers, NaN where it is null."""
    import pyarrow as pa

    numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(numbers, np.float64)


class Survey:
    """What is known of a table after its rows have been seen once.

    Attributes:
        types: the columns that were looked at, and the pyarrow types they are read as.
        counts: rows of each sequence, in the order of their first rows.

    Raises:
        DataError: for an empty id, an infinite label, a part that is none of `PARTS`, a sequence
            in two parts, or a table without rows.
    """

    def __init__(self, config: Table, source: Source):
        import pyarrow as pa

        self.config = config
        self.counts = np.empty(0, np.int64)
        self._ids = _Codes()
        labels = [*config.labels, *config.local_labels]
        watched = [*labels, *([config.part] if config.part else [])]
        numbers = {name for name in labels if kind_of(source.types[name]) == "number"}
        self._codes = {name: _Codes() for name in watched if name not in numbers}
        self._first = {name: _First() for name in watched}
        self.types = dict.fromkeys([config.id, *watched], pa.string())
        self.types |= {
            name: source.types[name]
            for name in labels
            if kind_of(source.types[name]) in {"number", "integer"}
        }
        for row, block in source.blocks(self.types):
            self._update(row, block)
        if not self.counts.size:
            raise DataError(f"{config.path}: there are no rows below the names of the columns")
        self._check_parts()

    def _update(self, row: int, block: Any) -> None:
        ids = self.ids(row, block)
        fresh = np.zeros(len(self._ids.known) - self.counts.size, np.int64)
        self.counts = np.concatenate([self.counts, fresh])
        self.counts += np.bincount(ids, minlength=self.counts.size)
        for name, first in self._first.items():
            values = self.label(name, block)
            self._check_finite(name, row, values)
            # as integers NaN equals NaN
            first.update(ids, values if values.dtype == np.int32 else values.view(np.int64))

    def _check_finite(self, name: str, row: int, values: NDArray[Any]) -> None:
        if (wrong := np.isinf(values)).any():
            at = int(wrong.argmax())
            raise DataError(
                f"{self.config.path}, row {row + at}, column '{name}': expected a finite number, "
                f"got {values[at]:g}"
            )

    def _check_parts(self) -> None:
        if self.config.part is None:
            return
        where = f"{self.config.path}, column '{self.config.part}'"
        for part in self._codes[self.config.part].known:
            if part not in PARTS:
                raise DataError(f"{where}: expected train, valid or test, got '{part}'")
        if (divided := self._first[self.config.part].varies) is not None:
            raise DataError(f"{where}: {self.config.id} '{self.names[divided]}' is in two parts")

    def ids(self, row: int, block: Any) -> NDArray[np.int64]:
        """Return which sequence each row of a block is of.

        Raises:
            DataError: if it is not said.
        """
        ids = self._ids.of(block.column(self.config.id))
        empty = self._ids.known.get("")
        if empty is not None:
            where = row + int((ids == empty).argmax())
            raise DataError(f"{self.config.path}, row {where}: '{self.config.id}' is empty")
        return ids

    def label(self, name: str, block: Any) -> NDArray[Any]:
        """Return a block of a label, (rows,): codes of classes, or numbers."""
        column = block.column(name)
        if name in self._codes:
            return self._codes[name].of(column).astype(np.int32)
        numbers = floats(column) + 0.0  # no -0.0
        numbers[np.isnan(numbers)] = np.nan  # one NaN of the many
        return numbers

    @property
    def names(self) -> list[str]:
        """Ids, in the order of their first rows."""
        return list(self._ids.known)

    @property
    def local(self) -> list[str]:
        """Labels that change within a sequence, or are declared to."""
        changing = [name for name in self.config.labels if self._first[name].varies is not None]
        return [*changing, *self.config.local_labels]

    def values(self, name: str) -> list[Any]:
        """Return a label's value in the first row of each sequence."""
        first = self._first[name].values
        classes = self.classes(name)
        if classes is None:
            return list(first.view(np.float64).tolist())
        return [classes[code] for code in first]

    def classes(self, name: str) -> list[str] | None:
        """Return what the codes of a label stand for, None for numbers."""
        return list(self._codes[name].known) if name in self._codes else None


class _Codes:
    """Numbers for texts, in the order of their first appearance."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def of(self, column: Any) -> NDArray[np.int64]:
        """Return the codes of a pyarrow array; null is the text ""."""
        import pyarrow as pa

        coded = column.cast(pa.string()).fill_null("").dictionary_encode()
        texts = coded.dictionary.to_pylist()
        table = np.array([self.known.setdefault(text, len(self.known)) for text in texts], np.int64)
        codes: NDArray[np.int64] = table[coded.indices.to_numpy()]
        return codes


@define
class _First:
    """The first value of each sequence, and a sequence that has others too."""

    values: NDArray[np.int64] = Factory(lambda: np.empty(0, np.int64))
    varies: int | None = None

    def update(self, ids: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        seen, where = np.unique(ids, return_index=True)
        fresh = where[seen >= self.values.size]
        self.values = np.concatenate([self.values, values[fresh]])
        differ = values != self.values[ids]
        if self.varies is None and differ.any():
            self.varies = int(ids[differ.argmax()])
