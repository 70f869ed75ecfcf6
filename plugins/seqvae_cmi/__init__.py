"""CMI: information-theoretic regularization of global features (Akuzawa et al., 2021)."""

from pathlib import Path
from typing import TYPE_CHECKING

from seqvae_core.hookspecs import Preset, hookimpl
from seqvae_core.study import Study

if TYPE_CHECKING:
    from seqvae_core.components import RegularizerConfig


@hookimpl
def seqvae_regularizers() -> "list[type[RegularizerConfig]]":
    """Return the adversarial regularizer that keeps z and s apart, and the MI-VAE baseline."""
    from seqvae_cmi.config import CMI, MIVAE

    return [CMI, MIVAE]


@hookimpl
def seqvae_presets() -> list[Preset]:
    """Return the experiments in the folder `presets`."""
    return Preset.folder(Path(__file__).parent / "presets")


@hookimpl
def seqvae_studies() -> list[Study]:
    """Return the comparison of CMI with its baselines."""
    from seqvae_cmi.study import STUDY

    return [STUDY]
