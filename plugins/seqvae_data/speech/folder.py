"""Folders of audio files: find, label, read, cut into segments."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import Features, Found, compute_all
from seqvae_data.faults import leave_out
from seqvae_data.frames import Example
from seqvae_data.items import RESERVED, Parts, assemble, divide
from seqvae_data.paths import files_below, path_labels
from seqvae_data.speech.audio import read, trim
from seqvae_data.speech.config import AudioFolder
from seqvae_data.speech.intervals import Intervals, read_intervals
from seqvae_data.speech.inverse import to_wav
from seqvae_data.speech.segments import cut
from seqvae_data.speech.spectra import features, frame_times, sizes
from seqvae_data.speech.tables import read_table

__all__ = ["Recording", "build", "find", "finish", "utterances"]


@frozen
class Recording:
    """One audio file.

    Attributes:
        path: the file.
        name: its path below root.
        labels: all that is known of it, text or numbers.
    """

    path: Path
    name: str
    labels: Mapping[str, NDArray[Any]] = field(repr=False)


def build(config: AudioFolder, request: DataRequest) -> Splits:
    """Read the files, share the utterances, cut each part into segments."""
    whole, names, rate = utterances(config)
    return finish(config, divide(whole, config.split, request), names, rate, request)


def utterances(config: AudioFolder) -> tuple[list[Example], list[str], int]:
    """Return whole utterances with all labels, which labels are wanted, and the sampling rate.

    Raises:
        DataError: naming the file that cannot be used, or a label that there is not.
    """
    files = find(config)
    intervals = _intervals(config, files)
    names = _label_names(config, files[0], intervals)
    whole, rate = _examples(config, files, intervals)
    return whole, names, rate


def finish(
    config: AudioFolder, parts: Parts, names: Sequence[str], rate: int, request: DataRequest
) -> Splits:
    """Cut each part into segments with the labels that are wanted, and make them items."""
    train, valid, test = (
        [piece for example in part
         for piece in cut(_only(example, names), config.segment, config.segment_hop)]
        for part in parts
    )  # fmt: skip
    return assemble(
        train, valid, test, request,
        scaled=config.normalise,
        facts={"sample_rate": rate},
        sound=partial(to_wav, name=config.features, rate=rate, config=config.spectrum),
    )  # fmt: skip


# Finding -----------------------------------------------------------------------------------------


def find(config: AudioFolder) -> list[Recording]:
    """Return the files below root in the order of their paths, with their labels.

    Raises:
        DataError: if there are none, or one has no labels: its path does not match the pattern, or
            it has no row, or more than one, in the manifest.
    """
    found = files_below(config.root, config.extensions, config.exclude)
    if config.manifest is None:
        labels, faults = _by_path(config, found)
    else:
        labels, faults = _by_manifest(config, config.manifest, found)
    leave_out(faults, config.on_error, "files")
    if not labels:
        raise DataError(f"none of the {len(found)} files can be used, the first: {faults[0]}")
    return [Recording(path, name, {**labels[name], "path": np.array(name)})
            for name, path in found.items() if name in labels]  # fmt: skip


Labelled = tuple[dict[str, dict[str, NDArray[Any]]], list[str]]  # by file; and what is wrong


def _by_path(config: AudioFolder, found: Iterable[str]) -> Labelled:
    if config.pattern is None:
        here = config.root.name
        return {name: {"label": np.array(Path(name).parent.name or here)} for name in found}, []
    labels, faults = {}, []
    for name in found:
        try:
            texts = path_labels(config.pattern, config.root, name)
        except DataError as error:
            faults.append(str(error))
        else:
            labels[name] = {key: np.array(text) for key, text in texts.items()}
    return labels, faults


def _by_manifest(config: AudioFolder, manifest: str, found: Mapping[str, Path]) -> Labelled:
    table = read_table(_beside(config, manifest), ("path",), config.exclude)
    columns = table.labels(config.numbers)
    labels: dict[str, dict[str, NDArray[Any]]] = {}
    lines: dict[str, int] = {}
    faults = []
    for i, row in enumerate(table.rows):
        name = row.path
        if name not in found:
            faults.append(f"{table.where(row)}: '{name}' is none of the audio files to read")
        elif name in lines:
            faults.append(f"{table.where(row)}: '{name}' has a row already, line {lines[name]}")
        else:
            lines[name] = row.line
            labels[name] = {key: np.asarray(column[i]) for key, column in columns.items()}
    faults += [
        f"{path}: has no row in {table.path}; leave such files out by data.exclude"
        for name, path in found.items()
        if name not in lines
    ]
    return labels, faults


def _beside(config: AudioFolder, name: str) -> Path:
    return config.root / Path(name).expanduser()


def _intervals(config: AudioFolder, files: list[Recording]) -> Intervals | None:
    if config.intervals is None:
        return None
    known = {file.name for file in files}
    path = _beside(config, config.intervals)
    return read_intervals(path, known, config.numbers, config.on_error, config.exclude)


def _label_names(config: AudioFolder, file: Recording, intervals: Intervals | None) -> list[str]:
    """Return the labels that are wanted."""
    spoken = intervals.names if intervals else ()
    known = [*(name for name in file.labels if name != "path"), *spoken]
    if twice := set(spoken) & set(file.labels):
        raise DataError(f"the label '{min(twice)}' is both one of files and one of intervals")
    names = known if config.labels is None else list(config.labels)
    for name in (*names, *config.numbers):
        if name not in known:
            raise DataError(f"no label '{name}'; known: {', '.join(known) or 'none'}")
    for name in names:
        if name in RESERVED:
            raise DataError(f"a label cannot be called '{name}': rename the group or column")
    return names


# Reading -----------------------------------------------------------------------------------------


def _examples(
    config: AudioFolder, files: list[Recording], intervals: Intervals | None
) -> tuple[list[Example], int]:
    """Return whole utterances with all labels, and the sampling rate that they share."""
    sounds = _sounds(config, files)
    rate = Counter(sound.facts["rate"] for sound in sounds).most_common(1)[0][0]
    usual = next(sound for sound in sounds if sound.facts["rate"] == rate)
    examples: list[Example] = []
    faults = []
    for sound in sounds:
        file = files[sound.index]
        try:
            if (own := sound.facts["rate"]) != rate:
                raise DataError(
                    f"sampled at {own} Hz, {files[usual.index].path} at {rate} Hz: set "
                    "data.sample_rate to resample"
                )
            spoken = _spoken(config, file, sound, intervals)
        except DataError as error:
            faults.append(f"{file.path}: {error}")
            continue
        examples.append(
            Example(
                x=sound.x,
                labels={**file.labels, **spoken},
                source=str(file.path),
                name=file.name,
                utterance=len(examples),
                stats=sound.stats,
            )
        )
    leave_out(faults, config.on_error, "files")
    if not examples:
        raise DataError(f"none of the {len(files)} files can be used, the first: {faults[0]}")
    return examples, rate


def _sounds(config: AudioFolder, files: list[Recording]) -> list[Found]:
    def compute(path: Path) -> Features:
        sound, rate = read(path, config.sample_rate, config.channels)
        start, stop = 0, sound.size
        if config.trim_db is not None:
            frame, hop, _ = sizes(rate, config.spectrum)
            start, stop = trim(sound, frame, hop, config.trim_db)
        return Features(
            x=features(config.features, sound[start:stop], rate, config.spectrum),
            facts={"rate": rate, "start": start / rate, "seconds": sound.size / rate},
        )

    return compute_all(
        [file.path for file in files],
        compute,
        ("audio-folder", 2, config.features, config.spectrum, config.sample_rate,
         config.channels, config.trim_db),
        config.cache,
        on_error=config.on_error,
    )  # fmt: skip


def _spoken(
    config: AudioFolder, file: Recording, sound: Found, intervals: Intervals | None
) -> dict[str, NDArray[Any]]:
    """Return the labels of frames."""
    if intervals is None:
        return {}
    rate, start, seconds = (sound.facts[key] for key in ("rate", "start", "seconds"))
    times = frame_times(config.features, sound.x.shape[0], rate, config.spectrum)
    return intervals.labels(file.name, start + times, seconds + config.spectrum.frame_ms / 1000)


def _only(example: Example, names: Sequence[str]) -> Example:
    return evolve(example, labels={name: example.labels[name] for name in names})
