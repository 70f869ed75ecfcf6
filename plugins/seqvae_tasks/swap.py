"""A picture of what a global latent changes: sequences decoded with those of others."""

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config import Swap
from seqvae_tasks.pictures import cells, evenly, grid, heard

__all__ = ["swap"]


def swap(config: Swap, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Draw test sequences a and b, and a decoded with the global latents of b; let them be heard.

    The two reconstructions stand beside them: what the swap changed is to be judged against
    these, not against the originals. Pairs are taken evenly from the test part, a from its first
    half and b from its second.

    Raises:
        SeqVAEError: if matplotlib is missing.
    """
    names = [name for name in model.priors if model.shapes.latent(name).scope == "global"]
    count = min(config.pairs, len(splits.test) // 2)
    if not names or not count:
        return TaskResult(notes=["not applicable: it takes a global latent and two sequences"])
    both = evenly(splits.test, 2 * count)
    a, b = both.rows(slice(count)), both.rows(slice(count, None))
    drawn = {
        "a": (a.x, a.mask),
        "a, reconstructed": (model.reconstruct(a), a.mask),
        f"a with {', '.join(names)} of b": (model.swap(a, b, *names), a.mask),
        "b, reconstructed": (model.reconstruct(b), b.mask),
        "b": (b.x, b.mask),
    }
    columns, rows = list(drawn), [f"pair {i + 1}" for i in range(count)]
    content = list(zip(*(cells(x, mask, splits) for x, mask in drawn.values()), strict=True))
    return TaskResult(
        figures={"swap": grid(content, rows, columns)},
        sounds=heard(content[: config.sounds], rows[: config.sounds], columns, splits),
    )
