"""UCI's EEG Database (Begleiter, 1995): gzipped text, one trial a file."""

import csv
import gzip
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import Features, Found, compute_all
from seqvae_data.eeg.config import EegSmni
from seqvae_data.frames import Example
from seqvae_data.items import assemble, divide

__all__ = ["build", "read_trial"]

RATE = 256
SAMPLES = 256
FOLDERS = ("SMNI_CMI_TRAIN", "SMNI_CMI_TEST")
GROUPS = {"a": "alcoholic", "c": "control"}

_NAME = re.compile(r"(?P<subject>co\d(?P<group>[ac])\d{7})\.rd\.(?P<trial>\d{3})\.gz")
_HEAD = (
    (re.compile(r"# (co\d[ac]\d{7})\.rd"), "# <subject>.rd"),
    (re.compile(r"# \d+ trials, (\d{1,3}) chans, .*"), "# <n> trials, <n> chans, ..."),
    (re.compile(r"# (3\.906)0* msecs uV"), "# 3.906000 msecs uV"),
    (re.compile(r"# (S1 obj|S2 match|S2 nomatch)( err)? *, trial (\d+)"),
     "# <condition> , trial <n>"),
)  # fmt: skip
_CHANNEL = re.compile(r"# (\S+) chan (\d+)")


def build(config: EegSmni, request: DataRequest) -> Splits:
    """Read the trials and share them as the archive does."""
    files = _find(config.root)
    found = compute_all(
        files,
        lambda path: _features(path, config),
        ("eeg-smni", 1, config.exclude_channels, config.decimate),
        config.cache,
        on_error=config.on_error,
    )
    _check_alike(found, files)
    examples = [_example(config.root, files[one.index], one) for one in found]
    test = _official(config.root, [files[one.index] for one in found]) if config.official else None
    facts = {
        "sample_rate": RATE / config.decimate,
        "channels": list(found[0].facts["channels"]),
    }
    parts = divide(examples, config.split, request, test=test)
    return assemble(*parts, request, scaled=config.normalise, facts=facts)


def _find(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    files = sorted(path for path in root.rglob("*.gz") if _NAME.fullmatch(path.name))
    if not files:
        raise DataError(f"no files <subject>.rd.<trial>.gz in {root}, as in co2a0000364.rd.000.gz")
    return files


def _example(root: Path, path: Path, one: Found) -> Example:
    name = _NAME.fullmatch(path.name)
    assert name is not None
    labels = {
        "subject": name["subject"],
        "group": GROUPS[name["group"]],
        "condition": one.facts["condition"],
    }
    return Example(
        x=one.x,
        labels={key: np.array(value) for key, value in labels.items()},
        source=str(path),
        name=path.relative_to(root).as_posix(),
        stats=one.stats,
    )


def _check_alike(found: Sequence[Found], files: Sequence[Path]) -> None:
    first = found[0]
    for other in found:
        if other.facts["channels"] != first.facts["channels"]:
            raise DataError(
                f"{files[other.index]}: other channels than in {files[first.index]}: "
                f"{', '.join(other.facts['channels'])}"
            )


# Reading -----------------------------------------------------------------------------------------


def _features(path: Path, config: EegSmni) -> Features:
    channels, condition, x = read_trial(path)
    for name in config.exclude_channels:
        if name not in channels:
            raise DataError(f"no channel '{name}' to exclude; known: {', '.join(channels)}")
    kept = [i for i, name in enumerate(channels) if name not in config.exclude_channels]
    if not kept:
        raise DataError("data.exclude_channels leaves no channel")
    x = x[:, kept]
    if config.decimate > 1:
        from scipy.signal import resample_poly

        x = resample_poly(x, 1, config.decimate, axis=0, padtype="line")
    facts = {"channels": [channels[i] for i in kept], "condition": condition}
    return Features(x=x.astype(np.float32), facts=facts)


def read_trial(path: Path) -> tuple[list[str], str, NDArray[np.float64]]:
    """Return the names of a trial's channels, its condition, and its samples (256, C) in µV.

    The text has four lines that begin with "#", then for each channel a line "# FP1 chan 0" and
    256 lines "trial channel sample value".

    Raises:
        DataError: naming the line that is not as it should be.
    """
    lines = _lines(path)
    head = [_matched(lines, i, *_HEAD[i]) for i in range(len(_HEAD))]
    if not path.name.startswith(f"{head[0][1]}."):
        raise DataError(f"line 1: the trial is of {head[0][1]}, unlike the file's name")
    channels: list[str] = []
    x = np.empty((SAMPLES, int(head[1][1])))
    for i in range(x.shape[1]):
        start = len(_HEAD) + i * (SAMPLES + 1)
        title = _matched(lines, start, _CHANNEL, f"# <name> chan {i}")
        if int(title[2]) != i or title[1] in channels:
            raise DataError(f"line {start + 1}: expected channel {i}, got '{lines[start]}'")
        channels.append(title[1])
        x[:, i] = _values(lines, start + 1, head[3][3], title[1])
    end = len(_HEAD) + x.shape[1] * (SAMPLES + 1)
    if len(lines) > end:
        raise DataError(
            f"line {end + 1}: expected the end after {x.shape[1]} channels of {SAMPLES} samples, "
            f"got '{lines[end][:40]}'"
        )
    return channels, head[3][1] + (head[3][2] or ""), x


def _lines(path: Path) -> list[str]:
    try:
        text = gzip.decompress(path.read_bytes()).decode("ascii")
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} of the text is not ASCII") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"damaged, or not a gzip file: {error}") from None
    return text.splitlines()


