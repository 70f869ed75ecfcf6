"""3D Shapes, from its HDF5 file."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import default_folder
from seqvae_data.config import CacheConfig
from seqvae_data.download import Remote
from seqvae_data.extras import require
from seqvae_data.frames import Rows
from seqvae_data.images.factors import Made, located, with_factors
from seqvae_data.images.factors_config import Shapes3D
from seqvae_data.images.pixels import frames_first
from seqvae_data.items import assemble, divide
from seqvae_data.placing import placed

__all__ = ["FACTORS", "REMOTE", "build"]

FACTORS = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
REMOTE = Remote(
    name="3dshapes.h5",
    urls=("https://storage.googleapis.com/3d-shapes/3dshapes.h5",),
    # not its authors', but the same in many loaders
    checksum="md5:099a2078d58cec4daad0702c55d06868",
)

_BLOCK = 64  # images in a block that may be unpacked for each image


def build(config: Shapes3D, request: DataRequest) -> Splits:
    """Open the file, read the factors and share the images among the parts."""
    path = located(config.path, REMOTE, "Apache 2.0", download=config.download, name=config.name)
    with _opened(path) as file:
        shape, block = _images(path, file)
        values = _values(path, file, shape[0])
    labels: dict[str, NDArray[Any]] = {}
    for name, value in zip(FACTORS, values.T, strict=True):
        numbers = config.factors == "numbers" and name != "shape"
        labels[name] = value.copy() if numbers else _ranks(path, name, value)
    images: Any = Made((shape[0], 1, *shape[1:]), _Reader(path))
    if block > _BLOCK and config.cache.keep:
        images = _unpacked(path, shape, block, config.cache)[:, None]
    rows = Rows(images, labels, f"{path}, data set 'images'")
    parts = divide(rows, config.split, request)
    splits = assemble(*parts, request, scaled=config.normalise, prepare=frames_first)
    return with_factors(splits, rows, FACTORS, set(FACTORS) - {"shape"})


# Reading -----------------------------------------------------------------------------------------


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and error.strerror and error.errno:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        raise DataError(f"{path}: damaged, or not an HDF5 file") from None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    h5py = require("h5py", "images", "reading HDF5 files")
    with _blamed(path), h5py.File(path) as file:
        yield file


def _found(path: Path, file: Any, name: str, shape: str) -> Any:
    found = file.get(name)
    if not hasattr(found, "dtype"):
        known = ", ".join(sorted(file)) or "none"
        raise DataError(f"{path}: no data set '{name}' of shape {shape}; known: {known}")
    return found


def _images(path: Path, file: Any) -> tuple[tuple[int, ...], int]:
    """Return the shape of the images, and how many share a block."""
    found = _found(path, file, "images", "(N, 64, 64, 3)")
    if found.ndim != 4 or found.shape[3] != 3 or found.dtype != np.uint8 or 0 in found.shape:
        raise DataError(
            f"{path}, data set 'images': expected uint8 (N, 64, 64, 3), "
            f"got {found.dtype} {found.shape}"
        )
    return found.shape, (found.chunks or (1,))[0]


def _values(path: Path, file: Any, count: int) -> NDArray[np.float64]:
    found = _found(path, file, "labels", f"({count}, 6)")
    if found.shape != (count, 6) or found.dtype.kind not in "fiu":
        raise DataError(
            f"{path}, data set 'labels': expected numbers ({count}, 6), "
            f"got {found.dtype} {found.shape}"
        )
    values: NDArray[np.float64] = found[:].astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{path}, data set 'labels': has NaN or infinite values")
    return values


def _ranks(path: Path, name: str, values: NDArray[np.float64]) -> NDArray[np.uint8]:
    known, ranks = np.unique(values, return_inverse=True)
    if len(known) > 256:
        raise DataError(
            f"{path}, data set 'labels': expected factors of few values, "
            f"got {len(known)} of '{name}'"
        )
    return ranks.astype(np.uint8)


@define(eq=False)
class _Reader:
    """Reads single images; each process opens the file for itself."""

    path: Path
    _file: Any = field(default=None, init=False)
    _process: int = field(default=0, init=False)

    def __call__(self, row: int) -> NDArray[np.uint8]:
        with _blamed(self.path):
            if self._process != os.getpid():
                h5py = require("h5py", "images", "reading HDF5 files")
                self._file, self._process = h5py.File(self.path), os.getpid()
            image: NDArray[np.uint8] = self._file["images"][row]
        return image

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]


# Unpacking ---------------------------------------------------------------------------------------


def _unpacked(
    path: Path, shape: tuple[int, ...], block: int, cache: CacheConfig
) -> NDArray[np.uint8]:
    """Return the images as a memory map of a file in the cache, written a block at a time."""
    with _blamed(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
    target = (cache.folder or default_folder()) / "arrays" / f"{digest}.npy"
    if not target.is_file():
        _unpack(path, shape, block, target)
    mapped: NDArray[np.uint8] = np.load(target, mmap_mode="r", allow_pickle=False)
    return mapped


def _blocks(path: Path, count: int, block: int) -> Iterator[NDArray[np.uint8]]:
    with _opened(path) as file:
        for start in range(0, count, block):
            yield file["images"][start : start + block]


def _unpack(path: Path, shape: tuple[int, ...], block: int, target: Path) -> None:
    with placed(target) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        for images in _blocks(path, shape[0], block):
            file.write(images.data)
