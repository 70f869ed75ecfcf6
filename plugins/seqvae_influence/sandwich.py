"""All readings of I(x; z_h) side by side, and how far they settle the order of the factors."""

from collections.abc import Sequence
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_core.noise import Noise
from seqvae_influence.closed_form import free_mean_form, kl_to_prior, zero_mean_form
from seqvae_influence.mixture import mixture
from seqvae_influence.readings import MARGIN, Reading, checked
from seqvae_influence.sampled import HELD, leave_one_out

__all__ = ["Sandwich", "averaged", "sandwich"]


@frozen(eq=False, kw_only=True)
class Sandwich:
    """I(x; z_h) of each factor between a lower and several upper bounds, in nats.

    The readings are in the factors' own order.

    Attributes:
        mixture: by quadrature, a lower bound in expectation.
        leave_one_out: an upper bound in expectation that may explode; None where it was not asked.
        free_mean: the closed form against the best Gaussian.
        zero_mean: the closed form as published.
        kl: the mean KL to N(0, 1).
        order: the factors' indices by the mixture, largest first, (H,).
        apart: whether each factor but the last is told apart from the one that follows in
            `order`: its mixture is above the other's lower upper bound by two standard errors of
            the difference, over the same posteriors, (H - 1,) bool.
        decoded: a bound of I(z_h; x̃), x̃ decoded from z: what the decoder makes of the factor.
            Another quantity, which may be above or below I(x; z_h).
    """

    mixture: Reading
    leave_one_out: Reading | None
    free_mean: Reading
    zero_mean: Reading
    kl: Reading
    order: Tensor
    apart: Tensor
    decoded: Reading | None = None

    @property
    def upper(self) -> Reading:
        """Factor by factor the lower of the free-mean form and of leave-one-out, if it is there.

        Leave-one-out counts as the mixture where its samples put it below that.
        """
        return _lower_of(self.free_mean, self.leave_one_out, self.mixture)

    @property
    def notes(self) -> list[str]:
        """What a reader must know beside the numbers."""
        notes = [
            f"{int(self.apart.sum())} of {len(self.apart)} neighbours in the order are told apart "
            "by two standard errors, bounds included: trust the order between those alone"
        ]
        if saturated := int(self.mixture.saturated.sum()):
            notes.append(
                f"{saturated} factors are saturated, within {self.mixture.margin:.3g} nats of "
                f"ln {len(self.mixture.shares)}: they may carry any amount above"
            )
        if self.leave_one_out is None:
            return notes
        beyond = self.leave_one_out.value - self.free_mean.value
        if exploded := int((beyond > self.mixture.margin).sum()):
            notes.append(
                f"leave-one-out is more than {self.mixture.margin:g} nats above the closed form on "
                f"{exploded} factors, whose posteriors stand too far apart for it: it says nothing "
                "there"
            )
        return notes

    def table(self) -> list[dict[str, Any]]:
        """Return a row a factor, the most informative first, in nats."""
        readings = {
            "mixture": self.mixture, "leave-one-out": self.leave_one_out,
            "free mean": self.free_mean, "zero mean": self.zero_mean, "KL": self.kl,
            "decoded": self.decoded,
        }  # fmt: skip
        columns: dict[str, list[Any]] = {}
        for name, reading in readings.items():
            if reading is None:
                continue
            columns[name] = reading.value.tolist()
            columns[f"{name}: standard error"] = reading.stderr.tolist()
        columns["saturated"] = ["yes" if each else "no" for each in self.mixture.saturated]
        last: list[str | None] = ["yes" if each else "no" for each in self.apart]
        return [
            {"factor": h, **{name: column[h] for name, column in columns.items()}, "apart": apart}
            for h, apart in zip(self.order.tolist(), [*last, None], strict=True)
        ]


def sandwich(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
    noise: Noise,
    *,
    samples: int = 1,
    held: int = HELD,
    margin: float = MARGIN,
    decoded: Reading | None = None,
    pairs: bool = True,
    unit: Tensor | None = None,  # (M,)
) -> Sandwich:
    """Read I(x; z_h) of each factor in every way from the same posteriors.

    For these posteriors mixture ≤ free mean ≤ zero mean ≤ KL exactly, and mixture ≤ leave-one-out
    but for its samples' error.

    Args:
        mean: of the posteriors.
        logvar: ln σ² of the posteriors.
        noise: what leaving one out samples from.
        samples: of each posterior, for leaving one out, which costs samples · M² · H exponentials.
        held: numbers held at a time, which bounds the memory and changes no result.
        margin: nats below ln M from which the mixture counts as saturated, ½ ln M at most.
        decoded: the decoded side, if it is known, for a column of its own.
        pairs: whether to leave one out, which alone compares all pairs of posteriors.
        unit: which posteriors belong together, numbered from 0: errors are then those of units,
            and none is left out, as the others of its unit would stand in for it.

    Raises:
        ShapeError: if the two are not of one shape (M, H) with M ≥ 2.
        DataError: if a number is not finite, or σ vanishes beside the spread of the means.
    """
    mean, logvar = checked(mean, logvar)

    def of_units(reading: Reading) -> Reading:
        return evolve(reading, unit=unit)

    mixed = of_units(mixture(mean, logvar, margin=margin))
    free = of_units(free_mean_form(mean, logvar))
    left_out = None
    if pairs and unit is None:
        left_out = of_units(leave_one_out(mean, logvar, mixed, noise, samples=samples, held=held))
    order = mixed.value.argsort(descending=True, stable=True)
    return Sandwich(
        mixture=mixed,
        leave_one_out=left_out,
        free_mean=free,
        zero_mean=of_units(zero_mean_form(mean, logvar)),
        kl=of_units(kl_to_prior(mean, logvar)),
        order=order,
        apart=_apart(mixed, _lower_of(free, left_out, mixed), order),
        decoded=decoded,
    )


def averaged(parts: Sequence[Sandwich]) -> Sandwich:
    """Return the mean over tables of the same M inputs and H factors, as places of a map are.

    Each input's shares are averaged over the tables, so that errors are those of inputs, however
    many places there are. Of channel h of a map it reads the mean over places p of I(x; z_hp).

    Args:
        parts: one or more, without leaving one out, which is left out here.
    """

    def mean(readings: list[Reading]) -> Reading:
        shares = torch.stack([reading.shares for reading in readings]).mean(0)
        return evolve(readings[0], shares=shares)

    mixed, free = mean([part.mixture for part in parts]), mean([part.free_mean for part in parts])
    order = mixed.value.argsort(descending=True, stable=True)
    return Sandwich(
        mixture=mixed,
        leave_one_out=None,
        free_mean=free,
        zero_mean=mean([part.zero_mean for part in parts]),
        kl=mean([part.kl for part in parts]),
        order=order,
        apart=_apart(mixed, free, order),
    )


def _lower_of(free: Reading, left_out: Reading | None, mixed: Reading) -> Reading:
    """Return, factor by factor, the lower of the two upper bounds, and not below the mixture."""
    if left_out is None:
        return free
    others = torch.where(left_out.value < mixed.value, mixed.shares, left_out.shares)
    shares = torch.where(left_out.value < free.value, others, free.shares)
    return evolve(free, shares=shares, note="the lower of leave-one-out and the closed form")


def _apart(lower: Reading, upper: Reading, order: Tensor) -> Tensor:
    if len(order) == 1:
        return torch.zeros(0, dtype=torch.bool, device=order.device)
    ahead = lower.shares[:, order[:-1]] - upper.shares[:, order[1:]]
    difference = evolve(lower, shares=ahead)
    return difference.value > 2.0 * difference.stderr
