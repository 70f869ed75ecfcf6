"""An upper reference: local latents from which an adversary with labels has taken the identity."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqvae_core.functional import masked_mean
from seqvae_core.model import seeded
from seqvae_core.records import Noise
from seqvae_tasks.ragged import Ragged
from seqvae_tasks.representations import Array, Encoded, missing, seed_of, time_mean

__all__ = ["add_reference", "without"]

STEPS = 1200
TURNS = 3  # steps of the classifiers for one of the map
RATE = 4e-3
HIDDEN = 64
FLOOR = 0.3


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned round."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        return -upstream[0]


def _network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


class _Projection(nn.Module):
    """A map of frames to as many numbers, what rebuilds them, and who tells the identity."""

    def __init__(self, size: int, classes: int):
        super().__init__()
        self.map = _network(size, size)
        self.rebuild = _network(size, size)
        self.of_frames = _network(size, classes)
        self.of_means = _network(size, classes)

    def project(self, frames: Tensor, like: Tensor, noise: Noise) -> Tensor:  # (F, D)
        """Return mapped frames, standardised by those of `like`, with a floor of noise.

        Without the floor the map would hide the identity in what is too small for the classifiers
        to see, where a fresh probe, which scales what it reads, finds it.
        """
        seen = self.map(like)
        value = (self.map(frames) - seen.mean(0)) / (seen.std(0, correction=0) + 1e-4)
        floored: Tensor = value + FLOOR * noise.normal(value)
        return floored

    def loss(self, frames: Tensor, mask: Tensor, label: Tensor, noise: Noise) -> Tensor:
        """Return squared error plus both cross-entropies, which the map makes worse."""
        flat = frames[mask]
        projected = self.project(flat, flat, noise)
        given: Tensor = _Reversed.apply(projected)  # type: ignore[no-untyped-call]
        means = masked_mean(torch.zeros_like(frames).masked_scatter(mask[..., None], given), mask)
        single = label[:, None].expand_as(mask)[mask]
        error = (self.rebuild(projected) - flat).square().mean()
        told = F.cross_entropy(self.of_frames(given), single)
        total: Tensor = error + told + F.cross_entropy(self.of_means(means), label)
        return total


def without(name: str, identity: str) -> str:
    """Return what a latent is called without the identity."""
    return f"{name} adversarially without {identity}"


def add_reference(encoded: Encoded, identity: str, noise: Noise) -> list[str]:
    """Add each local latent without the identity, as far as an adversary with labels takes it.

    A network with one hidden layer maps each frame of s to as many numbers. It learns on the
    train part to let another rebuild s, by squared error, while its gradient from two classifiers
    of the identity, one of single frames and one of their mean over time, is reversed. Being
    supervised it is no rival of what is trained without labels, but an upper reference: what a
    plain adversary reaches that knows the label, though no bound on what can be reached.

    Args:
        encoded: gets "pooled s adversarially without <identity>" and the same per frame.
        identity: a global label of classes.
        noise: of the weights, the batches and the floor.

    Returns:
        What a reader must know.

    References:
        Domain-Adversarial Training of Neural Networks (Ganin et al., 2016), section 4
        | https://arxiv.org/abs/1505.07818
    """
    label = encoded.labels.get(identity)
    if label is None or np.issubdtype(label.dtype, np.floating):
        return [f"no adversarial reference: the data have no global class '{identity}'"]
    fit = np.flatnonzero(~missing(label) & ~encoded.held_out)
    if len(np.unique(label[fit])) < 2:
        return [f"no adversarial reference: at least two values of '{identity}' must be fitted"]
    kept = []
    for name in encoded.of("local"):
        stream = noise.of(name)
        ragged = Ragged.of(encoded.frames[f"{name} per frame"], encoded.row, fit)
        projection = _fitted(ragged, label, fit, stream)
        fitted = torch.from_numpy(np.isin(encoded.row, fit))
        with torch.no_grad():
            projected = projection.project(ragged.values, ragged.values[fitted], stream.of("whole"))
            rebuilt = projection.rebuild(projected)
        share = _share(ragged.values, rebuilt, torch.from_numpy(encoded.held_out[encoded.row]))
        kept.append(f"{share:.0%} of the variance of {name}")
        reference = without(name, identity)
        frames: Array = projected.double().numpy()
        encoded.frames[f"{reference} per frame"] = frames
        encoded.vectors[f"pooled {reference}"] = time_mean(frames, encoded.row)
    return [
        f"adversarially without {identity}: an upper reference that is supervised. A network with "
        "one hidden layer maps each frame, trained with the train part's labels by a reversed "
        f"gradient; on the test part {', '.join(kept)} can be rebuilt from it"
    ]


def _fitted(ragged: Ragged, label: Array, fit: Array, noise: Noise) -> _Projection:
    classes, number = np.unique(label[fit], return_inverse=True)
    of_row = torch.zeros(len(label), dtype=torch.long)
    of_row[fit] = torch.from_numpy(number.reshape(-1))
    with seeded(seed_of(noise, "weights"), "adversary"):
        projection = _Projection(ragged.values.shape[1], len(classes))
    _train(projection, ragged, of_row, torch.from_numpy(fit), noise)
    return projection


@torch.enable_grad()
def _train(
    projection: _Projection, ragged: Ragged, label: Tensor, fit: Tensor, noise: Noise
) -> None:
    mapping = [*projection.map.parameters(), *projection.rebuild.parameters()]
    # Little momentum and a rate that falls to zero: else the two sides circle one another.
    optimizer = torch.optim.Adam(projection.parameters(), lr=RATE, betas=(0.5, 0.9))
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1.0 - step / STEPS)
        rows, _, frames, mask = ragged.draw(fit, noise)
        optimizer.zero_grad()
        loss = projection.loss(frames, mask, label[rows], noise.of("floor"))
        loss.backward()  # type: ignore[no-untyped-call]
        if step % TURNS:
            for parameter in mapping:
                parameter.grad = None
        optimizer.step()


def _share(values: Tensor, rebuilt: Tensor, held_out: Tensor) -> float:
    """Return which share of the held-out frames' variance is rebuilt, in [0, 1]."""
    error = (values - rebuilt)[held_out].square().mean(0).sum()
    spread = values[held_out].var(0, correction=0).sum()
    return max(0.0, 1.0 - float(error / spread)) if spread > 0.0 else 0.0
