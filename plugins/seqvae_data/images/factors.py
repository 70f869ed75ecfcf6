"""What data sets of images with factors share: where files are, and images made when asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from numpy.typing import NDArray
from torch import Tensor

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.noise import Noise
from seqvae_core.records import Factors, Splits
from seqvae_data.cache import default_folder
from seqvae_data.download import Remote, fetch
from seqvae_data.frames import Rows
from seqvae_data.images.pixels import frames_first
from seqvae_data.items import Items, assemble

__all__ = ["Made", "drawn", "located", "with_factors"]


def located(path: Path | None, remote: Remote, licence: str, *, download: bool, name: str) -> Path:
    """Return where a file is, after a download if it was asked for.

    Args:
        path: where it should be; below the user's cache folder if left out.
        remote: where it is served.
        licence: of the data, to be shown.
        download: whether to fetch it if it is not there.
        name: of the data set.

    Raises:
        DataError: if it is not there.
    """
    path = path or default_folder() / "downloads" / name / remote.name
    if path.is_file():
        return path
    if not download:
        raise DataError(f"no such file: {path}; data.download = true fetches {remote.name}")
    (fetched,) = fetch([evolve(remote, name=path.name)], path.parent, licence=licence)
    return fetched


@frozen(eq=False)
class Made:
    """Images that are made when asked for, standing in for an array of (N, 1, H, W[, C]).

    Attributes:
        shape: of the array.
        make: from a row to its image, (H, W) or (H, W, C).
    """

    shape: tuple[int, ...]
    make: Callable[[int], NDArray[Any]]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: tuple[int, slice]) -> NDArray[Any]:
        """Return frames of one row, none or one."""
        row, frames = index
        return self.make(row)[None][frames]


def drawn(
    sizes: Mapping[str, int],
    parts: tuple[int, int, int],
    picture: Callable[[NDArray[Any]], Made],
    request: DataRequest,
    name: str,
) -> Splits:
    """Return splits of images whose factors are drawn uniformly and independently.

    Args:
        sizes: the number of values of each factor; its classes are "0", "1", ... in this order.
        parts: the number of images in train, valid and test.
        picture: from factors (N, F) uint8 to the images.
        request: the seed. Images of a part are the first ones of a larger part.
        name: of the data set.
    """
    noise = Noise(request.seed).of(name)
    values = np.concatenate([
        np.stack([noise.of(part).of(factor).integers(size, (count,)).numpy().astype(np.uint8)
                  for factor, size in sizes.items()], 1)
        for part, count in zip(("train", "valid", "test"), parts, strict=True)
    ])  # fmt: skip
    images, ends = picture(values), np.cumsum(parts).tolist()
    labels = {factor: values[:, i].copy() for i, factor in enumerate(sizes)}
    train, valid, test = (
        Rows(images, labels, name, chosen=range(end - count, end))
        for end, count in zip(ends, parts, strict=True)
    )
    frame = list(frames_first(images[0, slice(1)]).shape[1:])
    classes = {factor: [str(value) for value in range(size)] for factor, size in sizes.items()}
    # a class is the factor's value, whichever of the values the training part has
    known = evolve(request, fitted=request.fitted or {"frame": frame, "classes": classes})
    splits = assemble(train, valid, test, known, scaled=False, prepare=frames_first)
    render = partial(_drawn_anew, dict(sizes), picture, name)
    return evolve(
        splits, factors=Factors(sizes=dict(sizes), ordered=frozenset(sizes), render=render)
    )


# Images for given factors ------------------------------------------------------------------------


def with_factors(
    splits: Splits, rows: Rows, names: Sequence[str], ordered: Iterable[str]
) -> Splits:
    """Return splits whose images can be looked up by the values of their factors.

    A factor's value is the rank of its label among the label's values, 0 for the smallest. Images
    that do not show each combination of values exactly once cannot be looked up; the splits then
    come back as they are.

    Args:
        splits: what was made of `rows`.
        rows: all images.
        names: of the factors, labels of the rows.
        ordered: those whose neighbouring values are alike.
    """
    found = [np.unique(rows.labels[name], return_inverse=True) for name in names]
    sizes = {name: len(known) for name, (known, _) in zip(names, found, strict=True)}
    if prod(sizes.values()) != len(rows):
        return splits
    place = np.ravel_multi_index([rank for _, rank in found], tuple(sizes.values()))
    row_of = np.full(len(rows), -1)
    row_of[place] = np.arange(len(rows))
    if row_of.min() < 0:
        return splits
    # without labels, which are looked up in tables of classes
    items = Items(Rows(rows.x, {}, rows.source), {}, splits.train.fitted, splits.train.prepare)
    render = partial(_looked_up, sizes, row_of, items)
    return evolve(splits, factors=Factors(sizes=sizes, ordered=frozenset(ordered), render=render))


def _checked(
    values: NDArray[Any],  # (N, F)
    sizes: Mapping[str, int],
) -> NDArray[Any]:  # (N, F)
    """Return values of factors, or raise `DataError` for others than integers below the sizes."""
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] != len(sizes) or values.dtype.kind not in "iu":
        raise DataError(
            f"expected integer factors of shape (N, {len(sizes)}), "
            f"got {values.dtype} {values.shape}"
        )
    for name, size, column in zip(sizes, sizes.values(), values.T, strict=True):
        if column.size and not 0 <= column.min() <= column.max() < size:
            raise DataError(
                f"expected factor '{name}' in 0..{size - 1}, got {column.min()}..{column.max()}"
            )
    return values


def _looked_up(
    sizes: Mapping[str, int], row_of: NDArray[np.int64], items: Items, values: NDArray[Any]
) -> Tensor:
    index = np.ravel_multi_index(tuple(_checked(values, sizes).T), tuple(sizes.values()))
    return _stacked(items, row_of[index].tolist())


def _drawn_anew(
    sizes: Mapping[str, int],
    picture: Callable[[NDArray[Any]], Made],
    name: str,
    values: NDArray[Any],
) -> Tensor:
    images = picture(_checked(values, sizes).astype(np.uint8))
    items = Items(Rows(images, {}, name), {}, None, frames_first)
    return _stacked(items, range(len(images)))


def _stacked(items: Items, rows: Sequence[int]) -> Tensor:
    return torch.stack([items[row]["x"] for row in rows])
