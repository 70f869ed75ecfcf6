"""Settings of the VMI regularizer and of the Q networks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import RegularizerConfig
from seqvae_core.records import Shapes
from seqvae_core.settings import OptimizerConfig

if TYPE_CHECKING:
    from seqvae_basics.codes import Code
    from seqvae_vmi.networks import QNetwork
    from seqvae_vmi.regularizer import VMIRegularizer

__all__ = ["VMI", "QConfig"]

_published = OptimizerConfig(lr=1e-4)
_positive = validators.ge(1)
_widths: Any = validators.and_(validators.min_len(1), validators.deep_iterable(_positive))


@frozen(kw_only=True)
class QConfig:
    """The network Q(c|x̃) and the player that trains it.

    It reads decoded frames x̃ and answers for a global code off their mean over time, for a local
    one frame by frame. `conv2d` looks at single images, `mlp` at single frames of any shape;
    `conv` and `recurrent` see the frames around as well.

    Attributes:
        name: the kind of network.
        channels: of `conv2d`, its convolutions, 4×4 of stride 2.
        hidden: width of the layers; of `conv2d`, of the one over the whole grid behind the
            convolutions; in each direction, of `recurrent`.
        depth: how many layers; not of `conv2d`.
        kernel: frames that a layer of `conv` spans, an odd number.
        steps: of the player, for each step of the model.
        after: whether the player steps behind the model, as published.
        optimizer: of the player.
    """

    name: Literal["conv2d", "mlp", "conv", "recurrent"]
    channels: tuple[int, ...] = field(default=(64, 128), validator=_widths)
    hidden: int = field(default=128, validator=_positive)
    depth: int = field(default=2, validator=_positive)
    kernel: int = field(default=5, validator=_positive)
    steps: int = field(default=1, validator=_positive)
    after: bool = True
    optimizer: OptimizerConfig = _published

    def __attrs_post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"'kernel' must be odd: {self.kernel}")

    def build(self, shapes: Shapes, codes: "Sequence[Code]") -> "QNetwork":
        """Build the network for frames of `shapes`.

        Raises:
            ShapeError: if `conv2d` is not given frames (C, H, W), or too small ones.
        """
        from seqvae_vmi.networks import QNetwork

        return QNetwork(self, shapes, codes)


@frozen(kw_only=True)
class VMI(RegularizerConfig):
    """Raise I(c; x̃) of selected codes c: λ·E[-ln Q(c|x̃)], Q trained beside the model.

    Pairs from the prior ask the decoder to show c; those from the posterior also reward a c that x̃
    shows by way of other latents.

    Attributes:
        weight: λ, in nats beside the negative ELBO in nats.
        codes: which numbers of which latents: "z", "z[3]", "z[:2]", "z[0, 4:8]"; of a categorical
            latent an index counts its groups.
        weights: a factor of each code's part; all 1 if left out.
        pairs: where (c, x̃) come from: decoded samples of the posterior, draws from the prior, or
            both, for one half of the batch each. Pairs from the prior train the decoder alone.
        entropy: "dropped", as published, or "kept": the term is then λ·(E[-ln Q] - H(c)), minus the
            bound, with H(c) of the batch's aggregated posterior for pairs from the posterior.
        critic: Q and its player.
    """

    name: ClassVar[str] = "vmi"

    codes: tuple[str, ...] = field(validator=validators.min_len(1))
    weights: tuple[float, ...] = field(
        default=(), validator=validators.deep_iterable(validators.ge(0.0))
    )
    pairs: Literal["posterior", "prior", "both"] = "posterior"
    entropy: Literal["dropped", "kept"] = "dropped"
    critic: QConfig = QConfig(name="conv")

    def __attrs_post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.codes):
            raise ValueError(
                f"'weights' must be as many as 'codes': {len(self.weights)}, {len(self.codes)}"
            )

    @property
    def couples_batch(self) -> bool:  # type: ignore[override]
        """Whether rows influence one another: in an aggregate's entropy, in who is drawn anew."""
        return self.pairs == "both" or (self.entropy == "kept" and self.pairs == "posterior")

    def build(self, shapes: Shapes) -> "VMIRegularizer":
        """Build the term and Q; warn where a constant categorical code pays.

        Raises:
            ShapeError: for a code that is none of the model's, or frames that Q cannot read.
            ConfigError: for an autoregressive decoder, or `entropy = "kept"` of a local code.
        """
        from seqvae_vmi.regularizer import VMIRegularizer

        return VMIRegularizer(self, shapes)
