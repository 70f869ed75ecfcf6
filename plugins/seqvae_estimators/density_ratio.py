"""The density ratio by a discriminator: as a critic in training, and as an estimate of I(a; b)."""

import math
from copy import deepcopy

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_core.components import Estimate, MIEstimator, PairCritic
from seqvae_core.devices import make_optimizer
from seqvae_core.errors import ShapeError
from seqvae_core.functional import full_precision
from seqvae_core.model import seeded
from seqvae_core.records import Latent, Noise, Shapes, Variable
from seqvae_estimators.config import DensityRatio
from seqvae_estimators.losses import accuracy, logistic_loss, nwj_bound
from seqvae_estimators.networks import PairNetwork

__all__ = ["DensityRatioCritic", "DensityRatioEstimator"]


class DensityRatioCritic(PairCritic):
    """The logit of a discriminator between pairs from P and pairs from Q.

    Args:
        network: (a, b) → logits (B,).
    """

    def __init__(self, network: PairNetwork):
        super().__init__()
        self.network = network

    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return logit D, (B,), nats: at the optimum ln dP/dQ, whose mean over P is KL(P‖Q)."""
        logits: Tensor = self.network(a, b)
        return full_precision(logits)

    def loss(
        self, positive: tuple[Latent, Latent], negative: tuple[Latent, Latent]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the binary cross-entropy in nats; log accuracy and both mean logits."""
        on_p, on_q = self(*positive), self(*negative)
        return logistic_loss(on_p, on_q), {
            "accuracy": accuracy(on_p, on_q),
            "mean_logit": on_p.mean(),
            "mean_logit_negative": on_q.mean(),
        }


