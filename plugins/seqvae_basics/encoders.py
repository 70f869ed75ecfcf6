"""Encoders: posteriors of the global latents first, then of the local ones.

References:
    Disentangled sequential autoencoder (Li and Mandt, 2018), section 3 | arXiv:1803.02991
"""

import torch
from torch import Tensor, nn

from seqvae_basics.config import DSAEFactorised, DSAEFull, FeedForward
from seqvae_basics.networks import BidirectionalRNN, TemporalConv, posterior_head
from seqvae_core.components import Draw, Encoder
from seqvae_core.functional import zero_padding
from seqvae_core.records import Shapes, Variable

__all__ = ["DSAE", "FeedForwardEncoder"]


class FeedForwardEncoder(Encoder):
    """Posteriors read off the features by one linear layer for each latent."""

    def __init__(self, config: FeedForward, shapes: Shapes):
        super().__init__()
        self.global_heads, self.local_heads = (
            nn.ModuleDict(
                {v.name: posterior_head(shapes.features, v, config.logvar_bias) for v in variables}
            )
            for variables in (shapes.of("global"), shapes.of("local"))
        )

    def forward(self, features: Tensor, mask: Tensor, draw: Draw) -> None:
        """Draw every global latent off the mean over real frames, every local one off its frame.

        Args:
            features: (B, T, F).
            mask: (B, T) bool.
            draw: takes a latent's name and posterior, returns its sample.
        """
        features = zero_padding(features, mask)
        summary = features.sum(1) / mask.sum(1, keepdim=True)
        for name, head in self.global_heads.items():
            draw(name, head(summary))
        for name, head in self.local_heads.items():
            draw(name, head(features))


class DSAE(Encoder):
    """Posteriors of global latents from a summary over time, of local ones frame by frame.

    Latents of one scope are independent given what their network reads.

    Args:
        config: the networks' settings.
        shapes: the features' width and the latents.
        conditional: whether the local latents' network reads the global samples beside the
            features: q(s|x, z) in place of q(s|x).
    """

    def __init__(self, config: DSAEFactorised | DSAEFull, shapes: Shapes, *, conditional: bool):
        super().__init__()
        globals_, locals_ = shapes.of("global"), shapes.of("local")
        self.conditional = conditional and bool(globals_)
        beside = sum(variable.size for variable in globals_) if conditional else 0
        self.global_network = _network(config, shapes.features) if globals_ else None
        self.local_network = _network(config, shapes.features + beside) if locals_ else None
        self.global_heads = _heads(config, globals_)
        self.local_heads = _heads(config, locals_)

    def forward(self, features: Tensor, mask: Tensor, draw: Draw) -> None:
        """Draw every global latent, then every local one.

        Args:
            features: (B, T, F).
            mask: (B, T) bool.
            draw: takes a latent's name and posterior, returns its sample.
        """
        samples = []
        if self.global_network is not None:
            summary = self.global_network(features, mask).sum(1) / mask.sum(1, keepdim=True)
            for name, head in self.global_heads.items():
                samples.append(draw(name, head(summary)))
        if self.local_network is not None:
            if self.conditional:
                z = torch.cat([sample.flatten(1) for sample in samples], 1).to(features.dtype)
                z = z[:, None].expand(-1, features.shape[1], -1)
                features = torch.cat([features, z], 2)
            outputs = self.local_network(features, mask)
            for name, head in self.local_heads.items():
                draw(name, head(outputs))


def _network(config: DSAEFactorised | DSAEFull, width: int) -> nn.Module:
    if config.rnn == "conv":
        channels = (2 * config.hidden,) * config.layers
        return TemporalConv(width, channels, config.kernel, "elu", dilated=True)
    return BidirectionalRNN(config.rnn, width, config.hidden, config.layers)


def _heads(config: DSAEFactorised | DSAEFull, variables: list[Variable]) -> nn.ModuleDict:
    return nn.ModuleDict({v.name: posterior_head(2 * config.hidden, v) for v in variables})
