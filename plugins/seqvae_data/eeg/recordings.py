"""Folders of EEG recordings: find them, cut them into epochs or windows."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import Found, compute_all
from seqvae_data.eeg.config import Eeg
from seqvae_data.eeg.mne_files import read
from seqvae_data.eeg.windows import samples, windows
from seqvae_data.extras import require
from seqvae_data.frames import Cut, Example
from seqvae_data.items import RESERVED, assemble, divide
from seqvae_data.paths import files_below, path_labels

__all__ = ["build", "find"]


@frozen
class _File:
    path: Path
    labels: Mapping[str, str]  # all groups, and the path below root


def build(config: Eeg, request: DataRequest) -> Splits:
    """Read the recordings, share them or their epochs, cut windows."""
    files = find(config)
    names = _label_names(config, files[0])
    found = _read_all(config, files)
    _check_alike(found, files)
    _check_events(config, found)
    if config.events and config.window is None:
        examples = _epochs(config, found, files)
    else:
        examples = [_whole(config, one, files[one.index], i) for i, one in enumerate(found)]
    rate = float(found[0].facts["rate"])
    train, valid, test = (
        [piece for example in part
         for piece in windows(_labelled(example, names), config.window, config.step, rate)]
        for part in divide(examples, config.split, request)
    )  # fmt: skip
    facts = {"sample_rate": rate, "channels": list(found[0].facts["channels"])}
    return assemble(train, valid, test, request, scaled=config.normalise, facts=facts)


def _labelled(example: Example, names: Sequence[str]) -> Example:
    """Return an example without the labels that only the split was to see."""
    kept = {*names, "event"}
    return evolve(example, labels={n: v for n, v in example.labels.items() if n in kept})


# Finding -----------------------------------------------------------------------------------------


def find(config: Eeg) -> list[_File]:
    """Return the files below root in the order of their paths, with their labels.

    Raises:
        DataError: if there are none, or a path does not match the pattern.
    """
    found = files_below(config.root, config.extensions, config.exclude)
    return [_File(path, _labels(config, name)) for name, path in found.items()]


def _labels(config: Eeg, name: str) -> dict[str, str]:
    return {**path_labels(config.pattern or "", config.root, name), "path": name}


def _label_names(config: Eeg, file: _File) -> list[str]:
    known = [name for name in file.labels if name != "path"]
    for name in known if config.labels is None else config.labels:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise DataError(f"no label '{name}' in data.pattern; known: {listed}")
        if name in RESERVED or name == "event":
            raise DataError(f"a label cannot be called '{name}'; rename the group in data.pattern")
    return known if config.labels is None else list(config.labels)


# Reading -----------------------------------------------------------------------------------------


def _read_all(config: Eeg, files: Sequence[_File]) -> list[Found]:
    mne = require("mne", "eeg", "reading EEG")
    settings = [config.picks, config.strip, config.reference, config.low, config.high,
                config.resample]  # fmt: skip
    # one level around all threads: calls that set it each would restore each other's
    with mne.utils.use_log_level("error"):
        return compute_all(
            [file.path for file in files],
            lambda path: read(path, config),
            ("eeg", 1, settings),
            config.cache,
            on_error=config.on_error,
        )


def _check_alike(found: Sequence[Found], files: Sequence[_File]) -> None:
    first = found[0]
    for other in found:
        one, two = files[other.index].path, files[first.index].path
        if other.facts["rate"] != first.facts["rate"]:
            raise DataError(
                f"{one}: sampled at {other.facts['rate']:g} Hz, {two} at "
                f"{first.facts['rate']:g} Hz: set data.resample"
            )
        if other.facts["channels"] != first.facts["channels"]:
            differ = sorted({*other.facts["channels"]} ^ {*first.facts["channels"]})
            what = ", ".join(differ) or "their order"
            raise DataError(f"{one}: other channels than in {two} ({what}): set data.picks")


# Cutting -----------------------------------------------------------------------------------------


def _check_events(config: Eeg, found: Sequence[Found]) -> None:
    known = sorted({event for one in found for event in one.facts["event"]})
    for event in config.events:
        if event not in known:
            listed = ", ".join(known) or "none"
            raise DataError(f"no recording has an event '{event}'; known: {listed}")


def _global(file: _File) -> dict[str, NDArray[Any]]:
    return {name: np.array(value) for name, value in file.labels.items()}


def _events(config: Eeg, one: Found) -> Iterator[tuple[int, float, float, str]]:
    """Yield the number, onset and duration in seconds, and name of each event that is wanted."""
    columns = (one.facts[key] for key in ("onset", "duration", "event"))
    for i, (onset, duration, event) in enumerate(zip(*columns, strict=True)):
        if event in config.events:
            yield i, onset, duration, event


def _whole(config: Eeg, one: Found, file: _File, index: int) -> Example:
    labels = _global(file)
    if config.events:
        labels["event"] = _event_of_each_frame(config, one)
    return Example(
        x=one.x, labels=labels, source=str(file.path), name=file.labels["path"],
        utterance=index, stats=one.stats,
    )  # fmt: skip


def _event_of_each_frame(config: Eeg, one: Found) -> NDArray[np.str_]:
    """Return (T,); an event without a duration is on one frame, of two at once the later stays."""
    rate, frames = one.facts["rate"], one.x.shape[0]
    label = np.full(frames, "", f"U{max(map(len, config.events))}")
    for _, onset, duration, event in _events(config, one):
        start, stop = round(onset * rate), round((onset + duration) * rate)
        label[max(0, start) : max(0, stop, start + 1)] = event
    return label


def _epochs(config: Eeg, found: Sequence[Found], files: Sequence[_File]) -> list[Example]:
    kept, outside = [], []
    rate = found[0].facts["rate"]
    for one in found:
        file = files[one.index]
        for i, onset, duration, event in _events(config, one):
            name = f"{file.labels['path']}, event {i} ({event})"
            end = duration if config.tmax is None else config.tmax
            try:
                length = samples(end - config.tmin, rate)
            except DataError as error:
                raise DataError(f"{config.root / name}: {error}; set data.tmax") from None
            start = round((onset + config.tmin) * rate)
            if start < 0 or start + length > one.x.shape[0]:
                outside.append(name)
                continue
            labels = {**_global(file), "event": np.array(event)}
            cut = Cut(one.x, start, start + length)
            kept.append(Example(x=cut, labels=labels, source=str(file.path), name=name))
    if not kept:
        raise DataError(
            f"all {len(outside)} events reach beyond their recording, the first: {outside[0]}"
        )
    if outside:
        warnings.warn(
            f"left out {len(outside)} of {len(outside) + len(kept)} events, which reach beyond "
            f"their recording, the first: {outside[0]}",
            stacklevel=4,
        )
    return kept
