"""Causal convolutions, and the decoder of sequences that is made of them.

Layers run in two ways that give the same numbers: over a whole map (N, C, H, W), or, with a
`Memory`, over one place or one row after another, each of which is computed once.

References:
    WaveNet: a generative model for raw audio (van den Oord et al., 2016) | arXiv:1609.03499
    Finite scalar quantization: VQ-VAE made simple (Mentzer et al., 2023) | arXiv:2309.15505
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqvae_basics.autoregressive_config import CausalConv, PixelCNN
from seqvae_basics.networks import activation
from seqvae_core.components import Decoder
from seqvae_core.errors import ShapeError
from seqvae_core.records import Shapes

__all__ = [
    "AutoregressiveDecoder",
    "CausalConvDecoder",
    "CausalLayer",
    "CausalStack",
    "GatedUnit",
    "Levels",
    "Memory",
]


class Memory:
    """What causal layers were fed so far, so that nothing is computed again."""

    def __init__(self) -> None:
        self._fed: dict[nn.Module, deque[Tensor]] = {}

    def taps(self, layer: "CausalLayer", newest: Tensor) -> Tensor:
        """Keep the newest input; return those that the layer sees from there, side by side."""
        if layer not in self._fed:
            blank = torch.zeros_like(newest)
            self._fed[layer] = deque([blank] * layer.reach, maxlen=layer.reach + 1)
        fed = self._fed[layer]
        fed.append(newest)
        return torch.cat([*islice(fed, 0, None, layer.dilation[layer.axis - 2])], layer.axis)


class CausalLayer(nn.Conv2d):
    """A convolution that sees, along one axis of the grid, a place and those before it.

    Across that axis it is centred.

    Args:
        before: channels that it reads.
        after: channels that it gives.
        kernel: its extent down and across the grid; odd across its axis.
        axis: 2 to look up the rows, 3 to look back along a row.
        dilation: distance of two places that it sees, along the axis.
    """

    def __init__(
        self, before: int, after: int, kernel: tuple[int, int], *, axis: int, dilation: int = 1
    ):
        down = axis == 2
        super().__init__(
            before,
            after,
            kernel,
            padding=(0, kernel[1] // 2) if down else (kernel[0] // 2, 0),
            dilation=(dilation, 1) if down else (1, dilation),
        )
        self.axis = axis
        self.reach = dilation * (kernel[axis - 2] - 1)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """Return (N, after, H, W) for a map, or that of the newest place or row of a memory."""
        if memory is not None:
            # only the taps are there: what lies between them was left out
            return F.conv2d(memory.taps(self, x), self.weight, self.bias, padding=self.padding)
        before = (0, 0, self.reach, 0) if self.axis == 2 else (self.reach, 0, 0, 0)
        return super().forward(F.pad(x, before))


class GatedUnit(nn.Module):
    """x + out(tanh(a)·sigmoid(b)), where a and b are the halves of layer(x) + context."""

    def __init__(self, layer: CausalLayer):
        super().__init__()
        self.layer = layer
        self.out = nn.Conv2d(layer.out_channels // 2, layer.in_channels, 1)

    def forward(
        self, x: Tensor, context: Tensor | float = 0.0, memory: Memory | None = None
    ) -> Tensor:
        """Return a tensor of the shape of x; the context has twice its channels."""
        signal, gate = (self.layer(x, memory) + context).chunk(2, 1)
        out: Tensor = x + self.out(torch.tanh(signal) * torch.sigmoid(gate))
        return out


class CausalStack(nn.Module):
    """A causal layer, then gated residual units."""

    def __init__(self, first: CausalLayer, layers: Iterable[CausalLayer]):
        super().__init__()
        self.first = first
        self.units = nn.ModuleList(GatedUnit(layer) for layer in layers)

    def forward(
        self,
        x: Tensor,
        contexts: Sequence[Tensor | float] | None = None,
        memory: Memory | None = None,
    ) -> list[Tensor]:
        """Return the activations behind the first layer and behind each unit, (N, C, H, W).

        Args:
            x: (N, before, H, W), or its newest place or row.
            contexts: what is added within the first layer, C channels, and each unit, 2·C.
            memory: of the places or rows before.
        """
        start, *rest = contexts or [0.0] * (1 + len(self.units))
        activations = [self.first(x, memory) + start]
        for unit, context in zip(self.units, rest, strict=True):
            activations.append(unit(activations[-1], context, memory))
        return activations


class Levels(nn.Module):
    """tanh(x), rounded to levels of equal distance from -1 to 1; the gradient is that of tanh.

    A bottleneck that cannot be outgrown: n numbers hold n · ln levels nats at most.

    Args:
        levels: how many, at least 2.
    """

    def __init__(self, levels: int):
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x."""
        value, half = torch.tanh(x), 0.5 * (self.levels - 1)
        rounded = torch.round((value.detach() + 1.0) * half) / half - 1.0
        return rounded + (value - value.detach())  # the bracket is exactly 0


