"""The page of the study of CMI: paired contrasts, tables and plots, from the records alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from attrs import frozen

from seqvae_cmi.study import (
    ARMS,
    CONTRASTS,
    GAMMAS,
    GRID_CRITICS,
    GRID_GAMMAS,
    SEEDS,
    SETTINGS,
    Contrast,
    Setting,
)
from seqvae_core.files import write_atomic
from seqvae_core.study import Record

__all__ = ["Tested", "holm", "paired", "write"]

_COLUMNS = {
    "EER of z, %": ("verification/eer/z", 100.0),
    "EER of s, %": ("verification/eer/pooled s", 100.0),
    "speaker from z, %": ("probe/speaker/z{by}/linear", 100.0),
    "speaker from s, %": ("probe/speaker/pooled s{by}/linear", 100.0),
    "KL(z)": ("rates/kl/z", 1.0),
    "KL(s) a frame": ("rates/kl/s per frame", 1.0),
    "ELBO a frame": ("rates/elbo per frame", 1.0),
    "MSE": ("reconstruction/mse", 1.0),
    "I(z;s)": ("mutual-information/mi", 1.0),
}
_BASELINES = ("mean of frames", "mean and std of frames", "untrained z")


@frozen(kw_only=True)
class Tested:
    """A paired t-test over seeds.

    Attributes:
        difference: its mean.
        low: of the 95 % interval.
        high: likewise.
        p: two-sided.
        n: seeds.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int


def paired(differences: Sequence[float]) -> Tested:
    """Return the t-test of the mean of differences; at least two."""
    from scipy import stats

    n, centre = len(differences), mean(differences)
    error = stdev(differences) / math.sqrt(n)
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    p = float(2.0 * stats.t.sf(abs(centre) / error, n - 1)) if error > 0.0 else float(centre == 0.0)
    return Tested(difference=centre, low=centre - reach, high=centre + reach, p=p, n=n)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's step-down rule, in [0, 1]."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def write(records: Sequence[Record], folder: Path) -> None:
    """Write `cmi.md` and its plots."""
    head = (Path(__file__).parent / "study_head.md").read_text(encoding="utf-8")
    parts = [head]
    for setting in SETTINGS:
        runs = _Runs(setting, records)
        if runs.seeds:
            parts += [f"## {setting.name}\n", *_confirmed(runs), *_tables(runs)]
            write_atomic(folder / f"cmi-{setting.name}.png", _plot(runs))
            parts.append(f"![{setting.name}](cmi-{setting.name}.png)\n")
        if grid := _grid(setting, records):
            parts.append(grid)
    write_atomic(folder / "cmi.md", "\n".join(parts))


class _Runs:
    """One data set's confirmatory records, of the seeds that every arm has finished."""

    def __init__(self, setting: Setting, records: Sequence[Record]):
        self.setting = setting
        self.by = f" by {setting.average}" if setting.average else ""
        start = f"{setting.name}/"
        self.found = {
            (*r["key"].removeprefix(start).split("/")[:2], r["seed"]): r
            for r in records
            if r["group"] == "confirmatory" and r["key"].startswith(start)
        }
        self.arms = [("vae", 0.0), *((arm, gamma) for gamma in GAMMAS for arm in ARMS)]
        every = sorted({key[2] for key in self.found})
        self.seeds = [
            s for s in every if all((arm, f"{g:g}", s) in self.found for arm, g in self.arms)
        ]

    def value(self, arm: str, gamma: float, seed: int, figure: str) -> float:
        figures: Mapping[str, float] = self.found[arm, f"{gamma:g}", seed]["figures"]
        if figure.startswith("verification/"):
            figure += self.by
        return figures[figure.replace("{by}", self.by)]

    def at_equal_rate(self, arm: str, seed: int, rate: float, figure: str) -> float:
        """Read an arm's curve over KL(z), from γ = 0 on, at the KL(z) given."""
        points = sorted(
            (self.value(a, g, seed, "rates/kl/z"), self.value(a, g, seed, figure))
            for a, g in [("vae", 0.0), *((arm, gamma) for gamma in GAMMAS)]
        )
        rates, values = np.array(points).T
        return float(np.interp(rate, rates, values))


def _differences(runs: _Runs, contrast: Contrast, *, equal_rate: bool) -> list[float]:
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


def _confirmed(runs: _Runs) -> list[str]:
    if len(runs.seeds) < len(SEEDS):
        return [f"{len(runs.seeds)} of {len(SEEDS)} seeds so far: nothing is tested.\n"]
    lines = [
        f"Contrasts over {len(runs.seeds)} seeds, averaged over γ = 0.5 and 0.9; p is adjusted by "
        "Holm within each column of three.\n",
        "| contrast | claimed | at equal γ | at equal KL(z) |",
        "|---|---|---|---|",
    ]
    columns = []
    for equal_rate in (False, True):
        tests = [paired(_differences(runs, c, equal_rate=equal_rate)) for c in CONTRASTS]
        adjusted = holm([test.p for test in tests])
        columns.append([_verdict(c, t, p) for c, t, p in
                        zip(CONTRASTS, tests, adjusted, strict=True)])  # fmt: skip
    for contrast, *cells in zip(CONTRASTS, *columns, strict=True):
        title = f"{contrast.title}: {' - '.join(contrast.arms)}"
        lines.append(f"| {title} | {contrast.claimed} | {' | '.join(cells)} |")
    return [*lines, ""]


