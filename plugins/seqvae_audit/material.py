"""The data of an audit: a preset's, an experiment's, an array's, or what is at hand in Python."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from attrs import frozen

from seqvae_core import sources
from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.config import structure, structure_component
from seqvae_core.errors import ConfigError, DataError
from seqvae_core.loading import check_splits
from seqvae_core.plugins import Plugins, did_you_mean
from seqvae_core.records import Splits
from seqvae_data.config import CacheConfig
from seqvae_data.numpy_files import open_arrays

__all__ = ["Material", "Part", "gather", "given"]

Part = Literal["train", "valid", "test", "all"]
_SECTIONS = {"data", "seed", "tasks"}


@frozen(eq=False, kw_only=True)
class Material:
    """Data to audit on.

    Attributes:
        source: what they are called.
        splits: train and test parts, for tasks.
        part: which of them the audit itself reads.
        seed: of all draws.
        tasks: what is asked of tasks, as plain data; None for the standard ones.
        time: whether x has an axis of time; None to see whether there are several frames.
        warnings: what their reader warned of, in sentences.
    """

    source: str
    splits: Splits
    part: Part
    seed: int = 0
    tasks: Sequence[Any] | None = None
    time: bool | None = None
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> Any:
        """The sequences of the part that is read."""
        if self.part != "all":
            return getattr(self.splits, self.part)
        return _Joined([self.splits.train, self.splits.valid, self.splits.test])


class _Joined:
    """Data sets one after another."""

    def __init__(self, parts: Sequence[Any]):
        self.parts = [part for part in parts if len(part)]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> Any:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


def gather(
    source: str | Path,
    plugins: Plugins,
    *,
    overrides: Sequence[str] = (),
    part: Part | None = None,
    time: bool | None = None,
    seed: int | None = None,
) -> Material:
    """Read the data of a preset, of a TOML experiment, or of an `.npy` or `.npz` file.

    Of an experiment the sections `data` and `seed` count; its model and tasks are its own. An
    array file is taken as it is: nothing is normalised, all rows are read, and half of them are
    the test part of tasks. x (N, D) or (N, C, H, W) has no axis of time, (N, T, C) and
    (N, T, C, H, W) have one.

    Args:
        source: which.
        plugins: what data sets there are.
        overrides: of `data`, `seed` and `tasks`, such as "data.root=faces".
        part: "test" if left out, of an array file "all".
        time: in place of what is said above.
        seed: in place of the experiment's.

    Raises:
        ConfigError: for a source that is not there, or an override of anything else.
        DataError: for data that cannot be read.
    """
    path = Path(source)
    plain: dict[str, Any]
    if arrays := path.suffix in (".npy", ".npz"):
        plain = {"data": _arrays(path)}
    else:
        found = sources.read(source, plugins, [])
        plain = {key: found[key] for key in ("data", "seed") if key in found}
    plain = sources.override(plain, list(overrides))
    if strange := sorted(plain.keys() - _SECTIONS):
        raise ConfigError(
            f"an audit has no '{strange[0]}'{did_you_mean(strange[0], _SECTIONS)} @ $.{strange[0]}"
        )
    if "data" not in plain:
        raise ConfigError(f"'{source}' has no section [data]")
    if arrays:
        path = _settle_time(plain["data"], path, time)
    config = structure_component("dataset", plain["data"], plugins)
    seed = structure(plain.get("seed", 0), int, plugins) if seed is None else seed
    splits, said = _read(config, seed)
    return Material(
        source=path.name if path.suffix else str(source),
        splits=splits,
        part=part or ("all" if arrays else "test"),
        seed=seed,
        tasks=plain.get("tasks"),
        time=bool(plain["data"].get("time", True)) if arrays else time,
        warnings=said,
    )


def _arrays(path: Path) -> dict[str, Any]:
    """Return the settings of an array file."""
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    return {
        "name": "arrays", "path": str(path.resolve()), "normalise": False,
        "split": {"test": 0.5, "valid": 0.0},
    }  # fmt: skip


def _settle_time(settings: dict[str, Any], path: Path, time: bool | None) -> Path:
    """Say in the settings whether x has an axis of time, by its axes; return whose they are."""
    path = Path(str(settings.get("path", path)))
    if time is None and "time" not in settings:
        time = _axes(path, str(settings.get("key", "x"))) not in (2, 4)
    settings.setdefault("time", time)
    return path


def _axes(path: Path, key: str) -> int:
    stored = open_arrays(path, CacheConfig(), key)
    for name in (key, f"{key}_test", f"{key}_train"):
        if name in stored:
            return stored[name].ndim
    return 3  # whatever is wrong with it is told by who reads it


def _read(config: DatasetConfig, seed: int) -> tuple[Splits, tuple[str, ...]]:
    """Return the data, and what their reader warns of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        splits = check_splits(config.build(DataRequest(seed=seed)))
    lines = [" ".join(str(each.message).split()) for each in said]
    return splits, tuple(dict.fromkeys(lines))


