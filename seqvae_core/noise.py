"""Reproducible noise: a tree of counter-based streams, one for each purpose."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

__all__ = ["Noise"]


class Noise:
    """Independent streams of random numbers by name.

    Each draw is a pure function of (seed, the stream's path, how often the stream was drawn
    from), so streams never disturb one another, the state is a table of counters, and a term that
    is added or left out moves no other term's noise. With two or more axes the second (time) is
    drawn first: a batch with more padding begins with the same numbers. They come from numpy's
    Philox and are copied to where they are needed, hence the same on every device.
    """

    def __init__(self, seed: int, *, counts: Mapping[str, int] | None = None):
        self.seed = seed
        self._path = ""
        self._counts = dict(counts or {})

    def of(self, name: str) -> "Noise":
        """Return the stream `name` below this one; its counters live in the same tree."""
        child = object.__new__(type(self))
        child.__dict__.update(self.__dict__)
        child._path = f"{self._path}/{name}"
        return child

    def normal(self, like: Tensor) -> Tensor:
        """Draw N(0, 1) of the shape, type and device of `like`."""
        return self._draw(like, "standard_normal")

    def uniform(self, like: Tensor) -> Tensor:
        """Draw U[0, 1), rounded to the type, of the shape, type and device of `like`."""
        return self._draw(like, "random")

    def permutation(self, count: int) -> Tensor:
        """Draw a random order of `count` items, an int64 tensor on the CPU."""
        return torch.from_numpy(self._generator().permutation(count))

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        """Draw integers in [0, high), an int64 tensor on the CPU."""
        return torch.from_numpy(self._generator().integers(high, size=shape))

    def state_dict(self) -> dict[str, int]:
        """Return the counters, all that a checkpoint needs beside the seed."""
        return dict(self._counts)

    def load_state_dict(self, counts: Mapping[str, int]) -> None:
        """Continue where `counts` was taken."""
        self._counts.clear()
        self._counts.update(counts)

    def _generator(self) -> np.random.Generator:
        count = self._counts.get(self._path, 0)
        self._counts[self._path] = count + 1
        text = f"{self.seed}{self._path}#{count}".encode()
        key = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
        return np.random.Generator(np.random.Philox(key=key))

    def _draw(self, like: Tensor, method: str) -> Tensor:
        timed = like.ndim > 1
        shape = (like.shape[1], like.shape[0], *like.shape[2:]) if timed else tuple(like.shape)
        wide = np.float64 if like.dtype == torch.float64 else np.float32
        drawn = getattr(self._generator(), method)(size=shape, dtype=wide)
        values = torch.from_numpy(np.asarray(drawn)).to(like)
        return values.transpose(0, 1).contiguous() if timed else values
