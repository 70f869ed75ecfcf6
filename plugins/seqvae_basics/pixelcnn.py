"""Decoder of images, pixel by pixel.

References:
    Conditional image generation with PixelCNN decoders (van den Oord et al., 2016)
    | arXiv:1606.05328
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from seqvae_basics.autoregressive_config import PixelCNN
from seqvae_basics.causal import AutoregressiveDecoder, CausalLayer, CausalStack, Memory
from seqvae_core.errors import ShapeError
from seqvae_core.records import Shapes

__all__ = ["PixelCNNDecoder", "PixelTrunk"]


class PixelTrunk(nn.Module):
    """Maps of which every pixel sees the pixels before it in raster order, (N, C, H, W).

    A vertical stack sees the rows above, in full width, and hands each of its layers' output to
    the horizontal stack, which sees what is left in the row: together they leave no blind spot.
    The image is shifted by one row for the one and by one pixel for the other, and kernels end at
    the pixel, which is what masks (A, then B) do to full ones. As in the original the units are
    gated; here the vertical ones are residual too.
    """

    def __init__(self, config: PixelCNN, channels: int):
        super().__init__()
        width = config.channels
        first, half = config.first_kernel // 2, config.kernel // 2

        def layers(kernel: tuple[int, int], axis: int) -> list[CausalLayer]:
            return [CausalLayer(width, 2 * width, kernel, axis=axis) for _ in range(config.blocks)]

        self.vertical = CausalStack(
            CausalLayer(channels, width, (first + 1, 2 * first + 1), axis=2),
            layers((half + 1, 2 * half + 1), 2),
        )
        self.horizontal = CausalStack(
            CausalLayer(channels, width, (1, first + 1), axis=3), layers((1, half + 1), 3)
        )
        self.links = nn.ModuleList(
            nn.Conv2d(width, after, 1) for after in (width, *[2 * width] * config.blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, H, W) of images (N, C, H, W)."""
        return self.beside(F.pad(x, (1, -1)), self.above(F.pad(x, (0, 0, 1, -1))))

    def above(self, x: Tensor, memory: Memory | None = None) -> list[Tensor]:
        """Return what the horizontal stack is told of the rows above.

        Args:
            x: images shifted down by a row, or the row above the newest.
            memory: of the rows before.
        """
        activations = self.vertical(x, memory=memory)
        return [link(value) for link, value in zip(self.links, activations, strict=True)]

    def beside(self, x: Tensor, contexts: list[Tensor], memory: Memory | None = None) -> Tensor:
        """Return the trunk's output given what `above` told.

        Args:
            x: images shifted right by a pixel, or the pixel left of the newest.
            contexts: of the same places.
            memory: of the pixels before in this row.
        """
        output: Tensor = self.horizontal(x, contexts, memory)[-1]
        return output


class PixelCNNDecoder(AutoregressiveDecoder):
    """Features of each pixel from s, which sees the pixels before it, and the latents.

    Frames are images of their own: pixels see no earlier frame. All channels of a pixel are drawn
    at once.

    Args:
        config: the settings.
        shapes: the latents, and frames (C, H, W).
    """

    def __init__(self, config: PixelCNN, shapes: Shapes):
        if len(shapes.frame) != 3:
            raise ShapeError(
                f"decoder 'pixelcnn' expects frames of shape (C, H, W), got {shapes.frame}"
            )
        super().__init__(config, shapes, shapes.frame[1:])
        self.trunk = PixelTrunk(config, shapes.frame[0])

    def forward(
        self, latents: Mapping[str, Tensor], x: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return features (B, T, hidden[-1], H, W) and s, (B, T, D, H, W)."""
        x = self.given(x)
        s = self.narrow(self.trunk(x.flatten(0, 1)))
        features = self.head(s, self._beside(latents, x.shape[1]))
        rows = len(x)
        return _split(features, rows), {self.feature: _split(s, rows)}

    def ancestral(
        self,
        latents: Mapping[str, Tensor],
        lengths: Tensor,
        draw: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return frames (B, max(lengths), C, H, W), all frames at once, pixel by pixel.

        The vertical stack is computed once a row, the horizontal one once a pixel.
        """
        frames = int(lengths.max())
        beside = self._beside(latents, frames)
        channels, height, width = self.frame
        # a blank row above and a blank column to the left stand for the shifts of `PixelTrunk`
        x = beside.new_zeros(len(beside), channels, height + 1, width + 1)
        rows = Memory()
        for i in range(height):
            contexts = self.trunk.above(x[:, :, i : i + 1, 1:], rows)
            pixels = Memory()
            for j in range(width):
                here = [context[..., j : j + 1] for context in contexts]
                left = x[:, :, i + 1 : i + 2, j : j + 1]
                s = self.narrow(self.trunk.beside(left, here, pixels))
                features = _split(self.head(s, beside), len(lengths))
                x[:, :, i + 1, j + 1] = draw(features).flatten(0, 1).flatten(1)
        return _split(x[:, :, 1:, 1:], len(lengths))

    def _beside(self, latents: Mapping[str, Tensor], frames: int) -> Tensor:
        joined = self.joined(latents, frames)
        # not -1: `vmap` cannot infer it where there is no row
        return joined.reshape(joined.shape[0] * frames, joined.shape[2], 1, 1)


def _split(value: Tensor, rows: int) -> Tensor:
    """Return (B·T, ...) as (B, T, ...)."""
    return value.reshape(rows, value.shape[0] // rows, *value.shape[1:])
