"""A plugin in one file, loaded with `-p one_file.py`: a backbone with differences over time."""

from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from seqvae_core.components import Backbone, BackboneConfig
from seqvae_core.hookspecs import hookimpl
from seqvae_core.records import Shapes, Variable


class Deltas(Backbone):
    """Each flattened frame beside its difference to the frame before; 0 at the first."""

    temporal = True

    def __init__(self, shapes: Shapes):
        super().__init__()
        self.features = 2 * Variable(name="x", scope="local", shape=shapes.frame).size

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, 2C) from (B, T, *frame) of C numbers."""
        frames = x.flatten(2)
        before = torch.cat([frames[:, :1], frames[:, :-1]], 1)
        return torch.cat([frames, frames - before], 2)


@frozen(kw_only=True)
class DeltasConfig(BackboneConfig):
    """Frames and their differences over time."""

    name: ClassVar[str] = "my-deltas"

    def build(self, shapes: Shapes) -> Deltas:
        """Build the backbone."""
        return Deltas(shapes)


@hookimpl
def seqvae_backbones() -> list[type[BackboneConfig]]:
    """Return `my-deltas`."""
    return [DeltasConfig]
