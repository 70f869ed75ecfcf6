"""Pieces that the parts are made of."""

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from seqvae_basics.config import Activation, Head
from seqvae_basics.distributions import Gaussian, GumbelCategorical, bounded
from seqvae_core.components import Stepped
from seqvae_core.errors import ConfigError, ShapeError
from seqvae_core.functional import zero_padding
from seqvae_core.records import Variable
from seqvae_core.settings import CategoricalConfig

__all__ = [
    "LSTM",
    "RNNS",
    "BidirectionalRNN",
    "FrameHead",
    "GaussianHead",
    "GumbelHead",
    "Relaxation",
    "TemporalConv",
    "activation",
    "mlp",
    "posterior_head",
]


def activation(name: Activation, slope: float | None = None) -> nn.Module:
    """Return the activation of that name; `slope` is that of leaky-relu below 0, 0.01 if None."""
    if slope is not None:
        return nn.LeakyReLU(slope)
    kinds: dict[Activation, type[nn.Module]] = {
        "relu": nn.ReLU,
        "elu": nn.ELU,
        "softplus": nn.Softplus,
        "gelu": nn.GELU,
        "leaky-relu": nn.LeakyReLU,
        "tanh": nn.Tanh,
    }
    return kinds[name]()


def mlp(
    width: int, hidden: tuple[int, ...], name: Activation, slope: float | None = None
) -> nn.Sequential:
    """Return linear layers of the widths `hidden`, an activation after each."""
    layers: list[nn.Module] = []
    for before, after in pairwise((width, *hidden)):
        layers += [nn.Linear(before, after), activation(name, slope)]
    return nn.Sequential(*layers)


class TemporalConv(nn.Module):
    """Convolutions over time, (B, T, width) → (B, T, channels[-1]), zero outside the mask.

    The padding is set to zero before each layer, so that it equals the zeros that a convolution
    sees beyond the end: neither what stands there nor how much there is of it has an influence.
    """

    def __init__(
        self,
        width: int,
        channels: tuple[int, ...],
        kernel: int,
        name: Activation,
        *,
        dilated: bool = False,
    ):
        super().__init__()
        self.activation = activation(name)
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding="same", dilation=2**depth if dilated else 1)
            for depth, (before, after) in enumerate(pairwise((width, *channels)))
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return features of (B, T, width) within the (B, T) mask."""
        padding = ~mask[:, None]
        x = x.transpose(1, 2).masked_fill(padding, 0.0)
        for layer in self.layers:
            x = self.activation(layer(x)).masked_fill(padding, 0.0)
        return x.transpose(1, 2)


class LSTM(nn.LSTM):
    """An LSTM that runs in float32 on the CPU, also under autocast.

    There torch hands it to oneDNN, which has no bfloat16 LSTM for processors without the
    instructions for it and raises.
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return outputs and state as `nn.LSTM` does."""
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input, hx)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float(), hx)


RNNS: Mapping[str, type[nn.LSTM] | type[nn.GRU]] = {"gru": nn.GRU, "lstm": LSTM}


class BidirectionalRNN(nn.Module):
    """A bidirectional recurrent network, (B, T, width) → (B, T, 2·hidden), zero outside the mask.

    Each direction is a network over the padded batch, the second over every sequence reversed
    within its length, so that both meet the padding last. Packed sequences would save the padding's
    steps, but torch's fast kernels do not take them: they are slower unless most is padding.
    """

    def __init__(self, rnn: str, width: int, hidden: int, layers: int):
        super().__init__()
        kind = RNNS[rnn]
        widths = [width] + [2 * hidden] * (layers - 1)
        self.ahead = nn.ModuleList(kind(each, hidden, batch_first=True) for each in widths)
        self.back = nn.ModuleList(kind(each, hidden, batch_first=True) for each in widths)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return features of (B, T, width) within the (B, T) mask."""
        x, rows = zero_padding(x, mask), _reversed_rows(mask)
        for ahead, back in zip(self.ahead, self.back, strict=True):
            x = torch.cat([ahead(x)[0], _take(back(_take(x, rows))[0], rows)], 2)
        return zero_padding(x, mask)


def _reversed_rows(mask: Tensor) -> Tensor:
    """Return the rows of (B·T, ...) that reverse each sequence and leave its padding in place."""
    step = torch.arange(mask.shape[1], device=mask.device)
    within = torch.where(mask, mask.sum(1, keepdim=True) - 1 - step, step)
    start = torch.arange(mask.shape[0], device=mask.device)[:, None] * mask.shape[1]
    return (start + within).flatten()


