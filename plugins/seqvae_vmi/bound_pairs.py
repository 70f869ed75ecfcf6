"""Pairs (c, x̃) of a fixed model: what was decoded, from which codes, of which law."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_basics.distributions import Gaussian, GumbelCategorical
from seqvae_core.functional import one_hot
from seqvae_core.model import SeqVAE
from seqvae_core.records import Batch, Latent, Noise, Output
from seqvae_tasks.representations import Array
from seqvae_tasks.sequences import read

__all__ = ["Law", "Pairs", "collect", "law_of"]

Law = Gaussian | GumbelCategorical
Source = Literal["prior", "posterior"]
Samples = Literal["hard", "soft"]


@frozen(eq=False, kw_only=True)
class Pairs:
    """N decoded sequences and what they were decoded from, without a graph.

    Attributes:
        x: x̃, (N, T, *frame), zero in the padding.
        mask: (N, T) bool.
        latents: by name, (N, D) or (N, T, D), as they were decoded.
        laws: by latent, what each value was drawn from.
    """

    x: Tensor
    mask: Tensor
    latents: Mapping[str, Tensor]
    laws: Mapping[str, Law]

    def __len__(self) -> int:
        return len(self.x)

    def at(self, rows: Tensor | slice) -> "Pairs":
        """Return the chosen pairs, cut to the longest of them."""
        mask = self.mask[rows]
        frames = int(mask.sum(1).max())

        def cut(value: Tensor, name: str) -> Tensor:
            return value[rows][:, :frames] if self.local(name) else value[rows]

        return Pairs(
            x=self.x[rows][:, :frames],
            mask=mask[:, :frames],
            latents={name: cut(value, name) for name, value in self.latents.items()},
            laws={
                name: _mapped(law, lambda value, name=name: cut(value, name))
                for name, law in self.laws.items()
            },
        )

    def local(self, name: str) -> bool:
        """Whether a latent has a value for each frame."""
        return self.latents[name].ndim > 2


def collect(
    model: SeqVAE,
    data: Any,
    rows: Array,
    source: Source,
    samples: Samples,
    noise: Noise,
    size: int = 64,
) -> Pairs:
    """Draw one pair for each of some sequences of a data set.

    Pairs from the prior take nothing but their lengths from the data. x̃ is the mean of
    p(x|latents); an autoregressive decoder draws it. A local latent whose posterior reads a relaxed
    categorical one does so for one-hot pairs too: it is drawn before these are rounded.

    Args:
        model: its mode and gradients are left alone.
        data: a map-style data set.
        rows: which items, a pair each; may repeat.
        source: where the latents are drawn from.
        samples: whether categorical latents are one-hot or relaxed.
        noise: what all is drawn from.
        size: sequences decoded at a time.
    """
    parts = [_batch(model, batch, source, samples, noise) for batch in read(data, rows, size)]
    frames = max(part.x.shape[1] for part in parts)
    parts = [_padded(part, frames) for part in parts]
    return Pairs(
        x=torch.cat([part.x for part in parts]),
        mask=torch.cat([part.mask for part in parts]),
        latents={
            name: torch.cat([part.latents[name] for part in parts]) for name in parts[0].latents
        },
        laws={
            name: _joined([part.laws[name] for part in parts], law)
            for name, law in parts[0].laws.items()
        },
    )


@torch.no_grad()
def _batch(model: SeqVAE, batch: Batch, source: Source, samples: Samples, noise: Noise) -> Pairs:
    out = model.output(batch, noise=noise)
    laws = {name: law_of(out.latents[name], source) for name in model.priors}
    with model.evaluating():
        drawn = out.draw() if source == "prior" else {}
    latents = {name: drawn.get(name, out.latents[name].sample) for name in model.priors}
    for name, value in latents.items():
        if kind := model.shapes.latent(name).categorical:
            if samples == "hard":
                value = one_hot(value, kind.groups)
            else:
                value = _relaxed(value, laws[name], source, noise.of("relaxed").of(name))
            latents[name] = _real(value, out)
    x = model.decode(latents, mask=out.batch.mask, noise=noise.of("decoder"))
    return Pairs(
        x=x,
        mask=out.batch.mask,
        latents=latents,
        laws={name: law for name, law in laws.items() if law is not None},
    )


def _relaxed(value: Tensor, law: Law | None, source: Source, noise: Noise) -> Tensor:
    """Return a relaxed sample: the model's own, unless it draws one-hot ones."""
    if not isinstance(law, GumbelCategorical):
        return value
    if source == "posterior" and not law.straight_through:
        return value
    return evolve(law, straight_through=False).rsample(noise)


def _real(value: Tensor, out: Output) -> Tensor:
    """Return a value with zeros in the padding, if it has a time."""
    if value.ndim < 3:
        return value
    return torch.where(out.batch.mask[..., None], value, torch.zeros_like(value))


def law_of(latent: Latent, source: Source) -> Law | None:
    """Return a latent's posterior or prior as a law of the two known kinds; None for any other."""
    law: Any = latent.posterior if source == "posterior" else latent.prior
    if hasattr(law, "log_probabilities"):
        groups = getattr(law, "groups", 1)
        if isinstance(law, GumbelCategorical):
            return evolve(law, logits=law.log_probabilities)
        return GumbelCategorical(law.log_probabilities, groups)
    if hasattr(law, "logvar"):
        return Gaussian(law.mean, law.logvar)
    return None


def _mapped(law: Law, function: Any) -> Law:
    if isinstance(law, Gaussian):
        return Gaussian(function(law.mean), function(law.logvar))
    return evolve(law, logits=function(law.logits))


def _joined(laws: list[Any], first: Law) -> Law:
    if isinstance(first, Gaussian):
        mean = torch.cat([law.mean for law in laws])
        return Gaussian(mean, torch.cat([law.logvar for law in laws]))
    return evolve(first, logits=torch.cat([law.logits for law in laws]))


def _padded(pairs: Pairs, frames: int) -> Pairs:
    missing = frames - pairs.x.shape[1]
    if not missing:
        return pairs

    def longer(value: Tensor) -> Tensor:
        return torch.cat([value, value.new_zeros(len(value), missing, *value.shape[2:])], 1)

    return Pairs(
        x=longer(pairs.x),
        mask=longer(pairs.mask),
        latents={
            name: longer(value) if pairs.local(name) else value
            for name, value in pairs.latents.items()
        },
        laws={
            name: _mapped(law, longer) if pairs.local(name) else law
            for name, law in pairs.laws.items()
        },
    )
