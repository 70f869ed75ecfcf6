"""The factors of a latent in the order of what they hold, by one measure or another."""

from collections.abc import Iterable

import numpy as np

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_influence.closed_form import kl_to_prior, zero_mean_form
from seqvae_influence.mixture import mixture
from seqvae_influence.posteriors import Posteriors, collect
from seqvae_influence.selection_config import Ranking
from seqvae_tasks.representations import Array, seed_of
from seqvae_tasks.sequences import choose

__all__ = ["measures", "orders", "trained"]


def trained(
    model: SeqVAE, splits: Splits, names: Iterable[str], most: int, noise: Noise,
    result: TaskResult,
) -> dict[str, Posteriors]:  # fmt: skip
    """Return the train part's posteriors by latent, at most so many; note which have none."""
    rows = choose(len(splits.train), most, seed_of(noise, "sequences"))
    names = list(names)
    found = collect(model, splits.train, rows, names) if len(rows) > 1 else {}
    for name in names:
        if name not in found:
            why = "its posteriors are not Gaussian" if len(rows) > 1 else "it takes two sequences"
            result.notes.append(f"not applicable to '{name}': {why}")
    return {name: found[name] for name in names if name in found}


def measures(table: Posteriors, by: Iterable[Ranking]) -> dict[Ranking, Array]:
    """Return what ranks the factors, the largest first, by name, (H,) each.

    "kl" is left out where the prior is not N(0, 1), and "random" always.
    """
    mean, logvar = table.mean, table.logvar
    variance = {
        "variance": logvar.exp().mean(0) + mean.var(0, correction=0),
        "active-units": mean.var(0, correction=0),
    }
    readings = {"mi": mixture, "closed-form": zero_mean_form, "kl": kl_to_prior}
    found: dict[Ranking, Array] = {}
    for name in by:
        if name in variance:
            found[name] = variance[name].numpy()
        elif name in readings and (name != "kl" or table.standard):
            found[name] = readings[name](mean, logvar).value.numpy()
    return found


def orders(
    table: Posteriors, by: Iterable[Ranking], draws: int, seed: int
) -> dict[Ranking, list[Array]]:
    """Return the factors' numbers from the first to be kept to the last, by what ranks them.

    Args:
        table: the posteriors.
        by: names of the measures.
        draws: of "random", whose orders are so many; all others have one.
        seed: of these.
    """
    by = list(by)
    found = {
        name: [np.argsort(-value, kind="stable")] for name, value in measures(table, by).items()
    }
    if "random" in by:
        generator = np.random.default_rng(seed)
        found["random"] = [generator.permutation(table.mean.shape[1]) for _ in range(draws)]
    return {name: found[name] for name in by if name in found}
