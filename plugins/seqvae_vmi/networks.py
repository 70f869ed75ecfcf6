"""Q(c|x̃): from decoded frames to one distribution for each selected code."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from seqvae_basics.codes import Code
from seqvae_basics.networks import BidirectionalRNN, TemporalConv, posterior_head
from seqvae_core.errors import ShapeError
from seqvae_core.functional import masked_mean, zero_padding
from seqvae_core.records import Distribution, Shapes
from seqvae_vmi.config import QConfig
from seqvae_vmi.losses import categorical_nll, gaussian_nll

__all__ = ["QNetwork"]

_SLOPE = 0.2


class QNetwork(nn.Module):
    """Decoded frames (B, T, *frame) to Q(c|x̃) of each code, by its name.

    Diagonal Gaussians with ln σ within (-6, 6), and categorical laws. Without batch norm: running
    statistics would change whenever the model's own loss reads Q.

    Args:
        config: the settings.
        shapes: of the frames.
        codes: what is read back.
    """

    def __init__(self, config: QConfig, shapes: Shapes, codes: Sequence[Code]):
        super().__init__()
        self.codes = tuple(codes)
        self.trunk, width = _trunk(config, shapes.frame)
        # a module's name has no dots or brackets: heads are in the order of the codes
        self.heads = nn.ModuleList(posterior_head(width, c.variable, 0.0) for c in self.codes)

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Distribution]:
        """Return Q by the codes' names: (B, d) of a global code, (B, T, d) of a local one.

        Args:
            x: decoded frames, (B, T, *frame).
            mask: (B, T) bool; what stands outside has no influence.
        """
        features = self.trunk(zero_padding(x, mask), mask)
        pooled = masked_mean(features, mask)
        return {
            code.name: head(pooled if code.variable.scope == "global" else features)
            for code, head in zip(self.codes, self.heads, strict=True)
        }

    def nll(
        self, x: Tensor, mask: Tensor, latents: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:  # (B,)
        """Return -ln Q(c|x̃) by the codes' names, in nats a sequence.

        Args:
            x: decoded frames, (B, T, *frame).
            mask: (B, T) bool.
            latents: by name, what x was decoded from.
        """
        found = self(x, mask)
        return {code.name: _nll(code, found[code.name], latents, mask) for code in self.codes}


def _nll(code: Code, law: Any, latents: Mapping[str, Tensor], mask: Tensor) -> Tensor:
    value, real = code.of(latents), mask if code.variable.scope == "local" else None
    if code.groups:
        return categorical_nll(value, law.logits, code.groups, real)
    return gaussian_nll(value, law.mean, 0.5 * law.logvar, real)


class _Framewise(nn.Module):
    """Layers over single frames, shared by all."""

    def __init__(self, layers: nn.Sequential):
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        if rows.ndim == 4:  # convolutions are faster with the channels last
            rows = rows.to(memory_format=torch.channels_last)
        features: Tensor = self.layers(rows)
        return features.reshape(*mask.shape, -1)


class _OverTime(nn.Module):
    """A network over time, then one layer for each frame."""

    def __init__(self, network: nn.Module, width: int, hidden: int):
        super().__init__()
        self.network = network
        self.layer = nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(_SLOPE))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        features: Tensor = self.layer(self.network(x.flatten(2), mask))
        return features


def _trunk(config: QConfig, frame: tuple[int, ...]) -> tuple[Any, int]:
    """Return a network (B, T, *frame), mask → (B, T, width), and the width."""
    hidden, depth, size = config.hidden, config.depth, prod(frame)
    if config.name == "conv2d":
        return _Framewise(_images(config, frame)), hidden
    if config.name == "mlp":
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise((size, *[hidden] * depth)):
            layers += [nn.Linear(before, after), nn.LeakyReLU(_SLOPE)]
        return _Framewise(nn.Sequential(*layers)), hidden
    if config.name == "conv":
        over: nn.Module = TemporalConv(size, (hidden,) * depth, config.kernel, "leaky-relu")
        return _OverTime(over, hidden, hidden), hidden
    over = BidirectionalRNN("gru", size, hidden, depth)
    return _OverTime(over, 2 * hidden, hidden), hidden


def _images(config: QConfig, frame: tuple[int, ...]) -> nn.Sequential:
    if len(frame) != 3:
        raise ShapeError(f"Q network 'conv2d' expects frames of shape (C, H, W), got {frame}")
    before, height, width = frame
    layers: list[nn.Module] = []
    for after in config.channels:
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE, True)]
        before, height, width = after, height // 2, width // 2
    if min(height, width) < 1:
        raise ShapeError(
            f"Q network 'conv2d' leaves nothing of frames {frame} "
            f"after {len(config.channels)} convolutions"
        )
    # one convolution over the whole grid, written as the linear layer that it is
    layers += [nn.Flatten(), nn.Linear(before * height * width, config.hidden)]
    return nn.Sequential(*layers, nn.LeakyReLU(_SLOPE))
