"""CMI: information-theoretic regularization of global features (Akuzawa et al., 2021)."""

from pathlib import Path

from seqvae_core.components import RegularizerConfig
from seqvae_core.hookspecs import Preset, hookimpl


@hookimpl
def seqvae_regularizers() -> list[type[RegularizerConfig]]:
    """Return the adversarial regularizer that keeps z and s apart."""
    from seqvae_cmi.config import CMI

    return [CMI]


@hookimpl
def seqvae_presets() -> list[Preset]:
    """Return the experiments in the folder `presets`."""
    return Preset.folder(Path(__file__).parent / "presets")
