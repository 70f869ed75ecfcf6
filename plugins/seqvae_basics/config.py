"""The settings of the shared parts."""

from typing import Any, ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import (
    Backbone,
    BackboneConfig,
    Decoder,
    DecoderConfig,
    Encoder,
    EncoderConfig,
    Likelihood,
    LikelihoodConfig,
    Prior,
    PriorConfig,
)
from seqvae_core.records import Shapes

__all__ = [
    "MLP",
    "Activation",
    "AutoregressiveGaussian",
    "BernoulliLikelihood",
    "Conv1d",
    "Conv2d",
    "DSAEFactorised",
    "DSAEFull",
    "FeedForward",
    "Framewise",
    "GaussianLikelihood",
    "Head",
    "Identity",
    "StandardNormal",
    "UniformCategorical",
]

Activation = Literal["relu", "elu", "softplus", "gelu", "leaky-relu", "tanh"]
Head = Literal["linear", "none"]

_positive = validators.ge(1)
_widths: Any = validators.and_(validators.min_len(1), validators.deep_iterable(_positive))


_slope: Any = validators.optional(validators.ge(0.0))


def _leaky(slope: float | None, name: Activation) -> None:
    if slope is not None and name != "leaky-relu":
        raise ValueError(f"'slope' must be left out unless 'activation' is leaky-relu: {slope:g}")


def _odd(_: object, attribute: Any, value: int) -> None:
    if value < 1 or value % 2 == 0:
        raise ValueError(f"'{attribute.name}' must be odd and >= 1: {value}")


# Backbones ---------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Identity(BackboneConfig):
    """The frame itself, flattened."""

    name: ClassVar[str] = "identity"

    def build(self, shapes: Shapes) -> Backbone:
        """Build a `FlatBackbone`."""
        from seqvae_basics.backbones import FlatBackbone

        return FlatBackbone(shapes)


@frozen(kw_only=True)
class MLP(BackboneConfig):
    """A multilayer perceptron over single frames.

    Attributes:
        hidden: widths of the layers, the last one that of the features.
        activation: after every layer.
    """

    name: ClassVar[str] = "mlp"

    hidden: tuple[int, ...] = field(default=(128,), validator=_widths)
    activation: Activation = "relu"

    def build(self, shapes: Shapes) -> Backbone:
        """Build an `MLPBackbone`."""
        from seqvae_basics.backbones import MLPBackbone

        return MLPBackbone(self, shapes)


@frozen(kw_only=True)
class Conv1d(BackboneConfig):
    """Convolutions over time: frame t of the features sees its neighbours.

    Attributes:
        channels: of the layers, the last one the width of the features.
        kernel: frames that a layer spans, odd.
        activation: after every layer.
    """

    name: ClassVar[str] = "conv1d"

    channels: tuple[int, ...] = field(default=(128,), validator=_widths)
    kernel: int = field(default=5, validator=_odd)
    activation: Activation = "relu"

    def build(self, shapes: Shapes) -> Backbone:
        """Build a `Conv1dBackbone`."""
        from seqvae_basics.backbones import Conv1dBackbone

        return Conv1dBackbone(self, shapes)


@frozen(kw_only=True)
class Conv2d(BackboneConfig):
    """Convolutions of stride 2 over single frames (C, H, W), then one linear layer.

    Attributes:
        channels: of the convolutions.
        kernel: height and width that a convolution spans.
        padding: zeros on each side; with the defaults a layer halves height and width.
        hidden: width of the features.
        activation: after every layer.
        slope: of leaky-relu below 0; 0.01 if left out.
        norm: "batch" normalises what each convolution gives over the real frames of a batch,
            before the activation; none if left out.
    """

    name: ClassVar[str] = "conv2d"

    channels: tuple[int, ...] = field(default=(32, 64), validator=_widths)
    kernel: int = field(default=3, validator=_positive)
    padding: int = field(default=1, validator=validators.ge(0))
    hidden: int = field(default=128, validator=_positive)
    activation: Activation = "relu"
    slope: float | None = field(default=None, validator=_slope)
    norm: Literal["batch"] | None = None

    def __attrs_post_init__(self) -> None:
        _leaky(self.slope, self.activation)

    @property
    def couples_batch(self) -> bool:  # type: ignore[override]
        """Whether rows influence one another, as they do with batch norm in training."""
        return self.norm is not None

    @property
    def min_batch(self) -> int:  # type: ignore[override]
        """Two with batch norm, which makes nothing of a single image, else one."""
        return 2 if self.norm else 1

    def build(self, shapes: Shapes) -> Backbone:
        """Build a `Conv2dBackbone`; raise `ShapeError` unless frames (C, H, W) are large enough."""
        from seqvae_basics.backbones import Conv2dBackbone

        return Conv2dBackbone(self, shapes)


