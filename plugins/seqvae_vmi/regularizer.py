"""The VMI term, and the player that trains Q."""

from typing import Any

import torch
from torch import Tensor

from seqvae_basics.codes import Code, parse_codes
from seqvae_core.components import Critic, Regularizer
from seqvae_core.errors import ConfigError
from seqvae_core.records import Latent, Output, Shapes
from seqvae_vmi.config import VMI
from seqvae_vmi.losses import categorical_entropy, mixture_entropy, prior_entropy
from seqvae_vmi.networks import QNetwork

__all__ = ["QCritic", "VMIRegularizer"]

Pairs = tuple[dict[str, Tensor], Tensor]  # latents by name, and the frames decoded from them


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
                "vmi reads codes off the decoder's mean given latents alone: it expects a decoder "
                "that is not autoregressive"
            )
        self.config = config
        self.codes = parse_codes(config.codes, shapes, "vmi")
        local = [code.name for code in self.codes if code.variable.scope == "local"]
        if config.entropy == "kept" and local:
            raise ConfigError(
                f"vmi keeps H(c) of global codes alone, '{local[0]}' is local: "
                'use entropy = "dropped"'
            )
        weights = config.weights or (1.0,) * len(self.codes)
        self.weights = {c.name: w for c, w in zip(self.codes, weights, strict=True)}
        self.critic: QCritic = QCritic(config, shapes, self.codes)

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,); log its parts by code."""
        total = None
        for source, nll in self.critic.nlls(out).items():
            for code in self.codes:
                part = nll[code.name]
                out.log(f"nll/{source}/{code.name}", part)
                if self.config.entropy == "kept":
                    part = part - self._entropy(code, source, out)
                part = self.weights[code.name] * part
                total = part if total is None else total + part
        assert total is not None  # there is a code and a source
        for code in self.codes:
            out.log(f"log_var/{code.name}", log_variance(code, out.latents[code.latent]))
        return total if self.config.pairs != "both" else 0.5 * total

    def _entropy(self, code: Code, source: str, out: Output) -> Tensor | float:
        if source == "prior":
            return prior_entropy(code.variable.size, code.groups)
        latent = out.latents[code.latent]
        value = code.of({code.latent: latent.sample})
        if code.groups:
            return categorical_entropy(value.mean(0), code.groups).expand(len(value))
        posterior: Any = latent.posterior
        mean, logvar = (code.of({code.latent: v}) for v in (posterior.mean, posterior.logvar))
        return mixture_entropy(value, mean, logvar)


class QCritic(Critic):
    """The player that trains Q: E[-ln Q(c|x̃)] on detached pairs, each code at weight 1.

    Args:
        config: the term's settings.
        shapes: all shapes of the model.
        codes: what Q reads back.
    """

    def __init__(self, config: VMI, shapes: Shapes, codes: tuple[Code, ...]):
        super().__init__()
        self.pairs = config.pairs
        self.network: QNetwork = config.critic.build(shapes, codes)
        self.optimizer, self.steps = config.critic.optimizer, config.critic.steps
        self.after = config.critic.after

    def forward(self, out: Output) -> Tensor:
        """Return the loss; nothing flows back to the model."""
        sources = self.nlls(out.detach()).values()
        rows = [torch.stack(list(nll.values())).sum(0) for nll in sources]
        return torch.stack(rows).mean()

    def nlls(self, out: Output) -> dict[str, dict[str, Tensor]]:
        """Return by source, posterior or prior, and by code, -ln Q of each sequence, (B,)."""
        found: dict[str, Pairs] = {}
        if self.pairs != "prior":
            samples = {name: latent.sample for name, latent in out.latents.items()}
            found["posterior"] = samples, out.likelihood.mean
        if self.pairs != "posterior":
            found["prior"] = out.once("vmi", prior_pairs)
        mask = out.batch.mask
        return {
            source: self.network.nll(frames, mask, latents)
            for source, (latents, frames) in found.items()
        }


def prior_pairs(out: Output) -> Pairs:
    """Return every latent drawn from its prior, and the frames decoded from them, (B, T, *frame).

    Gradients reach the decoder through the frames, and nothing else.
    """
    drawn = out.draw()
    return drawn, out.decode(drawn).mean


def log_variance(code: Code, latent: Latent) -> Tensor:
    """Return ln of the variance over the batch of each of a code's numbers, averaged, in nats.

    Without H(c) in the loss nothing but the KL keeps an encoder from shrinking it.
    """
    value = code.of({code.latent: latent.sample.detach()})
    rows = value[latent.mask] if latent.scope == "local" else value
    return rows.var(0, correction=0).clamp_min(1e-12).log().mean()
