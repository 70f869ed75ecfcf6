"""Classifiers that have seen all factors of a latent or some: what they say of held-out rows."""

import warnings
from typing import Any, Protocol

import numpy as np
import torch
from attrs import evolve, field, frozen
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from seqvae_core.records import Noise
from seqvae_tasks.fitting import Probing
from seqvae_tasks.ragged import Ragged
from seqvae_tasks.recurrent import HIDDEN, RecurrentReader, classify
from seqvae_tasks.representations import Array, seed_of
from seqvae_tasks.statistics import Score, accuracy, bootstrap, r_squared

__all__ = ["MLPReader", "Reader", "SequenceReader", "judged", "mlp"]

_HIDDEN = 256  # as published
_ITERATIONS = 200
_MANY = 1000  # rows from which a tenth is set aside to stop early


class Reader(Protocol):
    """Tells a label from the factors of a latent."""

    def zeroed(self, kept: Array) -> Array:
        """Return what the reader of all factors says where all but `kept` are zero, (R,)."""

    def retrained(self, kept: Array) -> Array:
        """Return what a reader of `kept` alone says, (R,)."""


def mlp(target: Array, seed: int) -> Any:
    """Return an unfitted network with one hidden layer of 256, of many rows stopped early.

    Nothing is standardised, as published: a factor that holds nothing stays as small as it is.
    """
    known = len(target)
    settings: dict[str, Any] = {
        "hidden_layer_sizes": (_HIDDEN,), "max_iter": _ITERATIONS, "random_state": seed,
    }  # fmt: skip
    if np.issubdtype(target.dtype, np.floating):
        network = MLPRegressor(**settings, early_stopping=known >= _MANY)
        return TransformedTargetRegressor(network, transformer=StandardScaler())
    # a tenth is set aside, of each class in proportion
    least = int(np.unique(target, return_counts=True)[1].min())
    return MLPClassifier(**settings, early_stopping=known >= _MANY and least > 1)


def fitted(values: Array, target: Array, seed: int) -> Any:
    """Return a fitted `mlp`, or without any columns what always gives the same answer."""
    if values.shape[1] == 0:
        continuous = np.issubdtype(target.dtype, np.floating)
        return (DummyRegressor() if continuous else DummyClassifier()).fit(values, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mlp(target, seed).fit(values, target)


@frozen(eq=False)
class MLPReader:
    """A network that reads vectors.

    Attributes:
        values: (R, H).
        probing: the label, and what is fitted and scored.
    """

    values: Array
    probing: Probing
    _known: dict[tuple[int, ...], Any] = field(factory=dict)

    def zeroed(self, kept: Array) -> Array:
        """Return what the network of all factors says where all but `kept` are zero, (R,)."""
        every = np.arange(self.values.shape[1])
        left = np.where(np.isin(every, kept), self.values, 0.0)
        return self._answers(self._fitted(every), left)

    def retrained(self, kept: Array) -> Array:
        """Return what a network of `kept` alone says, (R,)."""
        kept = np.sort(kept)
        return self._answers(self._fitted(kept), self.values[:, kept])

    def _fitted(self, kept: Array) -> Any:
        key = tuple(kept.tolist())
        if key not in self._known:
            fit, _ = self.probing.folds[0]
            self._known[key] = fitted(
                self.values[fit][:, kept], self.probing.target[fit], self.probing.seed
            )
        return self._known[key]

    def _answers(self, network: Any, values: Array) -> Array:
        _, held = self.probing.folds[0]
        found = np.zeros(len(values), dtype=self.probing.target.dtype)
        found[held] = network.predict(values[held])
        return found


@frozen(eq=False)
class SequenceReader:
    """A small GRU that reads the frames of sequences, standardised by those fitted.

    Attributes:
        frames: (F, H).
        row: the sequence of each frame, (F,).
        probing: the class of each sequence, and what is fitted and scored.
        steps: of a fit at most.
        noise: of all fits, the same for each.
    """

    frames: Array
    row: Array
    probing: Probing
    steps: int
    noise: Noise
    _known: dict[tuple[int, ...], Any] = field(factory=dict)

    def zeroed(self, kept: Array) -> Array:
        """Return what the GRU of all factors says where all but `kept` are zero, (R,)."""
        fit, held = self.probing.folds[0]
        every = tuple(range(self.frames.shape[1]))
        if every not in self._known:
            self._known[every] = self._all(fit)
        reader, classes, zero = self._known[every]
        left = torch.from_numpy(np.isin(every, kept))
        values = torch.where(left, reader.sequences.values, zero)
        masked = evolve(reader, sequences=evolve(reader.sequences, values=values))
        return self._placed(classes[masked.answers(held)], held)

    def retrained(self, kept: Array) -> Array:
        """Return what a GRU of `kept` alone says, (R,)."""
        fit, held = self.probing.folds[0]
        if len(kept) == self.frames.shape[1]:
            return self.zeroed(kept)
        key = ("retrained", *np.sort(kept).tolist())
        if len(kept) == 0:
            values, count = np.unique(self.probing.target[fit], return_counts=True)
            return self._placed(np.full(len(held), values[count.argmax()]), held)
        if key not in self._known:
            sequences = Ragged.of(self.frames[:, np.sort(kept)], self.row, fit)
            said, _ = classify(
                sequences, self.probing.target, fit, held, self.probing.unit, steps=self.steps,
                noise=self.noise.of("retrained"),
            )  # fmt: skip
            self._known[key] = self._placed(said, held)
        found: Array = self._known[key]
        return found

    def _all(self, fit: Array) -> tuple[RecurrentReader, Array, Any]:
        """Return a fitted reader of all factors, its classes, and where 0 lies as it sees them."""
        classes, label = np.unique(self.probing.target, return_inverse=True)
        sequences = Ragged.of(np.vstack([self.frames, np.zeros((1, self.frames.shape[1]))]),
                              np.append(self.row, self.row.max() + 1), fit)  # fmt: skip
        zero = sequences.values[-1]
        reader = RecurrentReader.make(
            sequences, np.append(label.reshape(-1), 0), len(classes), local=False, hidden=HIDDEN,
            seed=seed_of(self.noise, "weights"),
        )  # fmt: skip
        reader.fit(fit, self.probing.unit, steps=self.steps, noise=self.noise.of("all"))
        return reader, classes, zero

    def _placed(self, said: Array, held: Array) -> Array:
        found = np.zeros(len(self.probing.target), dtype=self.probing.target.dtype)
        found[held] = said
        return found


def judged(answers: list[Array], probing: Probing) -> Score:
    """Return accuracy or R² on what is scored, of several answers the mean, with its interval."""
    held = probing.scored
    measure = r_squared if probing.continuous else accuracy
    parts = [measure(probing.target[held], answer[held]) for answer in answers]
    sums: Array = np.mean([part[0] for part in parts], 0)
    return bootstrap(
        sums, probing.unit[held], parts[0][1], seed=probing.seed, resamples=probing.resamples
    )
