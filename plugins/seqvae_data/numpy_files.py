"""Arrays in `.npy` and `.npz` files: never unpickled, and mapped instead of loaded when large."""

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.cache import default_folder
from seqvae_data.config import CacheConfig
from seqvae_data.placing import placed

__all__ = ["Archive", "open_arrays", "parse_npy"]

LARGE = 1 << 28  # bytes beyond which an array of an `.npz` file is unpacked and mapped

_DAMAGE = (
    ValueError, EOFError, OSError, MemoryError, SyntaxError, TypeError, RuntimeError, OverflowError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError,
)  # fmt: skip


@contextmanager
def _blamed(path: Path, where: str = "") -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise DataError(f"{path}{where}: Python objects are never read") from None
        if isinstance(error, OSError) and error.strerror and error.errno:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        what = "damaged" if where else "damaged, or not a NumPy file of numbers"
        raise DataError(f"{path}{where}: {what}") from None


def parse_npy(file: IO[bytes], path: Path, where: str = "") -> NDArray[Any]:
    """Read one array from an open `.npy` stream.

    Raises:
        DataError: if it is damaged or holds Python objects.
    """
    with _blamed(path, where):
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)  # type: ignore[no-untyped-call]
    return array


class Archive(Mapping[str, NDArray[Any]]):
    """The arrays of an `.npz` file, each read when asked for and then kept.

    Args:
        path: the file.
        cache: where arrays larger than 256 MiB are unpacked to; they are then mapped. If it
            keeps nothing they are loaded.

    Raises:
        DataError: if the file is missing or no archive; when asked for an array, if it is
            damaged, holds Python objects, or the disk refuses.
    """

    def __init__(self, path: Path, cache: CacheConfig):
        self.path = path
        self.cache = cache
        self._kept: dict[str, NDArray[Any]] = {}
        with _blamed(path), zipfile.ZipFile(path) as archive:
            self._members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return an array.

        Raises:
            DataError: see above; also if there is none of that name.
        """
        if name not in self._members:
            known = ", ".join(sorted(self)) or "none"
            raise DataError(f"{self.path}: no array '{name}'; known: {known}")
        if name not in self._kept:
            large = self.cache.keep and self._members[name].file_size > LARGE
            self._kept[name] = self._map(name) if large else self._load(name)
        return self._kept[name]

    def _load(self, name: str) -> NDArray[Any]:
        where = f", array '{name}'"
        with _blamed(self.path, where), self._opened(name) as file:
            array = parse_npy(file, self.path, where)
            if file.read(1):  # at the end the archive checks its checksum
                raise ValueError
        return array

    def _map(self, name: str) -> NDArray[Any]:
        info = self._members[name]
        target = (self.cache.folder or default_folder()) / "arrays"
        target /= f"{info.CRC:08x}-{info.file_size}.npy"
        where = f", array '{name}'"
        if not target.is_file() or target.stat().st_size != info.file_size:
            self._unpack(name, target, where)
        return _mapped(target, f"{self.path}{where}")

    def _unpack(self, name: str, target: Path, where: str) -> None:
        with placed(target) as unpacked:
            for piece in self._pieces(name, where):
                unpacked.write(piece)

    def _pieces(self, name: str, where: str) -> Iterator[bytes]:
        with _blamed(self.path, where), self._opened(name) as packed:
            while piece := packed.read(1 << 20):
                yield piece

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(self.path) as archive, archive.open(self._members[name]) as file:
            yield file


def open_arrays(path: Path, cache: CacheConfig, key: str = "x") -> Mapping[str, NDArray[Any]]:
    """Return the arrays of an `.npz` file, or that of an `.npy` file, mapped, under `key`.

    Raises:
        DataError: if it cannot be read.
    """
    with _blamed(path), path.open("rb") as file:
        magic = file.read(6)
    return {key: _mapped(path, str(path))} if magic == b"\x93NUMPY" else Archive(path, cache)


def _mapped(path: Path, source: str) -> NDArray[Any]:
    with _blamed(path):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        rest = path.stat().st_size - array.nbytes - getattr(array, "offset", 0)
    if rest:
        raise DataError(f"{source}: {rest} bytes more than its header promises")
    return array
