"""What a term of the loss must hold, and its critic: (B,) nats, by its own player."""

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from attrs import evolve
from torch import Tensor, nn

from seqvae_core.components import Critic, Regularizer, RegularizerConfig
from seqvae_core.experiment import KLConfig
from seqvae_core.model import SeqVAE
from seqvae_core.objective import Objective
from seqvae_core.records import Batch, Latent, Noise, Output, Shapes
from seqvae_core.testing.claims import Subject, finite, identical, require, shaped
from seqvae_core.testing.parts import Part, check_part
from seqvae_core.testing.small import latents_proper, small_model
from seqvae_core.testing.standins import Categorical, Gaussian

__all__ = ["check_regularizer"]

Values = dict[str, Tensor]
LABEL = "under-test"


def check_regularizer(subject: Subject, shapes: Shapes) -> None:
    """Check a term on the output of a model of stand-in parts, then its critic."""
    config = cast(RegularizerConfig, subject.config)
    model = small_model(shapes).double()
    hosted = evolve(model.shapes, labels=shapes.labels)

    def make() -> Regularizer:
        return config.build(hosted)

    def outputs(term: Any, batch: Batch, noise: Noise) -> Values:
        value = term(spilled(model, batch, noise).term(LABEL))
        shaped("the term", value, (len(batch),))
        return {"the term": value}

    part = Part(subject=subject, make=make, shapes=shapes, outputs=outputs)
    term: Any = part.module()
    with subject.must("train by a Critic, or by none: other parameters have no player"):
        critic = term.critic
        require(critic is None or isinstance(critic, Critic), f"got {type(critic).__name__}")
        known = set(critic.parameters()) if critic is not None else set()
        own = [name for name, p in term.named_parameters() if p not in known and p.requires_grad]
        require(not own, f"got {', '.join(own)} outside of the critic")
    with subject.must("give its kl_coefficients and replaces_kl by latents that the model has"):
        unknown = {*term.kl_coefficients, *term.replaces_kl} - set(latents_proper(hosted))
        require(not unknown, f"got {', '.join(sorted(unknown))}")
    check_part(evolve(part, trained=False))
    _gradients(subject, model, part)
    _weight_zero(subject, config, model, part)
    if critic is not None:
        _critic(subject, model, part)


def spilled(model: SeqVAE, batch: Batch, noise: Noise) -> Output:
    """Return the model's output with whatever stands in x's padding in all distributions' too."""
    out: Output = model(batch, noise)
    junk = batch.x.flatten(2)[..., :1]

    def spill(given: Any) -> Any:
        def fill(value: Tensor) -> Tensor:
            value = value.expand_as(given.mean)
            other = junk.reshape(*junk.shape[:2], *[1] * (value.ndim - 2)).expand_as(value)
            return torch.where(_aligned(batch.mask, value), value, other)

        if isinstance(given, Categorical):
            return evolve(given, logits=fill(given.logits))
        return given and Gaussian(fill(given.mean), fill(given.logvar))

    latents: dict[str, Latent] = {
        name: evolve(latent, posterior=spill(latent.posterior), prior=spill(latent.prior))
        if latent.scope == "local"
        else latent
        for name, latent in out.latents.items()
    }
    return evolve(out, latents=latents, likelihood=spill(out.likelihood))


def _aligned(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (value.ndim - 2))


def _gradients(subject: Subject, model: SeqVAE, part: Part) -> None:
    """Check what the term's gradient reaches, and which noise it draws from."""
    term: Any = part.module()
    with subject.must("hand a gradient to the model, and leave all parameters as they are"):
        before = _copied(model, term)
        noise = Noise(0)
        out = spilled(model, part.batch(), noise).term(LABEL)
        drawn = noise.state_dict()
        found = _gradient(model, term(out))
        require(any(bool(gradient.any()) for gradient in found.values()), "got none")
        finite(found)
        identical(_copied(model, term), before)
    with subject.must("not let what stands in the padding into its gradient, bit for bit"):
        junk = spilled(model, part.batch(padding=math.nan), Noise(0)).term(LABEL)
        identical(_gradient(model, part.module()(junk)), found)
    with subject.must("draw from its own streams of noise (out.noise, out.once)"):
        foreign = _foreign(drawn, noise.state_dict(), LABEL)
        require(not foreign, f"it drew from {', '.join(foreign)}")


def _gradient(model: SeqVAE, value: Tensor) -> Values:
    """Return the model's gradient of the term's mean, by parameter."""
    require(value.requires_grad, "got a term without a graph")
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(value.mean(), list(named.values()), allow_unused=True)
    pairs = zip(named, found, strict=True)
    return {f"the gradient of '{name}'": g for name, g in pairs if g is not None}


def _copied(*modules: nn.Module) -> Values:
    return {
        f"{i}/{name}": parameter.detach().clone()
        for i, module in enumerate(modules)
        for name, parameter in module.named_parameters()
    }


def _foreign(before: Mapping[str, int], after: Mapping[str, int], label: str) -> list[str]:
    own = (f"/{label}", "/once")
    moved = [name for name, count in after.items() if before.get(name, 0) != count]
    return [name for name in moved if not any(f"{name}/".startswith(f"{o}/") for o in own)]


def _weight_zero(subject: Subject, config: RegularizerConfig, model: SeqVAE, part: Part) -> None:
    with subject.must("change no gradient of the model at weight 0"):
        silent = evolve(config, weight=0.0)
        kls = {name: KLConfig() for name in model.priors}
        module: Any = part.module()
        gradients = []
        for entries in ({}, {LABEL: silent}):
            objective = Objective(kls, entries, {LABEL: module} if entries else {})
            model.zero_grad()
            out: Output = model(part.batch(), Noise(0))
            objective(out, 0).total.mean().backward()
            gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
        plain, with_term = ({n: g.clone() for n, g in found.items()} for found in gradients)
        identical(with_term, plain)


# The critic --------------------------------------------------------------------------------------


def _critic(subject: Subject, model: SeqVAE, part: Part) -> None:
    """Check the critic as a module of its own, on detached outputs."""
    label = f"{LABEL}/critic"

    def make() -> nn.Module:
        critic: Any = cast(Any, part.make()).critic
        return cast(nn.Module, critic)

    def outputs(critic: Any, batch: Batch, noise: Noise) -> Values:
        loss = critic(spilled(model, batch, noise).detach().term(label))
        shaped("the critic's loss", loss, ())
        return {"the critic's loss": loss}

    check_part(evolve(part, make=make, outputs=outputs, scalar=True))
    with subject.must("have a critic whose loss moves nothing but the critic"):
        critic: Any = part.module()
        before = _copied(model, critic)
        noise = Noise(0)
        out = spilled(model, part.batch(), noise)
        drawn = noise.state_dict()
        model.zero_grad()
        critic.critic(out.detach().term(label)).backward()
        moved = [name for name, p in model.named_parameters() if p.grad is not None]
        require(not moved, f"the model's {', '.join(moved)} got a gradient")
        identical(_copied(model, critic), before)
        foreign = _foreign(drawn, noise.state_dict(), LABEL)
        require(not foreign, f"it drew from {', '.join(foreign)}")
    with subject.must("have a critic with an optimizer and at least one step"):
        require(critic.critic.steps >= 1, f"got steps = {critic.critic.steps}")
        critic.critic.optimizer.rate(0, 1)
