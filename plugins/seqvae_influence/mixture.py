r"""I(x; z_h) against the mixture of all posteriors, by one-dimensional quadrature.

What is wanted is \(\int q_m \ln q_M\) for each of M Gaussians \(q_m\) and their mean \(q_M\). One
grid fine enough for the narrowest would be large, and the wide ones would be evaluated on all of
it. Here the line is cut into panels of Gauss–Legendre nodes, at many levels: panels of width 2^e
serve the components with σ in [2^(e-2), 2^(e-1)), wherever they reach. Density passes from a
panel to its halves by polynomial interpolation, so that each component costs some 150 exponentials
whatever its σ, and a panel is halved only where narrower components are. The integrals run over
the panels that were not halved; that of each component is read off by passing ln q_M back up
through the transposed interpolation.
"""

import math
from functools import cache

import numpy as np
import torch
from attrs import define
from torch import Tensor

from seqvae_core.errors import DataError
from seqvae_influence.readings import MARGIN, Reading, checked, closeness

__all__ = ["mixture"]

_NODES = 24  # of a panel at most four σ wide: a Gaussian is interpolated to 2e-12 of its peak
_REACH = 7.0  # in σ: beyond lies 3e-12 of a Gaussian
_FINEST = 2.0**50  # panels between 0 and the furthest mean, where float64 places a mean in one


def mixture(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
    *,
    margin: float = MARGIN,
) -> Reading:  # (M, H)
    r"""Return the mean KL of each factor's posteriors to their own mixture, nats.

    \(I_M = \frac1M\sum_m \mathrm{KL}(q(z_h|x_m)‖\frac1M\sum_j q(z_h|x_j))\), the information of
    z_h about *which of the M* it was: consistent, below I(x; z_h) in expectation, in [0, ln M].
    Deterministic; the quadrature's own error is below 1e-9 nats, whatever the spread of σ.

    Args:
        mean: of the posteriors.
        logvar: ln σ² of the posteriors.
        margin: nats below ln M from which a value counts as saturated, ½ ln M at most.

    Raises:
        ShapeError: if the two are not of one shape (M, H) with M ≥ 2.
        DataError: if a number is not finite, or σ vanishes beside the spread of the means.

    Example:
        >>> import torch
        >>> mean = torch.tensor([[-9.0], [9.0]])
        >>> mixture(mean, torch.zeros(2, 1)).value  # two that are told apart: ln 2
        tensor([0.6931], dtype=torch.float64)
    """
    mean, logvar = checked(mean, logvar)
    columns = zip(mean.unbind(1), logvar.unbind(1), strict=True)
    ceiling = math.log(len(mean))
    return Reading(
        shares=torch.stack([_shares(*column) for column in columns], 1),
        bound="lower",
        ceiling=ceiling,
        margin=closeness(ceiling, margin),
        note="against the mixture of all posteriors, by quadrature: a lower bound in expectation "
        f"that cannot exceed ln {len(mean)}",
    )


