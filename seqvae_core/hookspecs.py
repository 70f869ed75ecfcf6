"""Every hook of seqvae: what a plugin may provide, and what it may watch.

Component hooks take nothing and return config classes; they are pure, and their order means
nothing. Lifecycle hooks watch a run, return nothing, and must not depend on one another's order.
An implementation is a function of the same name, marked by `hookimpl`, in the plugin's module; it
may take fewer arguments than its spec, but no defaults and no `**kwargs`.

Example:
    A complete plugin is one file::

        from seqvae_core import RegularizerConfig, hookimpl

        class HSIC(RegularizerConfig):
            name = "acme-hsic"
            def build(self, shapes): ...

        @hookimpl
        def seqvae_regularizers():
            return [HSIC]
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
from attrs import frozen

if TYPE_CHECKING:
    import click

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
    from seqvae_core.records import Run
    from seqvae_core.study import Study

__all__ = ["COMMANDS", "Preset", "hookimpl", "hookspec"]

COMMANDS = frozenset({
    "components", "data", "evaluate", "plugins", "presets", "report", "reproduce", "resume",
    "show", "train",
})  # fmt: skip

hookspec = pluggy.HookspecMarker("seqvae")
hookimpl = pluggy.HookimplMarker("seqvae")


@frozen(kw_only=True)
class Preset:
    """A ready experiment.

    Attributes:
        name: kebab-case, unique among all plugins.
        summary: one line.
        reference: the paper and what the settings are taken from.
        data: the experiment as plain data, as if read from TOML.
    """

    name: str
    summary: str
    reference: str
    data: Mapping[str, Any]

    @classmethod
    def folder(cls, path: Path) -> "list[Preset]":
        """Return a preset for each TOML file in a folder: `summary`, `reference`, experiment."""
        return [cls._read(file) for file in sorted(path.glob("*.toml"))]

    @classmethod
    def _read(cls, file: Path) -> "Preset":
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        summary, reference = data.pop("summary"), data.pop("reference")
        return cls(name=file.stem, summary=summary, reference=reference, data=data)


# Components ------------------------------------------------------------------------------------


@hookspec
def seqvae_backbones() -> "Iterable[type[BackboneConfig]]":  # type: ignore[empty-body]
    """Return backbones: frames to features, (B, T, *frame) → (B, T, F)."""


@hookspec
def seqvae_encoders() -> "Iterable[type[EncoderConfig]]":  # type: ignore[empty-body]
    """Return encoders: features to the posteriors of all latents."""


@hookspec
def seqvae_priors() -> "Iterable[type[PriorConfig]]":  # type: ignore[empty-body]
    """Return priors, each of one latent."""


@hookspec
def seqvae_decoders() -> "Iterable[type[DecoderConfig]]":  # type: ignore[empty-body]
    """Return decoders: latents to the likelihood's features."""


@hookspec
def seqvae_likelihoods() -> "Iterable[type[LikelihoodConfig]]":  # type: ignore[empty-body]
    """Return likelihoods: decoder features to a distribution over frames."""


@hookspec
def seqvae_regularizers() -> "Iterable[type[RegularizerConfig]]":  # type: ignore[empty-body]
    """Return terms of the loss, (B,) nats each, with or without a critic."""


@hookspec
def seqvae_mi_estimators() -> "Iterable[type[MIEstimatorConfig]]":  # type: ignore[empty-body]
    """Return estimators of mutual information, in nats."""


@hookspec
def seqvae_tasks() -> "Iterable[type[TaskConfig]]":  # type: ignore[empty-body]
    """Return evaluations of a trained model."""


@hookspec
def seqvae_datasets() -> "Iterable[type[DatasetConfig]]":  # type: ignore[empty-body]
    """Return data sets; nothing may be read or downloaded before `build()`."""


@hookspec
def seqvae_presets() -> "Iterable[Preset]":  # type: ignore[empty-body]
    """Return ready experiments, as plain data."""


@hookspec
def seqvae_studies() -> "Iterable[Study]":  # type: ignore[empty-body]
    """Return studies: the training runs of a paper's experiment, and the page made from them."""


@hookspec
def seqvae_commands() -> "Iterable[click.Command]":  # type: ignore[empty-body]
    """Return commands of `seqvae`; not named as one of `COMMANDS`, which are its own.

    Asked of installed plugins, also by `seqvae --help`: torch and the like are to be imported by
    the command when it runs, not by the plugin's module.
    """


# Lifecycle -------------------------------------------------------------------------------------


@hookspec
def seqvae_before_run(run: "Run") -> None:
    """Watch a run begin, or continue at `run.start_step`; called on the first rank only.

    What the observer wrote for steps after `run.start_step` belongs to a run that was cut off:
    it will be repeated.
    """


@hookspec
def seqvae_after_step(run: "Run", metrics: Mapping[str, float]) -> None:
    """Watch one logged step; `metrics` is that step's line of `metrics.jsonl`."""


@hookspec
def seqvae_after_evaluation(run: "Run", metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Watch an evaluation, as in `evaluation.json`; `run.path` holds its tables and figures.

    Also called to write a stored run's report anew, then without `seqvae_before_run`.
    """


@hookspec
def seqvae_after_run(run: "Run", error: BaseException | None) -> None:
    """Watch a run end; always called, with the error that ended it, if any."""
