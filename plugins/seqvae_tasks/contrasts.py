"""Paired contrasts of two arms over seeds, for the pages of studies."""

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Literal

from attrs import frozen

__all__ = ["Tested", "adjusted", "holm", "paired", "spread", "verdict"]


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


def adjusted(tests: Sequence[Tested | None]) -> list[float]:
    """Return p-values adjusted by Holm's rule for all tests, also those that are not there yet.

    These count as the largest p, which can only raise the others.
    """
    return holm([1.0 if test is None else test.p for test in tests])


def verdict(
    test: Tested, p: float, claimed: Literal["above 0", "below 0", "none"], *, level: float = 0.05
) -> str:
    """Return what a test says of a claim, in bold if it is more than that nothing was seen."""
    if claimed == "none":
        return "**a difference**" if p < level else "no difference seen"
    if p >= level:
        return "**undecided**"
    agreed = (test.difference > 0.0) == (claimed == "above 0")
    return "**confirmed**" if agreed else "**refuted**"


def spread(values: Sequence[float]) -> str:
    """Return the mean, with the standard deviation of two values or more: "0.12 ± 0.03".

    The mean has the digits of the deviation, which has two.
    """
    centre = mean(values)
    if len(values) == 1:
        return f"{centre:.1f}" if abs(centre) >= 1000.0 else f"{centre:.3g}"
    deviation = stdev(values)
    digits = max(0, 1 - math.floor(math.log10(deviation))) if deviation > 0.0 else 7
    if digits > 6:  # nothing to round to
        return f"{centre:.3g} ± {deviation:.2g}"
    return f"{centre:.{digits}f} ± {deviation:.{digits}f}"
