"""Which columns of the Jacobian are computed for which sequences."""

from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor

from seqvae_core.noise import Noise

__all__ = ["Drawn", "draw"]


@frozen(eq=False, kw_only=True)
class Drawn:
    """K columns for each of R sequences of a batch of B.

    Attributes:
        rows: the sequences, indices into the batch; a slice when all are taken.
        columns: their columns, (K, R).
        scale: what each column's number is multiplied by, (K, R): summed over all columns, and
            with 0 for sequences that are not drawn, its expectation is the sum over the whole
            Jacobian. 0 where a sequence has fewer than K columns.
    """

    rows: Tensor | slice
    columns: Tensor
    scale: Tensor

    def __len__(self) -> int:
        return self.columns.shape[1]

    def chunks(self, size: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield, `size` columns at most at a time, a range of the R and their columns and scales.

        A sequence's columns stay together as far as they can.
        """
        width = min(size, len(self.columns))
        height = size // width
        for row in range(0, len(self), height):
            for column in range(0, len(self.columns), width):
                part = (slice(column, column + width), slice(row, row + height))
                yield part[1], self.columns[part], self.scale[part]


def draw(
    counts: Tensor,  # (B,) int64, on the CPU
    noise: Noise,
    *,
    columns: int = 0,
    rows: int = 0,
) -> Drawn:
    """Draw columns without replacement within a sequence, balanced over the batch.

    The drawn sequences take their columns from one random order of all, each where the one before
    stopped, round and round. Where all have L columns, no column is used more than once oftener
    than another; each set of k columns is equally likely to be a sequence's.

    Args:
        counts: how many columns each sequence has, at least 1.
        noise: streams `rows` and `columns` of it are drawn from, if anything is left to chance.
        columns: k, for each sequence; 0, or as many as a sequence has, takes all.
        rows: how many sequences; 0, or as many as there are, takes all.

    Returns:
        Indices on the CPU.
    """
    few = 0 < rows < len(counts)
    chosen = noise.of("rows").permutation(len(counts))[:rows].sort()[0] if few else slice(None)
    own, most = counts[chosen], int(counts.max())
    taken = min(columns or most, most)
    order = noise.of("columns").permutation(most) if taken < most else torch.arange(most)
    # each sequence's own columns come first, in the common order
    beyond = (order[None] >= own[:, None]).int()
    lists = order[torch.argsort(beyond, dim=1, stable=True)]
    place = torch.arange(taken)[:, None]
    start = taken * torch.arange(len(own))
    found = lists.gather(1, ((start + place) % own).T).T
    used = own.clamp_max(taken)
    scale = len(counts) / len(own) * own.double() / used * (place < used)
    return Drawn(rows=chosen, columns=found, scale=scale)
