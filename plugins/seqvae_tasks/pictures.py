"""Sequences and maps as PNG; matplotlib's objects alone, nothing process-wide."""

import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from seqvae_core.errors import SeqVAEError
from seqvae_core.loading import collate
from seqvae_core.records import Batch
from seqvae_tasks.representations import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "PALETTE", "available", "cells", "evenly", "figure", "grid", "png", "tidy"]

INK = "#333333"
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#b5a800",
    "#4b0092", "#7f7f7f", "#1b3b6f", "#ff9e80", "#66c2a5", "#a50f5b", "#f2cb5f", "#9ecae1",
    "#5b3a29", "#d9d000", "#b39ddb", "#bdbdbd",
)  # fmt: skip
_SPECTRUM = 16  # channels from which a frame is drawn as a column of an image, not as lines
_STRIP = 8  # frames of a video that are drawn side by side


def available() -> bool:
    """Tell whether matplotlib is there."""
    return find_spec("matplotlib") is not None


def evenly(data: Any, count: int) -> Batch:
    """Return that many sequences of a data set, evenly spaced in its order, or all it has."""
    chosen = np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int)
    return collate([data[int(index)] for index in chosen])


def cells(
    value: Tensor,  # (B, T, *frame)
    mask: Tensor,  # (B, T) bool
) -> list[Array]:
    """Return sequences for `grid`, without their padding."""
    lengths = mask.sum(1).tolist()
    return [row[:length].cpu().double().numpy() for row, length in zip(value, lengths, strict=True)]


def figure(width: float, height: float) -> "Figure":
    """Return an empty figure of that size in inches.

    Raises:
        SeqVAEError: if matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SeqVAEError(
            f"figures need matplotlib, which pip install 'seqvae[report]' brings: {error}"
        ) from None
    return Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")


def png(picture: "Figure") -> bytes:
    """Return the figure as PNG; equal figures give equal bytes."""
    stream = io.BytesIO()
    picture.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def tidy(axes: "Axes") -> None:
    """Take the box off and make the ticks small."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(labelsize=8, colors=INK, length=3)


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
            shown = _draw(axes[i, j], cell, low, high)
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
    aspect = min(frames, _STRIP) * shape[2] / shape[1]
    width = min(max(1.5, 0.7 * aspect), 5.0)
    return width, width / aspect + 0.1


def _label(row: str, shape: tuple[int, ...]) -> str:
    if len(shape) > 1:
        return row
    return f"{row}\n{'channel' if shape[0] >= _SPECTRUM else 'value'}"


def _draw(axes: "Axes", cell: Array, low: float, high: float) -> Any:
    """Draw one sequence; return what a colour bar is for, if anything."""
    if cell.ndim > 2:
        axes.imshow(_strip(cell, low, high), cmap="gray", vmin=0.0, vmax=1.0)
        axes.set_xticks([])
        axes.set_yticks([])
        return None
    tidy(axes)
    axes.locator_params(axis="x", integer=True)
    if cell.shape[1] >= _SPECTRUM:
        return axes.imshow(
            cell.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
            interpolation="nearest",
        )  # fmt: skip
    margin = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    for channel, line in enumerate(cell.T):
        marker = "o" if len(line) == 1 else None
        axes.plot(line, color=PALETTE[channel], linewidth=1.3, marker=marker, markersize=3)
    return None


def _strip(cell: Array, low: float, high: float) -> Array:
    """Return frames side by side, (H, T·W) or (H, T·W, 3), in [0, 1]."""
    chosen = np.linspace(0, len(cell) - 1, min(len(cell), _STRIP)).round().astype(int)
    scaled = np.clip((cell[chosen] - low) / ((high - low) or 1.0), 0.0, 1.0)
    if scaled.shape[1] == 3:
        return np.concatenate(list(scaled.transpose(0, 2, 3, 1)), axis=1)
    return np.concatenate(list(scaled.mean(1)), axis=1)