def _verdict(contrast: Contrast, test: Tested, p: float) -> str:
    scale, unit = (100.0, " points") if contrast.title.startswith("EER") else (1.0, " nats")
    shown = [f"{scale * v:+.3g}" for v in (test.difference, test.low, test.high)]
    claimed = (test.difference > 0.0) == (contrast.claimed == "above 0")
    verdict = "undecided" if p >= 0.05 else "confirmed" if claimed else "refuted"
    return f"{shown[0]}{unit} [{shown[1]}, {shown[2]}], p = {p:.2g}: **{verdict}**"


def _tables(runs: _Runs) -> list[str]:
    lines = [f"Mean ± standard deviation over seeds {runs.seeds[0]} to {runs.seeds[-1]}.\n"]
    lines += ["| γ | arm | " + " | ".join(_COLUMNS) + " |", "|---" * (2 + len(_COLUMNS)) + "|"]
    for arm, gamma in runs.arms:
        cells = [
            _spread([scale * runs.value(arm, gamma, s, figure) for s in runs.seeds])
            for figure, scale in _COLUMNS.values()
        ]
        lines.append(f"| {gamma:g} | {arm} | " + " | ".join(cells) + " |")
    for name in _BASELINES:
        eer, probe = f"verification/eer/{name}", f"probe/speaker/{name}{{by}}/linear"
        first = [100.0 * runs.value("vae", 0.0, s, eer) for s in runs.seeds]
        second = [100.0 * runs.value("vae", 0.0, s, probe) for s in runs.seeds]
        row = [_spread(first), "", _spread(second), *[""] * (len(_COLUMNS) - 3)]
        lines.append(f"| | {name} | " + " | ".join(row) + " |")
    cpu = [r["cpu_seconds"] for r in runs.found.values()]
    hardware = next(iter(runs.found.values()))["hardware"]
    lines.append(f"\nProcessor seconds a cell: {_spread(cpu)}; {_text(hardware)}.\n")
    return lines


def _grid(setting: Setting, records: Sequence[Record]) -> str:
    found = {r["key"]: r["figures"] for r in records if r["group"] == "grid"}
    by = f" by {setting.average}" if setting.average else ""
    shown: dict[str, Callable[[Mapping[str, float]], str]] = {
        "critic's accuracy": lambda f: f"{f['last/cmi/critic/accuracy']:.3f}",
        "mean logit": lambda f: f"{f['last/cmi/mean_logit']:.2f}",
        "KL(z) - mean logit": lambda f: f"{f['last/cmi/rate_gap']:.2f}",
        "KL(z)": lambda f: f"{f['rates/kl/z']:.2f}",
        "I(z;s)": lambda f: f"{f['mutual-information/mi']:.2f}",
        "EER of z, %": lambda f: f"{100.0 * f[f'verification/eer/z{by}']:.1f}",
        "EER of s, %": lambda f: f"{100.0 * f[f'verification/eer/pooled s{by}']:.1f}",
    }
    lines = []
    for gamma in GRID_GAMMAS:
        for rate, steps in GRID_CRITICS:
            key = f"{setting.name}/grid/{gamma:g}/lr-{rate:g}-steps-{steps}"
            if key in found:
                cells = " | ".join(show(found[key]) for show in shown.values())
                lines.append(f"| {gamma:g} | {rate:g} | {steps} | {cells} |")
    if not lines:
        return ""
    head = "| γ | learning rate | steps | " + " | ".join(shown) + " |"
    title = f"### {setting.name}: CMI over γ and the critic's training, one seed, descriptive\n"
    return "\n".join([title, head, "|---" * (3 + len(shown)) + "|", *lines, ""])


def _plot(runs: _Runs) -> bytes:
    from seqvae_core.pictures import PALETTE, figure, png, tidy

    picture = figure(9.0, 3.4)
    panels = picture.subplots(1, 3)
    shown = [("EER of z, %", "verification/eer/z", 100.0),
             ("EER of s, %", "verification/eer/pooled s", 100.0),
             ("I(z;s), nats", "mutual-information/mi", 1.0)]  # fmt: skip
    for axes, (title, name, scale) in zip(panels, shown, strict=True):
        for color, arm in zip(PALETTE, ARMS, strict=False):
            points = [("vae", 0.0), *((arm, gamma) for gamma in GAMMAS)]
            rates, values = (
                [[factor * runs.value(a, g, s, f) for s in runs.seeds] for a, g in points]
                for f, factor in (("rates/kl/z", 1.0), (name, scale))
            )
            axes.plot(np.mean(rates, 1), np.mean(values, 1), "o-", color=color, label=arm)
            if len(runs.seeds) > 1:
                axes.errorbar(np.mean(rates, 1), np.mean(values, 1), np.std(values, 1, ddof=1),
                              fmt="none", color=color, alpha=0.5)  # fmt: skip
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("KL(z), nats; γ = 0, 0.5, 0.9", fontsize=9)
        tidy(axes)
    panels[0].legend(fontsize=8, frameon=False)
    return png(picture)


def _spread(values: Sequence[float]) -> str:
    centre = f"{mean(values):.3g}"
    return f"{centre} ± {stdev(values):.2g}" if len(values) > 1 else centre


def _text(hardware: object) -> str:
    if isinstance(hardware, Mapping):
        return ", ".join(f"{key} {value}" for key, value in hardware.items())
    return str(hardware)
