"""Likelihoods of numbers that take a few levels, such as grey values.

x in [0, 1] is rounded to the levels 0, 1/(n - 1), ..., 1 when it enters the likelihood; its log
probability is that of its level, in nats, at most 0.

References:
    PixelCNN++ (Salimans et al., 2017), section 2.1 | arXiv:1701.05517
"""

import math
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn import functional as F

from seqvae_basics.autoregressive_config import CategoricalLikelihood, DiscretisedLogisticMixture
from seqvae_basics.distributions import sampled_kl
from seqvae_basics.likelihoods import within_unit
from seqvae_basics.networks import FrameHead
from seqvae_core.components import Likelihood
from seqvae_core.functional import full_precision
from seqvae_core.noise import Noise
from seqvae_core.records import Shapes

__all__ = ["Categorical", "CategoricalOutput", "LogisticMixture", "LogisticMixtureOutput"]


def _draw(weights: Tensor, noise: Noise) -> Tensor:
    """Draw indices of the last axis, by the inverse of the distribution function."""
    # divided by its own last value it ends at 1, and an index without weight is never drawn
    ends = weights.cumsum(-1)
    ends = ends / ends[..., -1:]
    return (ends <= noise.uniform(ends[..., 0])[..., None]).sum(-1)


@frozen(eq=False)
class Categorical:
    """Independent categorical variables over levels in [0, 1].

    Attributes:
        logits: unnormalised log probabilities, (B, [T,] *event, levels).
    """

    logits: Tensor = field(converter=full_precision)

    @property
    def mean(self) -> Tensor:
        """The mean level, (B, [T,] *event), in [0, 1]."""
        levels = torch.arange(self.logits.shape[-1]).to(self.logits)
        return (torch.softmax(self.logits, -1) * levels).sum(-1) / (len(levels) - 1)

    def rsample(self, noise: Noise) -> Tensor:
        """Return levels, (B, [T,] *event); no gradient flows through them."""
        index = _draw(torch.softmax(self.logits.detach(), -1), noise)
        return index.to(self.logits) / (self.logits.shape[-1] - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return ln of the probability of the level nearest to `value`, in nats."""
        last = self.logits.shape[-1] - 1
        index = (value * last).round().long().clamp(0, last)[..., None]
        return torch.log_softmax(self.logits, -1).gather(-1, index).squeeze(-1)

    def kl(self, other: Any, sample: Tensor) -> Tensor:
        """Return the estimate ln q - ln p of the elementwise KL at `sample`, in nats."""
        return sampled_kl(self, other, sample)

    def detach(self) -> "Categorical":
        """Return the same distribution without its graph."""
        return Categorical(self.logits.detach())


@frozen(eq=False, kw_only=True)
class LogisticMixture:
    """Independent mixtures of logistics over [-1, 1], each rounded to the nearest level.

    The lowest level has all that lies below it, the highest all above: the levels' probabilities
    sum to 1.

    Attributes:
        logits: unnormalised log weights of the components, (B, [T,] *event, K).
        location: of each component in the scale where the levels run from -1 to 1, likewise.
        log_scale: ln of each component's scale there, likewise.
        levels: how many.
    """

    logits: Tensor = field(converter=full_precision)
    location: Tensor = field(converter=full_precision)
    log_scale: Tensor = field(converter=full_precision)
    levels: int

    @property
    def mean(self) -> Tensor:
        """The mean before rounding, cut to [0, 1]: at most half a level off, (B, [T,] *event)."""
        # the integral of 1 - F from -1 to 1
        above, below = ((self.location - end) / self.log_scale.exp() for end in (-1.0, 1.0))
        spread = self.log_scale.exp() * (F.softplus(above) - F.softplus(below))
        return 0.5 * (torch.softmax(self.logits, -1) * spread).sum(-1)

    def rsample(self, noise: Noise) -> Tensor:
        """Return levels, (B, [T,] *event); no gradient flows through them."""
        index = _draw(torch.softmax(self.logits.detach(), -1), noise.of("component"))[..., None]
        location, log_scale = (
            value.detach().gather(-1, index).squeeze(-1)
            for value in (self.location, self.log_scale)
        )
        uniform = noise.uniform(location)
        drawn = location + log_scale.exp() * (uniform.log() - (-uniform).log1p())
        return quantised(0.5 * (drawn.clamp(-1.0, 1.0) + 1.0), self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return ln of the probability of the level nearest to `value`, in nats (eq. 2).

        For a level between its edges a < b, in units of the scale from the location,
        \(\sigma(b) - \sigma(a) = \sigma(b)\,\sigma(-a)\,(1 - e^{a-b})\), whose logarithm neither
        cancels nor overflows, however far off the level is.
        """
        last = self.levels - 1
        level = (value * last).round().clamp(0, last)[..., None]
        precision = torch.exp(-self.log_scale)
        centre = (2.0 * level / last - 1.0 - self.location) * precision
        half = precision / last
        below_upper = F.logsigmoid(centre + half)
        above_lower = F.logsigmoid(half - centre)
        between = below_upper + above_lower + torch.log(-torch.expm1(-2.0 * half))
        inner = torch.where(level < last, between, above_lower)
        component = torch.where(level > 0, inner, below_upper)
        return torch.logsumexp(torch.log_softmax(self.logits, -1) + component, -1)

    def kl(self, other: Any, sample: Tensor) -> Tensor:
        """Return the estimate ln q - ln p of the elementwise KL at `sample`, in nats."""
        return sampled_kl(self, other, sample)

    def detach(self) -> "LogisticMixture":
        """Return the same distribution without its graph."""
        return LogisticMixture(
            logits=self.logits.detach(), location=self.location.detach(),
            log_scale=self.log_scale.detach(), levels=self.levels,
        )  # fmt: skip


def quantised(x: Tensor, levels: int) -> Tensor:
    """Return x in [0, 1] rounded to the nearest of 0, 1/(levels - 1), ..., 1."""
    return (x * (levels - 1)).round() / (levels - 1)


class _LevelsOutput(Likelihood):
    """A head with several numbers for each number of a frame, and x rounded to levels."""

    def __init__(self, name: str, levels: int, parameters: int, shapes: Shapes):
        super().__init__()
        self.name, self.levels, self.first = name, levels, shapes.frame[0]
        frame = (self.first * parameters, *shapes.frame[1:])
        self.head = FrameHead(shapes.decoded, frame)

    def parameters_of(self, features: Tensor) -> Tensor:
        """Return (B, T, *frame, parameters) in float32 at least."""
        raw = full_precision(self.head(features))
        return raw.reshape(*raw.shape[:2], self.first, -1, *raw.shape[3:]).movedim(3, -1)

    def support(self, x: Tensor, noise: Noise) -> Tensor:
        """Return x rounded to its levels; raise `DataError` outside [0, 1]."""
        return quantised(within_unit(x, self.name), self.levels)


class CategoricalOutput(_LevelsOutput):
    """A categorical variable for each number of a frame."""

    def __init__(self, config: CategoricalLikelihood, shapes: Shapes):
        super().__init__(config.name, config.levels, config.levels, shapes)

    def forward(self, features: Tensor) -> Categorical:
        """Return the categorical variable of each number of a frame."""
        return Categorical(self.parameters_of(features))


class LogisticMixtureOutput(_LevelsOutput):
    """A discretised mixture of logistics for each number of a frame.

    A scale is within a factor of 4.5·levels of 1: the narrowest puts 98 % on one level.
    """

    def __init__(self, config: DiscretisedLogisticMixture, shapes: Shapes):
        super().__init__(config.name, config.levels, 3 * config.components, shapes)
        self.limit = math.log(config.levels) + 1.5

    def forward(self, features: Tensor) -> LogisticMixture:
        """Return the mixture of each number of a frame."""
        logits, location, raw = self.parameters_of(features).chunk(3, -1)
        log_scale = self.limit * torch.tanh(raw / self.limit)
        return LogisticMixture(
            logits=logits, location=location, log_scale=log_scale, levels=self.levels
        )