def _take(x: Tensor, rows: Tensor) -> Tensor:
    return x.flatten(0, 1).index_select(0, rows).reshape(x.shape)


class GaussianHead(nn.Module):
    """A linear layer to the Gaussian of a latent, (..., width) → (..., *shape)."""

    def __init__(self, width: int, variable: Variable, logvar_bias: float = -1.0):
        super().__init__()
        self.shape = variable.shape
        self.linear = nn.Linear(width, 2 * variable.size)
        # Samples carry some signal from the first step on.
        nn.init.constant_(self.linear.bias[variable.size :], logvar_bias)

    def forward(self, features: Tensor) -> Gaussian:
        """Return the Gaussian; ln σ² is within (-12, 12)."""
        mean, logvar = self.linear(features).chunk(2, -1)
        shape = (*features.shape[:-1], *self.shape)
        return Gaussian(mean.reshape(shape), bounded(logvar).reshape(shape))


class Relaxation(Stepped):
    """How categorical latents are sampled at the model's step; τ is a buffer, kept with weights."""

    temperature: Tensor

    def __init__(self, config: CategoricalConfig):
        super().__init__()
        self.config = config
        self.register_buffer("temperature", torch.tensor(config.temperature(0)))

    def at_step(self, step: int) -> None:
        """Take the temperature of the step."""
        self.temperature.fill_(self.config.temperature(step))

    def forward(self, logits: Tensor) -> GumbelCategorical:
        """Return the categorical law of (..., D)."""
        return GumbelCategorical(
            logits, self.config.groups, self.temperature.clone(), self.config.straight_through
        )


class GumbelHead(nn.Module):
    """A linear layer to a categorical latent's logits, (..., width) → (..., *shape)."""

    def __init__(self, width: int, variable: Variable):
        super().__init__()
        self.shape = variable.shape
        self.linear = nn.Linear(width, variable.size)
        self.relaxation = Relaxation(variable.categorical or CategoricalConfig())

    def forward(self, features: Tensor) -> GumbelCategorical:
        """Return the categorical law, its samples relaxed at the temperature of the step."""
        logits = self.linear(features).reshape(*features.shape[:-1], *self.shape)
        law: GumbelCategorical = self.relaxation(logits)
        return law


def posterior_head(width: int, variable: Variable, logvar_bias: float = -1.0) -> nn.Module:
    """Return the head for the family of a latent; raise `ConfigError` for an unknown one.

    It maps (..., width) to a distribution of (..., *shape).
    """
    if variable.family == "gumbel-categorical":
        return GumbelHead(width, variable)
    if variable.family != "gaussian":
        raise ConfigError(
            f"unknown family '{variable.family}' of latent '{variable.name}'; "
            "known: gaussian, gumbel-categorical"
        )
    return GaussianHead(width, variable, logvar_bias)


class FrameHead(nn.Module):
    """Decoder features (B, T, *decoded) to one number for each of a frame's, (B, T, *frame).

    A linear layer for flat features, a 1×1 convolution for features on the frame's grid; no layer
    where the head is "none", for features of the frame's own shape.
    """

    def __init__(self, decoded: tuple[int, ...], frame: tuple[int, ...], head: Head = "linear"):
        super().__init__()
        self.frame = frame
        self.layer: nn.Linear | nn.Conv2d | nn.Identity
        if head == "none":
            if decoded != frame:
                raise ShapeError(
                    f"a likelihood with head 'none' expects features of the frame's shape {frame}, "
                    f"got {decoded}"
                )
            self.layer = nn.Identity()
        elif len(decoded) == 1:
            self.layer = nn.Linear(decoded[0], prod(frame))
        elif len(decoded) == len(frame) == 3 and decoded[1:] == frame[1:]:
            self.layer = nn.Conv2d(decoded[0], frame[0], 1)
        else:
            raise ShapeError(f"cannot read frames of shape {frame} off features of shape {decoded}")

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, T, *frame)."""
        rows: Tensor = self.layer(features.flatten(0, 1))
        # on a grid also a part of it will do: an autoregressive decoder asks place by place
        rest = self.frame if rows.ndim == 2 else rows.shape[1:]
        return rows.reshape(*features.shape[:2], *rest)
