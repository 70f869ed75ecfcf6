"""What the inference parts must hold: backbone, encoder, prior."""

from functools import partial
from typing import Any, cast

import torch
from attrs import evolve
from torch import Tensor

from seqvae_core.components import BackboneConfig, EncoderConfig, PriorConfig
from seqvae_core.errors import SeqVAEError
from seqvae_core.functional import zero_padding
from seqvae_core.model import seeded
from seqvae_core.records import Batch, Distribution, Noise, Shapes, Variable
from seqvae_core.testing.claims import Subject, finite, identical, require, shaped
from seqvae_core.testing.hosting import carrying, check_distribution, none_of, serves, steps_seen
from seqvae_core.testing.parts import LONGEST, Part, check_part, every_parameter, sizes
from seqvae_core.testing.small import latents_proper, small_model
from seqvae_core.testing.standins import law

__all__ = ["check_backbone", "check_encoder", "check_prior"]

Values = dict[str, Tensor]


# Backbone ----------------------------------------------------------------------------------------


def check_backbone(subject: Subject, shapes: Shapes) -> None:
    """Check (B, T, *frame) → (B, T, F), and that a frame sees itself alone unless `temporal`."""
    config = cast(BackboneConfig, subject.config)

    def outputs(module: Any, batch: Batch, noise: Noise) -> Values:
        features = module(batch.x, batch.mask)
        shaped("features", features, (*batch.mask.shape, module.features))
        return {"features": zero_padding(features, batch.mask)}

    part = Part(subject=subject, make=lambda: config.build(shapes), shapes=shapes, outputs=outputs)
    check_part(part)
    module: Any = part.module()
    if not module.temporal:
        module.eval()  # statistics of a batch, where they are declared, run over all its frames
        with subject.must("let frame t see frame t alone (or declare temporal)"):
            mask = torch.ones(2, LONGEST, dtype=torch.bool)
            seen = steps_seen(lambda x: [module(x, mask)], part.batch(2).x, seed=1)
            none_of(seen & ~torch.eye(LONGEST, dtype=torch.bool), "frame")
    serves(subject, partial(small_model, shapes, backbone=config))


# Encoder -----------------------------------------------------------------------------------------


def check_encoder(subject: Subject, shapes: Shapes) -> None:
    """Check that every latent is drawn once, reparameterised, and blind to the padding."""
    config = cast(EncoderConfig, subject.config)
    latents = latents_proper(shapes)
    shapes = evolve(shapes, latents=latents)

    def outputs(module: Any, batch: Batch, noise: Noise, *, deterministic: bool = False) -> Values:
        found: Values = {}

        def draw(name: str, posterior: Distribution) -> Tensor:
            require(name in latents, f"it drew '{name}', expected one of {', '.join(latents)}")
            require(f"the sample of {name}" not in found, f"it drew '{name}' twice")
            local = latents[name].scope == "local"
            sample = posterior.mean if deterministic else posterior.rsample(noise.of(name))
            shape = (*batch.mask.shape[: 1 + local], *latents[name].shape)
            values = {"sample": sample, "mean": posterior.mean,
                      "log density": posterior.log_prob(sample)}  # fmt: skip
            for kind, value in values.items():
                shaped(f"the {kind} of {name}", value, shape)
                found[f"the {kind} of {name}"] = zero_padding(value, batch.mask) if local else value
            return found[f"the sample of {name}"]

        module(batch.x, batch.mask, draw)
        left = [name for name in latents if f"the sample of {name}" not in found]
        require(not left, f"it did not draw {', '.join(left)}")
        return found

    def samples(module: Any, batch: Batch, noise: Noise) -> Values:
        found = outputs(module, batch, noise)
        return {name: value for name, value in found.items() if "sample" in name}

    carrier = carrying(shapes, shapes.features)
    part = Part(subject=subject, make=lambda: config.build(shapes), shapes=carrier, outputs=outputs)
    with subject.must("draw samples through which gradients flow"):
        module = part.module()
        for name, value in samples(module, part.batch(), Noise(0)).items():
            require(value.requires_grad, f"got {name} without a graph")
    check_part(part)
    with subject.must("draw the means when it encodes deterministically"):
        found = outputs(part.module(), part.batch(), Noise(0), deterministic=True)
        for name in latents:
            identical({name: found[f"the sample of {name}"]}, {name: found[f"the mean of {name}"]})
    with subject.must("hand a gradient to every parameter through its samples (reparameterised)"):
        every_parameter(evolve(part, outputs=samples))
    serves(subject, partial(small_model, shapes, encoder=config))


