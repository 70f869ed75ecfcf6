"""How well a linear reader recovers x from latents: what s, or z, says of the whole of it."""

import math
from collections import defaultdict
from itertools import product
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Output, Shapes, Splits, Variable
from seqvae_tasks.config_generation import Recovery
from seqvae_tasks.fitting import group_folds
from seqvae_tasks.representations import Array, coarse, coarse_grid, seed_of, untrained
from seqvae_tasks.sequences import choose, read
from seqvae_tasks.statistics import Score, bootstrap

__all__ = ["Map", "offsets", "recovery"]

Offset = tuple[int, int]

_STRENGTHS = [1.0, 10.0, 100.0, 1e3, 1e4]


def recovery(config: Recovery, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Predict x from each latent by ridge regression, and score it on the test part.

    A place is a frame, or a pixel where the latent is a map with the frame's grid; of local
    latents x_t is read off s_t ("own place"), off s_{t+1}, the first that has seen x_t where s is
    a feature of what lies before ("next place"), and off all within `radius` ("neighbourhood");
    of global latents off the one value there is ("whole sequence"). What would be read beyond the
    edges is 0. The same is read off an untrained copy of the model.

    Returns:
        "<latent>/<reading>", R² of all numbers of x together, at most 1: 0 is what the mean of x
        gives, over the train part's frames, and of maps at each pixel. ".../low" and ".../high"
        are 95 % bootstrap intervals over test sequences.
    """
    noise = noise.of("recovery")
    result = TaskResult(notes=_method(config, model))
    rows = [
        choose(len(part), config.sequences, seed_of(noise, "sequences"))
        for part in (splits.train, splits.test)
    ]
    seed = seed_of(noise, "places")
    fresh = untrained(model, seed_of(noise, "untrained"))
    table: list[dict[str, Any]] = [{"variable": "mean of x", "reads": "nothing", "R²": "0.000"}]
    for prefix, network in (("", model), ("untrained ", fresh)):
        for name, found in _collect(network, splits, rows).items():
            for reading, seen in _readings(model.shapes.latent(name), config.radius, found).items():
                score = _score(config, found, seen, seed)
                result.metrics.update(score.metrics(f"{prefix}{name}/{reading}"))
                line = {"variable": f"{prefix}{name}", "reads": reading}
                table.append(line | {"R²": score.text(digits=3)})
    result.tables["x recovered"] = table
    return result


@frozen(eq=False, kw_only=True)
class Map:
    """What is read, and x, at the places of N grids; a sequence is a grid of one row.

    Attributes:
        inputs: (N, D, H, W).
        x: (N, C, H, W).
        valid: where there is a place, (N, H, W) bool.
        owner: the sequence of each grid, (N,).
        held_out: whether it is of the test part, (N,) bool.
        pixels: whether a place is a pixel, the same one in all grids, and not a step of time.
    """

    inputs: Array
    x: Array
    valid: Array
    owner: Array
    held_out: Array
    pixels: bool

    @classmethod
    def join(cls, parts: list["Map"]) -> "Map":
        """Return all grids of some maps, as wide as the widest, their sequences numbered on."""
        width = max(part.valid.shape[-1] for part in parts)

        def joined(arrays: list[Array]) -> Array:
            ends = [[(0, 0)] * (a.ndim - 1) + [(0, width - a.shape[-1])] for a in arrays]
            return np.concatenate([np.pad(a, end) for a, end in zip(arrays, ends, strict=True)])

        starts = np.cumsum([0, *(part.owner.max() + 1 for part in parts)])
        return cls(
            inputs=joined([part.inputs for part in parts]),
            x=joined([part.x for part in parts]),
            valid=joined([part.valid for part in parts]),
            owner=np.concatenate([p.owner + n for p, n in zip(parts, starts, strict=False)]),
            held_out=np.concatenate([part.held_out for part in parts]),
            pixels=parts[0].pixels,
        )

    def centred(self) -> "Map":
        """Return the map less its means over the fitted grids, at each pixel if it has pixels.

        Where there is no place it is 0, whatever stood there.
        """
        rows = ~self.held_out
        axes = (0,) if self.pixels else (0, 2, 3)
        count = np.maximum(self.valid[rows, None].sum(axes, keepdims=True), 1)

        def less(values: Array) -> Array:
            real = np.where(self.valid[:, None], values, 0.0)
            mean = real[rows].sum(axes, keepdims=True, dtype=float) / count
            return np.where(self.valid[:, None], real - mean.astype(values.dtype), 0.0)

        return evolve(self, inputs=less(self.inputs), x=less(self.x))

    def around(self, places: Array, seen: list[Offset]) -> Array:
        """Return what is read at some offsets from places (P, 3), side by side, (P, K·D)."""
        edge = max(abs(step) for offset in seen for step in offset)
        padded = np.pad(self.inputs, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
        n, i, j = places.T
        read = [padded[n, :, i + edge + a, j + edge + b].astype(float) for a, b in seen]
        return np.concatenate(read, 1)


@torch.no_grad()
def _collect(model: SeqVAE, splits: Splits, rows: list[Array]) -> dict[str, Map]:
    """Return a centred map for each latent and local feature."""
    parts = defaultdict(list)
    for data, chosen, held_out in zip(
        (splits.train, splits.test), rows, (False, True), strict=True
    ):
        for batch in read(data, chosen):
            out = model.output(batch)
            for name in model.shapes.latents:
                parts[name].append(_map(out, name, model.shapes, held_out))
    return {name: Map.join(found).centred() for name, found in parts.items()}


def _map(out: Output, name: str, shapes: Shapes, held_out: bool) -> Map:
    mask, x, latent = out.batch.mask, out.batch.x, out.latents[name]
    owner = torch.arange(len(mask), device=mask.device)
    pixels = _gridded(shapes, shapes.latent(name))
    if pixels:
        inputs, x, owner = latent.mean[mask], x[mask], owner[:, None].expand_as(mask)[mask]
        valid = torch.ones_like(x[:, 0], dtype=torch.bool)
    else:
        x = x if _has_maps(shapes) else coarse(x)
        value = latent.mean.flatten(1)[:, None] if latent.scope == "global" else latent.mean
        value = value.flatten(2).expand(*mask.shape, -1)
        inputs, x = (each.flatten(2).transpose(1, 2)[:, :, None] for each in (value, x))
        valid = mask[:, None]
    found = (each.cpu().numpy() for each in (inputs, x, valid, owner))
    arrays = dict(zip(("inputs", "x", "valid", "owner"), found, strict=True))
    return Map(**arrays, held_out=np.full(len(owner), held_out), pixels=pixels)


def _gridded(shapes: Shapes, variable: Variable) -> bool:
    """Tell whether a variable is a map with a value for each pixel of a frame."""
    return variable.scope == "local" and len(shapes.frame) == 3 and (
        variable.shape[1:] == shapes.frame[1:]
    )  # fmt: skip


def _has_maps(shapes: Shapes) -> bool:
    """Tell whether x is to be read at its full resolution, for all latents alike."""
    return any(_gridded(shapes, variable) for variable in shapes.latents.values())


def offsets(radius: int, pixels: bool) -> list[Offset]:
    """Return the places within `radius` in rows and columns; of time in columns alone."""
    span = range(-radius, radius + 1)
    return [*product(span if pixels else [0], span)]


def _readings(variable: Variable, radius: int, found: Map) -> dict[str, list[Offset]]:
    if variable.scope == "global":
        return {"whole sequence": [(0, 0)]}
    near = offsets(radius, found.pixels)
    return {"own place": [(0, 0)], "next place": [(0, 1)], "neighbourhood": near}


def _score(config: Recovery, found: Map, seen: list[Offset], seed: int) -> Score:
    """Fit on places of the train part and return R² on places of the test part."""
    fit, held = (
        _places(found.valid & (found.held_out == part)[:, None, None], config.places, seed)
        for part in (False, True)
    )
    owner = found.owner[fit[:, 0]]
    folds = group_folds(np.arange(len(fit)), owner, 3)
    scoring = "neg_mean_squared_error" if folds else None
    reader = make_pipeline(StandardScaler(), RidgeCV(_STRENGTHS, cv=folds or None, scoring=scoring))
    reader.fit(found.around(fit, seen), _at(found.x, fit))
    truth = _at(found.x, held)
    error = (truth - reader.predict(found.around(held, seen)).reshape(truth.shape)) ** 2
    sums = np.stack([error.sum(1), (truth**2).sum(1)], 1)
    unit = found.owner[held[:, 0]]
    return bootstrap(sums, unit, _explained, seed=seed, resamples=config.resamples)


def _places(valid: Array, most: int, seed: int) -> Array:  # (P, 3)
    places = np.argwhere(valid)
    return places[choose(len(places), most, seed)]


def _at(values: Array, places: Array) -> Array:  # (P, C)
    n, i, j = places.T
    found: Array = values[n, :, i, j].astype(float)
    return found


def _explained(sums: Array) -> float:
    return float(1.0 - sums[0] / sums[1]) if sums[1] > 0.0 else math.nan


def _method(config: Recovery, model: SeqVAE) -> list[str]:
    grid = None if _has_maps(model.shapes) else coarse_grid(model.shapes.frame)
    notes = [
        "ridge regression on standardised inputs, its strength chosen by 3-fold cross-validation "
        "over sequences of the train part; R² on the test part of all numbers of x together: 0 is "
        "what the mean of x gives",
        "what a linear reader recovers is there; what it misses may be there too",
        f"at most {config.sequences} sequences of each part and {config.places} places of these, "
        "chosen at random; in brackets: 95 % bootstrap interval over test sequences",
        f"own place: s_t for x_t; next place: the one after it in time, or to the right; "
        f"neighbourhood: {config.radius} to each side; beyond the edges all is 0",
    ]
    if grid is not None:
        notes.append(f"frames are recovered at {grid[0]} × {grid[1]} pixels, averaged over blocks")
    return notes
