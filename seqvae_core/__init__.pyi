# fmt: off
from .checkpoint import (
    load, load_splits,
)
from .components import (
    Backbone, BackboneConfig, Component, Critic, DataRequest, DatasetConfig, Decoder,
    DecoderConfig, Draw, Encoder, EncoderConfig, Estimate, Likelihood, LikelihoodConfig,
    MIEstimator, MIEstimatorConfig, PairCritic, Prior, PriorConfig, Regularizer,
    RegularizerConfig, Stepped, Task, TaskConfig, TaskResult,
)
from .errors import (
    CheckpointError, ConfigError, DataError, DuplicateComponentError, PluginError, SeqVAEError,
    ShapeError, TrainingError, UnknownComponentError,
)
from .experiment import (
    Experiment, KLConfig, LatentConfig, ModelConfig, PluginsConfig, TrainConfig,
)
from .hookspecs import (
    Preset, hookimpl,
)
from .loading import (
    collate, iterate,
)
from .model import SeqVAE
from .objective import (
    Losses, Objective,
)
from .plugins import Plugins
from .records import (
    Batch, Distribution, Latent, Noise, Output, Run, Shapes, Splits, Variable,
)
from .runs import (
    evaluate, resume, train,
)
from .settings import (
    CategoricalConfig, OptimizerConfig, Schedule, Temperature,
)
from .study import (
    Cell, Study,
)
from .training import (
    Player, Trainer, players,
)

__all__ = [
    "Backbone", "BackboneConfig", "Batch", "CategoricalConfig", "Cell", "CheckpointError",
    "Component", "ConfigError", "Critic", "DataError", "DataRequest", "DatasetConfig", "Decoder",
    "DecoderConfig", "Distribution", "Draw", "DuplicateComponentError", "Encoder",
    "EncoderConfig", "Estimate", "Experiment", "KLConfig", "Latent", "LatentConfig",
    "Likelihood", "LikelihoodConfig", "Losses", "MIEstimator", "MIEstimatorConfig",
    "ModelConfig", "Noise", "Objective", "OptimizerConfig", "Output", "PairCritic", "Player",
    "PluginError", "Plugins", "PluginsConfig", "Preset", "Prior", "PriorConfig", "Regularizer",
    "RegularizerConfig", "Run", "Schedule", "SeqVAE", "SeqVAEError", "ShapeError", "Shapes",
    "Splits", "Stepped", "Study", "Task", "TaskConfig", "TaskResult", "Temperature",
    "TrainConfig", "Trainer", "TrainingError", "UnknownComponentError", "Variable", "collate",
    "evaluate", "hookimpl", "iterate", "load", "load_splits", "players", "resume", "train",
]
