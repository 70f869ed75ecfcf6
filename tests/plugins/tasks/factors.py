"""A model with perfect factors: z is the mean of two channels, s_t the two others, x both."""

import torch
from attrs import evolve
from mirror import Mirror, mirror
from torch import nn

from seqvae_basics.config import GaussianLikelihood
from seqvae_basics.distributions import Gaussian
from seqvae_core.components import Decoder


class Copy(Decoder):
    """Frames (z, s_t); with a `blind` decoder what z would fill is zero."""

    decoded = (4,)

    def __init__(self, blind=False):
        super().__init__()
        self.blind = blind

    def forward(self, latents, x=None):
        z, s = latents["z"], latents["s"]
        first = z[:, None].expand(-1, s.shape[1], -1) if s.shape[2] < 4 else s[..., :0]
        return torch.cat([0.0 * first if self.blind else first, s], 2), {}


class Whole(Mirror):
    """The encoder whose s_t is the whole frame."""

    def __init__(self):
        super().__init__()
        self.logvar = nn.Parameter(torch.tensor([-4.0, -5.0]))

    def forward(self, features, mask, draw):
        super().forward(features, mask, lambda name, q: draw(name, q) if name == "z" else None)
        draw("s", Gaussian(features, self.logvar.new_full((4,), -5.0)))


def copying(*, blind=False, whole=False):
    """Return the model: x = (z, s_t) with σ = 0.05.

    Args:
        blind: the decoder ignores z, and fills its channels with zeros.
        whole: s_t is the whole frame, and the decoder's answer.
    """
    model = mirror()
    shapes = evolve(model.shapes, decoded=(4,))
    if whole:
        latents = dict(shapes.latents)
        latents["s"] = evolve(latents["s"], shape=(4,))
        shapes = evolve(shapes, latents=latents)
        model.encoder = Whole()
        model.priors["s"].variable = latents["s"]
    model.shapes, model.decoder = shapes, Copy(blind)
    model.likelihood = GaussianLikelihood(scale="fixed", sigma=0.05).build(shapes)
    with torch.no_grad():
        layer = model.likelihood.mean.layer
        layer.weight.copy_(torch.eye(4))
        layer.bias.zero_()
    return model
