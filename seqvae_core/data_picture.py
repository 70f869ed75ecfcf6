"""A data set at a glance: some training sequences with their labels, and how long they all are."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from seqvae_core.describe import PARTS, class_name, read
from seqvae_core.errors import DataError
from seqvae_core.files import write_atomic
from seqvae_core.noise import Noise
from seqvae_core.pictures import INK, PALETTE, STRIP, available, draw, figure, png, tidy
from seqvae_core.records import Splits

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["data_picture", "write"]

Item = Mapping[str, "Tensor"]

_WIDTH = 10.0  # inches
_LINES = 6  # channels up to which a frame is drawn as lines, not as a column of an image
_TRIES = 200  # sequences to look at for some that can be drawn
_SEGMENTS = 80  # of a local label, above which they are not written over a sequence
_LETTERS = 70  # of a segment's text that fit over a sequence, and of a title


def data_picture(splits: Splits, found: Mapping[str, Any], seed: int) -> bytes:
    """Return a PNG: some training sequences drawn by the seed, and a histogram of all lengths.

    Frames (C,) are lines over time, or the columns of an image if there are many channels; frames
    (C, H, W) are pictures. The classes of a local label stand over their frames.

    Args:
        splits: the data.
        found: what `describe` says of them.
        seed: of the choice.

    Raises:
        SeqVAEError: if matplotlib is missing, or no training sequence can be drawn.
    """
    items = _items(splits.train, seed)
    titles = [_title(item, splits) for item in items]
    rows, columns, height = _layout([item["x"].shape for item in items], titles)
    varied = len(found["lengths"]["edges"]) > 2
    whole = figure(_WIDTH, rows * height + (2.4 if varied else 0.2))
    ratios = [rows * height, 2.2] if varied else [1.0]
    parts = whole.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
    _draw_sequences(parts[0].subplots(rows, columns, squeeze=False), items, titles, splits)
    if varied:
        _draw_lengths(parts[1], found["lengths"])
    return png(whole)


def write(path: Path, splits: Splits, found: Mapping[str, Any], seed: int) -> bool:
    """Write the picture of `data_picture`; tell whether matplotlib is there to draw it."""
    if not available():
        return False
    write_atomic(path, data_picture(splits, found, seed))
    return True


def _items(data: Any, seed: int) -> list[Item]:
    items: list[Item] = []
    fault = DataError("the train part is empty")
    for index in Noise(seed).of("picture").permutation(len(data))[:_TRIES].tolist():
        try:
            items.append(read(data, index, "train"))
        except DataError as error:
            fault = error
        if items and len(items) == _room(items[0]["x"].shape):
            break
    if not items:
        raise fault
    return items


def _room(shape: Sequence[int]) -> int:
    """Return how many sequences of about this shape, (T, *frame), the picture has room for."""
    if len(shape) == 2:
        return 6
    return 20 if shape[0] == 1 else 5


def _layout(shapes: Sequence[Sequence[int]], titles: Sequence[str]) -> tuple[int, int, float]:
    """Return rows, columns, and the inches of a row."""
    if len(shapes[0]) == 2:
        columns, height = 2, 1.9
    else:
        frames = min(max(shape[0] for shape in shapes), STRIP)
        columns = 10 if frames == 1 else 1
        aspect = shapes[0][2] / (shapes[0][3] * frames)
        height = min(0.9 * _WIDTH / columns * aspect, 2.0)
        height += 0.15 + 0.15 * (1 + max(title.count("\n") for title in titles))
    columns = min(columns, len(shapes))
    return -(-len(shapes) // columns), columns, height


def _draw_sequences(
    grid: Any, items: Sequence[Item], titles: Sequence[str], splits: Splits
) -> None:
    part, vectors = grid.flat[0].figure, items[0]["x"].ndim == 2
    low, high = _scale(items)
    shown = None
    for axes in grid.flat[len(items) :]:
        axes.set_visible(False)
    for axes, item, title in zip(grid.flat, items, titles, strict=False):
        shown = draw(axes, item["x"].numpy(), low, high, lines=_LINES)
        segmented = vectors and _write_segments(axes, item, splits)
        axes.set_title(title, fontsize=8, color=INK, pad=12 if segmented else 4)
    if vectors:
        part.supxlabel("frame", fontsize=9, color=INK)
        part.supylabel("channel" if shown else "value, as trained on", fontsize=9, color=INK)
    if shown is not None:
        bar = part.colorbar(shown, ax=grid, fraction=0.03, pad=0.01)
        bar.set_label("value, as trained on", fontsize=9, color=INK)
        bar.ax.tick_params(labelsize=8, colors=INK)


def _scale(items: Sequence[Item]) -> tuple[float, float]:
    """Return the range of most values: a few far ones shall not hide the others."""
    values = np.concatenate([item["x"].numpy().ravel() for item in items])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    far = (
        (0.0, 1.0) if items[0]["x"].ndim > 2 or items[0]["x"].shape[1] <= _LINES else (0.002, 0.998)
    )
    low, high = np.quantile(values, far)
    return float(low), float(high)


def _title(item: Item, splits: Splits) -> str:
    """Return the global labels, one a line over a single image."""
    texts = [f"{name} {_text(item[name].numpy(), name, splits)}"
             for name in sorted(item.keys() - {"x"}) if not item[name].ndim]  # fmt: skip
    if item["x"].ndim > 2 and len(item["x"]) == 1:
        return "\n".join(texts)
    return fill("  ·  ".join(texts), _LETTERS if item["x"].ndim == 2 else 2 * _LETTERS)


def _text(value: Any, label: str, splits: Splits) -> str:
    if value.dtype.kind == "f":
        return "?" if np.isnan(value) else f"{value:.3g}"
    return "?" if value < 0 else class_name(splits.classes, label, int(value))


def _write_segments(axes: Any, item: Item, splits: Splits) -> bool:
    """Write the first local label's classes over the frames that have them; tell if there are."""
    for name in sorted(item.keys() - {"x"}):
        values = item[name].numpy()
        if not values.ndim or values.dtype.kind == "f":
            continue
        edges = [0, *(np.flatnonzero(np.diff(values)) + 1), len(values)]
        if len(edges) > _SEGMENTS + 1:
            continue
        over = {"transform": axes.get_xaxis_transform(), "fontsize": 6, "color": INK}
        for start, stop in pairwise(edges):
            if start:
                axes.axvline(start - 0.5, color="#bbbbbb", linewidth=0.5, alpha=0.8)
            text = _text(values[start], name, splits)
            if values[start] >= 0 and len(text) <= _LETTERS * (stop - start) / len(values):
                axes.text((start + stop - 1) / 2, 1.02, text, ha="center", **over)
        axes.text(axes.get_xlim()[0], 1.02, f"{name} ", ha="right", style="italic", **over)
        return True
    return False


def _draw_lengths(part: Any, lengths: Mapping[str, Sequence[float]]) -> None:
    axes = part.subplots()
    tidy(axes)
    for name, color in zip(PARTS, PALETTE, strict=False):
        if any(lengths[name]):
            axes.stairs(lengths[name], lengths["edges"], color=color, label=name,
                        fill=name == "train", alpha=0.5 if name == "train" else 1.0)  # fmt: skip
    axes.set_xlabel("frames of a sequence", fontsize=9, color=INK)
    axes.set_ylabel("sequences", fontsize=9, color=INK)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK)
