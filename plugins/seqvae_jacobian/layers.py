"""Which layers of a decoder the penalty cannot work with, or not without a warning."""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.pooling import _AdaptiveMaxPoolNd, _MaxPoolNd
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from seqvae_core.errors import ConfigError

__all__ = ["has_kinks", "refuse_unfit"]

_KINKED = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Threshold, nn.SELU, nn.Hardtanh, nn.Hardsigmoid,
    nn.Hardswish, nn.Hardshrink, nn.Softshrink, _MaxPoolNd, _AdaptiveMaxPoolNd,
)  # fmt: skip


def has_kinks(parts: Iterable[nn.Module]) -> bool:
    """Tell whether a layer's slope jumps; only layers are seen, no functions."""
    return any(_kinked(layer) for part in parts for layer in part.modules())


def _kinked(layer: nn.Module) -> bool:
    if isinstance(layer, nn.ELU):
        return layer.alpha != 1.0
    recurrent = getattr(layer, "mode", "") == "RNN_RELU" or (
        isinstance(layer, nn.RNNCell) and layer.nonlinearity == "relu"
    )
    return recurrent or isinstance(layer, _KINKED)


def refuse_unfit(parts: Iterable[nn.Module], term: str) -> None:
    """Refuse layers by which a moved decode differs from the plain one in more than the move.

    Raises:
        ConfigError: for a layer that couples the rows of a batch, draws numbers, or changes.
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
    if layer.training and _iterates(layer):
        return "spectral normalisation in training, which changes weights at each decode"
    return ""


def _iterates(layer: nn.Module) -> bool:
    hooks = layer._forward_pre_hooks.values()
    return isinstance(layer, _SpectralNorm) or any(isinstance(h, SpectralNorm) for h in hooks)


def _dropout(layer: nn.Module) -> float:
    if isinstance(layer, _DropoutNd):
        return layer.p
    return float(layer.dropout) if isinstance(layer, (nn.RNNBase, nn.MultiheadAttention)) else 0.0
