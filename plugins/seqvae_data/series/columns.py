"""CSV and Parquet files as blocks of rows, by pyarrow, whose errors are made ours."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from seqvae_core.errors import DataError
from seqvae_core.plugins import did_you_mean
from seqvae_data.extras import require

__all__ = ["Source", "kind_of", "open_source"]

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"

BLOCK = 8 << 20  # bytes of a CSV file at a time; its first block shows the types
ROWS = 1 << 16  # rows of a Parquet file at a time

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_CONVERSION = re.compile(
    r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to (\w+)[^:]*: "
    r"(?:invalid value '(.*)')?", re.DOTALL,
)  # fmt: skip
_RAGGED = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")


@frozen(kw_only=True)
class Source:
    """A file of columns.

    Attributes:
        path: the file.
        types: the pyarrow type of each column; of a CSV file, what its first block looks like.
        first: the number of the first row: 2 in a CSV file, whose header is row 1.
        separator: of a CSV file; None for Parquet.
    """

    path: Path
    types: Mapping[str, Any]
    first: int
    separator: str | None

    def check(self, columns: Sequence[str]) -> None:
        """Raise `DataError` unless the file has these columns, once each."""
        for name in columns:
            if name not in self.types:
                raise DataError(f"{self.path}: no column '{name}'{did_you_mean(name, self.types)}")

    def fault(self, column: str, wanted: str) -> DataError:
        """Return the error about a column of the wrong type."""
        return DataError(
            f"{self.path}, column '{column}': expected {wanted}, got {self.types[column]}"
        )

    def spoilt(self) -> list[str]:
        """Return the columns of text in a CSV file that look like numbers with faults in between.

        That is, most cells of the first block that are not empty are numbers.
        """
        import pyarrow as pa
        from pyarrow import compute, csv

        texts = [name for name, kind in self.types.items() if kind_of(kind) == "text"]
        if not (texts and self.separator):
            return []
        _, block = next(self.blocks(dict.fromkeys(texts, pa.string())))
        empty = pa.array(csv.ConvertOptions().null_values)
        spoilt = []
        for name in texts:
            column = block.column(name)
            given = column.filter(compute.invert(compute.is_in(column, empty)))
            numbers = compute.sum(compute.match_substring_regex(given, _NUMBER)).as_py() or 0
            if 2 * numbers > len(given):
                spoilt.append(name)
        return spoilt

    def blocks(self, types: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
        """Yield the number of the first row, and the rows, of each block.

        Args:
            types: the columns that are wanted, and the pyarrow types that they are read as.

        Raises:
            DataError: naming the row and the column, as far as pyarrow does.
        """
        row = self.first
        with _blamed(self.path, list(self.types)):
            for block in self._read(types):
                yield row, block
                row += block.num_rows

    def _read(self, types: Mapping[str, Any]) -> Iterator[Any]:
        if self.separator:
            with _csv(self.path, self.separator, types) as reader:
                yield from reader
        else:
            with _parquet(self.path) as file:
                yield from file.iter_batches(ROWS, columns=list(types), use_threads=False)


def open_source(path: Path) -> Source:
    """Return a file's columns, of which nothing but the first block is read.

    Raises:
        DataError: if it is missing, empty or damaged, or of another format.
    """
    require("pyarrow", "timeseries", "reading tables")
    if not path.is_file():
        raise DataError(f"cannot read {path}: no such file")
    separator = _SEPARATORS.get(Path(path.name.removesuffix(".gz")).suffix)
    if separator is None and path.suffix not in {".parquet", ".pq"}:
        raise DataError(f"{path}: expected a .csv, .tsv (also with .gz), .parquet or .pq file")
    with _blamed(path, []), _csv(path, separator, None) if separator else _parquet(path) as file:
        schema = file.schema if separator else file.schema_arrow
        names = list(schema.names)
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}: column '{name}' is there twice")
    types = dict(zip(names, schema.types, strict=True))
    return Source(path=path, types=types, first=2 if separator else 1, separator=separator)


def kind_of(kind: Any) -> str:
    """Return "integer", "number", "time", "text", "unknown" (nothing but empty) or "other"."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return kind_of(kind.value_type)
    checks = {
        "integer": (types.is_integer, types.is_boolean),
        "number": (types.is_floating, types.is_decimal),
        "time": (types.is_timestamp, types.is_date, types.is_time, types.is_duration),
        "text": (types.is_string, types.is_large_string),
        "unknown": (types.is_null,),
    }
    found = (name for name, tests in checks.items() if any(test(kind) for test in tests))
    return next(found, "other")


def _csv(path: Path, separator: str | None, types: Mapping[str, Any] | None) -> Any:
    from pyarrow import csv

    return csv.open_csv(
        path,
        csv.ReadOptions(use_threads=False, block_size=BLOCK),
        csv.ParseOptions(delimiter=separator),
        csv.ConvertOptions(column_types=types, include_columns=types and list(types)),
    )


def _parquet(path: Path) -> Any:
    from pyarrow import parquet

    # by default all row groups are read ahead
    return parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


@contextmanager
def _blamed(path: Path, columns: Sequence[str]) -> Iterator[None]:
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}{_said(str(error), columns)}") from None


def _said(message: str, columns: Sequence[str]) -> str:
    """Say in our words what pyarrow says."""
    if found := _RAGGED.match(message):
        return f", row {found[1]}: expected {found[2]} values, got {found[3]}"
    if (found := _CONVERSION.match(message)) and columns:
        row = f", row {found[2]}" if found[2] else ""
        wanted = {"double": "a number", "int64": "a whole number"}.get(found[3], found[3])
        got = "text that is not UTF-8" if found[4] is None else f"'{found[4]}'"
        return f"{row}, column '{columns[int(found[1])]}': expected {wanted}, got {got}"
    if "Empty CSV" in message or "size is 0 bytes" in message:
        return ": the file is empty"
    reason = (message.strip() or "unknown").splitlines()[0]
    return f": damaged, or not what its name says: {reason[0].lower()}{reason[1:]}"
