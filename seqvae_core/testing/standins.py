"""Minimal parts of a model, which host the one part that is under test."""

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

import torch
from attrs import frozen
from torch import Tensor, nn

from seqvae_core.components import (
    Backbone,
    BackboneConfig,
    Decoder,
    DecoderConfig,
    Draw,
    Encoder,
    EncoderConfig,
    Likelihood,
    LikelihoodConfig,
    Prior,
    PriorConfig,
)
from seqvae_core.functional import (
    categorical_kl,
    full_precision,
    gaussian_log_prob,
    grouped_log_softmax,
    gumbel_softmax,
    masked_mean,
    one_hot,
)
from seqvae_core.records import Distribution, Noise, Shapes, Variable

__all__ = [
    "DECODED",
    "FEATURES",
    "Categorical",
    "Gaussian",
    "StandInBackbone",
    "StandInDecoder",
    "StandInEncoder",
    "StandInLikelihood",
    "StandInPrior",
    "law",
    "raw_width",
]

FEATURES = 6
DECODED = (5,)


@frozen(eq=False)
class Gaussian:
    """Independent Gaussians of a mean and a log variance, float32 at least."""

    mean: Tensor
    logvar: Tensor

    def rsample(self, noise: Noise) -> Tensor:
        """Return mean + σ·ε, (B, [T,] *event)."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise.normal(self.mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the elementwise log density in nats, (B, [T,] *event)."""
        return gaussian_log_prob(value, self.mean, self.logvar)

    def kl(self, other: Any, sample: Tensor) -> Tensor:
        """Return ln q - ln p at `sample`, in nats, whatever p is."""
        ratio: Tensor = self.log_prob(sample) - other.log_prob(sample)
        return ratio

    def detach(self) -> "Gaussian":
        """Return the same distribution without its graph."""
        return Gaussian(self.mean.detach(), self.logvar.detach())


@frozen(eq=False)
class Categorical:
    """Groups of categorical variables, float32 at least, with samples relaxed at τ = 1."""

    logits: Tensor
    groups: int

    @property
    def log_probabilities(self) -> Tensor:
        """The log probability of each value, (B, [T,] D)."""
        return grouped_log_softmax(self.logits, self.groups)

    @property
    def mean(self) -> Tensor:
        """The probabilities, (B, [T,] D)."""
        return self.log_probabilities.exp()

    def rsample(self, noise: Noise) -> Tensor:
        """Return a relaxed sample, (B, [T,] D)."""
        return gumbel_softmax(self.logits, noise.uniform(self.logits), 1.0, self.groups)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return c·ln π in nats, (B, [T,] D)."""
        return value * self.log_probabilities

    def kl(self, other: Any, sample: Tensor) -> Tensor:
        """Return the terms of the KL in nats, whatever the sample."""
        return categorical_kl(self.logits, other.log_probabilities, self.groups)

    def detach(self) -> "Categorical":
        """Return the same distribution without its graph."""
        return Categorical(self.logits.detach(), self.groups)


def raw_width(variable: Variable) -> int:
    """Return how many numbers `law` makes a latent's distribution of."""
    return variable.size if variable.categorical else 2 * variable.size


def law(raw: Tensor, variable: Variable) -> Distribution:
    """Return the distribution of a latent, of its family, from a network's numbers."""
    shape = (*raw.shape[:-1], *variable.shape)
    if variable.categorical:
        return Categorical(full_precision(raw).reshape(shape), variable.categorical.groups)
    mean, logvar = full_precision(raw).chunk(2, -1)
    return Gaussian(mean.reshape(shape), torch.tanh(logvar).reshape(shape))


class LinearBackbone(Backbone):
    """One linear layer over single frames."""

    def __init__(self, frame: tuple[int, ...], features: int):
        super().__init__()
        self.features = features
        self.layer = nn.Linear(prod(frame), features)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, F) from (B, T, *frame)."""
        features: Tensor = self.layer(x.flatten(2))
        return features


class LinearEncoder(Encoder):
    """Local latents from their frame's features, global ones from the features' mean."""

    def __init__(self, features: int, latents: list[Variable]):
        super().__init__()
        self.latents = latents
        self.heads = nn.ModuleDict({v.name: nn.Linear(features, raw_width(v)) for v in latents})

    def forward(self, features: Tensor, mask: Tensor, draw: Draw) -> None:
        """Draw every latent."""
        pooled = masked_mean(features, mask)
        for variable in self.latents:
            seen = pooled if variable.scope == "global" else features
            draw(variable.name, law(self.heads[variable.name](seen), variable))


class StandardPrior(Prior):
    """N(0, I), or every value as likely."""

    def __init__(self, variable: Variable):
        super().__init__()
        self.variable = variable
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, sample: Tensor, mask: Tensor) -> Distribution:
        """Return the prior of the sample's shape."""
        zero = torch.zeros_like(sample)
        if self.variable.categorical:
            return Categorical(zero, self.variable.categorical.groups)
        return Gaussian(zero, zero)

    def sample(self, n: int, lengths: Tensor, noise: Noise) -> Tensor:
        """Draw (n, *shape), or (n, max(lengths), *shape); one-hot if categorical."""
        frames = () if self.variable.scope == "global" else (int(lengths.max()),)
        zero: Any = self.zero
        drawn = self(zero.expand(n, *frames, *self.variable.shape), lengths).rsample(noise)
        groups = self.variable.categorical
        return one_hot(drawn, groups.groups) if groups else drawn