def _shares(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(q_m‖q_M) of the M components of one factor, (M,)."""
    levels = _levels(mean - mean.mean(), torch.exp(0.5 * logvar))
    _descend(levels, len(mean))
    expected = _ascend(levels, len(mean))
    return -0.5 * (1.0 + math.log(2.0 * math.pi) + logvar) - expected


@define(eq=False)
class _Level:
    """The panels [i, i + 1]·width of one level, and the components whose density enters there.

    Attributes:
        width: a power of two.
        member: which component, one entry for each panel that it reaches, (R,).
        reached: which panel that is, (R,).
        density: of the component at the panel's nodes, (R, nodes).
        panels: sorted, in pairs that are the halves of one wider panel, (P,).
        halved: which of the panels the next level halves, all of its panels in order.
        values: (P, nodes): of the mixture; of what is integrated, on the way back.
    """

    width: float
    member: Tensor
    reached: Tensor
    density: Tensor
    panels: Tensor
    halved: Tensor
    values: Tensor


def _levels(mean: Tensor, sigma: Tensor) -> list[_Level]:
    """Return the levels from the widest panels to the narrowest."""
    exponents = torch.frexp(sigma).exponent
    finest, coarsest = int(exponents.min()), int(exponents.max())
    if float(mean.abs().max()) * 2.0**-finest > _FINEST:
        raise DataError(
            f"expected standard deviations that show beside the means' spread, got "
            f"{float(sigma.min()):.3g} where means lie {float(mean.abs().max()):.3g} off centre"
        )
    levels: list[_Level] = []
    halved = torch.empty(0, dtype=torch.int64, device=mean.device)
    for exponent in range(finest, coarsest + 1):
        member = (exponents == exponent).nonzero()[:, 0]
        level = _spread(member, mean[member], sigma[member], 2.0 ** (exponent + 1), halved)
        levels.append(level)
        halved = level.panels[::2] >> 1
    return levels[::-1]


def _spread(member: Tensor, mean: Tensor, sigma: Tensor, width: float, halved: Tensor) -> _Level:
    """Evaluate components on the panels that they reach; `halved` are to be there as well."""
    mean, sigma = mean / width, sigma / width
    first = (mean - _REACH * sigma).floor()
    count = ((mean + _REACH * sigma).floor() - first).long() + 1
    row = torch.repeat_interleave(count)
    step = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    panel = first.long()[row] + step
    parents = torch.unique(torch.cat([panel, halved]) >> 1)
    panels = torch.stack([2 * parents, 2 * parents + 1], 1).flatten()
    nodes = _rule(mean.device)[0]
    offset = ((first - mean)[row] + step) / sigma[row]
    density = torch.addcmul(offset[:, None], nodes, (1.0 / sigma)[row, None])
    density = density.square_().mul_(-0.5).exp_()
    density *= (1.0 / (sigma * width * math.sqrt(2.0 * math.pi)))[row, None]
    return _Level(
        width=width, member=member[row], reached=torch.searchsorted(panels, panel),
        density=density, panels=panels, halved=torch.searchsorted(panels, halved),
        values=mean.new_zeros(len(panels), _NODES),
    )  # fmt: skip


def _descend(levels: list[_Level], count: int) -> None:
    """Set each level's values to the mixture's density, coarse to fine."""
    _, _, halve = _rule(levels[0].values.device)
    inherited: Tensor | None = None
    for level in levels:
        if inherited is not None:
            # Interpolation may undershoot 0 by its rounding, where a tail has died away.
            level.values = inherited.clamp_min_(0.0)
        level.values.index_add_(0, level.reached, level.density, alpha=1.0 / count)
        inherited = (level.values[level.halved] @ halve).reshape(-1, _NODES)


def _ascend(levels: list[_Level], count: int) -> Tensor:
    """Return ∫ q_m ln q_M of each component, (M,), fine to coarse; overwrites the values."""
    _, weights, halve = _rule(levels[0].values.device)
    expected = levels[0].values.new_zeros(count)
    returned: Tensor | None = None
    for level in reversed(levels):
        smallest = torch.finfo(torch.float64).tiny
        level.values.clamp_min_(smallest).log_().mul_(level.width * weights)
        if returned is not None:
            level.values[level.halved] = returned
        share = torch.einsum("rn,rn->r", level.density, level.values[level.reached])
        expected.index_add_(0, level.member, share)
        returned = level.values.reshape(-1, 2 * _NODES) @ halve.T
    return expected


@cache
def _rule(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return nodes and weights on [0, 1], and the interpolation to both halves, (n, 2n)."""
    legendre = np.polynomial.legendre
    nodes, weights = legendre.leggauss(_NODES)
    halves = np.concatenate([nodes - 1.0, nodes + 1.0]) / 2.0
    # The nodes' own weights make the Legendre polynomials orthogonal on them: no system is solved.
    norms = np.arange(_NODES) + 0.5
    basis = (legendre.legvander(nodes, _NODES - 1) * norms).T * weights
    halve = (legendre.legvander(halves, _NODES - 1) @ basis).T
    rule = ((nodes + 1.0) / 2.0, weights / 2.0, halve)
    first, second, third = (
        torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in rule
    )
    return first, second, third
