"""Sequences as pictures: matplotlib's objects alone, imported late, nothing process-wide."""

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import SeqVAEError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "PALETTE", "STRIP", "available", "draw", "figure", "png", "strip", "tidy"]

INK = "#333333"
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#b5a800",
    "#4b0092", "#7f7f7f", "#1b3b6f", "#ff9e80", "#66c2a5", "#a50f5b", "#f2cb5f", "#9ecae1",
    "#5b3a29", "#d9d000", "#b39ddb", "#bdbdbd",
)  # fmt: skip
STRIP = 8  # frames of a video that are drawn side by side


def available() -> bool:
    """Tell whether matplotlib is there."""
    return find_spec("matplotlib") is not None


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


def draw(
    axes: "Axes",
    cell: NDArray[Any],  # (T, *frame)
    low: float,
    high: float,
    *,
    lines: int,
) -> Any:
    """Draw one sequence; return what a colour bar is for, if anything.

    Frames (C,) become lines over time, or the columns of one image if there are more than
    `lines` channels; frames (C, H, W) become pictures, the first and the last frame and evenly
    spaced ones between them. `low` to `high` is the scale.
    """
    if cell.ndim > 2:
        axes.imshow(strip(cell, low, high), cmap="gray", vmin=0.0, vmax=1.0)
        axes.set_xticks([])
        axes.set_yticks([])
        return None
    tidy(axes)
    axes.locator_params(axis="x", integer=True)
    if cell.shape[1] > lines:
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


def strip(cell: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Return frames side by side, (H, T·W) or (H, T·W, 3), in [0, 1]."""
    chosen = np.linspace(0, len(cell) - 1, min(len(cell), STRIP)).round().astype(int)
    scaled = np.clip((cell[chosen] - low) / ((high - low) or 1.0), 0.0, 1.0)
    if scaled.shape[1] == 3:
        return np.concatenate(list(scaled.transpose(0, 2, 3, 1)), axis=1)
    return np.concatenate(list(scaled.mean(1)), axis=1)
