"""Misses against false alarms on normal-deviate axes, as PNG."""

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from scipy.special import ndtr, ndtri

from seqvae_core.pictures import INK, PALETTE, figure, png, tidy
from seqvae_tasks.representations import Array
from seqvae_tasks.statistics import error_rates

__all__ = ["Curve", "det"]

_TICKS = np.array([0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999])
_POINTS = 400


@frozen(eq=False)
class Curve:
    """A representation's errors over thresholds, thinned to what can be seen.

    Attributes:
        name: of the representation.
        alarm: false alarms, (K,), ascending.
        miss: misses, (K,), descending.
        equal: the equal error rate.
    """

    name: str
    alarm: Array
    miss: Array
    equal: float

    @classmethod
    def of(cls, name: str, score: Array, same: Array, equal: float) -> "Curve":
        """Return the curve of scored pairs, (P,), of both kinds."""
        alarm, miss = error_rates(score, same)
        even = ndtr(np.linspace(-4.0, 4.0, _POINTS))
        seen = np.concatenate([np.searchsorted(alarm, even), np.searchsorted(-miss, -even)])
        kept = np.unique(seen.clip(max=len(alarm) - 1))
        return cls(name, alarm[kept], miss[kept], equal)


def det(curves: Sequence[Curve]) -> bytes:
    """Draw the curves, a line each, with a dot where both errors are equal.

    A line leaves the frame where one of its errors is 0 or 1, and so is not there at all for
    a representation that makes no error. Gaussian scores make straight lines.
    """
    picture = figure(7.4, 5.0)
    axes = picture.subplots()
    tidy(axes)
    limits = ndtri(_TICKS[[0, -1]])
    for colour, curve in zip(PALETTE * len(curves), curves, strict=False):
        x, y = (ndtri(rate).clip(*(1.1 * limits)) for rate in (curve.alarm, curve.miss))
        axes.plot(x, y, color=colour, linewidth=1.3, label=curve.name)
        dot = ndtri(curve.equal).clip(*limits)
        axes.plot(dot, dot, color=colour, marker="o", markersize=5, clip_on=False)
    axes.plot(limits, limits, color="#c8c8c8", linewidth=0.8, zorder=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ndtri(_TICKS), [f"{100.0 * tick:g}" for tick in _TICKS])
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    axes.set_aspect("equal")
    axes.set_xlabel("false alarms in %", fontsize=9, color=INK)
    axes.set_ylabel("misses in %", fontsize=9, color=INK)
    axes.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False, labelcolor=INK
    )
    return png(picture)
