"""What the generative parts must hold: decoder and likelihood."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any, cast

import torch
from attrs import evolve
from torch import Tensor

from seqvae_core.components import DecoderConfig, LikelihoodConfig
from seqvae_core.errors import SeqVAEError
from seqvae_core.functional import zero_padding
from seqvae_core.model import seeded
from seqvae_core.records import Batch, Noise, Shapes
from seqvae_core.testing.claims import Subject, close, identical, require, shaped
from seqvae_core.testing.hosting import carrying, check_distribution, none_of, serves, steps_seen
from seqvae_core.testing.parts import Part, check_part
from seqvae_core.testing.small import latents_proper, small_batch, small_model

__all__ = ["check_decoder", "check_likelihood"]

Values = dict[str, Tensor]


def _slice(batch: Batch, start: int, shape: tuple[int, ...]) -> Tensor:
    """Cut a value of that shape out of each of the batch's frames."""
    value = batch.x[..., start : start + prod(shape)]
    return value.reshape(*value.shape[:2], *shape)


# Decoder -----------------------------------------------------------------------------------------


def check_decoder(subject: Subject, shapes: Shapes) -> None:
    """Check purity, the stated shapes, jvp and vmap where they are declared, and sampling."""
    config = cast(DecoderConfig, subject.config)
    latents = latents_proper(shapes)
    shapes = evolve(shapes, latents=latents)
    any_local = any(v.scope == "local" for v in latents.values())

    def carried(batch: Batch) -> tuple[Values, Tensor]:
        """Cut the latents and x out of the batch's frames."""
        found, start = {}, prod(shapes.frame)
        x = zero_padding(_slice(batch, 0, shapes.frame), batch.mask)
        for name, v in latents.items():
            value = 4.0 * _slice(batch, start, v.shape) - 2.0
            start += v.size
            found[name] = value[:, 0] if v.scope == "global" else zero_padding(value, batch.mask)
        return found, x

    def outputs(module: Any, batch: Batch, noise: Noise) -> Values:
        values, x = carried(batch)
        frames = batch.mask.shape[1] if any_local or module.autoregressive else 1
        decoded, features = module(values, x if module.autoregressive else None)
        shaped("the features", decoded, (len(batch), frames, *module.decoded))
        require(
            set(features) == set(module.local_features),
            f"got local features {sorted(features)}, expected {sorted(module.local_features)}",
        )
        for name, value in features.items():
            shaped(f"'{name}'", value, (len(batch), frames, *module.local_features[name]))
        mask = batch.mask[:, :frames]
        return {n: zero_padding(v, mask) for n, v in {"the features": decoded, **features}.items()}

    width = prod(shapes.frame) + sum(v.size for v in latents.values())
    part = Part(
        subject=subject, make=lambda: config.build(shapes), shapes=carrying(shapes, width),
        outputs=outputs,
    )  # fmt: skip
    module: Any = part.module()
    with subject.must("be pure: change no buffer and return the same twice"):
        before = {name: value.clone() for name, value in module.state_dict().items()}
        first = outputs(module, part.batch(), Noise(0))
        identical(outputs(module, part.batch(), Noise(1)), first)
        identical(dict(module.state_dict()), before)
    check_part(part)
    values, x = carried(part.batch())
    if module.autoregressive:
        with subject.must("see no later frame of x"):
            seen = steps_seen(lambda given: [module(values, given)[0]], x, seed=1)
            none_of(seen.triu(1), "frame")
    else:
        with subject.must("ignore x unless it is autoregressive"):
            with_x = module(values, x)[0]
            identical({"": with_x}, {"": module(values)[0].expand_as(with_x)})
    if module.framewise:
        with subject.must("see a local latent at the frame's own step alone, as `framewise` says"):
            _own_steps(module, values, x if module.autoregressive else None)
    if module.differentiable_forward:
        _transforms(subject, module, values, x if module.autoregressive else None)
    if module.autoregressive:
        with subject.must("draw ancestrally what `forward` predicts from it"):
            _ancestral(module, values, part.batch(), shapes.frame)
    serves(subject, partial(small_model, shapes, decoder=config))


def _own_steps(module: Any, latents: Values, x: Tensor | None) -> None:
    def features(name: str, value: Tensor) -> list[Tensor]:
        return [module({**latents, name: value}, x)[0]]

    for name, value in latents.items():
        if value.ndim > 2:
            seen = steps_seen(partial(features, name), value, seed=3)
            none_of(seen & ~torch.eye(len(seen), dtype=torch.bool), "frame")


