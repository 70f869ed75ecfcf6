"""I(x; z_h) by Gaussian references, and the KL to the prior: upper bounds without sampling."""

import torch
from torch import Tensor

from seqvae_core.components import Estimate
from seqvae_core.functional import gaussian_kl
from seqvae_influence.readings import Reading, checked, weigh

__all__ = [
    "SUMMED",
    "free_mean_form",
    "joint_closed_form",
    "joint_shares_of_gaussian",
    "kl_to_prior",
    "zero_mean_form",
]

SUMMED = (
    "I(x; z) at most, as the sum of each factor's best Gaussian: the covariance of all factors is "
    "singular in float64, so that there is no joint one"
)
_OFF = 1e-3  # nats that rounding may add to a distance known to be H


def kl_to_prior(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
) -> Reading:  # (M, H)
    """Return the mean KL of each factor's posteriors to the prior N(0, 1), nats, ≥ 0."""
    mean, logvar = checked(mean, logvar)
    zero = torch.zeros((), dtype=mean.dtype, device=mean.device)
    shares = gaussian_kl(mean, logvar, zero, zero)
    return Reading(shares=shares, bound="upper", note="mean KL to N(0, 1), an upper bound")


def zero_mean_form(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
) -> Reading:  # (M, H)
    r"""Return the closed form as published: the mean KL to the best zero-mean Gaussian, nats.

    \(\tfrac12 (\ln v_h - \frac1M\sum_m \ln\sigma_{mh}^2)\) with \(v_h = \frac1M\sum_m
    (\sigma_{mh}^2 + \mu_{mh}^2)\). It converges to I(x; z_h) if the aggregated posterior is a
    zero-mean Gaussian, and else to I(x; z_h) + KL(q(z_h)‖N(0, v_h)).

    References:
        Discovering influential factors in variational autoencoders (Liu et al., 2020)
        | https://arxiv.org/abs/1809.01804

    Example:
        >>> import torch
        >>> mean = torch.tensor([[0.8], [-0.8]])
        >>> zero_mean_form(mean, torch.log(1.0 - mean.square())).value  # -½ ln 0.36, as v = 1
        tensor([0.5108], dtype=torch.float64)
    """
    mean, logvar = checked(mean, logvar)
    note = "closed form against the best zero-mean Gaussian, an upper bound"
    return _gaussian(mean, logvar, note)


def free_mean_form(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
) -> Reading:  # (M, H)
    r"""Return the mean KL to the best Gaussian of any mean, nats; at most the zero-mean form.

    The same with \(v_h = \frac1M\sum_m \sigma_{mh}^2 + \mathrm{Var}_m\, \mu_{mh}\), about
    \(\bar\mu_h\).
    """
    mean, logvar = checked(mean, logvar)
    note = "closed form against the best Gaussian, an upper bound"
    return _gaussian(mean - mean.mean(0), logvar, note)


def _gaussian(centred: Tensor, logvar: Tensor, note: str) -> Reading:
    spread = torch.exp(logvar).addcmul_(centred, centred)
    variance = spread.mean(0)
    shares = torch.addcmul(0.5 * (variance.log() - 1.0), spread, 0.5 / variance)
    return Reading(shares=shares.sub_(logvar, alpha=0.5), bound="upper", note=note)


def joint_closed_form(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
    *,
    unit: Tensor | None = None,  # (M,)
) -> Estimate:
    r"""Return an upper bound of I(x; z) of all factors together that does not saturate, nats.

    The mean KL to the best Gaussian with a full covariance, \(\tfrac12 (\ln\det C -
    \frac1M\sum_{mh} \ln\sigma_{mh}^2)\) with C the posteriors' mean variances plus the covariance
    of their means. At most the sum of the free-mean forms, and above I(x; z) up to a bias of order
    H²/M: it takes M far above H². Where C is singular in float64, as of collinear means with tiny
    variances, it is that sum, and the note says so.

    Args:
        mean: of the posteriors.
        logvar: ln σ² of the posteriors.
        unit: which posteriors belong together, numbered from 0: the error is then that of units.

    Raises:
        ShapeError: if the two are not of one shape (M, H) with M ≥ 2, H ≥ 1.
        DataError: if a number is not finite.
    """
    shares, note = joint_shares_of_gaussian(mean, logvar)
    return weigh(shares, "upper", note, unit=unit)


def joint_shares_of_gaussian(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
) -> tuple[Tensor, str]:  # (M,)
    """Return each posterior's share of `joint_closed_form` in nats, and what the mean of them is.

    Raises:
        ShapeError: if the two are not of one shape (M, H) with M ≥ 2, H ≥ 1.
        DataError: if a number is not finite.
    """
    mean, logvar = checked(mean, logvar)
    centred, variance = mean - mean.mean(0), torch.exp(logvar)
    # Scaled to unit diagonal: factors of very different size then cost no digits.
    scale = (variance + centred.square()).mean(0).sqrt()
    centred, variance = centred / scale, variance / scale.square()
    covariance = centred.T @ centred / len(mean) + torch.diag(variance.mean(0))
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not bool(failed):
        precision = torch.cholesky_inverse(factor)
        distance = ((centred @ precision) * centred).sum(1) + variance @ precision.diagonal()
        # Its mean is H whatever the posteriors: what it is off by is what rounding made of all.
        if abs(float(distance.mean()) - mean.shape[1]) < _OFF:
            log_det = 2.0 * (factor.diagonal().log() + scale.log()).sum()
            shares = 0.5 * (distance - mean.shape[1] + log_det - logvar.sum(1))
            return shares, "I(x; z) against the best joint Gaussian, an upper bound"
    return free_mean_form(mean, logvar).shares.sum(1), SUMMED
