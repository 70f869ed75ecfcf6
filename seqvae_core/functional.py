"""Pure maths in nats: no state, no reduction over the batch."""

import math

import torch
from torch import Tensor

__all__ = [
    "categorical_kl",
    "full_precision",
    "gaussian_kl",
    "gaussian_log_prob",
    "grouped_log_softmax",
    "gumbel_softmax",
    "log_mean_exp",
    "masked_mean",
    "masked_sum",
    "one_hot",
    "precomputed_gradient",
    "zero_padding",
]

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def full_precision(value: Tensor) -> Tensor:
    """Return `value` in float32 when it is of a narrower floating type, else as it is."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def _align(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (value.ndim - mask.ndim))


def zero_padding(
    value: Tensor,  # (B, T, ...)
    mask: Tensor,  # (B, T) bool
) -> Tensor:  # (B, T, ...)
    """Set everything outside the mask to zero, whatever stands there, NaN included."""
    return torch.where(_align(mask, value), value, torch.zeros((), dtype=value.dtype).to(value))


def masked_sum(
    value: Tensor,  # (B, T, ...)
    mask: Tensor,  # (B, T) bool
) -> Tensor:  # (B,)
    """Sum over time and event dimensions where the mask is True."""
    # Frames are summed before the padding is dropped: the mask then costs next to nothing.
    return zero_padding(value[..., None].flatten(2).sum(2), mask).sum(1)


def masked_mean(
    value: Tensor,  # (B, T, ...)
    mask: Tensor,  # (B, T) bool
) -> Tensor:  # (B, ...)
    """Average over time where the mask is True; event dimensions are kept."""
    count = _align(mask.sum(1), value.select(1, 0)).to(value.dtype)
    return zero_padding(value, mask).sum(1) / count


def gaussian_log_prob(
    value: Tensor,  # (...)
    mean: Tensor,  # (...)
    logvar: Tensor,  # (...)
) -> Tensor:  # (...)
    r"""Return the elementwise log density of a diagonal Gaussian, in nats.

    \(-\tfrac12 [\ln 2\pi + \ln\sigma^2 + (x-\mu)^2/\sigma^2]\); nothing is reduced.
    """
    constant = -_HALF_LOG_TWO_PI - 0.5 * logvar
    return constant - (value - mean).square() * (0.5 * torch.exp(-logvar))


def gaussian_kl(
    mean: Tensor,  # (...)
    logvar: Tensor,  # (...)
    prior_mean: Tensor,  # (...)
    prior_logvar: Tensor,  # (...)
) -> Tensor:  # (...)
    r"""Return the elementwise KL(q‖p) of two diagonal Gaussians, in nats, ≥ 0 up to rounding.

    \(\tfrac12 [e^{\ell_q-\ell_p} - 1 - (\ell_q-\ell_p) + (\mu_q-\mu_p)^2 e^{-\ell_p}]\) with
    \(\ell = \ln\sigma^2\); the first three terms are taken together by `expm1`, which keeps the
    value exact near q = p. Nothing is reduced: sum over the last axis for independent dimensions.

    Example:
        >>> import torch
        >>> zero = torch.zeros(1)
        >>> gaussian_kl(zero + 1.0, zero, zero, zero)
        tensor([0.5000])
    """
    ratio = logvar - prior_logvar
    shift = (mean - prior_mean).square() * torch.exp(-prior_logvar)
    return 0.5 * (torch.expm1(ratio) - ratio + shift)


def grouped_log_softmax(
    logits: Tensor,  # (..., D)
    groups: int,
) -> Tensor:  # (..., D)
    """Return log probabilities, normalised within each of `groups` runs of D / groups numbers."""
    return torch.log_softmax(_apart(logits, groups), -1).flatten(-2)


def _apart(value: Tensor, groups: int) -> Tensor:
    return value.reshape(*value.shape[:-1], groups, -1)


def categorical_kl(
    logits: Tensor,  # (..., D)
    prior_logits: Tensor,  # (..., D)
    groups: int = 1,
) -> Tensor:  # (..., D)
    r"""Return the terms of KL(q‖p) of categorical variables, in nats.

    \(\pi_k (\ln \pi_k - \ln p_k)\) of each value: a term may be negative, a group's sum, over its
    D / groups values, is its KL, ≥ 0 up to rounding. Against the uniform it is
    \(\ln K - H(\pi)\), at most \(\ln K\).

    Example:
        >>> import torch
        >>> sure = torch.tensor([100.0, 0.0])
        >>> categorical_kl(sure, torch.zeros(2)).sum()
        tensor(0.6931)
    """
    log_q = grouped_log_softmax(logits, groups)
    return log_q.exp() * (log_q - grouped_log_softmax(prior_logits, groups))


def gumbel_softmax(
    logits: Tensor,  # (..., D)
    uniform: Tensor,  # (..., D)
    temperature: Tensor | float,
    groups: int = 1,
) -> Tensor:  # (..., D)
    r"""Return relaxed one-hot samples, \(\operatorname{softmax}((\text{logits} + g)/\tau)\).

    With \(g = -\ln(-\ln u)\); each group sums to 1. The largest number is at a value that is a draw
    of the categorical law itself, at every temperature.

    Args:
        logits: unnormalised log probabilities.
        uniform: u, independent draws of U[0, 1).
        temperature: τ > 0; one-hot as it goes to 0.
        groups: runs of D / groups numbers that are normalised apart.

    References:
        Categorical reparameterization with Gumbel-softmax (Jang, Gu, Poole, 2017), eqs. 1 and 2
        | arXiv:1611.01144
    """
    gumbel = -torch.log(-torch.log(uniform.clamp_min(torch.finfo(uniform.dtype).tiny)))
    return grouped_log_softmax((logits + gumbel) / temperature, groups).exp()


def one_hot(
    value: Tensor,  # (..., D)
    groups: int = 1,
) -> Tensor:  # (..., D)
    """Return 1 at the largest number of each group and 0 elsewhere, without a graph."""
    apart = _apart(value.detach(), groups)
    hard = torch.zeros_like(apart).scatter(-1, apart.argmax(-1, keepdim=True), 1.0)
    return hard.flatten(-2)


def log_mean_exp(value: Tensor, dim: int) -> Tensor:
    """Return ln of the mean of exp(value) over `dim`, without overflow."""
    return torch.logsumexp(value, dim) - math.log(value.shape[dim])


class _Precomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, gradients, *parameters):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        # Every row carries the same scalar: `Objective` averages the rows of one term.
        scale = upstream.sum()
        return (None, None, *(scale * gradient for gradient in ctx.saved_tensors))


def precomputed_gradient(
    value: Tensor,  # (B,)
    parameters: list[Tensor],
    gradients: list[Tensor],
) -> Tensor:  # (B,)
    """Return `value` such that backward hands `parameters` the given gradients.

    For a term that works in chunks and cannot keep its graph: it computes, while it runs, the
    gradient of the *mean over the batch* of `value`, and this hands it on.

    Args:
        value: the term, one number a row, in nats.
        parameters: the leaves that the gradients belong to.
        gradients: of value.mean(), one for each parameter and of its shape.

    Returns:
        `value`, differentiable. The upstream gradient must be the same for all rows.

    Raises:
        ValueError: if the two lists do not pair up by shape.
    """
    if [p.shape for p in parameters] != [g.shape for g in gradients]:
        raise ValueError("gradients must pair up with parameters, shape by shape")
    result: Tensor = _Precomputed.apply(  # type: ignore[no-untyped-call]
        value.detach(), gradients, *parameters
    )
    return result
