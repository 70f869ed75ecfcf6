"""The penalty on the decoder's Jacobian, its gradients computed chunk by chunk."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from attrs import frozen
from torch import Tensor, nn

from seqvae_core.components import Decoder, Regularizer
from seqvae_core.errors import ConfigError
from seqvae_core.functional import full_precision, precomputed_gradient, zero_padding
from seqvae_core.records import Output, Shapes
from seqvae_jacobian.config import JacobianConfig
from seqvae_jacobian.drawing import Drawn, draw
from seqvae_jacobian.estimators import (
    LatentMean,
    column_norms,
    derivatives,
    directions,
    finite_differences,
)
from seqvae_jacobian.layers import has_kinks, refuse_unfit

__all__ = ["JacobianRegularizer"]

Gradients = dict[Tensor, Tensor]


class JacobianRegularizer(Regularizer):
    """The sum of |J|, or of J², over all real frames, (B,), ≥ 0.

    J is the Jacobian of the likelihood's mean with respect to one latent, at its sample. Decoder
    and likelihood are trained by it; the encoder is not, unless `through_encoder`.

    Args:
        config: the settings.
        shapes: all shapes of the model.
    """

    def __init__(self, config: JacobianConfig, shapes: Shapes):
        super().__init__()
        self.config = config
        self.names = [v.name for v in shapes.latents.values() if v.family != "feature"]
        self.latent = _choose(shapes, self.names, config)
        self._warned = False

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,).

        Without gradients, as in validation, the value alone is computed.

        Raises:
            ConfigError: for a layer that couples rows or draws numbers, for a decoder that the
                method does not work with, or for a mean without derivatives.
        """
        decoder = cast(Decoder, out.parts[0])
        self._check(out.parts, decoder)
        self._warn_of_rounding(out.latents[self.latent].sample.dtype)
        evaluation = self._evaluation(out, decoder)
        if self.config.through_encoder:
            return evaluation.value()
        parameters = _trainable(out.parts) if torch.is_grad_enabled() else []
        if parameters:
            return evaluation.trained(parameters)
        with torch.no_grad():
            return evaluation.value()

    def _evaluation(self, out: Output, decoder: Decoder) -> "_Evaluation":
        config, latent = self.config, out.latents[self.latent]
        local = latent.scope == "local"
        counts = torch.full((len(out.batch),), latent.sample[0, 0 if local else ...].numel())
        if local and not decoder.framewise:
            counts = counts * out.batch.lengths.cpu()
        drawn = draw(counts, out.noise, columns=config.columns, rows=config.rows)
        rows = drawn.rows
        samples = {name: out.latents[name].sample[rows] for name in self.names}
        if not config.through_encoder:
            samples = {name: sample.detach() for name, sample in samples.items()}
        mean = LatentMean(
            samples=samples, moved=self.latent, local=local, mask=out.batch.mask[rows],
            decode=out.decode, x=out.batch.x[rows] if decoder.autoregressive else None,
        )  # fmt: skip
        every_step = not local or decoder.framewise
        return _Evaluation(config=config, out=out, mean=mean, drawn=drawn, every_step=every_step)

    def _check(self, parts: tuple[nn.Module, ...], decoder: Decoder) -> None:
        name = self.config.name
        refuse_unfit(parts, name)
        if self.config.method != "forward":
            return
        if not decoder.differentiable_forward:
            raise ConfigError(
                f'{name} with method = "forward" expects a decoder that jvp passes through, '
                f'got {type(decoder).__name__}; use method = "finite-difference"'
            )
        if not self._warned and torch.is_grad_enabled() and has_kinks(parts):
            self._warned = True
            warnings.warn(
                f'{name} with method = "forward" has a biased gradient, as the decoder\'s '
                'activations have kinks; use method = "finite-difference", or a smooth activation',
                stacklevel=2,
            )

    def _warn_of_rounding(self, dtype: torch.dtype) -> None:
        least = 1e3 * torch.finfo(dtype).eps
        if not self._warned and self.config.method != "forward" and self.config.epsilon < least:
            self._warned = True
            warnings.warn(
                f"{self.config.name} with epsilon = {self.config.epsilon:g} is lost in the "
                f"rounding of {str(dtype).removeprefix('torch.')}, or even 0; expected at least "
                f"{least:.2g}",
                stacklevel=2,
            )


