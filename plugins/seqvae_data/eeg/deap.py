"""DEAP's preprocessed recordings (Koelstra et al., 2012), as `.mat` or `.dat` files."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import Features, Found, compute_all
from seqvae_data.eeg.config import Deap
from seqvae_data.eeg.restricted import load_arrays
from seqvae_data.eeg.windows import windows
from seqvae_data.frames import Cut, Example
from seqvae_data.items import assemble, divide
from seqvae_data.matlab import load_mat

__all__ = ["CHANNELS", "build", "read"]

RATE = 128
BASELINE = 3 * RATE  # samples before each video
EEG = 32
RATINGS = ("valence", "arousal", "dominance", "liking")
CHANNELS = (
    "Fp1", "AF3", "F3", "F7", "FC5", "FC1", "C3", "T7", "CP5", "CP1", "P3", "P7", "PO3", "O1",
    "Oz", "Pz", "Fp2", "AF4", "Fz", "F4", "F8", "FC6", "FC2", "Cz", "C4", "T8", "CP6", "CP2",
    "P4", "P8", "PO4", "O2", "hEOG", "vEOG", "zEMG", "tEMG", "GSR", "respiration",
    "plethysmograph", "temperature",
)  # fmt: skip


def build(config: Deap, request: DataRequest) -> Splits:
    """Read the subjects, share the trials, cut each part into windows."""
    files = _find(config)
    found = compute_all(
        files,
        lambda path: _features(path, config),
        ("deap", 1, config.files, config.channels, config.baseline),
        config.cache,
        on_error=config.on_error,
    )
    trials = [
        evolve(trial, utterance=i)
        for i, trial in enumerate(t for one in found for t in _trials(files[one.index], one))
    ]
    train, valid, test = (
        [piece for trial in part for piece in windows(trial, config.window, config.step, RATE)]
        for part in divide(trials, config.split, request)
    )
    facts = {"sample_rate": float(RATE), "channels": list(_channels(config))}
    return assemble(train, valid, test, request, scaled=config.normalise, facts=facts)


def _find(config: Deap) -> list[Path]:
    if not config.root.is_dir():
        raise DataError(f"no such folder: {config.root}")
    rule = re.compile(rf"s\d+\.{config.files}")
    files = sorted(path for path in config.root.iterdir() if rule.fullmatch(path.name))
    if not files:
        raise DataError(f"no files s<subject>.{config.files} in {config.root}")
    return files


def _channels(config: Deap) -> tuple[str, ...]:
    return CHANNELS[:EEG] if config.channels == "eeg" else CHANNELS


def _trials(path: Path, one: Found) -> Iterator[Example]:
    frames = one.x.shape[0] // len(one.facts["ratings"])
    for i, ratings in enumerate(one.facts["ratings"]):
        labels = {"subject": np.array(path.stem[1:]), "video": np.array(i + 1)}
        yield Example(
            x=Cut(one.x, i * frames, (i + 1) * frames),
            labels={**labels, **{n: np.array(r) for n, r in zip(RATINGS, ratings, strict=True)}},
            source=f"{path}, trial {i + 1}",
            name=f"{path.name}, trial {i + 1}",
        )


# Reading -----------------------------------------------------------------------------------------


def _features(path: Path, config: Deap) -> Features:
    """Return the frames of all trials, one after another, and the ratings of each."""
    data, labels = read(path)
    x = data[:, : len(_channels(config))]
    before, rest = x[..., :BASELINE], x[..., BASELINE:]
    if config.baseline == "subtract":
        x = rest - before.mean(-1, keepdims=True)
    elif config.baseline == "drop":
        x = rest
    with np.errstate(over="ignore"):  # the cache refuses what is infinite then
        frames = x.swapaxes(1, 2).reshape(-1, x.shape[1]).astype(np.float32)
    return Features(x=frames, facts={"ratings": labels.tolist()})


def read(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a subject's data, (trials, 40, samples), and ratings, (trials, 4).

    Raises:
        DataError: if the file is damaged, holds anything but arrays of numbers, or other ones.
    """
    arrays = load_arrays(path) if path.suffix == ".dat" else load_mat(path)
    for name in ("data", "labels"):
        if name not in arrays or arrays[name].dtype.kind not in "fiu":
            raise DataError(f"expected arrays of numbers 'data' and 'labels', got {_list(arrays)}")
    data, labels = arrays["data"], arrays["labels"]
    trials = len(data) if data.ndim == 3 else 0
    if data.shape != (trials, len(CHANNELS), data.shape[-1]) or data.shape[-1] <= BASELINE:
        raise DataError(
            f"expected data (trials, {len(CHANNELS)}, samples) of more than {BASELINE} samples, "
            f"got {data.shape}"
        )
    if trials < 1 or labels.shape != (trials, len(RATINGS)):
        raise DataError(f"expected labels ({trials}, {len(RATINGS)}), got {labels.shape}")
    if bad := int((~((labels >= 1) & (labels <= 9))).sum()):
        raise DataError(f"{bad} of {labels.size} ratings are not numbers from 1 to 9")
    return data, labels.astype(np.float64)


def _list(arrays: Mapping[str, Any]) -> str:
    found = [f"'{name}' of {value.dtype}" for name, value in sorted(arrays.items())]
    return ", ".join(found) or "none"
