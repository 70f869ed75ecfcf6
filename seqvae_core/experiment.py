"""An experiment: data, model, regularizers, training and tasks, as plain frozen settings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import Factory, field, frozen, validators

from seqvae_core import config, sources
from seqvae_core.components import (
    BackboneConfig,
    DatasetConfig,
    DecoderConfig,
    EncoderConfig,
    LikelihoodConfig,
    PriorConfig,
    RegularizerConfig,
    TaskConfig,
)
from seqvae_core.errors import ConfigError
from seqvae_core.plugins import Plugins
from seqvae_core.records import Scope, Variable
from seqvae_core.settings import CONSTANT, CategoricalConfig, OptimizerConfig, Schedule

__all__ = ["Experiment", "KLConfig", "LatentConfig", "ModelConfig", "PluginsConfig", "TrainConfig"]

_positive = validators.ge(1)
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_LOGGED = {"nll", "loss", "elbo", "kl", "valid", "model", "step", "lr"}


@frozen(kw_only=True)
class KLConfig:
    """How the KL of one latent enters the loss.

    Attributes:
        weight: β; the β-VAE is this and nothing more. It is 0 where a regularizer replaces the
            KL, and nowhere else.
        schedule: a factor on the weight over the steps.
        free_nats: the KL below which it is not penalised, a sequence for a global latent and a
            frame for a local one, compared sequence by sequence.
    """

    weight: float = field(default=1.0, validator=validators.ge(0.0))
    schedule: Schedule = CONSTANT
    free_nats: float = field(default=0.0, validator=validators.ge(0.0))


@frozen(kw_only=True)
class LatentConfig:
    """A named latent: global (B, dim), one a sequence, or local (B, T, dim), one a frame.

    Attributes:
        scope: see above.
        dim: how many numbers; of a categorical latent one for each value of each of its groups.
        family: "gaussian" or "gumbel-categorical".
        categorical: of the family "gumbel-categorical" alone.
        prior: of the latent.
        kl: how its KL enters the loss.
    """

    scope: Scope
    dim: int = field(validator=_positive)
    family: str = "gaussian"
    categorical: CategoricalConfig | None = None
    prior: PriorConfig
    kl: KLConfig = KLConfig()

    def __attrs_post_init__(self) -> None:
        if self.family == "gaussian" and self.categorical is not None:
            raise ValueError("'categorical' must be left out for family 'gaussian'")
        if self.family != "gumbel-categorical":
            return
        groups = self.categorical.groups if self.categorical else 1
        if self.dim % groups or self.dim < 2 * groups:
            raise ValueError(
                f"'dim' must be a multiple of 'groups', with 2 values each at least: "
                f"{self.dim}, {groups}"
            )

    def variable(self, name: str) -> Variable:
        """Return the latent as the parts of a model see it."""
        given = {} if self.categorical is None else {"categorical": self.categorical}
        return Variable(name=name, scope=self.scope, shape=(self.dim,), family=self.family, **given)


def _plain_names(_: object, attribute: Any, value: Mapping[str, Any]) -> None:
    for name in value:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"'{attribute.name}' must have names of letters, digits, _ or -: "
                             f"'{name}'")  # fmt: skip


def _some_latent(_: object, __: object, value: Mapping[str, LatentConfig]) -> None:
    if not value:
        raise ValueError("expected at least one latent, got none")


@frozen(kw_only=True)
class ModelConfig:
    """The model's parts."""

    latents: dict[str, LatentConfig] = field(hash=False, validator=[_some_latent, _plain_names])
    backbone: BackboneConfig
    encoder: EncoderConfig
    decoder: DecoderConfig
    likelihood: LikelihoodConfig


