"""Clips in one NumPy file, with their axes in any order."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data import arrays
from seqvae_data.config import Arrays
from seqvae_data.images.config import Clips
from seqvae_data.images.pixels import unit

__all__ = ["build"]


def build(config: Clips, request: DataRequest) -> Splits:
    """Read or map the clips and share them among the parts."""
    stored = Arrays(
        path=config.path, key=config.key, labels=config.labels, split=config.split,
        normalise=config.normalise, cache=config.cache,
    )  # fmt: skip
    return arrays.build(stored, request, frames=partial(_frames, config), prepare=unit)


def _frames(config: Clips, x: NDArray[Any], name: str) -> NDArray[Any]:
    """Return a view of clips as (N, T, C, H, W)."""
    if x.ndim != len(config.layout) or 0 in x.shape or x.dtype.kind not in "biuf":
        raise DataError(
            f"{config.path}, array '{name}': expected numbers of shape "
            f"({', '.join(config.layout.upper())}), got {x.dtype} {x.shape}; see data.layout"
        )
    axes = [config.layout.index(axis) for axis in "ntchw" if axis in config.layout]
    view = x.transpose(axes)
    return view if "c" in config.layout else np.expand_dims(view, 2)