def _matched(lines: Sequence[str], index: int, rule: re.Pattern[str], form: str) -> re.Match[str]:
    if index >= len(lines):
        raise DataError(f"ends after line {len(lines)}, expected '{form}'")
    match = rule.fullmatch(lines[index].rstrip())
    if match is None:
        raise DataError(f"line {index + 1}: expected '{form}', got '{lines[index][:40]}'")
    return match


def _values(lines: Sequence[str], start: int, trial: str, channel: str) -> list[float]:
    """Return a channel's samples; the line number counts from 0."""
    values = []
    for sample, line in enumerate(lines[start : start + SAMPLES]):
        try:
            *place, text = line.split()
            value = float(text)
        except ValueError:
            place, value = [], math.nan
        if place != [trial, channel, str(sample)] or not math.isfinite(value):
            raise DataError(
                f"line {start + sample + 1}: expected '{trial} {channel} {sample} <number>', "
                f"got '{line[:40]}'"
            )
        values.append(value)
    if len(values) < SAMPLES:
        raise DataError(
            f"ends after line {len(lines)}, channel {channel} has {len(values)} of {SAMPLES} "
            "samples"
        )
    return values


# Official parts ----------------------------------------------------------------------------------


def _official(root: Path, files: Sequence[Path]) -> list[int] | None:
    """Return the positions of the test part, or None if the folder names none."""
    index = root / "index.csv"
    if index.is_file():
        part = _read_index(index)
        for path in files:
            if path.name not in part:
                raise DataError(f"{index}: no row for {path.relative_to(root)}")
        return [i for i, path in enumerate(files) if part[path.name] == "test"]
    above = [path.relative_to(root).parts for path in files]
    if all(any(folder in parts for parts in above) for folder in FOLDERS):
        return [i for i, parts in enumerate(above) if FOLDERS[1] in parts]
    return None


def _read_index(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    part: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        name, split = row.get("file"), row.get("split")
        if not name or split not in ("train", "test"):
            raise DataError(
                f"{path}, line {number}: expected a 'file', and 'train' or 'test' as its 'split', "
                f"got '{name}' and '{split}'"
            )
        if name in part:
            raise DataError(f"{path}, line {number}: {name} stands there twice")
        part[name] = split
    return part