class DensityRatioEstimator(MIEstimator):
    """I(a; b) by a fresh discriminator of p(a, b) from p(a) p(b).

    Args:
        config: the settings.
    """

    def __init__(self, config: DensityRatio):
        self.config = config

    def critic(self, shapes: Shapes) -> DensityRatioCritic:
        """Return an untrained critic for the two variables of `shapes.latents`, a first."""
        a, b = shapes.latents.values()
        return DensityRatioCritic(self.config.critic.build(a, b))

    def estimate(self, a: Latent, b: Latent, noise: Noise) -> Estimate:
        """Estimate I(a; b) in nats from the samples of paired rows.

        The rows are split in three. A fresh critic learns on the first part to tell true pairs
        from pairs of different rows, is stopped by its loss on the second, and is read on the
        third: the value is the mean logit over true pairs. It is no bound: a critic too weak
        understates, one too sure of itself overstates. A bound, NWJ, stands in the note, and so
        does a training that was not stopped before its last step. Variables are standardised, so
        that shifting a dimension, or scaling it up or down, changes nothing but rounding, and rows
        are put in an order of their own, so that theirs does not matter.

        Args:
            a: samples of one variable, a row each; the split is by rows, so one row for each
                utterance keeps utterances apart.
            b: samples of the other, in the same rows.
            noise: of the split, the initial weights and the pairs; nothing else is random.

        Returns:
            The estimate. `stderr` is that of the mean over the `n` test rows; it does not know
            how the critic would vary with its training.

        Raises:
            ShapeError: if the rows do not pair up, or are fewer than ten.
        """
        pairs = _Pairs(a, b).checked(self.config.min_batch).ordered()
        train, valid, test = self._split(pairs, noise)
        train, valid, test = (part.standardised(train) for part in (train, valid, test))
        critic = self._fresh(train, noise)
        converged = self._fit(critic, train, valid, noise)
        on_p, on_q = self._scores(critic, test, self._shifts(test, noise.of("test")))
        note = f"NWJ lower bound {float(nwj_bound(on_p, on_q)):.4g}"
        if not converged:
            note += f"; not converged after {self.config.steps} steps"
        return Estimate(
            value=float(on_p.mean()), stderr=float(on_p.std()) / math.sqrt(len(on_p)),
            bound="none", n=len(on_p), note=note,
        )  # fmt: skip

    def _split(self, pairs: "_Pairs", noise: Noise) -> list["_Pairs"]:
        count = len(pairs)
        order = noise.of("split").permutation(count)
        valid = max(2, round(count * self.config.valid_share))
        test = max(2, round(count * self.config.test_share))
        parts = order[valid + test :], order[:valid], order[valid : valid + test]
        return [_Pairs(*pairs.at(rows, rows)) for rows in parts]

    def _fresh(self, pairs: "_Pairs", noise: Noise) -> DensityRatioCritic:
        seed = int(noise.of("weights").integers(2**31, (1,)))
        with seeded(seed, "critic"):
            network = self.config.critic.build(_variable(pairs.a), _variable(pairs.b))
        return DensityRatioCritic(network.to(pairs.a.sample))

    @torch.enable_grad()
    def _fit(
        self, critic: DensityRatioCritic, train: "_Pairs", valid: "_Pairs", noise: Noise
    ) -> bool:
        """Train until the validation loss no longer falls; return whether it came to that."""
        config = self.config
        optimizer = make_optimizer(config.critic.optimizer, critic.parameters())
        shifts = self._shifts(valid, noise.of("valid"))
        best, waited, kept = math.inf, 0, deepcopy(critic.state_dict())
        for step in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.critic.optimizer.rate(step, config.steps)
            rows = noise.of("rows").integers(len(train), (config.batch_size,))
            shift = 1 + noise.of("shifts").integers(len(train) - 1, (config.batch_size,))
            others = (rows + shift) % len(train)
            loss, _ = critic.loss(train.at(rows, rows), train.at(rows, others))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if (step + 1) % config.check_every == 0:
                value = float(logistic_loss(*self._scores(critic, valid, shifts)))
                waited += 1
                if value < best:
                    best, waited, kept = value, 0, deepcopy(critic.state_dict())
                if waited == config.patience:
                    break
        critic.load_state_dict(kept)
        return waited == config.patience

    def _shifts(self, pairs: "_Pairs", noise: Noise) -> Tensor:
        """Return which rows further on each row is paired with, never with itself."""
        return 1 + noise.permutation(len(pairs) - 1)[: self.config.shuffles]

    @torch.no_grad()
    def _scores(
        self, critic: DensityRatioCritic, pairs: "_Pairs", shifts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits on all true pairs, and on the false pairs that are `shifts` apart."""
        count, size = len(pairs), self.config.batch_size
        others = (torch.arange(count) + torch.cat([torch.zeros(1).long(), shifts])[:, None]) % count
        rows = torch.arange(count).repeat(len(others))
        logits = [
            critic(*pairs.at(rows[at : at + size], others.flatten()[at : at + size]))
            for at in range(0, len(rows), size)
        ]
        return torch.cat(logits)[:count], torch.cat(logits)[count:]


@frozen(eq=False)
class _Pairs:
    """Paired rows of two variables, as plain samples."""

    a: Latent
    b: Latent

    def __len__(self) -> int:
        return len(self.a.sample)

    def at(self, i: Tensor, j: Tensor) -> tuple[Latent, Latent]:
        """Return rows i of a with rows j of b."""
        return _rows(self.a, i), _rows(self.b, j)

    def checked(self, least: int) -> "_Pairs":
        """Raise `ShapeError` unless there are enough rows and they pair up."""
        if len(self.a.sample) != len(self.b.sample):
            raise ShapeError(
                f"expected paired rows, got {len(self.a.sample)} of '{self.a.name}' and "
                f"{len(self.b.sample)} of '{self.b.name}'"
            )
        if len(self) < least:
            raise ShapeError(f"expected at least {least} paired rows, got {len(self)}")
        return self

    def ordered(self) -> "_Pairs":
        """Return the rows sorted by their values, without graphs."""
        first = [
            latent.sample if latent.scope == "global" else latent.sample[:, 0]
            for latent in (self.a, self.b)
        ]
        keys = torch.cat([value.detach().flatten(1).double() for value in first], 1).cpu().numpy()
        order = torch.from_numpy(np.lexsort(keys.T[::-1]))
        return _Pairs(*self.at(order, order))

    def standardised(self, by: "_Pairs") -> "_Pairs":
        """Return the rows with each dimension shifted and scaled as `by` has them."""
        return _Pairs(_standardised(self.a, by.a), _standardised(self.b, by.b))


def _rows(latent: Latent, index: Tensor) -> Latent:
    index = index.to(latent.sample.device)
    return Latent(
        name=latent.name, scope=latent.scope,
        sample=latent.sample.detach()[index], mask=latent.mask[index],
    )  # fmt: skip


def _standardised(latent: Latent, by: Latent) -> Latent:
    known = by.sample if latent.scope == "global" else by.sample[by.mask]
    mean, scale = known.mean(0), known.std(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return evolve(latent, sample=(latent.sample - mean) / scale)


def _variable(latent: Latent) -> Variable:
    shape = latent.sample.shape[1 if latent.scope == "global" else 2 :]
    return Variable(name=latent.name, scope=latent.scope, shape=tuple(shape))
