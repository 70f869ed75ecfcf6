"""Hugging Face data sets on the disk."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.plugins import did_you_mean
from seqvae_core.records import Splits
from seqvae_data.cache import Features, compute_all
from seqvae_data.foreign.columns import Lists, Pictures, label, lengths_of
from seqvae_data.foreign.config import HuggingFace
from seqvae_data.foreign.tables import Changed, Stored, find, is_list
from seqvae_data.frames import Example, Rows
from seqvae_data.images.pixels import unit
from seqvae_data.items import RESERVED, Parts, assemble, divide

__all__ = ["build"]


def build(config: HuggingFace, request: DataRequest) -> Splits:
    """Open the tables and share the rows among the parts that are not there."""
    stored = find(config.path, config.cache)
    _check_columns(config, stored)
    import datasets

    feature = stored.features[config.x]
    kind = stored.column(config.x).type
    clips = isinstance(getattr(feature, "feature", None), datasets.Image)
    if isinstance(feature, datasets.Audio):
        _check_encoded(config, kind)
        return _audio(config, stored, request)
    if isinstance(feature, datasets.Image) or clips:
        _check_encoded(config, kind.value_type if clips else kind)
        return _assembled(config, stored, _pictures(config, stored, clips), request, prepare=unit)
    return _assembled(config, stored, _lists(config, stored), request)


def _check_encoded(config: HuggingFace, kind: Any) -> None:
    if not {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}:
        raise DataError(f"{_source(config)}: expected encoded bytes and their path, got {kind}")


def _check_columns(config: HuggingFace, stored: Stored) -> None:
    known = list(stored.features)
    for name in (config.x, *(config.labels or ())):
        if name not in known:
            raise DataError(f"{config.path}: no column '{name}'{did_you_mean(name, known)}")
    for name in config.labels or ():
        if name in RESERVED:
            raise DataError(f"{config.path}: a label cannot be called '{name}'")
    if not stored.sizes["train"]:
        raise DataError(f"{config.path}: the train part is empty")


def _label_names(config: HuggingFace, stored: Stored) -> list[str]:
    """Return the labels that are wanted: classes, numbers, truths, and lists of them."""
    if config.labels is not None:
        return list(config.labels)
    taken = []
    for name, feature in stored.features.items():
        inner = getattr(feature, "feature", feature)
        kind = getattr(inner, "dtype", "") or ""
        if name != config.x and name not in RESERVED and (
            hasattr(inner, "names") or kind.startswith(("int", "uint", "float", "bool"))
        ):  # fmt: skip
            taken.append(name)
    return taken


def _labels(
    config: HuggingFace, stored: Stored, lengths: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    return {name: label(stored, name, lengths) for name in _label_names(config, stored)}


# Kinds of x --------------------------------------------------------------------------------------


def _lists(config: HuggingFace, stored: Stored) -> Rows:
    kind = stored.column(config.x).type
    if not is_list(kind):
        raise DataError(
            f"{_source(config)}: expected lists of numbers, images or audio, got {kind}"
        )
    lengths = lengths_of(stored, config.x)
    x = Lists.of(stored, config.x, config.time, int(lengths.max()))
    lengths = lengths if config.time else np.ones_like(lengths)
    return Rows(x, _labels(config, stored, lengths), _source(config), lengths)


def _pictures(config: HuggingFace, stored: Stored, clips: bool) -> Rows:
    count = sum(stored.sizes.values())
    lengths = lengths_of(stored, config.x) if clips else np.ones(count, np.int64)
    x = Pictures.of(stored, config.x, clips, int(lengths.max()))
    return Rows(x, _labels(config, stored, lengths), _source(config), lengths)


def _source(config: HuggingFace) -> str:
    return f"{config.path}, column '{config.x}'"


# Audio -------------------------------------------------------------------------------------------


@frozen
class _Cell:
    """The bytes of one row, as if they were a file."""

    stored: Stored
    column: str
    row: int

    def __str__(self) -> str:
        return f"{self.stored.path}, column '{self.column}', row {self.row}"

    def open(self, mode: Literal["rb"], /) -> io.BytesIO:
        return io.BytesIO(self.content())

    def stat(self) -> Changed:
        return self.stored.changed

    def content(self) -> bytes:
        value = self.stored.column(self.column)[self.row].as_py()
        if value is None or not value["bytes"]:
            where = f", only the path '{value['path']}'" if value and value["path"] else ""
            raise DataError(f"holds no audio{where}")
        content: bytes = value["bytes"]
        return content


def _audio(config: HuggingFace, stored: Stored, request: DataRequest) -> Splits:
    from seqvae_data.speech.audio import read
    from seqvae_data.speech.spectra import features

    def compute(cell: _Cell) -> Features:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sound"
            path.write_bytes(cell.content())
            sound, rate = read(path, config.sample_rate)
        x = features(config.features, sound, rate, config.spectrum)
        return Features(x=x, facts={"rate": rate})

    cells = [_Cell(stored, config.x, row) for row in range(sum(stored.sizes.values()))]
    found = compute_all(
        cells, compute,
        ("huggingface", 1, config.features, config.spectrum, config.sample_rate),
        config.cache, on_error=config.on_error,
    )  # fmt: skip
    rate = found[0].facts["rate"]
    for each in found:
        if (own := each.facts["rate"]) != rate:
            raise DataError(
                f"{cells[each.index]}: sampled at {own} Hz, {cells[found[0].index]} at {rate} Hz: "
                "set data.sample_rate to resample"
            )
    lengths = np.ones(len(cells), np.int64)
    lengths[[each.index for each in found]] = [each.x.shape[0] for each in found]
    labels = _labels(config, stored, lengths)
    examples = [
        Example(
            x=each.x,
            labels={name: _row(value, each.index, each.x.shape[0])
                    for name, value in labels.items()},
            source=str(cells[each.index]),
            name=f"row {each.index}",
            stats=each.stats,
        )
        for each in found
    ]  # fmt: skip
    rows = [each.index for each in found]
    return _assembled(config, stored, examples, request, rows=rows, facts={"sample_rate": rate})


def _row(value: NDArray[Any], row: int, length: int) -> NDArray[Any]:
    return value[row, :length] if value.ndim == 2 else np.asarray(value[row])


# Parts -------------------------------------------------------------------------------------------


def _assembled(
    config: HuggingFace,
    stored: Stored,
    examples: Sequence[Example],
    request: DataRequest,
    *,
    rows: Sequence[int] | None = None,
    **about: Any,
) -> Splits:
    parts = _shared(config, stored.sizes, examples, request, rows or range(len(examples)))
    scaled = "prepare" not in about if config.normalise is None else config.normalise
    return assemble(*parts, request, scaled=scaled, **about)


def _shared(
    config: HuggingFace,
    sizes: dict[str, int],
    examples: Sequence[Example],
    request: DataRequest,
    rows: Sequence[int],
) -> Parts:
    """Return the parts that are there; what is not there is drawn from train."""
    ends = np.cumsum(list(sizes.values()))
    members = dict(zip(sizes, np.split(np.arange(len(rows)), np.searchsorted(rows, ends[:-1])),
                       strict=True))  # fmt: skip
    if "valid" not in sizes:
        return divide(examples, config.split, request, test=members.get("test"))
    valid = _take(examples, members["valid"])
    if "test" in sizes:
        return _take(examples, members["train"]), valid, _take(examples, members["test"])
    split = evolve(config.split, valid=0.0)
    train, _, test = divide(_take(examples, members["train"]), split, request)
    return train, valid, test


def _take(examples: Sequence[Example], positions: NDArray[np.int64]) -> Sequence[Example]:
    chosen = positions.tolist()
    return examples.take(chosen) if isinstance(examples, Rows) else [examples[i] for i in chosen]
