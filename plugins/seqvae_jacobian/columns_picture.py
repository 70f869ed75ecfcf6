"""The Jacobian's columns in diverging colours, as PNG."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqvae_core.pictures import INK, draw, figure, png, tidy
from seqvae_tasks.representations import Array

__all__ = ["draw_columns"]

_LINES = 15  # channels up to which a reconstruction is drawn as lines


def draw_columns(
    items: Sequence[tuple[Array, Array]],  # (T, *frame) and (K, T, *frame) each
    titles: Sequence[str],
) -> bytes:
    """Draw K columns of each item beside its reconstruction, all on one symmetric scale.

    Frames (C,) become a map of channels over time; frames (C, H, W) become pictures, the first and
    the last side by side, and of several channels the one that changes most at a place.

    Args:
        items: reconstructions, and derivatives of them.
        titles: what each column is called.
    """
    vectors = items[0][0].ndim == 2
    cells = [
        [cell if vectors else _ends(cell) for cell in (mean, *columns)] for mean, columns in items
    ]
    low = min(float(line[0].min()) for line in cells)
    high = max(float(line[0].max()) for line in cells)
    limit = max(float(np.abs(cell).max()) for line in cells for cell in line[1:]) or 1.0
    width, height = _size(cells[0][0].shape[1:], max(len(line[0]) for line in cells))
    picture = figure(1.0 + width * len(cells[0]), 0.4 + height * len(cells))
    axes: Any = picture.subplots(len(cells), len(cells[0]), squeeze=False)
    for i, line in enumerate(cells):
        draw(axes[i, 0], line[0], low, high, lines=_LINES)
        axes[i, 0].set_ylabel(f"test item {i + 1}", fontsize=9, color=INK)
        for j, cell in enumerate(line[1:], start=1):
            shown = _signed(axes[i, j], cell, limit)
    for above, below, title in zip(axes[0], axes[-1], ["reconstruction", *titles], strict=True):
        above.set_title(title, fontsize=10, color=INK)
        if vectors:
            below.set_xlabel("frame", fontsize=9, color=INK)
    bar = picture.colorbar(shown, ax=axes, fraction=0.03, pad=0.01)
    over = ", channel by channel" if vectors else ""
    bar.set_label(f"derivative of the mean{over}", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    return png(picture)


def _signed(axes: Any, cell: Array, limit: float) -> Any:
    scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    scale["interpolation"] = "nearest"
    if cell.ndim == 2:
        tidy(axes)
        axes.tick_params(labelleft=False)
        axes.locator_params(axis="x", integer=True)
        return axes.imshow(cell.T, origin="lower", aspect="auto", **scale)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes.imshow(_strip(cell), **scale)


def _ends(cell: Array) -> Array:
    return cell[[0, -1]] if len(cell) > 1 else cell


def _strip(cell: Array) -> Array:  # (T, C, H, W) -> (H, T W)
    most = np.abs(cell).argmax(1)[:, None]
    strongest: Array = np.take_along_axis(cell, most, 1)[:, 0]
    return np.concatenate(list(strongest), axis=1)


def _size(shape: tuple[int, ...], frames: int) -> tuple[float, float]:
    if len(shape) == 1:
        return 1.7, 1.7
    aspect = frames * shape[2] / shape[1]
    width = min(max(1.2, 0.6 * aspect), 4.0)
    return width, width / aspect + 0.15
