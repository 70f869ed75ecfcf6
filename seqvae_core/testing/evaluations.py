"""What a task and a data set must hold."""

import json
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast
from unittest.mock import patch

import torch
from torch import Tensor

from seqvae_core.components import DataRequest, DatasetConfig, TaskConfig, TaskResult
from seqvae_core.loading import check_splits, collate, data_shapes, iterate
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Shapes, Splits
from seqvae_core.testing.claims import Subject, identical, require
from seqvae_core.testing.small import small_model, small_splits

__all__ = ["check_dataset", "check_task"]

PARTS = ("train", "valid", "test")


# Tasks -------------------------------------------------------------------------------------------


def check_task(subject: Subject, shapes: Shapes) -> None:
    """Check a task on an untrained model and small labelled data."""
    config = cast(TaskConfig, subject.config)
    model, splits = small_model(shapes), small_splits(shapes)
    before = _mixed(model)
    with subject.must(
        "leave the model's modes, gradients, weights and hooks as they were", first=True
    ):
        first = config.build(model.shapes)(model, splits, Noise(0))
        _unchanged(model, before)
    with subject.must("return a TaskResult of finite numbers, rows, PNG, WAV and sentences"):
        _well_formed(first)
    with subject.must("find the same from the same noise"):
        second = config.build(model.shapes)(model, splits, Noise(0))
        for what in ("metrics", "tables", "figures", "sounds", "notes"):
            got, expected = getattr(second, what), getattr(first, what)
            require(got == expected, f"its {what} differ: {_differing(got, expected)}")
    with subject.must("work without a valid part"):
        bare = Splits(train=splits.train, valid=[], test=splits.test, classes=splits.classes)
        config.build(model.shapes)(model, bare, Noise(0))


def _mixed(model: SeqVAE) -> dict[str, Any]:
    """Give the model a state that a task would not come by itself, and return it."""
    model.train()
    model.decoder.eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    next(model.parameters()).requires_grad_(False)
    return _state(model)


def _state(model: SeqVAE) -> dict[str, Any]:
    return {
        "modes": [module.training for module in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "weights": [value.clone() for value in model.state_dict().values()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
    }


def _unchanged(model: SeqVAE, before: dict[str, Any]) -> None:
    for name, now in _state(model).items():
        for got, expected in zip(now, before[name], strict=True):
            tensors = isinstance(got, Tensor) and isinstance(expected, Tensor)
            same = torch.equal(got, expected) if tensors else got is expected or got == expected
            require(same, f"its {name} changed")


def _well_formed(result: TaskResult) -> None:
    require(isinstance(result, TaskResult), f"got {type(result).__name__}, expected a TaskResult")
    for name, value in result.metrics.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        require(isinstance(name, str), f"got {name!r} as a metric's name")
        require(number and math.isfinite(value), f"got {value!r} as metric '{name}'")
    for title, rows in result.tables.items():
        for row in rows:
            cells = isinstance(row, dict) and all(
                cell is None or isinstance(cell, (str, int, float)) for cell in row.values()
            )
            require(cells, f"got {row!r} in table '{title}', expected columns of text or numbers")
    for title, content in result.figures.items():
        require(content[:8] == b"\x89PNG\r\n\x1a\n", f"figure '{title}' is no PNG")
    for title, content in result.sounds.items():
        require(content[:4] == b"RIFF", f"sound '{title}' is no WAV")
    for note in result.notes:
        require(isinstance(note, str), f"got {note!r} among the notes")


def _differing(got: Any, expected: Any) -> str:
    if isinstance(got, dict):
        keys = sorted(k for k in got.keys() | expected.keys() if got.get(k) != expected.get(k))
        return ", ".join(f"'{key}'" for key in keys[:3])
    return f"{got!r}, then {expected!r}"


# Data sets ---------------------------------------------------------------------------------------


def check_dataset(subject: Subject) -> None:
    """Check that a data set is a function of its seed, and is rebuilt from what it fitted."""
    config = cast(DatasetConfig, subject.config)

    def build(seed: int, fitted: Any = None) -> Splits:
        with _offline():
            return check_splits(config.build(DataRequest(seed=seed, fitted=fitted)))

    with subject.must("build splits of items that collate, without a network", first=True):
        first = build(0)
        shapes = data_shapes(first)
        for part in PARTS:
            for batch in iterate(getattr(first, part), part=part):
                frame = tuple(batch.x.shape[2:])
                require(frame == shapes.frame, f"got frames {frame} and {shapes.frame}")
        collate([getattr(first, part)[0] for part in PARTS if len(getattr(first, part))])
        _classes(first, shapes)
    with subject.must("give the same items for the same seed"):
        _same_items(build(0), first)
    with subject.must("build for other seeds"):
        build(1)
        build(2**32 - 1)
    with subject.must("give the same items from what it fitted, written as JSON and read back"):
        fitted = json.loads(json.dumps(dict(first.fitted)))
        _same_items(build(0, fitted), first)


def _classes(splits: Splits, shapes: Shapes) -> None:
    for name, classes in splits.classes.items():
        require(name in shapes.labels, f"got classes of '{name}', which is no label")
        require(all(isinstance(text, str) for text in classes), f"got {classes!r} for '{name}'")
        for part in PARTS:
            for batch in iterate(getattr(splits, part), part=part):
                value = batch.labels[name]
                largest = int(value.max()) if value.numel() else -1
                require(largest < len(classes), f"got '{name}' = {largest} of {len(classes)}")


def _same_items(got: Splits, expected: Splits) -> None:
    require(got.classes == expected.classes, "its classes differ")
    for part in PARTS:
        mine, theirs = getattr(got, part), getattr(expected, part)
        require(len(mine) == len(theirs), f"got {len(mine)} {part} items after {len(theirs)}")
        for one, other in zip(iterate(mine, part=part), iterate(theirs, part=part), strict=True):
            require(one.mask.equal(other.mask), f"lengths of {part} items differ")
            names = {f"x of {part} items": (one.x, other.x)}
            for name, value in other.labels.items():
                names[f"'{name}' of {part} items"] = (one.labels[name], value)
            pairs = {name: [torch.nan_to_num(v) for v in pair] for name, pair in names.items()}
            identical(
                {name: pair[0] for name, pair in pairs.items()},
                {name: pair[1] for name, pair in pairs.items()},
            )


@contextmanager
def _offline() -> Iterator[None]:
    """Refuse connections within the block."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError("no network within check_component")

    with (
        patch.object(socket.socket, "connect", refuse),
        patch.object(socket.socket, "connect_ex", refuse),
        patch.object(socket, "getaddrinfo", refuse),
    ):
        yield
