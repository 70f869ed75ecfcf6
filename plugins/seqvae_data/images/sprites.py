"""The Sprites clips, in one `.npz` file a part or in the `.npy` files of the dataset's scripts.

Source: Disentangled Sequential Autoencoder (Li, Mandt, 2018) | https://arxiv.org/abs/1803.02991,
https://github.com/YingzhenLi/Sprites
"""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.frames import Example, Rows
from seqvae_data.images.config import Sprites
from seqvae_data.images.pixels import frames_first
from seqvae_data.items import assemble, divide
from seqvae_data.numpy_files import open_arrays

__all__ = ["build", "pixels"]

ATTRIBUTES = ("body", "bottom", "top", "hair")
ACTIONS = ("walk", "spellcard", "slash")
DIRECTIONS = ("front", "left", "right")
VALUES = 6  # of each attribute


def build(config: Sprites, request: DataRequest) -> Splits:
    """Read or map the clips and share those for training between train and valid."""
    train, test = (_part(config, part) for part in ("train", "test"))
    official = range(len(train), len(train) + len(test))
    parts = divide([*train, *test], config.split, request, test=official)
    return assemble(*parts, request, scaled=config.normalise, prepare=pixels)


def pixels(
    x: NDArray[Any],  # (T, H, W, 3)
) -> NDArray[np.float32]:  # (T, 3, H, W)
    """Return frames in [0, 1]; floats are bytes divided by 256 and are made those bytes again.

    Raises:
        DataError: for floats that are no bytes divided by 256.
    """
    if x.dtype.kind != "f":
        return frames_first(x)
    levels = np.rint(256 * x)
    if not (np.abs(256 * x - levels).max() < 0.01 and levels.min() >= 0 and levels.max() <= 255):
        raise DataError(f"expected multiples of 1/256 below 1, got {x.min():.6g} to {x.max():.6g}")
    return frames_first(levels.astype(np.uint8))


def _part(config: Sprites, part: str) -> list[Example]:
    path = config.root / f"sprites_{part}.npz"
    if path.is_file():
        return _examples(path, *_archive(config, path))
    folders = (config.root, config.root / "npy")
    folder = next((f for f in folders if any(f.glob(f"*_frames_{part}.npy"))), None)
    if folder is None:
        raise DataError(
            f"no {path.name} in {config.root}, nor walk_front_frames_{part}.npy and its like"
        )
    return [
        example
        for action, direction in product(ACTIONS, DIRECTIONS)
        for example in _arrays(config, folder, action, direction, part)
    ]


def _examples(path: Path, x: NDArray[Any], labels: Mapping[str, NDArray[Any]]) -> list[Example]:
    if x.ndim != 5 or x.shape[4] != 3 or 0 in x.shape or x.dtype.kind not in "uf":
        raise DataError(
            f"{path}: expected frames (N, T, H, W, 3) as bytes or floats, got {x.dtype} {x.shape}"
        )
    for name, value in labels.items():
        if len(value) != len(x):
            raise DataError(f"{path}: {len(value)} values of '{name}' for {len(x)} clips")
    rows = Rows(x, labels, str(path))
    return [evolve(row, name=f"{path.name}[{i}]") for i, row in enumerate(rows)]


# One file a part ---------------------------------------------------------------------------------


def _archive(config: Sprites, path: Path) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    stored = open_arrays(path, config.cache)
    labels = _attribute_labels(stored["attributes"], path)
    for name, known in (("action", ACTIONS), ("direction", DIRECTIONS)):
        names = stored[f"{name}_names"] if f"{name}_names" in stored else np.array(known)
        value = stored[name]
        if value.ndim != 1 or value.dtype.kind not in "iu" or not _within(value, len(names)):
            raise DataError(
                f"{path}, array '{name}': expected (N,) integers below {len(names)}, "
                f"got {value.dtype} {value.shape}"
            )
        labels[name] = names[value]
    return stored["frames"], labels


def _attribute_labels(values: NDArray[Any], path: Path) -> dict[str, NDArray[Any]]:
    """Return the labels of attributes (N, 4), and the character that they make up."""
    expected = values.ndim == 2 and values.shape[1] == len(ATTRIBUTES)
    if not expected or values.dtype.kind not in "iu" or not _within(values, VALUES):
        raise DataError(
            f"{path}, attributes: expected (N, {len(ATTRIBUTES)}) integers below {VALUES}, "
            f"got {values.dtype} {values.shape}"
        )
    numbers = values.astype(np.int64)
    labels = {name: numbers[:, i] for i, name in enumerate(ATTRIBUTES)}
    return {**labels, "character": numbers @ VALUES ** np.arange(len(ATTRIBUTES))[::-1]}


def _within(values: NDArray[Any], count: int) -> bool:
    return not values.size or bool(values.min() >= 0 and values.max() < count)


# A file for each action and direction ------------------------------------------------------------


def _arrays(config: Sprites, folder: Path, action: str, direction: str, part: str) -> list[Example]:
    frames, attributes = (
        folder / f"{action}_{direction}_{what}_{part}.npy" for what in ("frames", "attributes")
    )
    x = open_arrays(frames, config.cache)["x"]
    labels = _attribute_labels(
        _numbers(open_arrays(attributes, config.cache)["x"], attributes), attributes
    )
    labels["action"] = np.full(len(x), action)
    labels["direction"] = np.full(len(x), direction)
    return _examples(frames, x, labels)


def _numbers(one_hot: NDArray[Any], path: Path) -> NDArray[np.int64]:
    """Return attributes (N, 4) from the ones among zeros (N, T, 4, 6), alike in all frames."""
    if one_hot.ndim != 4 or one_hot.shape[2:] != (len(ATTRIBUTES), VALUES):
        raise DataError(
            f"{path}: expected (N, T, {len(ATTRIBUTES)}, {VALUES}), got {one_hot.shape}"
        )
    first = np.asarray(one_hot[:, 0])
    if not (np.isin(first, (0, 1)).all() and (first.sum(2) == 1).all()):
        raise DataError(f"{path}: expected a single 1 among zeros for each attribute")
    if not (one_hot == first[:, None]).all():
        raise DataError(f"{path}: attributes change within a clip")
    numbers: NDArray[np.int64] = first.argmax(2)
    return numbers
