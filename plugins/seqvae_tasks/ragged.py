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

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames (B, T, D) of some sequences, zero in the padding, and their mask (B, T)."""
        return self._read(self.start[rows], self.length[rows])

    def draw(self, rows: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a random batch of the sequences `rows`, long ones cut to a random window.

        Returns:
            Which sequences, (B,), the number of each window's first frame among all frames, (B,),
            its frames and their mask.
        """
        chosen = rows[noise.of("rows").integers(len(rows), (min(BATCH, len(rows)),))]
        start, length = self.start[chosen], self.length[chosen]
        room = (length - CROP).clamp(min=0)
        share = noise.of("windows").uniform(torch.empty(len(chosen), dtype=torch.float64))
        begin = start + (share * (room + 1)).long()
        return (chosen, begin, *self._read(begin, length.clamp(max=CROP)))

    def _read(self, start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        step = torch.arange(int(length.max()))
        mask = step < length[:, None]
        index = torch.where(mask, start[:, None] + step, 0)
        return torch.where(mask[..., None], self.values[index], 0.0), mask
