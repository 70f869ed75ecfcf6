"""Patches of Olshausen and Field's whitened natural images, from their `IMAGES.mat`."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.noise import Noise
from seqvae_core.records import Splits
from seqvae_data.frames import Rows, check_finite
from seqvae_data.images.config import Olshausen
from seqvae_data.images.factors import Made
from seqvae_data.images.pixels import frames_first
from seqvae_data.items import assemble
from seqvae_data.matlab import load_mat

__all__ = ["build"]

_SIDE = 16  # pixels


def build(config: Olshausen, request: DataRequest) -> Splits:
    """Read the images and draw where the patches lie, which are cut out when asked for."""
    try:
        images = _images(config.path)
    except DataError as error:
        raise DataError(f"{config.path}: {error}") from None
    low, high = float(images.min()), float(images.max())
    scaled = ((images - low) / (high - low)).astype(np.float32)
    numbers, noise = range(len(images)), Noise(request.seed).of(config.name)
    places = [
        _places(noise.of("train"), numbers[:-2], images.shape[1:], config.count),
        _places(noise.of("valid"), numbers[-2:-1], images.shape[1:], config.valid),
        _places(noise.of("test"), numbers[-1:], images.shape[1:], config.test),
    ]
    every = np.concatenate(places)
    patches = Made((len(every), 1, _SIDE, _SIDE), partial(_patch, scaled, every))
    ends = np.cumsum([len(part) for part in places]).tolist()
    labels = {"image": every[:, 0].copy()}
    train, valid, test = (
        Rows(patches, labels, str(config.path), chosen=range(end - len(part), end))
        for end, part in zip(ends, places, strict=True)
    )
    facts = {"range": [low, high]}
    return assemble(train, valid, test, request, scaled=False, facts=facts, prepare=frames_first)


def _places(
    noise: Noise, numbers: range, shape: tuple[int, ...], count: int
) -> NDArray[np.int64]:  # (count, 3)
    """Draw the image, the first row and the first column of patches."""
    sizes = {"image": len(numbers), "row": shape[0] - _SIDE + 1, "column": shape[1] - _SIDE + 1}
    drawn = [noise.of(name).integers(size, (count,)).numpy() for name, size in sizes.items()]
    drawn[0] += numbers[0]
    return np.stack(drawn, 1)


def _patch(
    images: NDArray[np.float32],  # (N, H, W)
    places: NDArray[np.int64],  # (count, 3)
    row: int,
) -> NDArray[np.float32]:  # (16, 16)
    image, top, left = places[row]
    return images[image, top : top + _SIDE, left : left + _SIDE]


def _images(path: Path) -> NDArray[np.floating]:  # (N, H, W)
    arrays = load_mat(path)
    if "IMAGES" not in arrays:
        raise DataError(f"expected a variable 'IMAGES', got {', '.join(arrays) or 'none'}")
    images = arrays["IMAGES"]
    large = images.ndim == 3 and min(images.shape[:2]) >= _SIDE and images.shape[2] >= 3
    if not large or images.dtype.kind != "f":
        raise DataError(
            f"expected 'IMAGES' as floats (512, 512, 10), got {images.dtype} {images.shape}"
        )
    check_finite(images)
    if images.min() == images.max():
        raise DataError(f"all numbers of 'IMAGES' are {images.min():g}")
    return images.transpose(2, 0, 1)
