"""dSprites, from its `.npz` file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.download import Remote
from seqvae_data.frames import Rows
from seqvae_data.images.factors import located, with_factors
from seqvae_data.images.factors_config import DSprites
from seqvae_data.images.pixels import frames_first
from seqvae_data.items import assemble, divide
from seqvae_data.numpy_files import Archive

__all__ = ["FACTORS", "REMOTE", "build"]

FACTORS = ("color", "shape", "scale", "orientation", "pos_x", "pos_y")

_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
REMOTE = Remote(
    name=_NAME,
    urls=(f"https://github.com/google-deepmind/dsprites-dataset/raw/master/{_NAME}",),
    # not its authors', but the same in many loaders
    checksum="md5:7da33b31b13a06f4b04a70402ce90c2e",
)


def build(config: DSprites, request: DataRequest) -> Splits:
    """Map the images, read the factors and share the images among the parts."""
    path = located(config.path, REMOTE, "Apache 2.0", download=config.download, name=config.name)
    rows = _rows(path, Archive(path, config.cache), numbers=config.factors == "numbers")
    parts = divide(rows, config.split, request)
    splits = assemble(*parts, request, scaled=config.normalise, prepare=_prepare)
    return with_factors(splits, rows, FACTORS[1:], FACTORS[2:])


def _rows(path: Path, stored: Archive, *, numbers: bool) -> Rows:
    images = stored["imgs"]
    if images.ndim != 3 or images.dtype != np.uint8 or 0 in images.shape:
        raise DataError(
            f"{path}, array 'imgs': expected uint8 (N, 64, 64), got {images.dtype} {images.shape}"
        )
    classes = _factors(path, stored, "latents_classes", "iu", len(images))
    if classes.size and (classes.min() < 0 or classes.max() > 255):
        raise DataError(
            f"{path}, array 'latents_classes': expected classes in 0..255, "
            f"got {classes.min()}..{classes.max()}"
        )
    # the colour has one value; columns of their own let go of the rest
    labels = {name: classes[:, i].astype(np.uint8) for i, name in enumerate(FACTORS) if i}
    if numbers:
        values = _factors(path, stored, "latents_values", "f", len(images))
        labels |= {name: values[:, i].copy() for i, name in enumerate(FACTORS) if i > 1}
    return Rows(images[:, None], labels, f"{path}, array 'imgs'")


def _factors(path: Path, stored: Archive, name: str, kind: str, count: int) -> NDArray[Any]:
    value = stored[name]
    if value.shape != (count, 6) or value.dtype.kind not in kind:
        what = "numbers" if kind == "f" else "integers"
        raise DataError(
            f"{path}, array '{name}': expected {what} ({count}, 6), got {value.dtype} {value.shape}"
        )
    if not np.isfinite(value).all():
        raise DataError(f"{path}, array '{name}': has NaN or infinite values")
    return value


def _prepare(x: NDArray[Any]) -> NDArray[np.float32]:
    if x.max() > 1:
        raise DataError(f"expected pixels 0 and 1, got {x.max()}")
    return frames_first(x != 0)