def given(
    data: Any, *, part: Part | None = None, time: bool | None = None, seed: int = 0
) -> Material:
    """Return data at hand: an array, a dict of x and labels, or `Splits`.

    Of an array or dict all rows are read; halves of them, drawn at random, are the parts of tasks.

    Raises:
        DataError: if x is no array of at least two axes, or a label has other rows.
    """
    if isinstance(data, Splits):
        return Material(
            source="splits", splits=check_splits(data), part=part or "test", seed=seed, time=time
        )
    table = dict(data) if isinstance(data, Mapping) else {"x": data}
    if "x" not in table:
        raise DataError(f"expected data with 'x', got {', '.join(map(str, table)) or 'nothing'}")
    x = _tensor(table.pop("x"))
    if x.ndim < 2 or len(x) < 2:
        raise DataError(f"expected x of two or more rows (N, *frame), got {tuple(x.shape)}")
    if time is None:
        time = x.ndim not in (2, 4)
    if not time:  # (N, H, W) are images of one channel, as in a file
        x = x[:, None, None] if x.ndim == 3 else x[:, None]
    x = x[..., None] if x.ndim == 2 else x
    labels, classes = _labels(table, len(x))
    items = [{"x": row, **{name: label[i] for name, label in labels.items()}}
             for i, row in enumerate(x)]  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(items)).tolist()
    half = len(items) // 2
    splits = Splits(
        train=[items[i] for i in sorted(order[half:])],
        valid=[],
        test=[items[i] for i in sorted(order[:half])],
        classes=classes,
    )
    return Material(source="array", splits=splits, part=part or "all", seed=seed, time=time)


def _tensor(x: Any) -> torch.Tensor:
    try:
        if isinstance(x, torch.Tensor):
            found = x.detach().cpu().to_dense()
        else:
            found = torch.as_tensor(np.ascontiguousarray(x))  # torch takes no negative strides
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"expected x as an array: {' '.join(str(error).split())}") from None
    if found.is_complex():
        raise DataError(f"expected x of real numbers, got {found.dtype}")
    return found.float() if found.dtype in (torch.bfloat16, torch.float16) else found


def _labels(
    table: Mapping[str, Any], rows: int
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    labels, classes = {}, {}
    for name, value in table.items():
        label = np.asarray(value)
        if label.ndim < 1 or len(label) != rows:
            raise DataError(f"label '{name}': expected {rows} rows, got shape {label.shape}")
        if label.dtype.kind == "O" and all(isinstance(each, str) for each in label.flat):
            label = label.astype(str)  # as columns of text are in pandas
        if label.dtype.kind not in "fiubUS":
            raise DataError(f"label '{name}': expected numbers or text, got {label.dtype}")
        if label.dtype.kind in "US":
            known, label = np.unique(label, return_inverse=True)
            classes[str(name)] = tuple(map(str, known))
        labels[str(name)] = label
    return labels, classes
