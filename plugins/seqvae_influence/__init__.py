"""Influential factors: the mutual information of the data and each latent (Liu et al., 2020)."""

from pathlib import Path
from typing import TYPE_CHECKING

from seqvae_core.hookspecs import Preset, hookimpl
from seqvae_core.study import Study

if TYPE_CHECKING:
    from seqvae_core.components import TaskConfig


@hookimpl
def seqvae_tasks() -> "list[type[TaskConfig]]":
    """Return the table of each factor's information about the data, and what is made of it."""
    from seqvae_influence.config import Influence
    from seqvae_influence.selection_config import FactorSelection, FanoBound, ReconstructionBound

    return [FactorSelection, FanoBound, Influence, ReconstructionBound]


@hookimpl
def seqvae_presets() -> list[Preset]:
    """Return the experiments in the folder `presets`."""
    return Preset.folder(Path(__file__).parent / "presets")


@hookimpl
def seqvae_studies() -> list[Study]:
    """Return how many factors are influential, and what they alone are good for."""
    from seqvae_influence.study import STUDY

    return [STUDY]
