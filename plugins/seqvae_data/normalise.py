"""Per-channel mean and standard deviation over real frames, kept as plain data."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.frames import Stats

__all__ = ["apply", "fit", "invert"]


def fit(parts: Iterable[Stats]) -> dict[str, list[float]]:
    """Return `mean` and `std` of each channel over all frames (and a grid), C numbers each.

    Raises:
        DataError: if a channel is constant.
    """
    rest = iter(parts)  # a million sums need not be in memory at once
    chunks = iter(lambda: list(islice(rest, 4096)), [])
    stats = Stats.merged([Stats.merged(chunk) for chunk in chunks])
    mean, std = stats.total / stats.count, np.sqrt(stats.square / stats.count)
    constant = np.flatnonzero(std <= 1e-7 * np.abs(mean))
    if constant.size:
        raise DataError(
            f"{constant.size} of {std.size} channels are constant on the training part and cannot "
            f"be normalised, the first is channel {constant[0]} at {mean[constant[0]]:.6g}"
        )
    return {"mean": mean.tolist(), "std": std.tolist()}


def apply(
    x: NDArray[Any],  # (T, C, ...)
    fitted: Mapping[str, Any],
) -> NDArray[np.float32]:
    """Return x with each channel shifted and scaled by what was fitted."""
    mean, std = _fitted(x, fitted)
    scaled: NDArray[np.float32] = ((x - mean) / std).astype(np.float32)
    return scaled


def invert(
    x: NDArray[Any],  # (T, C, ...)
    fitted: Mapping[str, Any],
) -> NDArray[np.float32]:
    """Return normalised x in the units that the data came in."""
    mean, std = _fitted(x, fitted)
    restored: NDArray[np.float32] = (x * std + mean).astype(np.float32)
    return restored


def _fitted(x: NDArray[Any], fitted: Mapping[str, Any]) -> list[NDArray[np.float64]]:
    shape = (-1, *[1] * (x.ndim - 2))
    return [np.asarray(fitted[key], dtype=np.float64).reshape(shape) for key in ("mean", "std")]
