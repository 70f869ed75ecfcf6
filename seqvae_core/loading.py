"""From any torch map-style data set to padded batches, in an order fixed by seed and step."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from seqvae_core.errors import DataError, SeqVAEError
from seqvae_core.records import Batch, Noise, Shapes, Splits, Variable

__all__ = [
    "Order",
    "check_item",
    "check_splits",
    "collate",
    "data_shapes",
    "item_form",
    "item_lengths",
    "iterate",
    "padding_share",
    "share",
    "train_batches",
]


@frozen(kw_only=True)
class Order:
    """Which items the rank's micro-batch of a step holds.

    Epochs are random permutations laid end to end, cut every `batch_size` items; a step's batch
    is cut again into equal parts for the ranks, and these into micro-batches. With `bucket`, the
    items of that many batches are sorted by length before they are cut, and the batches come in
    random order. It is a pure function of the seed and the step, so that resuming needs no state.

    Attributes:
        count: items in all.
        batch_size: items a step, over all ranks.
        seed: of the permutations.
        rank: which rank.
        world: number of ranks.
        accumulate: micro-batches of a rank's part.
        bucket: batches among which items of like lengths are put together.
        lengths: of each item, needed by `bucket`.
    """

    count: int
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1
    accumulate: int = 1
    bucket: int = 1
    lengths: Sequence[int] | None = field(default=None, repr=False, eq=False)
    _sorted: dict[int, list[int]] = field(factory=dict, init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if self.batch_size > self.count:
            raise DataError(
                f"the train part has {self.count} sequences, "
                f"fewer than train.batch_size = {self.batch_size}"
            )
        share(self.batch_size, self.world, self.accumulate)

    @property
    def size(self) -> int:
        """Items of one micro-batch."""
        return share(self.batch_size, self.world, self.accumulate)

    def step(self, step: int) -> list[list[int]]:
        """Return the micro-batches of this rank at `step`, counted from 0."""
        size = self.size
        first = self.rank * self.accumulate * size
        flat = self.batch(step)[first : first + self.accumulate * size]
        return [flat[start : start + size] for start in range(0, len(flat), size)]

    def batch(self, step: int) -> list[int]:
        """Return the items of all ranks at `step`, counted from 0."""
        if self.bucket == 1:
            return self._items(step * self.batch_size, self.batch_size)
        window, turn = divmod(step, self.bucket)
        items = self._window(window)
        start = int(_permutation(self.seed, self.bucket, window, "turn")[turn]) * self.batch_size
        return items[start : start + self.batch_size]

    def _items(self, first: int, count: int) -> list[int]:
        positions = (divmod(first + offset, self.count) for offset in range(count))
        return [
            int(_permutation(self.seed, self.count, epoch, "order")[offset])
            for epoch, offset in positions
        ]

    def _window(self, window: int) -> list[int]:
        if window not in self._sorted:
            assert self.lengths is not None
            size = self.bucket * self.batch_size
            items = sorted(self._items(window * size, size), key=self.lengths.__getitem__)
            self._sorted.clear()  # one window is enough: steps come in order
            self._sorted[window] = items
        return self._sorted[window]


def share(batch_size: int, world: int, accumulate: int) -> int:
    """Return the sequences of one micro-batch on one device; raise `DataError` for a remainder."""
    size, rest = divmod(batch_size, world * accumulate)
    if rest:
        raise DataError(
            f"train.batch_size = {batch_size} cannot be shared equally by {world} devices "
            f"and {accumulate} micro-batches"
        )
    return size


@lru_cache(maxsize=4)
def _permutation(seed: int, count: int, turn: int, purpose: str) -> Tensor:
    return Noise(seed, counts={f"/{purpose}": turn}).of(purpose).permutation(count)


def padding_share(order: Order) -> float:
    """Return which share of an epoch's frames is padding, in [0, 1); all ranks together.

    Each micro-batch of each rank is padded to its own longest sequence.
    """
    lengths = order.lengths
    assert lengths is not None
    real = padded = 0
    for step in range(max(1, order.count // order.batch_size)):
        batch = order.batch(step)
        size = share(order.batch_size, order.world, order.accumulate)
        for start in range(0, len(batch), size):
            mine = [lengths[i] for i in batch[start : start + size]]
            real += sum(mine)
            padded += max(mine) * len(mine)
    return 1.0 - real / padded


def item_lengths(data: Any, part: str = "given") -> list[int]:
    """Return the frames of each item; data that have no `lengths` are read through once."""
    known = getattr(data, "lengths", None)
    if known is not None:
        return [int(length) for length in known]
    return [item["x"].shape[0] for item in map(_Checked(data, part).__getitem__, range(len(data)))]


class _Checked(Dataset[dict[str, Tensor]]):
    """Items as dicts of tensors: x (T, *frame) cut to its length, and labels."""

    def __init__(self, data: Any, part: str):
        self.data = data
        self.part = part

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return check_item(self.data[index], f"item {index} of the {self.part} part")


def check_item(item: Any, where: str, *, finite: bool = True) -> dict[str, Tensor]:
    """Return an item's frames x (T, *frame), cut to its length, and its labels, as tensors.

    Args:
        item: of a data set, as `Splits` describes it.
        where: what errors call it.
        finite: whether to refuse NaN and infinite values in x.

    Raises:
        DataError: for what cannot be trained on.
    """
    if isinstance(item, tuple) or (isinstance(item, Mapping) and "x" not in item):
        got = f"a dict with {sorted(item)}" if isinstance(item, Mapping) else "tuple"
        raise DataError(f"{where}: expected a tensor or a dict with 'x', got {got}")
    item = item if isinstance(item, Mapping) else {"x": item}
    try:
        x = torch.as_tensor(item["x"]).to(torch.get_default_dtype())
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"{where}: expected x as numbers (T, *frame), got {type(item['x']).__name__}"
        ) from None
    if x.ndim < 2 or x.shape[0] < 1:
        raise DataError(f"{where}: expected x of shape (T, *frame), T >= 1, got {tuple(x.shape)}")
    length = _length(item, x.shape[0], where)
    x = x[:length]
    # the sum is not finite if a value is not, and is found in a tenth of the time
    suspect = finite and not math.isfinite(x.sum().item())
    if suspect and (bad := int((~torch.isfinite(x)).sum())):
        raise DataError(f"{where}: {bad} of {x.numel()} values are NaN or infinite")
    checked = {"x": x}
    for name, value in item.items():
        if name not in ("x", "mask", "length"):
            checked[name] = _check_label(value, name, length, where)
    return checked


def _length(item: Mapping[str, Any], frames: int, where: str) -> int:
    try:
        length = int(item.get("length", frames))
    except (TypeError, ValueError):
        raise DataError(f"{where}: expected a length, got {item['length']!r}") from None
    if "mask" in item:
        mask = torch.as_tensor(item["mask"], dtype=torch.bool)
        length = int(mask.sum())
        if tuple(mask.shape) != (frames,) or not bool(mask[:length].all()):
            raise DataError(f"{where}: expected a mask ({frames},) that is True up to a length")
    if not 1 <= length <= frames:
        raise DataError(f"{where}: expected a length in 1..{frames}, got {length}")
    return length


def _check_label(value: Any, name: str, length: int, where: str) -> Tensor:
    try:
        label = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"{where}: expected label '{name}' as a number or one a frame, got {value!r}"
        ) from None
    if label.ndim > 1 or (label.ndim == 1 and label.shape[0] < length):
        raise DataError(
            f"{where}: expected label '{name}' of shape () or ({length},), got {tuple(label.shape)}"
        )
    label = label[:length] if label.ndim else label
    return label.float() if label.is_floating_point() else label.long()


def collate(items: Sequence[Any]) -> Batch:
    """Pad items of a data set to one batch.

    Args:
        items: tensors (T, *frame) or dicts with `x`, as `Splits` describes them.

    Returns:
        A batch with x zero, local labels -1 (integers) or NaN (numbers) in the padding.

    Raises:
        DataError: for an item of another shape, with other labels, or with NaN in its frames.
    """
    return _padded([check_item(item, f"item {i} of the batch") for i, item in enumerate(items)])


def _padded(checked: Sequence[Mapping[str, Tensor]]) -> Batch:
    first = checked[0]
    expected = item_form(first)
    for i, item in enumerate(checked):
        if (form := item_form(item)) != expected:
            raise DataError(f"items 0 and {i} of the batch differ: {expected}; {form}")
    lengths = torch.tensor([item["x"].shape[0] for item in checked])
    labels = {}
    for name in [key for key in first if key != "x"]:
        values = [item[name] for item in checked]
        fill = float("nan") if values[0].is_floating_point() else -1
        labels[name] = (
            pad_sequence(values, batch_first=True, padding_value=fill)
            if values[0].ndim
            else torch.stack(values)
        )
    x = pad_sequence([item["x"] for item in checked], batch_first=True)
    return Batch.of(x, mask=torch.arange(x.shape[1]) < lengths[:, None], labels=labels)


def item_form(item: Mapping[str, Tensor]) -> str:
    """Say what all items of a batch have in common."""
    parts = [f"frames {tuple(item['x'].shape[1:])}"]
    for name in sorted(item.keys() - {"x"}):
        scope = "local" if item[name].ndim else "global"
        family = "number" if item[name].is_floating_point() else "class"
        parts.append(f"{scope} {family} '{name}'")
    return " with ".join([parts[0], ", ".join(parts[1:]) or "no labels"])


def iterate(data: Any, batch_size: int = 64, *, part: str = "given") -> Iterator[Batch]:
    """Yield a data set in its own order, the last batch as short as it comes."""
    items = _Checked(data, part)
    for start in range(0, len(items), batch_size):
        yield _padded([items[i] for i in range(start, min(start + batch_size, len(items)))])


def train_batches(
    data: Any, order: Order, *, start: int, steps: int, workers: int = 0, pin_memory: bool = False
) -> Iterator[Batch]:
    """Yield the micro-batches of steps `start` to `steps`, one after another.

    Args:
        data: a map-style data set.
        order: which items each step holds.
        start: the first step, counted from 0.
        steps: where to end.
        workers: processes that read and collate.
        pin_memory: whether to put batches where a GPU copies from; nothing without a GPU.
    """
    chunks = (chunk for step in range(start, steps) for chunk in order.step(step))
    loader: DataLoader[Any] = DataLoader(
        _Checked(data, "train"),
        batch_sampler=chunks,
        collate_fn=_padded,
        num_workers=workers,
        pin_memory=pin_memory and torch.cuda.is_available(),
        generator=torch.Generator(),  # else a resumed run draws from torch's own once more
    )
    try:
        yield from loader
    except SeqVAEError as error:  # a worker's error brings its traceback along as text
        raise type(error)(str(error).strip().splitlines()[-1].split("Error: ")[-1]) from None


def check_splits(splits: Splits) -> Splits:
    """Return splits whose parts can be trained on.

    Raises:
        DataError: if the train or test part is empty, or a part is not map-style.
    """
    for part in ("train", "valid", "test"):
        data = getattr(splits, part)
        if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
            raise DataError(
                f"the {part} part: expected a map-style data set with a length, "
                f"got {type(data).__name__}"
            )
        if len(data) == 0 and part != "valid":
            raise DataError(f"the {part} part is empty")
    return splits


def data_shapes(splits: Splits) -> Shapes:
    """Return what the training part's first item shows: the frame's shape and the labels."""
    first = _padded([_Checked(splits.train, "train")[0]])
    labels = {
        name: Variable(
            name=name,
            scope="global" if value.ndim == 1 else "local",
            family="number" if value.is_floating_point() else "class",
        )
        for name, value in first.labels.items()
    }
    return Shapes(frame=tuple(first.x.shape[2:]), labels=labels)
