"""Sequences end to end in flat files, written once while a file of another format is read."""

import hashlib
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.cache import default_folder
from seqvae_data.config import CacheConfig
from seqvae_data.frames import Frames

__all__ = ["Column", "Sink", "Store", "stored"]

_FORMAT = 1


@frozen(eq=False)
class Column:
    """Numbers in a flat file, of which only what is sliced is read."""

    path: Path
    dtype: str
    shape: tuple[int, ...]  # (steps, ...)

    def __getitem__(self, index: slice) -> NDArray[Any]:
        """Read the steps of a slice.

        Raises:
            DataError: if the file is gone or shorter than it was.
        """
        start, stop, _ = index.indices(self.shape[0])
        width = math.prod(self.shape[1:])
        skipped = start * width * np.dtype(self.dtype).itemsize
        try:
            numbers = np.fromfile(self.path, self.dtype, (stop - start) * width, offset=skipped)
            return numbers.reshape(stop - start, *self.shape[1:])
        except (OSError, ValueError):
            raise DataError(
                f"the cache file {self.path} is gone or cut short; delete its folder"
            ) from None


class Sink:
    """Columns that are being written: in a folder, or in memory.

    A step may be written in any order, and read again.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.files: dict[str, IO[bytes]] = {}
        self.forms: dict[str, tuple[str, tuple[int, ...]]] = {}

    def write(self, name: str, start: int, rows: NDArray[Any]) -> None:
        """Write rows (n, ...) from step `start` on; all rows of a column are of one type."""
        if name not in self.files:
            path = self.folder and self.folder / f"{len(self.files)}.bin"
            self.files[name] = path.open("w+b") if path else io.BytesIO()
            self.forms[name] = (rows.dtype.str, rows.shape[1:])
        self.files[name].seek(start * self._width(name))
        self.files[name].write(rows.tobytes())

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return the steps from `start` to `stop`, (stop - start, ...)."""
        dtype, frame = self.forms[name]
        width = self._width(name)
        self.files[name].seek(start * width)
        numbers = np.frombuffer(self.files[name].read((stop - start) * width), dtype)
        return numbers.reshape(stop - start, *frame)

    def _width(self, name: str) -> int:
        dtype, frame = self.forms[name]
        return np.dtype(dtype).itemsize * math.prod(frame)

    def steps(self, name: str) -> int:
        """Return how many steps a column has."""
        return self.files[name].seek(0, io.SEEK_END) // self._width(name)

    def close(self) -> None:
        """Close the files."""
        for file in self.files.values():
            file.close()


@frozen(eq=False, kw_only=True)
class Store:
    """What was written.

    Attributes:
        columns: by name, (steps, ...) over all sequences, which lie end to end.
        index: plain data about them; `lengths` has the steps of each sequence.
    """

    columns: Mapping[str, Frames]
    index: Mapping[str, Any]

    @property
    def lengths(self) -> Sequence[int]:
        """Steps of each sequence."""
        lengths: Sequence[int] = self.index["lengths"]
        return lengths

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield where each sequence begins and ends."""
        stop = 0
        for length in self.lengths:
            start, stop = stop, stop + length
            yield start, stop


def stored(
    path: Path, parameters: Any, cache: CacheConfig, write: Callable[[Sink], dict[str, Any]]
) -> Store:
    """Return what a file was converted to, now or earlier.

    An entry is a folder named by a checksum of the file's bytes and of `parameters`, renamed into
    place when it is whole; of several processes one writes and the others wait.

    Args:
        path: the file.
        parameters: all that the result depends on beside the file's bytes.
        cache: where entries are, or that there shall be none: then all is in memory.
        write: writes the columns and returns the index, data that JSON can hold.

    Raises:
        DataError: what `write` raises, or if the file cannot be read or the cache be written.
    """
    if not cache.keep:
        sink = Sink(None)
        index = write(sink)
        columns = {name: sink.read(name, 0, sink.steps(name)) for name in sink.files}
        return Store(columns=columns, index=index)
    folder = (cache.folder or default_folder()) / "series"
    entry = folder / _checksum(path, repr((_FORMAT, parameters)))
    with _alone(entry):
        if not entry.is_dir():
            _fill(entry, write)
        return _opened(entry)


def _checksum(path: Path, parameters: str) -> str:
    checksum = hashlib.blake2b(parameters.encode(), digest_size=20)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                checksum.update(block)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    return checksum.hexdigest()


@contextmanager
def _alone(entry: Path) -> Iterator[None]:
    from filelock import FileLock

    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_suffix(".lock")):
            yield
    except OSError as error:
        raise DataError(
            f"the cache {entry.parent}: {error.strerror or error}; set data.cache.folder, or "
            "data.cache.keep = false for all in memory"
        ) from None


def _fill(entry: Path, write: Callable[[Sink], dict[str, Any]]) -> None:
    temporary = entry.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    temporary.mkdir()
    sink = Sink(temporary)
    try:
        index = write(sink)
        columns = {
            name: (f"{i}.bin", dtype, (sink.steps(name), *frame))
            for i, (name, (dtype, frame)) in enumerate(sink.forms.items())
        }
        about = {"columns": columns, "index": index}
        (temporary / "index.json").write_text(json.dumps(about), encoding="utf-8")
        sink.close()
        temporary.rename(entry)
    finally:
        with suppress(OSError):
            sink.close()
        shutil.rmtree(temporary, ignore_errors=True)


def _opened(entry: Path) -> Store:
    try:
        about = json.loads((entry / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"the cache folder {entry} is damaged; delete it") from None
    columns = {
        name: Column(entry / file, dtype, tuple(shape))
        for name, (file, dtype, shape) in about["columns"].items()
    }
    return Store(columns=columns, index=about["index"])
