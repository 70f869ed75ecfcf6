"""Small real material: shapes, batches, splits, and a model made of stand-in parts."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from seqvae_core.components import (
    BackboneConfig,
    DecoderConfig,
    EncoderConfig,
    LikelihoodConfig,
    PriorConfig,
)
from seqvae_core.experiment import LatentConfig, ModelConfig
from seqvae_core.model import SeqVAE, build_model
from seqvae_core.records import Batch, Noise, Shapes, Splits, Variable
from seqvae_core.settings import CategoricalConfig
from seqvae_core.testing.standins import (
    DECODED,
    FEATURES,
    StandInBackbone,
    StandInDecoder,
    StandInEncoder,
    StandInLikelihood,
    StandInPrior,
)

__all__ = ["CLASSES", "completed", "latents_proper", "small_batch", "small_model",
           "small_shapes", "small_splits"]  # fmt: skip

CLASSES = 3


def small_shapes(*, frame: tuple[int, ...] = (3,), categorical: bool = False) -> Shapes:
    """Return shapes that every kind can be built for.

    Latents z, global, (3,), and s, local, (2,); labels speaker, a global class, phone, a local
    class, and pitch, a global number; features and decoded as the stand-in parts have them.

    Args:
        frame: shape of a frame.
        categorical: with two latents more, of family "gumbel-categorical": c, global, of 4 values,
            and d, local, of two groups of 3.
    """
    more = {
        "c": Variable(name="c", scope="global", shape=(4,), family="gumbel-categorical"),
        "d": Variable(
            name="d", scope="local", shape=(6,), family="gumbel-categorical",
            categorical=CategoricalConfig(groups=2),
        ),
    }  # fmt: skip
    return Shapes(
        frame=frame,
        labels={
            "speaker": Variable(name="speaker", scope="global", family="class"),
            "phone": Variable(name="phone", scope="local", family="class"),
            "pitch": Variable(name="pitch", scope="global", family="number"),
        },
        latents={
            "z": Variable(name="z", scope="global", shape=(3,)),
            "s": Variable(name="s", scope="local", shape=(2,)),
            **(more if categorical else {}),
        },
        features=FEATURES,
        decoded=DECODED,
    )


def completed(shapes: Shapes) -> Shapes:
    """Return shapes in which latents, features and decoded are filled in where they are empty."""
    small = small_shapes()
    return evolve(
        shapes,
        latents=shapes.latents or small.latents,
        features=shapes.features or small.features,
        decoded=shapes.decoded or small.decoded,
    )


def latents_proper(shapes: Shapes) -> dict[str, Variable]:
    """Return the latents without the decoder's local features."""
    return {name: v for name, v in shapes.latents.items() if v.family != "feature"}


def small_batch(
    shapes: Shapes | None = None,
    *,
    rows: int = 5,
    frames: int = 7,
    mask: Tensor | None = None,
    seed: int = 0,
    padding: float = math.nan,
) -> Batch:
    """Return sequences of different lengths in float64, uniform numbers in [0, 1).

    The first is as long as the batch. Of three rows or more the last has no labels.

    Args:
        shapes: frame and labels; `small_shapes()` if left out.
        rows: B.
        frames: T.
        mask: (B, T) bool, in place of `rows` and `frames`.
        seed: what the numbers are drawn from.
        padding: what stands behind each sequence.
    """
    shapes = shapes or small_shapes()
    if mask is None:
        lengths = torch.tensor([frames - 3 * row % frames for row in range(rows)])
        mask = torch.arange(frames) < lengths[:, None]
    noise = Noise(seed)
    like = torch.empty(*mask.shape, *shapes.frame, dtype=torch.float64)
    x = noise.of("x").uniform(like)
    x[~mask] = padding
    labels = {name: _label(v, mask, noise.of(name)) for name, v in shapes.labels.items()}
    return Batch.of(x, mask=mask, labels=labels)


def _label(variable: Variable, mask: Tensor, noise: Noise) -> Tensor:
    rows, frames = mask.shape
    shape = (rows, frames) if variable.scope == "local" else (rows,)
    unknown: float
    if variable.family == "number":
        value, unknown = noise.normal(torch.empty(shape, dtype=torch.float64)), math.nan
    else:
        value, unknown = noise.integers(CLASSES, shape), -1
    if variable.scope == "local":
        value[~mask] = unknown
    if rows > 2:
        value[-1] = unknown
    return value


def small_splits(
    shapes: Shapes | None = None, *, train: int = 24, valid: int = 6, test: int = 15, seed: int = 0
) -> Splits:
    """Return data of 3 to 7 frames, in [0, 1), in which each global class shifts all frames.

    Args:
        shapes: frame and labels; `small_shapes()` if left out.
        train: how many sequences; as for the other parts.
        valid: likewise.
        test: likewise.
        seed: what the numbers are drawn from.
    """
    shapes = shapes or small_shapes()
    parts: dict[str, Any] = {
        part: [_item(shapes, index, Noise(seed).of(part).of(str(index))) for index in range(count)]
        for part, count in (("train", train), ("valid", valid), ("test", test))
    }
    classes = {
        name: tuple(f"{name} {i}" for i in range(CLASSES))
        for name, variable in shapes.labels.items()
        if variable.family != "number"
    }
    return Splits(**parts, classes=classes)


def _item(shapes: Shapes, index: int, noise: Noise) -> dict[str, Any]:
    length = 3 + int(noise.of("length").integers(5, (1,)))
    speaker = index % CLASSES
    x = noise.of("x").uniform(torch.empty(length, *shapes.frame))
    item: dict[str, Any] = {"x": 0.4 * x + 0.2 * speaker}
    for name, variable in shapes.labels.items():
        if variable.scope == "local":
            item[name] = noise.of(name).integers(CLASSES, (length,))
        else:
            item[name] = speaker
        if variable.family == "number":
            item[name] = item[name] + noise.of("shift").normal(torch.empty(()))
    return item


def small_model(
    shapes: Shapes | None = None,
    *,
    backbone: BackboneConfig | None = None,
    encoder: EncoderConfig | None = None,
    priors: Mapping[str, PriorConfig] | None = None,
    decoder: DecoderConfig | None = None,
    likelihood: LikelihoodConfig | None = None,
    seed: int = 0,
) -> SeqVAE:
    """Return an untrained model of linear stand-in parts, and of the parts that are given.

    Args:
        shapes: frame, labels, latents (family "feature": a local feature of the decoder) and the
            widths of features and decoder; `small_shapes()` fills in what is left out.
        backbone: in place of the stand-in.
        encoder: likewise.
        priors: by latent.
        decoder: likewise.
        likelihood: likewise.
        seed: of the weights.
    """
    shapes = completed(shapes or small_shapes())
    proper, priors = latents_proper(shapes), priors or {}
    features = tuple(v for v in shapes.latents.values() if v.name not in proper)
    latents = {
        name: LatentConfig(
            scope=v.scope,
            dim=v.size,
            family=v.family,
            categorical=v.categorical,
            prior=priors.get(name, StandInPrior()),
        )
        for name, v in proper.items()
    }
    config = ModelConfig(
        latents=latents,
        backbone=backbone or StandInBackbone(width=shapes.features),
        encoder=encoder or StandInEncoder(),
        decoder=decoder or StandInDecoder(decoded=shapes.decoded, local_features=features),
        likelihood=likelihood or StandInLikelihood(),
    )
    return build_model(config, Shapes(frame=shapes.frame, labels=shapes.labels), seed)
