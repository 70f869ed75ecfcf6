"""What an experiment would train on: the numbers of its data, as plain data, without training."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal

import numpy as np
from attrs import define, field
from numpy.typing import NDArray
from torch import Tensor

from seqvae_core import config
from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.experiment import Experiment, TrainConfig
from seqvae_core.loading import Order, check_item, check_splits, item_form, padding_share
from seqvae_core.noise import Noise
from seqvae_core.records import Scope, Splits

__all__ = ["PARTS", "build_splits", "class_name", "describe", "read"]

PARTS = ("train", "valid", "test")
_BUCKET = 16  # batches that are bucketed together where the experiment has no bucket
_BINS = 40


def describe(experiment: Experiment, splits: Splits, *, limit: int = 2000) -> dict[str, Any]:
    """Return what there is to know of the data before training on them, as plain data.

    Values and labels are read from at most `limit` sequences of each part, drawn by the
    experiment's seed; lengths are those of all sequences where the part tells them. NaN and
    infinite values are counted, and left out of all other numbers.

    Args:
        experiment: its seed, its data's settings and its batches.
        splits: its data.
        limit: sequences of each part to read.

    Returns:
        `data` (settings), `facts` (what the data set fitted: plain values), `frame` (shape),
        `parts` (by name: counts, lengths, bytes, what cannot be used), `lengths` (the `edges` of
        bins, and by part how many sequences lie in each), `values` (of the training
        part: `trained`, as the model sees them, and `restored`, in the units that they came in, or
        None), `labels` (by name) and `padding` (share of a training batch, plain and bucketed).

    Raises:
        DataError: if no sequence of the training part can be used.
    """
    noise = Noise(experiment.seed).of("describe")
    found = {part: _read_part(splits, part, limit, noise.of(part)) for part in PARTS}
    train = found["train"]
    if not train.lengths:
        raise DataError(train.unusable[0])
    lengths = {name: part.known_lengths for name, part in found.items()}
    total = sum(len(part.data) for part in found.values())
    return {
        "data": config.plain(experiment.data),
        "facts": {k: v for k, v in splits.fitted.items() if isinstance(v, (str, int, float))},
        "frame": list(train.frame),
        "parts": {
            name: {"share": len(part.data) / total, **part.described(lengths[name], train.frame)}
            for name, part in found.items()
        },
        "lengths": _histogram(lengths),
        "values": {
            "trained": train.values.described(),
            "restored": train.restored.described() if splits.restore else None,
        },
        "labels": _labels(found, splits.classes),
        "padding": _padding(lengths["train"], experiment.train, experiment.seed),
    }


def build_splits(experiment: Experiment) -> Splits:
    """Return the experiment's data as training would begin with them.

    Raises:
        DataError: if they cannot be read, or a part is empty.
    """
    return check_splits(experiment.data.build(DataRequest(seed=experiment.seed)))


def read(data: Any, index: int, part: str) -> dict[str, Tensor]:
    """Return x and the labels of one item, with the NaN and infinite values that x may have.

    Raises:
        DataError: if it cannot be read, or is no item of a data set.
    """
    return check_item(data[index], f"item {index} of the {part} part", finite=False)


def _item_name(data: Any, index: int) -> str:
    """Return what an item is called."""
    names = getattr(data, "names", None)
    return f"item {index}" if names is None else str(names[index])


def class_name(classes: Mapping[str, Sequence[str]], label: str, value: int) -> str:
    """Return what a class is called."""
    names = classes.get(label, ())
    return str(names[value]) if value < len(names) else str(value)


# Reading -----------------------------------------------------------------------------------------


@define
class _Sums:
    """Sums of each channel over its finite values, as in Chan, Golub and LeVeque (1983)."""

    count: Any = 0
    mean: Any = 0.0
    square: Any = 0.0
    low: Any = np.inf
    high: Any = -np.inf
    bad: int = 0

    def add(self, x: NDArray[Any]) -> int:  # (T, C, ...)
        """Take in frames; return how many of their values are not finite."""
        values = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1).astype(np.float64)
        finite = np.isfinite(values)
        count = finite.sum(1)
        total = self.count + count
        mean = np.where(finite, values, 0.0).sum(1) / np.maximum(count, 1)
        away = mean - self.mean
        own = (np.where(finite, values - mean[:, None], 0.0) ** 2).sum(1)
        self.square = self.square + own + away**2 * self.count * count / np.maximum(total, 1)
        self.mean = self.mean + away * count / np.maximum(total, 1)
        self.low = np.minimum(self.low, np.where(finite, values, np.inf).min(1))
        self.high = np.maximum(self.high, np.where(finite, values, -np.inf).max(1))
        self.count = total
        bad = int((~finite).sum())
        self.bad += bad
        return bad

    def described(self) -> dict[str, Any]:
        """Return the numbers over all channels, those of each, and which channels are constant."""
        whole = int(np.sum(self.count))
        mean = float((self.count * self.mean).sum() / whole) if whole else 0.0
        square = float((self.square + self.count * (self.mean - mean) ** 2).sum())
        channels = zip(self.count, self.low, self.high, self.mean, self.square, strict=True)
        return {
            **_numbers(whole, np.min(self.low), np.max(self.high), mean, square),
            "constant": np.flatnonzero(self.low == self.high).tolist(),
            "channels": [_numbers(*channel) for channel in channels],
        }


def _numbers(count: int, low: float, high: float, mean: float, square: float) -> dict[str, Any]:
    if not count:
        return dict.fromkeys(("min", "max", "mean", "std"))
    return {"min": float(low), "max": float(high), "mean": float(mean),
            "std": float(np.sqrt(square / count))}  # fmt: skip


@define
class _Label:
    """What was seen of one label in one part."""

    scope: Scope
    family: Literal["class", "number"]
    counts: Counter[int] = field(factory=Counter)
    numbers: _Sums = field(factory=_Sums)
    missing: int = 0

    @classmethod
    def of(cls, value: Tensor) -> "_Label":
        return cls(
            "local" if value.ndim else "global", "number" if value.is_floating_point() else "class"
        )

    def add(self, value: Tensor) -> None:
        values = value.reshape(-1).numpy()
        if self.family == "number":
            self.missing += self.numbers.add(values[:, None])
            return
        self.missing += int((values < 0).sum())
        for one, count in zip(*np.unique(values[values >= 0], return_counts=True), strict=True):
            self.counts[int(one)] += int(count)


@define
class _Part:
    """What was seen of one part."""

    data: Any
    read: int
    form: str = ""
    frame: tuple[int, ...] = ()
    lengths: list[int] = field(factory=list)
    values: _Sums = field(factory=_Sums)
    restored: _Sums = field(factory=_Sums)
    labels: dict[str, _Label] = field(factory=dict)
    not_finite: list[int] = field(factory=list)
    unusable: list[str] = field(factory=list)

    @property
    def known_lengths(self) -> list[int]:
        """Those of all sequences where the part tells them, else of those that were read."""
        known = getattr(self.data, "lengths", None)
        return self.lengths if known is None else [int(length) for length in known]

    def described(self, lengths: Sequence[int], frame: tuple[int, ...]) -> dict[str, Any]:
        frames = round(sum(lengths) * len(self.data) / max(len(lengths), 1))
        return {
            "sequences": len(self.data),
            "read": self.read,
            "frames": frames,
            "lengths": {"known": len(lengths), "min": min(lengths, default=None),
                        "median": median(lengths) if lengths else None,
                        "max": max(lengths, default=None)},
            "bytes": frames * int(np.prod(frame)) * np.dtype(np.float32).itemsize,
            "not_finite": {"values": self.values.bad, "sequences": len(self.not_finite),
                           "first": _item_name(self.data, self.not_finite[0])
                if self.not_finite else None},
            "unusable": {"sequences": len(self.unusable),
                         "first": self.unusable[0] if self.unusable else None},
        }  # fmt: skip


def _read_part(splits: Splits, name: str, limit: int, noise: Noise) -> _Part:
    data = getattr(splits, name)
    chosen = sorted(noise.permutation(len(data))[:limit].tolist())
    part = _Part(data=data, read=len(chosen))
    for index in chosen:
        try:
            item = read(data, index, name)
            form = item_form(item)
            part.form = part.form or form
            if form != part.form:
                raise DataError(f"item {index} of the {name} part: expected {part.form} as in "
                                f"others, got {form}")  # fmt: skip
        except DataError as error:
            part.unusable.append(str(error))
            continue
        _take(part, index, item, splits)
    return part


def _take(part: _Part, index: int, item: Mapping[str, Tensor], splits: Splits) -> None:
    x = item["x"].numpy()
    part.frame = x.shape[1:]
    part.lengths.append(len(x))
    if part.values.add(x):
        part.not_finite.append(index)
    if splits.restore is not None:
        part.restored.add(splits.restore(x))
    for label in item.keys() - {"x"}:
        part.labels.setdefault(label, _Label.of(item[label])).add(item[label])


# Lengths, labels and padding ---------------------------------------------------------------------


def _histogram(lengths: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    everything = np.concatenate([np.asarray(of_part) for of_part in lengths.values()])
    low, high = int(everything.min()), int(everything.max()) + 1
    width = -(-(high - low) // _BINS)
    edges = np.arange(low, high + width, width)
    counts = {part: np.histogram(of, edges)[0].tolist() for part, of in lengths.items()}
    return {"edges": edges.tolist(), **counts}


def _labels(
    found: Mapping[str, _Part], classes: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    names = sorted({name for part in found.values() for name in part.labels})
    seen = {name: {p: part.labels[name] for p, part in found.items() if name in part.labels}
            for name in names}  # fmt: skip
    return {
        name: {"scope": first.scope, "family": first.family,
               **(_classes(name, parts, classes) if first.family == "class" else _ranges(parts))}
        for name, parts in seen.items() for first in [next(iter(parts.values()))]
    }  # fmt: skip


def _classes(
    label: str, parts: Mapping[str, _Label], classes: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    total = sum((part.counts for part in parts.values()), Counter[int]())
    known = parts["train"].counts.keys() if "train" in parts else set[int]()
    return {
        "classes": len(total),
        "counts": {
            class_name(classes, label, value): {p: part.counts[value] for p, part in parts.items()}
            for value, _ in sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))
        },
        "parts": {
            name: {
                "count": part.counts.total(),
                "missing": part.missing,
                "classes": len(part.counts),
                "seen_in_training": len(part.counts.keys() & known),
                "unseen": [
                    class_name(classes, label, v) for v in sorted(part.counts.keys() - known)
                ],
            }
            for name, part in parts.items()
        },
    }


def _ranges(parts: Mapping[str, _Label]) -> dict[str, Any]:
    ranges = {}
    for name, part in parts.items():
        numbers = part.numbers.described()
        ranges[name] = {"count": int(part.numbers.count.sum()), "missing": part.missing,
                        **{key: numbers[key] for key in ("min", "max", "mean", "std")}}  # fmt: skip
    return {"parts": ranges}


def _padding(lengths: Sequence[int], train: TrainConfig, seed: int) -> dict[str, Any]:
    bucket = train.bucket if train.bucket > 1 else _BUCKET
    padding: dict[str, Any] = {"batch_size": train.batch_size, "bucket": bucket,
                               "bucketed_in_training": train.bucket > 1,
                               "plain": None, "bucketed": None}  # fmt: skip
    if len(lengths) >= train.batch_size:
        for key, batches in (("plain", 1), ("bucketed", bucket)):
            order = Order(
                count=len(lengths), batch_size=train.batch_size, seed=seed,
                accumulate=train.accumulate, bucket=batches, lengths=lengths,
            )  # fmt: skip
            padding[key] = padding_share(order)
    return padding