def _transforms(subject: Subject, module: Any, latents: Mapping[str, Tensor], x: Any) -> None:
    from torch.func import jvp, vmap

    def forward(*values: Tensor) -> Tensor:
        features: Tensor = module(dict(zip(latents, values, strict=True)), x)[0]
        return features

    point = tuple(value.detach() for value in latents.values())
    along = tuple(Noise(2).of(n).normal(v) for n, v in zip(latents, point, strict=True))
    with warnings.catch_warnings():  # torch warns of its own slow paths here
        warnings.simplefilter("ignore")
        with subject.must("pass jvp (or declare differentiable_forward = False)"):
            slope = jvp(forward, point, along)[1]
            ahead, behind = (
                forward(*(p + step * a for p, a in zip(point, along, strict=True)))
                for step in (1e-6, -1e-6)
            )
            scale = float(slope.abs().max().clamp_min(1e-3))
            gap = float((slope - (ahead - behind) / 2e-6).abs().max()) / scale
            require(gap <= 1e-3, f"jvp and finite differences differ by {gap:.2g} of the largest")
        with subject.must("pass vmap (or declare differentiable_forward = False)"):
            rows = [tuple(f * value for value in point) for f in (1.0, -0.5)]
            stacked = tuple(torch.stack(pair) for pair in zip(*rows, strict=True))
            expected = torch.stack([forward(*row) for row in rows])
            close({"the features": vmap(forward)(*stacked)}, {"the features": expected})


def _draw(frame: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Return a stand-in for a likelihood that draws without noise."""

    def draw(features: Tensor) -> Tensor:
        value = torch.sigmoid(features.sum(2, keepdim=True))
        return value.expand(-1, -1, frame[0], *value.shape[3:])

    return draw


def _ancestral(module: Any, values: Values, batch: Batch, frame: tuple[int, ...]) -> None:
    draw = _draw(frame)
    with torch.no_grad():
        drawn = module.ancestral(values, batch.lengths, draw)
        shaped("what is drawn", drawn, (len(batch), batch.mask.shape[1], *frame))
        forced = draw(module(values, drawn)[0])
    close(
        {"what is drawn": zero_padding(drawn, batch.mask)},
        {"what is drawn": zero_padding(forced, batch.mask)},
    )


# Likelihood --------------------------------------------------------------------------------------

_STORED: dict[str, Callable[[Tensor], Tensor]] = {
    "numbers from 0 to 1": lambda x: (1.2 * x - 0.1).clamp(0.0, 1.0),
    "zeros and ones": torch.round,
    "numbers of either sign": lambda x: 4.0 * x - 2.0,
    "counts": lambda x: torch.floor(10.0 * x),
}


def check_likelihood(subject: Subject, shapes: Shapes) -> None:
    """Check shapes, finite densities on data of its support, and float32 under autocast."""
    config = cast(LikelihoodConfig, subject.config)
    width, stored = prod(shapes.decoded), _stored(subject, config, shapes)

    def carried(module: Any, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """Cut the decoder's features and x out of the batch's frames."""
        features = 4.0 * _slice(batch, 0, shapes.decoded) - 2.0
        x = stored(zero_padding(_slice(batch, width, shapes.frame), batch.mask))
        supported = module.support(x, noise.of("support"))
        shaped("x in its support", supported, tuple(x.shape))
        return features, supported

    def outputs(module: Any, batch: Batch, noise: Noise) -> Values:
        features, x = carried(module, batch, noise)
        distribution = module(features)
        drawn = distribution.rsample(noise.of("sample"))
        values = {
            "x in its support": x,
            "the log density": distribution.log_prob(x),
            "the mean": distribution.mean,
            "the sample": drawn,
            "the sample's log density": distribution.log_prob(drawn),
        }
        for name, value in values.items():
            shaped(name, value, tuple(x.shape))
        return {name: zero_padding(value, batch.mask) for name, value in values.items()}

    carrier = carrying(shapes, width + prod(shapes.frame))
    part = Part(subject=subject, make=lambda: config.build(shapes), shapes=carrier, outputs=outputs)
    check_part(part)
    module: Any = part.module()
    with subject.must("have distributions with KL 0 to themselves and a detach() that works"):
        batch = part.batch()
        features, x = carried(module, batch, Noise(0))
        check_distribution(module(features), x, batch.mask)
    with subject.must("be float32 under autocast to bfloat16"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            distribution = module.float()(features.bfloat16())
            found = {"mean": distribution.mean, "log density": distribution.log_prob(x.float())}
        for name, value in found.items():
            require(value.dtype == torch.float32, f"got the {name} as {value.dtype}")
    serves(subject, partial(small_model, shapes, likelihood=config), stored)


def _stored(
    subject: Subject, config: LikelihoodConfig, shapes: Shapes
) -> Callable[[Tensor], Tensor]:
    """Return what makes data that the likelihood takes."""
    x = zero_padding(small_batch(shapes).x, small_batch(shapes).mask)
    refusals = []
    with subject.must(f"take one of: {', '.join(_STORED)}"):
        for make in _STORED.values():
            try:
                with seeded(0, "testing"):
                    config.build(shapes).double().support(make(x), Noise(0))
            except SeqVAEError as error:
                refusals.append(str(error))
            else:
                return make
        require(False, f"all were refused: {'; '.join(refusals)}")
    raise AssertionError
