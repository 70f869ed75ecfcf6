"""Read `metrics.jsonl`, also while it grows and after it was cut off."""

import json
import math
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attrs import Factory, define
from numpy.typing import NDArray

from seqvae_report.tables import is_number

__all__ = ["Column", "History", "read_lines"]


def read_lines(path: Path) -> Iterator[dict[str, float] | None]:
    """Yield the numbers of each line of `metrics.jsonl` in a run's directory, `step` among them.

    A line that is no JSON object with a `step`, such as the last line of a run that was killed,
    gives None; a directory without the file gives nothing.
    """
    file = path / "metrics.jsonl"
    if not file.is_file():
        return
    with file.open(encoding="utf-8", errors="replace") as lines:
        for text in lines:
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if not isinstance(line, dict) or not is_number(line.get("step")):
                yield None
                continue
            yield {name: value for name, value in line.items() if is_number(value)}


@define(eq=False)
class Column:
    """One metric over the steps at which it was logged and finite."""

    _steps: "array[float]" = Factory(lambda: array("d"))
    _values: "array[float]" = Factory(lambda: array("d"))

    def append(self, step: float, value: float) -> None:
        """Add one point."""
        self._steps.append(step)
        self._values.append(value)

    @property
    def steps(self) -> NDArray[np.float64]:
        """The steps, (N,)."""
        return np.frombuffer(self._steps, dtype=np.float64)

    @property
    def values(self) -> NDArray[np.float64]:
        """The values, (N,)."""
        return np.frombuffer(self._values, dtype=np.float64)


@define(eq=False)
class History:
    """All that a run logged.

    Attributes:
        columns: by metric, in the order of their first appearance.
        step: the last logged step, 0 before the first.
        unreadable: lines that could not be read.
        not_finite: numbers that were infinite or NaN.
    """

    columns: dict[str, Column] = Factory(dict)
    step: int = 0
    unreadable: int = 0
    not_finite: int = 0

    @classmethod
    def read(cls, path: Path) -> "History":
        """Read the history of a run's directory."""
        history = cls()
        for line in read_lines(path):
            if line is None:
                history.unreadable += 1
            else:
                history._add(line)
        return history

    def _add(self, line: dict[str, float]) -> None:
        step = line.pop("step")
        self.step = max(self.step, int(step))
        for name, value in line.items():
            if math.isfinite(value):
                self.columns.setdefault(name, Column()).append(step, value)
            else:
                self.not_finite += 1
