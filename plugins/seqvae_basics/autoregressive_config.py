"""The settings of decoders that read earlier data, and of likelihoods of quantised data."""

from typing import Any, ClassVar

from attrs import field, frozen, validators

from seqvae_basics.config import Activation
from seqvae_core.components import Decoder, DecoderConfig, Likelihood, LikelihoodConfig
from seqvae_core.records import Shapes

__all__ = [
    "CategoricalLikelihood",
    "CausalConv",
    "DiscretisedLogisticMixture",
    "PixelCNN",
]

_positive = validators.ge(1)
_widths: Any = validators.and_(validators.min_len(1), validators.deep_iterable(_positive))
_optional = validators.optional(_positive)
_levels = validators.optional(validators.ge(2))


def _odd(_: object, attribute: Any, value: int) -> None:
    if value < 3 or value % 2 == 0:
        raise ValueError(f"'{attribute.name}' must be odd and >= 3: {value}")


# Decoders ----------------------------------------------------------------------------------------


@frozen(kw_only=True)
class PixelCNN(DecoderConfig):
    """Each pixel from the latents and the pixels before it in raster order, frame by frame.

    The pixels' channels are independent given the earlier pixels. The paper's images have 13
    blocks of 64 channels.

    Attributes:
        channels: of the trunk.
        blocks: gated residual blocks behind the trunk's first layer.
        kernel: width of a block's square neighbourhood, odd; half of it is before the pixel.
        first_kernel: likewise, of the first layer.
        feature: name of the trunk's map s, the local feature.
        feature_channels: of s, a bottleneck of the trunk; `channels` if left out.
        feature_levels: values that each number of s can take, in [-1, 1]: a pixel of s holds
            channels · ln levels nats at most. Any number if left out.
        hidden: widths of the head, which reads s and the latents pixel by pixel.
        activation: of the head.
    """

    name: ClassVar[str] = "pixelcnn"

    channels: int = field(default=32, validator=_positive)
    blocks: int = field(default=5, validator=_positive)
    kernel: int = field(default=3, validator=_odd)
    first_kernel: int = field(default=7, validator=_odd)
    feature: str = field(default="s", validator=validators.min_len(1))
    feature_channels: int | None = field(default=None, validator=_optional)
    feature_levels: int | None = field(default=None, validator=_levels)
    hidden: tuple[int, ...] = field(default=(64,), validator=_widths)
    activation: Activation = "elu"

    def build(self, shapes: Shapes) -> Decoder:
        """Build a `PixelCNNDecoder`; raise `ShapeError` unless frames are (C, H, W)."""
        from seqvae_basics.pixelcnn import PixelCNNDecoder

        return PixelCNNDecoder(self, shapes)


@frozen(kw_only=True)
class CausalConv(DecoderConfig):
    """Each frame from the latents and the frames before it, by dilated causal convolutions.

    Attributes:
        channels: of the trunk.
        kernel: frames that a convolution sees.
        dilations: of the gated residual layers; the trunk sees the last
            (kernel - 1)·(1 + Σ dilations) + 1 frames.
        feature: name of the trunk's output s_t, the local feature.
        feature_channels: of s_t, a bottleneck of the trunk; `channels` if left out.
        feature_levels: values that each number of s_t can take, in [-1, 1]: s_t holds
            channels · ln levels nats at most. Any number if left out.
        hidden: widths of the head, which reads s_t and the latents frame by frame.
        activation: of the head.
    """

    name: ClassVar[str] = "causal-conv"

    channels: int = field(default=64, validator=_positive)
    kernel: int = field(default=2, validator=validators.ge(2))
    dilations: tuple[int, ...] = field(default=(1, 2, 4, 8), validator=_widths)
    feature: str = field(default="s", validator=validators.min_len(1))
    feature_channels: int | None = field(default=None, validator=_optional)
    feature_levels: int | None = field(default=None, validator=_levels)
    hidden: tuple[int, ...] = field(default=(64,), validator=_widths)
    activation: Activation = "elu"

    def build(self, shapes: Shapes) -> Decoder:
        """Build a `CausalConvDecoder`."""
        from seqvae_basics.causal import CausalConvDecoder

        return CausalConvDecoder(self, shapes)


# Likelihoods -------------------------------------------------------------------------------------


@frozen(kw_only=True)
class CategoricalLikelihood(LikelihoodConfig):
    """One of a number of levels, in no order, for each number of a frame.

    Attributes:
        levels: what x in [0, 1] is rounded to: 0, 1/(levels - 1), ..., 1.
    """

    name: ClassVar[str] = "categorical"

    levels: int = field(default=256, validator=validators.ge(2))

    def build(self, shapes: Shapes) -> Likelihood:
        """Build a `CategoricalOutput`; raise `ShapeError` if a decoded grid is not the frame's."""
        from seqvae_basics.discretised import CategoricalOutput

        return CategoricalOutput(self, shapes)


@frozen(kw_only=True)
class DiscretisedLogisticMixture(LikelihoodConfig):
    """A mixture of logistics, rounded to levels, for each number of a frame.

    The channels of a pixel have mixtures of their own and do not depend on one another.

    Attributes:
        components: of each mixture.
        levels: what x in [0, 1] is rounded to: 0, 1/(levels - 1), ..., 1.
    """

    name: ClassVar[str] = "discretised-logistic-mixture"

    components: int = field(default=5, validator=_positive)
    levels: int = field(default=256, validator=validators.ge(2))

    def build(self, shapes: Shapes) -> Likelihood:
        """Build a `LogisticMixtureOutput`; raise `ShapeError` if a decoded grid does not fit."""
        from seqvae_basics.discretised import LogisticMixtureOutput

        return LogisticMixtureOutput(self, shapes)
