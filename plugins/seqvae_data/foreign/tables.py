"""The tables of a Hugging Face data set on the disk: found, mapped, checked."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from seqvae_core.errors import DataError
from seqvae_data.cache import default_folder
from seqvae_data.config import CacheConfig
from seqvae_data.extras import require
from seqvae_data.placing import placed

__all__ = ["PARTS", "Changed", "Stored", "blamed", "find", "is_list"]

PARTS = ("train", "valid", "test")
_SPLITS = {"train": "train", "training": "train", "validation": "valid", "valid": "valid",
           "val": "valid", "dev": "valid", "test": "test", "testing": "test"}  # fmt: skip
_RACY = 2.0  # seconds within which a file may change without its time of change showing it


@frozen
class _Place:
    """Where the rows of one split are: a folder of `save_to_disk`, or files."""

    kind: str  # saved, arrow, parquet
    paths: tuple[Path, ...]


@frozen
class Changed:
    """All bytes of a data set, and when any of them changed."""

    st_size: int
    st_mtime_ns: int


@define(eq=False)
class Stored:
    """The rows of all parts one after another, in a mapped table that is opened when needed.

    Attributes:
        path: the data set.
        places: of each part that there is, train first.
        cache: where Parquet files are converted to.
    """

    path: Path
    places: Mapping[str, _Place]
    cache: CacheConfig
    _columns: dict[str, Any] = field(factory=dict, init=False)

    def __reduce__(self) -> Any:
        return Stored, (self.path, self.places, self.cache)  # worker processes map it themselves

    @cached_property
    def changed(self) -> Changed:
        """The size of all files, and when the newest changed."""
        paths = [path for place in self.places.values() for path in place.paths]
        files = [file for path in paths for file in (path.iterdir() if path.is_dir() else [path])]
        states = [file.stat() for file in files]
        return Changed(sum(s.st_size for s in states), max(s.st_mtime_ns for s in states))

    @cached_property
    def _tables(self) -> dict[str, tuple[Any, Any]]:
        require("datasets", "huggingface", "reading a Hugging Face data set")
        tables = {part: _opened(place, self.cache) for part, place in self.places.items()}
        features = tables["train"][1]
        for part, (_, own) in tables.items():
            if own != features:
                raise DataError(f"{self.path}: the columns of {part} are not those of train")
        return tables

    @property
    def sizes(self) -> dict[str, int]:
        """The rows of each part that there is."""
        return {part: table.num_rows for part, (table, _) in self._tables.items()}

    @property
    def features(self) -> Mapping[str, Any]:
        """What each column holds, as `datasets` says it."""
        features: Mapping[str, Any] = self._tables["train"][1]
        return features

    def column(self, name: str) -> Any:
        """Return a column as an Arrow array in pieces, its content checked once."""
        if name not in self._columns:
            import pyarrow

            pieces = [piece for table, _ in self._tables.values() for piece in
                      table.column(name).chunks]  # fmt: skip
            plain = [getattr(piece, "storage", piece) for piece in pieces]
            kind = self._tables["train"][0].schema.field(name).type
            column = pyarrow.chunked_array(plain, getattr(kind, "storage_type", kind))
            with blamed(f"{self.path}, column '{name}'"):
                column.validate(full=True)  # a wrong offset would end the process
            self._columns[name] = column
        return self._columns[name]


def find(path: Path, cache: CacheConfig) -> Stored:
    """Return the parts of a data set.

    Raises:
        DataError: if it is none, or has no split called train.
    """
    if not path.exists():
        raise DataError(f"no such folder or file: {path}")
    if path.is_file():
        splits = {"train": _Place("arrow", (path,))}
    elif (path / "dataset_dict.json").is_file():
        with blamed(f"{path / 'dataset_dict.json'}"):
            names = json.loads((path / "dataset_dict.json").read_text())["splits"]
            splits = {str(name): _Place("saved", (path / str(name),)) for name in names}
    elif (path / "state.json").is_file():
        splits = {"train": _Place("saved", (path,))}
    else:
        splits = _parquet(path)
    known = [name for name in splits if name.lower() in _SPLITS]
    places = {_SPLITS[name.lower()]: splits[name] for name in known}
    if "train" not in places:
        raise DataError(f"{path}: no split 'train'; known: {', '.join(splits) or 'none'}")
    if len(places) != len(known):
        raise DataError(f"{path}: two splits for one part: {', '.join(known)}")
    return Stored(path, {part: places[part] for part in PARTS if part in places}, cache)


def _parquet(path: Path) -> dict[str, _Place]:
    files = sorted(path.rglob("*.parquet"))
    if not files:
        raise DataError(f"{path}: expected a folder of save_to_disk or of .parquet files")
    names = [_split_name(file.relative_to(path)) for file in files]
    if not any(names):
        return {"train": _Place("parquet", tuple(files))}
    if not all(names):
        raise DataError(f"{files[names.index('')]}: neither its name nor its folder tells a split")
    grouped: dict[str, list[Path]] = {}
    for file, name in zip(files, names, strict=True):
        grouped.setdefault(name, []).append(file)
    return {name: _Place("parquet", tuple(group)) for name, group in grouped.items()}


def _split_name(path: Path) -> str:
    """Return the word of a path that is a split's name: `data/test-00000-of-00001.parquet`."""
    for part in (path.stem, *path.parts[-2::-1]):
        for word in re.split(r"[^a-zA-Z]+", part):
            if word.lower() in _SPLITS:
                return _SPLITS[word.lower()]
    return ""


