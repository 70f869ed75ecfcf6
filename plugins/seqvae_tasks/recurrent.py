"""A recurrent probe: the class of a whole sequence, read by a small GRU."""

import math
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqvae_core.functional import masked_mean
from seqvae_core.model import seeded
from seqvae_core.records import Noise
from seqvae_tasks.ragged import BATCH, Ragged
from seqvae_tasks.representations import Array, seed_of

__all__ = ["classify"]

HIDDEN = 32
CHECK_EVERY = 20
PATIENCE = 6
MARGIN = 1e-3  # nats
VALID_SHARE = 0.2


class _Reader(nn.Module):
    """A GRU over the frames, whose states' mean over time says the class."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.rnn = nn.GRU(inputs, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, classes)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        states, _ = self.rnn(frames)
        logits: Tensor = self.head(masked_mean(states, mask))
        return logits


def classify(
    sequences: Ragged,
    target: Array,  # (N,)
    fit: Array,
    held: Array,
    unit: Array,  # (N,)
    *,
    steps: int,
    noise: Noise,
) -> tuple[Array, bool]:
    """Fit a GRU on some sequences and return the class that it gives to others.

    A fifth of the units of `fit` is set aside; the weights with the lowest cross-entropy there
    are kept, and the training ends when it has not fallen by 0.001 nats for six checks, 20 steps
    apart.

    Args:
        sequences: what is read.
        target: the class of each sequence.
        fit: sequences to learn from.
        held: sequences to classify.
        unit: sequences of one unit are set aside together.
        steps: of Adam at most, of 64 sequences each.
        noise: of the weights, what is set aside and the batches.

    Returns:
        Classes, one for each of `held`, and whether the training came to its end.
    """
    classes, number = np.unique(target, return_inverse=True)
    label = torch.from_numpy(number.reshape(-1))
    train, valid = _set_aside(fit, unit, noise.of("valid"))
    with seeded(seed_of(noise, "weights"), "recurrent probe"):
        reader = _Reader(sequences.values.shape[1], len(classes))
    ended = _train(reader, sequences, label, train, valid, steps, noise)
    found = _logits(reader, sequences, torch.from_numpy(held)).argmax(1)
    predicted: Array = classes[found.numpy()]
    return predicted, ended


def _set_aside(fit: Array, unit: Array, noise: Noise) -> tuple[Tensor, Tensor]:
    units = np.unique(unit[fit])
    order = noise.permutation(len(units)).numpy()
    aside = np.isin(unit[fit], units[order[: math.ceil(VALID_SHARE * len(units))]])
    parts = (fit, fit) if aside.all() else (fit[~aside], fit[aside])
    train, valid = (torch.from_numpy(part) for part in parts)
    return train, valid


@torch.enable_grad()
def _train(
    reader: _Reader, sequences: Ragged, label: Tensor, train: Tensor, valid: Tensor,
    steps: int, noise: Noise,
) -> bool:  # fmt: skip
    optimizer = torch.optim.Adam(reader.parameters(), lr=5e-3)
    best, waited, kept = math.inf, 0, deepcopy(reader.state_dict())
    for step in range(1, steps + 1):
        rows, frames, mask = sequences.draw(train, noise)
        loss = F.cross_entropy(reader(frames, mask), label[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        if step % CHECK_EVERY == 0 or step == steps:
            value = float(F.cross_entropy(_logits(reader, sequences, valid), label[valid]))
            waited += 1
            if value < best - MARGIN:
                best, waited, kept = value, 0, deepcopy(reader.state_dict())
            if waited == PATIENCE:
                break
    reader.load_state_dict(kept)
    return waited == PATIENCE


@torch.no_grad()
def _logits(reader: _Reader, sequences: Ragged, rows: Tensor) -> Tensor:
    parts = torch.split(rows, 4 * BATCH)
    return torch.cat([reader(*sequences.batch(part)) for part in parts])
