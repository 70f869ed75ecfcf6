"""A part in a model of stand-ins, and what several kinds of parts are checked by."""

from collections.abc import Callable
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from seqvae_core.functional import masked_sum, zero_padding
from seqvae_core.model import SeqVAE
from seqvae_core.records import Batch, Distribution, Noise, Shapes
from seqvae_core.testing.claims import TOLERANCE, Subject, finite, require, shaped
from seqvae_core.testing.parts import LONGEST, sizes
from seqvae_core.testing.small import small_batch

__all__ = ["carrying", "check_distribution", "none_of", "serves", "steps_seen"]


def carrying(shapes: Shapes, *frame: int) -> Shapes:
    """Return shapes of a batch whose x carries all that a module reads."""
    return evolve(shapes, frame=frame, labels={})


@torch.no_grad()
def steps_seen(
    function: Callable[[Tensor], list[Tensor]],
    x: Tensor,  # (B, T, ...)
    seed: int,
) -> Tensor:  # (T, T) bool
    """Tell for [t, u] whether what the function returns for step t moves with x at step u.

    Steps are replaced one by one, so that it also sees what no gradient would.
    """
    steps = x.shape[1]
    other = Noise(seed).of("other").uniform(x)
    values = function(x)
    seen = torch.zeros(steps, steps, dtype=torch.bool)
    for u in range(steps):
        changed = x.clone()
        changed[:, u] = other[:, u]
        for value, moved in zip(values, function(changed), strict=True):
            difference = (moved - value).abs().transpose(0, 1).flatten(1).amax(1)
            seen[:, u] |= difference > TOLERANCE * value.abs().max().clamp_min(1e-3)
    return seen


def none_of(forbidden: Tensor, unit: str) -> None:
    """Require that no step of the matrix [t, u] sees another."""
    for t, u in forbidden.nonzero().tolist()[:1]:
        require(False, f"{unit} {t} moves with {unit} {u}")


def check_distribution(distribution: Distribution, sample: Tensor, mask: Tensor | None) -> None:
    """Require a KL of 0 to itself, and no graph once detached."""
    kl = distribution.kl(distribution, sample).detach()
    kl = kl if mask is None else zero_padding(kl, mask)
    shaped("the KL", kl, tuple(sample.shape))
    require(float(kl.abs().max()) <= TOLERANCE, f"got a KL of {float(kl.abs().max()):.2g}")
    require(not distribution.detach().mean.requires_grad, "detach() keeps the graph")


def serves(
    subject: Subject,
    make: Callable[[], SeqVAE],
    stored: Callable[[Tensor], Tensor] = lambda x: x,
) -> None:
    """Check that a model with the part runs, generates, and is float32 under autocast."""
    with subject.must("serve in a model of stand-in parts"):
        model = make().double()
        for rows in sizes(subject):
            for frames in (1, LONGEST):
                batch = small_batch(model.shapes, rows=rows, frames=frames)
                batch = evolve(batch, x=stored(batch.x))
                _losses(model, batch)
                drawn = model.generate(rows, batch.lengths)
                shaped("generated frames", drawn, tuple(batch.x.shape))
                finite({"generated frames": drawn})
    with subject.must("keep likelihood and KL in float32 under autocast to bfloat16"):
        batch = evolve(batch, x=stored(batch.x).float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for name, value in _losses(make(), batch).items():
                require(value.dtype == torch.float32, f"got {name} as {value.dtype}")


def _losses(model: SeqVAE, batch: Batch) -> dict[str, Tensor]:
    out: Any = model(batch, Noise(0))
    losses = {"nll": -masked_sum(out.likelihood.log_prob(out.batch.x), batch.mask)}
    losses |= {f"KL({name})": out.latents[name].kl() for name in model.priors}
    finite(losses)
    for name, value in losses.items():
        shaped(name, value, (len(batch),))
    return losses
