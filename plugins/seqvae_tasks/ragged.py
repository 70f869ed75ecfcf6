"""Frames of sequences of any lengths in random batches, for what is trained on sequences."""

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from seqvae_core.records import Noise
from seqvae_tasks.representations import Array

__all__ = ["BATCH", "Ragged"]

BATCH = 64
CROP = 100  # frames of a sequence that a training step sees at most


@frozen(eq=False)
class Ragged:
    """N sequences of any lengths, their frames one after another.

    Attributes:
        values: standardised frames, (F, D), of the default type.
        start: the first frame of each sequence, (N,).
        length: the number of its frames, (N,).
    """

    values: Tensor
    start: Tensor
    length: Tensor

    @classmethod
    def of(
        cls,
        frames: Array,  # (F, D)
        row: Array,  # (F,)
        fit: Array,
    ) -> "Ragged":
        """Cut frames into sequences, and standardise them by those of the sequences `fit`.

        Args:
            frames: in the order of their sequences.
            row: the sequence of each frame, ascending from 0, none left out.
            fit: sequences whose mean and standard deviation are taken.
        """
        length = np.bincount(row)
        seen = frames[np.isin(row, fit)]
        scale = seen.std(0)
        values = (frames - seen.mean(0)) / np.where(scale > 0.0, scale, 1.0)
        start = np.cumsum(length) - length
        kind = torch.get_default_dtype()
        return cls(
            torch.from_numpy(values).to(kind), torch.from_numpy(start), torch.from_numpy(length)
        )

    def batch(self, rows: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Return frames (B, T, D) of some sequences, zero in the padding, and their mask (B, T).

        With `noise` a long sequence is cut to a random window.
        """
        start, length = self.start[rows], self.length[rows]
        if noise is not None:
            room = (length - CROP).clamp(min=0)
            share = noise.uniform(torch.empty(len(rows), dtype=torch.float64))
            start, length = start + (share * (room + 1)).long(), length.clamp(max=CROP)
        step = torch.arange(int(length.max()))
        mask = step < length[:, None]
        index = torch.where(mask, start[:, None] + step, 0)
        return torch.where(mask[..., None], self.values[index], 0.0), mask

    def draw(self, rows: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """Return a random batch of the sequences `rows`: which ones, frames and mask."""
        chosen = rows[noise.of("rows").integers(len(rows), (min(BATCH, len(rows)),))]
        return (chosen, *self.batch(chosen, noise.of("windows")))
