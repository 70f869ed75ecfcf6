"""Which factors matter, which are dead, what can be left out: a pure function of numbers."""

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Literal

from attrs import field, frozen, validators

__all__ = ["Factor", "Rules", "Status", "Verdict", "judge", "keeping"]

Status = Literal["matters", "weak", "ignored", "dead"]
_share = [validators.ge(0.0), validators.lt(1.0)]


@frozen(kw_only=True)
class Rules:
    """Where the lines are drawn.

    Attributes:
        threshold: nats of I(x; z_h) above which a factor counts as informative.
        dead: nats up to which the upper bound of I(x; z_h) makes an unused factor dead.
        effect: share of the variance of x below which a factor's exchange counts as no change.
        tolerance: share of the variance of x that leaving factors out may cost.
    """

    threshold: float = field(default=0.5, validator=validators.ge(0.0))
    dead: float = field(default=0.05, validator=validators.ge(0.0))
    effect: float = field(default=1e-3, validator=_share)
    tolerance: float = field(default=0.01, validator=_share)

    def __attrs_post_init__(self) -> None:
        if self.dead > self.threshold:
            raise ValueError(f"'dead' must be <= 'threshold': {self.dead}, {self.threshold}")


@frozen(kw_only=True)
class Factor:
    """The numbers of one factor.

    Attributes:
        index: which.
        mi: I_M, a lower bound of I(x; z_h) in expectation, nats.
        stderr: of `mi`, nats; NaN of a single input.
        upper: an upper bound, nats.
        effect: mean squared change of what is decoded when the factor is exchanged among inputs,
            as a share of the variance of x; None where that is not known.
    """

    index: int
    mi: float
    stderr: float
    upper: float
    effect: float | None


@frozen(kw_only=True)
class Verdict:
    """What follows for the factors.

    Attributes:
        status: of each factor by index.
        settled: by index, whether the threshold is outside of the factor's interval, two standard
            errors below `mi` to two above `upper`.
        least: how many factors are above the threshold and used with all of their interval.
        most: how many are with any of it.
        keep: the smallest k of the curve whose reconstruction costs no more than is tolerated, in
            the order of `keeping`; None where there is no curve.
        loss: what that costs, as a share of the variance of x.
        dropped: the factors that it leaves out, in that order.
    """

    status: Mapping[int, Status]
    settled: Mapping[int, bool]
    least: int
    most: int
    keep: int | None
    loss: float | None
    dropped: tuple[int, ...]

    def of(self, status: Status) -> tuple[int, ...]:
        """Return the factors of a status, strongest first."""
        return tuple(index for index, each in self.status.items() if each == status)


def judge(
    factors: Sequence[Factor],
    rules: Rules,
    curve: Mapping[int, float] | None = None,
) -> Verdict:
    """Judge factors by what the encoder puts in and what the decoder makes of it.

    A factor *matters* if its information is above the threshold and the decoder changes with it; it
    is *ignored* if the decoder does not. It is *dead* if even its upper bound is at most `dead` and
    the decoder does not change with it. All else is *weak*.

    Args:
        factors: in any order; the result is sorted by `mi`, largest first, ties by index.
        rules: where the lines are drawn.
        curve: by k, the share of the variance of x that a reconstruction from the first k factors
            of `keeping` leaves unexplained; all of them among the k.
    """
    ranked = sorted(factors, key=lambda each: (-each.mi, each.index))
    keep = loss = None
    if curve:
        costs = {k: max(0.0, curve[k] - curve[max(curve)]) for k in sorted(curve)}
        keep, loss = next((k, cost) for k, cost in costs.items() if cost <= rules.tolerance)
    errors = [2.0 * each.stderr if isfinite(each.stderr) else inf for each in ranked]
    low = [each.mi - error for each, error in zip(ranked, errors, strict=True)]
    high = [each.upper + error for each, error in zip(ranked, errors, strict=True)]
    used = [_used(each, rules) for each in ranked]
    return Verdict(
        status={each.index: _status(each, rules) for each in ranked},
        settled={
            each.index: not below <= rules.threshold <= above
            for each, below, above in zip(ranked, low, high, strict=True)
        },
        least=sum(u and below > rules.threshold for u, below in zip(used, low, strict=True)),
        most=sum(u and above > rules.threshold for u, above in zip(used, high, strict=True)),
        keep=keep,
        loss=loss,
        dropped=() if keep is None else keeping(factors, rules)[keep:],
    )


def keeping(factors: Sequence[Factor], rules: Rules) -> tuple[int, ...]:
    """Return the factors in the order in which they are kept: the strongest first, by `mi`.

    Those that the decoder does not change with come behind the others.
    """
    ranked = sorted(factors, key=lambda each: (not _used(each, rules), -each.mi, each.index))
    return tuple(each.index for each in ranked)


def _status(factor: Factor, rules: Rules) -> Status:
    if factor.mi > rules.threshold:
        return "matters" if _used(factor, rules) else "ignored"
    if factor.upper <= rules.dead and (factor.effect is None or not _used(factor, rules)):
        return "dead"
    return "weak"


def _used(factor: Factor, rules: Rules) -> bool:
    """Tell whether the decoder changes with a factor, which is granted where it is not known."""
    return factor.effect is None or factor.effect > rules.effect
