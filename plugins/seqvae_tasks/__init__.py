"""Evaluations: probes, verification, leakage, rates, reconstructions, swaps, maps, information."""

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
from seqvae_tasks.config_generation import MCAS, InputInformation, SwapJudge
from seqvae_tasks.config_leakage import Leakage

__all__ = ["seqvae_tasks"]


@hookimpl
def seqvae_tasks() -> list[type[TaskConfig]]:
    """Return the built-in evaluations."""
    return [
        InputInformation, LatentMap, Leakage, MCAS, MutualInformation, Probe, Rates, Reconstruction,
        Swap, SwapJudge, Verification,
    ]  # fmt: skip
