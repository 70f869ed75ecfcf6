"""Training curves as geometry for small inline pictures."""

import math
from collections.abc import Iterable

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from seqvae_report.history import Column, History
from seqvae_report.tables import number

__all__ = ["HEIGHT", "WIDTH", "Panel", "Series", "panels"]

Array = NDArray[np.float64]

WIDTH, HEIGHT = 280.0, 128.0  # of the plotting area, in the picture's own units
_POINTS = 400  # a line of more is thinned
_OBJECTIVES = (("loss", "elbo"), ("loss_per_frame", "elbo_per_frame"))
_LEGEND = {"loss": "loss", "elbo": "−ELBO"}
_TITLES = {
    "nll": "Negative log likelihood",
    "lr": "Learning rate",
    "model/grad_norm": "Gradient norm of the model",
}


@frozen
class Series:
    """One metric in a panel.

    Attributes:
        name: as the legend has it; nothing where the panel's title says it.
        raw: path of the thinned values; between two points lies the range that was thinned.
        smooth: path of their moving average.
        marks: points of the validation part.
        last: the last smoothed value, else the last validation's; as text.
    """

    name: str
    raw: str
    smooth: str
    marks: tuple[tuple[float, float], ...]
    last: str


@frozen
class Panel:
    """One picture: titled series over the same axes, ticks as (position, text)."""

    title: str
    unit: str
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    cut: bool

    @property
    def validated(self) -> bool:
        """Whether there are marks of the validation part."""
        return any(series.marks for series in self.series)


def panels(history: History) -> list[Panel]:
    """Return the panels of a history: the objective, its parts, the critics, the rest."""
    names = _names(history)
    groups = [[name for name in group if name in names] for group in _OBJECTIVES]
    groups = [group for group in groups if group]
    rest = [name for name in names if not any(name in group for group in groups)]
    groups += [[name] for name in sorted(rest, key=_rank)]
    return [_panel(group, history) for group in groups]


def _names(history: History) -> list[str]:
    names = dict.fromkeys(name.removeprefix("valid/") for name in history.columns)
    return [name for name in names if not name.endswith("/weighted")]


def _rank(name: str) -> int:
    if name == "lr" or name.endswith("grad_norm"):
        return 3
    return 0 if name == "nll" else 1 if name.startswith("kl/") else 2


def _title(group: list[str]) -> str:
    if group[0] in _OBJECTIVES[1]:
        return "The same per frame"
    if group[0] in _OBJECTIVES[0]:
        return "Objective"
    name = group[0]
    return _TITLES.get(name) or (f"KL of {name[3:]}" if name.startswith("kl/") else name)


def _unit(name: str, history: History) -> str:
    if name.endswith("_per_frame"):
        return "nats per frame"
    entering = f"{name}/weighted" in history.columns  # a term of the loss
    in_nats = entering or name in _OBJECTIVES[0] or name == "nll" or name.startswith("kl/")
    return "nats per sequence" if in_nats else ""


def _panel(group: list[str], history: History) -> Panel:
    trained = [_curve(name, history.columns.get(name)) for name in group]
    checked = [_curve(name, history.columns.get(f"valid/{name}")) for name in group]
    steps = np.concatenate([curve[0] for curve in trained + checked])
    low, high, cut = _range([curve[1] for curve in trained + checked])
    x = _Axis(0.0, max(float(steps.max()), 1.0), WIDTH)
    y = _Axis(high, low, HEIGHT)
    return Panel(
        title=_title(group),
        unit=_unit(group[0], history),
        series=tuple(
            _series(name, one, other, x, y)
            for name, one, other in zip(group, trained, checked, strict=True)
        ),
        x_ticks=tuple((x(tick), f"{tick:,.0f}") for tick in _ticks(x.low, x.high, 4)),
        y_ticks=tuple((y(tick), f"{tick:.6g}".replace("-", "−")) for tick in _ticks(low, high, 4)),
        cut=cut,
    )


@frozen
class _Axis:
    low: float
    high: float
    length: float

    def __call__(self, value: float) -> float:
        return round((value - self.low) / (self.high - self.low) * self.length, 1)


def _curve(name: str, column: Column | None) -> tuple[Array, Array]:
    if column is None:
        return np.empty(0), np.empty(0)
    return column.steps, -column.values if name.startswith("elbo") else column.values


def _series(
    name: str, trained: tuple[Array, Array], checked: tuple[Array, Array], x: _Axis, y: _Axis
) -> Series:
    steps, low, mean, high = _thin(*trained)
    smooth = mean if name == "lr" else _smooth(mean)
    thinned = len(steps) < len(trained[0])
    raw = np.stack([low, high], 1).reshape(-1) if thinned else mean
    last = smooth if len(smooth) else checked[1]
    return Series(
        name=_LEGEND.get(name.removesuffix("_per_frame"), ""),
        raw=_path(np.repeat(steps, 2) if thinned else steps, raw, x, y),
        smooth=_path(steps, smooth, x, y),
        marks=tuple((x(step), y(value)) for step, value in zip(*checked, strict=True)),
        last=number(float(last[-1])),
    )


def _thin(steps: Array, values: Array) -> tuple[Array, Array, Array, Array]:
    """Return the mean step, and the lowest, mean and highest value, of at most _POINTS bins."""
    if not len(values):
        return steps, values, values, values
    count = min(len(values), _POINTS)
    edges = np.linspace(0, len(values), count + 1).astype(np.int64)
    starts, sizes = edges[:-1], np.diff(edges)
    return (
        np.add.reduceat(steps, starts) / sizes,
        np.minimum.reduceat(values, starts),
        np.add.reduceat(values, starts) / sizes,
        np.maximum.reduceat(values, starts),
    )


def _smooth(values: Array) -> Array:
    """Return the mean of the twentieth of the values around each, of fewer at the ends."""
    reach = len(values) // 40
    centre = np.arange(len(values))
    first, end = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])
    mean: Array = (total[end] - total[first]) / (end - first)
    return mean


def _range(curves: Iterable[Array]) -> tuple[float, float, bool]:
    """Return what the y axis spans, and whether it leaves out values far from all others."""
    values = np.concatenate(list(curves))
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = (float(q) for q in np.quantile(values, [0.02, 0.98]))
    cut = inner_high > inner_low and high - low > 2.5 * (inner_high - inner_low)
    if cut:
        low, high = inner_low, inner_high
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - margin, high + margin, cut


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round numbers between two."""
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = min((size * factor for factor in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)]


def _path(steps: Array, values: Array, x: _Axis, y: _Axis) -> str:
    points = zip(steps.tolist(), values.tolist(), strict=True)
    return (
        "M" + "L".join(f"{x(step):g},{y(value):g}" for step, value in points) if len(steps) else ""
    )
