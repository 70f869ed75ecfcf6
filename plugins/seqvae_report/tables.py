"""Rows of text and numbers as columns that read well: one precision a column, numbers right."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

__all__ = ["Table", "is_number", "metrics_table", "number", "table"]

_NUMERIC_TEXT = re.compile(r"[-−+]?\d[\d,]*(\.\d+)?(e[-−+]?\d+)? ?%?( ?[(\[±].*)?|[-–—]?|nan")


@frozen
class Table:
    """A table of text.

    Attributes:
        columns: titles, and whether numbers stand there; the first names the rows.
        rows: the cells, as many as columns.
    """

    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out rows that map column to text or number.

    The columns stand in the order of their first appearance. Text stays as it is; a column of
    numbers gets one precision, and a column whose title ends with "%" one decimal.
    """
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    columns = [_column(name, [row.get(name) for row in rows]) for name in names]
    numeric = [index > 0 and _is_numeric(column) for index, column in enumerate(columns)]
    return Table(
        columns=tuple(zip(names, numeric, strict=True)),
        rows=tuple(zip(*columns, strict=True)),
    )


def metrics_table(metrics: Mapping[str, float]) -> Table:
    """Lay out a task's metrics, the interval `name/low`, `name/high` in brackets behind `name`."""
    rows = []
    for name, value in metrics.items():
        base, _, end = name.rpartition("/")
        if end in ("low", "high") and base in metrics:
            continue
        row = {"metric": name, "value": number(value)}
        low, high = metrics.get(f"{name}/low"), metrics.get(f"{name}/high")
        if low is not None and high is not None:
            row["95 % interval"] = f"[{number(low)}, {number(high)}]"
        rows.append(row)
    return table(rows)


def number(value: float, decimals: int | None = None) -> str:
    """Return a number as text, with that many decimals, or with four digits."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if decimals is None or (value and abs(value) <= 0.5 * 10.0**-decimals):
        decimals = _decimals(value)
    text = f"{value:,.{decimals}f}" if decimals <= 6 else f"{value:.2e}"
    return text.replace("-", "−")


def is_number(value: object) -> bool:
    """Whether a value read from JSON is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _decimals(value: float) -> int:
    """Return how many decimals show four digits of a number, three if it is below 1."""
    if not value:
        return 0
    exponent = math.floor(math.log10(abs(value)))
    return max(3 - exponent, 0) if exponent >= 0 else 2 - exponent


def _column(name: str, values: Sequence[Any]) -> list[str]:
    decimals = 1
    if not name.endswith("%"):
        fractions = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v)]
        decimals = _decimals(max(fractions, default=0.0))
    return [_cell(value, decimals) for value in values]


def _cell(value: Any, decimals: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value, decimals) if is_number(value) else str(value)


def _is_numeric(texts: Sequence[str]) -> bool:
    return any(texts) and all(_NUMERIC_TEXT.fullmatch(text) for text in texts)
