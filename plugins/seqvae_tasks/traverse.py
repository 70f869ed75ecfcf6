"""What single codes change in the decoded sequences: traversals, grids of two, one-hot swaps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_basics.codes import Code, parse_codes
from seqvae_core.components import TaskResult
from seqvae_core.functional import masked_mean, one_hot
from seqvae_core.model import SeqVAE
from seqvae_core.pictures import available
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config_codes import Traverse
from seqvae_tasks.pictures import cells, evenly, heard, mosaic
from seqvae_tasks.representations import Array, seed_of

__all__ = ["Axis", "Start", "traverse"]

_RANKED = 64  # test sequences whose mean KL ranks the dimensions


def traverse(config: Traverse, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Decode chosen codes at other values, all else held at a test sequence or the prior's mean.

    A dimension of a global latent is set to each value; of a local one it is set so in every
    frame. A categorical latent is set to each of its one-hot values. Images get a row for each
    code and a column for each value; longer sequences a row for each value, over time. An
    autoregressive decoder draws each with the same noise.

    Returns:
        "moved/<code>": the root mean square, over values, sequences, frames and a frame's
        elements, of how far the decoded mean is from where it started, in the likelihood's scale:
        0 for a code that the decoder does not use. A picture of the traversals from each start, of
        the swaps of each categorical latent, and, from the first start, of the grid of the first
        two dimensions.
    """
    noise = noise.of("traverse")
    codes = _codes(config, model, splits)
    start = Start.of(config, model, splits, noise)
    result = TaskResult(notes=_notes(config, codes, model))
    lines = [axis for code in codes for axis in _axes(code, config)]
    content = {axis: start.along(axis) for axis in lines}
    for axis, moved in content.items():
        result.metrics[f"moved/{axis.title}"] = start.distance(moved)
    key = "root mean square of what changes"
    result.tables["how far each code moves the decoded mean"] = [
        {"code": axis.title, "values": len(axis.values),
         key: float(f"{result.metrics[f'moved/{axis.title}']:.4g}")}
        for axis in lines
    ]  # fmt: skip
    pages = _pages(start, content, splits) + _plane(config, start, lines, splits)
    if not available():
        result.notes.append("no picture: matplotlib is missing; pip install 'seqvae[report]'")
    for page in pages:
        if available():
            result.figures[page.title] = page.draw()
        if (audible := page.first(config.sounds)) is not None:
            sounds = heard(audible.cells, audible.rows, audible.columns, splits)
            titled = {f"{page.title}, {title}": sound for title, sound in sounds.items()}
            result.sounds.update(titled)
    return result


@frozen(kw_only=True)
class Axis:
    """One code that moves: a dimension of a latent, or a group of a categorical one.

    Attributes:
        latent: its name.
        dims: the dimension, or those of the group.
        values: that it is set to; of a group which of its dimensions is 1.
        title: its name, such as "z[0]", or "c".
    """

    latent: str
    dims: tuple[int, ...]
    values: tuple[float, ...]
    title: str

    @property
    def swapped(self) -> bool:
        """Whether it is a categorical variable, not a number."""
        return len(self.dims) > 1

    def set(self, latents: Mapping[str, Tensor], value: float) -> dict[str, Tensor]:
        """Return the latents with the code at a value, in every frame of a local one."""
        changed = latents[self.latent].clone()
        if self.swapped:
            changed[..., list(self.dims)] = 0.0
            changed[..., self.dims[int(value)]] = 1.0
        else:
            changed[..., self.dims[0]] = value
        return {**latents, self.latent: changed}


