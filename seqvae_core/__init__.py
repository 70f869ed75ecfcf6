"""The core of seqvae: sequential VAEs whose every part comes from a plugin.

Nothing is imported before it is asked for (PEP 562).
"""

import importlib
from typing import Any

_HOMES = {
    "checkpoint": ["load"],
    "components": [
        "Backbone", "BackboneConfig", "Component", "Critic", "DataRequest", "DatasetConfig",
        "Decoder", "DecoderConfig", "Draw", "Encoder", "EncoderConfig", "Estimate", "Likelihood",
        "LikelihoodConfig", "MIEstimator", "MIEstimatorConfig", "PairCritic", "Prior",
        "PriorConfig", "Regularizer", "RegularizerConfig", "Task", "TaskConfig", "TaskResult",
    ],
    "errors": [
        "CheckpointError", "ConfigError", "DataError", "DuplicateComponentError", "PluginError",
        "SeqVAEError", "ShapeError", "TrainingError", "UnknownComponentError",
    ],
    "experiment": [
        "Experiment", "KLConfig", "LatentConfig", "ModelConfig", "PluginsConfig", "TrainConfig",
    ],
    "hookspecs": ["Preset", "hookimpl"],
    "loading": ["collate", "iterate"],
    "model": ["SeqVAE"],
    "objective": ["Losses", "Objective"],
    "plugins": ["Plugins"],
    "records": [
        "Batch", "Distribution", "Latent", "Noise", "Output", "Run", "Shapes", "Splits", "Variable",
    ],
    "runs": ["evaluate", "resume", "train"],
    "settings": ["OptimizerConfig", "Schedule"],
    "training": ["Player", "Trainer", "players"],
}  # fmt: skip
_ORIGIN = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_ORIGIN, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("seqvae")
    if name in _ORIGIN:
        return getattr(importlib.import_module(f"seqvae_core.{_ORIGIN[name]}"), name)
    raise AttributeError(f"module 'seqvae_core' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
