"""One batch through both functions before anything is measured: shapes, randomness, scale."""

import warnings
from contextlib import suppress
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_audit.callables import Callables
from seqvae_audit.protocol import ModelError, check_finite
from seqvae_audit.wrapped import Form
from seqvae_core.errors import DataError, ShapeError

__all__ = ["Trial", "attempt"]

_CLOSE = 1e-3  # of the spread: what the arithmetic of one batch may differ from another's
_ROUNDING = 4e-6  # of the largest number, some tens of float32's steps


@frozen(eq=False, kw_only=True)
class Trial:
    """What one batch showed.

    Attributes:
        form: of x and z.
        warnings: what a user should look at before the numbers.
    """

    form: Form
    warnings: list[str]


def attempt(
    callables: Callables,
    x: Tensor,  # (N, T, *frame)
    *,
    frames: int,
    batch_size: int,
) -> Trial:
    """Encode and decode a batch.

    Args:
        callables: the functions.
        x: the batch.
        frames: T, or 0 where x is to be given without its axis of time.
        batch_size: of later calls.

    Raises:
        ShapeError: if a function fails or gives what does not fit: got, and expected.
        DataError: if it gives NaN.
    """
    form = Form(
        kind="vector", latent=(), frame=tuple(x.shape[2:]), frames=frames, batch_size=batch_size
    )
    form, mean, logvar, decoded = _ran(callables, x, form)
    for what, value in (
        ("the mean of encode(x)", mean),
        ("the log variance of encode(x)", logvar),
        ("decode(z)", decoded),
    ):
        check_finite(value, what)
    again = form.encoded(callables, x)[0], form.decoded(callables, mean)
    found = [
        *_random("encode", mean, again[0]),
        *_random("decode", decoded, again[1]),
        *_coupled(callables, form, x, mean),
        *_log(logvar),
        *_scale(x, decoded),
    ]
    differentiable = not form.numpy and _differentiable(callables, form, mean)
    return Trial(form=evolve(form, differentiable=differentiable), warnings=found)


def _ran(callables: Callables, x: Tensor, form: Form) -> tuple[Form, Tensor, Tensor, Tensor]:
    """Encode and decode tensors, or numpy arrays where no module is seen and tensors fail."""
    try:
        return _through(callables, x, form)
    except ModelError:
        if callables.modules:
            raise
        with suppress(ModelError):  # the first error is what is told
            return _through(callables, x, evolve(form, numpy=True))
        raise


def _through(callables: Callables, x: Tensor, form: Form) -> tuple[Form, Tensor, Tensor, Tensor]:
    mean, logvar = form.encoded(callables, x)
    kind, shape = _latent(mean, x, form.frames)
    form = evolve(form, kind=kind, latent=shape)
    return form, mean, logvar, form.decoded(callables, mean)


def _latent(mean: Tensor, x: Tensor, frames: int) -> tuple[Any, tuple[int, ...]]:
    rows = len(x)
    if mean.ndim < 2 or len(mean) != rows or 0 in mean.shape:
        raise ShapeError(
            f"encode(x) returned a mean of shape {tuple(mean.shape)} for {rows} rows of x; "
            f"expected ({rows}, D), a map ({rows}, C, H, W), or ({rows}, T, D) for sequences"
        )
    if mean.ndim == 2:
        return "vector", (mean.shape[1],)
    if mean.ndim == 3 and frames and mean.shape[1] == frames:
        return "frames", (mean.shape[2],)
    if mean.ndim == 4 and not frames:
        return "map", tuple(mean.shape[1:])
    expected = f"(N, D) or (N, {frames}, D)" if frames else "(N, D) or a map (N, C, H, W)"
    raise ShapeError(
        f"encode(x) returned a mean of shape {tuple(mean.shape)}; expected {expected} for x of "
        f"shape {tuple(x.shape if frames else x.squeeze(1).shape)}"
    )


# What a user should look at ----------------------------------------------------------------------


def _differ(first: Tensor, second: Tensor, known: Tensor, close: float) -> float | None:
    """Return by how much two answers differ at most, if it is more than the arithmetic explains.

    Each number of a row is held to its own spread over the rows that are known, and all to what
    float32 leaves of the largest.
    """
    spread = known.std(0, correction=0)
    allowed = close * spread.clamp(min=0.1 * float(spread.median())) + _ROUNDING * known.abs().max()
    differences = (first - second).abs()
    return float(differences.max()) if bool((differences > allowed).any()) else None


def _random(which: str, first: Tensor, second: Tensor) -> list[str]:
    if (apart := _differ(first, second, first, _CLOSE)) is None:
        return []
    return [
        f"{which} is random: two calls on one batch differ by up to {apart:.3g}. It should give "
        "parameters, not samples, and run in evaluation mode; a module that it hides can be named "
        "by 'module'"
    ]


def _coupled(callables: Callables, form: Form, x: Tensor, mean: Tensor) -> list[str]:
    try:
        alone = form.encoded(callables, x[:1])[0]
    except ModelError as error:
        return [f"encode takes no single row, which later calls may need: {error}"]
    if (apart := _differ(alone, mean[:1], mean, 10.0 * _CLOSE)) is None:
        return []
    return [
        f"what encode gives for a row depends on the others of its batch: alone it differs by up "
        f"to {apart:.3g}; is a normalisation over the batch in training mode?"
    ]


def _log(logvar: Tensor) -> list[str]:
    if float(logvar.min()) > 0.0:
        return [
            "all log variances of encode(x) are positive: is the second value a variance or a "
            "standard deviation? It should be ln σ²"
        ]
    return []


def _scale(x: Tensor, decoded: Tensor) -> list[str]:
    error = float((x.to(decoded) - decoded).square().mean())
    constant = float((x - x.mean(0)).square().mean())
    if len(x) < 2 or error < constant:
        return []
    return [
        f"decode(encode(x)) is further from x than the mean of x is ({error:.3g} against "
        f"{constant:.3g}): x is within {_range(x)}, what is decoded within {_range(decoded)}. Was "
        "the model trained on x of another scale, and is decode's x a mean, not logits?"
    ]


def _range(value: Tensor) -> str:
    return f"{float(value.min()):.3g} to {float(value.max()):.3g}"


def _differentiable(callables: Callables, form: Form, mean: Tensor) -> bool:
    """Tell whether forward-mode derivatives pass through decode."""

    def decode(z: Tensor) -> Tensor:
        return form.decoded(callables, z)

    point = mean[:1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jvp = torch.func.jvp(decode, (point,), (torch.ones_like(point),))[1]
            torch.vmap(decode, randomness="different")(point[None])
        return bool(torch.isfinite(jvp).all())
    except Exception:  # whatever somebody else's code raises there
        return False


def one_length(lengths: Tensor) -> int:
    """Return the number of frames of all sequences; raise `DataError` if they differ."""
    low, high = int(lengths.min()), int(lengths.max())
    if low != high:
        raise DataError(
            f"sequences have {low} to {high} frames; encode and decode are told of no padding: "
            "cut or pad them to one length"
        )
    return low
