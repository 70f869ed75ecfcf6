"""Settings of the regularizers of FactorVAE, β-TCVAE, DIP-VAE and AnnealedVAE."""

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import RegularizerConfig
from seqvae_core.records import Shapes
from seqvae_core.settings import Schedule
from seqvae_estimators.config import CriticConfig

if TYPE_CHECKING:
    from seqvae_baselines.regularizers import (
        AnnealedRegularizer,
        BetaTCRegularizer,
        DIPRegularizer,
        FactorRegularizer,
    )

__all__ = [
    "DIPVAE",
    "DIPVAEI",
    "DIPVAEII",
    "AnnealedVAE",
    "BetaTCVAE",
    "Discriminator",
    "FactorVAE",
]

_RISE = Schedule(name="linear", steps=100_000)
_finite = [validators.ge(0.0), validators.lt(math.inf)]
_positive = validators.ge(1)


@frozen(kw_only=True)
class Discriminator(CriticConfig):
    """The published discriminator of FactorVAE and its player; what is left out stays as there.

    An `optimizer` that is given is a whole one.
    """

    name: Literal["mlp", "recurrent", "conv", "location"] = "mlp"
    width: int = field(default=1000, validator=_positive)
    depth: int = field(default=6, validator=_positive)
    after: bool = True


@frozen(kw_only=True)
class FactorVAE(RegularizerConfig):
    """Lower the total correlation of a global latent, adversarially: γ·logit D(z).

    Attributes:
        weight: γ; published from 10 to 100. The latent's own KL weight stays 1.
        global_latent: z; the only global latent when left out.
        critic: the discriminator of z from z with its dimensions permuted across the batch, an
            MLP whatever its name, and its player, which the paper steps behind the model.
    """

    name: ClassVar[str] = "factor-vae"
    min_batch: ClassVar[int] = 2

    global_latent: str | None = None
    critic: Discriminator = Discriminator()

    def build(self, shapes: Shapes) -> "FactorRegularizer":
        """Build the term and its critic.

        Raises:
            ShapeError: if z is missing, ambiguous, or local.
        """
        from seqvae_baselines.regularizers import FactorRegularizer

        return FactorRegularizer(self, shapes)


@frozen(kw_only=True)
class BetaTCVAE(RegularizerConfig):
    """Lower the total correlation of a global latent, read off the batch's posteriors.

    Attributes:
        weight: β - 1: beside a KL weight of 1 the total correlation is then weighed β.
        global_latent: z; the only global latent when left out.
        samples: N, the sequences of the training part. With "weighted" it moves the value by
            (D - 1) ln N and no gradient; with "stratified" it weighs a sequence's own posterior.
        sampling: how a batch stands for the data: "weighted", whose value is far too high and
            whose gradient is that of the mean over the batch, or "stratified", unbiased for q(z).
    """

    name: ClassVar[str] = "beta-tcvae"
    couples_batch: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2

    global_latent: str | None = None
    samples: int = field(validator=validators.ge(2))
    sampling: Literal["weighted", "stratified"] = "weighted"

    def build(self, shapes: Shapes) -> "BetaTCRegularizer":
        """Build the term.

        Raises:
            ShapeError: if z is missing, ambiguous, or local.
        """
        from seqvae_baselines.regularizers import BetaTCRegularizer

        return BetaTCRegularizer(self, shapes)


@frozen(kw_only=True)
class DIPVAE(RegularizerConfig):
    """Pull a covariance of a global latent towards the identity.

    Attributes:
        weight: λ_od, of the squared covariances.
        global_latent: z; the only global latent when left out.
        ratio: λ_d / λ_od, with λ_d the weight of the squared differences of variances from 1.
    """

    couples_batch: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2
    of_samples: ClassVar[bool]

    global_latent: str | None = None
    ratio: float = field(validator=_finite)

    def build(self, shapes: Shapes) -> "DIPRegularizer":
        """Build the term.

        Raises:
            ShapeError: if z is missing, ambiguous, local, or not Gaussian where it must be.
        """
        from seqvae_baselines.regularizers import DIPRegularizer

        return DIPRegularizer(self, shapes)


@frozen(kw_only=True)
class DIPVAEI(DIPVAE):
    """Pull the covariance of a global latent's posterior means towards the identity."""

    name: ClassVar[str] = "dip-vae-i"
    of_samples: ClassVar[bool] = False

    ratio: float = field(default=10.0, validator=_finite)


@frozen(kw_only=True)
class DIPVAEII(DIPVAE):
    """Pull the covariance of a Gaussian global latent's samples towards the identity."""

    name: ClassVar[str] = "dip-vae-ii"
    of_samples: ClassVar[bool] = True

    ratio: float = field(default=1.0, validator=_finite)


@frozen(kw_only=True)
class AnnealedVAE(RegularizerConfig):
    """Hold the KL of a global latent at a capacity that rises: γ·|KL - C|, in the KL's place.

    The latent's own KL weight must be 0.

    Attributes:
        weight: γ.
        global_latent: z; the only global latent when left out.
        capacity: C in nats, at the end of its rise.
        rise: the factor on C over the steps.
        mean_of: what is held at C: each sequence's KL, or the batch's mean.
    """

    name: ClassVar[str] = "annealed-vae"

    weight: float = field(default=1000.0, validator=_finite)
    global_latent: str | None = None
    capacity: float = field(default=25.0, validator=_finite)
    rise: Schedule = _RISE
    mean_of: Literal["sequence", "batch"] = "sequence"

    @property
    def couples_batch(self) -> bool:  # type: ignore[override]
        """Whether rows influence one another: where their mean is held they do."""
        return self.mean_of == "batch"

    def build(self, shapes: Shapes) -> "AnnealedRegularizer":
        """Build the term.

        Raises:
            ShapeError: if z is missing, ambiguous, or local.
        """
        from seqvae_baselines.regularizers import AnnealedRegularizer

        return AnnealedRegularizer(self, shapes)
