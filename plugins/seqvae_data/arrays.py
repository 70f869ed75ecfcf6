"""Sequences in one `.npy` or `.npz` file."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.config import Arrays
from seqvae_data.frames import Prepare, Rows
from seqvae_data.items import RESERVED, Parts, assemble, divide
from seqvae_data.numpy_files import open_arrays

__all__ = ["build"]

_PARTS = ("_train", "_valid", "_test")

Arrange = Callable[[NDArray[Any], str], NDArray[Any]]


def build(
    config: Arrays,
    request: DataRequest,
    *,
    frames: Arrange | None = None,
    prepare: Prepare | None = None,
) -> Splits:
    """Read or map the arrays and share the rows among the parts.

    Args:
        config: where they are.
        request: the seed, and what an earlier run fitted.
        frames: from x and its name to (N, T, *frame); as `Arrays` says if left out.
        prepare: see `assemble`.
    """
    frames = frames or partial(_frames, config)
    stored = open_arrays(config.path, config.cache, config.key)
    endings = _endings(config, stored)
    _check_lengths(config, stored, endings)
    train = _rows(config, stored, endings[0], frames)
    found = evolve(config, labels=tuple(train.labels))
    others = [_rows(found, stored, ending, frames) for ending in endings[1:]]
    if config.labels is None:
        counts = map(len, (train, *others))
        _warn_left_out(found, stored, dict(zip(endings, counts, strict=True)))
    parts = _parts(config, request, train, *others)
    return assemble(*parts, request, scaled=config.normalise, prepare=prepare)


def _parts(config: Arrays, request: DataRequest, train: Rows, *others: Rows) -> Parts:
    if not others:
        return divide(train, config.split, request)
    *valid, test = others
    if valid:
        return train, valid[0], test
    given = range(len(train), len(train) + len(test))
    return divide([*train, *test], config.split, request, test=given)


def _endings(config: Arrays, stored: Mapping[str, Any]) -> list[str]:
    """Return what the names of each part's arrays end in: "" where the file has no parts."""
    parts = [ending for ending in _PARTS if config.key + ending in stored]
    return parts if {"_train", "_test"} <= set(parts) else [""]


def _check_lengths(config: Arrays, stored: Mapping[str, Any], endings: Sequence[str]) -> None:
    """Refuse lengths that not every part has, or that are of no part."""
    if endings == [""]:
        return
    for name in ("length", "mask"):
        given = [name + ending for ending in ("", *_PARTS) if name + ending in stored]
        wanted = [name + ending for ending in endings]
        if given and given != wanted:
            beside = " and ".join(config.key + ending for ending in endings)
            raise DataError(
                f"{config.path}: expected {', '.join(wanted)} beside {beside}, or none of them, "
                f"got {', '.join(given)}"
            )


def _warn_left_out(config: Arrays, stored: Mapping[str, Any], rows: Mapping[str, int]) -> None:
    """Say which arrays are no label of x, where nobody named the labels.

    Args:
        config: with the labels that were found.
        stored: all arrays.
        rows: how many each part has, by what the names of its arrays end in.
    """
    known = [config.key, "mask", "length", *(config.labels or ())]
    read = {name + ending for name in known for ending in rows}
    for name in (name for name in stored if name not in read):
        shape = _array(config, stored, name).shape
        ending = next((ending for ending in rows if name.endswith(ending)), None)
        if ending is None:
            why = "its name says no part"
        elif shape[:1] == (rows[ending],):
            why = f"there is no '{name.removesuffix(ending)}_train'"
        else:
            why = f"it has other rows than {config.key}{ending}"
        warnings.warn(
            f"array '{name}' of {config.path.name} is left out: of shape {shape}, {why}",
            stacklevel=4,
        )


def _array(config: Arrays, stored: Mapping[str, Any], name: str) -> NDArray[Any]:
    hint = "" if name.startswith(config.key) else "; data.labels names those to read"
    try:
        array: NDArray[Any] = stored[name]
    except DataError as error:
        raise DataError(f"{error}{hint}") from None
    if array.dtype.kind not in "fiubU":
        raise DataError(
            f"{config.path}, array '{name}': expected numbers or text, got {array.dtype}{hint}"
        )
    return array


def _rows(config: Arrays, stored: Mapping[str, Any], suffix: str, frames: Arrange) -> Rows:
    x = frames(_array(config, stored, config.key + suffix), config.key + suffix)
    lengths = _lengths(config, stored, suffix, x)
    labels = {
        name: _label(config, _array(config, stored, name + suffix), name + suffix, x)
        for name in _label_names(config, stored, suffix, len(x))
    }
    rows = Rows(x, labels, f"{config.path}, array '{config.key}{suffix}'", lengths)
    if not isinstance(x, np.memmap) and x.dtype.kind == "f":
        _check_finite(rows, lengths)
    return rows


def _check_finite(rows: Rows, lengths: NDArray[np.int64]) -> None:
    real = np.arange(rows.x.shape[1]) < lengths[:, None]
    bad = ~np.isfinite(rows.x).reshape(*rows.x.shape[:2], -1).all(2) & real
    if bad.any():
        row = int(bad.any(1).argmax())
        raise DataError(
            f"{rows.source}, row {row}: {bad[row].sum()} of {lengths[row]} frames have NaN or "
            "infinite values"
        )


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
        names = [name for name in others if _length(config, stored, name + suffix) == rows]
    for name in names:
        if name in RESERVED:
            raise DataError(f"{config.path}: a label cannot be called '{name}'")
    return names


def _length(config: Arrays, stored: Mapping[str, Any], name: str) -> int:
    array = _array(config, stored, name)
    return len(array) if array.ndim else 0


def _label(config: Arrays, value: NDArray[Any], name: str, x: NDArray[Any]) -> NDArray[Any]:
    if value.shape not in {x.shape[:1], x.shape[:2]}:
        raise DataError(
            f"{config.path}, array '{name}': expected a label of shape {x.shape[:1]} or "
            f"{x.shape[:2]}, got {value.shape}; data.labels names those to read"
        )
    return value
