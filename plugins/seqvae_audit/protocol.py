"""What a VAE that was trained elsewhere is asked for, and how its answers are read.

It has two functions: `encode(x)` gives the mean and ln σ² of Gaussian posteriors, `decode(z)` the
mean of x. x is (N, *frame), or (N, T, *frame) for sequences; z is (N, D), a map (N, C, H, W), or
(N, T, D), one a frame.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from seqvae_core.errors import DataError, ShapeError

__all__ = ["ModelError", "check_finite", "mean_of", "posterior_of"]

_MEANS = ("mean", "mu", "loc", "embedding", "z_mean")
_LOGVARS = ("logvar", "log_var", "log_variance", "log_covariance", "z_logvar", "z_log_var")
_SCALES = ("std", "scale", "stddev")
_DECODED = ("reconstruction", "sample", "x_hat", "recon", "mean")

_POSTERIOR = (
    "(mean, logvar), a torch.distributions.Normal, or an object or dict with mean and logvar"
)


class ModelError(ShapeError):
    """A call of somebody else's function that failed, or gave what does not fit."""


def posterior_of(value: Any) -> tuple[Tensor, Tensor]:
    """Return mean and ln σ², of one shape, of what `encode(x)` gave.

    Raises:
        ShapeError: if it is nothing of that kind; the message says what it is.
    """
    value = _member(value, "latent_dist", value)  # as diffusers wraps it
    if isinstance(value, Independent):
        value = value.base_dist
    if isinstance(value, Distribution) and not isinstance(value, Normal):
        raise ShapeError(
            f"encode(x) returned the distribution {type(value).__name__}; an audit is of Gaussian "
            f"posteriors: expected {_POSTERIOR}"
        )
    mean, logvar = _pair(value)
    try:
        logvar = logvar.to(mean).broadcast_to(mean.shape)
    except RuntimeError:
        raise ShapeError(
            f"encode(x) returned a mean of shape {tuple(mean.shape)} and a log variance of shape "
            f"{tuple(logvar.shape)}; expected one shape"
        ) from None
    return mean, logvar


def _pair(value: Any) -> tuple[Tensor, Tensor]:
    mean = _first(value, _MEANS)
    logvar = _first(value, _LOGVARS)
    scale = _first(value, _SCALES)
    if mean is not None and logvar is not None:
        return mean, logvar
    if mean is not None and scale is not None:
        return mean, 2.0 * scale.log()
    if isinstance(value, (tuple, list)) and len(value) == 2:
        first, second = (array_of(part) for part in value)
        if first is not None and second is not None:
            return first, second
    raise ShapeError(f"encode(x) returned {described(value)}; expected {_POSTERIOR}")


def mean_of(value: Any) -> Tensor:
    """Return the mean of x of what `decode(z)` gave.

    Raises:
        ShapeError: if it is no array and has none; the message says what it is.
    """
    found = array_of(value)
    found = _first(value, _DECODED) if found is None else found
    if found is None:
        raise ShapeError(
            f"decode(z) returned {described(value)}; expected the mean of x as an array"
        )
    return found


def check_finite(value: Tensor, what: str) -> None:
    """Raise `DataError` if an entry is NaN or infinite, naming the rows."""
    bad = ~torch.isfinite(value).flatten(1).all(1)
    if bool(bad.any()):
        raise DataError(
            f"{what} is NaN or infinite in {int(bad.sum())} of {len(bad)} rows of a batch, "
            f"row {int(bad.int().argmax())} first"
        )


# Arrays ------------------------------------------------------------------------------------------


def array_of(value: Any) -> Tensor | None:
    """Return an array of any library as a floating tensor, None for anything else."""
    if isinstance(value, Tensor):
        return None if value.is_complex() else value if value.is_floating_point() else value.float()
    if callable(value) or not hasattr(value, "__array__"):
        return None
    found = np.asarray(value)
    if found.dtype.kind not in "fiub":
        return None
    kept = found if found.dtype == np.float64 else found.astype(np.float32)
    return torch.as_tensor(np.ascontiguousarray(kept))  # torch takes no negative strides


def _member(value: Any, name: str, default: Any = None) -> Any:
    if isinstance(value, Tensor):
        return default
    if isinstance(value, Mapping):
        return value.get(name, default)
    return getattr(value, name, default)


def _first(value: Any, names: tuple[str, ...]) -> Tensor | None:
    """Return the first array that an object or a dict has under one of these names."""
    for name in names:
        found = array_of(_member(value, name))
        if found is not None:
            return found
    return None


def described(value: Any) -> str:
    """Return what something is, in a few words, with the shapes of arrays."""
    found = array_of(value)
    if found is not None:
        return f"an array of shape {tuple(found.shape)}"
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"{type(value).__name__}"
