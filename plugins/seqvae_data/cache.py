"""Features that are computed once: a file for each source file, named by content and settings."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from seqvae_core.errors import CheckpointError, DataError
from seqvae_core.files import write_atomic
from seqvae_data.config import CacheConfig
from seqvae_data.frames import Frames, Stats, check_finite
from seqvae_data.progress import watched

__all__ = ["Features", "Found", "Source", "State", "checksum", "compute_all", "default_folder"]

_FORMAT = 2
_RACY = 2.0  # seconds within which a file may change without its time of change showing it


class State(Protocol):
    """What tells that a file has changed."""

    @property
    def st_size(self) -> int:
        """Its bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """When it changed, in nanoseconds since 1970."""


class Source(Protocol):
    """A file, or bytes within one that are read as if they were: a `Path` is one.

    Its text is what errors call it.
    """

    def open(self, mode: Literal["rb"], /) -> BufferedIOBase:
        """Open it for reading."""

    def stat(self) -> State:
        """Return the size and the time of the last change of the file."""


S = TypeVar("S", bound=Source)


@frozen(eq=False, kw_only=True)
class Features:
    """What is computed of one file.

    Attributes:
        x: frames, (T, C) or (T, C, H, W), stored in their own dtype.
        facts: plain data that JSON can hold (a sampling rate, the events of a recording).
    """

    x: NDArray[Any]
    facts: Mapping[str, Any] = {}


@frozen(eq=False, kw_only=True)
class Found:
    """One file's features, in the cache or in memory.

    Attributes:
        index: which of the files.
        x: frames, (T, C) or (T, C, H, W), read when sliced.
        stats: the sums over them.
        facts: see `Features`.
    """

    index: int
    x: Frames
    stats: Stats
    facts: Mapping[str, Any]


@frozen
class _Stored:
    """Frames in a cache file, of which only what is asked for is read."""

    path: Path
    shape: tuple[int, ...]

    def __getitem__(self, index: slice) -> NDArray[Any]:
        start, stop, _ = index.indices(self.shape[0])
        with _opened(self.path) as file:
            frames: NDArray[Any] = file.get_slice("x")[start:stop]
        return frames


