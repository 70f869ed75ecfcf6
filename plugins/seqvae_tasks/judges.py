"""Classifiers that learn from real sequences and judge others: a GRU, or logistic regression."""

import warnings

import numpy as np
from attrs import frozen
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seqvae_core.records import Noise
from seqvae_tasks.ragged import Ragged
from seqvae_tasks.recurrent import RecurrentReader
from seqvae_tasks.representations import Array, missing, seed_of

__all__ = ["Question"]

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
        """Answer by a bidirectional GRU, see `RecurrentReader`.

        Args:
            hidden: width, each way.
            steps: of Adam at most, of 64 sequences each.
            noise: of the weights, what is set aside and the batches.

        Returns:
            A class for each target, and whether training came to its end.
        """
        classes = self.classes
        known = np.isin(self.target, classes)
        label = np.where(known, np.searchsorted(classes, self.target), -1)
        sequences = Ragged.of(self.frames, self.row, np.arange(self.train))
        reader = RecurrentReader.make(
            sequences, label, len(classes), local=self.local, hidden=hidden,
            seed=seed_of(noise, "weights"),
        )  # fmt: skip
        learnt = np.unique(self.owner[known & (self.owner < self.train)])
        ended = reader.fit(learnt, self.unit, steps=steps, noise=noise)
        answers: Array = classes[reader.answers(np.arange(len(sequences.start)))]
        return answers, ended
