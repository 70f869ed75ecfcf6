"""From sequences with named labels to `Splits`: class tables, normalisation, items."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data import normalise
from seqvae_data.config import SplitConfig
from seqvae_data.frames import Example, Prepare, Rows, Stats, check_finite
from seqvae_data.splits import split

__all__ = ["RESERVED", "Items", "assemble", "divide"]

RESERVED = frozenset({"x", "mask", "length", "utterance", "path"})

Parts = tuple[Sequence[Example], Sequence[Example], Sequence[Example]]


def divide(
    examples: Sequence[Example],
    config: SplitConfig,
    request: DataRequest,
    *,
    test: Iterable[int] | None = None,
) -> Parts:
    """Share examples among train, valid and test by their global labels.

    Args:
        examples: all of them; the rules may also look at `name`.
        config: the rules.
        request: the seed.
        test: positions of the official test part, where there is one.

    Raises:
        DataError: for an unknown label, an empty part, or a group that the rule would divide.
    """
    given = None if test is None else list(test)
    parts = split(_Texts(examples), config, request.seed, test=given)
    return _take(examples, parts.train), _take(examples, parts.valid), _take(examples, parts.test)


def _take(examples: Sequence[Example], positions: Sequence[int]) -> Sequence[Example]:
    if isinstance(examples, Rows):
        return examples.take(positions)
    return [examples[i] for i in positions]


class _Texts(Sequence[Mapping[str, str]]):
    """The global labels of examples as text, made when asked for."""

    def __init__(self, examples: Sequence[Example]):
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, position: Any) -> Any:
        example = self.examples[position]
        labels = {name: str(v) for name, v in example.labels.items() if not v.ndim}
        return {"name": example.name or example.source, **labels}


def assemble(
    train: Sequence[Example],
    valid: Sequence[Example],
    test: Sequence[Example],
    request: DataRequest,
    *,
    scaled: bool = True,
    facts: Mapping[str, Any] | None = None,
    prepare: Prepare | None = None,
    sound: Callable[[NDArray[Any]], bytes] | None = None,
) -> Splits:
    """Return splits whose items are dicts: `x` (T, *frame) float32, and labels as numbers.

    Classes of the training part come first, in natural order; those that only the other parts
    (or other data than the run's) have follow. `fitted` holds the frame's shape, the training
    classes, the mean and std of each channel, and `facts`.

    Args:
        train: the training part, which everything is fitted on unless `request.fitted` is given.
        valid: the validation part, possibly empty.
        test: the test part.
        request: the seed, and what an earlier run fitted.
        scaled: whether to normalise per channel.
        facts: what else a run must keep, and other data must agree with (the sampling rate).
        prepare: from frames as stored to (T, *frame) float32; a function of a module, so that
            worker processes can have it.
        sound: from frames before normalisation to a WAV file.

    Raises:
        DataError: for an empty part, frames that are not finite or differ in shape, an infinite
            label, a constant channel, or data that do not fit what was fitted.
    """
    for name, part in (("train", train), ("test", test)):
        if not len(part):
            raise DataError(f"the {name} part is empty")
    parts = (train, valid, test)
    _check_frames(parts)
    values = [_class_values(part) for part in parts]
    now = {"frame": list(_read(train[0], prepare).shape[1:]), **(facts or {})}
    if request.fitted is None:
        stats = normalise.fit(_stats(example, prepare) for example in train) if scaled else {}
        fitted = {**now, "classes": _classes(values[:1]), **stats}
    else:
        fitted = dict(request.fitted)
        _check_fitted(fitted, now, scaled)
    known = {name: list(classes) for name, classes in fitted.get("classes", {}).items()}
    classes = _classes(values, known)
    items = [Items(part, classes, fitted if scaled else None, prepare) for part in parts]
    return Splits(
        train=items[0],
        valid=items[1],
        test=items[2],
        classes={name: tuple(values) for name, values in classes.items()},
        fitted=fitted,
        restore=partial(normalise.invert, fitted=fitted) if scaled else None,
        sound=sound,
    )


class Items(Dataset[dict[str, Any]]):
    """One part: frames are read when asked for, unless they are in memory already.

    Attributes:
        lengths: frames of each item, for batches of like lengths.
        names: what the run's list of its parts calls each item.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        classes: Mapping[str, Sequence[str]],
        fitted: Mapping[str, Any] | None,
        prepare: Prepare | None,
    ):
        self.examples = examples
        self.fitted = fitted
        self.prepare = prepare
        self.index = {
            name: {"": -1, "-1": -1} | {value: i for i, value in enumerate(values)}
            for name, values in classes.items()
        }
        self.held = {
            i: self._frames(example)
            for i, example in enumerate([] if isinstance(examples, Rows) else examples)
            if type(example.x) is np.ndarray
        }

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Return `x` and the labels of one sequence.

        Raises:
            DataError: naming it, if its frames cannot be read.
        """
        example = self.examples[position]
        held = self.held.get(position)
        item: dict[str, Any] = {"x": self._frames(example) if held is None else held}
        for name, value in example.labels.items():
            item[name] = _number(value, self.index.get(name, {}))
        if example.utterance is not None:
            item["utterance"] = example.utterance
        return item

    def _frames(self, example: Example) -> torch.Tensor:
        x = _read(example, self.prepare)
        x = x if self.fitted is None else normalise.apply(x, self.fitted)
        return torch.from_numpy(x.astype(np.float32, copy=False))

    @property
    def lengths(self) -> list[int]:
        """Frames of each item."""
        if isinstance(self.examples, Rows):
            return self.examples.frames
        return [example.x.shape[0] for example in self.examples]

    @property
    def names(self) -> list[str]:
        """What each item is called."""
        if isinstance(self.examples, Rows):
            return self.examples.names
        return [example.name or example.source for example in self.examples]


def _read(example: Example, prepare: Prepare | None) -> NDArray[np.floating]:
    """Return frames in float32, or in float64 where float32 would lose digits."""
    try:
        x = np.asarray(example.x[:])
        if prepare is not None:
            x = prepare(x)
        check_finite(x)
    except DataError as error:
        raise DataError(f"{example.source}: {error}") from None
    # a view of a read-only map would make torch warn
    return x.astype(np.result_type(x.dtype, np.float32), copy=not x.flags.writeable)


def _stats(example: Example, prepare: Prepare | None) -> Stats:
    return example.stats or Stats.of(_read(example, prepare))


def _check_frames(parts: Iterable[Sequence[Example]]) -> None:
    first = None
    for part in parts:
        for example in part[:1] if isinstance(part, Rows) else part:
            first = first or example
            if example.x.shape[1:] != first.x.shape[1:]:
                raise DataError(
                    f"{example.source}: expected frames of shape {first.x.shape[1:]} as in "
                    f"{first.source}, got {example.x.shape[1:]}"
                )


def _check_fitted(fitted: Mapping[str, Any], now: Mapping[str, Any], scaled: bool) -> None:
    for key, value in now.items():
        if fitted.get(key) != value:
            raise DataError(
                f"the data do not fit the run: {key} is {value}, the run's is {fitted.get(key)}"
            )
    for key in ("mean", "std") if scaled else ():
        if len(fitted.get(key, ())) != now["frame"][0]:
            raise DataError(
                f"the data do not fit the run: {now['frame'][0]} channels, "
                f"'{key}' of {len(fitted.get(key, ()))}"
            )


def _classes(
    parts: Iterable[Mapping[str, set[str]]], known: Mapping[str, list[str]] | None = None
) -> dict[str, list[str]]:
    """Return each class label's values: those known, then the others in natural order."""
    found: dict[str, set[str]] = {name: set() for name in known or {}}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, set()).update(values)
    tables = {}
    for name, values in found.items():
        first = (known or {}).get(name, [])
        tables[name] = [*first, *sorted(values - {"", "-1"} - set(first), key=_natural)]
    return tables