def default_folder() -> Path:
    """Return `$SEQVAE_CACHE`, else the user's cache folder as the system has it."""
    import platformdirs

    given = os.environ.get("SEQVAE_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("seqvae"))


def compute_all(
    files: Sequence[S],
    compute: Callable[[S], Features],
    parameters: Any,
    config: CacheConfig,
    *,
    on_error: str = "raise",
) -> list[Found]:
    """Return the features of files in their order, from the cache where it has them.

    A file's entry is named by a checksum of its bytes and of `parameters`, and renamed into place
    when it is whole; of several processes that want the same one computes and the others wait.

    Args:
        files: the source files.
        compute: from a file to its features; called in several threads at once.
        parameters: all that the result depends on beside the file's bytes, the reader's name
            and version included; plain data or attrs configs, told apart by their repr.
        config: where the cache is, or that there shall be none.
        on_error: "raise", or "skip" to leave files out whose reading raises `DataError`, with one
            warning that lists them.

    Raises:
        DataError: naming the file that cannot be used, or if none can.
    """
    build = _Build(compute, repr((_FORMAT, parameters)), config)
    found, faults = build.run(files, stop=on_error == "raise")
    for warning in build.warnings:
        warnings.warn(warning, stacklevel=2)
    if faults and on_error == "raise":
        raise DataError(next(iter(faults.values())))
    if faults:
        text = f"left out {len(faults)} files: {'; '.join(faults.values())}"
        warnings.warn(text, stacklevel=2)
    if not found:
        first = next(iter(faults.values()), "there are none")
        raise DataError(f"none of the {len(files)} files can be used, the first: {first}")
    return found


class _CacheError(DataError):
    """The cache, not a source file, is at fault."""


Done = tuple[list[Found], dict[int, str]]  # what was found and, by position, why the rest was not


class _Build:
    def __init__(self, compute: Callable[[Any], Features], parameters: str, config: CacheConfig):
        self.compute = compute
        self.parameters = parameters
        self.config = config
        self.folder = (config.folder or default_folder()) / "features"
        self.locks: dict[str, Lock] = {}
        self.warnings: list[str] = []

    def run(self, files: Sequence[Source], *, stop: bool) -> Done:
        """Return what was found in the order of the files, and what is wrong with the others."""
        if not self.config.keep:
            return self._each(files, range(len(files)), self._in_memory, stop)
        begun = time.time()
        states = [(str(source), *_state(source)) for source in files]
        table = self.folder / "tables" / f"{_digest(self.parameters, repr(states))}.safetensors"
        with self._alone(table):
            known = _read_table(table, self.folder)
            found = {each.index for each in known}
            rest = [i for i in range(len(files)) if i not in found]
            new, faults = self._each(files, rest, self._entry, stop)
            done = sorted([*known, *new], key=lambda each: each.index)
            settled = begun - max((s[2] for s in states), default=0) / 1e9 > _RACY
            if new and settled and not (stop and faults):
                self._write(table, _table(done))
        return done, faults

    @contextmanager
    def _alone(self, table: Path) -> Iterator[None]:
        from filelock import FileLock

        lock = table.with_suffix(".lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            held = FileLock(lock).acquire()
        except OSError as error:
            raise self._refused(lock, error) from None
        with held:
            yield

    def _each(
        self,
        files: Sequence[Source],
        positions: Sequence[int],
        one: Callable[[int, Source], Found],
        stop: bool,
    ) -> Done:
        found: list[Found] = []
        faults: dict[int, str] = {}
        pool = ThreadPoolExecutor(self.config.workers or os.cpu_count() or 1)
        try:
            jobs = [pool.submit(one, i, files[i]) for i in positions]
            for i, job in zip(positions, watched(jobs), strict=True):
                try:
                    found.append(job.result())
                except _CacheError:
                    raise
                except DataError as error:
                    faults[i] = f"{files[i]}: {error}"
                    if stop:
                        break
        finally:
            pool.shutdown(cancel_futures=True)
        return found, faults

    def _in_memory(self, index: int, source: Source) -> Found:
        features = self._computed(source)
        facts = json.loads(json.dumps(dict(features.facts)))  # as from the disk
        return Found(index=index, x=features.x, stats=Stats.of(features.x), facts=facts)

    def _computed(self, source: Source) -> Features:
        features = self.compute(source)
        check_finite(features.x)
        if features.x.ndim < 2 or 0 in features.x.shape:
            raise DataError(f"expected frames (T, *frame), got {features.x.shape}")
        return features

    def _entry(self, index: int, source: Source) -> Found:
        before = _state(source)
        key = _digest(self.parameters, checksum(source))
        entry = self.folder / key[:2] / f"{key}.safetensors"
        with self.locks.setdefault(key, Lock()):  # two files may hold the same
            if entry.is_file():
                try:
                    return _read_entry(entry, index)
                except DataError as error:
                    self.warnings.append(f"{error}; it was computed anew")
            content = _packed(self._computed(source))
            if _state(source) != before:
                raise DataError("changed while it was read")
            self._write(entry, content)
        return _read_entry(entry, index)

    def _write(self, path: Path, content: bytes) -> None:
        try:
            write_atomic(path, content)
        except CheckpointError as error:
            raise self._refused(path, error) from None

    def _refused(self, path: Path, error: Exception) -> DataError:
        reason = getattr(error, "strerror", None) or str(error).partition("; ")[0]
        return _CacheError(
            f"the cache {path.parent}: {reason}; set data.cache.folder, or "
            "data.cache.keep = false for features in memory"
        )


# Files of the cache ------------------------------------------------------------------------------


def _packed(features: Features) -> bytes:
    from safetensors.numpy import save

    stats = Stats.of(features.x)
    x = np.ascontiguousarray(features.x, features.x.dtype.newbyteorder("="))
    about = {"count": stats.count, "shape": x.shape, "facts": dict(features.facts)}
    tensors = {"x": x, "total": stats.total, "square": stats.square}
    return save(tensors, metadata={"seqvae": json.dumps(about)})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, ValueError, LookupError, TypeError):
        raise DataError(f"the cache file {path} is damaged") from None


def _read_entry(path: Path, index: int) -> Found:
    with _opened(path) as file:
        about = json.loads(file.metadata()["seqvae"])
        stats = Stats(
            count=about["count"], total=file.get_tensor("total"), square=file.get_tensor("square")
        )
        x = _Stored(path, tuple(about["shape"]))
        return Found(index=index, x=x, stats=stats, facts=about["facts"])


def _table(found: Sequence[Found]) -> bytes:
    """Pack what all entries say, so that a warm start opens one file."""
    from safetensors.numpy import save

    about = [
        {"index": each.index, "entry": f"{path.parent.name}/{path.name}",
         "size": path.stat().st_size, "shape": each.x.shape, "count": each.stats.count,
         "facts": dict(each.facts)}
        for each in found
        for path in [each.x.path]  # type: ignore[attr-defined]
    ]  # fmt: skip
    sums = {
        name: np.concatenate([getattr(each.stats, name) for each in found])
        for name in ("total", "square")
    }
    return save(sums, metadata={"seqvae": json.dumps(about)})


def _read_table(path: Path, folder: Path) -> list[Found]:
    """Return the entries that a table lists, without those that were deleted or cut since."""
    if not path.is_file():
        return []
    found = []
    try:
        with _opened(path) as file:
            about = json.loads(file.metadata()["seqvae"])
            ends = np.cumsum([row["shape"][1] for row in about])[:-1]
            sums = (np.split(file.get_tensor(name), ends) for name in ("total", "square"))
            for row, total, square in zip(about, *sums, strict=True):
                stats = Stats(count=row["count"], total=total, square=square)
                x = _Stored(folder / row["entry"], tuple(row["shape"]))
                if _size(x.path) == row["size"]:
                    each = Found(index=row["index"], x=x, stats=stats, facts=row["facts"])
                    found.append(each)
    except DataError:
        return []  # it is written anew
    return found


# Small parts -------------------------------------------------------------------------------------


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=20).hexdigest()


def checksum(source: Source) -> str:
    """Return a checksum of the bytes of a file.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None


def _state(source: Source) -> tuple[int, int]:
    """Return size and time of change; what cannot be looked at is told when it is read."""
    try:
        about = source.stat()
    except OSError:
        return -1, -1
    return about.st_size, about.st_mtime_ns


def _size(path: Path) -> int:
    return _state(path)[0]
