"""What the study of CMI tests: paired contrasts over seeds, at equal γ and at equal KL(z)."""

from collections.abc import Mapping
from statistics import mean

import numpy as np

from seqvae_cmi.study import CONTRASTS, GAMMAS, POINTS, SEEDS, Contrast, Setting
from seqvae_cmi.study_cells import key
from seqvae_core.study import Record
from seqvae_tasks.contrasts import Tested, adjusted, paired, verdict

__all__ = ["Runs", "contrasts"]


class Runs:
    """One data set's confirmatory records, of the seeds that every arm has finished.

    Args:
        setting: the data set.
        found: all records, by key.
    """

    def __init__(self, setting: Setting, found: Mapping[str, Record]):
        self.setting = setting
        self.by = f" by {setting.average}" if setting.average else ""
        self.found = found
        self.seeds = [
            seed for seed in SEEDS
            if all(key(setting.name, arm, gamma, seed) in found for arm, gamma in POINTS)
        ]  # fmt: skip

    def keys(self, arm: str, gamma: float) -> tuple[str, ...]:
        """Return the keys of an arm's records."""
        return tuple(key(self.setting.name, arm, gamma, seed) for seed in self.seeds)

    def value(self, arm: str, gamma: float, seed: int, figure: str) -> float:
        """Return a figure of one cell; of a verification that of averaged sequences, if any."""
        figures: Mapping[str, float] = self.found[key(self.setting.name, arm, gamma, seed)][
            "figures"
        ]
        return figures[figure + self.by if figure.startswith("verification/") else figure]

    def at_equal_rate(self, arm: str, seed: int, rate: float, figure: str) -> float:
        """Read an arm's curve over KL(z), from γ = 0 on, at the KL(z) given."""
        points = sorted(
            (self.value(a, g, seed, "rates/kl/z"), self.value(a, g, seed, figure))
            for a, g in curve(arm)
        )
        rates, values = np.array(points).T
        return float(np.interp(rate, rates, values))


def curve(arm: str) -> list[tuple[str, float]]:
    """Return the points of an arm over γ, which begin at the plain VAE."""
    return [("vae", 0.0), *((arm, gamma) for gamma in GAMMAS)]


def contrasts(runs: Runs) -> list[str]:
    """Return the table of all contrasts, once all seeds are there."""
    if len(runs.seeds) < len(SEEDS):
        return [f"{len(runs.seeds)} of {len(SEEDS)} seeds so far: nothing is tested.\n"]
    lines = [
        f"Contrasts over {len(runs.seeds)} seeds, averaged over γ = "
        f"{' and '.join(f'{gamma:g}' for gamma in GAMMAS)}; p is adjusted by Holm within each "
        "column of three.\n",
        "| contrast | claimed | at equal γ | at equal KL(z) |",
        "|---|---|---|---|",
    ]
    columns = []
    for equal_rate in (False, True):
        tests = [paired(_differences(runs, c, equal_rate=equal_rate)) for c in CONTRASTS]
        columns.append([_said(c, t, p) for c, t, p in
                        zip(CONTRASTS, tests, adjusted(tests), strict=True)])  # fmt: skip
    for contrast, *cells in zip(CONTRASTS, *columns, strict=True):
        title = f"{contrast.title}: {' - '.join(contrast.arms)}"
        lines.append(f"| {title} | {contrast.claimed} | {' | '.join(cells)} |")
    return [*lines, ""]


def _differences(runs: Runs, contrast: Contrast, *, equal_rate: bool) -> list[float]:
    one, other = contrast.arms

    def reference(gamma: float, seed: int) -> float:
        if not equal_rate:
            return runs.value(other, gamma, seed, contrast.figure)
        rate = runs.value(one, gamma, seed, "rates/kl/z")
        return runs.at_equal_rate(other, seed, rate, contrast.figure)

    return [
        mean(runs.value(one, g, s, contrast.figure) - reference(g, s) for g in GAMMAS)
        for s in runs.seeds
    ]


def _said(contrast: Contrast, test: Tested, p: float) -> str:
    scale, unit = (100.0, " points") if contrast.title.startswith("EER") else (1.0, " nats")
    shown = [f"{scale * v:+.3g}" for v in (test.difference, test.low, test.high)]
    said = verdict(test, p, contrast.claimed)
    return f"{shown[0]}{unit} [{shown[1]}, {shown[2]}], p = {p:.2g}: {said}"