def is_list(kind: Any) -> bool:
    """Say whether an Arrow type is a list of some kind."""
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


# Opening -----------------------------------------------------------------------------------------


@contextmanager
def blamed(source: str) -> Iterator[None]:
    """Turn whatever damaged data make their reader raise into a `DataError`."""
    import pyarrow

    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError,
            pyarrow.ArrowException) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(f"{source}: damaged, or of another format: {reason}") from None


def _opened(place: _Place, cache: CacheConfig) -> tuple[Any, Any]:
    """Return a table, mapped, and its features."""
    import datasets

    with blamed(str(place.paths[0])):
        if place.kind == "saved":
            saved = datasets.Dataset.load_from_disk(str(place.paths[0]), keep_in_memory=False)
            return saved.data.table, saved.features
        table = _mapped(place.paths[0]) if place.kind == "arrow" else _converted(place, cache)
        return table, datasets.Features.from_arrow_schema(table.schema)


def _mapped(path: Path) -> Any:
    import pyarrow

    source = pyarrow.memory_map(str(path))
    begins = source.read(6)
    source.seek(0)
    if begins == b"ARROW1":
        return pyarrow.ipc.open_file(source).read_all()
    return pyarrow.ipc.open_stream(source).read_all()


def _converted(place: _Place, cache: CacheConfig) -> Any:
    """Convert Parquet files to one Arrow file, unless that has been done, and map it."""
    if not cache.keep:
        import pyarrow

        return pyarrow.concat_tables([_parquet_file(path).read() for path in place.paths])
    states = [(str(path), path.stat().st_size, path.stat().st_mtime) for path in place.paths]
    name = hashlib.blake2b(repr(states).encode(), digest_size=20).hexdigest()
    target = (cache.folder or default_folder()) / "tables" / f"{name}.arrow"
    newest = max(changed for _, _, changed in states)
    if not target.is_file() or target.stat().st_mtime - newest < _RACY:
        _convert(place.paths, target)
    return _mapped(target)


def _parquet_file(path: Path) -> Any:
    import pyarrow.parquet

    with blamed(str(path)):
        return pyarrow.parquet.ParquetFile(path)


def _convert(paths: Sequence[Path], target: Path) -> None:
    import pyarrow

    schema = _parquet_file(paths[0]).schema_arrow
    with placed(target) as file, pyarrow.ipc.new_stream(file, schema) as stream:
        for batch in _batches(paths, schema):
            stream.write_batch(batch)


def _batches(paths: Sequence[Path], schema: Any) -> Iterator[Any]:
    for path in paths:
        file = _parquet_file(path)
        if not file.schema_arrow.equals(schema):
            raise DataError(f"{path}: the columns are not those of {paths[0]}")
        about = file.metadata
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        rows = max(1, min(1000, (1 << 25) * about.num_rows // max(size, 1)))
        with blamed(str(path)):
            yield from file.iter_batches(rows)
