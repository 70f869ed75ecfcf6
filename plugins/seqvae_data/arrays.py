"""Sequences in one `.npy` or `.npz` file."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.config import Arrays
from seqvae_data.items import RESERVED, Example, assemble
from seqvae_data.splits import split

__all__ = ["build"]

_DAMAGE = (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


def build(config: Arrays, request: DataRequest) -> Splits:
    """Read the arrays and share the rows among the parts."""
    with _opened(config.path, config.key) as stored:
        parted = {f"{config.key}_train", f"{config.key}_test"} <= stored.keys()
        train = _examples(config, stored, "_train" if parted else "")
        config = evolve(config, labels=tuple(train[0].labels))
        test = _examples(config, stored, "_test") if parted else []
        has_valid = parted and f"{config.key}_valid" in stored
        valid = _examples(config, stored, "_valid") if has_valid else []
    if not valid:
        rows = [*train, *test]
        given = range(len(train), len(rows)) if test else None
        parts = split([_texts(row) for row in rows], config.split, request.seed, test=given)
        train, valid, test = (
            [rows[i] for i in members] for members in (parts.train, parts.valid, parts.test)
        )
    return assemble(train, valid, test, request, scaled=config.normalise)


@contextmanager
def _opened(path: Path, key: str) -> Iterator[Mapping[str, Any]]:
    """Give the arrays by name; those of an `.npz` file are read when asked for."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    with file:
        try:
            stored = np.load(file, allow_pickle=False)
        except _DAMAGE:
            raise DataError(
                f"cannot read {path}: damaged, or not a NumPy file of numbers"
            ) from None
        yield {key: stored} if isinstance(stored, np.ndarray) else stored


def _array(config: Arrays, stored: Mapping[str, Any], name: str) -> NDArray[Any]:
    where = f"{config.path}, array '{name}'"
    if name not in stored:
        known = ", ".join(sorted(stored)) or "none"
        raise DataError(f"{config.path}: no array '{name}'; known: {known}")
    try:
        array = np.asarray(stored[name])
    except _DAMAGE as error:
        if "allow_pickle" not in str(error):
            raise DataError(f"{where}: damaged") from None
        raise DataError(
            f"{where}: Python objects are never read; leave it out by data.labels"
        ) from None
    if array.dtype.kind not in "fiubU":
        raise DataError(f"{where}: expected numbers or text, got {array.dtype}")
    return array


def _examples(config: Arrays, stored: Mapping[str, Any], suffix: str) -> list[Example]:
    x = _frames(config, _array(config, stored, config.key + suffix), config.key + suffix)
    lengths = _lengths(config, stored, suffix, x)
    labels = {
        name: _label(config, _array(config, stored, name + suffix), name + suffix, x)
        for name in _label_names(config, stored, suffix, len(x))
    }
    return [
        Example(
            x=x[i, :length].astype(np.float32),
            labels={
                name: value[i, :length] if value.ndim == 2 else np.asarray(value[i])
                for name, value in labels.items()
            },
            source=f"{config.path}, row {i} of '{config.key}{suffix}'",
        )
        for i, length in enumerate(lengths.tolist())
    ]


def _frames(config: Arrays, x: NDArray[Any], name: str) -> NDArray[Any]:
    """Return x as (N, T, *frame)."""
    if x.ndim < 2 or 0 in x.shape or x.dtype.kind == "U":
        wanted = "(N, T, *frame)" if config.time else "(N, *frame)"
        raise DataError(
            f"{config.path}, array '{name}': expected numbers of shape {wanted}, "
            f"got {x.dtype} {x.shape}"
        )
    if config.time:
        return x[..., None] if x.ndim == 2 else x
    return x[:, None, None] if x.ndim == 3 else x[:, None]


def _lengths(
    config: Arrays, stored: Mapping[str, Any], suffix: str, x: NDArray[Any]
) -> NDArray[np.int64]:
    rows, frames = x.shape[:2]
    lengths = np.full(rows, frames)
    name = "mask" if f"mask{suffix}" in stored else "length"
    if name + suffix not in stored:
        return lengths
    value = _array(config, stored, name + suffix)
    if name == "length" and value.shape == (rows,) and value.dtype.kind in "iu":
        lengths = value.astype(np.int64)
    elif name == "mask" and value.shape == (rows, frames) and value.dtype.kind in "biu":
        lengths = (value != 0).sum(1)
        if not ((value != 0) == (np.arange(frames) < lengths[:, None])).all():
            lengths[:] = 0  # holes are as wrong as an empty row
    else:
        lengths[:] = 0
    if lengths.min() < 1 or lengths.max() > frames:
        raise DataError(
            f"{config.path}, array '{name}{suffix}': expected lengths in 1..{frames} of shape "
            f"({rows},), or a mask ({rows}, {frames}) that is true up to them"
        )
    return lengths


def _label_names(config: Arrays, stored: Mapping[str, Any], suffix: str, rows: int) -> list[str]:
    if config.labels is not None:
        names = list(config.labels)
    else:
        ending = [name.removesuffix(suffix) for name in stored if name.endswith(suffix)]
        others = [name for name in ending if name not in {config.key, "mask", "length"}]
        names = [name for name in others if _rows(config, stored, name + suffix) == rows]
    for name in names:
        if name in RESERVED:
            raise DataError(f"{config.path}: a label cannot be called '{name}'")
    return names


def _rows(config: Arrays, stored: Mapping[str, Any], name: str) -> int:
    array = _array(config, stored, name)
    return len(array) if array.ndim else 0


def _label(config: Arrays, value: NDArray[Any], name: str, x: NDArray[Any]) -> NDArray[Any]:
    if value.shape not in {x.shape[:1], x.shape[:2]}:
        raise DataError(
            f"{config.path}, array '{name}': expected a label of shape {x.shape[:1]} or "
            f"{x.shape[:2]}, got {value.shape}; data.labels names those to read"
        )
    return value


def _texts(example: Example) -> dict[str, str]:
    return {name: str(value) for name, value in example.labels.items() if not value.ndim}
