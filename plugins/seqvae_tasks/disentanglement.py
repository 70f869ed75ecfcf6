"""The mutual information gap and modularity of a latent over all of the data's factors."""

import math

import numpy as np

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config_disentanglement import MIG, Modularity
from seqvae_tasks.factor_codes import Points, points
from seqvae_tasks.factor_scores import (
    binned,
    entropies,
    gaps,
    information,
    mig,
    modularities,
    modularity,
)
from seqvae_tasks.representations import Array

__all__ = ["mig_task", "modularity_task"]

NONE = "not applicable: the data have neither factors nor global labels that are classes"


def mig_task(config: MIG, latent: str, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Score each factor by how far the best dimension leads the next, as a share of its entropy.

    Returns:
        "mig" in [0, 1], the mean of "mig/<factor>" over the factors that vary, and "floor", the
        same for codes that are dealt to other points; one row a factor.

    Raises:
        DataError: for a factor that the data do not have.
    """
    noise = noise.of("mig")
    found = points(config, latent, model, splits, noise.of("points"))
    if not found.factors:
        return TaskResult(notes=[NONE])
    codes = binned(found.codes, config.bins)
    values = found.values
    mi, entropy = information(codes, values), entropies(values)
    gap = gaps(mi, entropy)
    metrics = {"mig": mig(mi, entropy), "floor": mig(_dealt(codes, values, noise), entropy)}
    metrics |= {f"mig/{name}": float(one) for name, one in zip(found.factors, gap, strict=True)}
    table = []
    for k, name in enumerate(found.factors):
        first, second = [*np.argsort(-mi[:, k], kind="stable"), None][:2]
        table.append({
            "factor": name, "gap": _rounded(gap[k]),
            "first": f"{latent}[{first}]", "m_1": _rounded(mi[first, k]),
            "second": None if second is None else f"{latent}[{second}]",
            "m_2": None if second is None else _rounded(mi[second, k]),
            "H": _rounded(entropy[k]), "points": int((values[:, k] >= 0).sum()),
        })  # fmt: skip
    notes = _notes(config, found, entropy)
    if math.isnan(metrics["mig"]):
        notes.append("not applicable: no factor has more than one value")
    return TaskResult(metrics=_finite(metrics), tables={"gap of each factor": table}, notes=notes)


def modularity_task(
    config: Modularity, latent: str, model: SeqVAE, splits: Splits, noise: Noise
) -> TaskResult:
    """Score each dimension by whether it tells of one factor alone.

    Returns:
        "modularity" in [0, 1], the mean over dimensions, and "floor", the same for codes that are
        dealt to other points; one row a dimension.

    Raises:
        DataError: for a factor that the data do not have.
    """
    noise = noise.of("modularity")
    found = points(config, latent, model, splits, noise.of("points"))
    if not found.factors:
        return TaskResult(notes=[NONE])
    codes = binned(found.codes, config.bins)
    values = found.values
    mi, entropy = information(codes, values), entropies(values)
    notes = _notes(config, found, entropy)
    if (entropy > 0).sum() < 2:
        notes.append("not applicable: fewer than two factors have more than one value")
        return TaskResult(notes=notes)
    names = [name for name, one in zip(found.factors, entropy, strict=True) if one > 0]
    varying = mi[:, entropy > 0]
    table = []
    for i, (row, one) in enumerate(zip(varying, modularities(varying), strict=True)):
        first, second = np.argsort(-row, kind="stable")[:2]
        table.append({
            "dimension": f"{latent}[{i}]", "modularity": _rounded(one),
            "first": names[first], "m_1": _rounded(row[first]),
            "second": names[second], "m_2": _rounded(row[second]),
        })  # fmt: skip
    metrics = {
        "modularity": modularity(mi, entropy),
        "floor": modularity(_dealt(codes, values, noise), entropy),
    }
    return TaskResult(metrics=metrics, tables={"modularity of each dimension": table}, notes=notes)


def _dealt(codes: Array, values: Array, noise: Noise) -> Array:
    """Return the information that remains when codes are dealt to points at random."""
    return information(codes[noise.of("floor").permutation(len(codes)).numpy()], values)


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _notes(config: MIG | Modularity, found: Points, entropy: Array) -> list[str]:
    known = (value[value >= 0] for value in found.factors.values())
    bias = max(
        (config.bins - 1) * (len(np.unique(value)) - 1) / max(2 * len(value), 1) for value in known
    )
    notes = [
        f"{found.origin}; {config.bins} bins a dimension, information in nats",
        f"information of independent variables is not 0 but, counted so, up to about {bias:.2g} "
        "nats on average; floor is the score of codes that are dealt to other points",
    ]
    constant = [name for name, one in zip(found.factors, entropy, strict=True) if one == 0]
    if constant:
        notes.append(f"left out, as they have one value: {', '.join(constant)}")
    return notes
