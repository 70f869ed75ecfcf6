"""Per-channel mean and standard deviation over real frames, kept as plain data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError

__all__ = ["apply", "fit"]


def fit(
    frames: Sequence[NDArray[np.float32]],  # each (T, C, ...)
) -> dict[str, list[float]]:
    """Return `mean` and `std` of each channel over all frames (and a grid), C numbers each.

    Raises:
        DataError: if a channel is constant.
    """
    axes = (0, *range(2, frames[0].ndim))
    count = sum(x.size // x.shape[1] for x in frames)
    mean = sum(x.sum(axes, dtype=np.float64) for x in frames) / count
    square = sum(((x - _spread(mean, x)) ** 2).sum(axes) for x in frames)
    std = np.sqrt(square / count)
    constant = np.flatnonzero(std <= 1e-7 * np.abs(mean))
    if constant.size:
        raise DataError(
            f"{constant.size} of {std.size} channels are constant on the training part and cannot "
            f"be normalised, the first is channel {constant[0]} at {mean[constant[0]]:.6g}"
        )
    return {"mean": mean.tolist(), "std": std.tolist()}


def apply(
    x: NDArray[np.float32],  # (T, C, ...)
    fitted: dict[str, Any],
) -> NDArray[np.float32]:
    """Return x with each channel shifted and scaled by what was fitted."""
    mean, std = (np.asarray(fitted[key], dtype=np.float64) for key in ("mean", "std"))
    scaled: NDArray[np.float32] = ((x - _spread(mean, x)) / _spread(std, x)).astype(np.float32)
    return scaled


def _spread(value: NDArray[np.float64], x: NDArray[Any]) -> NDArray[np.float64]:
    return value.reshape(-1, *[1] * (x.ndim - 2))
