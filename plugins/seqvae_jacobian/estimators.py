"""Columns of the Jacobian of a likelihood's mean with respect to one latent, and their norms."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

from attrs import evolve, frozen
from torch import Tensor
from torch.func import jvp, vmap
from torch.nn import functional as F

from seqvae_core.functional import full_precision, masked_sum, zero_padding
from seqvae_core.records import Distribution

__all__ = ["LatentMean", "column_norms", "derivatives", "directions", "finite_differences"]


@frozen(eq=False, kw_only=True)
class LatentMean:
    """The likelihood's mean as a function of one latent, the others and x held fixed.

    Attributes:
        samples: of all latents of R sequences, (R, ...), by name.
        moved: the name of the one.
        local: whether that has a value for each step.
        mask: (R, T) bool.
        decode: from latents by name and x to a likelihood.
        x: the true frames, for a decoder that reads them.
    """

    samples: Mapping[str, Tensor]
    moved: str
    local: bool
    mask: Tensor
    decode: Callable[[Mapping[str, Tensor], Tensor | None], Distribution]
    x: Tensor | None = None

    def __call__(self, value: Tensor) -> Tensor:  # (n·R, S, D) to (n·R, T, *frame)
        """Return the mean, zero in the padding, for n values of each sequence's latent."""
        times = value.shape[0] // len(self.mask)
        latents = {name: _repeated(sample, times) for name, sample in self.samples.items()}
        latents[self.moved] = value.reshape(latents[self.moved].shape)
        x = None if self.x is None else _repeated(self.x, times)
        mean = full_precision(self.decode(latents, x).mean)
        return zero_padding(mean, _repeated(self.mask, times))

    @property
    def point(self) -> Tensor:
        """Where the latent stands, (R, S, D): D numbers at each of S steps, 1 if it is global."""
        sample = self.samples[self.moved]
        return sample.flatten(2) if self.local else sample.flatten(1)[:, None]

    def part(self, rows: slice) -> "LatentMean":
        """Return the function of some of the sequences."""
        samples = {name: sample[rows] for name, sample in self.samples.items()}
        x = None if self.x is None else self.x[rows]
        return evolve(self, samples=samples, mask=self.mask[rows], x=x)


def _repeated(value: Tensor, times: int) -> Tensor:
    return value if times == 1 else value.repeat(times, *[1] * (value.ndim - 1))


def directions(
    columns: Tensor,  # (K, R)
    point: Tensor,  # (R, S, D)
    every_step: bool,
) -> Tensor:  # (K, R, S, D)
    """Return unit steps along columns: j for D at every step, else t·D + j for D at step t."""
    rows, steps, size = point.shape
    width = 1 if every_step else steps
    unit = F.one_hot(columns.to(point.device), width * size).to(point.dtype)
    return unit.reshape(*columns.shape, width, size).expand(-1, rows, steps, size)


def finite_differences(
    mean: LatentMean,
    base: Tensor,  # (R, T, *frame)
    along: Tensor,  # (K, R, S, D)
    epsilon: float,
) -> Tensor:  # (K, R, T, *frame)
    r"""Return \((E[x|z + \varepsilon e] - E[x|z]) / \varepsilon\), zero in the padding.

    Args:
        mean: the function, decoded once for all K·R rows.
        base: its values at the point.
        along: e.
        epsilon: ε > 0.
    """
    moved = mean((mean.point + epsilon * along).flatten(0, 1))
    return (moved.reshape(len(along), *base.shape) - base) / epsilon


def derivatives(
    mean: LatentMean,
    along: Tensor,  # (K, R, S, D)
) -> Tensor:  # (K, R, T, *frame)
    """Return the derivatives of the mean along e, by forward-mode autodiff, zero in the padding."""

    def one(tangent: Tensor) -> Tensor:
        return cast(Tensor, jvp(mean, (mean.point,), (tangent,))[1])

    with warnings.catch_warnings():
        # what torch calls when jvp first runs, it calls deprecated
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.")
        # the function itself is computed once for all K tangents
        return cast(Tensor, cast(Any, vmap)(one)(along))


def column_norms(
    columns: Tensor,  # (K, R, T, *frame)
    mask: Tensor,  # (R, T) bool
    power: int,
) -> Tensor:  # (K, R)
    """Return the sum of |J|, or J² for power 2, over the real frames of each column."""
    terms = columns.abs() if power == 1 else columns.square()
    sums = masked_sum(terms.flatten(0, 1), mask.repeat(len(columns), 1))
    return sums.reshape(columns.shape[:2])
