"""Estimates from true pairs and their shifts within a batch: InfoNCE, NWJ and CLUB."""

import math
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from seqvae_core.functional import full_precision
from seqvae_core.records import Latent, Variable
from seqvae_estimators.config import CLUB, InfoNCE, _Shifted
from seqvae_estimators.fitting import FittedEstimator, ScoredCritic
from seqvae_estimators.losses import club, info_nce, nwj
from seqvae_estimators.networks import PairNetwork
from seqvae_estimators.pairs import take
from seqvae_estimators.predictive import Predictive

__all__ = ["PredictiveCritic", "ShiftedCritic", "ShiftedEstimator"]

Share = Callable[[Tensor, Tensor], Tensor]


class ShiftedCritic(ScoredCritic):
    """A score whose bound on I(a; b) is raised, over each row and its shifts.

    Args:
        network: (a, b) → scores (B,).
        share: from scores (N,) of true and (K, N) of false pairs to each row's share, (N,).
        negatives: how many shifts.
    """

    def __init__(self, network: PairNetwork | Predictive, share: Share, negatives: int):
        super().__init__()
        self.network, self.share, self.negatives = network, share, negatives

    def score(self, a: Latent, b: Latent) -> Tensor:
        """Return the score of each pair, (B,)."""
        scores: Tensor = self.network(a, b)
        return full_precision(scores)

    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return each row's share of the estimate, (B,), nats; a batch of one tells nothing: 0."""
        count = len(a.sample)
        shifts = torch.arange(1, min(self.negatives, count - 1) + 1)
        if not len(shifts):
            return 0.0 * self.score(a, b)
        rows = torch.arange(count).repeat(len(shifts))
        others = ((torch.arange(count) + shifts[:, None]) % count).flatten()
        on_q = self.score(take(a, rows), take(b, others)).reshape(len(shifts), count)
        return self.share(self.score(a, b), on_q)

    def loss(
        self, positive: tuple[Latent, Latent], negative: tuple[Latent, Latent]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus the bound; false pairs are made of the true ones."""
        estimate = self(*positive).mean()
        return -estimate, {"estimate": estimate}


class PredictiveCritic(ShiftedCritic):
    """A law q of one variable given the other, trained by likelihood and read as CLUB."""

    def loss(
        self, positive: tuple[Latent, Latent], negative: tuple[Latent, Latent]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return -ln q of the true pairs."""
        likelihood = self.score(*positive).mean()
        return -likelihood, {"log_likelihood": likelihood}


C = TypeVar("C", bound=_Shifted)


class ShiftedEstimator(FittedEstimator[C], Generic[C]):
    """I(a; b) by InfoNCE, NWJ or CLUB with a fresh critic."""

    def make(self, a: Variable, b: Variable) -> ShiftedCritic:
        """Return an untrained critic."""
        config = self.config
        if isinstance(config, CLUB):
            return PredictiveCritic(Predictive(a, b, config.critic), club, config.negatives)
        share = info_nce if isinstance(config, InfoNCE) else nwj
        return ShiftedCritic(config.critic.build(a, b), share, config.negatives)

    def held_out_loss(self, critic: ScoredCritic, on_p: Tensor, on_q: Tensor) -> Tensor:
        """Return minus the bound, or minus the likelihood."""
        if isinstance(critic, PredictiveCritic):
            return -on_p.mean()
        return -self.read(on_p, on_q)[0].mean()

    def read(self, on_p: Tensor, on_q: Tensor) -> tuple[Tensor, str]:
        """Return each row's share, and where it saturates."""
        if isinstance(self.config, CLUB):
            return club(on_p, on_q), "an upper bound only as far as its q is close to the truth"
        if isinstance(self.config, InfoNCE):
            ceiling = math.log(len(on_q) + 1)
            return info_nce(on_p, on_q), f"cannot exceed ln {len(on_q) + 1} = {ceiling:.4g}"
        return nwj(on_p, on_q), "of large variance where the information is large"
