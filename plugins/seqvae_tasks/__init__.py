"""Evaluations: probes, verification, rates, reconstruction, swaps, maps and mutual information."""

from seqvae_core.components import TaskConfig
from seqvae_core.hookspecs import hookimpl
from seqvae_tasks.config import (
    LatentMap,
    MutualInformation,
    Probe,
    Rates,
    Reconstruction,
    Swap,
    Verification,
)

__all__ = ["seqvae_tasks"]


@hookimpl
def seqvae_tasks() -> list[type[TaskConfig]]:
    """Return the built-in evaluations."""
    return [LatentMap, MutualInformation, Probe, Rates, Reconstruction, Swap, Verification]
