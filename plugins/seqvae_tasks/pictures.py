"""Sequences of a batch in rows and columns, as PNG."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from seqvae_core.loading import collate
from seqvae_core.pictures import INK, PALETTE, STRIP, draw, figure, png, strip
from seqvae_core.records import Batch, Splits
from seqvae_tasks.representations import Array

__all__ = ["cells", "evenly", "grid", "heard", "mosaic"]

_TILE = (14, 10)  # width and height of a tile of lines; 1 is between two tiles
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


def mosaic(
    cells: Sequence[Sequence[Array]],  # (T, *frame) each
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    inches: float = 0.6,
    titles: tuple[str, str] = ("", ""),
) -> bytes:
    """Draw many sequences as small tiles without axes of their own, on one scale.

    What each tile shows is as in `grid`, which takes many times as long.

    Args:
        cells: the sequences.
        rows: titles.
        columns: titles.
        inches: the height of a tile.
        titles: of all rows, and of all columns.
    """
    everything = np.concatenate([cell.ravel() for line in cells for cell in line])
    low, high = float(everything.min()), float(everything.max())
    lines = cells[0][0].ndim == 2 and cells[0][0].shape[1] <= _LINES
    across, down = _TILE
    if not lines:
        tiles = [[_tile(cell, low, high) for cell in line] for line in cells]
        down = max(tile.shape[0] for line in tiles for tile in line)
        across = max(tile.shape[1] for line in tiles for tile in line)
    aspect = across / down if cells[0][0].ndim > 2 else 1.4
    picture = figure(1.4 + inches * aspect * len(columns), 0.6 + inches * len(rows))
    axes: Any = picture.subplots()
    if lines:
        _draw_lines(axes, cells, low, high)
    else:
        shape = "equal" if cells[0][0].ndim > 2 else "auto"
        axes.imshow(_wall(tiles, down, across), interpolation="nearest", aspect=shape)
    axes.spines[:].set_visible(False)
    axes.set_yticks([(down + 1) * i + down / 2 for i in range(len(rows))], rows)
    turned = max(map(len, columns)) > 6
    axes.set_xticks(
        [(across + 1) * j + across / 2 for j in range(len(columns))], columns,
        rotation=60 if turned else 0, ha="left" if turned else "center",
    )  # fmt: skip
    axes.tick_params(labelsize=8, colors=INK, length=0, labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")
    axes.set_ylabel(titles[0], fontsize=9, color=INK)
    axes.set_xlabel(titles[1], fontsize=9, color=INK)
    return png(picture)


def _tile(cell: Array, low: float, high: float) -> Array:  # (height, width, 3)
    if cell.ndim > 2:
        tile = strip(cell, low, high)
        return tile if tile.ndim > 2 else np.repeat(tile[..., None], 3, 2)
    from matplotlib import colormaps

    shown: Array = colormaps["magma"]((cell.T[::-1] - low) / ((high - low) or 1.0))
    return shown[..., :3]


def _wall(tiles: Sequence[Sequence[Array]], down: int, across: int) -> Array:
    wall = np.ones(((down + 1) * len(tiles) - 1, (across + 1) * len(tiles[0]) - 1, 3))
    for i, line in enumerate(tiles):
        for j, tile in enumerate(line):
            top, left = (down + 1) * i, (across + 1) * j
            wall[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return wall


def _draw_lines(axes: Any, cells: Sequence[Sequence[Array]], low: float, high: float) -> None:
    from matplotlib.collections import LineCollection

    across, down = _TILE
    longest = max(len(cell) for line in cells for cell in line)
    places = across * (np.arange(longest) + 0.5) / longest
    for channel in range(cells[0][0].shape[1]):
        paths = [
            np.stack([
                (across + 1) * j + places[: len(cell)],
                (down + 1) * i + down * (high - cell[:, channel]) / ((high - low) or 1.0),
            ], 1)
            for i, line in enumerate(cells)
            for j, cell in enumerate(line)
        ]  # fmt: skip
        axes.add_collection(LineCollection(paths, colors=PALETTE[channel], linewidths=1.0))
    axes.set_xlim(0, (across + 1) * len(cells[0]) - 1)
    axes.set_ylim((down + 1) * len(cells) - 1, 0)
    axes.set_facecolor("#f4f4f4")
    edge = {"color": "white", "linewidth": 2.0}
    axes.hlines([(down + 1) * i - 0.5 for i in range(1, len(cells))], *axes.get_xlim(), **edge)
    axes.vlines([(across + 1) * j - 0.5 for j in range(1, len(cells[0]))], *axes.get_ylim(), **edge)


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