@frozen(kw_only=True)
class TrainConfig:
    """The training run.

    Attributes:
        steps: optimiser steps of the model.
        batch_size: sequences a step, over all devices together.
        accumulate: micro-batches that a step's batch is cut into.
        optimizer: of the model's player.
        clip: largest gradient norm of each player; none when left out.
        checkpoint_every: steps between checkpoints.
        keep: how many checkpoints stay.
        valid_every: steps between validations; `checkpoint_every` when left out.
        monitor: what the best step is chosen by, on the validation part: the negative ELBO (all
            KL weights 1) or the trained loss with its schedules at their end.
        patience: validations without a better value before training stops early.
        log_every: steps between lines of metrics.
        workers: processes that load data.
        pin_memory: whether to put batches where a GPU copies them from; nothing on the CPU.
        bucket: batches among which sequences of like lengths are put together, so that little
            is padded; 1 for none.
        threads: of torch, in each process; torch's own choice when left out. Small models are
            fastest with 1, and on the CPU results are equal bit for bit only at equal threads.
    """

    steps: int = field(validator=_positive)
    batch_size: int = field(validator=_positive)
    optimizer: OptimizerConfig
    accumulate: int = field(default=1, validator=_positive)
    clip: float | None = field(default=None, validator=validators.optional(validators.gt(0.0)))
    checkpoint_every: int = field(default=500, validator=_positive)
    keep: int = field(default=2, validator=_positive)
    valid_every: int | None = field(default=None, validator=validators.optional(_positive))
    monitor: Literal["elbo", "loss"] = "elbo"
    patience: int | None = field(default=None, validator=validators.optional(_positive))
    log_every: int = field(default=1, validator=_positive)
    workers: int = field(default=0, validator=validators.ge(0))
    pin_memory: bool = False
    bucket: int = field(default=1, validator=_positive)
    threads: int | None = field(default=None, validator=validators.optional(_positive))

    def __attrs_post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"'batch_size' must be a multiple of 'accumulate': "
                f"{self.batch_size}, {self.accumulate}"
            )


@frozen(kw_only=True)
class PluginsConfig:
    """What the experiment needs to be installed, such as "seqvae-acme>=0.3"."""

    require: tuple[str, ...] = ()


def _unique_labels(_: object, attribute: Any, value: tuple[Any, ...]) -> None:
    labels = [entry.label or entry.name for entry in value]
    _plain_names(_, attribute, dict.fromkeys(labels))
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"'{attribute.name}' must have unique labels: {', '.join(twice)} twice")


def _free_labels(_: object, attribute: Any, value: tuple[Any, ...]) -> None:
    if taken := sorted({entry.label or entry.name for entry in value} & _LOGGED):
        raise ValueError(f"'{attribute.name}' must not be labelled {', '.join(taken)}: "
                         "these are logged")  # fmt: skip


@frozen(kw_only=True)
class Experiment:
    """Everything that a run is determined by."""

    seed: int = field(default=0, validator=[validators.ge(0), validators.lt(1 << 63)])
    plugins: PluginsConfig = PluginsConfig()
    data: DatasetConfig
    model: ModelConfig
    regularizers: tuple[RegularizerConfig, ...] = field(
        default=Factory(tuple), validator=[_unique_labels, _free_labels]
    )
    train: TrainConfig
    tasks: tuple[TaskConfig, ...] = field(default=Factory(tuple), validator=_unique_labels)

    @classmethod
    def load(
        cls, source: str | Path, plugins: Plugins, overrides: list[str] | None = None
    ) -> "Experiment":
        """Read a preset by its name, or a TOML file, with overrides such as "train.steps=20".

        Raises:
            ConfigError: every fault at once, one line each, with its path.
        """
        return cls.of(sources.read(source, plugins, overrides or []), plugins)

    @classmethod
    def of(cls, data: Mapping[str, Any], plugins: Plugins) -> "Experiment":
        """Return the experiment that plain data describe.

        Raises:
            ConfigError: every fault at once, one line each, with its path.
        """
        section = data.get("plugins")
        wanted = section.get("require") if isinstance(section, Mapping) else None
        faults = []
        try:  # a plugin that is not there explains the components that are not
            if isinstance(wanted, (list, tuple)):
                plugins.require(text for text in wanted if isinstance(text, str))
        except ConfigError as error:
            faults.append(str(error))
        try:
            experiment: Experiment = config.structure(data, cls, plugins)
        except ConfigError as error:
            faults.append(str(error))
        if faults:
            raise ConfigError("\n".join(faults))
        return experiment

    def to_toml(self) -> str:
        """Return the fully resolved experiment as TOML; it trains to the same result."""
        return config.dump(self)
