"""TIMIT's transcriptions: phones and words with their first sample and the one after the last."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.speech.timit_tables import PHONES

__all__ = ["Segment", "at", "read_phones", "read_words"]


@frozen
class Segment:
    """Samples `start` to `stop` of a recording, and what is said there."""

    start: int
    stop: int
    text: str
    line: int


def read_phones(path: Path, samples: int) -> list[Segment]:
    """Return the phones of a `.PHN` file, each of which starts where the one before ends.

    Args:
        path: the file.
        samples: how many the recording has.

    Raises:
        DataError: naming the file and line: what is no phone, ends before it starts or after the
            recording, or leaves a gap or an overlap.
    """
    segments = _read(path, samples, "phone")
    for segment in segments:
        if segment.text not in PHONES:
            raise _fault(path, segment, f"'{segment.text[:20]}' is none of TIMIT's 61 phones")
    for before, segment in pairwise(segments):
        if segment.start != before.stop:
            what = "a gap" if segment.start > before.stop else "an overlap"
            raise _fault(
                path, segment,
                f"{what} between phones: starts at {segment.start}, the one before ends at "
                f"{before.stop}",
            )  # fmt: skip
    return segments


def read_words(path: Path, samples: int) -> list[Segment]:
    """Return the words of a `.WRD` file in order; pauses between them, and overlaps, are usual.

    Args:
        path: the file.
        samples: how many the recording has.

    Raises:
        DataError: naming the file and line: what is no word, ends before it starts or after the
            recording, or starts before the one before it.
    """
    segments = _read(path, samples, "word")
    for before, segment in pairwise(segments):
        if segment.start < before.start:
            raise _fault(
                path, segment,
                f"starts at {segment.start}, the one before starts at {before.start}",
            )  # fmt: skip
    return segments


def at(segments: Iterable[Segment], samples: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return what is said at each of some samples, (T,): "" where nothing is, the later of two."""
    said = np.full(samples.shape, "", dtype=object)
    for segment in segments:
        said[(segment.start <= samples) & (samples < segment.stop)] = segment.text
    return said.astype(np.str_)


def _read(path: Path, samples: int, what: str) -> list[Segment]:
    segments = list(_lines(path, what))
    if not segments:
        raise DataError(f"{path}: has no {what}s")
    for segment in segments:
        if not segment.start <= segment.stop <= samples:
            raise _fault(
                path, segment,
                f"samples {segment.start} to {segment.stop} of a recording of {samples}",
            )  # fmt: skip
    return segments


def _lines(path: Path, what: str) -> Iterator[Segment]:
    try:
        text = path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected lines of ASCII text, got other bytes") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not all(field.isdigit() and len(field) < 19 for field in fields[:2]):
            raise DataError(
                f"{path}, line {number}: expected 'start end {what}', got {line[:60]!r}"
            )
        yield Segment(int(fields[0]), int(fields[1]), fields[2], number)


def _fault(path: Path, segment: Segment, said: str) -> DataError:
    return DataError(f"{path}, line {segment.line}: {said}")
