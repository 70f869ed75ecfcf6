"""MPI3D, from its `.npz` files, and mosaics of it."""

import math
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.download import Remote
from seqvae_data.frames import Rows
from seqvae_data.images.factors import Made, drawn, located, with_factors
from seqvae_data.images.factors_config import MPI3D, MPI3DMulti
from seqvae_data.images.pixels import frames_first
from seqvae_data.items import assemble, divide
from seqvae_data.numpy_files import Archive

__all__ = ["FACTORS", "PUBLISHED", "REMOTES", "build", "build_multi", "implied"]

FACTORS = (
    "object_color", "object_shape", "object_size", "camera_height", "background_color",
    "horizontal_axis", "vertical_axis",
)  # fmt: skip
PUBLISHED = ((6, 6, 2, 3, 3, 40, 40), (4, 4, 2, 3, 3, 40, 40))
REMOTES = {
    variant: Remote(
        name=f"mpi3d_{variant}.npz",
        urls=(
            "https://storage.googleapis.com/disentanglement_dataset/Final_Dataset/"
            f"mpi3d_{variant}.npz",
        ),
        checksum=f"md5:{digest}",  # not its authors', but that of a widely used loader
    )
    for variant, digest in {
        "toy": "55889cb7c7dfc655d6e0277beee88868",
        "realistic": "59a6225b88b635365f70c91b3e52f70f",
        "real": "0f33f609918fb5c97996692f91129802",
    }.items()
}

_ORDERED = ("object_size", "camera_height", "horizontal_axis", "vertical_axis")
_FIXED = (3, 1, 1, 0, 2)  # what the mosaics' images have in common, in the order of FACTORS


def build(config: MPI3D, request: DataRequest) -> Splits:
    """Map the images and share them among the parts."""
    path, images, sizes = _opened(config)
    rows = Rows(images[:, None], implied(sizes), f"{path}, array 'images'")
    parts = divide(rows, config.split, request)
    splits = assemble(*parts, request, scaled=config.normalise, prepare=frames_first)
    return with_factors(splits, rows, FACTORS, _ORDERED)


def implied(sizes: tuple[int, ...]) -> dict[str, NDArray[np.uint8]]:
    """Return the factors of all images in their order, (N,) each, the last varying fastest.

    Args:
        sizes: the number of values of each factor.
    """
    values = np.indices(sizes, dtype=np.uint8).reshape(len(sizes), -1)
    return dict(zip(FACTORS, values, strict=True))


def build_multi(config: MPI3DMulti, request: DataRequest) -> Splits:
    """Map the images and draw the angles of the arms."""
    path, images, sizes = _opened(config)
    if any(value >= size for value, size in zip(_FIXED, sizes, strict=False)):
        raise DataError(f"{path}: expected factors that have the values {_FIXED}, got {sizes}")
    first = int(np.ravel_multi_index((*_FIXED, 0, 0), sizes))
    arms = images[first : first + sizes[5] * sizes[6]]
    arms = arms.reshape(*sizes[5:], *images.shape[1:])[:, :, ::2, ::2]
    factors = {f"{axis}_{k}": sizes[5 + i]
               for k in range(4) for i, axis in enumerate(("horizontal", "vertical"))}  # fmt: skip
    parts = (config.count, config.valid, config.test)
    return drawn(factors, parts, partial(_picture, arms), request, config.name)


def _picture(arms: NDArray[np.uint8], factors: NDArray[np.uint8]) -> Made:
    height, width, channels = arms.shape[2:]
    shape = (len(factors), 1, 2 * height, 2 * width, channels)
    return Made(shape, partial(_mosaic, arms, factors))


def _mosaic(
    arms: NDArray[np.uint8],  # (40, 40, 32, 32, 3)
    factors: NDArray[np.uint8],  # (N, 8)
    row: int,
) -> NDArray[np.uint8]:
    upper_left, lower_left, upper_right, lower_right = (
        arms[horizontal, vertical] for horizontal, vertical in factors[row].reshape(4, 2)
    )
    return np.block([[[upper_left], [upper_right]], [[lower_left], [lower_right]]])


def _opened(config: MPI3D | MPI3DMulti) -> tuple[Path, NDArray[np.uint8], tuple[int, ...]]:
    remote = REMOTES[config.variant]
    path = located(config.path, remote, "CC BY 4.0", download=config.download, name="mpi3d")
    images = Archive(path, config.cache)["images"]
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DataError(
            f"{path}, array 'images': expected uint8 (N, 64, 64, 3), "
            f"got {images.dtype} {images.shape}"
        )
    return path, images, _sizes(path, len(images), config.sizes)


def _sizes(path: Path, count: int, given: tuple[int, ...] | None) -> tuple[int, ...]:
    for sizes in PUBLISHED if given is None else (given,):
        if math.prod(sizes) == count:
            return sizes
    wanted = " or ".join(str(math.prod(s)) for s in (PUBLISHED if given is None else (given,)))
    raise DataError(
        f"{path}: expected {wanted} images, got {count}; data.sizes says how many values each "
        "factor has"
    )
