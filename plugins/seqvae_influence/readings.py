"""What an estimate of I(x; z_h) is: its value, its error, its side, its ceiling."""

import math
from typing import Literal

from attrs import frozen
from torch import Tensor

from seqvae_core.components import Estimate
from seqvae_core.errors import DataError, ShapeError
from seqvae_estimators.errors_of_means import standard_error

__all__ = ["MARGIN", "Reading", "checked", "closeness", "weigh"]

MARGIN = 1.0


@frozen(eq=False, kw_only=True)
class Reading:
    r"""One number for each factor, in nats, as the mean of M posteriors' shares of it.

    A share is KL(q(z_h|x_m)‖r) to a law r: the prior, the best Gaussian, the mixture of all
    posteriors. Where r is the best of its kind for these posteriors, the value does not change to
    first order as r follows the sample: the shares are then the value's influence function, and
    their standard deviation over √M is the delta method's standard error. Posteriors of one unit,
    as the frames of a sequence are, move together: the error is then that of the units' sums.

    Attributes:
        shares: (M, H) float64, one row a posterior.
        bound: the side of I(x; z_h) on which the value lies: in expectation over the sample, but
            for the closed forms, which are above the mixture of the same posteriors for certain
            and above I(x; z_h) up to a bias of order 1/M.
        ceiling: what the value cannot exceed, in nats: ln M, or infinity.
        margin: nats below the ceiling from which the value counts as saturated.
        note: what it is, in a line.
        unit: which posteriors belong together, (M,) numbers from 0; None if each stands alone.
    """

    shares: Tensor
    bound: Literal["lower", "upper"]
    ceiling: float = math.inf
    margin: float = MARGIN
    note: str = ""
    unit: Tensor | None = None

    @property
    def value(self) -> Tensor:
        """The estimate of each factor, (H,), nats."""
        return self.shares.mean(0)

    @property
    def stderr(self) -> Tensor:
        """The standard error of each factor by the delta method, (H,), nats; NaN of one unit."""
        return standard_error(self.shares, self.unit)

    @property
    def saturated(self) -> Tensor:
        """Whether each factor is so near the ceiling that it may be anything above, (H,) bool."""
        return self.value > self.ceiling - self.margin

    def near(self, ceiling: float) -> Tensor:  # (H,) bool
        """Return whether each factor is as near to another ceiling, or above it."""
        return self.value > ceiling - closeness(ceiling, self.margin)

    def alike(self, sequences: int) -> str:
        """Say how many factors are at the ceiling of frames that are alike in each sequence."""
        ceiling = math.log(sequences)
        if not (near := int(self.near(ceiling).sum())):
            return ""
        return (
            f"{near} factors are within {closeness(ceiling, self.margin):.3g} nats of the ln of "
            f"the {sequences} sequences, {ceiling:.3g}: where a sequence's frames are alike, that "
            "is their ceiling"
        )

    def estimates(self) -> list[Estimate]:
        """Return each factor's number as an `Estimate`, whose note also warns of saturation."""
        warning = f"; saturated: it may be any amount above {self.ceiling - self.margin:.3g} nats"
        columns = zip(self.value, self.stderr, self.saturated, strict=True)
        return [
            Estimate(
                value=float(value), stderr=float(stderr), bound=self.bound, n=len(self.shares),
                note=self.note + warning * bool(saturated),
            )
            for value, stderr, saturated in columns
        ]  # fmt: skip

    def total(self) -> Estimate:
        """Return the sum over factors; the factors' errors are taken together, not added up.

        The sum is Σ_h I(x; z_h), which is I(x; z) plus the total correlation: never I(x; z).
        """
        note = "Σ_h I(x; z_h) = I(x; z) + TC(q(z))"
        return weigh(self.shares.sum(1), self.bound, note, unit=self.unit)


def closeness(ceiling: float, margin: float) -> float:
    """Return the nats below a ceiling that count as near it, half of them at most.

    Example:
        >>> round(closeness(math.log(2), 1.0), 3)  # of two posteriors not all is near
        0.347
    """
    return min(margin, 0.5 * ceiling)


def weigh(
    shares: Tensor,  # (M,)
    bound: Literal["lower", "upper", "none"],
    note: str,
    *,
    unit: Tensor | None = None,  # (M,)
) -> Estimate:
    """Return the mean of shares in nats, with its standard error by the delta method."""
    stderr = float(standard_error(shares, unit))
    return Estimate(
        value=float(shares.mean()), stderr=stderr, bound=bound, n=len(shares), note=note
    )


def checked(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
) -> tuple[Tensor, Tensor]:  # (M, H), (M, H)
    """Return a table of posteriors in float64, without its graph.

    Raises:
        ShapeError: if the two are not of one shape (M, H) with M ≥ 2, H ≥ 1.
        DataError: if a number is not finite, or a variance is 0 or infinite in float64.
    """
    if mean.ndim != 2 or mean.shape != logvar.shape or len(mean) < 2 or mean.shape[1] < 1:
        raise ShapeError(
            "expected mean and logvar of one shape (M, H), M >= 2 posteriors of H >= 1 factors, "
            f"got {tuple(mean.shape)} and {tuple(logvar.shape)}"
        )
    mean, logvar = mean.detach().double(), logvar.detach().double()
    if not (_within(mean, math.inf) and _within(logvar, 700.0)):
        raise DataError("expected finite means, and log variances within (-700, 700)")
    return mean, logvar


def _within(value: Tensor, limit: float) -> bool:
    low, high = value.aminmax()  # NaN if any is: neither comparison then holds
    return bool((low > -limit) & (high < limit))
