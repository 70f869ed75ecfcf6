"""Elementwise distributions in nats; float32 at least, also under autocast."""

import math
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor
from torch.nn import functional as F

from seqvae_core.errors import ConfigError
from seqvae_core.functional import (
    categorical_kl,
    full_precision,
    gaussian_kl,
    gaussian_log_prob,
    grouped_log_softmax,
    gumbel_softmax,
    one_hot,
)
from seqvae_core.noise import Noise
from seqvae_core.records import Distribution

__all__ = [
    "LOGVAR_LIMIT",
    "Bernoulli",
    "Gaussian",
    "GumbelCategorical",
    "bounded",
    "sampled_kl",
    "unbounded",
]

LOGVAR_LIMIT = 12.0


def bounded(raw: Tensor) -> Tensor:
    """Return a network's raw ln σ² within (-12, 12), σ within (0.0025, 403).

    12·tanh(raw / 12): the identity near 0, and no hard edge beyond which gradients stop.
    """
    return LOGVAR_LIMIT * torch.tanh(full_precision(raw) / LOGVAR_LIMIT)


def unbounded(logvar: float) -> float:
    """Return the raw value that `bounded` maps to `logvar`."""
    return LOGVAR_LIMIT * math.atanh(logvar / LOGVAR_LIMIT)


def sampled_kl(q: Distribution, p: Any, sample: Tensor) -> Tensor:
    """Return ln q - ln p at a sample of q, whose expectation is KL(q‖p)."""
    ratio: Tensor = q.log_prob(sample) - p.log_prob(sample)
    return ratio


@frozen(eq=False)
class Gaussian:
    """Independent Gaussians.

    Attributes:
        mean: (B, [T,] *event).
    """

    mean: Tensor = field(converter=full_precision)
    _logvar: Tensor = field(converter=full_precision)  # broadcast only where it is needed

    @property
    def logvar(self) -> Tensor:
        """The log variance ln σ², (B, [T,] *event)."""
        return self._logvar.expand_as(self.mean)

    def rsample(self, noise: Noise) -> Tensor:
        """Return mean + σ·ε with ε ~ N(0, 1), (B, [T,] *event)."""
        return self.mean + torch.exp(0.5 * self._logvar) * noise.normal(self.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the elementwise log density in nats, (B, [T,] *event)."""
        return gaussian_log_prob(value, self.mean, self._logvar)

    def kl(self, other: Any, sample: Tensor) -> Tensor:
        """Return the elementwise KL in nats: closed form to a Gaussian, else at `sample`."""
        if isinstance(other, Gaussian):
            return gaussian_kl(self.mean, self._logvar, other.mean, other._logvar)
        return sampled_kl(self, other, sample)

    def detach(self) -> "Gaussian":
        """Return the same distribution without its graph."""
        return Gaussian(self.mean.detach(), self._logvar.detach())


@frozen(eq=False)
class Bernoulli:
    """Independent Bernoulli variables.

    Attributes:
        logits: ln(p / (1 - p)), (B, [T,] *event).
    """

    logits: Tensor = field(converter=full_precision)

    @property
    def mean(self) -> Tensor:
        """p, (B, [T,] *event)."""
        return torch.sigmoid(self.logits)

    def rsample(self, noise: Noise) -> Tensor:
        """Return zeros and ones, (B, [T,] *event); no gradient flows through them."""
        mean = self.mean.detach()
        return (noise.uniform(mean) < mean).to(mean.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return x·ln p + (1 - x)·ln(1 - p) in nats, finite for x in [0, 1]."""
        return value * self.logits - F.softplus(self.logits, threshold=40.0)

    def kl(self, other: Any, sample: Tensor) -> Tensor:
        """Return the estimate ln q - ln p of the elementwise KL at `sample`, in nats."""
        return sampled_kl(self, other, sample)

    def detach(self) -> "Bernoulli":
        """Return the same distribution without its graph."""
        return Bernoulli(self.logits.detach())


@frozen(eq=False)
class GumbelCategorical:
    """Groups of categorical variables, one number for each value, with relaxed samples.

    Probabilities, KL and `log_prob` are those of the plain categorical law; the samples alone are
    relaxed.

    Attributes:
        logits: unnormalised log probabilities, (B, [T,] D).
        groups: runs of D / groups numbers, each a categorical variable.
        temperature: τ of the samples.
        straight_through: whether samples are one-hot with the relaxed ones' gradient.

    References:
        Categorical reparameterization with Gumbel-softmax (Jang, Gu, Poole, 2017)
        | arXiv:1611.01144
    """

    logits: Tensor = field(converter=full_precision)
    groups: int = 1
    temperature: Tensor | float = 1.0
    straight_through: bool = False

    @property
    def log_probabilities(self) -> Tensor:
        """The log probability of each value, in nats, (B, [T,] D)."""
        return grouped_log_softmax(self.logits, self.groups)

    @property
    def mean(self) -> Tensor:
        """The probabilities, (B, [T,] D): the mean of a one-hot draw."""
        return self.log_probabilities.exp()

    def rsample(self, noise: Noise) -> Tensor:
        """Return softmax((logits + Gumbel noise) / τ) of each group, (B, [T,] D).

        With `straight_through` the same, made one-hot; its gradient stays.
        """
        relaxed = self._relaxed(noise)
        if not self.straight_through:
            return relaxed
        # the difference is 0 exactly, so that the sample is one-hot exactly
        return one_hot(relaxed, self.groups) + (relaxed - relaxed.detach())

    def one_hot(self, noise: Noise) -> Tensor:
        """Return a draw of the categorical law itself, (B, [T,] D), without a graph.

        From equal noise it is where `rsample` is largest.
        """
        return one_hot(self._relaxed(noise), self.groups)

    def _relaxed(self, noise: Noise) -> Tensor:
        uniform = noise.uniform(self.logits)
        return gumbel_softmax(self.logits, uniform, self.temperature, self.groups)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return c·ln π of each number of `value`, in nats, (B, [T,] D).

        Over a group they sum to ln π of its value for one-hot c, and to the negative cross-entropy
        for a relaxed one: the density of the relaxed law is not meant.
        """
        return value * self.log_probabilities

    def kl(self, other: Any, sample: Tensor) -> Tensor:
        """Return terms in nats that sum to the KL of each group, whatever the sample.

        Raises:
            ConfigError: if `other` has no `log_probabilities` as this law has.
        """
        if not hasattr(other, "log_probabilities"):
            raise ConfigError(
                "the prior of a categorical latent must be a categorical law "
                f"(uniform-categorical), got {type(other).__name__}"
            )
        return categorical_kl(self.logits, other.log_probabilities, self.groups)

    def detach(self) -> "GumbelCategorical":
        """Return the same distribution without its graph."""
        return evolve(self, logits=self.logits.detach())
