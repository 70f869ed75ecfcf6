"""A Gaussian law of one variable given another, for CLUB."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqvae_core.functional import gaussian_log_prob, masked_mean, masked_sum, zero_padding
from seqvae_core.records import Latent, Variable
from seqvae_estimators.config import CriticConfig
from seqvae_estimators.networks import dense

__all__ = ["Predictive"]

_LOGVAR = 8.0  # ln σ² stays within ± this


class Predictive(nn.Module):
    """ln q(target|other), (B,) nats, diagonal Gaussian.

    The target is the global variable, or the second of two alike; of two local ones each frame of
    it is predicted from the other's frames around it.

    Args:
        a: the first variable.
        b: the second.
        config: width, depth and kernel.
    """

    def __init__(self, a: Variable, b: Variable, config: CriticConfig):
        super().__init__()
        self.swapped = a.scope == "global" and b.scope == "local"
        target, other = (a, b) if self.swapped else (b, a)
        self.pooled = target.scope == "global"
        sizes = [other.size, *[config.width] * config.depth] if other.scope == "local" else []
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, config.kernel, padding="same")
            for before, after in pairwise(sizes)
        )
        inputs = config.width if sizes else other.size
        self.head = dense(inputs, config.width, 1 if sizes else config.depth, 2 * target.size)

    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return ln q of each pair, (B,)."""
        target, other = (a, b) if self.swapped else (b, a)
        if not self.convolutions:
            return self._log_prob(target.sample.flatten(1), other.sample.flatten(1)).sum(1)
        hidden = zero_padding(other.sample.flatten(2), other.mask)
        for layer in self.convolutions:
            hidden = F.leaky_relu(layer(hidden.transpose(1, 2)), 0.2).transpose(1, 2)
            hidden = zero_padding(hidden, other.mask)
        if self.pooled:
            hidden = masked_mean(hidden, other.mask)
            return self._log_prob(target.sample.flatten(1), hidden).sum(1)
        mask = target.mask & other.mask
        value = zero_padding(target.sample.flatten(2), mask)
        return masked_sum(self._log_prob(value, hidden), mask)

    def _log_prob(self, value: Tensor, hidden: Tensor) -> Tensor:
        mean, raw = self.head(hidden).chunk(2, -1)
        return gaussian_log_prob(value, mean, _LOGVAR * torch.tanh(raw / _LOGVAR))
