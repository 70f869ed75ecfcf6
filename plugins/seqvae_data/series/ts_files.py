"""The `.ts` format of the UEA and UCR archives: a case a line.

A header of lines `@key value` ends with `@data`. Each line below is a case: its channels divided
by ':', a channel's values by ',', at the end the class or the target; '?' and 'NaN' are missing
values. https://www.aeon-toolkit.org documents the format.

aeon has a loader of its own, which agrees with this one wherever it can read a file. It is not
used here because it turns labels to lower case, holds a file as text and as float64 at once,
names no line when one is wrong, and takes seconds to import.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from seqvae_core.errors import DataError

__all__ = ["Case", "read_cases"]

MISSING = {"?", "nan"}


@frozen(eq=False)
class Case:
    """One case.

    Attributes:
        line: where it is, counted from 1.
        x: its values, (T, C), NaN where missing.
        label: the class as text ("" where missing), the target as a number (NaN where missing),
            or None for a file without either.
    """

    line: int
    x: NDArray[np.float32]
    label: str | float | None


def read_cases(path: Path) -> Iterator[Case]:
    """Yield the cases of a file, one line in memory at a time.

    Raises:
        DataError: naming the file and the line that cannot be read, if there are time stamps, or
            if there are no cases.
    """
    header = _Header()
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not header.ended:
                    header.read(line.strip())
                elif line.strip():
                    yield _case(line.strip(), header, number)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    except DataError as error:
        raise DataError(f"{path}, line {number}: {error}") from None
    if header.channels is None:
        raise DataError(f"{path}: no cases after '@data'")


@define
class _Header:
    """What the header says, and what the first case shows."""

    ended: bool = False
    target: bool = False
    labelled: bool = True
    classes: frozenset[str] = frozenset()  # in lower case; empty if not listed
    equal: bool = False
    channels: int | None = None
    length: int = 0

    def read(self, line: str) -> None:
        key, *values = line.lower().split() or [""]
        on = values[:1] == ["true"]
        if key == "@data":
            self.ended = True
            self.labelled = self.labelled or self.target
        elif key == "@timestamps" and on:
            raise DataError("time stamps are not read; expected values at regular steps")
        elif key == "@equallength":
            self.equal = on
        elif key == "@targetlabel":
            self.target = on
        elif key == "@classlabel":
            self.labelled = on
            self.classes = frozenset(values[1:])


def _case(line: str, header: _Header, number: int) -> Case:
    channels = line.split(":")
    last = channels.pop().strip() if header.labelled else ""
    x = _values(channels)
    if x is None or (header.labelled and not last):
        end = ", then the target" if header.target else ", then the class"
        raise DataError(
            f"expected channels of equally many numbers{end if header.labelled else ''}, "
            "divided by ':'"
        )
    header.channels = header.channels or x.shape[1]
    header.length = header.length or x.shape[0]
    if x.shape[1] != header.channels:
        raise DataError(f"expected {header.channels} channels as above, got {x.shape[1]}")
    if header.equal and x.shape[0] != header.length:
        raise DataError(f"expected {header.length} steps ('@equalLength true'), got {x.shape[0]}")
    return Case(number, x, _label(last, header))


def _values(channels: list[str]) -> NDArray[np.float32] | None:
    try:
        rows = [list(map(float, one.replace("?", "nan").split(","))) for one in channels]
        x = np.array(rows, np.float32)
    except ValueError:
        return None
    return np.ascontiguousarray(x.T) if x.ndim == 2 else None


def _label(text: str, header: _Header) -> Any:
    if not header.labelled:
        return None
    if header.target:
        try:
            return float("nan" if text == "?" else text)
        except ValueError:
            raise DataError(f"expected a number as the target, got '{text}'") from None
    if text.lower() in MISSING:
        return ""
    if header.classes and not header.classes.issuperset(text.lower().split()):
        known = ", ".join(sorted(header.classes))
        raise DataError(f"expected a class that '@classLabel' lists ({known}), got '{text}'")
    return text
