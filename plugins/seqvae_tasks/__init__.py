"""Evaluations: probes, verification, leakage, rates, reconstructions, swaps, maps, information."""

from typing import TYPE_CHECKING

from seqvae_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from seqvae_core.components import TaskConfig

__all__ = ["seqvae_tasks"]


@hookimpl
def seqvae_tasks() -> "list[type[TaskConfig]]":
    """Return the built-in evaluations."""
    from seqvae_tasks import config as each
    from seqvae_tasks import config_disentanglement as codes
    from seqvae_tasks import config_generation as made
    from seqvae_tasks.config_leakage import Leakage

    return [
        codes.DCI, made.InputInformation, each.LatentMap, Leakage, codes.LocalDisentanglement,
        made.MCAS, codes.MIG, codes.Modularity, each.MutualInformation, each.Probe, each.Rates,
        each.Reconstruction, made.Recovery, each.Swap, made.SwapJudge, each.Verification,
    ]  # fmt: skip
