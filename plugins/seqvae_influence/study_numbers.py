"""Numbers of the study's page that take more than a mean over seeds."""

from collections.abc import Mapping
from statistics import mean

from seqvae_influence.study import Setting

__all__ = ["Runs", "certain", "kept", "needed"]

SHARE = 0.95
WIDE = 20.0  # points of an interval that tells little

Runs = Mapping[int, Mapping[str, float]]  # a seed's figures


def kept(setting: Setting, runs: Runs) -> list[int]:
    """Return the numbers of factors kept, falling."""
    start = f"factor-selection/zeroed/{setting.factors}/{setting.label}/mi/"
    keys = {key for figures in runs.values() for key in figures if key.startswith(start)}
    counts = {key.removeprefix(start) for key in keys}
    return sorted((int(count) for count in counts if count.isdigit()), reverse=True)


def needed(setting: Setting, runs: Runs) -> str:
    """Say, seed by seed, the fewest of the best factors that tell nearly what all do.

    A seed whose reader of all factors tells no more than chance, by its interval if it has one, has
    no such number.
    """
    start = f"factor-selection/retrained/{setting.factors}/{setting.label}/mi"
    counts = kept(setting, runs)
    found: list[int] = []
    chance = 0
    for figures in runs.values():
        known = [count for count in counts if f"{start}/{count}" in figures]
        if known and _at_chance(setting, figures, f"{start}/{known[0]}"):
            chance += 1
        elif known:
            least = SHARE * figures[f"{start}/{known[0]}"]
            found.append(min(count for count in known if figures[f"{start}/{count}"] >= least))
    seeds = [*map(str, sorted(found)), *["not above chance"] * chance]
    said = (
        f"Of those numbers kept are enough, by I_M and retrained, for {SHARE:.0%} of the accuracy "
        f"of all, seed by seed: {', '.join(seeds) or 'none'}."
    )
    if chance:
        said += (
            ' Of a seed "not above chance" the interval of the accuracy of all has chance in it, '
            "and no number is enough for what is not there."
        )
    return said


def _at_chance(setting: Setting, figures: Mapping[str, float], key: str) -> bool:
    level = figures.get(f"factor-selection/chance/{setting.factors}/{setting.label}", 0.0)
    return figures.get(f"{key}/low", figures[key]) <= level


def certain(setting: Setting, runs: Runs) -> str:
    """Say how well one seed's accuracy by all factors is known; empty where no interval is."""
    every = f"factor-selection/retrained/{setting.factors}/{setting.label}/mi"
    keys = [f"{every}/{count}" for count in kept(setting, runs)[:1]]
    widths = [
        100.0 * (figures[f"{key}/high"] - figures[f"{key}/low"])
        for key in keys for figures in runs.values()
        if {f"{key}/low", f"{key}/high"} <= figures.keys()
    ]  # fmt: skip
    if not widths:
        return ""
    wide = mean(widths)
    few = ": the test part is small, and one seed's accuracy says little" if wide > WIDE else ""
    return (
        f"The 95 % interval of one seed's accuracy by all, over test sequences, is {wide:.2g} "
        f"points wide on average{few}."
    )
