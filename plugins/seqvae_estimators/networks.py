"""Networks over a pair of variables of which each is global or local: (a, b) → logits (B,).

None has batch norm: it would let true and false pairs, which form one batch, tell on each other.
"""

from abc import abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from seqvae_core.errors import ShapeError
from seqvae_core.functional import masked_mean, zero_padding
from seqvae_core.records import Latent, Variable
from seqvae_estimators.config import CriticConfig

__all__ = [
    "Convolutional",
    "ConvolutionalGrid",
    "Dense",
    "Location",
    "Marginal",
    "PairNetwork",
    "Recurrent",
    "build_marginal",
    "build_network",
    "dense",
    "joint_frames",
    "joint_maps",
]

_SLOPE = 0.2


def build_network(config: CriticConfig, a: Variable, b: Variable) -> "PairNetwork":
    """Return the network that `config` names, for a and b in this order.

    Raises:
        ShapeError: if `mlp` has no `length` for a local variable.
    """
    network = _build(config, a, b)
    if config.spectral_norm:
        _normalise(network)
    return network


def build_marginal(config: CriticConfig, a: Variable) -> "Marginal":
    """Return the MLP over one global variable."""
    network = Marginal(a, config)
    if config.spectral_norm:
        _normalise(network)
    return network


def _normalise(network: nn.Module) -> None:
    for module in list(network.modules()):
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            nn.utils.parametrizations.spectral_norm(module)


def _build(config: CriticConfig, a: Variable, b: Variable) -> "PairNetwork":
    if a.scope == b.scope == "global":
        return Dense(a, b, 0, config)
    if config.name == "location":
        return Location(a, b, config)
    if config.name == "conv" and any(len(v.shape) == 3 for v in (a, b) if v.scope == "local"):
        return ConvolutionalGrid(a, b, config)
    if config.name == "mlp":
        if config.length is None:
            local = (a if a.scope == "local" else b).name
            raise ShapeError(
                f"critic 'mlp' needs 'length', the most frames of a sequence, for local '{local}'"
            )
        return Dense(a, b, config.length, config)
    return {"conv": Convolutional, "recurrent": Recurrent}[config.name](a, b, config)


class PairNetwork(nn.Module):
    """A network over two variables; what the padding of a local one holds has no influence."""

    @abstractmethod
    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return one logit a row, (B,)."""

    def places(self, a: Latent, b: Latent) -> Tensor:
        """Return all logits that stand for a row, in one axis; one a row unless it says so."""
        logits: Tensor = self(a, b)
        return logits


class Dense(PairNetwork):
    """An MLP over [a, b]; a local variable has its frames side by side, with their mask.

    Args:
        a: the first variable.
        b: the second.
        length: the frames that a local variable is filled up to, 0 if there is none.
        config: width and depth.
    """

    def __init__(self, a: Variable, b: Variable, length: int, config: CriticConfig):
        super().__init__()
        sizes = [v.size * (length if v.scope == "local" else 1) for v in (a, b)]
        self.length = length
        self.layers = dense(sum(sizes) + length, config.width, config.depth)

    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return logits (B,).

        Raises:
            ShapeError: if a sequence is longer than `length`.
        """
        if self.length == 0:
            columns = [v.sample.flatten(1) for v in (a, b)]
        else:
            mask = _joint_mask(a, b)
            frames = [v.sample if v.scope == "global" else self._fit(v, mask) for v in (a, b)]
            columns = [value.flatten(1) for value in frames]
            columns.append(self._resize(mask).to(columns[0]))
        return _logits(self.layers, torch.cat(columns, 1))

    def _fit(self, latent: Latent, mask: Tensor) -> Tensor:
        if mask.shape[1] > self.length and bool(mask[:, self.length :].any()):
            longest = int(mask.sum(1).max())
            raise ShapeError(
                f"critic 'mlp' expected at most {self.length} frames of '{latent.name}', "
                f"got {longest}"
            )
        return self._resize(zero_padding(latent.sample.flatten(2), mask))

    def _resize(self, value: Tensor) -> Tensor:
        missing = max(0, self.length - value.shape[1])
        return F.pad(value[:, : self.length], (0, 0) * (value.ndim - 2) + (0, missing))


class Marginal(nn.Module):
    """An MLP over one global variable."""

    def __init__(self, a: Variable, config: CriticConfig):
        super().__init__()
        self.layers = dense(a.size, config.width, config.depth)

    def forward(self, a: Latent) -> Tensor:
        """Return logits (B,)."""
        return _logits(self.layers, a.sample.flatten(1))


