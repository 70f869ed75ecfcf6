"""Settings of the CMI regularizer."""

from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen, validators

from seqvae_core.components import MIEstimatorConfig, RegularizerConfig
from seqvae_core.errors import ConfigError
from seqvae_core.records import Shapes
from seqvae_estimators.config import CriticConfig

if TYPE_CHECKING:
    from seqvae_cmi.regularizer import CMIRegularizer

__all__ = ["CMI"]

_conv = CriticConfig(name="conv")


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
        global_latent: z; the only global latent when left out.
        local: s, a local latent or a local feature of the decoder; the only one when left out.
        critic: the discriminator and its player.
        estimator: what estimates the divergence in the discriminator's place, with a network of
            its own; `critic` then still sets the player (steps, after, optimizer).
    """

    name: ClassVar[str] = "cmi"

    weight: float = field(default=0.5, validator=[validators.ge(0.0), validators.lt(1.0)])
    global_latent: str | None = None
    local: str | None = None
    critic: CriticConfig = _conv
    estimator: MIEstimatorConfig | None = field(default=None, validator=_offers_critic)

    def build(self, shapes: Shapes) -> "CMIRegularizer":
        """Build the term and its critic.

        Raises:
            ShapeError: if z or s is missing, ambiguous, or of the other scope.
        """
        from seqvae_cmi.regularizer import CMIRegularizer

        return CMIRegularizer(self, shapes)
