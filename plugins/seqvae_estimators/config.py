"""Settings of critics and of the estimators that train them."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import MIEstimatorConfig
from seqvae_core.records import Shapes, Variable
from seqvae_core.settings import OptimizerConfig

if TYPE_CHECKING:
    from seqvae_estimators.contrastive import ShiftedEstimator
    from seqvae_estimators.density_ratio import DensityRatioEstimator
    from seqvae_estimators.networks import Marginal, PairNetwork

__all__ = ["CLUB", "NWJ", "CriticConfig", "DensityRatio", "FittedConfig", "InfoNCE"]

_positive = validators.ge(1)
_share = [validators.gt(0.0), validators.lt(1.0)]
_adversarial = OptimizerConfig(lr=1e-4, betas=(0.5, 0.9))


@frozen(kw_only=True)
class CriticConfig:
    """A network over a pair of variables, (a, b) → one logit a row, and the player that trains it.

    `conv` and `recurrent` read [a_t, b_t] frame by frame, a global variable repeated in every
    frame, and take sequences of any length; `mlp` reads whole sequences side by side, up to
    `length` frames. `location` looks at one frame, or one place of a grid, at a time, and answers
    with the mean of its logits: it sees what the pair shares there and no more. Over a variable
    on a grid, (D, H, W), `conv` convolves in two dimensions. Where both variables are global
    every kind is the MLP over [a, b].

    Attributes:
        name: the kind of network.
        width: of the hidden layers, and of the one hidden layer behind the pooling over time.
        depth: how many convolutions, recurrent layers, or hidden layers of the MLP.
        kernel: frames that one convolution sees, an odd number.
        length: of `mlp`, the most frames of a sequence; shorter ones are filled up with zeros.
        spectral_norm: whether each layer is held at spectral norm 1 (Miyato et al., 2018); not
            for `recurrent`.
        r1: weight of half the squared gradient of the logit on true pairs, with respect to both
            variables, in the critic's loss (Mescheder et al., 2018); 0 for none.
        steps: of the player, for each step of the model.
        after: whether the player steps behind the model.
        optimizer: of the player.
    """

    name: Literal["mlp", "recurrent", "conv", "location"]
    width: int = field(default=128, validator=_positive)
    depth: int = field(default=2, validator=_positive)
    kernel: int = field(default=5, validator=_positive)
    length: int | None = field(default=None, validator=validators.optional(_positive))
    spectral_norm: bool = False
    r1: float = field(default=0.0, validator=validators.ge(0.0))
    steps: int = field(default=1, validator=_positive)
    after: bool = False
    optimizer: OptimizerConfig = _adversarial

    def __attrs_post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"'kernel' must be odd: {self.kernel}")
        if self.spectral_norm and self.name == "recurrent":
            raise ValueError("'spectral_norm' must be false for critic 'recurrent'")

    def build(self, a: Variable, b: Variable) -> "PairNetwork":
        """Build the network for two variables, in this order.

        Raises:
            ShapeError: if `mlp` has no `length` for a local variable.
        """
        from seqvae_estimators.networks import build_network

        return build_network(self, a, b)

    def build_marginal(self, a: Variable) -> "Marginal":
        """Build a network over one global variable: an MLP, whatever the kind."""
        from seqvae_estimators.networks import build_marginal

        return build_marginal(self, a)


@frozen(kw_only=True)
class FittedConfig(MIEstimatorConfig):
    """An estimator that trains a fresh critic on some rows and reads it on others.

    Attributes:
        critic: the network and, of its player, the optimiser; its `steps` and `after` matter to a
            regularizer alone.
        steps: the most optimiser steps of an estimate.
        batch_size: pairs in a step.
        check_every: steps between looks at the validation part.
        patience: looks without a better loss before training stops.
        shuffles: how many false pairs each held-out row is scored in; all there are if fewer.
        valid_share: share of the rows that stop the training early.
        test_share: share of the rows that the estimate is read from.
    """

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


@frozen(kw_only=True)
class DensityRatio(FittedConfig):
    """I(a; b) by a discriminator between pairs that belong together and pairs that do not.

    Attributes:
        batch_size: pairs of either sort in a step.
    """

    name: ClassVar[str] = "density-ratio"

    def build(self, shapes: Shapes) -> "DensityRatioEstimator":
        """Build the estimator; the shapes do not matter to it."""
        from seqvae_estimators.density_ratio import DensityRatioEstimator

        return DensityRatioEstimator(self)


@frozen(kw_only=True)
class _Shifted(FittedConfig):
    """An estimator whose critic is trained on true pairs and their shifts within the batch.

    Attributes:
        negatives: false pairs of each row in a training step; all there are if fewer.
    """

    negatives: int = field(default=15, validator=_positive)

    def build(self, shapes: Shapes) -> "ShiftedEstimator[Any]":
        """Build the estimator; the shapes do not matter to it."""
        from seqvae_estimators.contrastive import ShiftedEstimator

        return ShiftedEstimator(self)


@frozen(kw_only=True)
class InfoNCE(_Shifted):
    """The lower bound of contrastive prediction, at most ln(1 + the number of false pairs)."""

    name: ClassVar[str] = "infonce"
    bound: ClassVar[Literal["lower", "upper", "none"]] = "lower"


@frozen(kw_only=True)
class NWJ(_Shifted):
    """The lower bound of Nguyen, Wainwright and Jordan, without a ceiling but of large variance."""

    name: ClassVar[str] = "nwj"
    bound: ClassVar[Literal["lower", "upper", "none"]] = "lower"


@frozen(kw_only=True)
class CLUB(_Shifted):
    """The contrastive log-ratio of a trained Gaussian q(a|b); above I(a; b) where q is close.

    Of a global and a local variable the global one is predicted, of two alike the second. It is
    loose: Gaussians with correlation ρ have ρ²/(1 - ρ²), not -½ ln(1 - ρ²).
    """

    name: ClassVar[str] = "club"
    bound: ClassVar[Literal["lower", "upper", "none"]] = "upper"
    loose: ClassVar[bool] = True
