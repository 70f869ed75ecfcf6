"""Scores of codes against the factors behind them: pure functions of arrays, in nats."""

import numpy as np

from seqvae_tasks.representations import Array

__all__ = [
    "binned",
    "completeness",
    "disentanglement",
    "entropies",
    "gaps",
    "information",
    "mig",
    "modularities",
    "modularity",
]


def binned(
    codes: Array,  # (N, L)
    bins: int,
) -> Array:  # (N, L) int64
    """Return the bin of each code, 0 to bins - 1: equal widths over each column's own range.

    A bin holds its left edge, the last one both edges. A column of equal codes is in one bin.
    """
    edges = np.linspace(codes.min(0), codes.max(0), bins + 1)[1:-1]
    columns = [
        np.searchsorted(edge, code, "right") for edge, code in zip(edges.T, codes.T, strict=True)
    ]
    return np.stack(columns, 1)


def entropies(
    factors: Array,  # (N, K) integers, negative where missing
) -> Array:  # (K,)
    """Return the plug-in entropy of each factor in nats, exactly 0 where it has one value."""
    counts = (np.bincount(values[values >= 0]) for values in factors.T)
    shares = (count[count > 0] / max(count.sum(), 1) for count in counts)
    return np.array([0.0 - (share * np.log(share)).sum() for share in shares])


def information(
    codes: Array,  # (N, L) integers >= 0
    factors: Array,  # (N, K) integers, negative where missing
) -> Array:  # (L, K)
    r"""Return the plug-in mutual information of every code and factor in nats.

    \(\sum_{ij} \frac{n_{ij}}{N} \ln \frac{n_{ij} N}{n_i n_j}\) over the rows where the factor is
    known: at least 0, at most either entropy, exactly 0 where one of the two has one value. For
    independent variables of a and b values its mean is about (a - 1)(b - 1)/2N.
    """
    columns = [_information(codes[known], values[known])
               for values, known in zip(factors.T, (factors >= 0).T, strict=True)]  # fmt: skip
    return np.stack(columns, 1)


def _information(codes: Array, values: Array) -> Array:  # (L,)
    count, dims = codes.shape
    if count == 0:
        return np.zeros(dims)
    bins, sizes = int(codes.max()) + 1, int(values.max()) + 1
    cell = (np.arange(dims) * bins + codes) * sizes + values[:, None]
    joint = np.bincount(cell.ravel(), minlength=dims * bins * sizes).reshape(dims, bins, sizes)
    expected = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
    # products of counts are exact: independent counts give a ratio of 1, and its logarithm 0
    ratio = np.divide(joint * count, expected, where=joint > 0, out=np.ones(joint.shape))
    shared: Array = np.maximum((joint * np.log(ratio)).sum((1, 2)) / count, 0.0)
    return shared


# Gap and modularity ------------------------------------------------------------------------------


def gaps(
    mi: Array,  # (L, K)
    entropy: Array,  # (K,)
) -> Array:  # (K,)
    """Return (m₁ - m₂)/H of each factor, in [0, 1]; NaN where H = 0.

    m₁ and m₂ are the largest information that a code has of the factor, and the next; with a
    single code m₂ is 0.
    """
    second, first = np.sort(np.vstack([mi, np.zeros_like(entropy)]), axis=0)[-2:]
    gap: Array = np.full(len(entropy), np.nan)
    np.divide(first - second, entropy, where=entropy > 0, out=gap)
    return gap


def mig(
    mi: Array,  # (L, K)
    entropy: Array,  # (K,)
) -> float:
    """Return the mutual information gap, the mean of `gaps` over factors with H > 0.

    Returns:
        A number in [0, 1]; NaN if no factor varies.

    References:
        Isolating sources of disentanglement in VAEs (Chen et al., 2018), sec. 4
        | https://arxiv.org/abs/1802.04942
    """
    found = gaps(mi, entropy)[entropy > 0]
    return float(found.mean()) if len(found) else float("nan")


def modularities(
    mi: Array,  # (L, K), K >= 2
) -> Array:  # (L,)
    """Return 1 - (Σ_k m² - max_k m²)/((K - 1) max_k m²) of each code, in [0, 1].

    It is 1 for a code that tells of one factor alone, 0 for one that tells of all alike or of none.
    """
    most = mi.max(1, keepdims=True)
    share = np.divide(mi, most, where=most > 0, out=np.ones_like(mi))
    modular: Array = 1.0 - ((share**2).sum(1) - 1.0) / (mi.shape[1] - 1)
    return modular


def modularity(
    mi: Array,  # (L, K)
    entropy: Array,  # (K,)
) -> float:
    """Return the mean of `modularities` among the factors with H > 0.

    Returns:
        A number in [0, 1]; NaN if fewer than two factors vary.

    References:
        Learning deep disentangled embeddings with the F-statistic loss (Ridgeway, Mozer, 2018)
        | https://arxiv.org/abs/1802.05312
    """
    varying = entropy > 0
    return float(modularities(mi[:, varying]).mean()) if varying.sum() > 1 else float("nan")


# Importances -------------------------------------------------------------------------------------


def disentanglement(
    importance: Array,  # (L, K) >= 0
) -> Array:  # (L,)
    """Return 1 - H_K(P_i) of each code i, in [0, 1]: P_i its importances as shares of their sum.

    The entropy is to base K, so that K is at least 2. A code of no importance has 0.

    References:
        A framework for the quantitative evaluation of disentangled representations (Eastwood,
        Williams, 2018) | https://openreview.net/forum?id=By-7dz-AZ
    """
    total = importance.sum(1, keepdims=True)
    even = np.full(importance.shape, 1.0 / importance.shape[1])
    share = np.divide(importance, total, where=total > 0, out=even)
    logarithm = np.log(share, where=share > 0, out=np.zeros_like(share))
    entropy = -(share * logarithm).sum(1) / np.log(importance.shape[1])
    concentrated: Array = np.clip(1.0 - entropy, 0.0, 1.0)
    return concentrated


def completeness(
    importance: Array,  # (L, K) >= 0
) -> Array:  # (K,)
    """Return 1 - H_L of each factor's importances among the codes, in [0, 1]; L is at least 2.

    References:
        as `disentanglement`
    """
    return disentanglement(importance.T)
