"""Tables with a row for each file, or for each stretch of time in one: CSV and JSON lines."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from seqvae_core.errors import DataError

__all__ = ["Row", "Table", "number", "read_table"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE)
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


@frozen
class Row:
    """One row of a table.

    Attributes:
        line: where it begins, from 1.
        cells: its text by column, "" where missing.
    """

    line: int
    cells: dict[str, str] = field(repr=False)

    @property
    def path(self) -> str:
        """The cell `path` in its shortest form: `./a//b.wav` is `a/b.wav`."""
        return PurePosixPath(self.cells["path"]).as_posix() if self.cells["path"] else ""


@frozen
class Table:
    """The rows of a file, all with the same columns."""

    path: Path
    columns: tuple[str, ...]
    rows: list[Row] = field(repr=False)

    def where(self, row: Row) -> str:
        """Return what errors call a row."""
        return f"{self.path}, line {row.line}"

    def labels(self, numbers: Sequence[str], other: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
        """Return all columns but `path` and `other`, each (rows,), text or float64.

        A column is numbers if `numbers` names it, or if all its cells are written as numbers and
        one of them has a decimal point. Missing are "" and NaN.

        Raises:
            DataError: naming the line, for what is no finite number in a column of numbers.
        """
        names = [name for name in self.columns if name not in {"path", *other}]
        return {name: self._label(name, declared=name in numbers) for name in names}

    def _label(self, name: str, *, declared: bool) -> NDArray[Any]:
        texts = [row.cells[name] for row in self.rows]
        given = [text for text in texts if text]
        written = all(_NUMBER.fullmatch(text) for text in given)
        if not declared and not (written and any("." in text for text in given)):
            return np.array(texts, dtype=np.str_)
        return np.array([number(self, row, name) if row.cells[name] else np.nan
                         for row in self.rows])  # fmt: skip


def number(table: Table, row: Row, column: str) -> float:
    """Return a cell as a number.

    Raises:
        DataError: naming the line, if it is none, or not finite.
    """
    text = row.cells[column]
    value = float(text) if _NUMBER.fullmatch(text) else np.nan
    if not np.isfinite(value):
        raise DataError(
            f"{table.where(row)}, column '{column}': expected a finite number, got '{text[:40]}'"
        )
    return value


def read_table(path: Path, needed: Sequence[str], exclude: str | None = None) -> Table:
    """Return the rows of a `.csv`, `.tsv` or `.jsonl` file of UTF-8 text.

    The first line of a CSV file names its columns; the columns of JSON lines are all keys of
    their objects. Values of JSON are taken as they are written, null is a missing cell.

    Args:
        path: the file.
        needed: columns that must be there.
        exclude: a regular expression; rows in whose path it is found are left out.

    Raises:
        DataError: naming the file, and the line that cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns, rows = _read(path, file)
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected UTF-8 text, got other bytes") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    for name in needed:
        if name not in columns:
            there = ", ".join(columns) or "none"
            raise DataError(f"{path}: has no column '{name}', but {there}")
    if not rows:
        raise DataError(f"{path}: has no rows")
    kept = [row for row in rows if exclude is None or not re.search(exclude, row.path)]
    return Table(path, columns, kept)


def _read(path: Path, file: Any) -> tuple[tuple[str, ...], list[Row]]:
    if (ending := path.suffix.lower()) == ".jsonl":
        return _json_lines(path, file)
    if ending not in _SEPARATORS:
        raise DataError(f"{path}: expected a .csv, .tsv or .jsonl file")
    return _separated(path, file, _SEPARATORS[ending])


def _separated(path: Path, file: Any, delimiter: str) -> tuple[tuple[str, ...], list[Row]]:
    lines = _csv_lines(path, file, delimiter)
    _, columns = next(lines, (0, []))
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise DataError(f"{path}: has the column '{twice[0]}' more than once")
    rows = []
    for line, cells in lines:
        if len(cells) != len(columns):
            raise DataError(f"{path}, line {line}: expected {len(columns)} cells, got {len(cells)}")
        rows.append(Row(line, dict(zip(columns, cells, strict=True))))
    return tuple(columns), rows


def _csv_lines(path: Path, file: Any, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, [cell.strip() for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: {error}") from None


def _json_lines(path: Path, file: Any) -> tuple[tuple[str, ...], list[Row]]:
    found = [(line, _json_object(path, line, text))
             for line, text in enumerate(file, 1) if text.strip()]  # fmt: skip
    columns = tuple(dict.fromkeys(name for _, cells in found for name in cells))
    return columns, [Row(line, {name: cells.get(name, "") for name in columns})
                     for line, cells in found]  # fmt: skip


def _json_object(path: Path, line: int, text: str) -> dict[str, str]:
    try:
        value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise DataError(f"{path}, line {line}: expected a JSON object, got {text[:60]!r}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}, line {line}: expected a JSON object, got {text[:60]!r}")
    for name, cell in value.items():
        if not isinstance(cell, str | bool | None):
            raise DataError(
                f"{path}, line {line}, key '{name}': expected text, a number or null, got a "
                f"{type(cell).__name__}"
            )
    return {name: _cell(cell) for name, cell in value.items()}


def _cell(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return (value or "").strip()
