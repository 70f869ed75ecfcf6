"""Regularizers of disentangled VAEs that other methods are compared with."""

from typing import TYPE_CHECKING

from seqvae_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from seqvae_core.components import RegularizerConfig


@hookimpl
def seqvae_regularizers() -> "list[type[RegularizerConfig]]":
    """Return penalties on how the dimensions of a global latent hang together, and a capacity."""
    from seqvae_baselines.config import DIPVAEI, DIPVAEII, AnnealedVAE, BetaTCVAE, FactorVAE

    return [AnnealedVAE, BetaTCVAE, DIPVAEI, DIPVAEII, FactorVAE]
