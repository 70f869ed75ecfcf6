"""One EEG recording in EDF, BDF or FIF, read, filtered and resampled by MNE."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.cache import Features
from seqvae_data.eeg.config import Eeg
from seqvae_data.extras import require

__all__ = ["read"]


def read(path: Path, config: Eeg) -> Features:
    """Return a recording, (T, C), its rate and channels, and its annotations in seconds.

    Raises:
        DataError: if the file is damaged or lacks what the settings ask for.
    """
    mne = require("mne", "eeg", "reading EEG")
    if path.suffix.lower() != ".fif":
        _check_complete(path)
    try:
        raw = _opened(mne, path)
        names = [name.strip(config.strip) if config.strip else name for name in raw.ch_names]
        types = raw.get_channel_types()
        notes = raw.annotations
        onset = raw.time_as_index(notes.onset, use_rounding=True, origin=notes.orig_time)
        onset = onset / raw.info["sfreq"]
        picked = _picked(config, names, types)
        _process(mne, raw.pick(picked).load_data(), config)
        x = _scaled(raw)  # (T, C)
    except DataError:
        raise
    except Exception as error:  # a damaged file raises whatever MNE happens upon
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(f"cannot be read as {path.suffix[1:].upper()}: {text}") from None
    if config.reference == "average":
        x = _referenced(x, [types[i] for i in picked])
    facts = {
        "rate": float(raw.info["sfreq"]),
        "channels": [names[i] for i in picked],
        "onset": onset.tolist(),
        "duration": notes.duration.tolist(),
        "event": [str(text) for text in notes.description],
    }
    return Features(x=x.astype(np.float32), facts=facts)


def _check_complete(path: Path) -> None:
    """Compare an EDF or BDF file with its header: MNE takes what there is, in one piece."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
            count = int(head[252:256] or b"0")
            lengths = file.read(256 * count)[216 * count : 224 * count]
        size = path.stat().st_size
        samples = sum(int(lengths[8 * i : 8 * i + 8]) for i in range(count))
        start, records = int(head[184:192]), int(head[236:244])
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise DataError(f"is no {path.suffix[1:].upper()} file: its header is damaged") from None
    if head[192:197] in (b"EDF+D", b"BDF+D"):
        raise DataError("is discontinuous (EDF+D), which cannot be read: expected EDF or EDF+C")
    promised = start + records * samples * (3 if head[:1] == b"\xff" else 2)
    if size != promised and records >= 0:  # -1 where the recorder was never told to stop
        how = "truncated" if size < promised else "too long"
        raise DataError(f"is {how}: {size} bytes, its header promises {promised}")


def _opened(mne: Any, path: Path) -> Any:
    if path.suffix.lower() == ".fif":
        raw = mne.io.read_raw_fif(path)
        if len(raw.filenames) > 1:
            raise DataError(f"goes on in {raw.filenames[1].name}: save it as one file")
        return raw
    reader = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
    return reader(path, infer_types=True)


def _picked(config: Eeg, names: Sequence[str], types: Sequence[str]) -> list[int]:
    picked: list[int] = []
    for pick in config.picks:
        by_name = [i for i, name in enumerate(names) if name == pick]
        chosen = by_name or [i for i, kind in enumerate(types) if kind == pick]
        if not chosen:
            known = ", ".join(dict.fromkeys([*types, *names]))
            raise DataError(f"no channel has the name or type '{pick}'; known: {known}")
        picked += [i for i in chosen if i not in picked]
    if len({names[i] for i in picked}) < len(picked):
        raise DataError("two picked channels have the same name once data.strip is taken off")
    return picked


def _process(mne: Any, raw: Any, config: Eeg) -> None:
    rate = float(raw.info["sfreq"])
    for name, edge in (("low", config.low), ("high", config.high)):
        if edge is not None and edge >= rate / 2:
            raise DataError(f"data.{name} = {edge:g} Hz: expected less than half of {rate:g} Hz")
    if config.low is not None or config.high is not None:
        taps = len(mne.filter.create_filter(None, rate, config.low, config.high))
        if taps > raw.n_times:
            raise DataError(
                f"{raw.n_times / rate:g} s are too short for data.low and data.high, whose filter "
                f"takes {taps / rate:.3g} s"
            )
        raw.filter(config.low, config.high, picks="all")
    if config.resample is not None and config.resample != rate:
        raw.resample(config.resample)


def _scaled(raw: Any) -> NDArray[np.float64]:
    """Return (T, C), volts as microvolts."""
    constants = require("mne.io.constants", "eeg", "reading EEG").FIFF
    volts = [channel["unit"] == constants.FIFF_UNIT_V for channel in raw.info["chs"]]
    scaled: NDArray[np.float64] = raw.get_data().T * np.where(volts, 1e6, 1.0)
    return scaled


def _referenced(x: NDArray[np.float64], types: Sequence[str]) -> NDArray[np.float64]:
    eeg = np.array([kind == "eeg" for kind in types])
    if not eeg.any():
        raise DataError("no EEG channel is picked that data.reference could average")
    return np.where(eeg, x - x[:, eeg].mean(1, keepdims=True), x)
