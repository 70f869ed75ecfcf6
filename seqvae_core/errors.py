"""What seqvae raises: every user's error is a `SeqVAEError` with a one-line message."""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DuplicateComponentError",
    "PluginError",
    "SeqVAEError",
    "ShapeError",
    "TrainingError",
    "UnknownComponentError",
]


class SeqVAEError(Exception):
    """Root of all errors that a user can mend; the command line prints it without a traceback."""


class ConfigError(SeqVAEError, ValueError):
    """An experiment, or a component's settings, that cannot be used: one line for each fault."""


class UnknownComponentError(ConfigError):
    """A component's name that no loaded plugin provides."""


class PluginError(SeqVAEError):
    """A plugin that cannot be loaded or does not keep its contract."""


class DuplicateComponentError(PluginError):
    """One name provided by two plugins; the message names both."""


class ShapeError(SeqVAEError, ValueError):
    """Tensors or components whose shapes do not fit together."""


class CheckpointError(SeqVAEError):
    """A run or checkpoint that is missing, damaged, or of another version."""


class DataError(SeqVAEError):
    """Data that cannot be read or trained on: what was got, what was expected, where."""


class TrainingError(SeqVAEError):
    """A run that had to stop: a loss or a gradient that is no longer finite."""