# Encoders ----------------------------------------------------------------------------------------


@frozen(kw_only=True)
class _DSAE(EncoderConfig):
    rnn: Literal["gru", "lstm", "conv"] = "gru"
    hidden: int = field(default=128, validator=_positive)
    layers: int = field(default=1, validator=_positive)
    kernel: int = field(default=5, validator=_odd)


@frozen(kw_only=True)
class DSAEFactorised(_DSAE):
    """q(z|x) q(s|x): one bidirectional network for the global latents, one for the local ones.

    Attributes:
        rnn: the networks over time; "conv" stands for dilated convolutions.
        hidden: units in each direction; a convolution has twice as many channels.
        layers: of each network; the dilation of a convolution doubles from layer to layer.
        kernel: frames that a convolution spans, odd; recurrent networks have none.
    """

    name: ClassVar[str] = "dsae-factorised"

    def build(self, shapes: Shapes) -> Encoder:
        """Build a `DSAE`; raise `ConfigError` for a latent of an unknown family."""
        from seqvae_basics.encoders import DSAE

        return DSAE(self, shapes, conditional=False)


@frozen(kw_only=True)
class DSAEFull(_DSAE):
    """q(z|x) q(s|x, z): the network of the local latents also reads the global samples.

    Attributes:
        rnn: the networks over time; "conv" stands for dilated convolutions.
        hidden: units in each direction; a convolution has twice as many channels.
        layers: of each network; the dilation of a convolution doubles from layer to layer.
        kernel: frames that a convolution spans, odd; recurrent networks have none.
    """

    name: ClassVar[str] = "dsae-full"

    def build(self, shapes: Shapes) -> Encoder:
        """Build a `DSAE`; raise `ConfigError` for a latent of an unknown family."""
        from seqvae_basics.encoders import DSAE

        return DSAE(self, shapes, conditional=True)


@frozen(kw_only=True)
class FeedForward(EncoderConfig):
    """Linear layers right on the features: a single image needs no network over time.

    A global latent is read off the mean of its frames' features, a local one off those of its
    frame.

    Attributes:
        logvar_bias: of the layers to ln σ², at the start, in -12..12. What they give passes
            through a bound of ±12, which leaves -1 nearly as it is and makes -2.94 of -3.
    """

    name: ClassVar[str] = "feedforward"

    logvar_bias: float = field(default=-1.0, validator=(validators.ge(-12), validators.le(12)))

    def build(self, shapes: Shapes) -> Encoder:
        """Build a `FeedForwardEncoder`; raise `ConfigError` for a latent of an unknown family."""
        from seqvae_basics.encoders import FeedForwardEncoder

        return FeedForwardEncoder(self, shapes)


# Priors ------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class StandardNormal(PriorConfig):
    """N(0, I), for a Gaussian latent of either scope."""

    name: ClassVar[str] = "standard-normal"

    def build(self, shapes: Shapes) -> Prior:
        """Build a `StandardNormalPrior`; raise `ConfigError` for a categorical latent."""
        from seqvae_basics.priors import StandardNormalPrior

        return StandardNormalPrior(self, shapes)


@frozen(kw_only=True)
class AutoregressiveGaussian(PriorConfig):
    """p(s_t|s_<t) from a recurrent network over the samples before t, for a local latent.

    Attributes:
        rnn: the network.
        hidden: its width.
    """

    name: ClassVar[str] = "autoregressive-gaussian"

    rnn: Literal["gru", "lstm"] = "gru"
    hidden: int = field(default=64, validator=_positive)

    def build(self, shapes: Shapes) -> Prior:
        """Build an `AutoregressiveGaussianPrior`; raise `ConfigError` unless Gaussian, local."""
        from seqvae_basics.priors import AutoregressiveGaussianPrior

        return AutoregressiveGaussianPrior(self, shapes)


@frozen(kw_only=True)
class UniformCategorical(PriorConfig):
    """Every value as likely, for a latent of family "gumbel-categorical", of either scope."""

    name: ClassVar[str] = "uniform-categorical"

    def build(self, shapes: Shapes) -> Prior:
        """Build a `UniformCategoricalPrior`; raise `ConfigError` for a latent of another family."""
        from seqvae_basics.priors import UniformCategoricalPrior

        return UniformCategoricalPrior(self, shapes)