class LinearDecoder(Decoder):
    """One layer over each step's latents; local features are tanh of another."""

    def __init__(
        self, shapes: Shapes, decoded: tuple[int, ...], local_features: tuple[Variable, ...]
    ):
        super().__init__()
        self.latents = list(shapes.latents.values())
        width = sum(variable.size for variable in self.latents)
        self.decoded = decoded
        self.local_features = {variable.name: variable.shape for variable in local_features}
        self.layer = nn.Linear(width, prod(self.decoded))
        self.heads = nn.ModuleDict({v.name: nn.Linear(width, v.size) for v in local_features})

    def forward(
        self, latents: Mapping[str, Tensor], x: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return features (B, T, *decoded) and local features."""
        frames = [latents[v.name].shape[1] for v in self.latents if v.scope == "local"]
        extent = frames[0] if frames else 1 if x is None else x.shape[1]
        values = [
            latents[v.name].flatten(1)[:, None].expand(-1, extent, -1)
            if v.scope == "global"
            else latents[v.name].flatten(2)
            for v in self.latents
        ]
        joined = torch.cat(values, 2)
        local = {
            name: torch.tanh(head(joined)).reshape(*joined.shape[:2], *self.local_features[name])
            for name, head in self.heads.items()
        }
        decoded = torch.tanh(self.layer(joined)).reshape(*joined.shape[:2], *self.decoded)
        return decoded, local


class GaussianLikelihood(Likelihood):
    """N(mean, σ²) with a linear mean and a trained σ."""

    def __init__(self, decoded: tuple[int, ...], frame: tuple[int, ...]):
        super().__init__()
        self.frame = frame
        self.on_grid = len(decoded) == len(frame) == 3 and decoded[1:] == frame[1:]
        self.layer = (
            nn.Linear(decoded[0], frame[0])
            if self.on_grid
            else nn.Linear(prod(decoded), prod(frame))
        )
        self.logvar = nn.Parameter(torch.zeros((frame[0], 1, 1) if self.on_grid else frame))

    def forward(self, features: Tensor) -> Gaussian:
        """Return the Gaussian of each number of a frame."""
        if self.on_grid:
            mean = full_precision(self.layer(features.movedim(2, -1)).movedim(-1, 2))
        else:
            mean = full_precision(self.layer(features.flatten(2)))
            mean = mean.reshape(*features.shape[:2], *self.frame)
        return Gaussian(mean, torch.tanh(self.logvar).expand_as(mean))


@frozen(kw_only=True)
class StandInBackbone(BackboneConfig):
    """A linear layer over single frames."""

    name: ClassVar[str] = "testing-backbone"

    width: int = FEATURES

    def build(self, shapes: Shapes) -> Backbone:
        """Build the module."""
        return LinearBackbone(shapes.frame, self.width)


@frozen(kw_only=True)
class StandInEncoder(EncoderConfig):
    """Linear posteriors, of the features' mean for global latents."""

    name: ClassVar[str] = "testing-encoder"

    def build(self, shapes: Shapes) -> Encoder:
        """Build the module."""
        return LinearEncoder(shapes.features, list(shapes.latents.values()))


@frozen(kw_only=True)
class StandInPrior(PriorConfig):
    """N(0, I), or uniform for a categorical latent, of either scope."""

    name: ClassVar[str] = "testing-prior"

    def build(self, shapes: Shapes) -> Prior:
        """Build the module."""
        return StandardPrior(shapes.latent(shapes.target))


@frozen(kw_only=True)
class StandInDecoder(DecoderConfig):
    """One layer over each step's latents.

    Attributes:
        decoded: shape of one frame of the features.
        local_features: what it returns beside them.
    """

    name: ClassVar[str] = "testing-decoder"

    decoded: tuple[int, ...] = DECODED
    local_features: tuple[Variable, ...] = ()

    def build(self, shapes: Shapes) -> Decoder:
        """Build the module."""
        return LinearDecoder(shapes, self.decoded, self.local_features)


@frozen(kw_only=True)
class StandInLikelihood(LikelihoodConfig):
    """A Gaussian of linear mean and trained scale."""

    name: ClassVar[str] = "testing-likelihood"

    def build(self, shapes: Shapes) -> Likelihood:
        """Build the module."""
        return GaussianLikelihood(shapes.decoded, shapes.frame)
