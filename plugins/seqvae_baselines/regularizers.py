"""The terms of FactorVAE, β-TCVAE, DIP-VAE and AnnealedVAE, on one global latent."""

from typing import Any

from attrs import evolve
from torch import Tensor

from seqvae_baselines.config import DIPVAE, AnnealedVAE, BetaTCVAE, FactorVAE
from seqvae_baselines.losses import (
    capacity_gap,
    covariance,
    covariance_penalty,
    log_weights,
    permuted,
    total_correlation,
)
from seqvae_core.components import Critic, Regularizer
from seqvae_core.errors import ShapeError
from seqvae_core.records import Output, Shapes
from seqvae_estimators.config import CriticConfig
from seqvae_estimators.density_ratio import MarginalCritic

__all__ = [
    "AnnealedRegularizer",
    "BetaTCRegularizer",
    "DIPRegularizer",
    "FactorRegularizer",
    "PermutationCritic",
]


def _independent(config: BetaTCVAE | DIPVAE | FactorVAE, shapes: Shapes) -> str:
    """Return the latent that is meant; one whose numbers depend on one another is refused."""
    name = shapes.choose("global", config.global_latent, "global_latent", config.name)
    if shapes.latent(name).categorical:
        raise ShapeError(
            f"{config.name} asks a latent's numbers to be independent, those of categorical "
            f"'{name}' cannot be; choose another by 'global_latent'"
        )
    return name


class FactorRegularizer(Regularizer):
    """The term logit D(z), (B,) nats, whose mean estimates the total correlation of q(z).

    Args:
        config: the settings.
        shapes: all shapes of the model.
    """

    def __init__(self, config: FactorVAE, shapes: Shapes):
        super().__init__()
        self.z = _independent(config, shapes)
        network = config.critic.build_marginal(shapes.latent(self.z))
        discriminator = MarginalCritic(network, config.critic.r1)
        self.critic: PermutationCritic = PermutationCritic(self.z, discriminator, config.critic)

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,)."""
        logit: Tensor = self.critic.discriminator(out.latents[self.z])
        return logit


class PermutationCritic(Critic):
    """The player that tells q(z) from the product of its marginals, a scalar loss in nats.

    Args:
        z: the global latent's name.
        discriminator: z → logit, shared with the term.
        config: the player's settings.
    """

    def __init__(self, z: str, discriminator: MarginalCritic, config: CriticConfig):
        super().__init__()
        self.z, self.discriminator = z, discriminator
        self.optimizer, self.steps, self.after = config.optimizer, config.steps, config.after

    def forward(self, out: Output) -> Tensor:
        """Return the discriminator's loss; nothing flows back to the model.

        Raises:
            ShapeError: for a single sequence, which has nothing to be permuted with.
        """
        z = out.latents[self.z].detach()
        if len(z.sample) < 2:
            raise ShapeError("factor-vae needs batches of at least 2 sequences, got 1")
        # Differs from algorithm 2: the permuted sample is of the same batch, not of a second one.
        product = evolve(z, sample=permuted(z.sample, out.noise.of("permutation")))
        loss, scalars = self.discriminator.loss(z, product)
        for name, value in scalars.items():
            out.log(name, value)
        return loss


class BetaTCRegularizer(Regularizer):
    """The term ln q(z) - Σ_d ln q(z_d), (B,) nats, from the posteriors of the batch.

    Args:
        config: the settings.
        shapes: all shapes of the model.
    """

    def __init__(self, config: BetaTCVAE, shapes: Shapes):
        super().__init__()
        self.z = _independent(config, shapes)
        self.samples, self.stratified = config.samples, config.sampling == "stratified"

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,).

        Raises:
            ShapeError: if the batch is larger than the data are said to be.
        """
        z = out.latents[self.z]
        rows = len(z.sample)
        if rows > self.samples:
            raise ShapeError(
                f"beta-tcvae expected batches of at most samples = {self.samples}, got {rows}"
            )
        assert z.posterior is not None  # of every global latent
        log_q = z.posterior.log_prob(z.sample[:, None])
        weights = log_weights(rows, self.samples, stratified=self.stratified, like=log_q)
        return total_correlation(log_q, weights)


class DIPRegularizer(Regularizer):
    """The penalty on the covariance of a latent, one number in all of (B,).

    Args:
        config: the settings.
        shapes: all shapes of the model.
    """

    def __init__(self, config: DIPVAE, shapes: Shapes):
        super().__init__()
        self.z = _independent(config, shapes)
        self.ratio, self.of_samples = config.ratio, config.of_samples
        family = shapes.latent(self.z).family
        if self.of_samples and family != "gaussian":
            raise ShapeError(f"dip-vae-ii expected a gaussian latent, got '{self.z}' of {family}")

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term, (B,)."""
        z = out.latents[self.z]
        matrix = covariance(z.mean)
        if self.of_samples:
            posterior: Any = z.posterior
            matrix = matrix + posterior.logvar.exp().mean(0).diag()
        return covariance_penalty(matrix, self.ratio).expand(len(z.sample))


class AnnealedRegularizer(Regularizer):
    """The term |KL - C|, (B,) nats, which stands in the place of the latent's KL.

    Args:
        config: the settings.
        shapes: all shapes of the model.
    """

    def __init__(self, config: AnnealedVAE, shapes: Shapes):
        super().__init__()
        self.z = shapes.choose("global", config.global_latent, "global_latent", config.name)
        self.capacity, self.rise = config.capacity, config.rise
        self.over_batch = config.mean_of == "batch"
        self.replaces_kl = (self.z,)
        self.schedules = (config.rise,)

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,); log C."""
        kl = out.latents[self.z].kl()
        capacity = self.capacity * self.rise(out.step)
        out.log("capacity", kl.new_tensor(capacity))
        return capacity_gap(kl.mean().expand_as(kl) if self.over_batch else kl, capacity)
