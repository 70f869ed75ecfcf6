"""Estimates that are read from a critic which is trained on other rows."""

import math
from abc import abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor

from seqvae_core.components import Estimate, MIEstimator, PairCritic
from seqvae_core.model import seeded
from seqvae_core.records import Latent, Noise, Shapes, Variable
from seqvae_estimators.config import FittedConfig
from seqvae_estimators.pairs import Pairs, variable_of
from seqvae_estimators.stopping import train_until

__all__ = ["FittedEstimator", "ScoredCritic"]


class ScoredCritic(PairCritic):
    """A critic that is made of one score a pair."""

    @abstractmethod
    def score(self, a: Latent, b: Latent) -> Tensor:
        """Return the score of each pair, (B,)."""


C = TypeVar("C", bound=FittedConfig)


class FittedEstimator(MIEstimator, Generic[C]):
    """An estimate of I(a; b) by a fresh critic.

    Args:
        config: the settings.
    """

    def __init__(self, config: C):
        self.config = config

    @abstractmethod
    def make(self, a: Variable, b: Variable) -> ScoredCritic:
        """Return an untrained critic for two variables."""

    @abstractmethod
    def held_out_loss(self, critic: ScoredCritic, on_p: Tensor, on_q: Tensor) -> Tensor:
        """Return the loss that stops the training, from scores (N,) and (K, N)."""

    @abstractmethod
    def read(self, on_p: Tensor, on_q: Tensor) -> tuple[Tensor, str]:
        """Return each row's share of the estimate, (N,), from scores (N,) and (K, N); a note."""

    def beside(self, on_p: Tensor, on_q: Tensor) -> dict[str, float]:
        """Return other readings of the same scores by name, in nats; none unless it says so."""
        return {}

    def critic(self, shapes: Shapes) -> ScoredCritic:
        """Return an untrained critic for the two variables of `shapes.latents`, a first."""
        return self.make(*shapes.latents.values())

    def estimate(self, a: Latent, b: Latent, noise: Noise) -> Estimate:
        """Estimate I(a; b) in nats from the samples of paired rows.

        The rows are split in three. A fresh critic learns on the first part, is stopped by its
        loss on the second, and is read on the third. A training that was not stopped before its
        last step is noted. Variables are standardised, so that shifting a dimension, or scaling
        it up or down, changes nothing but rounding, and rows are put in an order of their own, so
        that theirs does not matter.

        Args:
            a: samples of one variable, a row each; the split is by rows, or by its `unit`.
            b: samples of the other, in the same rows.
            noise: of the split, the initial weights and the pairs; nothing else is random.

        Returns:
            The estimate. `stderr` is that of the mean over the `n` test rows; it does not know
            how the critic would vary with its training.

        Raises:
            ShapeError: if the rows do not pair up, or they or their units are fewer than ten.
        """
        pairs = Pairs.of(a, b).checked(self.config.min_batch).ordered()
        train, valid, test = self._split(pairs, noise)
        train, valid, test = (part.standardised(train) for part in (train, valid, test))
        critic = self._fresh(train, noise)
        converged = self._fit(critic, train, valid, noise)
        scores = self._scores(critic, test, self._shifts(test, noise.of("test")))
        shares, note = self.read(*scores)
        if not converged:
            note += f"; not converged after {self.config.steps} steps"
        return Estimate(
            value=float(shares.mean()), stderr=float(shares.std()) / math.sqrt(len(shares)),
            bound=self.config.bound, n=len(shares), note=note, beside=self.beside(*scores),
        )  # fmt: skip

    def _split(self, pairs: "Pairs", noise: Noise) -> list["Pairs"]:
        members = pairs.members()
        count = len(members)
        order = noise.of("split").permutation(count)
        valid = max(2, round(count * self.config.valid_share))
        test = max(2, round(count * self.config.test_share))
        parts = order[valid + test :], order[:valid], order[valid : valid + test]
        rows = [torch.cat([members[unit] for unit in part.tolist()]) for part in parts]
        return [Pairs(*pairs.at(part, part)) for part in rows]

    def _fresh(self, pairs: "Pairs", noise: Noise) -> ScoredCritic:
        seed = int(noise.of("weights").integers(2**31, (1,)))
        with seeded(seed, "critic"):
            critic = self.make(variable_of(pairs.a), variable_of(pairs.b))
        return critic.to(pairs.a.sample)

    def _fit(self, critic: ScoredCritic, train: "Pairs", valid: "Pairs", noise: Noise) -> bool:
        """Train until the validation loss no longer falls; return whether it came to that."""
        config = self.config
        shifts = self._shifts(valid, noise.of("valid"))

        def loss() -> Tensor:
            rows = noise.of("rows").integers(len(train), (config.batch_size,))
            shift = 1 + noise.of("shifts").integers(len(train) - 1, (config.batch_size,))
            others = (rows + shift) % len(train)
            return critic.loss(train.at(rows, rows), train.at(rows, others))[0]

        def held_out() -> float:
            return float(self.held_out_loss(critic, *self._scores(critic, valid, shifts)))

        return train_until(
            critic, loss, held_out, config.critic.optimizer,
            steps=config.steps, check_every=config.check_every, patience=config.patience,
        )  # fmt: skip

    def _shifts(self, pairs: "Pairs", noise: Noise) -> Tensor:
        """Return which rows further on each row is paired with, never with itself."""
        return 1 + noise.permutation(len(pairs) - 1)[: self.config.shuffles]

    @torch.no_grad()
    def _scores(
        self, critic: ScoredCritic, pairs: "Pairs", shifts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return scores of all true pairs, (N,), and of false pairs `shifts` apart, (K, N)."""
        count, size = len(pairs), self.config.batch_size
        others = (torch.arange(count) + torch.cat([torch.zeros(1).long(), shifts])[:, None]) % count
        rows = torch.arange(count).repeat(len(others))
        logits = [
            critic.score(*pairs.at(rows[at : at + size], others.flatten()[at : at + size]))
            for at in range(0, len(rows), size)
        ]
        scores = torch.cat(logits)
        return scores[:count], scores[count:].reshape(len(shifts), count)
