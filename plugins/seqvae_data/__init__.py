"""Data sets: arrays, speech, time series, EEG, images, video, and what others have."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from seqvae_core.hookspecs import Preset, hookimpl

if TYPE_CHECKING:
    from seqvae_core.components import DatasetConfig


@hookimpl
def seqvae_datasets() -> "Iterable[type[DatasetConfig]]":
    """Return the data sets of each format."""
    from seqvae_data.config import Arrays, LinearGaussian
    from seqvae_data.eeg import config as eeg
    from seqvae_data.foreign import config as foreign
    from seqvae_data.images import config as images
    from seqvae_data.images import factors_config as factors
    from seqvae_data.series import config as series
    from seqvae_data.speech import config as speech
    from seqvae_data.speech import strings_config as strings
    from seqvae_data.speech import timit_config as timit

    parts = (eeg, factors, foreign, images, series, speech, strings, timit)
    return [Arrays, LinearGaussian, *(dataset for part in parts for dataset in part.DATASETS)]


@hookimpl
def seqvae_presets() -> list[Preset]:
    """Return the experiments in the folder `presets`."""
    return Preset.folder(Path(__file__).parent / "presets")
