"""Data sets: the Japanese Vowels speakers, folders of audio files, and arrays on disk."""

from collections.abc import Iterable
from pathlib import Path

from seqvae_core.components import DatasetConfig
from seqvae_core.hookspecs import Preset, hookimpl


@hookimpl
def seqvae_datasets() -> Iterable[type[DatasetConfig]]:
    """Return `japanese-vowels`, `audio-folder` and `arrays`."""
    from seqvae_data.config import Arrays, AudioFolder, JapaneseVowels

    return [JapaneseVowels, AudioFolder, Arrays]


@hookimpl
def seqvae_presets() -> list[Preset]:
    """Return the experiments in the folder `presets`."""
    return Preset.folder(Path(__file__).parent / "presets")