class AutoregressiveDecoder(Decoder):
    """A trunk over earlier data, blind to all latents, and a shallow head on it and the latents.

    The trunk's output s is the local feature; only the head, 1×1 convolutions, sees the latents.
    """

    autoregressive = True
    framewise = True

    def __init__(self, config: PixelCNN | CausalConv, shapes: Shapes, grid: tuple[int, ...]):
        super().__init__()
        self.frame = shapes.frame
        self.globals = [variable.name for variable in shapes.of("global")]
        self.locals = [variable.name for variable in shapes.of("local")]
        self.feature = config.feature
        width = config.feature_channels or config.channels
        self.local_features = {config.feature: (width, *grid)}
        self.decoded = (config.hidden[-1], *grid)
        self.narrow: nn.Module = (
            nn.Conv2d(config.channels, width, 1) if config.feature_channels else nn.Identity()
        )
        if config.feature_levels is not None:
            self.narrow = nn.Sequential(self.narrow, Levels(config.feature_levels))
        layers: list[nn.Module] = []
        beside = sum(variable.size for variable in shapes.latents.values())
        for before, after in pairwise((width + beside, *config.hidden)):
            layers += [nn.Conv2d(before, after, 1), activation(config.activation)]
        self.layers = nn.Sequential(*layers)

    def head(self, s: Tensor, beside: Tensor) -> Tensor:
        """Return features (N, decoded[0], H, W) of s (N, D, H, W) and the latents, broadcast."""
        spread = beside.expand(-1, -1, *s.shape[2:]).to(s.dtype)
        features: Tensor = self.layers(torch.cat([s, spread], 1))
        return features

    def joined(self, latents: Mapping[str, Tensor], frames: int) -> Tensor:
        """Return all latents side by side, (B, frames, width)."""
        values = [latents[name].flatten(1)[:, None].expand(-1, frames, -1) for name in self.globals]
        steps = [latents[name][:, :frames].flatten(2) for name in self.locals]
        return torch.cat([*values, *steps], 2)

    def given(self, x: Tensor | None) -> Tensor:
        """Return x; raise `ShapeError` if there is none."""
        if x is None:
            raise ShapeError(
                "an autoregressive decoder expects x, (B, T, *frame), got none; "
                "draw from the latents alone by `SeqVAE.decode`"
            )
        return x


class CausalConvDecoder(AutoregressiveDecoder):
    """Features of frame t from s_t = h(x_<t) and the latents.

    Sequences are maps of one row, (B, C, 1, T). The trunk's output is the residual stream itself,
    not a sum over its layers.

    Args:
        config: the settings.
        shapes: the latents, and frames of any shape, which are flattened.
    """

    def __init__(self, config: CausalConv, shapes: Shapes):
        super().__init__(config, shapes, ())
        width, kernel = config.channels, (1, config.kernel)
        self.trunk = CausalStack(
            CausalLayer(prod(shapes.frame), width, kernel, axis=3),
            (
                CausalLayer(width, 2 * width, kernel, axis=3, dilation=dilation)
                for dilation in config.dilations
            ),
        )

    def forward(
        self, latents: Mapping[str, Tensor], x: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return features (B, T, hidden[-1]) and s, (B, T, D)."""
        row = self.given(x).flatten(2).transpose(1, 2)[:, :, None]
        s = self.narrow(self.trunk(F.pad(row, (1, -1)))[-1])
        features = self.head(s, self._beside(latents, row.shape[3]))
        return _steps(features), {self.feature: _steps(s)}

    def ancestral(
        self,
        latents: Mapping[str, Tensor],
        lengths: Tensor,
        draw: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return frames (B, max(lengths), *frame); each layer is computed once a frame."""
        beside = self._beside(latents, int(lengths.max()))
        newest, memory = beside.new_zeros(len(beside), 1, *self.frame), Memory()
        drawn = []
        for t in range(beside.shape[3]):
            s = self.narrow(self.trunk(newest.reshape(len(beside), -1, 1, 1), memory=memory)[-1])
            newest = draw(_steps(self.head(s, beside[..., t : t + 1])))
            drawn.append(newest)
        return torch.cat(drawn, 1)

    def _beside(self, latents: Mapping[str, Tensor], frames: int) -> Tensor:
        return self.joined(latents, frames).transpose(1, 2)[:, :, None]


def _steps(row: Tensor) -> Tensor:
    """Return (B, C, 1, T) as (B, T, C)."""
    return row.squeeze(2).transpose(1, 2)
