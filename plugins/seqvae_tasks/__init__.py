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
from seqvae_tasks.config_codes import Traverse, UnsupervisedClassification
from seqvae_tasks.config_disentanglement import DCI, MIG, LocalDisentanglement, Modularity
from seqvae_tasks.config_generation import MCAS, InputInformation, Recovery, SwapJudge
from seqvae_tasks.config_leakage import Leakage

__all__ = ["seqvae_tasks"]


@hookimpl
def seqvae_tasks() -> list[type[TaskConfig]]:
    """Return the built-in evaluations."""
    return [
        DCI, InputInformation, LatentMap, Leakage, LocalDisentanglement, MCAS, MIG, Modularity,
        MutualInformation, Probe, Rates, Reconstruction, Recovery, Swap, SwapJudge, Traverse,
        UnsupervisedClassification, Verification,
    ]  # fmt: skip
