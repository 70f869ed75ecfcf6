"""Folders of audio files: find, label, read, cut into segments."""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.config import AudioFolder
from seqvae_data.items import RESERVED, Example, assemble
from seqvae_data.spectra import log_magnitude, log_mel
from seqvae_data.splits import split

__all__ = ["build", "find", "read"]


@frozen
class _File:
    path: Path
    labels: Mapping[str, str]  # all groups, and the path below root


def build(config: AudioFolder, request: DataRequest) -> Splits:
    """Read the files, share the utterances, cut each part into segments."""
    files = find(config)
    names = _label_names(config, files[0])
    sounds, rate = _read_all(config, files)
    parts = split([file.labels for file, _ in sounds], config.split, request.seed)
    cut = {
        part: [example for i in members for example in _examples(config, names, i, *sounds[i])]
        for part, members in (
            ("train", parts.train),
            ("valid", parts.valid),
            ("test", parts.test),
        )
    }
    return assemble(**cut, request=request, scaled=config.normalise, facts={"sample_rate": rate})


# Finding -----------------------------------------------------------------------------------------


def find(config: AudioFolder) -> list[_File]:
    """Return the files below root in the order of their paths, with their labels.

    Raises:
        DataError: if there are none, or a path does not match the pattern.
    """
    if not config.root.is_dir():
        raise DataError(f"no such folder: {config.root}")
    endings = {f".{extension.lower().lstrip('.')}" for extension in config.extensions}
    found = {
        path.relative_to(config.root).as_posix(): path
        for path in config.root.rglob("*")
        if path.suffix.lower() in endings and path.is_file()
    }
    exclude = re.compile(config.exclude) if config.exclude else None
    kept = [name for name in sorted(found) if not (exclude and exclude.search(name))]
    if not kept:
        raise DataError(
            f"no {', '.join(sorted(endings))} files in {config.root}"
            + (f" but {len(found)} that 'exclude' leaves out" if found else "")
        )
    return [_File(found[name], _labels(config, name)) for name in kept]


def _labels(config: AudioFolder, name: str) -> dict[str, str]:
    if config.pattern is None:
        return {"label": Path(name).parent.name or config.root.name, "path": name}
    match = re.search(config.pattern, name)
    if match is None:
        raise DataError(
            f"{config.root / name}: the path '{name}' does not match data.pattern "
            f"'{config.pattern}'; leave such files out by data.exclude"
        )
    return {**{group: value or "" for group, value in match.groupdict().items()}, "path": name}


def _label_names(config: AudioFolder, file: _File) -> list[str]:
    known = [name for name in file.labels if name != "path"]
    names = known if config.labels is None else list(config.labels)
    for name in names:
        if name not in known:
            raise DataError(f"no label '{name}' in data.pattern; known: {', '.join(known)}")
        if name in RESERVED:
            raise DataError(f"a label cannot be called '{name}'; rename the group in data.pattern")
    return names


# Reading -----------------------------------------------------------------------------------------


def _read_all(
    config: AudioFolder, files: list[_File]
) -> tuple[list[tuple[_File, NDArray[np.float32]]], int]:
    """Return each file's spectrum, and the sampling rate that all share."""
    done: list[tuple[_File, NDArray[np.float32]]] = []
    skipped: list[str] = []
    rate, first = config.sample_rate, None
    compute = log_mel if config.features == "log-mel" else log_magnitude
    for file in files:
        try:
            sound, own = read(file.path, config.sample_rate)
            if rate is not None and own != rate:
                raise DataError(
                    f"sampled at {own} Hz, {first} at {rate} Hz: set data.sample_rate to resample"
                )
            frames = compute(sound, own, config.spectrum)
        except DataError as error:
            if config.on_error == "raise":
                raise DataError(f"{file.path}: {error}") from None
            skipped.append(f"{file.path}: {error}")
            continue
        rate, first = own, first or file.path
        done.append((file, frames))
    if skipped:
        warnings.warn(f"left out {len(skipped)} files: {'; '.join(skipped)}", stacklevel=2)
    if not done or rate is None:
        raise DataError(f"none of the {len(files)} files can be used, the first: {skipped[0]}")
    return done, rate


def read(path: Path, rate: int | None = None) -> tuple[NDArray[np.float64], int]:
    """Return a file's sound, (N,) in [-1, 1], its channels averaged, and the sampling rate.

    Args:
        path: a file that libsndfile reads.
        rate: in hertz, to resample to.

    Raises:
        DataError: if the file is damaged, shorter than it says, empty, or not finite.
    """
    try:
        import soundfile
    except ImportError:
        raise DataError("reading audio needs soundfile: pip install 'seqvae[audio]'") from None
    _check_complete(path)
    try:
        sound, own = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        reason = getattr(error, "error_string", "") or error
        raise DataError(f"cannot be read as audio: {str(reason).strip().rstrip('.')}") from None
    if sound.size == 0:
        raise DataError("has no samples")
    if bad := int((~np.isfinite(sound)).sum()):
        raise DataError(f"{bad} of {sound.size} samples are NaN or infinite")
    mono = sound.mean(1)
    return (mono, int(own)) if rate in (None, own) else (_resampled(mono, own, rate), int(rate))


def _resampled(sound: NDArray[np.float64], own: int, rate: Any) -> NDArray[np.float64]:
    try:
        import soxr
    except ImportError:
        raise DataError("resampling needs soxr: pip install 'seqvae[audio]'") from None
    resampled: NDArray[np.float64] = soxr.resample(sound, own, rate)
    return resampled


def _check_complete(path: Path) -> None:
    """Compare a WAV or SPHERE file's length with its header's: libsndfile takes what there is."""
    try:
        with path.open("rb") as file:
            promised = _promised(file)
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None
    if size < promised:
        raise DataError(f"is truncated: {size} bytes, its header promises {promised}")


def _promised(file: BinaryIO) -> int:
    head = file.read(1024)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        file.seek(12)
        return next((end for name, end in _chunks(file) if name == b"data"), 0)
    if head[:7] == b"NIST_1A":
        fields = dict(re.findall(rb"(\w+) -i (\d+)", head))
        sizes = [int(fields.get(key, 0)) for key in
                 (b"sample_count", b"sample_n_bytes", b"channel_count")]  # fmt: skip
        return int(head[8:16]) + int(np.prod(sizes))
    return 0


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    while len(header := file.read(8)) == 8:
        size = int.from_bytes(header[4:], "little")
        # a writer that could not seek back leaves the size at its largest: it promises nothing
        yield header[:4], 0 if size == 0xFFFFFFFF else file.tell() + size
        file.seek(size + size % 2, 1)


# Cutting -----------------------------------------------------------------------------------------


def _examples(
    config: AudioFolder, names: list[str], index: int, file: _File, frames: NDArray[np.float32]
) -> Iterator[Example]:
    labels = {name: np.array(file.labels[name]) for name in names}
    length = config.segment or len(frames)
    last = max(0, len(frames) - length)
    for start in range(0, last + 1, config.segment_hop or length):
        yield Example(
            x=frames[start : start + length],
            labels=labels,
            source=str(file.path),
            utterance=None if config.segment is None else index,
        )
