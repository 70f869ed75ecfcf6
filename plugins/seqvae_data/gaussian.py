"""Vectors from a linear-Gaussian model, whose entropy is known."""

import math

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.records import Splits
from seqvae_data.config import LinearGaussian
from seqvae_data.frames import Rows
from seqvae_data.items import assemble, divide

__all__ = ["build", "covariance"]


def build(config: LinearGaussian, request: DataRequest) -> Splits:
    """Draw the vectors and share them among the parts."""
    generator = np.random.default_rng(request.seed)
    latent = generator.standard_normal((config.count, config.factors))
    noise = config.noise * generator.standard_normal((config.count, config.size))
    x = (latent @ _columns(config).T + noise).astype(np.float32)[:, None]
    parts = divide(Rows(x, {}, "linear-gaussian"), config.split, request)
    log_det = float(np.linalg.slogdet(covariance(config))[1])
    entropy = 0.5 * (config.size * math.log(2.0 * math.pi * math.e) + log_det)
    return evolve(assemble(*parts, request, scaled=False), entropy=entropy)


def covariance(config: LinearGaussian) -> NDArray[np.float64]:
    """Return the covariance of x, (size, size)."""
    columns = _columns(config)
    found: NDArray[np.float64] = columns @ columns.T + config.noise**2 * np.eye(config.size)
    return found


def _columns(config: LinearGaussian) -> NDArray[np.float64]:
    normal = np.random.default_rng(0).standard_normal((config.size, config.factors))
    lengths = 2.0 * config.decay ** np.arange(config.factors)
    columns: NDArray[np.float64] = np.linalg.qr(normal)[0] * lengths
    return columns
