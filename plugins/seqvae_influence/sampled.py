"""I(x; z_h) from samples: the mixture by Monte Carlo, and the mixture that leaves one out."""

import math

import torch
from torch import Tensor

from seqvae_basics.distributions import Gaussian
from seqvae_core.errors import ShapeError
from seqvae_core.noise import Noise
from seqvae_influence.readings import MARGIN, Reading, checked, closeness
from seqvae_tasks.input_information import Shares, aggregated

__all__ = ["HELD", "joint_shares", "leave_one_out", "monte_carlo"]

HELD = 2**20


def monte_carlo(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
    noise: Noise,
    *,
    samples: int = 1,
    held: int = HELD,
    margin: float = MARGIN,
) -> Reading:  # (M, H)
    """Return what `mixture` returns, by samples: log-sum-exp over all posteriors, nats.

    For a check, and for posteriors without quadrature: it costs samples · M² · H exponentials and
    adds the samples' own error, which `stderr` has in it.

    Args:
        mean: of the posteriors.
        logvar: ln σ² of the posteriors.
        noise: what the samples are drawn from.
        samples: of each posterior.
        held: numbers held at a time, which bounds the memory and changes no result.
        margin: nats below ln M from which a value counts as saturated, ½ ln M at most.

    Raises:
        ShapeError: if the two are not of one shape (M, H) with M ≥ 2.
        DataError: if a number is not finite.
    """
    mean, logvar = checked(mean, logvar)
    found = _by_factor(mean, logvar, noise, samples, held)
    return Reading(
        shares=torch.stack([shares.mi for shares in found], 1),
        bound="lower",
        ceiling=math.log(len(mean)),
        margin=closeness(math.log(len(mean)), margin),
        note=f"against the mixture of all posteriors, {samples} samples of each: a lower bound in "
        f"expectation, at most ln {len(mean)} in expectation",
    )


def leave_one_out(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
    mixed: Reading,
    noise: Noise,
    *,
    samples: int = 1,
    held: int = HELD,
) -> Reading:  # (M, H)
    r"""Return the mean KL of each posterior to the mixture of the M - 1 *others*, nats.

    An upper bound of I(x; z_h) in expectation, by Jensen's inequality. It is above `mixed` but for
    the samples' error, and explodes where a posterior stands alone: the others' density there is
    that of their far tails. Only what leaving one out *adds* is sampled,
    \(E_{q_m}[-\ln(1 - q_m / (M q_M))] + \ln(1 - 1/M)\), which varies little as long as it is small.

    Args:
        mean: of the posteriors.
        logvar: ln σ² of the posteriors.
        mixed: what `mixture` returned for them.
        noise: what the samples are drawn from.
        samples: of each posterior.
        held: numbers held at a time, which bounds the memory and changes no result.

    Raises:
        ShapeError: if the two are not of one shape (M, H) with M ≥ 2, or `mixed` is of another.
        DataError: if a number is not finite.

    References:
        On variational bounds of mutual information (Poole et al., 2019), the bounds for a known
        conditional density | https://arxiv.org/abs/1905.06922
    """
    mean, logvar = checked(mean, logvar)
    if mixed.shares.shape != mean.shape:
        raise ShapeError(
            f"expected the mixture of the same posteriors, {tuple(mean.shape)}, "
            f"got one of {tuple(mixed.shares.shape)}"
        )
    found = _by_factor(mean, logvar, noise, samples, held)
    added = torch.stack([shares.upper - shares.mi for shares in found], 1)
    return Reading(
        shares=mixed.shares + added,
        bound="upper",
        note="against the mixture of the others: an upper bound in expectation, which explodes "
        "where posteriors stand alone",
    )


def joint_shares(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
    noise: Noise,
    *,
    samples: int = 1,
    held: int = HELD,
) -> Shares:  # (M,), (M,)
    """Return each posterior's shares of I(x; z) of all factors together, by both mixtures, nats."""
    return aggregated([Gaussian(mean, logvar)], samples, noise, block=max(1, held // mean.numel()))


def _by_factor(mean: Tensor, logvar: Tensor, noise: Noise, samples: int, held: int) -> list[Shares]:
    return [
        joint_shares(
            mean[:, [h]], logvar[:, [h]], noise.of(f"factor-{h}"), samples=samples, held=held
        )
        for h in range(mean.shape[1])
    ]
