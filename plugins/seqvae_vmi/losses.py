"""Pure maths of VMI, in nats: one number a sequence, nothing reduced over the batch."""

import math

import torch
from torch import Tensor

from seqvae_core.functional import gaussian_log_prob, grouped_log_softmax, masked_sum

__all__ = [
    "categorical_entropy",
    "categorical_nll",
    "gaussian_nll",
    "mixture_entropy",
    "prior_entropy",
    "summed",
]


def summed(
    value: Tensor,  # (B, d) or (B, T, d)
    mask: Tensor | None = None,  # (B, T) bool
) -> Tensor:  # (B,)
    """Sum over the event, and over time within the mask where there is one."""
    return value.flatten(1).sum(1) if mask is None else masked_sum(value, mask)


def gaussian_nll(
    code: Tensor,  # (B, [T,] d)
    mean: Tensor,  # (B, [T,] d)
    log_sigma: Tensor,  # (B, [T,] d)
    mask: Tensor | None = None,  # (B, T) bool
) -> Tensor:  # (B,)
    r"""Return -ln Q(c|x̃) of a diagonal Gaussian, in nats.

    \(\sum_j \tfrac12 \ln 2\pi + \ln\sigma_j + \tfrac12 ((c_j - \mu_j)/\sigma_j)^2\), summed over
    the real frames of a local code as well. ln σ is to be bounded by whoever gives it: where Q is
    sure of c, nothing else holds the value.

    Args:
        code: c.
        mean: of Q.
        log_sigma: ln σ of Q.
        mask: of a local code.

    References:
        Variational mutual information maximization framework for VAE latent codes (Serdega, Kim,
        2020) | arXiv:2006.02227

    Example:
        >>> import torch
        >>> zero = torch.zeros(1, 2)
        >>> gaussian_nll(zero, zero, zero)
        tensor([1.8379])
    """
    return summed(-gaussian_log_prob(code, mean, 2.0 * log_sigma), mask)


def categorical_nll(
    code: Tensor,  # (B, [T,] d)
    logits: Tensor,  # (B, [T,] d)
    groups: int = 1,
    mask: Tensor | None = None,  # (B, T) bool
) -> Tensor:  # (B,)
    r"""Return -ln Q(c|x̃) of categorical variables, in nats: the cross-entropy, ≥ 0.

    \(-\sum_k c_k \ln Q_k\) of each group, for c one-hot or relaxed, summed over groups and, of a
    local code, over its real frames.

    Args:
        code: c, each group on the simplex.
        logits: of Q.
        groups: categorical variables of d / groups values.
        mask: of a local code.

    References:
        Variational mutual information maximization framework for VAE latent codes (Serdega, Kim,
        2020) | arXiv:2006.02227
    """
    return summed(-code * grouped_log_softmax(logits, groups), mask)


def prior_entropy(size: int, groups: int = 0) -> float:
    r"""Return H(c) of a code drawn from its prior, in nats.

    \(\tfrac d2 \ln 2\pi e\) of N(0, I), \(G \ln K\) of G uniform categorical variables.

    Args:
        size: d, the code's numbers.
        groups: G; 0 for a Gaussian code.

    Example:
        >>> round(prior_entropy(10, groups=1), 4)
        2.3026
    """
    if groups:
        return groups * math.log(size / groups)
    return 0.5 * size * math.log(2.0 * math.pi * math.e)


def categorical_entropy(
    probabilities: Tensor,  # (..., d)
    groups: int = 1,
) -> Tensor:  # (...)
    r"""Return \(-\sum_k \pi_k \ln \pi_k\), summed over groups, in nats.

    Of the batch's mean of c it is the entropy in the bound: with relaxed c H(E c), not H(E π).
    """
    apart = probabilities.reshape(*probabilities.shape[:-1], groups, -1)
    terms: Tensor = torch.special.entr(apart)
    return terms.sum((-1, -2))


def mixture_entropy(
    code: Tensor,  # (N, d)
    mean: Tensor,  # (B, d)
    logvar: Tensor,  # (B, d)
) -> Tensor:  # (N,)
    r"""Return \(-\ln \tfrac1B \sum_b N(c; \mu_b, \sigma_b^2)\) of each code, in nats.

    Its mean over draws from the mixture is the mixture's entropy, that of the aggregated posterior
    of B sequences.
    """
    log_q = gaussian_log_prob(code[:, None], mean, logvar).sum(2)
    return math.log(len(mean)) - torch.logsumexp(log_q, 1)
