"""Jacobian L1: local disentanglement by a sparse Jacobian of the decoder (Rhodes and Lee, 2021)."""

from pathlib import Path
from typing import TYPE_CHECKING

from seqvae_core.hookspecs import Preset, hookimpl
from seqvae_core.study import Study

if TYPE_CHECKING:
    from seqvae_core.components import RegularizerConfig, TaskConfig


@hookimpl
def seqvae_regularizers() -> "list[type[RegularizerConfig]]":
    """Return the L1 penalty on the decoder's Jacobian, and the L2 penalty that controls for it."""
    from seqvae_jacobian.config import JacobianL1, JacobianL2

    return [JacobianL1, JacobianL2]


@hookimpl
def seqvae_tasks() -> "list[type[TaskConfig]]":
    """Return the picture of the Jacobian's columns."""
    from seqvae_jacobian.columns_config import JacobianColumns

    return [JacobianColumns]


@hookimpl
def seqvae_presets() -> list[Preset]:
    """Return the experiments in the folder `presets`."""
    return Preset.folder(Path(__file__).parent / "presets")


@hookimpl
def seqvae_studies() -> list[Study]:
    """Return the comparison of the penalty with its controls, its estimators and baselines."""
    from seqvae_jacobian.study import STUDY

    return [STUDY]
