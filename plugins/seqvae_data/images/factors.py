"""What data sets of images with factors share: where files are, and images made when asked for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.noise import Noise
from seqvae_core.records import Splits
from seqvae_data.cache import default_folder
from seqvae_data.download import Remote, fetch
from seqvae_data.frames import Rows
from seqvae_data.images.pixels import frames_first
from seqvae_data.items import assemble

__all__ = ["Made", "drawn", "located"]


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
    return assemble(train, valid, test, known, scaled=False, prepare=frames_first)
