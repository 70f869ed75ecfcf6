"""The handwritten digits that ship with scikit-learn."""

import numpy as np

from seqvae_core.components import DataRequest
from seqvae_core.records import Splits
from seqvae_data.frames import Rows
from seqvae_data.images.factors_config import Digits
from seqvae_data.images.pixels import frames_first
from seqvae_data.items import assemble, divide

__all__ = ["build"]


def build(config: Digits, request: DataRequest) -> Splits:
    """Read the images, whose levels are 0..16, and share them among the parts."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images[:, None] / 16).astype(np.float32)
    rows = Rows(images, {"digit": found.target}, "the digits of scikit-learn")
    parts = divide(rows, config.split, request)
    return assemble(*parts, request, scaled=config.normalise, prepare=frames_first)
