"""Likelihoods: decoder features (B, T, *decoded) to distributions over (B, T, *frame)."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from seqvae_basics.config import BernoulliLikelihood, GaussianLikelihood
from seqvae_basics.distributions import Bernoulli, Gaussian, bounded, unbounded
from seqvae_basics.networks import FrameHead
from seqvae_core.components import Likelihood
from seqvae_core.errors import DataError
from seqvae_core.functional import full_precision
from seqvae_core.noise import Noise
from seqvae_core.records import Shapes

__all__ = ["BernoulliOutput", "GaussianOutput", "within_unit"]


class GaussianOutput(Likelihood):
    """N(mean, σ²) for each number of a frame; a trained ln σ² is within (-12, 12).

    What is trained is ln σ where there is one for all numbers, as is usual, else ln σ².
    """

    fixed: Tensor

    def __init__(self, config: GaussianLikelihood, shapes: Shapes):
        super().__init__()
        self.scale, self.symmetric = config.scale, config.support == "symmetric"
        self.mean = FrameHead(shapes.decoded, shapes.frame, config.head)
        logvar = 2.0 * math.log(config.sigma)
        if self.scale == "fixed":
            self.register_buffer("fixed", torch.tensor(logvar), persistent=False)
        elif self.scale == "network":
            self.network = FrameHead(shapes.decoded, shapes.frame)
            nn.init.constant_(cast(Tensor, self.network.layer.bias), unbounded(logvar))
        elif self.scale == "scalar":
            self.log_sigma = nn.Parameter(torch.tensor(0.5 * unbounded(logvar)))
        else:
            # on a grid as on each of its places, which an autoregressive decoder asks for alone
            shape = shapes.frame if len(shapes.decoded) == 1 else (shapes.frame[0], 1, 1)
            self.learned = nn.Parameter(torch.full(shape, unbounded(logvar)))

    def forward(self, features: Tensor) -> Gaussian:
        """Return the Gaussian of each number of a frame."""
        mean = full_precision(self.mean(features))
        return Gaussian(torch.tanh(mean) if self.symmetric else mean, self._logvar(features))

    def support(self, x: Tensor, noise: Noise) -> Tensor:
        """Return x, or 2x - 1 on a symmetric support; raise `DataError` outside [0, 1] then."""
        return 2.0 * within_unit(x, "gaussian") - 1.0 if self.symmetric else x

    def _logvar(self, features: Tensor) -> Tensor:
        if self.scale == "fixed":
            return self.fixed
        if self.scale == "scalar":
            return bounded(2.0 * self.log_sigma)
        return bounded(self.learned if self.scale == "learned" else self.network(features))


class BernoulliOutput(Likelihood):
    """Bernoulli(p) for each number of a frame."""

    def __init__(self, config: BernoulliLikelihood, shapes: Shapes):
        super().__init__()
        self.binarize = config.binarize
        self.head = FrameHead(shapes.decoded, shapes.frame, config.head)

    def forward(self, features: Tensor) -> Bernoulli:
        """Return the Bernoulli variable of each number of a frame."""
        return Bernoulli(self.head(features))

    def support(self, x: Tensor, noise: Noise) -> Tensor:
        """Return x, or a draw of Bernoulli(x); raise `DataError` outside [0, 1]."""
        x = within_unit(x, "bernoulli")
        return (noise.uniform(x) < x).to(x.dtype) if self.binarize == "dynamic" else x


def within_unit(x: Tensor, name: str) -> Tensor:
    """Return x; raise `DataError` for numbers outside [0, 1], with the likelihood's name."""
    low, high = torch.aminmax(x)
    if low < 0 or high > 1:
        raise DataError(f"likelihood '{name}' expects x within [0, 1], got {low:.3g} to {high:.3g}")
    return x
