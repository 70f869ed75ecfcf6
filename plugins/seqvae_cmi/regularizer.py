"""The terms of CMI and of the MI-VAE, and the critics that they train."""

from attrs import evolve
from torch import Tensor

from seqvae_cmi.config import CMI, MIVAE
from seqvae_cmi.losses import cmi_term, estimated_cmi_term, mi_vae_term
from seqvae_core.components import Critic, PairCritic, Regularizer
from seqvae_core.errors import ShapeError
from seqvae_core.records import Latent, Output, Shapes
from seqvae_estimators.config import CriticConfig, DensityRatio
from seqvae_estimators.density_ratio import MarginalCritic

__all__ = ["AdversarialCritic", "CMIRegularizer", "MIVAERegularizer"]


class CMIRegularizer(Regularizer):
    """The term logit D(z, s) - KL(z), (B,) nats; its gradient goes through both z and s.

    Args:
        config: the settings.
        shapes: all shapes of the model.
    """

    def __init__(self, config: CMI, shapes: Shapes):
        super().__init__()
        self.z = shapes.choose("global", config.global_latent, "global_latent", "cmi")
        self.s = shapes.choose("local", config.local, "local", "cmi")
        self.alpha = config.alpha
        self.estimated = config.estimator is not None
        pair = evolve(shapes, latents={name: shapes.latent(name) for name in (self.z, self.s)})
        estimator = config.estimator or DensityRatio(critic=config.critic)
        self.kl_coefficients = {self.z: -1.0}
        self.critic: AdversarialCritic = AdversarialCritic(
            self.z,
            self.s,
            config.critic,
            pair=estimator.build(pair).critic(pair),
            marginal=_marginal(config.critic, shapes, self.z)
            if self.estimated or self.alpha != 1.0
            else None,
            shuffled=self.estimated or config.negatives == "shuffled",
        )

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,); log its parts."""
        z, s = out.latents[self.z], out.latents[self.s]
        assert self.critic.pair is not None
        joint, kl = self.critic.pair(z, s), z.kl()
        marginal = None if self.critic.marginal is None else self.critic.marginal(z)
        if self.estimated:
            assert marginal is not None
            term = estimated_cmi_term(joint, marginal, kl, self.alpha)
        else:
            term = cmi_term(joint, kl, marginal, self.alpha)
        out.log("mean_logit", joint)
        if marginal is not None:
            out.log("mean_logit_marginal", marginal)
        out.log("rate_gap", -term)
        return term


class MIVAERegularizer(Regularizer):
    """The term logit D(z) - KL(z), (B,) nats.

    Args:
        config: the settings.
        shapes: all shapes of the model.
    """

    def __init__(self, config: MIVAE, shapes: Shapes):
        super().__init__()
        self.z = shapes.choose("global", config.global_latent, "global_latent", "mi-vae")
        self.kl_coefficients = {self.z: -1.0}
        marginal = _marginal(config.critic, shapes, self.z)
        self.critic: AdversarialCritic = AdversarialCritic(
            self.z, None, config.critic, marginal=marginal
        )

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,); log the mean logit and its gap."""
        z = out.latents[self.z]
        assert self.critic.marginal is not None
        logit, kl = self.critic.marginal(z), z.kl()
        out.log("mean_logit", logit)
        out.log("rate_gap", kl - logit)
        return mi_vae_term(logit, kl)


class AdversarialCritic(Critic):
    """The player that tells q(z, s) from p(z) q(s), and q(z) from p(z), a scalar loss in nats.

    True pairs are z and s encoded from the same x; in false ones z' is drawn from the latent's
    prior, whatever that is, and s is encoded from data (eqs. 11 and 12). With `shuffled`, z' is
    that of another sequence: what is then estimated is I(z; s) alone.

    Args:
        z: the global latent's name.
        s: the local one's.
        config: the player's settings.
        pair: the network over (z, s), shared with the term.
        marginal: the network over z alone, likewise.
        shuffled: whether the false pairs of `pair` are those of other sequences.
    """

    def __init__(
        self,
        z: str,
        s: str | None,
        config: CriticConfig,
        *,
        pair: PairCritic | None = None,
        marginal: MarginalCritic | None = None,
        shuffled: bool = False,
    ):
        super().__init__()
        self.z, self.s, self.shuffled = z, s, shuffled
        self.pair, self.marginal = pair, marginal
        self.optimizer, self.steps, self.after = config.optimizer, config.steps, config.after

    def forward(self, out: Output) -> Tensor:
        """Return the sum of both losses; nothing flows back to the model."""
        z = out.latents[self.z].detach()
        losses = []
        if self.pair is not None and self.s is not None:
            s = out.latents[self.s].detach()
            false = _other_rows(z, out) if self.shuffled else _from_prior(z, out)
            loss, scalars = self.pair.loss((z, s), (false, s))
            losses.append(loss)
            for name, value in scalars.items():
                out.log(name, value)
        if self.marginal is not None:
            loss, scalars = self.marginal.loss(z, _from_prior(z, out))
            losses.append(loss)
            prefix = "" if self.pair is None else "marginal_"
            for name, value in scalars.items():
                out.log(f"{prefix}{name}", value)
        total = losses[0]
        return total + losses[1] if len(losses) > 1 else total


def _from_prior(z: Latent, out: Output) -> Latent:
    assert z.prior is not None  # of every global latent
    drawn = z.prior.rsample(out.noise.of("negatives"))
    return Latent(name=z.name, scope=z.scope, sample=drawn, mask=z.mask)


def _other_rows(z: Latent, out: Output) -> Latent:
    rows = len(z.sample)
    if rows < 2:
        raise ShapeError("cmi with false pairs of other sequences needs batches of at least 2")
    shift = 1 + int(out.noise.of("shuffle").integers(rows - 1, (1,)))
    return Latent(name=z.name, scope=z.scope, sample=z.sample.roll(shift, 0), mask=z.mask)


def _marginal(config: CriticConfig, shapes: Shapes, z: str) -> MarginalCritic:
    return MarginalCritic(config.build_marginal(shapes.latent(z)), config.r1)
