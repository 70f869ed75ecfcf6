"""Pieces that the parts are made of."""

from itertools import pairwise
from math import prod

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqvae_basics.config import Activation
from seqvae_basics.distributions import Gaussian, bounded
from seqvae_core.errors import ConfigError, ShapeError
from seqvae_core.records import Variable

__all__ = [
    "BidirectionalRNN",
    "FrameHead",
    "GaussianHead",
    "TemporalConv",
    "activation",
    "mlp",
    "posterior_head",
]


def activation(name: Activation) -> nn.Module:
    """Return the activation of that name."""
    kinds: dict[Activation, type[nn.Module]] = {
        "relu": nn.ReLU,
        "elu": nn.ELU,
        "softplus": nn.Softplus,
        "gelu": nn.GELU,
        "leaky-relu": nn.LeakyReLU,
        "tanh": nn.Tanh,
    }
    return kinds[name]()


def mlp(width: int, hidden: tuple[int, ...], name: Activation) -> nn.Sequential:
    """Return linear layers of the widths `hidden`, an activation after each."""
    layers: list[nn.Module] = []
    for before, after in pairwise((width, *hidden)):
        layers += [nn.Linear(before, after), activation(name)]
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


class BidirectionalRNN(nn.Module):
    """A bidirectional recurrent network, (B, T, width) → (B, T, 2·hidden)."""

    def __init__(self, rnn: str, width: int, hidden: int, layers: int):
        super().__init__()
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[rnn]
        self.rnn = kind(width, hidden, layers, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return outputs, zero outside the mask; steps of the padding are not computed."""
        frames = x.shape[1]
        lengths = mask.sum(1).cpu()
        if int(lengths.min()) == frames:
            outputs: Tensor = self.rnn(x)[0]
            return outputs
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=frames)[0]


class GaussianHead(nn.Module):
    """A linear layer to the Gaussian of a latent, (..., width) → (..., *shape)."""

    def __init__(self, width: int, variable: Variable):
        super().__init__()
        self.shape = variable.shape
        self.linear = nn.Linear(width, 2 * variable.size)
        # Samples carry some signal from the first step on.
        nn.init.constant_(self.linear.bias[variable.size :], -1.0)

    def forward(self, features: Tensor) -> Gaussian:
        """Return the Gaussian; ln σ² is within (-12, 12)."""
        mean, logvar = self.linear(features).chunk(2, -1)
        shape = (*features.shape[:-1], *self.shape)
        return Gaussian(mean.reshape(shape), bounded(logvar).reshape(shape))


def posterior_head(width: int, variable: Variable) -> GaussianHead:
    """Return the head for the family of a latent; raise `ConfigError` for an unknown one."""
    if variable.family != "gaussian":
        raise ConfigError(
            f"unknown family '{variable.family}' of latent '{variable.name}'; known: gaussian"
        )
    return GaussianHead(width, variable)


class FrameHead(nn.Module):
    """Decoder features (B, T, *decoded) to one number for each of a frame's, (B, T, *frame).

    A linear layer for flat features, a 1×1 convolution for features on the frame's grid.
    """

    def __init__(self, decoded: tuple[int, ...], frame: tuple[int, ...]):
        super().__init__()
        self.frame = frame
        self.layer: nn.Linear | nn.Conv2d
        if len(decoded) == 1:
            self.layer = nn.Linear(decoded[0], prod(frame))
        elif len(decoded) == len(frame) == 3 and decoded[1:] == frame[1:]:
            self.layer = nn.Conv2d(decoded[0], frame[0], 1)
        else:
            raise ShapeError(f"cannot read frames of shape {frame} off features of shape {decoded}")

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, T, *frame)."""
        rows: Tensor = self.layer(features.flatten(0, 1))
        return rows.reshape(*features.shape[:2], *self.frame)
