"""Mutual information between posterior samples of two latents."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from attrs import evolve
from torch import Tensor

from seqvae_core.components import Estimate, MIEstimator, TaskResult
from seqvae_core.loading import iterate
from seqvae_core.model import SeqVAE
from seqvae_core.records import Batch, Latent, Noise, Splits
from seqvae_tasks.config import MutualInformation
from seqvae_tasks.representations import Array
from seqvae_tasks.sequences import global_labels, units_of

__all__ = ["mutual_information", "permuted", "rank"]


def mutual_information(
    config: MutualInformation,
    estimator: MIEstimator,
    a: str,
    b: str,
    model: SeqVAE,
    splits: Splits,
    noise: Noise,
) -> TaskResult:
    """Estimate I(a; b) under q(a, b) from one posterior sample of each test sequence.

    Returns:
        "mi" in nats and its standard error, "stderr", if the estimator has one; what it reads
        beside, by its name ("nwj", a lower bound, for `density-ratio`); what it says of itself as
        a note. With `null`, "null" is the mean of the estimates on permuted units, and "p" the
        share of them and of the estimate itself that are no smaller than it, in (0, 1].

    Raises:
        DataError: if the data have no global label `unit`.
    """
    noise = noise.of("mutual-information")
    samples: dict[str, list[Latent]] = {a: [], b: []}
    batches: list[Batch] = []
    for batch in iterate(splits.test, part="test"):
        latents = model.output(batch, noise=noise.of("encode")).latents
        for name, values in samples.items():
            values.append(latents[name])
        batches.append(Batch(batch.x[:, :1], batch.mask[:, :1], batch.labels))
    labels = global_labels(batches)
    unit = units_of(labels, config.unit, len(splits.test))
    first, second = _join(samples[a]), _join(samples[b])
    if config.unit is not None:
        first, second = (evolve(v, unit=torch.from_numpy(unit)) for v in (first, second))
    found = estimator.estimate(first, second, noise.of("estimate"))
    repeats = [noise.of("null").of(str(i)) for i in range(config.null)]
    null = [
        estimator.estimate(first, _taken(second, permuted(unit, each.of("units"))), each).value
        for each in repeats
    ]
    return _result(config, (a, b), found, null, labels)


def permuted(
    unit: Array,  # (N,)
    noise: Noise,
) -> Tensor:  # (N,) int64
    """Return which row each row is paired with when units are permuted at random.

    The k-th row of a unit gets the k-th of another's, which begins anew where it has fewer.
    """
    units = [np.flatnonzero(unit == value) for value in np.unique(unit)]
    order = noise.permutation(len(units)).tolist()
    others = np.empty(len(unit), dtype=np.int64)
    for rows, other in zip(units, order, strict=True):
        others[rows] = np.resize(units[other], len(rows))
    return torch.from_numpy(others)


def rank(value: float, null: Sequence[float]) -> float:
    """Return the p-value of a permutation test, (1 + #{null >= value}) / (1 + #null)."""
    return (1 + sum(other >= value for other in null)) / (1 + len(null))


def _result(
    config: MutualInformation,
    names: tuple[str, str],
    found: Estimate,
    null: list[float],
    labels: dict[str, Array],
) -> TaskResult:
    title = f"I({names[0]};{names[1]})"
    metrics = {"mi": found.value, "stderr": found.stderr, **found.beside}
    side = {"lower": "a lower bound", "upper": "an upper bound", "none": "no bound"}[found.bound]
    row: dict[str, Any] = {
        "nats": round(found.value, 4),
        "standard error": round(found.stderr, 4) if math.isfinite(found.stderr) else None,
        "bound": found.bound,
        "samples": found.n,
    }
    notes = [f"{title} from posterior samples of the test part; {side} in expectation"]
    if found.note:
        notes.append(found.note)
    if null:
        metrics |= {"null": float(np.mean(null)), "p": rank(found.value, null)}
        row |= {"null, mean": round(metrics["null"], 4), "null, largest": round(max(null), 4),
                "p": round(metrics["p"], 4)}  # fmt: skip
        of = f"units of equal '{config.unit}'" if config.unit else "sequences"
        notes.append(
            f"null: {len(null)} estimates by fresh critics with the {of} of {names[1]} permuted; "
            "p is the rank of the estimate among these"
        )
    if config.unit is None and _repeats(labels.get("utterance")):
        notes.append(
            "the estimator may have split sequences of one utterance; unit = 'utterance' keeps "
            "them on one side"
        )
    return TaskResult(
        metrics={name: float(value) for name, value in metrics.items() if math.isfinite(value)},
        tables={title: [row]},
        notes=notes,
    )


def _repeats(label: Array | None) -> bool:
    return label is not None and len(np.unique(label)) < len(label)


def _taken(latent: Latent, rows: Tensor) -> Latent:
    return evolve(latent, sample=latent.sample[rows], mask=latent.mask[rows], unit=None)


def _join(parts: list[Latent]) -> Latent:
    """Return one latent of all sequences: samples alone, zero in the padding."""
    first = parts[0]
    time = max(part.mask.shape[1] for part in parts)
    samples = [part.sample.detach() for part in parts]
    if first.scope == "local":
        samples = [_pad(sample, time) for sample in samples]
    return Latent(
        name=first.name,
        scope=first.scope,
        sample=torch.cat(samples),
        mask=torch.cat([_pad(part.mask, time) for part in parts]),
    )


def _pad(value: Tensor, time: int) -> Tensor:
    longer = value.new_zeros(value.shape[0], time, *value.shape[2:])
    longer[:, : value.shape[1]] = value
    return longer
