"""What the encoder puts into each factor: I(x; z_h), its bounds, and the aggregate q(z_h)."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_audit.callables import Callables
from seqvae_audit.protocol import check_finite
from seqvae_audit.trial import one_length
from seqvae_audit.wrapped import Form
from seqvae_core.errors import DataError
from seqvae_core.noise import Noise
from seqvae_core.records import Batch
from seqvae_influence.readings import Reading
from seqvae_influence.sandwich import Sandwich, averaged, sandwich
from seqvae_tasks.sequences import choose

__all__ = ["Encoded", "Readings", "encode", "read_factors"]


@frozen(eq=False, kw_only=True)
class Encoded:
    """Posteriors of M sequences in float32 on the CPU.

    Attributes:
        mean: (M, D), of sequences (M, T, D), of maps (M, P, C) at P places.
        logvar: ln σ², of the same shape.
        places: which places of a map those are, (P,); None otherwise.
        template: the mean over sequences of the whole z, (D,), (T, D) or (C, H, W).
    """

    mean: Tensor
    logvar: Tensor
    places: Tensor | None
    template: Tensor


def encode(
    callables: Callables, form: Form, batches: Iterator[Batch], *, places: int, seed: int
) -> Encoded:
    """Encode sequences; of a map keep some of its places, drawn once for all sequences.

    Raises:
        DataError: if sequences differ in length or shape, or encode gives NaN.
    """
    kept = None
    if form.kind == "map":
        kept = torch.from_numpy(choose(int(np.prod(form.latent[1:])), places, seed))
    means: list[Tensor] = []
    logvars: list[Tensor] = []
    total, count = torch.zeros(()).double(), 0
    for batch in batches:
        if tuple(batch.x.shape[2:]) != form.frame or one_length(batch.lengths) != (
            form.frames or 1
        ):
            raise DataError(
                f"expected sequences of {form.frames or 1} frames {form.frame}, got "
                f"{tuple(batch.x.shape[1:])}"
            )
        mean, logvar = form.encoded(callables, batch.x)
        check_finite(mean, "the mean of encode(x)")
        check_finite(logvar, "the log variance of encode(x)")
        total, count = total + mean.double().sum(0).cpu(), count + len(mean)
        for parts, value in ((means, mean), (logvars, logvar)):
            value = value.cpu()
            parts.append(value if kept is None else value.flatten(2)[:, :, kept].transpose(1, 2))
    return Encoded(
        mean=torch.cat(means), logvar=torch.cat(logvars), places=kept,
        template=(total / count).float(),
    )  # fmt: skip


@frozen(eq=False, kw_only=True)
class Readings:
    """What is read off the posteriors, factor by factor, in nats.

    Attributes:
        sandwich: I(x; z_h) with its bounds and the KL to N(0, 1).
        marginal: KL(q(z_h)‖N(0, 1)) of the aggregate, the KL less I_M: an upper bound.
        mean: of the aggregate, (H,); of a map the mean over places.
        variance: of the aggregate, (H,); of a map the mean over places, of each place's own.
        alike: of frames the ln of their sequences, which is the ceiling of I_M where the frames of
            a sequence are alike; None otherwise.
        rows: how many posteriors a mixture has.
        what: which posteriors these are, in a line.
    """

    sandwich: Sandwich
    marginal: Reading
    mean: Tensor
    variance: Tensor
    alike: float | None
    rows: int
    what: str

    @property
    def saturated(self) -> Tensor:
        """Whether each factor is near its ceiling, or near that of frames that are alike, (H,)."""
        mixed = self.sandwich.mixture
        return mixed.saturated if self.alike is None else mixed.saturated | mixed.near(self.alike)


def read_factors(
    encoded: Encoded, form: Form, noise: Noise, *, most: int, pairs: int, margin: float, seed: int
) -> Readings:
    """Read each factor's information.

    A vector's posteriors are one a sequence. Those of frames are taken together, errors being of
    sequences. A map's channels are read at each place by itself, against the mixture of all
    inputs there, and averaged over places; each input counts once in the errors.

    Args:
        encoded: the posteriors.
        form: what they are.
        noise: for leaving one out.
        most: posteriors of frames to take at most.
        pairs: posteriors up to which one is left out.
        margin: nats below the ceiling from which a factor counts as saturated.
        seed: of the choice of frames.
    """
    mean, logvar = encoded.mean.double(), encoded.logvar.double()
    count, alike = len(mean), None
    what = f"q(z_h|x) of {count} inputs"
    if form.kind == "vector":
        found = sandwich(mean, logvar, noise, margin=margin, pairs=count <= pairs)
    elif form.kind == "frames":
        frames = mean.shape[1]
        rows = torch.from_numpy(choose(count * frames, most, seed))
        mean, logvar = mean.flatten(0, 1)[rows], logvar.flatten(0, 1)[rows]
        unit = torch.unique(rows // frames, return_inverse=True)[1]
        found = sandwich(mean, logvar, noise, margin=margin, unit=unit)
        drawn = int(unit.max()) + 1
        alike = math.log(drawn)
        what = f"q(s_th|x) of {len(rows)} frames of {drawn} sequences; errors are of sequences"
    else:
        parts = [
            sandwich(mean[:, place], logvar[:, place], noise, margin=margin, pairs=False)
            for place in range(mean.shape[1])
        ]
        found = averaged(parts)
        what = (
            f"q(z_cp|x) of {count} inputs at each of {mean.shape[1]} places p of "
            f"{int(np.prod(form.latent[1:]))}, averaged over places, so that all places together "
            "have that many times as much at most; errors are of inputs"
        )
    apart = found.kl.shares - found.mixture.shares
    marginal = evolve(found.kl, shares=apart, note="KL(q(z_h)‖N(0, 1)), an upper bound")
    variance = logvar.exp().mean(0) + mean.var(0, correction=0)  # of a map, place by place
    return Readings(
        sandwich=found,
        marginal=marginal,
        mean=mean.flatten(0, -2).mean(0),
        variance=variance if variance.ndim == 1 else variance.mean(0),
        alike=alike,
        rows=count if form.kind != "frames" else len(mean),
        what=what,
    )
