"""Scores against the number of factors kept, and what is decoded from them, as PNG."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from seqvae_core.model import SeqVAE
from seqvae_core.pictures import INK, PALETTE, figure, png, tidy
from seqvae_core.records import Noise, Splits
from seqvae_tasks.pictures import cells, evenly, grid
from seqvae_tasks.representations import Array
from seqvae_tasks.statistics import Score

__all__ = ["curves", "decoded"]

_WIDE = 3  # panels in a row
_SHOWN = 7  # columns of a picture


def curves(lines: Mapping[str, Mapping[str, Mapping[int, Score]]]) -> bytes:
    """Draw a panel a title, a line a ranking, with 95 % intervals.

    The numbers of factors are evenly spaced in the order that they are kept in.
    """
    titles = list(lines)
    width = min(_WIDE, len(titles))
    height = -(-len(titles) // width)
    picture = figure(3.4 * width + 1.2, 2.8 * height)
    panels = picture.subplots(height, width, squeeze=False).flatten()
    for panel, title in zip(panels, titles, strict=False):
        tidy(panel)
        panel.set_title(title, fontsize=9, color=INK)
        for number, (name, line) in enumerate(lines[title].items()):
            counts = sorted(line)
            at = np.arange(len(counts))
            value = [line[count].value for count in counts]
            low, high = ([getattr(line[c], side) for c in counts] for side in ("low", "high"))
            colour = "#7f7f7f" if name == "random" else PALETTE[number]
            above = len(lines[title]) - number + 2  # rankings often agree: the first is to be seen
            panel.plot(
                at, value, color=colour, marker="o", markersize=3, linewidth=1.1, label=name,
                zorder=above,
            )  # fmt: skip
            panel.fill_between(at, low, high, color=colour, alpha=0.12, linewidth=0.0)
            panel.set_xticks(at, [str(count) for count in counts])
        panel.set_xlabel("factors kept", fontsize=9, color=INK)
    for panel in panels[len(titles) :]:
        panel.set_axis_off()
    picture.legend(
        *panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8,
        frameon=False, labelcolor=INK,
    )  # fmt: skip
    return png(picture)


def decoded(
    model: SeqVAE,
    splits: Splits,
    latent: str,
    kept: Sequence[Array],
    *,
    count: int,
    noise: Noise | None = None,
) -> bytes:
    """Draw test sequences decoded from some factors of a latent, a column a choice.

    Args:
        model: with a decoder that is not autoregressive.
        splits: the data.
        latent: all of whose other factors are zero.
        kept: numbers of the factors, choice by choice.
        count: how many sequences.
        noise: draw all latents from their priors, and show no original.
    """
    from seqvae_influence.selection import zeroed

    chosen = np.unique(np.linspace(0, len(kept) - 1, min(_SHOWN, len(kept))).round().astype(int))
    out = model.output(evenly(splits.test, count))
    mask = out.batch.mask
    latents = {name: out.latents[name].sample for name in model.priors}
    if noise is not None:
        priors = dict(model.priors.items())
        for name, prior in priors.items():
            latents[name] = prior.sample(  # type: ignore[operator]
                len(mask), mask.sum(1), noise.of(name)
            )
    columns = [f"{len(kept[index])} kept" for index in chosen]
    with torch.no_grad():
        content = [
            model.decode({**latents, latent: zeroed(latents[latent], kept[index])}, mask=mask)
            for index in chosen
        ]
    if noise is None:
        content, columns = [out.batch.x, *content], ["original", *columns]
    shown = [cells(value, mask, splits) for value in content]
    rows = [
        f"{'sequence' if noise is None else 'draw'} {number + 1}" for number in range(len(mask))
    ]
    return grid([list(row) for row in zip(*shown, strict=True)], rows, columns)
