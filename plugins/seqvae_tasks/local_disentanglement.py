"""Local MIG and local modularity: scores within neighbourhoods of the space of factors."""

import math
from typing import Any

import numpy as np

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Factors, Noise, Splits
from seqvae_tasks.config_disentanglement import LocalDisentanglement
from seqvae_tasks.factor_codes import rendered
from seqvae_tasks.factor_scores import binned, entropies, information, mig, modularity
from seqvae_tasks.representations import Array

__all__ = ["centres", "local_disentanglement", "neighbours", "scores"]

LEAST = 10  # values of a factor that has neighbourhoods
SEED = 0  # of the fixed clusters


def local_disentanglement(
    config: LocalDisentanglement, latent: str, model: SeqVAE, splits: Splits, noise: Noise
) -> TaskResult:
    """Score a latent within clusters of images whose factors are close together.

    A cluster's images are made and encoded once for each radius; both scores read these codes.

    Returns:
        "mig/<radius>" and "modularity/<radius>" in [0, 1], each the mean over the fixed clusters,
        with its standard error over clusters as ".../stderr"; the same as "fresh/..." over
        clusters that are drawn anew.

    References:
        Local disentanglement in variational auto-encoders using Jacobian L1 regularization
        (Rhodes, Lee, 2021) | https://arxiv.org/abs/2106.02923
    """
    if splits.factors is None:
        return TaskResult(
            notes=["not applicable: it takes data whose images can be made from any factors"]
        )
    sets = {"": Noise(SEED).of("local-disentanglement")}
    if config.fresh:
        sets["fresh/"] = noise.of("local-disentanglement")
    result = TaskResult(notes=_notes(config, latent))
    for prefix, stream in sets.items():
        found = _clusters(config, latent, model, splits.factors, stream)
        _report(result, found, prefix)
    return result


def centres(factors: Factors, count: int, noise: Noise) -> Array:  # (count, F)
    """Draw the centres of clusters uniformly; the first ones of many are those of few."""
    drawn = [noise.of(name).integers(size, (count,)).numpy()
             for name, size in factors.sizes.items()]  # fmt: skip
    return np.stack(drawn, 1)


def neighbours(
    factors: Factors,
    centre: Array,  # (F,)
    radius: float,
    count: int,
    noise: Noise,
) -> Array:  # (count, F)
    """Draw values uniformly from c - r to c + r, cut off at a factor's first and last value.

    r is ⌊radius·n⌋ for an ordered factor of n values, at least 10, and else 0.
    """
    drawn = []
    for (name, size), middle in zip(factors.sizes.items(), centre.tolist(), strict=True):
        wide = name in factors.ordered and size >= LEAST
        reach = math.floor(radius * size) if wide else 0
        low, high = max(0, middle - reach), min(size - 1, middle + reach)
        drawn.append(low + noise.of(name).integers(high - low + 1, (count,)).numpy())
    return np.stack(drawn, 1)


def scores(
    codes: Array,  # (N, L)
    values: Array,  # (N, F) integers
    bins: int,
) -> tuple[float, float]:
    """Return MIG and modularity of one cluster, NaN where too few factors vary in it."""
    mi, entropy = information(binned(codes, bins), values), entropies(values)
    return mig(mi, entropy), modularity(mi, entropy)


def _clusters(
    config: LocalDisentanglement, latent: str, model: SeqVAE, factors: Factors, noise: Noise
) -> dict[float, Array]:
    """Return MIG and modularity of each cluster by radius, (clusters, 2)."""
    middles = centres(factors, config.clusters, noise.of("centre"))
    found: dict[float, Array] = {}
    for radius in config.radii:
        rows = []
        for i, middle in enumerate(middles):
            stream = noise.of("points").of(repr(float(radius))).of(str(i))
            values = neighbours(factors, middle, radius, config.points, stream)
            rows.append(scores(rendered(model, latent, factors, values), values, config.bins))
        found[radius] = np.array(rows)
    return found


def _report(result: TaskResult, found: dict[float, Array], prefix: str) -> None:
    table: list[dict[str, Any]] = []
    for radius, values in found.items():
        row: dict[str, Any] = {"radius": f"{radius:g}"}
        for name, column in zip(("mig", "modularity"), values.T, strict=True):
            column = column[np.isfinite(column)]
            error = float(column.std(ddof=1)) / math.sqrt(len(column)) if len(column) > 1 else None
            key = f"{prefix}{name}/{radius:g}"
            if len(column):
                result.metrics[key] = float(column.mean())
            if error is not None:
                result.metrics[f"{key}/stderr"] = error
            row[f"local {name}"] = round(float(column.mean()), 4) if len(column) else None
            row[f"{name}, standard error"] = None if error is None else round(error, 4)
            if len(column) < len(values):
                result.notes.append(
                    f"{key}: too few factors vary in {len(values) - len(column)} of "
                    f"{len(values)} clusters, which are left out"
                )
        table.append(row)
    result.tables["fresh clusters" if prefix else "fixed clusters"] = table


def _notes(config: LocalDisentanglement, latent: str) -> list[str]:
    which = "clusters that are the same for every seed" + (
        "; fresh: as many that are drawn for this seed" if config.fresh else ""
    )
    return [
        f"{latent} by its posterior mean, {config.bins} bins a dimension; {config.clusters} "
        f"{which}; {config.points} points in each",
        "standard errors are over clusters, of this one model; they say nothing of other seeds",
        "factors that do not vary in a cluster are left out of both scores; codes without any "
        "information of a single factor do not have modularity 0",
    ]
