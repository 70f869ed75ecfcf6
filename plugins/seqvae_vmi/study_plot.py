"""The plots of the study of VMI: bounds and KL over training, and each run's accuracy."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from seqvae_core.study import Record
from seqvae_vmi.study import ARMS, JOINT, SEEDS, TEMPERATURES, key

__all__ = ["DIGIT", "Found", "keys_of", "plot", "values_of"]

DIGIT = "unsupervised-classification/digit"

Found = Mapping[str, Record]


def keys_of(arm: str, temperature: str) -> list[str]:
    """Return the keys of an arm's cells on joint MNIST, one a seed."""
    return [key("mnist", arm, temperature, seed) for seed in SEEDS]


def values_of(found: Found, keys: Sequence[str], figure: str) -> list[float]:
    """Return a figure of those cells that have it."""
    records = [found[name]["figures"] for name in keys if name in found]
    return [figures[figure] for figures in records if figure in figures]


def plot(found: Found) -> bytes:
    """Return the picture as PNG."""
    from seqvae_core.pictures import PALETTE, figure, png, tidy

    picture = figure(11.0, 3.4)
    hard, soft, kl, accuracy = picture.subplots(1, 4)
    for number, (arm, temperature) in enumerate(JOINT):
        keys = [name for name in keys_of(arm, temperature) if name in found]
        color = PALETTE[list(ARMS).index(arm)]
        style = {"color": color, "linestyle": "-" if temperature == "fixed" else "--"}
        label = f"{ARMS[arm]}, {TEMPERATURES[temperature]}"
        for axes, name in ((hard, "hard"), (soft, "soft"), (kl, "kl")):
            lines = [_curve(found[each], name) for each in keys]
            for line in lines:
                axes.plot(line.keys(), line.values(), alpha=0.25, linewidth=0.8, **style)
            if lines:
                steps = sorted(set.intersection(*(set(line) for line in lines)))
                centre = [float(np.mean([line[step] for line in lines])) for step in steps]
                axes.plot(steps, centre, label=label, linewidth=1.8, **style)
        values = values_of(found, keys, f"{DIGIT}/c/majority")
        accuracy.plot([number] * len(values), values, "o", color=color, markersize=4)
    for axes in (hard, soft, kl):
        axes.axhline(math.log(10.0), color="#999999", linewidth=0.8)
        axes.text(
            0.02, math.log(10.0), "ln 10", fontsize=8, va="bottom", color="#666666",
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
        axes.set_ylim(-0.15, 2.6)
        axes.set_xlabel("step", fontsize=9)
    hard.set_title("bound, one-hot c from the prior", fontsize=9)
    soft.set_title("bound, relaxed c from the posterior", fontsize=9)
    kl.set_title("KL of c", fontsize=9)
    hard.legend(fontsize=7, frameon=False, loc=(0.02, 0.5))  # above what grows to the right
    accuracy.set_title("accuracy by majority", fontsize=9)
    accuracy.set_xticks(
        range(len(JOINT)), [f"{ARMS[a]}, {TEMPERATURES[t]}" for a, t in JOINT], fontsize=7,
        rotation=25, ha="right",
    )  # fmt: skip
    for level in set(values_of(found, list(found), f"{DIGIT}/chance")):
        accuracy.axhline(level, color="#999999", linewidth=0.8)
    accuracy.set_ylim(0.0, 1.0)
    for axes in (hard, soft, kl, accuracy):
        tidy(axes)
    return png(picture)


def _curve(record: Record, name: str) -> dict[int, float]:
    start = f"curve/{name}/"
    points = {
        int(figure.removeprefix(start)): value
        for figure, value in record["figures"].items()
        if figure.startswith(start)
    }
    return dict(sorted(points.items()))
