"""The VMI term, and the player that trains Q."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from seqvae_basics.codes import Code, parse_codes
from seqvae_core.components import Critic, Regularizer
from seqvae_core.errors import ConfigError
from seqvae_core.functional import precomputed_gradient
from seqvae_core.records import Latent, Output, Shapes
from seqvae_vmi.config import VMI
from seqvae_vmi.losses import categorical_entropy, mixture_entropy, prior_entropy
from seqvae_vmi.networks import QNetwork
from seqvae_vmi.pairs import Pairs, collect

__all__ = ["QCritic", "VMIRegularizer"]


class VMIRegularizer(Regularizer):
    """The term Σ_c w_c·(-ln Q(c|x̃)), (B,) nats.

    Its gradient goes through Q to x̃, decoder, sample and encoder, and through c itself. Pairs from
    the prior have no encoder: of them the decoder alone gets a gradient.

    Args:
        config: the settings.
        shapes: all shapes of the model.
    """

    def __init__(self, config: VMI, shapes: Shapes):
        super().__init__()
        if shapes.autoregressive:
            raise ConfigError(
                "vmi reads codes off what the decoder makes of latents alone: it expects a decoder "
                "that is not autoregressive"
            )
        self.kept = config.entropy == "kept"
        self.codes = parse_codes(config.codes, shapes, "vmi")
        local = [code.name for code in self.codes if code.variable.scope == "local"]
        if self.kept and local:
            raise ConfigError(
                f"vmi keeps H(c) of global codes alone, '{local[0]}' is local: "
                'use entropy = "dropped"'
            )
        self.critic: QCritic = QCritic(config, shapes, self.codes)
        if not self.kept and config.pairs == "posterior":
            _warn_of_constants(self.codes, self.critic.weights, config.weight)

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,); log its parts by code."""
        reading = self.critic.read(out)
        for code in self.codes:
            for source, rows in reading.pairs.rows.items():
                out.log(f"nll/{source}/{code.name}", reading.nll[code.name][rows])
            latent = out.latents[code.latent]
            out.log(f"log_var/{code.name}", log_variance(code, latent))
            if (temperature := getattr(latent.posterior, "temperature", None)) is not None:
                out.log(f"temperature/{code.name}", torch.as_tensor(temperature))
        if not self.kept:
            return reading.term
        gains = [
            self.critic.weights[code.name]
            * _entropy(code, out.latents[code.latent], reading.pairs.drawn)
            for code in self.codes
        ]
        return reading.term - torch.stack(gains).sum(0)


@frozen(eq=False, kw_only=True)
class Reading:
    """What Q makes of a batch's pairs, and the gradients of it.

    Attributes:
        pairs: see there.
        nll: by code, -ln Q of each row, (B,).
        term: their weighted sum; it hands gradients to the model.
        loss: their plain sum; it hands gradients to Q, if it was made for that.
        state: of Q's parameters when it was made.
    """

    pairs: Pairs
    nll: Mapping[str, Tensor]
    term: Tensor
    loss: Tensor
    state: tuple[int, ...]


