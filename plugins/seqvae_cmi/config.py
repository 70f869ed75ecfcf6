"""Settings of the CMI regularizer and of the MI-VAE baseline."""

import warnings
from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import MIEstimatorConfig, RegularizerConfig
from seqvae_core.errors import ConfigError
from seqvae_core.records import Shapes
from seqvae_estimators.config import CriticConfig

if TYPE_CHECKING:
    from seqvae_cmi.regularizer import CMIRegularizer, MIVAERegularizer

__all__ = ["CMI", "MIVAE"]

_conv = CriticConfig(name="conv")
_mlp = CriticConfig(name="mlp")
_gamma = [validators.ge(0.0), validators.lt(1.0)]


def _offers_critic(_: object, __: object, value: MIEstimatorConfig | None) -> None:
    if value is not None and not value.offers_critic:
        raise ConfigError(
            f"estimator '{value.name}' offers no critic; cmi needs one that does (density-ratio)"
        )


@frozen(kw_only=True)
class CMI(RegularizerConfig):
    """Raise I(x; z) and lower I(z; s), adversarially: γ·(E[logit D(z, s)] - KL(z)).

    Attributes:
        weight: γ in [0, 1); 0 is the plain VAE. Of the schedules, the latent's KL weight must
            stay above γ at every step.
        alpha: how much of I(z; s) is penalised, in [0, 1]. Below 1 a second discriminator, on z
            alone, keeps KL(q(z)‖p(z)) at its full weight; 0 is the MI-VAE.
        negatives: where z of the false pairs comes from: the prior, as the method has it, or
            other sequences, an ablation that leaves KL(q(z)‖p(z)) weighed 1 - γ.
        global_latent: z; the only global latent when left out.
        local: s, a local latent or a local feature of the decoder; the only one when left out.
        critic: the discriminator and its player.
        estimator: what estimates I(z; s) in the discriminator's place, with a network of its own;
            `critic` then sets the player (steps, after, optimizer) and the discriminator on z
            alone. One that bounds I(z; s) from below is allowed, with a warning.
    """

    name: ClassVar[str] = "cmi"

    weight: float = field(default=0.5, validator=_gamma)
    alpha: float = field(default=1.0, validator=[validators.ge(0.0), validators.le(1.0)])
    negatives: Literal["prior", "shuffled"] = "prior"
    global_latent: str | None = None
    local: str | None = None
    critic: CriticConfig = _conv
    estimator: MIEstimatorConfig | None = field(default=None, validator=_offers_critic)

    def __attrs_post_init__(self) -> None:
        if self.negatives == "shuffled" and (self.alpha != 1.0 or self.estimator is not None):
            raise ValueError(
                "'negatives' = \"shuffled\" must not be given with 'alpha' or 'estimator'"
            )

    @property
    def couples_batch(self) -> bool:  # type: ignore[override]
        """Whether rows influence one another: with some estimators they do."""
        return self.estimator is not None and self.estimator.couples_batch

    @property
    def min_batch(self) -> int:  # type: ignore[override]
        """Two where false pairs are of other sequences, else one."""
        return 2 if self.negatives == "shuffled" or self.estimator is not None else 1

    def build(self, shapes: Shapes) -> "CMIRegularizer":
        """Build the term and its critic.

        Raises:
            ShapeError: if z or s is missing, ambiguous, or of the other scope.
        """
        from seqvae_cmi.regularizer import CMIRegularizer

        if self.estimator is not None and self.estimator.bound == "lower":
            warnings.warn(
                f"cmi minimises estimator '{self.estimator.name}', a lower bound of I(z; s): "
                "it can fall while the information stays",
                stacklevel=2,
            )
        return CMIRegularizer(self, shapes)


@frozen(kw_only=True)
class MIVAE(RegularizerConfig):
    """Raise I(x; z) alone, adversarially: γ·(E[logit D(z)] - KL(z)), the MI-VAE baseline.

    Attributes:
        weight: γ in [0, 1), as in `cmi`.
        global_latent: z; the only global latent when left out.
        critic: the discriminator on z, an MLP whatever its name, and its player.
    """

    name: ClassVar[str] = "mi-vae"

    weight: float = field(default=0.5, validator=_gamma)
    global_latent: str | None = None
    critic: CriticConfig = _mlp

    def build(self, shapes: Shapes) -> "MIVAERegularizer":
        """Build the term and its critic.

        Raises:
            ShapeError: if z is missing, ambiguous, or local.
        """
        from seqvae_cmi.regularizer import MIVAERegularizer

        return MIVAERegularizer(self, shapes)
