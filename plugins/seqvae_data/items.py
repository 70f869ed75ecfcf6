"""From sequences with named labels to `Splits`: class tables, normalisation, items."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data import normalise

__all__ = ["RESERVED", "Example", "assemble"]

RESERVED = frozenset({"x", "mask", "length", "utterance", "path"})


@frozen(eq=False, kw_only=True)
class Example:
    """One sequence before normalisation.

    Attributes:
        x: its real frames, (T, *frame) float32.
        labels: by name, () when global and (T,) when local; text and integers are classes
            ("" and -1 where missing), floats are numbers.
        source: the file or item that errors name.
        utterance: which utterance it is a segment of.
    """

    x: NDArray[np.float32]
    labels: Mapping[str, NDArray[Any]]
    source: str
    utterance: int | None = None


def assemble(
    train: Sequence[Example],
    valid: Sequence[Example],
    test: Sequence[Example],
    request: DataRequest,
    *,
    scaled: bool = True,
    facts: Mapping[str, Any] | None = None,
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

    Raises:
        DataError: for an empty part, frames that are not finite or differ in shape, a constant
            channel, or data that do not fit what was fitted.
    """
    for name, part in (("train", train), ("test", test)):
        if not part:
            raise DataError(f"the {name} part is empty")
    everything = [*train, *valid, *test]
    _check_frames(everything)
    now = {"frame": list(train[0].x.shape[1:]), **(facts or {})}
    if request.fitted is None:
        stats = normalise.fit([example.x for example in train]) if scaled else {}
        fitted = {**now, "classes": _classes(train), **stats}
    else:
        fitted = dict(request.fitted)
        _check_fitted(fitted, now, scaled)
    known = {name: list(classes) for name, classes in fitted.get("classes", {}).items()}
    classes = _classes(everything, known)
    return Splits(
        train=_items(train, classes, fitted, scaled),
        valid=_items(valid, classes, fitted, scaled),
        test=_items(test, classes, fitted, scaled),
        classes={name: tuple(values) for name, values in classes.items()},
        fitted=fitted,
    )


def _check_frames(examples: Iterable[Example]) -> None:
    first = None
    for example in examples:
        first = first or example
        if example.x.shape[1:] != first.x.shape[1:]:
            raise DataError(
                f"{example.source}: expected frames of shape {first.x.shape[1:]} as in "
                f"{first.source}, got {example.x.shape[1:]}"
            )
        if bad := int((~np.isfinite(example.x)).sum()):
            raise DataError(
                f"{example.source}: {bad} of {example.x.size} values are NaN or infinite"
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
    examples: Sequence[Example], known: Mapping[str, list[str]] | None = None
) -> dict[str, list[str]]:
    """Return each class label's values: those known, then the others in natural order."""
    found: dict[str, set[str]] = {name: set() for name in known or {}}
    for example in examples:
        for name, value in example.labels.items():
            if value.dtype.kind != "f":
                found.setdefault(name, set()).update(map(_text, np.unique(value)))
    tables = {}
    for name, values in found.items():
        first = (known or {}).get(name, [])
        tables[name] = [*first, *sorted(values - {"", "-1"} - set(first), key=_natural)]
    return tables


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, np.bool_) else str(value)


def _natural(text: str) -> tuple[float, str]:
    return (int(text) if re.fullmatch(r"-?\d+", text) else np.inf, text)


def _items(
    examples: Sequence[Example],
    classes: Mapping[str, list[str]],
    fitted: dict[str, Any],
    scaled: bool,
) -> list[dict[str, Any]]:
    index = {
        name: {"": -1, "-1": -1} | {value: i for i, value in enumerate(values)}
        for name, values in classes.items()
    }
    items = []
    for example in examples:
        x = normalise.apply(example.x, fitted) if scaled else example.x
        item: dict[str, Any] = {"x": torch.from_numpy(x)}
        for name, value in example.labels.items():
            item[name] = _number(value, index.get(name, {}))
        if example.utterance is not None:
            item["utterance"] = example.utterance
        items.append(item)
    return items


def _number(value: NDArray[Any], index: Mapping[str, int]) -> Any:
    if value.dtype.kind == "f":
        return torch.from_numpy(value.astype(np.float32)) if value.ndim else float(value)
    if value.ndim:
        return torch.tensor([index[_text(one)] for one in value])
    return index[_text(value[()])]
