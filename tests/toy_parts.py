"""A plugin of small settings classes: one component of each kind, and presets."""

from pathlib import Path
from typing import ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import (
    BackboneConfig,
    DatasetConfig,
    DecoderConfig,
    EncoderConfig,
    LikelihoodConfig,
    MIEstimatorConfig,
    PriorConfig,
    RegularizerConfig,
    TaskConfig,
)
from seqvae_core.hookspecs import Preset, hookimpl
from seqvae_core.settings import OptimizerConfig

_ADAM = OptimizerConfig()


def _build(self, _):
    raise NotImplementedError


@frozen(kw_only=True)
class Plain(BackboneConfig):
    name: ClassVar[str] = "plain"
    build = _build


@frozen(kw_only=True)
class GRU(EncoderConfig):
    name: ClassVar[str] = "gru"
    hidden: int = field(default=8, validator=validators.ge(1))
    layers: int = field(default=1, validator=[validators.ge(1), validators.le(4)])
    dropout: float | None = None
    cell: Literal["gru", "lstm"] = "gru"
    bidirectional: bool = True
    widths: tuple[int, ...] = ()
    betas: tuple[float, float] = (0.9, 0.999)
    scales: dict[str, float] = field(factory=dict, hash=False)
    cache: Path | None = None
    optimizer: OptimizerConfig = _ADAM
    build = _build


@frozen(kw_only=True)
class CNN(EncoderConfig):
    name: ClassVar[str] = "cnn"
    kernel: int = 5
    build = _build


@frozen(kw_only=True)
class Normal(PriorConfig):
    name: ClassVar[str] = "normal"
    build = _build


@frozen(kw_only=True)
class Flat(DecoderConfig):
    name: ClassVar[str] = "flat"
    build = _build


@frozen(kw_only=True)
class NormalLikelihood(LikelihoodConfig):
    name: ClassVar[str] = "normal"
    build = _build


@frozen(kw_only=True)
class Ratio(MIEstimatorConfig):
    name: ClassVar[str] = "ratio"
    steps: int = 10
    build = _build


@frozen(kw_only=True)
class Penalty(RegularizerConfig):
    name: ClassVar[str] = "penalty"
    estimator: MIEstimatorConfig | None = None
    build = _build


@frozen(kw_only=True)
class Count(TaskConfig):
    name: ClassVar[str] = "count"
    build = _build


@frozen(kw_only=True)
class Folder(DatasetConfig):
    name: ClassVar[str] = "folder"
    root: Path
    pattern: str = "*"
    build = _build


EXPERIMENT = {
    "data": {"name": "folder", "root": "/data"},
    "model": {
        "backbone": "plain",
        "encoder": {"name": "gru", "hidden": 16, "layers": 2},
        "decoder": "flat",
        "likelihood": "normal",
        "latents": {
            "z": {"scope": "global", "dim": 4, "prior": "normal"},
            "s": {"scope": "local", "dim": 2, "prior": "normal"},
        },
    },
    "regularizers": [
        {"name": "penalty", "label": "first", "weight": 0.1},
        {"name": "penalty", "label": "second"},
    ],
    "train": {"steps": 10, "batch_size": 4, "optimizer": "adam"},
    "tasks": ["count"],
}


@hookimpl
def seqvae_backbones():
    return [Plain]


@hookimpl
def seqvae_encoders():
    return [GRU, CNN]


@hookimpl
def seqvae_priors():
    return [Normal]


@hookimpl
def seqvae_decoders():
    return [Flat]


@hookimpl
def seqvae_likelihoods():
    return [NormalLikelihood]


@hookimpl
def seqvae_mi_estimators():
    return [Ratio]


@hookimpl
def seqvae_regularizers():
    return [Penalty]


@hookimpl
def seqvae_tasks():
    return [Count]


@hookimpl
def seqvae_datasets():
    return [Folder]


@hookimpl
def seqvae_presets():
    def preset(name, data):
        return Preset(name=name, summary="a toy", reference="none", data=data)

    return [
        preset("toy", EXPERIMENT),
        preset("toy-wide", {"preset": "toy", "model": {"encoder": {"hidden": 64}}}),
        preset("toy-wider", {"preset": "toy-wide", "model": {"encoder": {"layers": 3}}}),
        preset("toy-loop", {"preset": "toy-knot"}),
        preset("toy-knot", {"preset": "toy-loop"}),
    ]
