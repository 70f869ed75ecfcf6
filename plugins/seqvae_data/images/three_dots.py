"""Three dots: images whose six factors are where the dots are."""

from functools import cache, partial
from itertools import combinations

import numpy as np
import torch
from attrs import evolve
from numpy.typing import NDArray
from torch import Tensor

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Factors, Splits
from seqvae_data.images.factors import Made, drawn
from seqvae_data.images.factors_config import ThreeDots

__all__ = ["FACTORS", "build", "render"]

FACTORS = {"x0": 64, "y0": 64, "x1": 64, "y1": 64, "x2": 64, "y2": 64}

_SIDE = 64  # pixels
_FINE = 10  # canvas pixels a pixel
_CANVAS = _SIDE * _FINE
_RADIUS = 0.08 * _CANVAS
_BYTES = -(-_FINE * _FINE // 8)  # for the bits of a pixel
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)

# a window of pixels; a bit for each of their canvas pixels; how many of these are covered
_Disc = tuple[tuple[slice, ...], NDArray[np.uint8], NDArray[np.uint8]]


def build(config: ThreeDots, request: DataRequest) -> Splits:
    """Draw the factors; the images are rendered when asked for."""
    parts = (config.count, config.valid, config.test)
    splits = drawn(FACTORS, parts, _picture, request, config.name)
    return evolve(
        splits, factors=Factors(sizes=FACTORS, ordered=frozenset(FACTORS), render=_sequences)
    )


def _sequences(factors: NDArray[np.integer]) -> Tensor:
    """Draw many images at once, as sequences (N, 1, 1, 64, 64)."""
    return torch.from_numpy(render(factors))[:, None]


def _picture(factors: NDArray[np.uint8]) -> Made:
    return Made((len(factors), 1, _SIDE, _SIDE), partial(_one, factors))


def _one(factors: NDArray[np.uint8], row: int) -> NDArray[np.float32]:
    image: NDArray[np.float32] = render(factors[row : row + 1])[0, 0]
    return image


def render(
    factors: NDArray[np.integer],  # (N, 6), x0 y0 x1 y1 x2 y2
) -> NDArray[np.float32]:  # (N, 1, 64, 64)
    """Draw images: white is 1, black 0, every grey a multiple of 1/100.

    A dot is a disc of radius 51.2 about (x, y)·640/63 on a canvas of 640×640, whose pixels are
    black or white. A pixel is black if the disc comes as near as half a pixel to it along its row
    or its column, as with a disc that is filled after its outline was drawn by lines. The image
    is the mean over squares of 10×10.

    Source: Rhodes and Lee, Local Disentanglement in Variational Auto-Encoders Using Jacobian L1
    Regularization, arXiv 2106.02923. OpenCV, which the paper draws with, makes the disc a polygon
    of 72 corners: a dot then has the same area to 0.01 pixels, while about 15 of the pixels at its
    edge differ, most of them by 0.01 or 0.02 and none by more than 0.08.

    Raises:
        DataError: if the factors are not (N, 6) integers in 0..63.
    """
    factors = np.asarray(factors)
    if factors.ndim != 2 or factors.shape[1] != 6 or factors.dtype.kind not in "iu":
        raise DataError(
            f"expected integer factors of shape (N, 6), got {factors.dtype} {factors.shape}"
        )
    if factors.size and (factors.min() < 0 or factors.max() > 63):
        raise DataError(f"expected factors in 0..63, got {factors.min()}..{factors.max()}")
    images = np.empty((len(factors), 1, _SIDE, _SIDE), np.float32)
    for image, dots in zip(images, factors.reshape(-1, 3, 2).tolist(), strict=True):
        image[0] = _white([_disc(x, y) for x, y in dots])
    return images / np.float32(_FINE * _FINE)


def _white(discs: list[_Disc]) -> NDArray[np.uint8]:
    """Return how many of each pixel's canvas pixels no disc covers, (64, 64)."""
    white = np.full((_SIDE, _SIDE), _FINE * _FINE, np.uint8)
    if not any(_meet(one, other) for (one, *_), (other, *_) in combinations(discs, 2)):
        for window, _, count in discs:
            white[window] -= count
        return white
    black = np.zeros((_SIDE, _SIDE, _BYTES), np.uint8)
    for window, covered, _ in discs:
        black[window] |= covered
    for window, *_ in discs:
        white[window] = _FINE * _FINE - _count(black[window])
    return white


def _meet(one: tuple[slice, ...], other: tuple[slice, ...]) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _count(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = _ONES[bits].sum(-1, dtype=np.uint8)
    return found


@cache
def _disc(x: int, y: int) -> _Disc:
    """Return what a dot covers.

    All 4096 of them take 8 MB.
    """
    columns, across, near_across = _reach(x)
    rows, down, near_down = _reach(y)
    covered = down[:, None] + near_across <= _RADIUS**2
    covered |= near_down[:, None] + across <= _RADIUS**2
    canvas = np.zeros((_CANVAS, _CANVAS), bool)
    canvas[rows, columns] = covered
    window = tuple(slice(each.start // _FINE, -(-each.stop // _FINE)) for each in (rows, columns))
    pixels = canvas.reshape(_SIDE, _FINE, _SIDE, _FINE).swapaxes(1, 2)[window]
    bits = np.packbits(pixels.reshape(*pixels.shape[:2], -1), -1)
    return window, bits, _count(bits)


def _reach(
    factor: int,
) -> tuple[slice, NDArray[np.float64], NDArray[np.float64]]:
    """Return the canvas pixels that a dot may touch along one axis, and their squared distances.

    The second distance is half a pixel shorter.
    """
    centre = factor * _CANVAS / 63
    first, last = int(max(0, centre - _RADIUS - 1)), int(min(_CANVAS, centre + _RADIUS + 2))
    distance = np.abs(np.arange(first, last) - centre)
    return slice(first, last), distance**2, np.maximum(distance - 0.5, 0.0) ** 2
