"""Priors: N(0, I), a recurrent Gaussian over earlier samples, uniform categorical variables."""

import torch
from torch import Tensor, nn

from seqvae_basics.config import AutoregressiveGaussian, StandardNormal, UniformCategorical
from seqvae_basics.distributions import Gaussian, GumbelCategorical
from seqvae_basics.networks import RNNS, GaussianHead, Relaxation
from seqvae_core.components import Prior
from seqvae_core.errors import ConfigError
from seqvae_core.functional import zero_padding
from seqvae_core.noise import Noise
from seqvae_core.records import Shapes, Variable
from seqvae_core.settings import CategoricalConfig

__all__ = ["AutoregressiveGaussianPrior", "StandardNormalPrior", "UniformCategoricalPrior"]


def _of_family(shapes: Shapes, family: str, prior: str) -> Variable:
    """Return the latent that a prior is for; raise `ConfigError` for one of another family."""
    variable = shapes.latent(shapes.target)
    if variable.family != family:
        raise ConfigError(
            f"prior '{prior}' is for {family} latents, '{variable.name}' is {variable.family}"
        )
    return variable


class StandardNormalPrior(Prior):
    """N(0, I)."""

    zero: Tensor

    def __init__(self, config: StandardNormal, shapes: Shapes):
        super().__init__()
        self.variable = _of_family(shapes, "gaussian", config.name)
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, sample: Tensor, mask: Tensor) -> Gaussian:
        """Return N(0, I) of the sample's shape."""
        return Gaussian(self.zero.expand_as(sample), self.zero)

    def sample(self, n: int, lengths: Tensor, noise: Noise) -> Tensor:
        """Draw (n, *shape), or (n, max(lengths), *shape) for a local latent."""
        frames = () if self.variable.scope == "global" else (int(lengths.max()),)
        return noise.normal(self.zero.expand(n, *frames, *self.variable.shape))


class AutoregressiveGaussianPrior(Prior):
    """p(s_t|s_<t): a Gaussian from a recurrent network that reads the samples before t.

    A trained vector stands before the first sample.
    """

    def __init__(self, config: AutoregressiveGaussian, shapes: Shapes):
        super().__init__()
        variable = _of_family(shapes, "gaussian", config.name)
        if variable.scope != "local":
            raise ConfigError(
                f"prior '{config.name}' is for local latents, '{variable.name}' is global"
            )
        self.start = nn.Parameter(torch.zeros(variable.size))
        self.rnn = RNNS[config.rnn](variable.size, config.hidden, batch_first=True)
        self.head = GaussianHead(config.hidden, variable)

    def forward(self, sample: Tensor, mask: Tensor) -> Gaussian:
        """Return p(s_t|s_<t) at every step, given the posterior's samples (B, T, *shape)."""
        before = zero_padding(sample, mask)[:, :-1].flatten(2)
        start = self.start.expand(sample.shape[0], 1, -1)
        prior: Gaussian = self.head(self.rnn(torch.cat([start, before], 1))[0])
        return prior

    def sample(self, n: int, lengths: Tensor, noise: Noise) -> Tensor:
        """Draw (n, max(lengths), *shape), each step from those drawn before it."""
        previous = self.start.expand(n, 1, -1)
        state, steps = None, []
        for _ in range(int(lengths.max())):
            outputs, state = self.rnn(previous, state)
            steps.append(self.head(outputs).rsample(noise))
            previous = steps[-1].flatten(2)
        return torch.cat(steps, 1)


class UniformCategoricalPrior(Prior):
    """Every value as likely, in each group.

    Draws from the prior are one-hot. The distribution that posteriors are compared with has
    relaxed samples like theirs, at the same temperature, so that the two can be told apart by
    their probabilities alone.
    """

    zero: Tensor

    def __init__(self, config: UniformCategorical, shapes: Shapes):
        super().__init__()
        self.variable = _of_family(shapes, "gumbel-categorical", config.name)
        self.relaxation = Relaxation(self.variable.categorical or CategoricalConfig())
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, sample: Tensor, mask: Tensor) -> GumbelCategorical:
        """Return the uniform law of the sample's shape."""
        law: GumbelCategorical = self.relaxation(self.zero.expand_as(sample))
        return law

    def sample(self, n: int, lengths: Tensor, noise: Noise) -> Tensor:
        """Draw one-hot (n, *shape), or (n, max(lengths), *shape) for a local latent."""
        frames = () if self.variable.scope == "global" else (int(lengths.max()),)
        law: GumbelCategorical = self.relaxation(self.zero.expand(n, *frames, *self.variable.shape))
        return law.one_hot(noise)
