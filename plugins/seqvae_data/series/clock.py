"""The column of times of a table: it must increase, and how regular its steps are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.series.columns import Source, kind_of

__all__ = ["Clock"]

_SECONDS = {"D": 86400.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Clock:
    """The times of rows that come block by block.

    Args:
        source: the file.
        column: the column of times.
        sequences: how many sequences there are.

    Attributes:
        shortest: the shortest step so far, in the column's unit, or in seconds.
        longest: the longest step so far.
    """

    def __init__(self, source: Source, column: str, sequences: int):
        self.source = source
        self.column = column
        self.shortest, self.longest = np.inf, 0.0
        whole = kind_of(source.types[column]) != "number"
        self._first = np.zeros(sequences, np.int64 if whole else np.float64)
        self._last = self._first.copy()
        self._seen = np.zeros(sequences, bool)

    def since(self, ids: NDArray[np.int64], row: int, block: Any) -> NDArray[np.float64]:
        """Return how long after the first row of its sequence each row of a block is, (rows,).

        Args:
            ids: the sequence of each row.
            row: the number of the first row.
            block: the rows.

        Raises:
            DataError: naming a row whose time is missing, or not after that of the row before.
        """
        times, unit = self._read(row, block)
        order = np.argsort(ids, kind="stable")
        now, sequence = times[order], ids[order]
        begins = np.diff(sequence, prepend=-1) != 0  # the first row that the block has of it
        before = np.where(begins, self._last[sequence], np.roll(now, 1))
        known = ~begins | self._seen[sequence]
        if (late := known & (now <= before)).any():
            at = order[late].min()
            what = "the same as" if now[late & (order == at)] == before[order == at] else "before"
            raise self._fault(row + at, f"it is {what} that of the row before it")
        new = ~known
        self._first[sequence[new]] = now[new]
        self._last[sequence] = now  # of several rows the last one stays
        self._seen[sequence] = True
        steps = (now - before)[known] * unit
        self.shortest = min(self.shortest, steps.min(initial=np.inf))
        self.longest = max(self.longest, steps.max(initial=0.0))
        passed = np.empty(len(now))
        passed[order] = (now - self._first[sequence]) * unit
        return passed

    def _read(self, row: int, block: Any) -> tuple[NDArray[Any], float]:
        """Return the times as numbers, and how many seconds (or units) one is."""
        column = block.column(self.column)
        if column.null_count:
            missing = column.is_null().to_numpy(zero_copy_only=False)
            raise self._fault(row + int(missing.argmax()), "it is missing")
        times = column.to_numpy(zero_copy_only=False)
        if times.dtype.kind in "mM":
            unit, count = np.datetime_data(times.dtype)
            return times.astype(np.int64), count * _SECONDS[unit]
        times = times.astype(self._first.dtype)
        if not (finite := np.isfinite(times)).all():
            raise self._fault(row + int(finite.argmin()), "it is NaN or infinite")
        return times, 1.0

    def _fault(self, row: int, what: str) -> DataError:
        return DataError(
            f"{self.source.path}, row {row}, column '{self.column}': times must increase within "
            f"a sequence, {what}"
        )
