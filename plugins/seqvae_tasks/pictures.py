"""Sequences of a batch in rows and columns, as PNG."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from seqvae_core.loading import collate
from seqvae_core.pictures import INK, STRIP, draw, figure, png
from seqvae_core.records import Batch, Splits
from seqvae_tasks.representations import Array

__all__ = ["cells", "evenly", "grid", "heard"]

_LINES = 15  # channels up to which a frame is drawn as lines, not as a column of an image


def evenly(data: Any, count: int) -> Batch:
    """Return that many sequences of a data set, evenly spaced in its order, or all it has."""
    chosen = np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int)
    return collate([data[int(index)] for index in chosen])


def cells(
    value: Tensor,  # (B, T, *frame)
    mask: Tensor,  # (B, T) bool
    splits: Splits,
) -> list[Array]:
    """Return sequences without their padding, in the units that the data came in."""
    lengths = mask.sum(1).tolist()
    rows = [row[:length].cpu().double().numpy() for row, length in zip(value, lengths, strict=True)]
    return rows if splits.restore is None else [splits.restore(row) for row in rows]


def heard(
    cells: Sequence[Sequence[Array]],  # (T, *frame) each
    rows: Sequence[str],
    columns: Sequence[str],
    splits: Splits,
) -> dict[str, bytes]:
    """Return what `grid` draws as WAV files by title; none for data that cannot be heard."""
    if splits.sound is None:
        return {}
    return {
        f"{row}: {column}": splits.sound(cell)
        for row, line in zip(rows, cells, strict=True)
        for column, cell in zip(columns, line, strict=True)
    }


def grid(
    cells: Sequence[Sequence[Array]],  # (T, *frame) each
    rows: Sequence[str],
    columns: Sequence[str],
) -> bytes:
    """Draw sequences in rows and columns, all on one scale.

    Frames (C,) become lines over time, or a spectrogram from 16 channels on; frames (C, H, W)
    become pictures, the first and the last frame and evenly spaced ones between them.
    """
    shape = cells[0][0].shape[1:]
    width, height = _size(shape, max(len(cell) for line in cells for cell in line))
    picture = figure(1.0 + width * len(columns), 0.6 + height * len(rows))
    axes: Any = picture.subplots(len(rows), len(columns), squeeze=False)
    everything = np.concatenate([cell.ravel() for line in cells for cell in line])
    low, high = float(everything.min()), float(everything.max())
    shown = None
    for i, line in enumerate(cells):
        for j, cell in enumerate(line):
            shown = draw(axes[i, j], cell, low, high, lines=_LINES)
            if i == 0:
                axes[i, j].set_title(columns[j], fontsize=10, color=INK)
            if i == len(rows) - 1 and len(shape) == 1:
                axes[i, j].set_xlabel("frame", fontsize=9, color=INK)
            if j == 0:
                axes[i, j].set_ylabel(_label(rows[i], shape), fontsize=9, color=INK)
            elif len(shape) == 1:
                axes[i, j].tick_params(labelleft=False)
    if shown is not None:
        bar = picture.colorbar(shown, ax=axes, fraction=0.03, pad=0.01)
        bar.set_label("value", fontsize=9, color=INK)
        bar.ax.tick_params(labelsize=8, colors=INK)
    return png(picture)


def _size(shape: tuple[int, ...], frames: int) -> tuple[float, float]:
    if len(shape) == 1:
        return 2.6, 1.7
    aspect = min(frames, STRIP) * shape[2] / shape[1]
    width = min(max(1.5, 0.7 * aspect), 5.0)
    return width, width / aspect + 0.1


def _label(row: str, shape: tuple[int, ...]) -> str:
    if len(shape) > 1:
        return row
    return f"{row}\n{'channel' if shape[0] > _LINES else 'value'}"