@frozen(eq=False, kw_only=True)
class _Evaluation:
    """The term at one step: what is drawn, and the function whose Jacobian is taken."""

    config: JacobianConfig
    out: Output
    mean: LatentMean
    drawn: Drawn
    every_step: bool

    def value(self) -> Tensor:  # (B,)
        """Return the term, with an ordinary graph if gradients are on."""
        value = self._collected(self._terms(self._base()))
        if torch.is_grad_enabled() and not value.requires_grad:
            self._check_differentiable()
        return value

    def trained(self, parameters: list[nn.Parameter]) -> Tensor:  # (B,)
        """Return the term, which hands gradients to the parameters and to nothing else.

        The graph of one chunk is in memory at a time. What the base adds to the gradient is
        collected at the base, and goes back through the decoder once.
        """
        base = self._base()
        leaf = None if base is None else base.detach().requires_grad_()
        leaves = [*parameters, *([] if leaf is None else [leaf])]
        found: Gradients = {}
        value = self._collected(_pulled(self._terms(leaf), leaves, found))
        if leaf is not None and base is not None and base.requires_grad:
            _pull(base, parameters, found, found.pop(leaf))
        given = {p: found[p] / len(value) for p in parameters if p in found}
        if not given:
            self._check_differentiable()
            return value
        return precomputed_gradient(value, [*given], [*given.values()])

    def _base(self) -> Tensor | None:  # (R, T, *frame)
        """Return the mean at the point: the reconstruction's, unless few of its rows are drawn.

        The way back through all rows of it would then cost more than to decode those few.
        """
        if self.config.method == "forward":
            return None
        shared = zero_padding(full_precision(self.out.likelihood.mean), self.out.batch.mask)
        few = 3 * len(self.drawn) < 2 * len(shared) and not self.config.through_encoder
        if few or (torch.is_grad_enabled() and not shared.requires_grad):
            return self.mean(self.mean.point)
        return shared[self.drawn.rows]

    def _terms(self, base: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
        """Yield what each chunk's columns add to the term of a range of the drawn sequences."""
        for rows, columns, scale in self.drawn.chunks(self.config.chunk):
            mean = self.mean.part(rows)
            along = directions(columns, mean.point, self.every_step)
            if base is None:
                found = derivatives(mean, along)
            else:
                found = finite_differences(mean, base[rows], along, self.config.epsilon)
            norms = column_norms(found, mean.mask, self.config.power)
            yield rows, (scale.to(norms) * norms).sum(0)

    def _collected(self, terms: Iterable[tuple[slice, Tensor]]) -> Tensor:  # (B,)
        """Return the sum of all chunks, 0 for sequences that are not drawn."""
        total = None
        for rows, term in terms:
            total = term.new_zeros(len(self.drawn)) if total is None else total
            total[rows] += term
        assert total is not None  # there is a column
        chosen = self.drawn.rows
        if isinstance(chosen, slice):
            return total
        return total.new_zeros(len(self.out.batch)).index_add(0, chosen.to(total.device), total)

    def _check_differentiable(self) -> None:
        mean = self.mean(self.mean.point.detach().requires_grad_())
        if not mean.requires_grad:
            raise ConfigError(
                f"{self.config.name} expects a likelihood whose mean can be differentiated, "
                f"got {type(self.out.likelihood).__name__}"
            )


def _pulled(
    terms: Iterable[tuple[slice, Tensor]], leaves: list[Tensor], found: Gradients
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the terms without their graphs, whose gradients are added to those found."""
    for rows, term in terms:
        if term.requires_grad:
            _pull(term.sum(), leaves, found)
        yield rows, term.detach()


def _pull(
    value: Tensor, leaves: Sequence[Tensor], found: Gradients, upstream: Tensor | None = None
) -> None:
    keep = upstream is not None  # the graph of the base is the reconstruction's too
    gradients = torch.autograd.grad(value, leaves, upstream, keep, allow_unused=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            # in place: memory that is freed and asked for again costs as much as the sum itself
            found[leaf] = found[leaf].add_(gradient) if leaf in found else gradient.clone()


def _trainable(parts: tuple[nn.Module, ...]) -> list[nn.Parameter]:
    return list({p: None for part in parts for p in part.parameters() if p.requires_grad})


def _choose(shapes: Shapes, names: list[str], config: JacobianConfig) -> str:
    known = [name for name in names if shapes.latents[name].scope == "global"
             and shapes.latents[name].categorical is None]  # fmt: skip
    if config.latent is None and len(known) == 1:
        return known[0]
    if config.latent in names:
        chosen = shapes.latents[str(config.latent)]
        if chosen.categorical is not None:
            raise ConfigError(
                f"{config.name} expects a latent of numbers in 'latent', got '{chosen.name}', "
                "which is categorical: no step along a column ends at one of its values"
            )
        return chosen.name
    steppable = [name for name in names if shapes.latents[name].categorical is None]
    choices = ", ".join(steppable) or "none"
    if config.latent is None:
        raise ConfigError(
            f"{config.name} expects one global latent, or 'latent'; the model has: {choices}"
        )
    raise ConfigError(
        f"{config.name} expects a latent in 'latent', got '{config.latent}'; "
        f"the model has: {choices}"
    )
