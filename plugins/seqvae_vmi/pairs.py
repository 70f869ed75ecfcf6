"""Pairs of codes and decoded frames: of posterior samples, of draws from the prior, or of both."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_basics.codes import Code
from seqvae_core.records import Output

__all__ = ["Pairs", "Source", "collect"]

Source = Literal["posterior", "prior", "both"]


@frozen(eq=False, kw_only=True)
class Pairs:
    """One pair for each row of a batch.

    Attributes:
        latents: by name, what the frames are decoded from, (B, D) or (B, T, D).
        frames: the decoder's mean x̃, (B, T, *frame).
        mask: (B, T) bool.
        drawn: which rows are draws from the prior, (B,) bool.
    """

    latents: Mapping[str, Tensor]
    frames: Tensor
    mask: Tensor
    drawn: Tensor

    @property
    def rows(self) -> dict[str, Tensor]:
        """The rows of each source that there is, (B,) bool, by its name."""
        found = {"posterior": ~self.drawn, "prior": self.drawn}
        return {name: rows for name, rows in found.items() if bool(rows.any())}

    def inputs(self) -> list[Tensor]:
        """Return what gradients of the model pass through: frames, then latents."""
        return [value for value in (self.frames, *self.latents.values()) if value.requires_grad]

    def cut(self) -> tuple["Pairs", list[Tensor]]:
        """Return the same pairs cut off from the model, and the leaves in place of `inputs`."""
        leaves: list[Tensor] = []

        def leaf(value: Tensor) -> Tensor:
            if not value.requires_grad:
                return value
            leaves.append(value.detach().requires_grad_())
            return leaves[-1]

        frames = leaf(self.frames)
        latents = {name: leaf(value) for name, value in self.latents.items()}
        return evolve(self, frames=frames, latents=latents), leaves


def collect(out: Output, source: Source, codes: Sequence[Code]) -> Pairs:
    """Return the pairs of a batch; those of the posterior share the reconstruction's decode.

    Of both, half of the rows, drawn at random, are draws from the prior (one less of an odd
    number). They have no graph to the encoder, and are made once a step for all who ask.
    """
    names = dict.fromkeys(code.latent for code in codes)
    latents = {name: out.latents[name].sample for name in names}
    mask, frames = out.batch.mask, out.likelihood.mean
    drawn = torch.zeros(len(mask), dtype=torch.bool, device=mask.device)
    if source == "prior":
        draws, frames = out.once("vmi/prior", _all)
        latents = {name: draws[name] for name in names}
        drawn = ~drawn
    elif source == "both" and len(mask) > 1:
        rows, draws, decoded = out.once("vmi/both", _half)
        frames = frames.index_copy(0, rows, decoded.to(frames))
        latents = {n: value.index_copy(0, rows, draws[n].to(value)) for n, value in latents.items()}
        drawn[rows] = True
    return Pairs(latents=latents, frames=frames, mask=mask, drawn=drawn)


def _all(out: Output) -> tuple[dict[str, Tensor], Tensor]:
    drawn = out.draw()
    return drawn, out.decode(drawn).mean


def _half(out: Output) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return which rows are drawn anew, and of them alone the latents and the frames."""
    count = len(out.batch)
    rows = out.noise.of("rows").permutation(count)[: count // 2].to(out.batch.mask.device)
    drawn = {name: value[rows] for name, value in out.draw().items()}
    return rows, drawn, out.decode(drawn).mean
