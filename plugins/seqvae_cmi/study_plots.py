"""The plots of the study of CMI: each arm against γ, KL(z) and the ELBO."""

from statistics import mean
from typing import TYPE_CHECKING

import numpy as np

from seqvae_cmi.study import ARMS
from seqvae_cmi.study_contrasts import Runs, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot"]

_RATES = {"γ": None, "KL(z), nats": "rates/kl/z", "ELBO, nats a frame": "rates/elbo per frame"}
_SHOWN = {
    "EER of z, %": ("verification/eer/z", 100.0),
    "EER of s, %": ("verification/eer/pooled s", 100.0),
    "I(z;s), nats": ("mutual-information/mi", 1.0),
}


def plot(runs: Runs) -> bytes:
    """Return a PNG: a row for each quantity, a column for each of what it is held against.

    The points are means over seeds, the bars standard deviations; the curves begin at the VAE.
    """
    from seqvae_core.pictures import PALETTE, figure, png, tidy

    picture = figure(9.0, 8.0)
    panels = picture.subplots(len(_SHOWN), len(_RATES), sharey="row")
    for row, (title, (shown, scale)) in zip(panels, _SHOWN.items(), strict=True):
        row[0].set_ylabel(title, fontsize=9)
        for axes, rate in zip(row, _RATES.values(), strict=True):
            for arm, color in zip(ARMS, PALETTE, strict=False):
                _draw(axes, runs, arm, rate, (shown, scale), color)
            tidy(axes)
    for axes, label in zip(panels[-1], _RATES, strict=True):
        axes.set_xlabel(label, fontsize=9)
    panels[0, 0].legend(fontsize=8, frameon=False)
    return png(picture)


def _draw(
    axes: "Axes", runs: Runs, arm: str, rate: str | None, shown: tuple[str, float], color: str
) -> None:
    name, scale = shown
    at = [gamma if rate is None else mean(runs.value(a, gamma, s, rate) for s in runs.seeds)
          for a, gamma in curve(arm)]  # fmt: skip
    values = [[scale * runs.value(a, g, s, name) for s in runs.seeds] for a, g in curve(arm)]
    spread = np.std(values, 1, ddof=1) if len(runs.seeds) > 1 else None
    axes.errorbar(at, np.mean(values, 1), spread, fmt="o-", color=color, label=arm,
                  elinewidth=0.8, markersize=4)  # fmt: skip
