"""A data set as a model sees it: vectors of sequences and of frames by name, and their labels."""

import copy
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from seqvae_basics.codes import Code
from seqvae_core.errors import DataError
from seqvae_core.functional import masked_mean
from seqvae_core.loading import iterate
from seqvae_core.model import SeqVAE, seeded
from seqvae_core.records import Batch, Noise, Scope, Splits

__all__ = [
    "Array",
    "Encoded",
    "both",
    "coarse",
    "coarse_grid",
    "encode",
    "missing",
    "represent",
    "seed_of",
    "shuffled",
    "time_mean",
    "untrained",
]

Array = npt.NDArray[Any]

LARGEST = 2000  # numbers in a picture up to which every one of them is a baseline's input
COARSE = 16  # pixels in height and width of what a larger one is averaged to


@frozen(eq=False, kw_only=True)
class Encoded:
    """N sequences of F frames in all, encoded by posterior means.

    The frames themselves are averaged to 16 × 16 pixels where a picture has more than 2000 numbers.

    Attributes:
        vectors: one row a sequence, (N, D): each global latent, "pooled s" for a local latent s,
            "mean of frames", "mean and std of frames"; "z of shuffled frames" where asked for.
        frames: one row a frame, (F, D): "s per frame" for a local latent s, and "frames". Latents
            alone are there where the raw frames were not asked for.
        row: the sequence of each frame, (F,).
        labels: global labels, (N,).
        frame_labels: local labels, (F,).
        held_out: which sequences are of the test part, (N,) bool.
        scopes: of each latent.
    """

    vectors: dict[str, Array]
    frames: dict[str, Array]
    row: Array
    labels: dict[str, Array]
    frame_labels: dict[str, Array]
    held_out: Array
    scopes: dict[str, Scope]

    def __len__(self) -> int:
        return len(self.held_out)

    def check(self, label: str | None) -> None:
        """Raise `DataError` if there is no such global label; None is none asked for."""
        if label is not None and label not in self.labels:
            known = ", ".join(sorted(self.labels)) or "none"
            raise DataError(f"the data have no global label '{label}'; known: {known}")

    def dims(self, scope: Scope) -> set[int]:
        """Return the sizes of the latents of one scope, per frame if local."""
        table, suffix = (self.vectors, "") if scope == "global" else (self.frames, " per frame")
        return {table[name + suffix].shape[1] for name in self.of(scope)}

    def of(self, scope: Scope) -> list[str]:
        """Return the names of the latents of one scope."""
        return [name for name, found in self.scopes.items() if found == scope]

    def units(self, label: str | None) -> Array:
        """Number the values of a global label within each part, (N,).

        A sequence without the label is alone, and so is each where None is asked for.
        """
        if label is None:
            return np.arange(len(self))
        value = self.labels[label]
        value = np.where(missing(value), -1.0 - np.arange(len(self)), value)
        keys = np.stack([self.held_out.astype(float), value])
        return np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1)

    def beside(self, code: Code) -> "Encoded":
        """Return the same with a part of a latent as a representation of its own."""
        columns = list(code.index)
        pairs = {f"{before}{code.latent}": f"{before}{code.name}" for before in ("", "pooled ")}
        vectors = {
            new: self.vectors[old][:, columns] for old, new in pairs.items() if old in self.vectors
        }
        frames = {}
        if f"{code.latent} per frame" in self.frames:
            frames[f"{code.name} per frame"] = self.frames[f"{code.latent} per frame"][:, columns]
        return evolve(self, vectors=self.vectors | vectors, frames=self.frames | frames)

    def averaged(self, label: str) -> "Encoded":
        """Return one sequence for each value of a global label, the mean of its sequences.

        A label that differs among them is missing.
        """
        unit = self.units(label)
        _, first = np.unique(unit, return_index=True)
        count = np.bincount(unit)[:, None]

        def mean(value: Array) -> Array:
            total = np.zeros((len(first), value.shape[1]))
            np.add.at(total, unit, value)
            return total / count

        def common(value: Array) -> Array:
            differs = np.bincount(unit, value != value[first][unit]) > 0
            unknown = np.nan if np.issubdtype(value.dtype, np.floating) else -1
            return np.where(differs, unknown, value[first])

        return evolve(
            self,
            vectors={name: mean(value) for name, value in self.vectors.items()},
            row=unit[self.row],
            labels={name: common(value) for name, value in self.labels.items()},
            held_out=self.held_out[first],
        )

    def select(self, rows: Array) -> "Encoded":
        """Return the chosen sequences alone, without any frames."""
        return evolve(
            self,
            vectors={name: value[rows] for name, value in self.vectors.items()},
            frames={},
            row=self.row[:0],
            labels={name: value[rows] for name, value in self.labels.items()},
            frame_labels={},
            held_out=self.held_out[rows],
        )


