"""Images and labels in IDX files, the format of MNIST."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import default_folder
from seqvae_data.download import Remote, fetch
from seqvae_data.frames import Rows
from seqvae_data.images.config import Idx
from seqvae_data.images.pixels import frames_first
from seqvae_data.items import assemble, divide

__all__ = ["CORPORA", "build", "read_idx"]

LARGEST = 1 << 31  # bytes that a header may promise

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
FILES = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in (IMAGES, LABELS))


@frozen(kw_only=True)
class Corpus:
    """What sets one of the corpora apart.

    Attributes:
        label: what its label is called.
        classes: names of the classes 0 to 9.
        folder: how torchvision calls its folder.
        url: where its files are served.
        checksums: md5 of the four `.gz` files, as torchvision publishes them.
        licence: of the data.
    """

    label: str
    classes: tuple[str, ...]
    folder: str
    url: str
    checksums: tuple[str, ...]
    licence: str


CORPORA = {
    "mnist": Corpus(
        label="digit",
        classes=tuple("0123456789"),
        folder="MNIST",
        url="https://ossci-datasets.s3.amazonaws.com/mnist",
        checksums=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        licence="MNIST: Yann LeCun and Corinna Cortes, commonly stated as CC BY-SA 3.0",
    ),
    "fashion-mnist": Corpus(
        label="class",
        classes=(
            "t-shirt", "trouser", "pullover", "dress", "coat",
            "sandal", "shirt", "sneaker", "bag", "ankle boot",
        ),
        folder="FashionMNIST",
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        checksums=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        licence="Fashion-MNIST: Zalando SE, MIT",
    ),
    "kmnist": Corpus(
        label="class",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        folder="KMNIST",
        url="http://codh.rois.ac.jp/kmnist/dataset/kmnist",
        checksums=(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        licence="KMNIST: ROIS-DS Center for Open Data in the Humanities, CC BY-SA 4.0",
    ),
}  # fmt: skip


def build(config: Idx, request: DataRequest) -> Splits:
    """Read the images and share those for training between train and valid."""
    corpus = CORPORA[config.corpus]
    train, train_labels, test, test_labels = _read(config, corpus)
    kept = _spread(len(test), config.limit_test)
    test, test_labels = test[kept], test_labels[kept]
    images = np.concatenate([train[: config.limit], test])
    numbers = np.concatenate([train_labels[: config.limit], test_labels])
    labels = {corpus.label: np.array(corpus.classes)[numbers]}
    rows = Rows(images[:, None], labels, str(_folder(config)))
    split = config.split
    if split.group is None and split.stratify is None:
        split = evolve(split, stratify=corpus.label)
    official = range(len(images) - len(test), len(images))
    parts = divide(rows, split, request, test=official)
    return assemble(*parts, request, scaled=config.normalise, prepare=frames_first)


def _spread(count: int, most: int | None) -> NDArray[np.intp]:
    """Return at most so many rows of `count`, evenly spread."""
    kept = min(count, most or count)
    return np.arange(kept) * count // kept


def _folder(config: Idx) -> Path:
    return config.root or default_folder() / "downloads" / config.corpus


def _read(config: Idx, corpus: Corpus) -> list[NDArray[np.uint8]]:
    """Return the arrays of the four files in the order of `FILES`."""
    paths = _find(config, corpus)
    arrays = [read_idx(path, 3 if path.name.count(IMAGES[:6]) else 1) for path in paths]
    for images, labels, path, other in zip(
        arrays[::2], arrays[1::2], paths[::2], paths[1::2], strict=True
    ):
        if len(images) != len(labels):
            raise DataError(f"{other}: {len(labels)} labels, expected {len(images)} as in {path}")
        if labels.size and labels.max() > 9:
            raise DataError(f"{other}: expected labels 0 to 9, got {labels.max()}")
    if arrays[0].shape[1:] != arrays[2].shape[1:]:
        raise DataError(
            f"{paths[2]}: expected images of {arrays[0].shape[1:]} as in {paths[0]}, "
            f"got {arrays[2].shape[1:]}"
        )
    return arrays


def _find(config: Idx, corpus: Corpus) -> list[Path]:
    folder = _folder(config)
    folders = [folder, folder / "raw", folder / corpus.folder / "raw"]
    found = [_first(folders, name) for name in FILES]
    if config.download and None in found:
        remotes = [
            Remote(name=f"{name}.gz", urls=(f"{corpus.url}/{name}.gz",), checksum=f"md5:{checksum}")
            for name, checksum in zip(FILES, corpus.checksums, strict=True)
        ]
        return fetch(remotes, folder, licence=corpus.licence)
    for name, path in zip(FILES, found, strict=True):
        if path is None:
            raise DataError(
                f"no {name} or {name}.gz in {folder}: set data.root, or data.download = true"
            )
    return cast(list[Path], found)


def _first(folders: Sequence[Path], name: str) -> Path | None:
    names = (f"{name}.gz", name, name.replace("-idx", ".idx"))
    paths = (folder / each for folder in folders for each in names)
    return next((path for path in paths if path.is_file()), None)


def read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """Return the array of bytes in an IDX file, gzipped if its name ends in `.gz`.

    The format is described at http://yann.lecun.com/exdb/mnist: two zero bytes, the type (8 for
    unsigned bytes), the number of axes, each axis' length in four bytes big-endian, then the data.

    Raises:
        DataError: if it is damaged, not of bytes, or not of `ndim` axes.
    """
    try:
        with path.open("rb") as file:
            opened: Any = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            return _parsed(opened, path, ndim)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DataError(f"{path}: damaged, or not a gzip file") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _parsed(file: BinaryIO, path: Path, ndim: int) -> NDArray[np.uint8]:
    magic, expected = file.read(4), bytes([0, 0, 8, ndim])
    if magic != expected:
        raise DataError(
            f"{path}: not an idx{ndim}-ubyte file: expected it to begin with {expected.hex(' ')}, "
            f"got {magic.hex(' ') or 'nothing'}"
        )
    sizes = file.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"{path}: is truncated within its header")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    size = math.prod(shape)
    if not 0 < size <= LARGEST:
        raise DataError(f"{path}: its header promises {shape}, expected 1 to {LARGEST} bytes")
    content = file.read(size + 1)  # beyond the end, where gzip has its checksum
    if len(content) != size:
        amount = "more" if len(content) > size else f"{len(content)}"
        raise DataError(f"{path}: its header promises {shape}, {size} bytes, got {amount}")
    return np.frombuffer(content, np.uint8).reshape(shape)
