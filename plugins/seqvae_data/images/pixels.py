"""From pixels as stored to what a model sees: float32 in [0, 1], channels first."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError

__all__ = ["frames_first", "resize", "unit"]


def unit(
    x: NDArray[Any],  # any shape
) -> NDArray[np.float32]:
    """Return pixels as float32 in [0, 1]: integers divided by 255, truth as 0 and 1, floats as is.

    Raises:
        DataError: for integers outside 0..255, floats outside [0, 1] or not finite, other types.
    """
    if x.dtype.kind not in "biuf":
        raise DataError(f"expected pixels as integers, bool or floats, got {x.dtype}")
    largest = 255 if x.dtype.kind in "iu" else 1
    any_value = x.dtype.kind == "b" or x.dtype == np.uint8 or not x.size
    if not any_value and not (x.min() >= 0 and x.max() <= largest):
        raise DataError(
            f"expected pixels of type {x.dtype} in [0, {largest}], "
            f"got {x.min():.6g} to {x.max():.6g}"
        )
    return x.astype(np.float32) / np.float32(largest)


def frames_first(
    x: NDArray[Any],  # (T, H, W) or (T, H, W, C)
) -> NDArray[np.float32]:  # (T, C, H, W)
    """Return frames as float32 in [0, 1] with their channels first; grey frames get one channel.

    Raises:
        DataError: for another shape, C not 1, 3 or 4, or pixels that `unit` refuses.
    """
    if x.ndim == 3:
        return unit(x)[:, None]
    if x.ndim != 4 or x.shape[3] not in {1, 3, 4}:
        raise DataError(f"expected frames (T, H, W) or (T, H, W, 1, 3 or 4), got {x.shape}")
    return np.ascontiguousarray(unit(x).transpose(0, 3, 1, 2))


def resize(
    image: NDArray[Any],  # (H, W) or (H, W, C)
    height: int,
    width: int,
) -> NDArray[np.floating]:  # (height, width) or (height, width, C)
    """Return an image of another size: each new pixel is the mean of the area that it covers.

    Pixels that are covered in part count in part, so that the image's mean stays what it was.
    """
    rows, columns = _shares(image.shape[0], height), _shares(image.shape[1], width)
    resized = np.tensordot(columns, np.tensordot(rows, image, 1), (1, 1))
    return np.moveaxis(resized, 0, 1)


def _shares(old: int, new: int) -> NDArray[np.float64]:
    """Return which share of each new pixel (rows) lies on each old one, (new, old)."""
    edges = np.linspace(0.0, old, new + 1)
    start = np.maximum(edges[:-1, None], np.arange(old))
    stop = np.minimum(edges[1:, None], np.arange(1, old + 1))
    shares: NDArray[np.float64] = np.maximum(stop - start, 0.0) * (new / old)
    return shares
