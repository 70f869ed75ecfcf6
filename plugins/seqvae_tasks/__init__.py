"""Evaluations: probes, verification, leakage, rates, reconstructions, swaps, maps, information."""

from typing import TYPE_CHECKING

from seqvae_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from seqvae_core.components import TaskConfig

__all__ = ["seqvae_tasks"]


@hookimpl
def seqvae_tasks() -> "list[type[TaskConfig]]":
    """Return the built-in evaluations."""
    from seqvae_tasks import config as own
    from seqvae_tasks.config_codes import Traverse, UnsupervisedClassification
    from seqvae_tasks.config_disentanglement import DCI, MIG, LocalDisentanglement, Modularity
    from seqvae_tasks.config_generation import MCAS, InputInformation, Recovery, SwapJudge
    from seqvae_tasks.config_leakage import Leakage

    return [
        DCI, InputInformation, own.LatentMap, Leakage, LocalDisentanglement, MCAS, MIG, Modularity,
        own.MutualInformation, own.Probe, own.Rates, own.Reconstruction, Recovery, own.Swap,
        SwapJudge, Traverse, UnsupervisedClassification, own.Verification,
    ]  # fmt: skip