class Convolutional(PairNetwork):
    """Convolutions over [a_t, b_t], the mean over time, then one hidden layer."""

    def __init__(self, a: Variable, b: Variable, config: CriticConfig):
        super().__init__()
        sizes = [a.size + b.size, *[config.width] * config.depth]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, config.kernel, padding="same")
            for before, after in pairwise(sizes)
        )
        self.head = dense(config.width, config.width, 1)

    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return logits (B,)."""
        hidden, mask = joint_frames(a, b)
        for convolution in self.convolutions:
            hidden = F.leaky_relu(convolution(hidden.transpose(1, 2)), _SLOPE).transpose(1, 2)
            hidden = zero_padding(hidden, mask)
        return _logits(self.head, masked_mean(hidden, mask))


class ConvolutionalGrid(PairNetwork):
    """Convolutions over [a, b] on each frame's grid, the mean over grid and time, one layer."""

    def __init__(self, a: Variable, b: Variable, config: CriticConfig):
        super().__init__()
        self.grid = next(v.shape[1:] for v in (a, b) if len(v.shape) == 3)
        channels = sum(v.shape[0] if len(v.shape) == 3 else v.size for v in (a, b))
        sizes = [channels, *[config.width] * config.depth]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, config.kernel, stride=1 if i == 0 else 2,
                      padding=config.kernel // 2)
            for i, (before, after) in enumerate(pairwise(sizes))
        )  # fmt: skip
        self.head = dense(config.width, config.width, 1)

    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return logits (B,)."""
        maps, mask = joint_maps(a, b, self.grid)
        hidden = maps.flatten(0, 1)
        for convolution in self.convolutions:
            hidden = F.leaky_relu(convolution(hidden), _SLOPE)
        pooled = hidden.flatten(2).mean(2).reshape(*mask.shape, -1)
        return _logits(self.head, masked_mean(pooled, mask))


class Location(PairNetwork):
    """An MLP over [a, b] at one frame, or one place of a grid; the mean of its logits."""

    def __init__(self, a: Variable, b: Variable, config: CriticConfig):
        super().__init__()
        grids = [v.shape[1:] for v in (a, b) if len(v.shape) == 3]
        self.grid = grids[0] if grids else (1, 1)
        channels = sum(v.shape[0] if len(v.shape) == 3 else v.size for v in (a, b))
        self.layers = dense(channels, config.width, config.depth)

    def _logits(self, a: Latent, b: Latent) -> tuple[Tensor, Tensor]:
        maps, mask = joint_maps(a, b, self.grid)
        return self.layers(maps.movedim(2, -1)).squeeze(-1).flatten(2), mask

    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return the mean logit of each row, (B,)."""
        logits, mask = self._logits(a, b)
        return masked_mean(logits.mean(2, keepdim=True), mask).squeeze(1)

    def places(self, a: Latent, b: Latent) -> Tensor:
        """Return the logits of all real places of all rows."""
        logits, mask = self._logits(a, b)
        return logits[mask].flatten()


class Recurrent(PairNetwork):
    """A bidirectional GRU over [a_t, b_t], its two last states, then one hidden layer."""

    def __init__(self, a: Variable, b: Variable, config: CriticConfig):
        super().__init__()
        self.rnn = nn.GRU(
            a.size + b.size, config.width, config.depth, batch_first=True, bidirectional=True
        )
        self.head = dense(2 * config.width, config.width, 1)

    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return logits (B,)."""
        frames, mask = joint_frames(a, b)
        lengths = mask.sum(1).cpu()
        packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
        last = self.rnn(packed)[1][-2:]
        return _logits(self.head, last.transpose(0, 1).flatten(1))


def joint_frames(
    a: Latent,
    b: Latent,
) -> tuple[Tensor, Tensor]:  # (B, T, A + B), (B, T) bool
    """Return [a_t, b_t], zero in the padding, and its mask.

    A global variable is repeated in every frame. Two local ones, which may stem from sequences of
    different lengths, count where both are real.
    """
    mask = _joint_mask(a, b)
    frames = [
        v.sample.flatten(2)
        if v.scope == "local"
        else v.sample.flatten(1)[:, None].expand(-1, mask.shape[1], -1)
        for v in (a, b)
    ]
    return zero_padding(torch.cat(frames, 2), mask), mask


def joint_maps(
    a: Latent,
    b: Latent,
    grid: tuple[int, ...],
) -> tuple[Tensor, Tensor]:  # (B, T, A + B, H, W), (B, T) bool
    """Return [a, b] on a grid, zero in the padding, and its mask; what has none is repeated."""
    mask = _joint_mask(a, b)
    rows, frames = mask.shape
    maps = []
    for v in (a, b):
        value = v.sample if v.scope == "local" else v.sample[:, None]
        if value.ndim != 5:
            value = value.flatten(2)[..., None, None]
        maps.append(value.expand(rows, frames, value.shape[2], *grid))
    return zero_padding(torch.cat(maps, 2), mask), mask


def _joint_mask(a: Latent, b: Latent) -> Tensor:
    if a.scope == b.scope:
        return a.mask & b.mask
    return a.mask if a.scope == "local" else b.mask


def dense(inputs: int, width: int, depth: int, outputs: int = 1) -> nn.Sequential:
    """Return an MLP with leaky rectifiers."""
    sizes = [inputs, *[width] * depth]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _logits(layers: nn.Sequential, inputs: Tensor) -> Tensor:
    logits: Tensor = layers(inputs)
    return logits.squeeze(1)
