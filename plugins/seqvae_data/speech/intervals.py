"""Labels of stretches of time, aligned to frames."""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.faults import leave_out
from seqvae_data.speech.tables import Row, Table, number, read_table

__all__ = ["Intervals", "Track", "read_intervals"]


@frozen(eq=False)
class Track:
    """One label's stretches of time in one file, which do not overlap, in order.

    Attributes:
        start: of each, in seconds.
        stop: of each, in seconds; the stretch ends just before.
        value: of each, text or float64.
    """

    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    value: NDArray[Any]

    def at(self, times: NDArray[np.float64]) -> NDArray[Any]:
        """Return the values at some times; "" or NaN between the stretches."""
        missing = np.zeros(1, self.value.dtype) if self.value.dtype.kind == "U" else [np.nan]
        position = np.searchsorted(self.start, times, side="right") - 1
        inside = (position >= 0) & (times < self.stop[position])
        chosen = np.where(inside, position, len(self.value))
        held: NDArray[Any] = np.concatenate([self.value, missing])[chosen]
        return held


@frozen
class Intervals:
    """The stretches of time of all files.

    Attributes:
        path: the file that they are from.
        names: of the labels.
        tracks: by file and label.
        kinds: of each label, "U" for text and "f" for numbers.
    """

    path: Path
    names: tuple[str, ...]
    kinds: Mapping[str, str]
    tracks: Mapping[str, Mapping[str, Track]]

    def labels(
        self, name: str, times: NDArray[np.float64], latest: float
    ) -> dict[str, NDArray[Any]]:
        """Return each label at some times of a file, missing where the file has no stretches.

        Args:
            name: the file's path below root.
            times: in seconds.
            latest: when stretches must have ended.

        Raises:
            DataError: if one ends later.
        """
        tracks = self.tracks.get(name, {})
        for track in tracks.values():
            if track.stop[-1] > latest:
                raise DataError(
                    f"{self.path} has an interval up to {track.stop[-1]:.3f} s, the sound ends "
                    f"before {latest:.3f} s"
                )
        return {
            label: tracks[label].at(times) if label in tracks
            else np.full(times.shape, "" if self.kinds[label] == "U" else np.nan)
            for label in self.names
        }  # fmt: skip


def read_intervals(
    path: Path,
    files: Container[str],
    numbers: Sequence[str],
    on_error: Literal["raise", "skip"],
    exclude: str | None = None,
) -> Intervals:
    """Return the labels of stretches of time: columns `path`, `start`, `end` in seconds, labels.

    Args:
        path: a CSV or JSON lines file.
        files: paths below root that may be named.
        numbers: columns that are numbers whatever they look like.
        on_error: "raise", or "skip" to leave out rows that cannot be used, with a warning.
        exclude: a regular expression; rows in whose path it is found are left out.

    Raises:
        DataError: naming the file and line: of an unknown file, of times out of order, or of an
            overlap.
    """
    table = read_table(path, ("path", "start", "end"), exclude)
    values = table.labels(numbers, ("start", "end"))
    if not values:
        raise DataError(f"{path}: has no column of labels beside path, start and end")
    faults: list[str] = []
    spans: dict[str, list[tuple[float, float, int]]] = {}
    for i, row in enumerate(table.rows):
        try:
            start, stop = _span(table, row, files)
        except DataError as error:
            faults.append(str(error))
        else:
            spans.setdefault(row.path, []).append((start, stop, i))
    tracks = {
        name: {label: track for label, value in values.items()
               if (track := _track(table, label, value, sorted(found), faults))}
        for name, found in spans.items()
    }  # fmt: skip
    leave_out(faults, on_error, "intervals")
    kinds = {label: value.dtype.kind for label, value in values.items()}
    return Intervals(path, tuple(values), kinds, tracks)


def _span(table: Table, row: Row, files: Container[str]) -> tuple[float, float]:
    if row.path not in files:
        raise DataError(f"{table.where(row)}: '{row.path}' is none of the audio files to read")
    start, stop = number(table, row, "start"), number(table, row, "end")
    if not 0.0 <= start < stop:
        raise DataError(f"{table.where(row)}: expected 0 <= start < end, got {start:g}, {stop:g}")
    return start, stop


def _track(
    table: Table,
    label: str,
    values: NDArray[Any],
    spans: list[tuple[float, float, int]],
    faults: list[str],
) -> Track | None:
    kept: list[tuple[float, float, int]] = []
    for start, stop, i in spans:
        row = table.rows[i]
        if not row.cells[label]:
            continue
        if kept and start < kept[-1][1]:
            before = table.rows[kept[-1][2]].line
            faults.append(f"{table.where(row)}: '{label}' overlaps the interval of line {before}")
            continue
        kept.append((start, stop, i))
    if not kept:
        return None
    starts, stops, rows = (np.array(column) for column in zip(*kept, strict=True))
    return Track(starts, stops, values[rows])
