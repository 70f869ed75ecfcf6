"""`.ts` files: find or fetch them, convert them once, share their cases among the parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.frames import Cut, Example
from seqvae_data.items import RESERVED, assemble, divide
from seqvae_data.series.archive import find
from seqvae_data.series.config import TS
from seqvae_data.series.missing import check_missing, interpolate
from seqvae_data.series.store import Sink, Store, stored
from seqvae_data.series.ts_files import Case, read_cases

__all__ = ["build"]


def build(config: TS, request: DataRequest) -> Splits:
    """Read the files, and share the cases among the parts where they do not say."""
    if config.label in RESERVED:
        raise DataError(f"a label cannot be called '{config.label}': set data.label")
    paths = _paths(config)
    parts = [_examples(config, path) for path in paths]
    everything = [example for part in parts for example in part]
    test = range(len(parts[0]), len(everything)) if len(parts) == 2 else None
    divided = divide(everything, config.split, request, test=test)
    return assemble(*divided, request, scaled=config.normalise)


def _paths(config: TS) -> list[Path]:
    if config.path_train is None:
        return list(find(config))
    return [config.path_train, *([config.path_test] if config.path_test else [])]


def _examples(config: TS, path: Path) -> list[Example]:
    store = stored(
        path, ("ts", 1, config.missing), config.cache, lambda sink: _convert(config, path, sink)
    )
    return [
        Example(
            x=Cut(store.columns["x"], start, stop),
            labels=_labels(config, store, i),
            source=f"{path}, line {store.index['lines'][i]}",
            name=f"{path.name}, line {store.index['lines'][i]}",
        )
        for i, (start, stop) in enumerate(store.spans())
    ]


def _labels(config: TS, store: Store, i: int) -> Mapping[str, Any]:
    label = store.index["labels"][i]
    return {} if label is None else {config.label: np.array(label)}


def _convert(config: TS, path: Path, sink: Sink) -> dict[str, Any]:
    index: dict[str, list[Any]] = {"lengths": [], "lines": [], "labels": []}
    start = 0
    for case in read_cases(path):
        sink.write("x", start, _whole(config, path, case))
        start += len(case.x)
        index["lengths"].append(len(case.x))
        index["lines"].append(case.line)
        index["labels"].append(case.label)
    return index


def _whole(config: TS, path: Path, case: Case) -> Any:
    try:
        if config.missing == "interpolate":
            return interpolate(case.x)
        check_missing(case.x)
    except DataError as error:
        raise DataError(f"{path}, line {case.line}: {error}") from None
    return case.x
