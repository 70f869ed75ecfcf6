"""The standard error of a mean over rows, some of which belong together."""

import math

import torch
from torch import Tensor

__all__ = ["standard_error"]


def standard_error(
    shares: Tensor,  # (M, ...)
    unit: Tensor | None = None,  # (M,)
) -> Tensor:  # (...)
    """Return the standard error of the mean over rows, the rows of a unit taken together.

    Args:
        shares: one row an observation.
        unit: which rows belong together, numbers from 0; None if each stands alone.

    Returns:
        That of each column; NaN of a single row or unit.
    """
    if unit is None:
        return shares.std(0) / math.sqrt(len(shares))
    units = int(unit.max()) + 1
    sums = shares.new_zeros(units, *shares.shape[1:])
    sums.index_add_(0, unit, shares - shares.mean(0))
    if units < 2:
        return torch.full_like(sums[0], math.nan)
    return sums.square().sum(0).sqrt() * (math.sqrt(units / (units - 1)) / len(shares))