class QCritic(Critic):
    """The player that trains Q: E[-ln Q(c|x̃)] on detached pairs, each code at weight 1.

    Args:
        config: the term's settings.
        shapes: all shapes of the model.
        codes: what Q reads back.
    """

    def __init__(self, config: VMI, shapes: Shapes, codes: tuple[Code, ...]):
        super().__init__()
        self.source, self.codes = config.pairs, codes
        given = config.weights or (1.0,) * len(codes)
        self.weights = {code.name: weight for code, weight in zip(codes, given, strict=True)}
        self.network: QNetwork = config.critic.build(shapes, codes)
        self.optimizer, self.steps = config.critic.optimizer, config.critic.steps
        self.after = config.critic.after

    def forward(self, out: Output) -> Tensor:
        """Return the loss; nothing flows back to the model."""
        if self.after:
            reading = self._shared(out)
            if reading.state == self._state():  # ψ has not moved since the term was read
                return reading.loss.mean()
        pairs = collect(out.detach(), self.source, self.codes)
        return _sum(self._nll(pairs)).mean()

    def read(self, out: Output) -> Reading:
        """Return the reading of a batch for the term."""
        if self.after and torch.is_grad_enabled():
            reading = self._shared(out)
            if reading.state == self._state():
                return reading
        pairs = collect(out, self.source, self.codes)
        nll = self._nll(pairs)
        return Reading(
            pairs=pairs, nll=nll, term=self._weighted(nll), loss=_sum(nll), state=self._state()
        )

    def _shared(self, out: Output) -> Reading:
        """Return one reading for the term and for Q, which follows it: Q is run once a step."""
        return out.once(f"vmi/reading/{id(self)}", self._both)  # nothing is drawn from its stream

    def _both(self, out: Output) -> Reading:
        """Return a reading with the gradients of the model and those of Q, each from its loss.

        Both pass back through Q together where all codes weigh the same.
        """
        pairs = collect(out, self.source, self.codes)
        alone, leaves = pairs.cut()
        nll = self._nll(alone)
        term, loss = self._weighted(nll), _sum(nll)
        own = [p for p in self.network.parameters() if p.requires_grad]
        factors = set(self.weights.values())
        if len(factors) == 1:
            [factor] = factors
            found = torch.autograd.grad(loss.mean(), [*leaves, *own])
            outer = [factor * gradient for gradient in found[: len(leaves)]]
            inner = list(found[len(leaves) :])
        else:
            outer = (
                list(torch.autograd.grad(term.mean(), leaves, retain_graph=True)) if leaves else []
            )
            inner = list(torch.autograd.grad(loss.mean(), own))
        return Reading(
            pairs=pairs,
            nll={name: value.detach() for name, value in nll.items()},
            term=precomputed_gradient(term, pairs.inputs(), outer),
            loss=precomputed_gradient(loss, list(own), inner),
            state=self._state(),
        )

    def _nll(self, pairs: Pairs) -> dict[str, Tensor]:
        return self.network.nll(pairs.frames, pairs.mask, pairs.latents)

    def _weighted(self, nll: Mapping[str, Tensor]) -> Tensor:  # (B,)
        return _sum({name: self.weights[name] * value for name, value in nll.items()})

    def _state(self) -> tuple[int, ...]:
        """Return how often each parameter was changed in place."""
        return tuple(parameter._version for parameter in self.parameters())


def _warn_of_constants(codes: Sequence[Code], weights: Mapping[str, float], factor: float) -> None:
    """Warn of categorical codes whose -ln Q weighs more than a KL of weight 1."""
    paying = [code for code in codes if code.groups and factor * weights[code.name] > 1.0]
    if not paying:
        return
    which = ", ".join(f"'{code.name}' by {factor * weights[code.name]:g}" for code in paying)
    local = any(code.variable.scope == "local" for code in paying)
    remedy = 'pairs = "prior"' if local else 'entropy = "kept"'
    warnings.warn(
        f"vmi drops H(c) and weighs {which}, more than 1: a constant code pays, as it saves more "
        f"of -ln Q than its KL costs; {remedy} does not reward it",
        stacklevel=4,
    )


def _sum(nll: Mapping[str, Tensor]) -> Tensor:  # (B,)
    return torch.stack(list(nll.values())).sum(0)


def _entropy(code: Code, latent: Latent, drawn: Tensor) -> Tensor:  # (B,)
    """Return each row's share of H(c): the prior's of draws, else that of the batch's aggregate."""
    value = code.of({code.latent: latent.sample})
    prior = value.new_full((len(value),), prior_entropy(code.variable.size, code.groups))
    if bool(drawn.all()):
        return prior
    if code.groups:
        aggregate = categorical_entropy(value[~drawn].mean(0), code.groups).expand_as(prior)
    else:
        posterior: Any = latent.posterior
        mean, logvar = (code.of({code.latent: v}) for v in (posterior.mean, posterior.logvar))
        aggregate = mixture_entropy(value, mean, logvar)
    return torch.where(drawn, prior, aggregate)


def log_variance(code: Code, latent: Latent) -> Tensor:
    """Return ln of the variance over the batch of each of a code's numbers, averaged.

    Without H(c) in the loss nothing but the KL keeps an encoder from shrinking it.
    """
    value = code.of({code.latent: latent.sample.detach()})
    rows = value[latent.mask] if latent.scope == "local" else value
    return rows.var(0, correction=0).clamp_min(1e-12).log().mean()