def missing(label: Array) -> Array:
    """Tell where a label is missing: negative for a class, NaN for a number."""
    return np.isnan(label) if np.issubdtype(label.dtype, np.floating) else label < 0


def time_mean(
    frames: Array,  # (F, D)
    row: Array,  # (F,)
) -> Array:  # (N, D)
    """Return the mean over each sequence's frames."""
    total = np.zeros((row.max() + 1, frames.shape[1]))
    np.add.at(total, row, frames)
    mean: Array = total / np.bincount(row)[:, None]
    return mean


def seed_of(noise: Noise, purpose: str) -> int:
    """Draw a seed for what takes no `Noise`."""
    return int(noise.of(purpose).integers(2**31, (1,)))


def encode(
    model: SeqVAE, data: Any, part: str, *, shuffle: Noise | None = None, raw: bool = True
) -> Encoded:
    """Encode a part of a data set by posterior means, in its own order.

    Args:
        model: its mode and gradients are left alone.
        data: a map-style data set with at least one sequence.
        part: "train", "valid" or "test"; the latter is held out.
        shuffle: draw a random order of each sequence's frames from it, and encode them so.
        raw: whether to keep the frames beside the latents, most of the memory.
    """
    batches = iterate(data, part=part)
    if shuffle is not None:
        batches = (shuffled(batch, shuffle.of(part)) for batch in batches)
    return _join([_encode(model, batch, part == "test", raw) for batch in batches])


def shuffled(batch: Batch, noise: Noise) -> Batch:
    """Return the batch with each sequence's frames in a random order, the padding left behind.

    Local labels stay where they were.
    """
    key = noise.uniform(batch.mask.cpu().float()).to(batch.mask.device)
    order = torch.where(batch.mask, key, torch.inf).argsort(dim=1, stable=True)
    return evolve(batch, x=batch.x[torch.arange(len(batch))[:, None], order])


def represent(model: SeqVAE, splits: Splits, noise: Noise, *, shuffles: bool = False) -> Encoded:
    """Encode train and test part, by the model and by an untrained copy of it.

    With `shuffles` the model encodes each sequence once more, its frames in a random order:
    "z of shuffled frames" is what a global latent z owes to which frames there are, not to their
    order.
    """
    plain = untrained(model, seed_of(noise, "untrained"))
    trained, fresh = (both(network, splits) for network in (model, plain))
    given = {"mean of frames", "mean and std of frames", "frames"}
    for mine, theirs in ((trained.vectors, fresh.vectors), (trained.frames, fresh.frames)):
        mine.update({f"untrained {name}": theirs[name] for name in theirs if name not in given})
    if shuffles:
        vectors = both(model, splits, noise.of("shuffled frames")).vectors
        for name in trained.of("global"):
            trained.vectors[f"{name} of shuffled frames"] = vectors[name]
    return trained


