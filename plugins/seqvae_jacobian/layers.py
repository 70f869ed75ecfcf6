"""Which layers of a decoder the penalty cannot work with, or not without a warning."""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from seqvae_core.errors import ConfigError

__all__ = ["has_kinks", "refuse_unfit"]

_KINKED = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh)


def has_kinks(parts: Iterable[nn.Module]) -> bool:
    """Tell whether an activation is piecewise linear; only layers are seen, no functions."""
    return any(isinstance(layer, _KINKED) for part in parts for layer in part.modules())


def refuse_unfit(parts: Iterable[nn.Module], term: str) -> None:
    """Refuse layers by which a moved decode differs from the plain one in more than the move.

    Raises:
        ConfigError: for a layer that couples the rows of a batch, or draws numbers.
    """
    for part in parts:
        for path, layer in part.named_modules():
            reason = _unfit(layer)
            if reason:
                raise ConfigError(
                    f"{term} expects a decoder without {reason}, "
                    f"got {type(layer).__name__} '{path}' in {type(part).__name__}"
                )


def _unfit(layer: nn.Module) -> str:
    if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
        return "batch normalisation in training, which couples the rows of a batch"
    if layer.training and (isinstance(layer, nn.RReLU) or _dropout(layer) > 0.0):
        return "dropout in training, by which no two decodes are alike"
    return ""


def _dropout(layer: nn.Module) -> float:
    if isinstance(layer, _DropoutNd):
        return layer.p
    return float(layer.dropout) if isinstance(layer, (nn.RNNBase, nn.MultiheadAttention)) else 0.0