def _class_values(part: Sequence[Example]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, value in _label_values(part):
        if value.dtype.kind != "f":
            found.setdefault(name, set()).update(map(_text, np.unique(value)))
        elif _overflows(value).any():
            raise _infinite(part, name)
    return found


def _label_values(part: Sequence[Example]) -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(part, Rows):
        yield from ((name, part.label(name)) for name in part.labels)
    else:
        for example in part:
            yield from example.labels.items()


def _overflows(value: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where numbers are infinite in float32."""
    return np.asarray(np.abs(value) > np.finfo(np.float32).max)


def _infinite(part: Sequence[Example], name: str) -> DataError:
    """Return the error about a label of numbers that are not all finite."""
    for example in part:
        value = example.labels[name]
        if (wrong := _overflows(value)).any():
            break
    return DataError(
        f"{example.source}, label '{name}': expected a finite number, or NaN where it is missing, "
        f"got {value[wrong].flat[0]:g}"
    )


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, np.bool_) else str(value)


def _natural(text: str) -> tuple[float, str]:
    return (int(text) if re.fullmatch(r"-?\d+", text) else np.inf, text)


def _number(value: NDArray[Any], index: Mapping[str, int]) -> Any:
    if value.dtype.kind == "f":
        return torch.from_numpy(value.astype(np.float32)) if value.ndim else float(value)
    if value.ndim:
        return torch.tensor([index[_text(one)] for one in value])
    return index[_text(value[()])]
