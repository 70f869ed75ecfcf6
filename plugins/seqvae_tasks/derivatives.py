"""Derivatives of the decoded mean by single dimensions of a latent: the Jacobian's columns."""

import warnings
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from seqvae_core.model import SeqVAE

__all__ = ["columns", "mean_columns", "undifferentiable"]


def undifferentiable(model: SeqVAE, name: str) -> str:
    """Return why the decoded mean has no derivative by a latent, frame by frame; "" if it has."""
    if model.decoder.autoregressive:
        return (
            "the decoder is autoregressive; its mean given the latents alone has no closed form "
            "to differentiate"
        )
    if name not in model.priors:
        return "no latent but a feature"
    if model.shapes.latent(name).scope == "local" and not model.decoder.framewise:
        return (
            "the decoder is not framewise, so that a step of a local latent changes other frames "
            "than its own"
        )
    return ""


def columns(
    model: SeqVAE,
    latents: Mapping[str, Tensor],
    mask: Tensor,  # (B, T) bool
    name: str,
    *,
    epsilon: float = 1e-2,
) -> Iterator[Tensor]:  # (B, T, *frame) each
    """Yield the derivative of p(x|latents)'s mean by each dimension of a latent.

    Of a local latent step t is moved in all frames at once, which gives each frame its own
    derivative by its own step where the decoder is framewise.

    Args:
        model: with a decoder that is not autoregressive; its mode is left alone.
        latents: by name, (B, D) or (B, T, D): the point.
        mask: the real frames; others get zeros.
        name: the latent.
        epsilon: the step of central differences, where the decoder takes no forward mode.
    """

    def mean(value: Tensor) -> Tensor:
        return model.decode({**latents, name: value}, mask=mask)

    value = latents[name]
    for dim in range(value.shape[-1]):
        step = torch.zeros_like(value)
        step[..., dim] = 1.0
        if model.decoder.differentiable_forward:
            yield _derivative(mean, value, step)
        else:
            ahead, back = mean(value + epsilon * step), mean(value - epsilon * step)
            yield (ahead - back) / (2.0 * epsilon)


def mean_columns(
    model: SeqVAE,
    latents: Mapping[str, Tensor],
    mask: Tensor,  # (B, T) bool
    name: str,
    *,
    epsilon: float = 1e-2,
) -> Tensor:  # (D, B, T, *frame)
    """Return all that `columns` yields at once."""
    return torch.stack(list(columns(model, latents, mask, name, epsilon=epsilon)))


def _derivative(function: Callable[[Tensor], Tensor], value: Tensor, step: Tensor) -> Tensor:
    with warnings.catch_warnings():
        # what torch calls when jvp first runs, it calls deprecated
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.")
        found: Tensor = torch.func.jvp(function, (value,), (step,))[1]
    return found