@frozen(eq=False, kw_only=True)
class Start:
    """Where traversals start.

    Attributes:
        model: what decodes.
        latents: by name, (B, D) or (B, T, D).
        mask: how long the sequences are, (B, T) bool.
        titles: what each of them is called, (B,).
        seed: of what an autoregressive decoder draws, the same each time.
        decoded: from the latents as they are, (B, T, *frame).
    """

    model: SeqVAE
    latents: Mapping[str, Tensor]
    mask: Tensor
    titles: list[str]
    seed: int
    decoded: Tensor

    @classmethod
    def of(cls, config: Traverse, model: SeqVAE, splits: Splits, noise: Noise) -> "Start":
        """Return the start that the settings name; categorical latents at their likeliest value."""
        batch = evenly(splits.test, config.items if config.start == "item" else 1)
        out = model.output(batch)
        mask, titles = out.batch.mask, [f"test item {i + 1}" for i in range(len(batch))]
        latents = {name: out.latents[name].sample for name in model.priors}
        if config.start == "prior":
            titles = ["the prior's mean"]
            latents = _prior_means(model, mask, noise)
        for name, value in latents.items():
            if kind := model.shapes.latent(name).categorical:
                latents[name] = one_hot(value, kind.groups)
        seed = seed_of(noise, "decoder")
        decoded = model.decode(latents, mask=mask, noise=Noise(seed))
        return cls(
            model=model, latents=latents, mask=mask, titles=titles, seed=seed, decoded=decoded
        )

    def at(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Return other latents decoded, (B, T, *frame)."""
        return self.model.decode(latents, mask=self.mask, noise=Noise(self.seed))

    def along(self, axis: Axis) -> Tensor:
        """Return the code at each of its V values, decoded, (V, B, T, *frame)."""
        return torch.stack([self.at(axis.set(self.latents, value)) for value in axis.values])

    def distance(self, moved: Tensor) -> float:
        """Return the root mean square of (V, B, T, *frame) less the start, over real frames."""
        apart = (moved - self.decoded).double().square().transpose(0, 2)  # (T, B, V, *frame)
        return float(apart[self.mask.T].mean().sqrt())


@torch.no_grad()
def _prior_means(model: SeqVAE, mask: Tensor, noise: Noise) -> dict[str, Tensor]:
    """Return each prior's mean, of a local latent given what is drawn from it before."""
    found: dict[str, Tensor] = {}
    with model.evaluating():
        for name in model.priors:
            prior: Any = model.priors[name]
            drawn = prior.sample(len(mask), mask.sum(1), noise.of("prior").of(name))
            found[name] = prior(drawn, mask).mean.clone()
    return found


def _codes(config: Traverse, model: SeqVAE, splits: Splits) -> tuple[Code, ...]:
    """Return the codes asked for, or of each latent the dimensions of largest mean KL."""
    if config.codes is not None:
        return parse_codes(config.codes, model.shapes, config.name)
    out = model.output(evenly(splits.test, _RANKED))
    texts = []
    for name in model.priors:
        latent, variable = out.latents[name], model.shapes.latent(name)
        if variable.categorical:
            texts.append(name)
            continue
        kl = latent.elementwise_kl()
        kl = masked_mean(kl, latent.mask) if latent.scope == "local" else kl
        order = kl.double().mean(0).argsort(descending=True, stable=True)[: config.most]
        texts.append(f"{name}[{','.join(map(str, order.tolist()))}]")
    return parse_codes(texts, model.shapes, config.name)


def _axes(code: Code, config: Traverse) -> list[Axis]:
    """Return what moves, one by one: each dimension, or each group of a categorical latent."""
    values = _ways(config.reach, config.steps)
    if code.groups:
        values = tuple(map(float, range(code.variable.values)))
    return [
        Axis(latent=code.latent, dims=unit.index, values=values, title=unit.name)
        for unit in code.units
    ]


def _ways(reach: float, steps: int) -> tuple[float, ...]:
    return tuple(float(value) for value in np.linspace(-reach, reach, steps))


# Pictures ----------------------------------------------------------------------------------------


@frozen(eq=False, kw_only=True)
class _Page:
    """One picture: sequences in rows and columns.

    Attributes:
        title: what it is called.
        cells: the sequences, by row.
        rows: their titles.
        columns: theirs.
        item: the start that all are from; None where each line is from another one.
        plane: what a grid moves.
        along: whether time runs along rows, so that starts or codes stand in columns.
    """

    title: str
    cells: Sequence[Sequence[Array]]
    rows: Sequence[str]
    columns: Sequence[str]
    item: int | None = 0
    plane: tuple[str, str] | None = None
    along: bool = False

    def draw(self) -> bytes:
        large = not self.plane and self.cells[0][0].ndim == 2
        return mosaic(
            self.cells, self.rows, self.columns,
            inches=1.0 if large else 0.6, titles=self.plane or ("", ""),
        )  # fmt: skip

    def turned(self) -> "_Page":
        return _Page(
            title=self.title, cells=list(zip(*self.cells, strict=True)), rows=self.columns,
            columns=self.rows, item=self.item, plane=self.plane, along=not self.along,
        )  # fmt: skip

    def first(self, starts: int) -> "_Page | None":
        """Return what is from the first few starts; None if that is nothing, or it is a grid."""
        if self.plane or (self.item or 0) >= starts:
            return None
        if self.item is not None:
            return self
        if self.along:
            return evolve(
                self, cells=[row[:starts] for row in self.cells], columns=self.columns[:starts]
            )
        return evolve(self, cells=self.cells[:starts], rows=self.rows[:starts])


def _pages(start: Start, content: Mapping[Axis, Tensor], splits: Splits) -> list[_Page]:
    """Return a page of all dimensions for each start, and one of all starts for each swap.

    A column for each value; longer sequences are turned, so that time runs along a row.
    """
    began = cells(start.decoded, start.mask, splits)
    shown = {
        axis: [cells(value, start.mask, splits) for value in moved]
        for axis, moved in content.items()
    }
    lines = [axis for axis in shown if not axis.swapped]
    pages = []
    for item, title in enumerate(start.titles if lines else []):
        table = [[began[item], *(value[item] for value in shown[axis])] for axis in lines]
        columns = ["start", *(f"{value:.3g}" for value in lines[0].values)]
        pages.append(
            _Page(
                title=f"traversals from {title}",
                cells=table,
                columns=columns,
                item=item,
                rows=[axis.title for axis in lines],
            )
        )
    for axis in (axis for axis in shown if axis.swapped):
        table = [
            [began[item], *(value[item] for value in shown[axis])]
            for item in range(len(start.titles))
        ]
        columns = ["start", *(f"{axis.title} = {value:g}" for value in axis.values)]
        pages.append(
            _Page(
                title=f"swaps of {axis.title}",
                cells=table,
                rows=start.titles,
                columns=columns,
                item=None,
            )
        )
    return pages if start.mask.shape[1] == 1 else [page.turned() for page in pages]


def _plane(config: Traverse, start: Start, lines: Sequence[Axis], splits: Splits) -> list[_Page]:
    """Return the grid of the first two dimensions from the first start; the first runs down."""
    moving = [axis for axis in lines if not axis.swapped][:2]
    if len(moving) < 2 or not config.plane_steps:
        return []
    down, across = moving
    values = _ways(config.plane_reach, config.plane_steps)
    table = []
    for one in values:
        row = [start.at(across.set(down.set(start.latents, one), other)) for other in values]
        table.append([cells(value[:1], start.mask[:1], splits)[0] for value in row])
    return [
        _Page(
            title=f"{down.title} and {across.title} from {start.titles[0]}",
            cells=table,
            rows=[f"{value:.3g}" for value in values],
            columns=[f"{value:.3g}" for value in values],
            plane=(down.title, across.title),
        )
    ]


def _notes(config: Traverse, codes: Sequence[Code], model: SeqVAE) -> list[str]:
    held = "at posterior means of test sequences" if config.start == "item" else (
        "at the prior's mean, of a local latent given values drawn from its prior"
    )  # fmt: skip
    notes = [
        f"one or two codes move, all others are held {held}, and categorical latents at their "
        "likeliest value; a local code has one value in all frames",
    ]
    if model.decoder.autoregressive:
        notes.append(
            "the decoder is autoregressive: what is decoded is a draw, each with the same noise, "
            "and distances are those of draws"
        )
    if config.codes is None:
        chosen = ", ".join(code.name for code in codes)
        notes.append(f"by their mean KL on test sequences, largest first: {chosen}")
    return notes
