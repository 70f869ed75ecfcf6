"""How well sequences are reconstructed: nats, squared error and a picture."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqvae_core.components import TaskResult
from seqvae_core.functional import masked_sum, zero_padding
from seqvae_core.loading import iterate
from seqvae_core.model import SeqVAE
from seqvae_core.pictures import available
from seqvae_core.records import Batch, Noise, Output, Splits
from seqvae_tasks.config import Reconstruction
from seqvae_tasks.pictures import cells, evenly, grid, heard
from seqvae_tasks.representations import Array, seed_of
from seqvae_tasks.statistics import Score, bootstrap, ratio

__all__ = ["reconstruction"]


def reconstruction(
    config: Reconstruction, model: SeqVAE, splits: Splits, noise: Noise
) -> TaskResult:
    """Score reconstructions of the test part, and draw some.

    Returns:
        "nats per frame" is the negative log-likelihood under one posterior sample, "nats per
        frame at the mean" that at the posterior means. "mse" is the squared error of the mean
        reconstruction from posterior means, averaged over frames and the elements of a frame,
        "mse of the train mean" that of always answering the mean frame of the train part; both
        in the likelihood's scale. Each has a 95 % bootstrap interval over sequences.
    """
    noise = noise.of("reconstruction")
    seed = seed_of(noise, "bootstrap")
    frames, sampled, at_mean, error, constant = _measure(model, splits, noise)
    rows, elements = np.arange(len(frames)), frames * np.prod(model.shapes.frame)

    def score(value: Array, over: Array) -> Score:
        sums = np.stack([value, over], 1)
        return bootstrap(sums, rows, ratio, seed=seed, resamples=config.resamples)

    scores = {
        "nats per frame": score(sampled, frames),
        "nats per frame at the mean": score(at_mean, frames),
        "mse": score(error, elements),
        "mse of the train mean": score(constant, elements),
    }
    note = (
        "nats are of one posterior sample, or at the posterior means where it says so; squared "
        "errors are of the reconstruction from posterior means, a frame's element; in brackets: "
        "95 % bootstrap interval over test sequences, the same draws in each line"
    )
    result = TaskResult(notes=[note])
    for name, found in scores.items():
        result.metrics.update(found.metrics(name))
    result.tables["reconstruction"] = [
        {"quantity": name, "test part": found.text(digits=4)} for name, found in scores.items()
    ]
    if config.pictures and not available():
        result.notes.append("no picture: matplotlib is missing; pip install 'seqvae[report]'")
    elif config.pictures:
        result.figures["reconstruction"] = grid(*_drawn(model, splits, config.pictures))
    if config.sounds and splits.sound is not None:
        content, kinds, titles = _drawn(model, splits, config.sounds)
        by_sequence = list(zip(*content, strict=True))
        result.sounds.update(heard(by_sequence, titles, kinds, splits))
    return result


@torch.no_grad()
def _measure(model: SeqVAE, splits: Splits, noise: Noise) -> Array:  # (5, N)
    """Return sums over each test sequence: frames, nll of a sample, nll at the mean, errors."""
    average = _train_mean(model, splits, noise)
    columns: list[Tensor] = []
    for batch in iterate(splits.test, part="test"):
        at_mean = model.output(batch)
        x, mask = at_mean.batch.x, at_mean.batch.mask
        values = [
            mask.sum(1),
            _nll(model.output(batch, noise=noise)),
            _nll(at_mean),
            masked_sum((x - at_mean.likelihood.mean).square(), mask),
            masked_sum((x - average).square(), mask),
        ]
        columns.append(torch.stack([value.cpu().double() for value in values]))
    result: Array = torch.cat(columns, 1).numpy()
    return result


def _nll(out: Output) -> Tensor:
    return -masked_sum(out.likelihood.log_prob(out.batch.x), out.batch.mask)


def _train_mean(model: SeqVAE, splits: Splits, noise: Noise) -> Tensor:  # (*frame)
    total, count = torch.zeros(model.shapes.frame, dtype=torch.float64), 0
    for x, mask in _supported(model, iterate(splits.train, part="train"), noise.of("train")):
        total += x.cpu().double().sum((0, 1))
        count += int(mask.sum())
    return (total / count).to(x)


def _supported(
    model: SeqVAE, batches: Iterator[Batch], noise: Noise
) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        batch = batch.zeroed().to(model.device)
        x = model.likelihood.support(batch.x, noise)
        yield zero_padding(x, batch.mask), batch.mask


@torch.no_grad()
def _drawn(
    model: SeqVAE, splits: Splits, count: int
) -> tuple[list[list[Array]], list[str], list[str]]:
    """Return original and reconstructed sequences in two rows, and the titles of both axes."""
    batch = evenly(splits.test, count)
    out: Any = model.output(batch)
    content = [cells(x, batch.mask, splits) for x in (out.batch.x, out.likelihood.mean)]
    columns = [f"test sequence {i + 1}" for i in range(len(batch))]
    return content, ["original", "reconstruction"], columns
