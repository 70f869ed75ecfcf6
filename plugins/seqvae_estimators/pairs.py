"""Paired rows of two variables."""

from collections.abc import Sequence

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_core.errors import ShapeError
from seqvae_core.records import Latent, Variable

__all__ = ["Pairs", "take", "variable_of"]


@frozen(eq=False)
class Pairs:
    """Paired rows of two variables, as plain samples."""

    a: Latent
    b: Latent

    def __len__(self) -> int:
        return len(self.a.sample)

    @classmethod
    def of(cls, a: Latent, b: Latent) -> "Pairs":
        """Return the samples of two latents, without their graphs."""
        return cls(*(evolve(v, sample=v.sample.detach(), posterior=None, prior=None)
                     for v in (a, b)))  # fmt: skip

    def at(self, i: Tensor, j: Tensor) -> tuple[Latent, Latent]:
        """Return rows i of a with rows j of b."""
        return take(self.a, i), take(self.b, j)

    def checked(self, least: int) -> "Pairs":
        """Raise `ShapeError` unless there are enough rows and they pair up."""
        if len(self.a.sample) != len(self.b.sample):
            raise ShapeError(
                f"expected paired rows, got {len(self.a.sample)} of '{self.a.name}' and "
                f"{len(self.b.sample)} of '{self.b.name}'"
            )
        if len(self) < least:
            raise ShapeError(f"expected at least {least} paired rows, got {len(self)}")
        if len(self.members()) < least:
            raise ShapeError(f"expected rows of at least {least} units, got {len(self.members())}")
        return self

    def members(self) -> Sequence[Tensor]:
        """Return the rows of each unit of a, by its first row; each row alone if it has none."""
        if self.a.unit is None:
            return torch.arange(len(self))[:, None].unbind()
        rows: dict[int, list[int]] = {}
        for row, unit in enumerate(self.a.unit.tolist()):
            rows.setdefault(unit, []).append(row)
        return [torch.tensor(members) for members in rows.values()]

    def ordered(self) -> "Pairs":
        """Return the rows sorted by their values, without graphs."""
        first = [
            latent.sample if latent.scope == "global" else latent.sample[:, 0]
            for latent in (self.a, self.b)
        ]
        keys = torch.cat([value.detach().flatten(1).double() for value in first], 1).cpu().numpy()
        order = torch.from_numpy(np.lexsort(keys.T[::-1]))
        return Pairs(*self.at(order, order))

    def standardised(self, by: "Pairs") -> "Pairs":
        """Return the rows with each dimension shifted and scaled as `by` has them."""
        return Pairs(_standardised(self.a, by.a), _standardised(self.b, by.b))


def take(latent: Latent, index: Tensor) -> Latent:
    """Return chosen rows of a latent's samples."""
    index = index.to(latent.sample.device)
    return Latent(
        name=latent.name, scope=latent.scope,
        sample=latent.sample[index], mask=latent.mask[index],
        unit=None if latent.unit is None else latent.unit[index.to(latent.unit.device)],
    )  # fmt: skip


def _standardised(latent: Latent, by: Latent) -> Latent:
    known = by.sample if latent.scope == "global" else by.sample[by.mask]
    mean, scale = known.mean(0), known.std(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return evolve(latent, sample=(latent.sample - mean) / scale)


def variable_of(latent: Latent) -> Variable:
    """Return what a latent's samples are."""
    shape = latent.sample.shape[1 if latent.scope == "global" else 2 :]
    return Variable(name=latent.name, scope=latent.scope, shape=tuple(shape))
