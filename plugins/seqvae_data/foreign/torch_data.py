"""Existing torch data sets: items in torchvision's manner, or dicts, as this library wants them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from attrs import define
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.loading import check_item
from seqvae_core.records import Splits
from seqvae_data import normalise as scaling
from seqvae_data.config import SplitConfig
from seqvae_data.frames import Stats
from seqvae_data.splits import split as share

__all__ = ["from_torch"]


def from_torch(
    dataset: Any,
    *,
    test: Any = None,
    labels: Sequence[str] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    time: bool = True,
    normalise: bool = False,
    split: SplitConfig | None = None,
    request: DataRequest | None = None,
) -> Splits:
    """Return the parts of any map-style torch data set; items are read when they are asked for.

    An item is x, or a tuple of x and labels, or a dict with `x`, maybe `length` or `mask` (T,),
    and labels. x is a tensor, an array or a Pillow image; pixels of 8 bits are brought to [0, 1].
    A label is a number when global, (T,) when local; integers are classes (-1 where missing),
    floats are numbers (NaN where missing), text is looked up in `classes`.

    Args:
        dataset: what is shared among the parts, or what `test` leaves to train and valid.
        test: the official test part, another data set of the same items.
        labels: names of a tuple's labels, "label" if there is one and it is left out; the labels
            of a dict to take, all others if left out. `()` for none.
        classes: names of the classes, by label; the data set's own `classes` for a tuple's only
            label if left out.
        time: whether the first axis of x is time, (T, *frame) or (T,). Without it x is one frame,
            T = 1: (C,), (H, W) or (C, H, W).
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train, which
            is then read once.
        split: what is shared among the parts. A rule that looks at labels has all items read.
        request: the seed of the split, and what an earlier run fitted.

    Raises:
        DataError: for an empty part, or naming the item that cannot be used. Whatever the data set
            itself raises passes through.
    """
    request = request or DataRequest()
    data = dataset if test is None else ConcatDataset([dataset, test])
    if not len(data):
        raise DataError("the data set is empty")
    named = _names_of_labels(data[0], labels)
    if classes is None:
        own = getattr(dataset, "classes", None)
        one = isinstance(data[0], (tuple, list)) and len(named) == 1 and isinstance(own, list)
        classes = {named[0]: [str(name) for name in own or ()]} if one else {}
    source = _Source(
        data=data, own=len(dataset), labels=named, time=time, lengths=_lengths(dataset, test, time),
        classes={name: tuple(values) for name, values in classes.items()},
    )  # fmt: skip
    official = None if test is None else range(len(dataset), len(data))
    parts = share(_Texts(source), split or SplitConfig(), request.seed, test=official)
    fitted = _fitted(source, parts.train, request, normalise)
    scale = fitted if normalise else None
    return Splits(
        train=_Part(source, parts.train, scale),
        valid=_Part(source, parts.valid, scale),
        test=_Part(source, parts.test, scale),
        classes=source.classes,
        fitted=fitted,
        restore=partial(scaling.invert, fitted=fitted) if normalise else None,
    )


@define(eq=False, kw_only=True)
class _Source:
    """All items, in the form that the core wants."""

    data: Any
    own: int  # how many are not of the official test part
    labels: Sequence[str]
    time: bool
    classes: Mapping[str, tuple[str, ...]]
    lengths: Sequence[int] | None
    frame: tuple[int, ...] | None = None  # of the first item that was read

    def name(self, position: int) -> str:
        official = position >= self.own
        return f"test item {position - self.own}" if official else f"item {position}"

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        where = self.name(position)
        x, others = _taken(self.data[position], self.labels, where)
        numbers = {name: self._number(value, name, where) for name, value in others.items()}
        item = check_item({"x": _frames(x, self.time, where), **numbers}, where)
        frame = tuple(item["x"].shape[1:])
        self.frame = self.frame or frame
        if frame != self.frame:
            raise DataError(f"{where}: expected frames {self.frame}, got {frame}")
        return item

    def _number(self, value: Any, name: str, where: str) -> Any:
        known = self.classes.get(name)
        if isinstance(value, str):
            if known is None:
                raise DataError(f"{where}: label '{name}' is text, '{value}': name its classes")
            if value and value not in known:
                raise DataError(f"{where}: label '{name}' is '{value}', which is no class of it")
            return known.index(value) if value else -1
        if known is not None and int(np.max(np.asarray(value), initial=-1)) >= len(known):
            raise DataError(f"{where}: label '{name}' is {value} of {len(known)} classes")
        return value


class _Part(Dataset[dict[str, Tensor]]):
    """One part.

    Attributes:
        lengths: frames of each item, None where only reading it could tell.
        names: what the run's list of its parts calls each item.
    """

    def __init__(self, source: _Source, positions: Sequence[int], fitted: Mapping[str, Any] | None):
        self.source = source
        self.positions = positions
        self.fitted = fitted

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = self.source[self.positions[index]]
        if self.fitted is not None:
            item["x"] = torch.from_numpy(scaling.apply(item["x"].numpy(), self.fitted))
        return item

    @property
    def lengths(self) -> list[int] | None:
        """Frames of each item."""
        known = self.source.lengths
        return None if known is None else [int(known[i]) for i in self.positions]

    @property
    def names(self) -> list[str]:
        """What each item is called."""
        return [self.source.name(i) for i in self.positions]


class _Texts(Sequence[Mapping[str, str]]):
    """The global labels of items as text, read when asked for."""

    def __init__(self, source: _Source):
        self.source = source

    def __len__(self) -> int:
        return len(self.source.data)

    def __getitem__(self, position: Any) -> Any:
        labels = {name: value for name, value in self.source[position].items() if not value.ndim}
        return {"name": self.source.name(position), **{
            name: self._text(name, value.item()) for name, value in labels.items()}}  # fmt: skip

    def _text(self, name: str, value: Any) -> str:
        known = self.source.classes.get(name)
        return str(value) if known is None or value < 0 else known[value]


# Items -------------------------------------------------------------------------------------------


def _names_of_labels(item: Any, labels: Sequence[str] | None) -> list[str]:
    if isinstance(item, Mapping):
        others = [name for name in item if name not in {"x", "length", "mask"}]
        return others if labels is None else list(labels)
    count = len(item) - 1 if isinstance(item, (tuple, list)) else 0
    if labels is None and count > 1:
        raise DataError(f"items are x and {count} labels: name them")
    return (["label"] if count else []) if labels is None else list(labels)


def _taken(item: Any, labels: Sequence[str], where: str) -> tuple[Any, dict[str, Any]]:
    """Return x and everything else of an item."""
    if isinstance(item, Mapping):
        for name in ("x", *labels):
            if name not in item:
                known = ", ".join(map(str, item))
                raise DataError(f"{where}: expected '{name}', got a dict with {known}")
        wanted = {"length", "mask", *labels} & item.keys()
        return item["x"], {name: item[name] for name in wanted}
    whole = tuple(item) if isinstance(item, (tuple, list)) else (item,)
    if labels and len(whole) != 1 + len(labels):
        named = ", ".join(labels)
        raise DataError(f"{where}: expected x and the labels {named}, got {len(whole)} values")
    return whole[0], dict(zip(labels, whole[1:], strict=False))


def _frames(x: Any, time: bool, where: str) -> Tensor:
    """Return (T, *frame), float32 unless it is float64."""
    is_picture = hasattr(x, "getbands")  # Pillow's images have their channels last
    try:
        value = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
    except (TypeError, ValueError):
        raise DataError(f"{where}: expected x as numbers, got {type(x).__name__}") from None
    value = value.movedim(-1, 0) if is_picture and value.ndim == 3 else value
    axes = (1, 2, 3, 4) if time else (1, 2, 3)
    if value.ndim not in axes or value.is_complex():
        wanted = "(T,) or (T, *frame)" if time else "(C,), (H, W) or (C, H, W)"
        raise DataError(f"{where}: expected x as numbers {wanted}, got {tuple(value.shape)}")
    if time:
        value = value[:, None] if value.ndim == 1 else value
    else:
        value = value[None, None] if value.ndim == 2 else value[None]
    return value / 255 if value.dtype == torch.uint8 and value.ndim == 4 else value


def _lengths(dataset: Any, test: Any, time: bool) -> list[int] | None:
    parts = [dataset] if test is None else [dataset, test]
    if not time:
        return [1] * sum(map(len, parts))
    known = [getattr(part, "lengths", None) for part in parts]
    if any(each is None for each in known):
        return None
    return [int(length) for each in known for length in each or ()]


def _fitted(
    source: _Source, train: Sequence[int], request: DataRequest, scaled: bool
) -> dict[str, Any]:
    frame = list(source[train[0]]["x"].shape[1:])
    if request.fitted is None:
        stats = (Stats.of(source[i]["x"].numpy()) for i in train)
        return {"frame": frame, **(scaling.fit(stats) if scaled else {})}
    fitted = dict(request.fitted)
    if fitted.get("frame") != frame:
        raise DataError(
            f"the data do not fit the run: frame is {frame}, the run's is {fitted.get('frame')}"
        )
    if scaled and len(fitted.get("mean", ())) != frame[0]:
        raise DataError("the data do not fit the run: it was not normalised")
    return fitted
