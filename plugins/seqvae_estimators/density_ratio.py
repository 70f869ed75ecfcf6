"""The density ratio by a discriminator: as a critic in training, and as an estimate of I(a; b)."""

import torch
from attrs import evolve
from torch import Tensor, nn

from seqvae_core.functional import full_precision
from seqvae_core.records import Latent, Variable
from seqvae_estimators.config import DensityRatio
from seqvae_estimators.fitting import FittedEstimator, ScoredCritic
from seqvae_estimators.losses import accuracy, logistic_loss, nwj_bound
from seqvae_estimators.networks import Marginal, PairNetwork

__all__ = ["DensityRatioCritic", "DensityRatioEstimator", "MarginalCritic"]


class DensityRatioCritic(ScoredCritic):
    """The logit of a discriminator between pairs from P and pairs from Q.

    Args:
        network: (a, b) → logits (B,).
        r1: weight of half the squared gradient of the logit on pairs from P in the loss.
    """

    def __init__(self, network: PairNetwork, r1: float = 0.0):
        super().__init__()
        self.network = network
        self.r1 = r1

    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return logit D, (B,), nats: at the optimum ln dP/dQ, whose mean over P is KL(P‖Q)."""
        logits: Tensor = self.network(a, b)
        return full_precision(logits)

    def score(self, a: Latent, b: Latent) -> Tensor:
        """Return logit D, (B,)."""
        logits: Tensor = self(a, b)
        return logits

    def loss(
        self, positive: tuple[Latent, Latent], negative: tuple[Latent, Latent]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the binary cross-entropy in nats; log accuracy and both mean logits.

        A network that answers place by place is told apart there, all places weighing alike.
        """
        leaves = [_leaf(latent, self.r1 > 0.0) for latent in positive]
        on_p, on_q = (full_precision(self.network.places(*pair)) for pair in (leaves, negative))
        return _told_apart(on_p, on_q, leaves, self.r1)


class MarginalCritic(nn.Module):
    """The logit of a discriminator between one global variable's draws from P and from Q.

    Args:
        network: a → logits (B,).
        r1: weight of half the squared gradient of the logit on draws from P in the loss.
    """

    def __init__(self, network: Marginal, r1: float = 0.0):
        super().__init__()
        self.network = network
        self.r1 = r1

    def forward(self, a: Latent) -> Tensor:
        """Return logit D, (B,), nats: at the optimum ln dP/dQ, whose mean over P is KL(P‖Q)."""
        logits: Tensor = self.network(a)
        return full_precision(logits)

    def loss(self, positive: Latent, negative: Latent) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the binary cross-entropy in nats; log accuracy and both mean logits."""
        leaf = _leaf(positive, self.r1 > 0.0)
        return _told_apart(self(leaf), self(negative), [leaf], self.r1)


def _leaf(latent: Latent, needed: bool) -> Latent:
    return evolve(latent, sample=latent.sample.detach().requires_grad_()) if needed else latent


def _told_apart(
    on_p: Tensor, on_q: Tensor, leaves: list[Latent], r1: float
) -> tuple[Tensor, dict[str, Tensor]]:
    loss = logistic_loss(on_p, on_q)
    scalars = {
        "accuracy": accuracy(on_p, on_q),
        "mean_logit": on_p.mean(),
        "mean_logit_negative": on_q.mean(),
    }
    if r1 > 0.0:
        inputs = [leaf.sample for leaf in leaves]
        slopes = torch.autograd.grad(on_p.sum(), inputs, create_graph=True)
        squares = sum(slope.flatten(1).square().sum(1) for slope in slopes)
        penalty = torch.as_tensor(squares).mean()
        scalars["squared_gradient"] = penalty
        loss = loss + 0.5 * r1 * penalty
    return loss, scalars


class DensityRatioEstimator(FittedEstimator[DensityRatio]):
    """I(a; b) by a fresh discriminator of p(a, b) from p(a) p(b).

    The value is the mean logit over true pairs. It is no bound: a critic too weak understates,
    one too sure of itself overstates. A bound, NWJ, stands in the note.
    """

    def make(self, a: Variable, b: Variable) -> DensityRatioCritic:
        """Return an untrained discriminator."""
        return DensityRatioCritic(self.config.critic.build(a, b), self.config.critic.r1)

    def held_out_loss(self, critic: ScoredCritic, on_p: Tensor, on_q: Tensor) -> Tensor:
        """Return the binary cross-entropy."""
        return logistic_loss(on_p, on_q.flatten())

    def read(self, on_p: Tensor, on_q: Tensor) -> tuple[Tensor, str]:
        """Return the logits of true pairs, and the bound."""
        return on_p, f"NWJ lower bound {self.beside(on_p, on_q)['nwj']:.4g}"

    def beside(self, on_p: Tensor, on_q: Tensor) -> dict[str, float]:
        """Return the lower bound "nwj"."""
        return {"nwj": float(nwj_bound(on_p, on_q.flatten()))}
