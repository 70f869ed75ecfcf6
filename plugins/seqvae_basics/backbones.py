"""Backbones: frames (B, T, *frame) to features (B, T, F)."""

from math import prod

from torch import Tensor, nn

from seqvae_basics.config import MLP, Conv1d, Conv2d
from seqvae_basics.networks import TemporalConv, activation, mlp
from seqvae_core.components import Backbone
from seqvae_core.errors import ShapeError
from seqvae_core.records import Shapes

__all__ = ["Conv1dBackbone", "Conv2dBackbone", "FlatBackbone", "MLPBackbone"]


class FlatBackbone(Backbone):
    """The frame itself, flattened."""

    def __init__(self, shapes: Shapes):
        super().__init__()
        self.features = prod(shapes.frame)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, F) from (B, T, *frame)."""
        return x.flatten(2)


class MLPBackbone(Backbone):
    """A multilayer perceptron over single frames."""

    def __init__(self, config: MLP, shapes: Shapes):
        super().__init__()
        self.features = config.hidden[-1]
        self.layers = mlp(prod(shapes.frame), config.hidden, config.activation)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, F) from (B, T, *frame)."""
        features: Tensor = self.layers(x.flatten(2))
        return features


class Conv1dBackbone(Backbone):
    """Convolutions over time."""

    temporal = True

    def __init__(self, config: Conv1d, shapes: Shapes):
        super().__init__()
        self.features = config.channels[-1]
        self.layers = TemporalConv(
            prod(shapes.frame), config.channels, config.kernel, config.activation
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, F), zero outside the mask, from (B, T, *frame)."""
        features: Tensor = self.layers(x.flatten(2), mask)
        return features


class Conv2dBackbone(Backbone):
    """Strided convolutions over single frames (C, H, W), then a linear layer."""

    def __init__(self, config: Conv2d, shapes: Shapes):
        super().__init__()
        if len(shapes.frame) != 3:
            raise ShapeError(
                f"backbone 'conv2d' expects frames of shape (C, H, W), got {shapes.frame}"
            )
        before, height, width = shapes.frame
        layers: list[nn.Module] = []
        for after in config.channels:
            # batch norm takes the mean away, and with it what a bias would add
            layers += [
                nn.Conv2d(
                    before, after, config.kernel, 2, config.padding, bias=config.norm is None
                ),
                *([nn.BatchNorm2d(after)] if config.norm else []),
                activation(config.activation, config.slope),
            ]
            before, height, width = after, _halved(height, config), _halved(width, config)
        if min(height, width) < 1:
            raise ShapeError(
                f"backbone 'conv2d' with kernel {config.kernel}, padding {config.padding} leaves "
                f"nothing of frames {shapes.frame} after {len(config.channels)} convolutions"
            )
        flat = mlp(before * height * width, (config.hidden,), config.activation, config.slope)
        self.features = config.hidden
        self.normalised = config.norm is not None
        self.layers = nn.Sequential(*layers, nn.Flatten(), *flat)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, F) from (B, T, C, H, W); zero in the padding where it is normalised."""
        if self.normalised and x.shape[1] > 1:  # padding must not enter a batch's statistics
            found: Tensor = self.layers(x[mask])
            return found.new_zeros(*mask.shape, self.features).index_put((mask,), found)
        features: Tensor = self.layers(x.flatten(0, 1))
        return features.reshape(*x.shape[:2], self.features)


def _halved(length: int, config: Conv2d) -> int:
    return (length + 2 * config.padding - config.kernel) // 2 + 1
