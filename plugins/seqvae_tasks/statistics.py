"""Numbers with 95 % intervals, and the equal error rate."""

import math
from collections.abc import Callable

import numpy as np
from attrs import frozen
from scipy import stats

from seqvae_tasks.representations import Array

__all__ = [
    "Score",
    "accuracy",
    "bootstrap",
    "equal_error_rate",
    "error_rates",
    "jackknife",
    "r_squared",
    "ratio",
]

Statistic = Callable[[Array], float]


@frozen
class Score:
    """A number and its 95 % interval, NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def metrics(self, name: str) -> dict[str, float]:
        """Return the number as `name`, the interval as `name`/low and `name`/high if any."""
        found = {name: self.value, f"{name}/low": self.low, f"{name}/high": self.high}
        return {key: float(value) for key, value in found.items() if math.isfinite(value)}

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """Return the number, times `scale`, with its interval in brackets."""
        value, low, high = (
            f"{scale * number:.{digits}f}" for number in (self.value, self.low, self.high)
        )
        return value if math.isnan(self.low) else f"{value} [{low}, {high}]"


def bootstrap(
    sums: Array,  # (R, K)
    unit: Array,  # (R,)
    statistic: Statistic,
    *,
    seed: int,
    resamples: int,
) -> Score:
    """Return a statistic of column sums, with a percentile interval over resampled units.

    Equal seeds and units mean equal resamples, so that numbers of one table are paired. The
    interval is widened to hold the number itself if it does not; below two units there is none.

    Args:
        sums: what is summed, one row an observation.
        unit: which observations are drawn together, numbered at will.
        statistic: of the K sums.
        seed: of the resampling.
        resamples: how many.
    """
    _, index = np.unique(unit, return_inverse=True)
    table = np.zeros((index.max() + 1, sums.shape[1]))
    np.add.at(table, index.reshape(-1), sums)
    value = statistic(table.sum(0))
    if len(table) < 2:
        return Score(value)
    generator = np.random.default_rng(seed)
    draws = generator.integers
    drawn = [statistic(table[draws(len(table), size=len(table))].sum(0)) for _ in range(resamples)]
    drawn = [number for number in drawn if math.isfinite(number)] or [value]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Score(value, min(float(low), value), max(float(high), value))


def ratio(sums: Array) -> float:
    """Return the first sum over the second."""
    return float(sums[0] / sums[1])


def accuracy(target: Array, predicted: Array) -> tuple[Array, Statistic]:
    """Return what `bootstrap` needs for the share of right predictions."""
    return np.stack([target == predicted, np.ones(len(target))], 1), ratio


def r_squared(target: Array, predicted: Array) -> tuple[Array, Statistic]:
    """Return what `bootstrap` needs for R², 1 minus squared error over variance."""
    centred = target - target.mean()
    columns = [(target - predicted) ** 2, centred**2, centred, np.ones(len(target))]
    return np.stack(columns, 1), _r_squared


def _r_squared(sums: Array) -> float:
    spread = sums[1] - sums[2] ** 2 / sums[3]
    return float(1.0 - sums[0] / spread) if spread > 0.0 else math.nan


def equal_error_rate(
    score: Array,  # (P,)
    same: Array,  # (P,) bool
) -> float:
    """Return the rate at which false alarms equal misses, in [0, 1]; NaN if one kind is absent.

    A pair is accepted if its score is at least the threshold. Between the two operating points
    around equality both rates are interpolated linearly.
    """
    order = np.argsort(-score, kind="stable")
    return _crossing(score[order], same[order])


def error_rates(
    score: Array,  # (P,)
    same: Array,  # (P,) bool
) -> tuple[Array, Array]:
    """Return false alarms and misses at every threshold, each in [0, 1], (K,).

    Thresholds fall, from above every score down to the lowest: false alarms rise from 0 to 1 and
    misses fall from 1 to 0. A pair is accepted if its score is at least the threshold. Both kinds
    of pairs must be there.
    """
    order = np.argsort(-score, kind="stable")
    return _rates(score[order], same[order])


def _rates(score: Array, same: Array) -> tuple[Array, Array]:
    targets = int(same.sum())
    last = np.append(score[1:] != score[:-1], True)  # tied scores are accepted together
    miss = np.append(1.0, 1.0 - np.cumsum(same)[last] / targets)
    alarm = np.append(0.0, np.cumsum(~same)[last] / (len(same) - targets))
    return alarm, miss


def _crossing(score: Array, same: Array) -> float:
    if same.all() or not same.any():
        return math.nan
    alarm, miss = _rates(score, same)
    after = int(np.argmax(alarm >= miss))
    gap = miss - alarm
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(alarm[after - 1] + share * (alarm[after] - alarm[after - 1]))


def jackknife(
    score: Array,  # (P,)
    same: Array,  # (P,) bool
    pair: Array,  # (P, 2)
    identity: Array,  # (N,)
    *,
    blocks: int = 50,
) -> Score:
    """Return the equal error rate with a jackknife interval over identities.

    Each replicate leaves out all pairs of some identities: one, or where there are more than
    `blocks` the share of them that makes as many replicates. The interval is the rate plus and
    minus Student's quantile times the jackknife's standard error, within [0, 1]; there is none if
    a replicate has no pairs of one kind.

    Args:
        score: of each pair.
        same: whether the pair shares its identity.
        pair: the two sequences of each pair.
        identity: of each sequence.
        blocks: most replicates.
    """
    order = np.argsort(-score, kind="stable")
    score, same, pair = score[order], same[order], pair[order]
    value = _crossing(score, same)
    _, block = np.unique(identity, return_inverse=True)
    block = block.reshape(-1) % blocks
    count = int(block.max()) + 1
    left, right = block[pair[:, 0]], block[pair[:, 1]]
    kept = ((left != one) & (right != one) for one in range(count))
    rates = np.array([_crossing(score[rows], same[rows]) for rows in kept])
    if count < 2 or not np.isfinite(rates).all():
        return Score(value)
    error = math.sqrt((count - 1) / count * float(((rates - rates.mean()) ** 2).sum()))
    margin = float(stats.t.ppf(0.975, count - 1)) * error
    return Score(value, max(0.0, value - margin), min(1.0, value + margin))
