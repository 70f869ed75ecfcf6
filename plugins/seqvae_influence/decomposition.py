"""What the ELBO's KL is made of, and what of it can be told apart."""

import math
from functools import partial

from attrs import evolve, frozen
from torch import Tensor

from seqvae_core.components import Estimate
from seqvae_core.noise import Noise
from seqvae_influence.closed_form import joint_shares_of_gaussian, kl_to_prior
from seqvae_influence.mixture import mixture
from seqvae_influence.readings import MARGIN, Reading, checked, weigh
from seqvae_influence.sampled import HELD, joint_shares

__all__ = ["Decomposition", "decompose"]


@frozen(kw_only=True)
class Decomposition:
    """The mean KL to the prior N(0, 1), E KL = I(x; z) + TC(q(z)) + Σ_h KL(q(z_h)‖p), in nats.

    The sums are over factors. For diagonal posteriors Σ_h I(x; z_h) = I(x; z) + TC, which is known
    far better than either part: parting them takes the joint mixture, which cannot exceed ln M.

    Attributes:
        rate: E KL(q(z|x)‖p), the mean over posteriors.
        marginals: Σ_h KL(q(z_h)‖p) by the one-dimensional mixtures.
        factors: Σ_h I(x; z_h) by the same, which with `marginals` makes up `rate`.
        joint_bound: an upper bound of I(x; z) by one Gaussian, which does not saturate.
        joint: I(x; z) by the joint mixture; None where that is saturated, or was not asked.
        total_correlation: `factors` less `joint`; None where there is no `joint`.
        total_correlation_bound: `factors` less `joint_bound`, a lower bound of TC; its error is of
            the difference, posterior by posterior.
        saturated: whether the joint mixture is.
        note: why there is no `joint`, else empty.
    """

    rate: Estimate
    marginals: Estimate
    factors: Estimate
    joint_bound: Estimate
    joint: Estimate | None
    total_correlation: Estimate | None
    total_correlation_bound: Estimate
    saturated: bool
    note: str


def decompose(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
    noise: Noise,
    *,
    samples: int = 1,
    held: int = HELD,
    margin: float = MARGIN,
    pairs: bool = True,
    unit: Tensor | None = None,  # (M,)
    mixed: Reading | None = None,
) -> Decomposition:
    """Take the mean KL to N(0, 1) apart, as far as M posteriors allow.

    The joint mixture counts as saturated if a single factor is, as I(x; z) ≥ I(x; z_h); if it is
    itself within `margin` of ln M; or if leaving one out moves it by more than `margin`.

    Args:
        mean: of the posteriors.
        logvar: ln σ² of the posteriors.
        noise: what the joint samples are drawn from.
        samples: of each posterior.
        held: numbers held at a time, which bounds the memory and changes no result.
        margin: nats, see above.
        pairs: whether to try the joint mixture, which alone compares all pairs of posteriors.
        unit: which posteriors belong together, numbered from 0: errors are then those of units,
            and there is no joint mixture, as leaving one of a unit out would not check it.
        mixed: what `mixture` gives for them, if it is known: most of the cost.

    Raises:
        ShapeError: if the two are not of one shape (M, H) with M ≥ 2.
        DataError: if a number is not finite, or σ vanishes beside the spread of the means.

    References:
        Isolating sources of disentanglement in variational autoencoders (Chen et al., 2018), eq. 2
        | https://arxiv.org/abs/1802.04942
    """
    mean, logvar = checked(mean, logvar)
    mixed = mixed or mixture(mean, logvar, margin=margin)
    rate = kl_to_prior(mean, logvar)
    weighed = partial(weigh, unit=unit)
    gaussian, how = joint_shares_of_gaussian(mean, logvar)
    least = weighed(mixed.shares.sum(1) - gaussian, "lower", "TC(q(z)) at least, by one Gaussian")
    factors = evolve(mixed, unit=unit).total()
    shares, note = None, "no estimate of I(x; z): no pairs of posteriors were compared"
    if paired := pairs and unit is None:
        shares, note = _joint(mean, logvar, mixed, noise, samples, held)
    joint = total_correlation = None
    if shares is not None:
        joint = weighed(shares, "lower", "I(x; z) against the joint mixture")
        apart = mixed.shares.sum(1) - shares
        total_correlation = weighed(apart, "none", "TC(q(z)), of two lower bounds")
    return Decomposition(
        rate=weighed(rate.shares.sum(1), "none", "E KL(q(z|x)‖p) of these posteriors"),
        marginals=weighed((rate.shares - mixed.shares).sum(1), "upper", "Σ_h KL(q(z_h)‖p)"),
        factors=factors,
        joint_bound=weighed(gaussian, "upper", how),
        joint=joint,
        total_correlation=total_correlation,
        total_correlation_bound=least,
        saturated=paired and shares is None,
        note=note,
    )


def _joint(
    mean: Tensor, logvar: Tensor, mixed: Reading, noise: Noise, samples: int, held: int
) -> tuple[Tensor | None, str]:
    """Return the joint mixture's shares (M,), or None and why not."""
    ceiling = f"ln {len(mean)} = {math.log(len(mean)):.3g} nats"
    if bool(mixed.saturated.any()):
        return None, f"no estimate of I(x; z): a single factor's is near {ceiling}"
    found = joint_shares(mean, logvar, noise.of("joint"), samples=samples, held=held)
    gap = float((found.upper - found.mi).mean())
    if found.saturated(mixed.margin):
        return None, f"no estimate of I(x; z): the joint mixture is near its ceiling, {ceiling}"
    if gap > mixed.margin:
        return None, (
            f"no estimate of I(x; z): leaving one posterior out of the joint mixture of "
            f"{len(mean)} moves it by {gap:.3g} nats"
        )
    return found.mi, ""
