"""The posteriors of a part of a data set, as tables: a row a sequence, or a row a frame."""

from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_core.functional import gaussian_log_prob
from seqvae_core.model import SeqVAE
from seqvae_core.records import Distribution, Latent
from seqvae_tasks.representations import Array
from seqvae_tasks.sequences import choose, read

__all__ = ["Posteriors", "collect", "gaussian", "part_of"]


@frozen(eq=False, kw_only=True)
class Posteriors:
    """M Gaussian posteriors of H factors, in float64 on the CPU.

    Attributes:
        name: of a global latent "z"; of a local one "s per frame" or "pooled s".
        mean: (M, H).
        logvar: ln σ², (M, H).
        standard: whether the prior of each is N(0, 1).
        unit: of frames the sequence that each is of, (M,), numbered from 0; else None.
    """

    name: str
    mean: Tensor
    logvar: Tensor
    standard: bool
    unit: Tensor | None = None

    def pooled(self, latent: str) -> "Posteriors":
        """Return the posterior of the mean over each sequence's frames, "pooled s".

        Given x, the frames of a local latent are independent, so that the mean of T of them is
        Gaussian with the mean of their means, and the sum of their variances over T².
        """
        assert self.unit is not None
        count = torch.bincount(self.unit)[:, None].to(self.mean)
        zero = torch.zeros_like(self.mean[: len(count)])
        variance = zero.index_add(0, self.unit, self.logvar.exp()) / count.square()
        return Posteriors(
            name=f"pooled {latent}",
            mean=zero.index_add(0, self.unit, self.mean) / count,
            logvar=variance.log(),
            standard=False,
        )

    def at_most(self, most: int, seed: int) -> "Posteriors":
        """Return the posteriors, or if they are more than that some of them at random."""
        rows = torch.from_numpy(choose(len(self.mean), most, seed))
        unit = None
        if self.unit is not None:
            left = np.unique(self.unit[rows].numpy(), return_inverse=True)[1]
            unit = torch.from_numpy(left)
        return evolve(self, mean=self.mean[rows], logvar=self.logvar[rows], unit=unit)


def collect(model: SeqVAE, data: Any, rows: Array, names: list[str]) -> dict[str, Posteriors]:
    """Return by name the posteriors of chosen sequences: of local latents those of all frames.

    A latent that another's posterior depends on is at its mean there. A latent whose posterior is
    not Gaussian is left out.
    """
    parts: dict[str, list[Posteriors | None]] = {name: [] for name in names}
    for batch in read(data, rows):
        latents = model.output(batch).latents
        for name, found in parts.items():
            found.append(part_of(latents[name]))
    joined: dict[str, Posteriors] = {}
    for name, found in parts.items():
        known = [part for part in found if part is not None]
        if known and len(known) == len(found):
            joined[name] = _join(known)
    return joined


def gaussian(distribution: Distribution) -> tuple[Tensor, Tensor] | None:
    """Return mean and ln σ² of independent Gaussians; None for any other distribution.

    It has to have `logvar`, and the log density that goes with it at the mean and one σ off.
    """
    mean, logvar = distribution.mean, getattr(distribution, "logvar", None)
    if not isinstance(logvar, Tensor):
        return None
    logvar = logvar.expand_as(mean)
    for value in (mean, mean + torch.exp(0.5 * logvar)):
        got, expected = distribution.log_prob(value), gaussian_log_prob(value, mean, logvar)
        if not torch.allclose(got, expected, rtol=1e-3, atol=1e-3, equal_nan=True):
            return None
    return mean, logvar


def part_of(latent: Latent) -> Posteriors | None:
    """Return the posteriors of one batch, of a local latent "s per frame"; None if not Gaussian."""
    posterior = None if latent.posterior is None else gaussian(latent.posterior)
    if posterior is None:
        return None
    local = latent.scope == "local"
    mean, logvar = (_rows(value, latent) for value in posterior)
    prior = None if latent.prior is None else gaussian(latent.prior)
    standard = prior is not None and not any(_rows(value, latent).any() for value in prior)
    unit = latent.mask.nonzero()[:, 0].cpu() if local else None
    name = f"{latent.name} per frame" if local else latent.name
    return Posteriors(name=name, mean=mean, logvar=logvar, standard=standard, unit=unit)


def _rows(value: Tensor, latent: Latent) -> Tensor:  # (M, H)
    rows = value[latent.mask] if latent.scope == "local" else value
    return rows.detach().flatten(1).cpu().double()


def _join(parts: list[Posteriors]) -> Posteriors:
    unit, start = [], 0
    for part in parts:
        if part.unit is not None:
            unit.append(part.unit + start)
            start += int(part.unit.max()) + 1
    return evolve(
        parts[0],
        mean=torch.cat([part.mean for part in parts]),
        logvar=torch.cat([part.logvar for part in parts]),
        standard=all(part.standard for part in parts),
        unit=torch.cat(unit) if unit else None,
    )
