"""Decoder of single frames."""

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn

from seqvae_basics.config import Framewise
from seqvae_basics.networks import activation, mlp
from seqvae_core.components import Decoder
from seqvae_core.errors import ShapeError
from seqvae_core.records import Shapes

__all__ = ["FramewiseDecoder"]


class FramewiseDecoder(Decoder):
    """Features of frame t from all global latents and the local ones of step t."""

    framewise = True

    def __init__(self, config: Framewise, shapes: Shapes):
        super().__init__()
        self.globals = [variable.name for variable in shapes.of("global")]
        self.locals = [variable.name for variable in shapes.of("local")]
        width = sum(variable.size for variable in shapes.latents.values())
        self.layers = mlp(width, config.hidden, config.activation, config.slope)
        if config.network == "mlp":
            self.decoded = (config.hidden[-1],)
        else:
            if len(shapes.frame) != 3:
                raise ShapeError(
                    f"decoder 'framewise' with network 'deconv' expects frames of shape "
                    f"(C, H, W), got {shapes.frame}"
                )
            last = shapes.frame[:1] if config.output == "frame" else ()
            channels = (*config.channels, *last)
            self.decoded = (channels[-1], *shapes.frame[1:])
            self.layers.extend(_deconv(config, channels, *shapes.frame[1:]))

    def forward(
        self, latents: Mapping[str, Tensor], x: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return features (B, T, *decoded), and no local features."""
        values = [latents[name].flatten(1) for name in self.globals]
        steps = [latents[name].flatten(2) for name in self.locals]
        # Without local latents all frames are equal: one is computed.
        frames = steps[0].shape[1] if steps else 1
        spread = [value[:, None].expand(-1, frames, -1) for value in values]
        joined = torch.cat([*spread, *steps], 2)
        decoded = self.layers(joined.flatten(0, 1)).unflatten(0, joined.shape[:2])
        if not steps and x is not None:
            decoded = decoded.expand(-1, x.shape[1], *self.decoded)
        return decoded, {}


def _deconv(
    config: Framewise, channels: tuple[int, ...], height: int, width: int
) -> list[nn.Module]:
    """Return layers from a vector to (channels[-1], height, width).

    Each transposed convolution multiplies the grid by its stride: of what its kernel gives beyond
    that, the same is cut off at both ends, and an odd rest at the far one.
    """
    strides = config.strides or (2,) * len(channels)
    grid = [-(-side // prod(strides)) for side in (height, width)]
    before = config.start or channels[0]
    layers: list[nn.Module] = [
        nn.Linear(config.hidden[-1], before * prod(grid)),
        nn.Unflatten(1, (before, *grid)),
        activation(config.activation, config.slope),
    ]
    for after, stride in zip(channels, strides, strict=True):
        near, odd = divmod(config.kernel - stride, 2)
        grid = [side * stride for side in grid]
        layers += [nn.ConvTranspose2d(before, after, config.kernel, stride, near)]
        layers += [_Crop(*grid)] if odd else []
        layers += [activation(config.activation, config.slope)]
        before = after
    return [*(layers[:-1] if config.output == "frame" else layers), _Crop(height, width)]


class _Crop(nn.Module):
    def __init__(self, height: int, width: int):
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.height, : self.width]
