"""Settings of critics and of the estimators that train them."""

from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import MIEstimatorConfig
from seqvae_core.records import Shapes, Variable
from seqvae_core.settings import OptimizerConfig

if TYPE_CHECKING:
    from seqvae_estimators.density_ratio import DensityRatioEstimator
    from seqvae_estimators.networks import PairNetwork

__all__ = ["CriticConfig", "DensityRatio"]

_positive = validators.ge(1)
_share = [validators.gt(0.0), validators.lt(1.0)]
_adversarial = OptimizerConfig(lr=1e-4, betas=(0.5, 0.9))


@frozen(kw_only=True)
class CriticConfig:
    """A network over a pair of variables, (a, b) → one logit a row, and the player that trains it.

    `conv` and `recurrent` read [a_t, b_t] frame by frame, a global variable repeated in every
    frame, and take sequences of any length; `mlp` reads whole sequences side by side, up to
    `length` frames. Where both variables are global every kind is the MLP over [a, b].

    Attributes:
        name: the kind of network.
        width: of the hidden layers, and of the one hidden layer behind the pooling over time.
        depth: how many convolutions, recurrent layers, or hidden layers of the MLP.
        kernel: frames that one convolution sees, an odd number.
        length: of `mlp`, the most frames of a sequence; shorter ones are filled up with zeros.
        steps: of the player, for each step of the model.
        after: whether the player steps behind the model.
        optimizer: of the player.
    """

    name: Literal["mlp", "recurrent", "conv"]
    width: int = field(default=128, validator=_positive)
    depth: int = field(default=2, validator=_positive)
    kernel: int = field(default=5, validator=_positive)
    length: int | None = field(default=None, validator=validators.optional(_positive))
    steps: int = field(default=1, validator=_positive)
    after: bool = False
    optimizer: OptimizerConfig = _adversarial

    def __attrs_post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"'kernel' must be odd: {self.kernel}")

    def build(self, a: Variable, b: Variable) -> "PairNetwork":
        """Build the network for two variables, in this order.

        Raises:
            ShapeError: if `mlp` has no `length` for a local variable.
        """
        from seqvae_estimators.networks import build_network

        return build_network(self, a, b)


@frozen(kw_only=True)
class DensityRatio(MIEstimatorConfig):
    """I(a; b) by a discriminator between pairs that belong together and pairs that do not.

    Attributes:
        critic: the discriminator; its `steps` and `after` matter to a regularizer alone.
        steps: the most optimiser steps of an estimate.
        batch_size: pairs of either sort in a step.
        check_every: steps between looks at the validation part.
        patience: looks without a better loss before training stops.
        shuffles: how many false pairs each held-out row is scored in; all there are if fewer.
        valid_share: share of the rows that stop the training early.
        test_share: share of the rows that the estimate is read from.
    """

    name: ClassVar[str] = "density-ratio"
    offers_critic: ClassVar[bool] = True
    couples_batch: ClassVar[bool] = True
    min_batch: ClassVar[int] = 10

    critic: CriticConfig = CriticConfig(name="conv", optimizer=OptimizerConfig(lr=1e-3))
    steps: int = field(default=2000, validator=_positive)
    batch_size: int = field(default=128, validator=_positive)
    check_every: int = field(default=50, validator=_positive)
    patience: int = field(default=10, validator=_positive)
    shuffles: int = field(default=32, validator=_positive)
    valid_share: float = field(default=0.2, validator=_share)
    test_share: float = field(default=0.3, validator=_share)

    def __attrs_post_init__(self) -> None:
        if self.valid_share + self.test_share > 0.8:
            raise ValueError(
                f"'valid_share' + 'test_share' must be <= 0.8: "
                f"{self.valid_share + self.test_share:.6g}"
            )

    def build(self, shapes: Shapes) -> "DensityRatioEstimator":
        """Build the estimator; the shapes do not matter to it."""
        from seqvae_estimators.density_ratio import DensityRatioEstimator

        return DensityRatioEstimator(self)
