"""The page of the study of influential factors, from the records alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from seqvae_core.files import write_atomic
from seqvae_core.study import Record
from seqvae_influence.study import CONTRASTS, SEEDS, SETTINGS, SHOWN, Contrast, Setting
from seqvae_influence.study_numbers import Runs, certain, kept, needed
from seqvae_tasks.contrasts import Tested, adjusted, paired, spread, verdict

__all__ = ["write"]

# Liu et al. 2020: the run of the authors' public notebook, test accuracy in % of k kept of 128;
# the paper's own figure has 13 factors that are not zero.
PUBLISHED = {128: 98.06, 64: 97.83, 13: 93.13, 9: 85.53, 7: 78.41, 6: 75.02, 4: 51.93, 3: 35.71,
             2: 26.47, 0: 10.09}  # fmt: skip
COUNTS = {
    "I_M above 0.5": "influential",
    "closed form above 0.5": "influential as published",
    "above the largest gap": "influential by gap",
    "active units": "active units",
    "saturated": "saturated",
    "Σ I_M, nats": "mi plus tc",
    "ln M": "ceiling",
}
CLOSED = "Σ closed form, nats"
RANKINGS = {
    "mi": "I_M",
    "closed-form": "the closed form",
    "kl": "the KL",
    "variance": "the variance",
    "active-units": "the mean's variance",
    "random": "random",
}
WAYS = {"zeroed": "the rest zeroed", "retrained": "retrained"}


def write(records: Sequence[Record], folder: Path) -> None:
    """Write `influence.md` and its plots."""
    head = (Path(__file__).parent / "study_head.md").read_text(encoding="utf-8")
    found = {
        setting.name: {
            record["seed"]: record["figures"] for record in records
            if record["group"] == setting.name
        }
        for setting in SETTINGS
    }  # fmt: skip
    parts = [head, *_contrasts(found)]
    for setting in SETTINGS:
        if runs := found[setting.name]:
            parts += [f"## {setting.title}\n", *_section(setting, runs, folder)]
            seconds = [r["cpu_seconds"] for r in records if r["group"] == setting.name]
            parts.append(f"Processor seconds of a cell: {spread(seconds)}.\n")
    write_atomic(folder / "influence.md", "\n".join(parts))


def _section(setting: Setting, runs: Runs, folder: Path) -> list[str]:
    picture = f"influence-{setting.name}.png"
    write_atomic(folder / picture, _plot(setting, runs))
    return [
        *_counts(setting, runs), *_accuracies(setting, runs), *_agreement(setting, runs),
        *_fano(setting, runs),
        f"![I_M of each factor with its bounds, of seed {min(runs)}; accuracy against the factors "
        f"kept]({picture})\n",
    ]  # fmt: skip


def _over(runs: Runs, figure: str, scale: float = 1.0) -> str:
    """Return mean and deviation of a figure over the seeds that have it; empty if none has."""
    values = [scale * figures[figure] for figures in runs.values() if figure in figures]
    return spread(values) if values else ""


# What is tested ----------------------------------------------------------------------------------


def _contrasts(found: Mapping[str, Runs]) -> list[str]:
    """Return the tests of the contrasts that all seeds are there for.

    Those that are missing count as the largest p in Holm's rule, which can only raise the others.
    """
    tests = [_tested(found[contrast.setting], contrast) for contrast in CONTRASTS]
    ps = adjusted(tests)
    lines = [
        f"## What is tested\n\nPaired over {len(SEEDS)} seeds, with 95 % intervals; p is adjusted "
        f"by Holm for {len(CONTRASTS)} contrasts.\n",
        "| data | contrast | claimed | difference | p | |",
        "|---|---|---|---|---|---|",
    ]
    for contrast, test, p in zip(CONTRASTS, tests, ps, strict=True):
        title = f"{contrast.title}: {' - '.join(contrast.rankings)}"
        start = f"| {contrast.setting} | {title} | {contrast.claimed} |"
        if test is None:
            seeds = len(found[contrast.setting])
            lines.append(f"{start} | | {seeds} of {len(SEEDS)} seeds are there |")
            continue
        shown = f"{test.difference:+.3g} [{test.low:+.3g}, {test.high:+.3g}]"
        lines.append(f"{start} {shown} | {p:.2g} | {verdict(test, p, contrast.claimed)} |")
    return [*lines, ""]


def _tested(runs: Runs, contrast: Contrast) -> Tested | None:
    one, other = (contrast.figure % ranking for ranking in contrast.rankings)
    if not all(seed in runs and {one, other} <= runs[seed].keys() for seed in SEEDS):
        return None
    return paired([contrast.scale * (runs[seed][one] - runs[seed][other]) for seed in SEEDS])


# Tables ------------------------------------------------------------------------------------------


def _counts(setting: Setting, runs: Runs) -> list[str]:
    name = setting.factors
    titles = [*COUNTS, CLOSED, "I_M of the influential", "√v of all factors"]
    lines = ["Mean ± standard deviation over seeds, where it is of several.\n",
             f"| seeds | {' | '.join(titles)} |", "|---" * (1 + len(titles)) + "|"]  # fmt: skip
    cells = [_over(runs, f"influence/{key}/{name}") for key in COUNTS.values()]
    cells.append(_over(runs, f"closed form/{name}"))
    informations = [
        value for figures in runs.values() for key, value in figures.items()
        if key.startswith(f"influence/mi/{name}/") and value > 0.5
    ]  # fmt: skip
    cells.append(_range(informations))
    extremes = [
        figures[f"sqrt v/{name}/{side}"] for figures in runs.values() for side in
        ("least", "largest") if f"sqrt v/{name}/{side}" in figures
    ]  # fmt: skip
    cells.append(_range(extremes))
    lines.append(f"| {len(runs)} | {' | '.join(cells)} |")
    if setting.name == "mnist":
        lines += [
            "| published notebook | | 15 | | | | | | 33.4 | 1.25 to 3.34 (closed form) | "
            ".97 to 1.12 |",
            "| paper's figure 1 | | 13 | | | | | | about 25 | about 1.0 to 3.05 (closed form) | |",
            "",
            "Published sums are of closed forms, upper bounds, and are to be set beside our sum of "
            "closed forms; Σ I_M, of lower bounds, differs from them in kind.",
        ]
    return [*lines, ""]


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}" if values else ""


def _accuracies(setting: Setting, runs: Runs) -> list[str]:
    start = f"factor-selection/%s/{setting.factors}/{setting.label}/%s"
    level = _over(runs, f"factor-selection/chance/{setting.factors}/{setting.label}", 100.0)
    lines = [f"Test accuracy of telling {setting.label} by the best k factors, chance {level} %. "
             f"{needed(setting, runs)} {certain(setting, runs)}\n"]  # fmt: skip
    for way, title in WAYS.items():
        columns = {shown: start % (way, by) for by, shown in RANKINGS.items()}
        published = PUBLISHED if setting.name == "mnist" and way == "zeroed" else {}
        lines += [f"Accuracy in %, {title}, of the k best by\n",
                  *_by_count(setting, runs, columns, 100.0, published)]  # fmt: skip
    errors = {shown: f"factor-selection/mse/{setting.factors}/{by}"
              for by, shown in RANKINGS.items()}  # fmt: skip
    return [*lines, "Squared error, the rest zeroed, of the k best by\n",
            *_by_count(setting, runs, errors, 1.0, {})]  # fmt: skip


def _by_count(
    setting: Setting, runs: Runs, columns: Mapping[str, str], scale: float,
    published: Mapping[int, float],
) -> list[str]:  # fmt: skip
    """Return a table of the columns that are known, by the number of factors kept."""
    counts = kept(setting, runs)
    known = {
        title: cells for title, start in columns.items()
        if any(cells := [_over(runs, f"{start}/{count}", scale) for count in counts])
    }  # fmt: skip
    if published:
        known = {"published": [f"{published[k]:.2f}" if k in published else "" for k in counts],
                 **known}  # fmt: skip
    rows = zip(counts, *known.values(), strict=True)
    return [
        f"| kept | {' | '.join(known)} |",
        "|---" * (1 + len(known)) + "|",
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        "",
    ]


def _agreement(setting: Setting, runs: Runs) -> list[str]:
    start = f"influence/rank correlation/{setting.factors}/"
    names = dict.fromkeys(
        key.removeprefix(start) for figures in runs.values() for key in figures
        if key.startswith(start)
    )  # fmt: skip
    if not names:
        return []
    best = f"influence/best factor/{setting.factors}/{setting.label}"
    return [
        "Spearman's ρ of I_M and of what else the factors can be ordered by; "
        f"{setting.label} is by a tree of each factor alone, whose best scores "
        f"{_over(runs, best, 100.0)} %.\n",
        f"| {' | '.join(names)} |",
        "|---" * len(names) + "|",
        f"| {' | '.join(_over(runs, start + name) for name in names)} |",
        "",
    ]


def _fano(setting: Setting, runs: Runs) -> list[str]:
    start = f"fano-bound/floor/{setting.factors}/{setting.label}/"
    counts = sorted(
        {int(key.removeprefix(start)) for figures in runs.values() for key in figures
         if key.startswith(start)}, reverse=True,
    )  # fmt: skip
    if not counts:
        return []
    bounds = {"I(y; z_S), nats": "fano-bound/information", "least error, %": "fano-bound/floor",
              "classifier's error, %": "fano-bound/error"}  # fmt: skip
    ratios = {"floor of the squared error rises by at most": "reconstruction-bound/factor",
              "squared error rises by": "reconstruction-bound/ratio"}  # fmt: skip
    lines = [
        "Fano's least error by samples of the best k factors, beside a network's on such samples; "
        "by what factor the least squared error rises at most, and the measured one rises, against "
        "all factors.\n",
        f"| kept | {' | '.join([*bounds, *ratios])} |",
        "|---" * (1 + len(bounds) + len(ratios)) + "|",
    ]
    for count in counts:
        cells = [
            _over(runs, f"{figure}/{setting.factors}/{setting.label}/{count}",
                  100.0 if "%" in title else 1.0)
            for title, figure in bounds.items()
        ]  # fmt: skip
        cells += [_over(runs, f"{figure}/{setting.factors}/{count}") for figure in ratios.values()]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    return [*lines, ""]


# Plots -------------------------------------------------------------------------------------------


def _plot(setting: Setting, runs: Runs) -> bytes:
    from seqvae_core.pictures import PALETTE, figure, png, tidy

    picture = figure(10.0, 3.6)
    left, right = picture.subplots(1, 2)
    first = runs[min(runs)]
    columns = {
        "I_M": "o", "free mean": "_", "leave-one-out": "x", "zero mean": "v",
        "decoded: I(z_h; x̃)": "s",
    }  # fmt: skip
    for (column, marker), color in zip(columns.items(), PALETTE, strict=False):
        known = {
            rank: first[key] for rank in range(SHOWN)
            if (key := f"sandwich/{setting.factors}/{rank}/{column}") in first
        }  # fmt: skip
        if known:
            left.plot([rank + 1 for rank in known], list(known.values()), marker, color=color,
                      markersize=4, label=column)  # fmt: skip
    left.axhline(0.5, color="#7f7f7f", linewidth=0.9, linestyle=":")
    left.set_xlabel("rank of the factor", fontsize=9)
    left.set_ylabel("nats", fontsize=9)
    counts = kept(setting, runs)[::-1]
    ways = [(way, by) for by in ("mi", "random") for way in ("zeroed", "retrained")]
    for way, by in ways:
        key = f"factor-selection/{way}/{setting.factors}/{setting.label}/{by}"
        values = [
            [figures[f"{key}/{count}"] for figures in runs.values() if f"{key}/{count}" in figures]
            for count in counts
        ]
        if all(values) and values:
            right.plot(
                range(len(counts)), [100.0 * mean(each) for each in values],
                "o-" if way == "zeroed" else "o--", markersize=3, label=f"{way} by {by}",
                color=PALETTE[0] if by == "mi" else "#7f7f7f",
            )  # fmt: skip
    if setting.name == "mnist" and set(counts) <= PUBLISHED.keys():
        right.plot(range(len(counts)), [PUBLISHED[count] for count in counts], "x",
                   color=PALETTE[1], markersize=5, label="published")  # fmt: skip
    right.set_xticks(range(len(counts)), [str(count) for count in counts])
    right.set_xlabel("factors kept", fontsize=9)
    right.set_ylabel(f"accuracy of {setting.label}, %", fontsize=9)
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, frameon=False)
        tidy(axes)
    return png(picture)
