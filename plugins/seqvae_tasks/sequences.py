"""Sequences as a likelihood sees them, real or decoded: rows, moments and units."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from attrs import evolve
from torch import Tensor

from seqvae_core.errors import DataError
from seqvae_core.functional import masked_mean, zero_padding
from seqvae_core.loading import collate
from seqvae_core.model import SeqVAE
from seqvae_core.records import Batch, Noise
from seqvae_tasks.representations import Array, missing

__all__ = ["choose", "global_labels", "moments", "read", "supported", "units_of"]


def choose(count: int, most: int, seed: int) -> Array:
    """Return the numbers 0 to count - 1, or if they are too many `most` of them at random."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def read(data: Any, rows: Array, size: int = 64) -> Iterator[Batch]:
    """Yield chosen items of a data set in batches, in the order of `rows`."""
    for start in range(0, len(rows), size):
        yield collate([data[int(row)] for row in rows[start : start + size]])


def supported(model: SeqVAE, batch: Batch, noise: Noise) -> Batch:
    """Return a batch in the likelihood's support, zero in the padding, as the model sees it."""
    batch = evolve(batch.to(model.device), x=batch.x.to(model.device, model.dtype)).zeroed()
    return evolve(batch, x=model.likelihood.support(batch.x, noise)).zeroed()


def moments(
    x: Tensor,  # (B, T, *frame)
    mask: Tensor,  # (B, T) bool
) -> Array:  # (B, 2, F)
    """Return mean and standard deviation over time of each number of a frame."""
    x, mask = x.double().cpu(), mask.cpu()
    mean = masked_mean(x, mask)
    spread = masked_mean(zero_padding((x - mean[:, None]).square(), mask), mask).sqrt()
    result: Array = torch.stack([mean, spread], 1).flatten(2).numpy()
    return result


def global_labels(batches: Iterable[Batch]) -> dict[str, Array]:
    """Return the labels that every sequence has one of, (N,) each."""
    tables = [
        {name: value.cpu().numpy() for name, value in batch.labels.items() if value.ndim == 1}
        for batch in batches
    ]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: np.concatenate([table[name] for table in tables]) for name in shared}


def units_of(labels: Mapping[str, Array], name: str | None, count: int) -> Array:
    """Number the values of a global label, (count,); rows without it are units by themselves.

    Raises:
        DataError: if there is no such global label; None is none asked for.
    """
    if name is None:
        return np.arange(count)
    if name not in labels:
        known = ", ".join(sorted(labels)) or "none"
        raise DataError(f"the data have no global label '{name}'; known: {known}")
    value = np.where(missing(labels[name]), -1.0 - np.arange(count), labels[name])
    return np.unique(value, return_inverse=True)[1].reshape(-1)
