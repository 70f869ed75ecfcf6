"""VMI: variational mutual information maximisation of latent codes (Serdega, Kim, 2020)."""

from pathlib import Path
from typing import TYPE_CHECKING

from seqvae_core.hookspecs import Preset, hookimpl
from seqvae_core.study import Study

if TYPE_CHECKING:
    from seqvae_core.components import RegularizerConfig, TaskConfig


@hookimpl
def seqvae_regularizers() -> "list[type[RegularizerConfig]]":
    """Return the bound on the mutual information of codes and decoded observations."""
    from seqvae_vmi.config import VMI

    return [VMI]


@hookimpl
def seqvae_tasks() -> "list[type[TaskConfig]]":
    """Return the bound of a fixed model."""
    from seqvae_vmi.config_bound import VMIBound

    return [VMIBound]


@hookimpl
def seqvae_presets() -> list[Preset]:
    """Return the experiments in the folder `presets`."""
    return Preset.folder(Path(__file__).parent / "presets")


@hookimpl
def seqvae_studies() -> list[Study]:
    """Return the comparison with the plain VAE, on digits and on speech."""
    from seqvae_vmi.study import STUDY

    return [STUDY]
