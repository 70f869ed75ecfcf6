"""Factors as stems, the most informative first, as PNG."""

import numpy as np

from seqvae_core.pictures import INK, PALETTE, figure, png, tidy
from seqvae_influence.sandwich import Sandwich

__all__ = ["stems"]

_NAMED = 48  # factors whose numbers fit beside one another


def stems(found: Sandwich, name: str, threshold: float) -> bytes:
    """Draw I_M of each factor as a point on a stem, with the interval up to its upper bound.

    The bar on a point is two standard errors each way; the interval ends at the lower of the
    free-mean form and leave-one-out. Lines mark the threshold, and ln M where a factor is near it.
    """
    order = found.order
    lower, error, upper, published = (
        value[order].numpy()
        for value in (
            found.mixture.value, found.mixture.stderr, found.upper.value, found.zero_mean.value
        )
    )  # fmt: skip
    rank = np.arange(1, len(order) + 1)
    size = float(np.clip(120.0 / len(order), 2.5, 5.0))
    picture = figure(float(np.clip(1.8 + 0.2 * len(order), 4.5, 11.0)), 3.4)
    axes = picture.subplots()
    tidy(axes)
    axes.vlines(rank, 0.0, lower, color="#c8c8c8", linewidth=1.0, zorder=1)
    axes.vlines(
        rank, lower, upper, color=PALETTE[5], linewidth=1.3 * size, zorder=2,
        label="up to the upper bound",
    )  # fmt: skip
    axes.plot(
        rank, published, color=PALETTE[1], linestyle="", marker="_", markersize=1.5 * size,
        zorder=3, label="closed form as published",
    )  # fmt: skip
    axes.errorbar(
        rank, lower, np.nan_to_num(2.0 * error), color=PALETTE[0], linestyle="", marker="o",
        markersize=size, elinewidth=1.0, zorder=4, label="$I_M$, with two standard errors",
    )  # fmt: skip
    axes.axhline(threshold, color="#7f7f7f", linewidth=0.9, linestyle=":", label="threshold")
    if bool(found.mixture.saturated.any()):
        axes.axhline(
            found.mixture.ceiling, color=INK, linewidth=0.9, linestyle="--",
            label=f"$\\ln {len(found.mixture.shares)}$, the ceiling of $I_M$",
        )  # fmt: skip
    if len(order) <= _NAMED:
        axes.set_xticks(rank, [str(factor) for factor in order.tolist()])
    axes.tick_params(axis="x", rotation=90 if 20 < len(order) <= _NAMED else 0)
    axes.set_ylim(bottom=0.0)
    what = "factor" if len(order) <= _NAMED else "rank of the factor"
    axes.set_xlabel(f"{what} of {name}", fontsize=9, color=INK)
    axes.set_ylabel("nats", fontsize=9, color=INK)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], fontsize=8, frameon=False, labelcolor=INK)
    return png(picture)
