"""Classifiers that learn from real sequences and judge others: a GRU, or logistic regression."""

import math
import warnings
from copy import deepcopy

import numpy as np
import torch
from attrs import frozen
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from seqvae_basics.networks import BidirectionalRNN
from seqvae_core.functional import masked_mean
from seqvae_core.model import seeded
from seqvae_core.records import Noise
from seqvae_tasks.ragged import BATCH, Ragged
from seqvae_tasks.representations import Array, missing, seed_of

__all__ = ["Question"]

_CHECK_EVERY = 20
_PATIENCE = 6
_VALID_SHARE = 0.2
_FRAMES = 5000


@frozen(eq=False, kw_only=True)
class Question:
    """What is asked of N sequences of F frames in all, the first of which have known answers.

    Attributes:
        frames: (F, D).
        row: the sequence of each frame, (F,), ascending from 0, none left out.
        target: a class of each sequence, (N,), or of each frame, (F,); negative where missing.
        local: whether it is of each frame.
        train: how many sequences, the first ones, are learnt from.
        unit: of these sequences, (train,); those of one unit are set aside together.
    """

    frames: Array
    row: Array
    target: Array
    local: bool
    train: int
    unit: Array

    @property
    def owner(self) -> Array:
        """The sequence of each target."""
        return self.row if self.local else np.arange(len(self.target))

    @property
    def classes(self) -> Array:
        """The classes that can be learnt."""
        learnt = self.target[(self.owner < self.train) & ~missing(self.target)]
        found: Array = np.unique(learnt)
        return found

    def by_regression(self, noise: Noise) -> tuple[Array, bool]:
        """Answer by logistic regression, C = 1, on standardised inputs.

        Sequences are read by mean and standard deviation of their frames, and frames by
        themselves; at most 5000 of these, chosen at random, are learnt from.

        Returns:
            A class for each target, and whether the fit converged.
        """
        inputs = self.frames if self.local else self._moments()
        rows = np.flatnonzero((self.owner < self.train) & ~missing(self.target))
        if self.local and len(rows) > _FRAMES:
            rows = rows[noise.of("frames").permutation(len(rows)).numpy()[:_FRAMES]]
        judge = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # returned instead
            judge.fit(inputs[rows], self.target[rows])
        return judge.predict(inputs), int(np.max(judge[-1].n_iter_)) < 2000

    def _moments(self) -> Array:
        count = np.bincount(self.row)[:, None]
        start = np.searchsorted(self.row, np.arange(len(count)))
        mean = np.add.reduceat(self.frames, start) / count
        square = np.add.reduceat((self.frames - mean[self.row]) ** 2, start) / count
        return np.concatenate([mean, np.sqrt(square)], 1)

    def by_gru(self, *, hidden: int, steps: int, noise: Noise) -> tuple[Array, bool]:
        """Answer by a bidirectional GRU; for a sequence its logits are averaged over time.

        A fifth of the units is set aside. The weights with the lowest cross-entropy there are
        kept, and training ends when it has not fallen for six checks, 20 steps apart.

        Args:
            hidden: width, each way.
            steps: of Adam at most, of 64 sequences each.
            noise: of the weights, what is set aside and the batches.

        Returns:
            A class for each target, and whether training came to its end.
        """
        classes, width = self.classes, self.frames.shape[1]
        known = np.isin(self.target, classes)
        label = np.where(known, np.searchsorted(classes, self.target), -1)
        sequences = Ragged.of(self.frames, self.row, np.arange(self.train))
        with seeded(seed_of(noise, "weights"), "judge"):
            network = _Reader(width, hidden, len(classes), self.local)
        reader = _Trained(network, sequences, torch.from_numpy(label), self.local)
        learnt = np.unique(self.owner[known & (self.owner < self.train)])
        fit, valid = self._set_aside(learnt, noise.of("valid"))
        ended = reader.train(fit, valid, steps, noise)
        answers: Array = classes[reader.answers().numpy()]
        return answers, ended

    def _set_aside(self, rows: Array, noise: Noise) -> tuple[Tensor, Tensor]:
        units = np.unique(self.unit[rows])
        order = noise.permutation(len(units)).numpy()
        aside = np.isin(self.unit[rows], units[order[: math.ceil(_VALID_SHARE * len(units))]])
        fit, valid = (rows, rows) if aside.all() else (rows[~aside], rows[aside])
        return torch.from_numpy(fit), torch.from_numpy(valid)


class _Reader(nn.Module):
    def __init__(self, inputs: int, hidden: int, classes: int, local: bool):
        super().__init__()
        self.rnn = BidirectionalRNN("gru", inputs, hidden, 1)
        self.head = nn.Linear(2 * hidden, classes)
        self.local = local

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.head(self.rnn(frames, mask))
        return logits if self.local else masked_mean(logits, mask)


@frozen(eq=False)
class _Trained:
    network: _Reader
    sequences: Ragged
    label: Tensor  # (N,) or (F,), -1 where there is none
    local: bool

    @torch.enable_grad()
    def train(self, fit: Tensor, valid: Tensor, steps: int, noise: Noise) -> bool:
        network = self.network
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        best, waited, kept = math.inf, 0, deepcopy(network.state_dict())
        for step in range(1, steps + 1):
            rows = fit[noise.of("rows").integers(len(fit), (min(BATCH, len(fit)),))]
            total, count = self._loss(rows)
            optimizer.zero_grad()
            (total / count).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            if step % _CHECK_EVERY == 0 or step == steps:
                value = self._held_out(valid)
                waited += 1
                if value < best:
                    best, waited, kept = value, 0, deepcopy(network.state_dict())
                if waited == _PATIENCE:
                    break
        network.load_state_dict(kept)
        return waited == _PATIENCE

    def _loss(self, rows: Tensor) -> tuple[Tensor, int]:
        frames, mask = self.sequences.batch(rows)
        label = self._labels(rows, mask).flatten()
        logits = self.network(frames, mask).flatten(0, -2)
        total = F.cross_entropy(logits, label, ignore_index=-1, reduction="sum")
        return total, max(1, int((label >= 0).sum()))

    def _labels(self, rows: Tensor, mask: Tensor) -> Tensor:
        if not self.local:
            return self.label[rows]
        index = self.sequences.start[rows][:, None] + torch.arange(mask.shape[1])
        return torch.where(mask, self.label[torch.where(mask, index, 0)], -1)

    @torch.no_grad()
    def _held_out(self, rows: Tensor) -> float:
        parts = [self._loss(part) for part in torch.split(rows, 4 * BATCH)]
        return sum(float(total) for total, _ in parts) / sum(count for _, count in parts)

    @torch.no_grad()
    def answers(self) -> Tensor:
        found = []
        for rows in torch.split(torch.arange(len(self.sequences.start)), 4 * BATCH):
            frames, mask = self.sequences.batch(rows)
            answer = self.network(frames, mask).argmax(-1)
            found.append(answer[mask] if self.local else answer)
        return torch.cat(found)
