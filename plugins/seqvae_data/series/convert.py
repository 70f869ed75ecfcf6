"""From a table in long format to flat files: one pass over its rows counts, another one writes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.series.clock import Clock
from seqvae_data.series.columns import Source, kind_of, open_source
from seqvae_data.series.config import Table
from seqvae_data.series.missing import interpolate
from seqvae_data.series.store import Sink
from seqvae_data.series.survey import Survey, floats

__all__ = ["convert"]

_NUMBERS = {"integer", "number", "unknown"}


def convert(config: Table, sink: Sink) -> dict[str, Any]:
    """Write the column `x`, (rows, C), and one for each local label; return the index.

    Raises:
        DataError: naming the file, and the row and column where something is wrong.
    """
    source = open_source(config.path)
    channels = _channels(config, source)
    survey = Survey(config, source)
    clock = Clock(source, config.time, survey.counts.size) if config.time else None
    _write(config, source, channels, survey, clock, sink)
    local = survey.local
    return {
        "names": survey.names,
        "lengths": survey.counts.tolist(),
        "global": {name: survey.values(name) for name in config.labels if name not in local},
        "local": {name: survey.classes(name) for name in local},
        "parts": survey.values(config.part) if config.part else None,
        "channels": channels,
        "steps": [clock.shortest, clock.longest] if clock else [0.0, 0.0],
    }


def _channels(config: Table, source: Source) -> list[str]:
    """Return the columns of the frames, after a look at the types of all that are named."""
    labels = (*config.labels, *config.local_labels)
    others = [name for name in (config.id, config.part, config.time, *labels) if name is not None]
    source.check([*others, *(config.channels or ())])
    for name in others:
        if (kind := kind_of(source.types[name])) == "other":
            raise source.fault(name, "text or numbers")
        if name == config.time and kind not in {"integer", "number", "time"}:
            raise source.fault(name, "numbers or ISO 8601 times")
    numbers = [name for name, kind in source.types.items() if kind_of(kind) in _NUMBERS]
    if config.channels is None:
        taken = {*numbers, *source.spoilt()}
        channels = [name for name in source.types if name in taken and name not in others]
    else:
        channels = list(config.channels)
    if not channels:
        raise DataError(f"{config.path}: no column of numbers is left for the channels")
    for name in channels:
        # of a CSV file pyarrow finds the row where there is no number
        if name not in numbers and not source.separator:
            raise source.fault(name, "numbers")
    return channels


def _write(
    config: Table, source: Source, channels: list[str], survey: Survey, clock: Clock | None,
    sink: Sink,
) -> None:  # fmt: skip
    """Write each row where its sequence lies, then fill in what is missing."""
    import pyarrow as pa

    types = survey.types | dict.fromkeys(channels, pa.float64())
    if config.time:
        types[config.time] = source.types[config.time]
    starts = np.cumsum(survey.counts) - survey.counts
    following = starts.copy()
    gaps = np.zeros(starts.size, bool)
    for row, block in source.blocks(types):
        ids = survey.ids(row, block)
        columns = {"x": _frames(config, channels, row, block)}
        columns |= {f"label {name}": survey.label(name, block) for name in survey.local}
        if clock:
            columns["time"] = clock.since(ids, row, block)
        gaps[ids[np.isnan(columns["x"]).any(1)]] = True
        for rows in _runs(ids):
            sequence = ids[rows[0]]
            for name, values in columns.items():
                sink.write(name, int(following[sequence]), values[rows])
            following[sequence] += len(rows)
    for sequence in np.flatnonzero(gaps):
        start, stop = int(starts[sequence]), int(following[sequence])
        time = sink.read("time", start, stop) if clock else None
        try:
            sink.write("x", start, interpolate(sink.read("x", start, stop), time, channels))
        except DataError as error:
            name = survey.names[sequence]
            raise DataError(f"{config.path}, {config.id} '{name}': {error}") from None


def _frames(config: Table, channels: list[str], row: int, block: Any) -> NDArray[Any]:
    """Return the channels of a block, (rows, C), NaN where they may be missing."""
    wide = np.stack([floats(block.column(name)) for name in channels], 1)
    with np.errstate(over="ignore"):
        x = wide.astype(np.float32)
    wrong = np.isinf(x) if config.missing == "interpolate" else ~np.isfinite(x)
    if wrong.any():
        at, channel = np.argwhere(wrong)[0]
        got = f"got {wide[at, channel]:g}"
        if np.isnan(x[at, channel]):
            got = "it is missing; data.missing = 'interpolate' fills it in"
        raise DataError(
            f"{config.path}, row {row + at}, column '{channels[channel]}': expected a finite "
            f"number, {got}"
        )
    return x


def _runs(ids: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of each sequence that a block has, in their order."""
    order = np.argsort(ids, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(ids[order])) + 1)
