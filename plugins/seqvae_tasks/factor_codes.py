"""Codes of images and sequences whose factors are known, and these factors."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from attrs import evolve, frozen

from seqvae_core.errors import DataError, SeqVAEError
from seqvae_core.functional import masked_mean
from seqvae_core.model import SeqVAE
from seqvae_core.records import Batch, Factors, Noise, Splits
from seqvae_tasks.config_disentanglement import FactorTask
from seqvae_tasks.representations import Array, seed_of
from seqvae_tasks.sequences import choose, global_labels, read

__all__ = ["Points", "codes_of", "labelled", "points", "rendered"]

BATCH = 64  # images that are made and encoded at a time


@frozen(eq=False, kw_only=True)
class Points:
    """Codes of a latent, and the factors behind them.

    Attributes:
        codes: posterior means, (N, L) float64.
        factors: by name, (N,) integers, negative where missing; possibly none.
        origin: where they come from, a sentence.
    """

    codes: Array
    factors: dict[str, Array]
    origin: str

    @property
    def values(self) -> Array:
        """The factors side by side, (N, K)."""
        return np.stack(list(self.factors.values()), 1)


def codes_of(model: SeqVAE, latent: str, batches: Iterable[Batch]) -> Array:
    """Return posterior means, (N, L) float64; of a local latent their mean over time and grid.

    Raises:
        SeqVAEError: if one of them is NaN or infinite.
    """
    found = []
    for batch in batches:
        value = model.encode(batch)[latent]
        if model.shapes.latent(latent).scope == "local":
            value = masked_mean(value, batch.mask.to(value.device))
            value = value.flatten(2).mean(2) if value.ndim > 2 else value
        found.append(value.flatten(1).double().cpu().numpy())
    codes: Array = np.concatenate(found)
    if not np.isfinite(codes).all():
        raise SeqVAEError(f"cannot score '{latent}': posterior means are NaN or infinite")
    return codes


def rendered(
    model: SeqVAE,
    latent: str,
    factors: Factors,
    values: Array,  # (N, F) integers
) -> Array:  # (N, L)
    """Return the codes of images of given factors; images that are alike are made once."""
    distinct, row = np.unique(values, axis=0, return_inverse=True)
    parts = (distinct[start : start + BATCH] for start in range(0, len(distinct), BATCH))
    codes = codes_of(model, latent, (Batch.of(factors.render(part)) for part in parts))
    return codes[row.reshape(-1)]


def points(config: FactorTask, latent: str, model: SeqVAE, splits: Splits, noise: Noise) -> Points:
    """Draw images from all of their factors if they can be made, else take the test part's labels.

    Raises:
        DataError: for a factor that is asked for and that the data do not have.
    """
    if splits.factors is None:
        return labelled(config, latent, model, splits.test, "test", noise)
    count, sizes = config.points, splits.factors.sizes
    drawn = {name: noise.of(name).integers(n, (count,)).numpy() for name, n in sizes.items()}
    chosen = _chosen(config, drawn)  # before anything is made
    return Points(
        codes=rendered(model, latent, splits.factors, np.stack(list(drawn.values()), 1)),
        factors=chosen,
        origin=f"{count} points drawn uniformly from all factors, whichever part has their images",
    )


def labelled(
    config: FactorTask, latent: str, model: SeqVAE, data: Any, part: str, noise: Noise
) -> Points:
    """Encode a part, or as many of its sequences as asked for, chosen at random.

    The factors are the global labels that are classes.

    Raises:
        DataError: for a label that is asked for and that is none of these.
    """
    rows = choose(len(data), config.points, seed_of(noise, part))
    labels: list[Batch] = []

    def batches() -> Iterator[Batch]:
        for batch in read(data, rows, BATCH):
            labels.append(evolve(batch, x=batch.x.new_empty(0)))
            yield batch

    codes = codes_of(model, latent, batches())
    known = {name: value for name, value in global_labels(labels).items()
             if np.issubdtype(value.dtype, np.integer)}  # fmt: skip
    origin = f"{len(rows)} of {len(data)} sequences of the {part} part, by their labels"
    return Points(codes=codes, factors=_chosen(config, known), origin=origin)


def _chosen(config: FactorTask, known: Mapping[str, Array]) -> dict[str, Array]:
    if config.labels is None:
        return {name: value for name, value in known.items() if name not in config.exclude}
    for name in config.labels:
        if name not in known:
            raise DataError(
                f"the data have no factor or global class '{name}'; "
                f"known: {', '.join(sorted(known)) or 'none'}"
            )
    return {name: known[name] for name in config.labels}
