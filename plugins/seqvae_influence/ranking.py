"""Which factors stand out, and how far the columns of their table agree on the order."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from seqvae_tasks.representations import Array

__all__ = ["largest_gap", "rank_correlations"]


def largest_gap(
    value: Array,  # (H,)
) -> tuple[int, float]:
    """Return how many values lie above the largest gap between neighbours, and the gap.

    Below the smallest stands 0, which is what an unused factor has: where all values are large
    and alike, none is cut off. Some gap is always the largest; its size says what it is worth.

    Example:
        >>> largest_gap(np.array([0.1, 2.0, 2.3]))
        (2, 1.9)
        >>> largest_gap(np.array([2.0, 2.3]))
        (2, 2.0)
    """
    falling = np.append(np.sort(value)[::-1], 0.0)
    gaps = falling[:-1] - falling[1:]
    widest = int(gaps.argmax())
    gap = float(gaps[widest])
    return (widest + 1 if gap > 0.0 else 0), gap


def rank_correlations(
    columns: Mapping[str, Array],  # (H,) each
) -> list[dict[str, Any]]:
    """Return Spearman's ρ and Kendall's τ_b of each two columns.

    There is none for a constant column or one with gaps, nor for fewer than three factors. What
    differs by less than 1e-6 is tied: the order of unused factors would be that of rounding errors.

    Example:
        >>> column = np.array([0.0, 1.0, 2.0])
        >>> rank_correlations({"a": column, "b": -column})
        [{'of': 'a', 'and': 'b', 'Spearman': -1.0, 'Kendall': -1.0}]
    """
    rounded = {name: np.round(column, 6) for name, column in columns.items()}
    varied = {
        name: column for name, column in rounded.items()
        if len(column) > 2 and np.isfinite(column).all() and np.ptp(column) > 0
    }  # fmt: skip
    return [
        {
            "of": one,
            "and": other,
            "Spearman": round(float(stats.spearmanr(varied[one], varied[other]).statistic), 4),
            "Kendall": round(float(stats.kendalltau(varied[one], varied[other]).statistic), 4),
        }
        for one, other in combinations(varied, 2)
    ]
