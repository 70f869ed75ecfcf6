"""A small bidirectional GRU that reads a class off whole sequences, or off each of their frames."""

import math
from copy import deepcopy

import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from seqvae_basics.networks import BidirectionalRNN
from seqvae_core.functional import masked_mean
from seqvae_core.model import seeded
from seqvae_core.records import Noise
from seqvae_tasks.ragged import BATCH, Ragged
from seqvae_tasks.representations import Array, seed_of

__all__ = ["HIDDEN", "RecurrentReader", "classify"]

HIDDEN = 32
CHECK_EVERY = 20
PATIENCE = 6
MARGIN = 1e-3  # nats
VALID_SHARE = 0.2


class _Network(nn.Module):
    """A GRU each way; for a sequence its logits are averaged over time."""

    def __init__(self, inputs: int, hidden: int, classes: int, local: bool):
        super().__init__()
        self.rnn = BidirectionalRNN("gru", inputs, hidden, 1)
        self.head = nn.Linear(2 * hidden, classes)
        self.local = local

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.head(self.rnn(frames, mask))
        return logits if self.local else masked_mean(logits, mask)


@frozen(eq=False)
class RecurrentReader:
    """A GRU that is fitted on some sequences and read on others.

    Attributes:
        sequences: what is read.
        label: the class of each sequence, (N,), or of each frame, (F,); -1 where there is none.
        network: the GRU.
    """

    sequences: Ragged
    label: Tensor
    network: _Network

    @classmethod
    def make(
        cls, sequences: Ragged, label: Array, classes: int, *, local: bool, hidden: int, seed: int
    ) -> "RecurrentReader":
        """Return an untrained reader."""
        with seeded(seed, "recurrent reader"):
            network = _Network(sequences.values.shape[1], hidden, classes, local)
        return cls(sequences, torch.from_numpy(label), network)

    @torch.enable_grad()
    def fit(self, rows: Array, unit: Array, *, steps: int, noise: Noise) -> bool:
        """Fit on some sequences; return whether the training came to its end.

        A fifth of their units is set aside. The weights with the lowest cross-entropy there are
        kept, and training ends when it has not fallen by 0.001 nats for six checks, 20 steps
        apart.

        Args:
            rows: the sequences to learn from.
            unit: of each sequence, (N,) or more; those of one unit are set aside together.
            steps: of Adam at most, of 64 sequences each.
            noise: of what is set aside and the batches.
        """
        train, valid = _set_aside(rows, unit, noise.of("valid"))
        network = self.network
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        best, waited, kept = math.inf, 0, deepcopy(network.state_dict())
        for step in range(1, steps + 1):
            chosen, begin, frames, mask = self.sequences.draw(train, noise)
            loss = self._loss(chosen, begin, frames, mask)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            if step % CHECK_EVERY == 0 or step == steps:
                value = self._held_out(valid)
                waited += 1
                if value < best - MARGIN:
                    best, waited, kept = value, 0, deepcopy(network.state_dict())
                if waited == PATIENCE:
                    break
        network.load_state_dict(kept)
        return waited == PATIENCE

    @torch.no_grad()
    def answers(self, rows: Array) -> Array:
        """Return the class of each of some sequences, or of each of their frames in order."""
        found = []
        for part in torch.split(torch.from_numpy(rows), 4 * BATCH):
            frames, mask = self.sequences.batch(part)
            answer = self.network(frames, mask).argmax(-1)
            found.append(answer[mask] if self.network.local else answer)
        answers: Array = torch.cat(found).numpy()
        return answers

    def _loss(self, rows: Tensor, begin: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        label = self._labels(rows, begin, mask).flatten()
        logits = self.network(frames, mask).flatten(0, -2)
        total = F.cross_entropy(logits, label, ignore_index=-1, reduction="sum")
        return total / (label >= 0).sum().clamp(min=1)

    def _labels(self, rows: Tensor, begin: Tensor, mask: Tensor) -> Tensor:
        if not self.network.local:
            return self.label[rows]
        index = begin[:, None] + torch.arange(mask.shape[1])
        return torch.where(mask, self.label[torch.where(mask, index, 0)], -1)

    @torch.no_grad()
    def _held_out(self, rows: Tensor) -> float:
        total = 0.0
        for part in torch.split(rows, 4 * BATCH):
            frames, mask = self.sequences.batch(part)
            loss = self._loss(part, self.sequences.start[part], frames, mask)
            total += float(loss) * len(part)
        return total / len(rows)


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

    Args:
        sequences: what is read.
        target: the class of each sequence.
        fit: sequences to learn from.
        held: sequences to classify.
        unit: sequences of one unit are set aside together, see `RecurrentReader.fit`.
        steps: of Adam at most, of 64 sequences each.
        noise: of the weights, what is set aside and the batches.

    Returns:
        Classes, one for each of `held`, and whether the training came to its end.
    """
    classes, label = np.unique(target, return_inverse=True)
    reader = RecurrentReader.make(
        sequences, label.reshape(-1), len(classes), local=False, hidden=HIDDEN,
        seed=seed_of(noise, "weights"),
    )  # fmt: skip
    ended = reader.fit(fit, unit, steps=steps, noise=noise)
    predicted: Array = classes[reader.answers(held)]
    return predicted, ended


def _set_aside(rows: Array, unit: Array, noise: Noise) -> tuple[Tensor, Tensor]:
    units = np.unique(unit[rows])
    order = noise.permutation(len(units)).numpy()
    aside = np.isin(unit[rows], units[order[: math.ceil(VALID_SHARE * len(units))]])
    parts = (rows, rows) if aside.all() else (rows[~aside], rows[aside])
    train, valid = (torch.from_numpy(part) for part in parts)
    return train, valid