# Decoder -----------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Framewise(DecoderConfig):
    """Each frame from the global latents and the local ones of its step, by one network.

    Attributes:
        hidden: widths of the layers of the multilayer perceptron.
        network: "mlp" gives features (hidden[-1],); "deconv" goes on to (channels[-1], H, W).
        channels: of the transposed convolutions; the first of them starts with channels[0] too.
        kernel: height and width that a transposed convolution spans.
        start: channels that the first of them starts with; channels[0] if left out.
        strides: by which each of them multiplies height and width; 2 if left out.
        output: with "frame" a last transposed convolution, which `strides` counts too, leads to
            the frame's own shape, for a likelihood with `head = "none"`.
        activation: after every layer, but not after that to the frame.
        slope: of leaky-relu below 0; 0.01 if left out.
    """

    name: ClassVar[str] = "framewise"

    hidden: tuple[int, ...] = field(default=(128, 128), validator=_widths)
    network: Literal["mlp", "deconv"] = "mlp"
    channels: tuple[int, ...] = field(default=(64, 32), validator=_widths)
    kernel: int = field(default=4, validator=_positive)
    start: int | None = field(default=None, validator=validators.optional(_positive))
    strides: tuple[int, ...] | None = field(default=None, validator=validators.optional(_widths))
    output: Literal["features", "frame"] = "features"
    activation: Activation = "relu"
    slope: float | None = field(default=None, validator=_slope)

    def __attrs_post_init__(self) -> None:
        _leaky(self.slope, self.activation)
        if self.output == "frame" and self.network != "deconv":
            raise ValueError("'output' must be features unless 'network' is deconv: frame")
        layers = len(self.channels) + (self.output == "frame")
        if self.strides is not None and len(self.strides) != layers:
            raise ValueError(f"'strides' must be {layers} numbers: {list(self.strides)}")
        if self.kernel < max(self.strides or (2,)):
            raise ValueError(f"'kernel' must be >= the largest stride: {self.kernel}")

    def build(self, shapes: Shapes) -> Decoder:
        """Build a `FramewiseDecoder`; raise `ShapeError` for a deconv without (C, H, W)."""
        from seqvae_basics.decoders import FramewiseDecoder

        return FramewiseDecoder(self, shapes)


# Likelihoods -------------------------------------------------------------------------------------


@frozen(kw_only=True)
class GaussianLikelihood(LikelihoodConfig):
    """A Gaussian for each number of a frame.

    Attributes:
        scale: "fixed", "scalar" (one trained σ for all numbers), "learned" (one for each number of
            a frame, or for each channel where the decoder's features lie on the frame's grid) or
            "network" (predicted from the decoder's features beside the mean).
        sigma: σ in the data's unit where it is fixed, and where it starts otherwise.
        head: of the mean; see `bernoulli`.
        support: "symmetric" takes frames in [0, 1] to [-1, 1], where the mean is bound by tanh;
            frames as they are, and any mean, if left out. σ is in the unit of the support.
    """

    name: ClassVar[str] = "gaussian"

    scale: Literal["learned", "scalar", "network", "fixed"] = "learned"
    # Within the bounds of `distributions.bounded`, so that training can start from it.
    sigma: float = field(default=1.0, validator=(validators.ge(0.003), validators.le(300.0)))
    head: Head = "linear"
    support: Literal["symmetric"] | None = None

    def build(self, shapes: Shapes) -> Likelihood:
        """Build a `GaussianOutput`; raise `ShapeError` if the features do not suit the head."""
        from seqvae_basics.likelihoods import GaussianOutput

        return GaussianOutput(self, shapes)


@frozen(kw_only=True)
class BernoulliLikelihood(LikelihoodConfig):
    """A Bernoulli for each number of a frame, which must lie in [0, 1].

    Attributes:
        binarize: "dynamic" replaces x at every pass by a draw of Bernoulli(x); with "none" the
            number is taken as it is, the cross-entropy of grey values.
        head: "linear" reads one number for each of the frame's off the decoder's features, on the
            frame's grid by a 1×1 convolution; with "none" the features are these numbers.
    """

    name: ClassVar[str] = "bernoulli"

    binarize: Literal["none", "dynamic"] = "none"
    head: Head = "linear"

    def build(self, shapes: Shapes) -> Likelihood:
        """Build a `BernoulliOutput`; raise `ShapeError` if the features do not suit the head."""
        from seqvae_basics.likelihoods import BernoulliOutput

        return BernoulliOutput(self, shapes)
