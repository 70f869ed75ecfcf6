"""The page of the study of Jacobian L1: contrasts, tables and plots, from the records alone."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from seqvae_core.files import write_atomic
from seqvae_core.study import Record
from seqvae_jacobian.study import (
    ARMS,
    CONTRASTS,
    GROUPS,
    IDENTITY,
    PICTURED,
    RADII,
    SEEDS,
    STEPS,
    Arm,
    Contrast,
)
from seqvae_jacobian.study_comparisons import ELBO, MIG, Found, equal_elbo, estimators
from seqvae_tasks.contrasts import Tested, adjusted, paired, spread, verdict

__all__ = ["write"]

# Rhodes and Lee 2021, their figures: ten seeds of 300000 steps, (β-VAE, JL1), mean and deviation.
PUBLISHED = {
    "mig": {0.1: (".054 (.007)", ".125 (.011)"), 0.2: (".035 (.0065)", ".072 (.003)"),
            0.3: (".023 (.003)", ".049 (.006)"), 0.6: (".0107 (.0024)", ".0198 (.0047)"),
            1.0: (".0053 (.0032)", ".0064 (.0039)")},
    "modularity": {0.1: (".888 (.008)", ".941 (.003)"), 0.2: (".865 (.010)", ".914 (.003)"),
                   0.3: (".827 (.0115)", ".895 (.0085)"), 0.6: (".714 (.018)", ".796 (.017)"),
                   1.0: (".439 (.036)", ".454 (.036)")},
}  # fmt: skip
COLUMNS = {
    "local MIG": MIG,
    "on fresh clusters": "fresh/fresh/mig/0.1",
    "local modularity": "local-disentanglement/modularity/0.1",
    "ELBO": ELBO,
    "KL": "rates/kl/z",
    "MSE": "reconstruction/mse",
    "Σ|J|": "jacobian-columns/l1/z",
    "Hoyer": "jacobian-columns/hoyer/z",
    "overlap": "jacobian-columns/overlap/z",
}
ATTRIBUTES = {
    "MIG": "mig/mig",
    "its floor": "mig/floor",
    "DCI disentanglement": "dci/disentanglement",
    "completeness": "dci/completeness",
    "informativeness": "dci/informativeness",
    "probe of z": "probe/{of}/z/linear",
    "judge: of a": "swap-judge/swapped/identity of a",
    "judge: of b": "swap-judge/swapped/identity of b",
    "ELBO": "rates/elbo",
    "KL(z)": "rates/kl/z",
    "MSE": "reconstruction/mse",
    "Σ|J|": "jacobian-columns/l1/z",
    "Hoyer": "jacobian-columns/hoyer/z",
    "overlap": "jacobian-columns/overlap/z",
}
LEGENDS = {
    **dict.fromkeys(STEPS, "Local scores at ρ = 0.1; "),
    "timit": "MIG and DCI of single dimensions of z on speaker, sex and dialect; the judge says of "
    "which speaker a is, decoded with z of b (1 is all); ",
    "sprites": "MIG and DCI of single dimensions of z on the clips' labels; the judge says whose "
    "hair a has, decoded with z of b (1 is all); ",
}


def write(records: Sequence[Record], folder: Path) -> None:
    """Write `jacobian.md` and its plots."""
    head = (Path(__file__).parent / "study_head.md").read_text(encoding="utf-8")
    found = {(r["key"].split("/")[1], r["seed"]): r for r in records}
    parts = [head, *_contrasts(found), *estimators(found), *equal_elbo(found),
             *_radii(found)]  # fmt: skip
    for group, title in GROUPS.items():
        arms = [arm for arm in ARMS if arm.group == group and _seeds(found, arm.key)]
        if arms:
            parts += [f"## {title}\n", *_table(found, arms)]
    write_atomic(folder / "jacobian.png", _plot(found))
    parts.append("![local MIG against ρ, and against the ELBO](jacobian.png)\n")
    parts += [
        f"{_named(arm)}, seed {PICTURED}: the decoder's columns, the largest norms first\n\n"
        f"![columns of the Jacobian, {_named(arm)}](jacobian-columns-{arm.key}.png)\n"
        for arm in ARMS
        if (folder / f"jacobian-columns-{arm.key}.png").is_file()
    ]
    parts += _missing(found)
    write_atomic(folder / "jacobian.md", "\n".join(parts))


def _named(arm: Arm) -> str:
    return arm.title if arm.data in STEPS else f"{arm.title} on {arm.data}"


def _seeds(found: Found, arm: str) -> list[int]:
    return sorted(seed for key, seed in found if key == arm)


def _values(found: Found, arm: str, figure: str) -> list[float]:
    return [found[arm, seed]["figures"][figure] for seed in _seeds(found, arm)]


def _contrasts(found: Found) -> list[str]:
    """Return the tests of the contrasts whose arms have all seeds.

    Those that are missing count as the largest p in Holm's rule, which can only raise the others.
    """
    lines = ["## What is tested\n"]
    for group, contrasts in CONTRASTS.items():
        if any(_seeds(found, arm) for contrast in contrasts for arm in contrast.arms):
            lines += [f"{GROUPS[group]}: over {len(SEEDS)} seeds, p adjusted by Holm for "
                      f"{len(contrasts)} contrasts.\n", *_family(found, contrasts)]  # fmt: skip
    return lines


def _family(found: Found, contrasts: Sequence[Contrast]) -> list[str]:
    tests = [_tested(found, contrast) for contrast in contrasts]
    ps = adjusted(tests)
    lines = [
        "| contrast | claimed | mean of each | difference | p | |",
        "|---|---|---|---|---|---|",
    ]
    for contrast, test, p in zip(contrasts, tests, ps, strict=True):
        title = f"{contrast.title}: {' - '.join(contrast.arms)}"
        if test is None:
            lines.append(f"| {title} | {contrast.claimed} | | | | not all seeds are there |")
            continue
        both = ", ".join(f"{mean(_values(found, a, contrast.figure)):.3g}" for a in contrast.arms)
        shown = f"{test.difference:+.3g} [{test.low:+.3g}, {test.high:+.3g}]"
        said = verdict(test, p, contrast.claimed)
        lines.append(f"| {title} | {contrast.claimed} | {both} | {shown} | {p:.2g} | {said} |")
    return [*lines, ""]


def _tested(found: Found, contrast: Contrast) -> Tested | None:
    one, other = contrast.arms
    if not all((arm, seed) in found for arm in contrast.arms for seed in SEEDS):
        return None
    value = {
        arm: [found[arm, seed]["figures"][contrast.figure] for seed in SEEDS]
        for arm in contrast.arms
    }
    return paired([a - b for a, b in zip(value[one], value[other], strict=True)])


def _radii(found: Found) -> list[str]:
    arms = [arm for arm in ARMS if arm.group in CONTRASTS and _seeds(found, arm.key)]
    lines = ["## All radii\n"]
    for score, title in (("mig", "Local MIG"), ("modularity", "Local modularity")):
        names = [arm.title for arm in arms] + ["published β-VAE", "published JL1"]
        lines += [f"| {title}, ρ | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
        for radius in RADII:
            figure = f"local-disentanglement/{score}/{radius:g}"
            cells = [spread(_values(found, arm.key, figure)) for arm in arms]
            lines.append(
                f"| {radius:g} | " + " | ".join([*cells, *PUBLISHED[score][radius]]) + " |"
            )
        lines.append("")
    return lines


def _table(found: Found, arms: Sequence[Arm]) -> list[str]:
    columns = columns_of(arms[0].data)
    lines = [
        f"{LEGENDS[arms[0].data]}mean ± standard deviation over seeds; Σ|J|, Hoyer's measure and "
        "the overlap of the decoder's columns at posterior means.\n",
        "| arm | seeds | " + " | ".join(columns).replace("Σ|J|", r"Σ\|J\|") + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for arm in arms:
        cells = [spread(_values(found, arm.key, figure)) for figure in columns.values()]
        lines.append(f"| {arm.title} | {len(_seeds(found, arm.key))} | {' | '.join(cells)} |")
    return [*lines, ""]


def _missing(found: Found) -> list[str]:
    """Return what of the study has not been run, so that nobody takes the page for all of it."""
    lines = []
    for group, title in GROUPS.items():
        left = [
            f"{arm.title} ({count} of {len(arm.seeds)} seeds)"
            for arm in ARMS
            if arm.group == group and (count := len(arm.seeds) - len(_seeds(found, arm.key)))
        ]
        if left:
            lines.append(f"- {title}: {'; '.join(left)}")
    return ["## Not run yet\n", *lines, ""] if lines else []


def columns_of(data: str) -> dict[str, str]:
    """Return the columns of a group's table: by title, the figure's name in a record."""
    if data in STEPS:
        return COLUMNS
    return {title: figure.format(of=IDENTITY[data]) for title, figure in ATTRIBUTES.items()}


def _plot(found: Found) -> bytes:
    from seqvae_core.pictures import PALETTE, figure, png, tidy

    picture = figure(9.0, 3.6)
    left, right = picture.subplots(1, 2)
    for color, arm in zip(PALETTE, [a for a in ARMS if a.group in CONTRASTS], strict=False):
        seeds = [
            [found[arm.key, s]["figures"][f"local-disentanglement/mig/{r:g}"] for r in RADII]
            for s in _seeds(found, arm.key)
        ]
        if seeds:
            left.plot(RADII, np.mean(seeds, 0), "o-", color=color, label=arm.title)
            for line in seeds:
                left.plot(RADII, line, color=color, alpha=0.3, linewidth=0.8)
    series: dict[str, set[str]] = {}
    for arm in ARMS:
        if arm.data in STEPS:
            title = arm.title if arm.group in CONTRASTS else arm.group
            series.setdefault(title, set()).add(arm.key)
    for number, (title, keys) in enumerate(series.items()):
        points = [
            (r["figures"]["rates/elbo"], r["figures"]["local-disentanglement/mig/0.1"])
            for (key, _), r in found.items() if key in keys
        ]  # fmt: skip
        if points:
            right.plot(*np.array(points).T, "o", color=PALETTE[number % len(PALETTE)],
                       markersize=4, label=title)  # fmt: skip
    left.set_xlabel("ρ", fontsize=9)
    right.set_xlabel("ELBO, nats", fontsize=9)
    left.set_title("local MIG", fontsize=10)
    right.set_title("local MIG at ρ = 0.1, each run", fontsize=10)
    for axes in (left, right):
        axes.legend(fontsize=8, frameon=False)
        tidy(axes)
    return png(picture)
