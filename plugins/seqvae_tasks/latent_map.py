"""Maps of global latents in two dimensions, coloured by labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.pictures import INK, PALETTE, figure, png, tidy
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config import LatentMap
from seqvae_tasks.representations import Array, encode, missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["latent_map", "plane"]

_GREY = "#c8c8c8"


def latent_map(config: LatentMap, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Draw the posterior means of the test part, one map for each global latent and label.

    Latents of more than two dimensions are projected on their first two principal components,
    whose share of the variance stands on the axes.

    Raises:
        SeqVAEError: if matplotlib is missing.
    """
    encoded = encode(model, splits.test, "test")
    result = TaskResult()
    labels = sorted(encoded.labels.keys() - set(config.exclude))
    for name in (name for name, scope in encoded.scopes.items() if scope == "global"):
        points, axes = plane(encoded.vectors[name], name)
        for label in labels:
            value = encoded.labels[label]
            classes = splits.classes.get(label, ())
            picture = _Map(points, axes, f"{name} of the test part, by {label}", label)
            result.figures[f"{name} by {label}"] = picture.draw(value, classes, config.classes)
        if not labels:
            picture = _Map(points, axes, f"{name} of the test part", "")
            result.figures[name] = picture.draw(np.full(len(points), -1), (), 1)
    if not result.figures:
        result.notes.append("not applicable: the model has no global latent")
    return result


def plane(
    values: Array,  # (N, D)
    name: str,
) -> tuple[Array, tuple[str, str]]:
    """Return two coordinates of each row, (N, 2), and what the axes say."""
    if values.shape[1] == 1:
        return np.pad(values, ((0, 0), (0, 1))), (name, "")
    if values.shape[1] == 2:
        return values, (f"{name}, dimension 1", f"{name}, dimension 2")
    centred = values - values.mean(0)
    _, scale, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    largest = np.abs(directions).argmax(1)
    sign = np.sign(directions[np.arange(len(directions)), largest])  # else left to rounding
    points = np.zeros((len(values), 2))
    points[:, : len(directions)] = centred @ (directions * sign[:, None]).T
    share = 100.0 * scale**2 / max(float((scale**2).sum()), 1e-300)
    first, second = (
        f"principal component {i + 1} ({part:.0f} % of variance)"
        for i, part in enumerate(np.append(share, 0.0)[:2])
    )
    return points, (first, second)


@frozen(eq=False)
class _Map:
    points: Array
    names: tuple[str, str]
    title: str
    label: str

    def draw(self, label: Array, classes: Sequence[str], count: int) -> bytes:
        picture = figure(6.6, 4.8)
        axes = picture.subplots()
        tidy(axes)
        axes.set_title(self.title, fontsize=11, color=INK)
        axes.set_xlabel(self.names[0], fontsize=9, color=INK)
        axes.set_ylabel(self.names[1], fontsize=9, color=INK)
        if np.issubdtype(label.dtype, np.floating):
            self._numbers(axes, label)
        else:
            self._classes(axes, label, classes, count)
        return png(picture)

    def _numbers(self, axes: "Axes", label: Array) -> None:
        known = ~missing(label)
        self._dots(axes, ~known, _GREY)
        x, y = self.points.T
        shown = axes.scatter(x[known], y[known], c=label[known], cmap="viridis", s=18, lw=0)
        bar = axes.figure.colorbar(shown, ax=axes)
        bar.ax.tick_params(labelsize=8, colors=INK)
        bar.set_label(self.label, fontsize=9, color=INK)

    def _classes(self, axes: "Axes", label: Array, names: Sequence[str], count: int) -> None:
        values, sizes = np.unique(label[~missing(label)], return_counts=True)
        chosen = np.sort(values[np.argsort(-sizes, kind="stable")[:count]])
        other = ~np.isin(label, chosen)
        self._dots(axes, other, _GREY, "other" if len(chosen) < len(values) else "unlabelled")
        for colour, value in zip(PALETTE, chosen, strict=False):
            text = names[value] if value < len(names) else str(value)
            self._dots(axes, label == value, colour, text)
        if len(chosen):
            axes.legend(
                loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False,
                labelcolor=INK, title=self.label, title_fontsize=9, handletextpad=0.1,
            )  # fmt: skip

    def _dots(self, axes: "Axes", rows: Array, colour: str, text: str | None = None) -> None:
        if rows.any():
            x, y = self.points[rows].T
            axes.scatter(x, y, color=colour, s=18, lw=0, alpha=0.85, label=text)