def both(
    model: SeqVAE, splits: Splits, shuffle: Noise | None = None, *, raw: bool = True
) -> Encoded:
    """Encode train and test part as `encode` does, one after the other."""
    parts = {"train": splits.train, "test": splits.test}
    return _join([
        encode(model, data, part, shuffle=shuffle, raw=raw) for part, data in parts.items()
    ])  # fmt: skip


def untrained(model: SeqVAE, seed: int) -> SeqVAE:
    """Return a copy of the model with weights as new, on the same device.

    Every layer of torch is reset by its own rule; a parameter of any other module, for which no
    rule is known, has its entries shuffled. The global generator is left as it was.
    """
    fresh = copy.deepcopy(model).cpu()
    with seeded(seed, "untrained"), torch.no_grad():
        for module in fresh.modules():
            if not _reset(module):
                for parameter in module.parameters(recurse=False):
                    order = torch.randperm(parameter.numel())
                    parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return fresh.to(model.device)


def _reset(module: nn.Module) -> bool:
    reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
    if reset is None or nn.utils.parametrize.is_parametrized(module):
        return False
    reset()
    return True


@torch.no_grad()
def _encode(model: SeqVAE, batch: Batch, held_out: bool, raw: bool) -> Encoded:
    out = model.output(batch)
    mask = batch.mask
    vectors, frames = {}, {}
    for name, latent in out.latents.items():
        if latent.scope == "global":
            vectors[name] = latent.mean
        else:
            vectors[f"pooled {name}"] = latent.pooled()
            # of a map the mean over its grid, as `pooled` has it
            frames[f"{name} per frame"] = latent.mean[..., None].flatten(3).mean(3)
    if raw:
        x = coarse(batch.zeroed().x.double())
        mean = masked_mean(x, mask)
        std = masked_mean((x - mean[:, None]).square(), mask).sqrt()
        vectors |= {"mean of frames": mean, "mean and std of frames": torch.stack([mean, std], 1)}
        frames["frames"] = x
    return Encoded(
        vectors={name: _array(value.flatten(1)) for name, value in vectors.items()},
        frames={name: _array(value.cpu().flatten(2)[mask]) for name, value in frames.items()},
        row=mask.nonzero()[:, 0].numpy(),
        labels={name: value.numpy() for name, value in batch.labels.items() if value.ndim == 1},
        frame_labels={
            name: value[mask].numpy() for name, value in batch.labels.items() if value.ndim > 1
        },
        held_out=np.full(len(batch), held_out),
        scopes={name: latent.scope for name, latent in out.latents.items()},
    )


def coarse_grid(frame: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the height and width that frames are averaged to, None if they are read as they are.

    A probe of every pixel of a large picture would take hours.
    """
    if len(frame) != 3 or prod(frame) <= LARGEST:
        return None
    return min(frame[1], COARSE), min(frame[2], COARSE)


def coarse(x: Tensor) -> Tensor:  # (B, T, *frame)
    """Return large pictures averaged over blocks, see `coarse_grid`, anything else as it is."""
    grid = coarse_grid(tuple(x.shape[2:]))
    if grid is None:
        return x
    small = nn.functional.adaptive_avg_pool2d(x.flatten(0, 1), grid)
    return small.reshape(*x.shape[:3], *grid)


def _array(value: Tensor) -> Array:
    result: Array = value.cpu().double().numpy()
    return result


def _join(parts: Sequence[Encoded]) -> Encoded:
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return evolve(
        parts[0],
        vectors=_stack(part.vectors for part in parts),
        frames=_stack(part.frames for part in parts),
        row=np.concatenate([part.row + n for part, n in zip(parts, starts, strict=False)]),
        labels=_stack(part.labels for part in parts),
        frame_labels=_stack(part.frame_labels for part in parts),
        held_out=np.concatenate([part.held_out for part in parts]),
    )


def _stack(tables: Iterable[dict[str, Array]]) -> dict[str, Array]:
    tables = list(tables)
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: np.concatenate([table[name] for table in tables]) for name in shared}
