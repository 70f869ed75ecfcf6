"""The CMI term and the critic that it trains."""

from attrs import evolve
from torch import Tensor

from seqvae_cmi.config import CMI
from seqvae_cmi.losses import cmi_term
from seqvae_core.components import Critic, PairCritic, Regularizer
from seqvae_core.errors import ShapeError
from seqvae_core.records import Latent, Output, Scope, Shapes
from seqvae_estimators.config import CriticConfig, DensityRatio

__all__ = ["CMICritic", "CMIRegularizer"]


class CMIRegularizer(Regularizer):
    """The term logit D(z, s) - KL(z), (B,) nats; its gradient goes through both z and s.

    Args:
        config: the settings.
        shapes: all shapes of the model.
    """

    def __init__(self, config: CMI, shapes: Shapes):
        super().__init__()
        self.z = _choose(shapes, "global", config.global_latent)
        self.s = _choose(shapes, "local", config.local)
        pair = evolve(shapes, latents={name: shapes.latent(name) for name in (self.z, self.s)})
        estimator = config.estimator or DensityRatio(critic=config.critic)
        self.critic = CMICritic(estimator.build(pair).critic(pair), self.z, self.s, config.critic)
        self.kl_coefficients = {self.z: -1.0}

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,); log the mean logit and its gap."""
        z, s = out.latents[self.z], out.latents[self.s]
        assert isinstance(self.critic, CMICritic)
        logit, kl = self.critic.pair(z, s), z.kl()
        out.log("mean_logit", logit)
        out.log("rate_gap", kl - logit)
        return cmi_term(logit, kl)


class CMICritic(Critic):
    """The player that tells q(z, s) from p(z) q(s) (eqs. 11 and 12), a scalar loss in nats.

    True pairs are z and s encoded from the same x; in false ones z' is drawn from the latent's
    prior, whatever that is, and s is encoded from data. (z of other rows would estimate I(z; s)
    alone and leave KL(q(z)‖p(z)) unpunished.)

    Args:
        pair: the network, shared with the term.
        z: the global latent's name.
        s: the local one's.
        config: the player's settings.
    """

    def __init__(self, pair: PairCritic, z: str, s: str, config: CriticConfig):
        super().__init__()
        self.pair, self.z, self.s = pair, z, s
        self.optimizer, self.steps, self.after = config.optimizer, config.steps, config.after

    def forward(self, out: Output) -> Tensor:
        """Return the critic's loss; nothing flows back to the model."""
        z, s = out.latents[self.z].detach(), out.latents[self.s].detach()
        assert z.prior is not None  # of every global latent
        drawn = z.prior.rsample(out.noise.of("negatives"))
        false = Latent(name=z.name, scope=z.scope, sample=drawn, mask=z.mask)
        loss, scalars = self.pair.loss((z, s), (false, s))
        for name, value in scalars.items():
            out.log(name, value)
        return loss


def _choose(shapes: Shapes, scope: Scope, given: str | None) -> str:
    known = [variable.name for variable in shapes.of(scope)]
    if given in known:
        return str(given)
    field = "global_latent" if scope == "global" else "local"
    choices = ", ".join(known) or "none"
    if given is None and len(known) == 1:
        return known[0]
    if given is None:
        raise ShapeError(
            f"cmi expects one {scope} variable, or '{field}'; the model has: {choices}"
        )
    raise ShapeError(f"cmi expects a {scope} variable in '{field}', got '{given}'; "
                     f"the model has: {choices}")  # fmt: skip
