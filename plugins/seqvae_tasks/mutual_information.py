"""Mutual information between posterior samples of two latents."""

import math

import torch
from torch import Tensor

from seqvae_core.components import MIEstimator, TaskResult
from seqvae_core.loading import iterate
from seqvae_core.model import SeqVAE
from seqvae_core.records import Latent, Noise, Splits

__all__ = ["mutual_information"]


def mutual_information(
    estimator: MIEstimator, a: str, b: str, model: SeqVAE, splits: Splits, noise: Noise
) -> TaskResult:
    """Estimate I(a; b) under q(a, b) from one posterior sample of each test sequence.

    Returns:
        "mi" in nats and its standard error, "stderr", if the estimator has one; what the
        estimator says of itself as a note.
    """
    noise = noise.of("mutual-information")
    samples: dict[str, list[Latent]] = {a: [], b: []}
    for batch in iterate(splits.test, part="test"):
        latents = model.output(batch, noise=noise.of("encode")).latents
        for name, values in samples.items():
            values.append(latents[name])
    found = estimator.estimate(_join(samples[a]), _join(samples[b]), noise.of("estimate"))
    metrics = {"mi": found.value, "stderr": found.stderr}
    side = {"lower": "a lower bound", "upper": "an upper bound", "none": "no bound"}[found.bound]
    row = {
        "nats": round(found.value, 4),
        "standard error": round(found.stderr, 4) if math.isfinite(found.stderr) else None,
        "bound": found.bound,
        "samples": found.n,
    }
    note = f"I({a};{b}) from posterior samples of the test part; {side} in expectation"
    return TaskResult(
        metrics={name: float(value) for name, value in metrics.items() if math.isfinite(value)},
        tables={f"I({a};{b})": [row]},
        notes=[note, *([found.note] if found.note else [])],
    )


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