# Prior -------------------------------------------------------------------------------------------


def check_prior(subject: Subject, shapes: Shapes) -> None:
    """Check the prior of every latent that it does not refuse."""
    config = cast(PriorConfig, subject.config)
    shapes = evolve(shapes, latents=latents_proper(shapes))
    accepted, refusals = [], []
    with subject.must("build for latents of one scope at least, and refuse by a SeqVAEError"):
        for name, variable in shapes.latents.items():
            try:
                with seeded(0, "testing"):
                    config.build(evolve(shapes, target=name))
            except SeqVAEError as error:
                refusals.append(str(error))
            else:
                accepted.append(variable)
        require(bool(accepted), f"all were refused: {'; '.join(refusals)}")
    for variable in accepted:
        _check_prior_of(subject, config, shapes, variable)
    priors = {variable.name: config for variable in accepted}
    serves(subject, partial(small_model, shapes, priors=priors))


def _check_prior_of(
    subject: Subject, config: PriorConfig, shapes: Shapes, variable: Variable
) -> None:
    local = variable.scope == "local"

    def given(x: Tensor, mask: Tensor) -> Tensor:
        return zero_padding(x, mask) if local else x[:, 0]

    def outputs(module: Any, batch: Batch, noise: Noise) -> Values:
        sample = given(4.0 * batch.x - 2.0, batch.mask)
        prior = module(sample, batch.mask)
        raw = 0.5 * sample.flatten(1 + local)
        posterior = law(raw if variable.categorical else torch.cat([raw, 0.0 * raw], -1), variable)
        values = {
            "the mean": prior.mean,
            "the log density": prior.log_prob(sample),
            "the KL": posterior.kl(prior, sample),
            "the sample": prior.rsample(noise),
        }
        for name, value in values.items():
            shaped(name, value, tuple(sample.shape))
        return {n: zero_padding(v, batch.mask) if local else v for n, v in values.items()}

    part = Part(
        subject=subject,
        make=lambda: config.build(evolve(shapes, target=variable.name)),
        shapes=carrying(shapes, *variable.shape),
        outputs=outputs,
        longest=LONGEST if local else 1,
    )
    check_part(part)
    module: Any = part.module()
    if local:
        with subject.must("let step t see only the samples before t"):
            batch = part.batch(max(2, subject.config.min_batch))
            mask = torch.ones_like(batch.mask)
            at = zero_padding(batch.x, mask)

            def prior_at(sample: Tensor) -> list[Tensor]:
                prior = module(sample, mask)
                return [prior.mean, prior.log_prob(at)]

            none_of(steps_seen(prior_at, at, seed=1).triu(), "step")
    with subject.must(f"sample {variable.scope} latents free-running, from its noise alone"):
        for rows in sizes(subject):
            for frames in (1, 2, LONGEST) if local else (1,):
                lengths = torch.full((rows,), frames)
                lengths[-1] = 1 if rows > 1 else frames
                # many seeds, as a categorical latent has few values
                drawn = [module.sample(rows, lengths, Noise(seed)) for seed in (0, *range(40))]
                extent = (frames,) if local else ()
                shaped("the sample", drawn[0], (rows, *extent, *variable.shape))
                finite({"the sample": drawn[0]})
                require(torch.equal(drawn[0], drawn[1]), "equal noise, other samples")
                moved = any(not torch.equal(drawn[0], other) for other in drawn[2:])
                require(moved, "other noise, equal samples")
    with subject.must("have distributions with KL 0 to themselves and a detach() that works"):
        batch = part.batch()
        sample = given(batch.x, batch.mask)
        prior = module(sample, batch.mask)
        check_distribution(prior, sample, batch.mask if local else None)
