"""Audio files: read whole or not at all, averaged, resampled, trimmed."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.extras import require

__all__ = ["read", "trim"]

_LOUDEST = 2.0**31  # 32-bit integers stored as floats; what is louder is no sound
_FURTHEST = 100  # resampling by more than this is a damaged header, not a wish


def read(
    path: Path, rate: int | None = None, channels: int | None = None
) -> tuple[NDArray[np.float64], int]:
    """Return a file's sound, (N,) with full scale 1, its channels averaged, and the sampling rate.

    Args:
        path: a file that libsndfile reads.
        rate: in hertz, to resample to.
        channels: how many the file must have.

    Raises:
        DataError: if the file is damaged, shorter than it says, empty, not finite, or has another
            number of channels.
    """
    _check_complete(path)
    sound, own = _samples(path)
    if sound.size == 0:
        raise DataError("has no samples")
    if channels not in (None, sound.shape[1]):
        raise DataError(f"has {sound.shape[1]} channels, expected {channels}")
    if not (peak := max(sound.max(), -sound.min())) <= _LOUDEST:
        if bad := int((~np.isfinite(sound)).sum()):
            raise DataError(f"{bad} of {sound.size} samples are NaN or infinite")
        raise DataError(f"has a sample of {peak:.3g}, expected full scale 1")
    mono = sound[:, 0] if sound.shape[1] == 1 else sound.mean(1)
    return (mono, own) if rate in (None, own) else (_resampled(mono, own, rate), int(rate or 0))


def trim(
    sound: NDArray[np.float64],  # (N,)
    frame: int,
    hop: int,
    below: float,
) -> tuple[int, int]:
    """Return where the sound starts and stops, in samples, without the silence at both ends.

    Args:
        sound: the samples.
        frame: samples in a frame, whose mean square is its energy; all if there are fewer.
        hop: samples from one frame to the next.
        below: decibels below the loudest frame at which silence begins.

    Raises:
        DataError: if every sample is 0.
    """
    frame = min(frame, sound.size)
    sums = np.concatenate([[0.0], np.cumsum(sound**2)])
    starts = np.arange(0, sound.size - frame + 1, hop)
    energy = np.maximum(sums[starts + frame] - sums[starts], 0.0)
    if not energy.max() > 0.0:
        raise DataError("is silent throughout")
    audible = starts[energy >= energy.max() * 10.0 ** (-below / 10.0)]
    return int(audible[0]), int(audible[-1]) + frame


def _samples(path: Path) -> tuple[NDArray[np.float64], int]:
    """Return samples (N, channels) and the sampling rate."""
    soundfile = require("soundfile", "audio", "reading audio")
    try:
        sound, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (RuntimeError, OSError, TypeError, ValueError, MemoryError) as error:
        reason = getattr(error, "error_string", "") or error
        text = " ".join(str(reason).split()).rstrip(".")
        raise DataError(f"cannot be read as audio: {text}") from None
    if rate < 1:
        raise DataError(f"is sampled at {rate} Hz by its header")
    return sound, int(rate)


def _resampled(sound: NDArray[np.float64], own: int, rate: Any) -> NDArray[np.float64]:
    soxr = require("soxr", "audio", "resampling")
    if not 1 / _FURTHEST <= own / rate <= _FURTHEST:
        raise DataError(f"sampled at {own} Hz, too far from {rate} Hz to resample")
    resampled: NDArray[np.float64] = soxr.resample(sound, own, rate)
    return resampled


# What a header promises ---------------------------------------------------------------------------


def _check_complete(path: Path) -> None:
    """Compare a WAV or SPHERE file's length with its header's: libsndfile takes what there is."""
    try:
        with path.open("rb") as file:
            promised = _promised(file)
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None
    if size == 0:
        raise DataError("is empty: 0 bytes")
    if size < promised:
        raise DataError(f"is truncated: {size} bytes, its header promises {promised}")


def _promised(file: BinaryIO) -> int:
    head = file.read(1024)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        file.seek(12)
        return next((end for name, end in _chunks(file) if name == b"data"), 0)
    if sphere := re.match(rb"NIST_1A\n\s*(\d+)\n", head):
        fields = dict(re.findall(rb"(\w+) -i (\d+)", head))
        sizes = [int(fields.get(key, 0)) for key in
                 (b"sample_count", b"sample_n_bytes", b"channel_count")]  # fmt: skip
        return int(sphere[1]) + math.prod(sizes)
    return 0


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    while len(header := file.read(8)) == 8:
        size = int.from_bytes(header[4:], "little")
        # a writer that could not seek back leaves the size at its largest: it promises nothing
        yield header[:4], 0 if size == 0xFFFFFFFF else file.tell() + size
        file.seek(size + size % 2, 1)
