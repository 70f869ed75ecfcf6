"""An audit's pictures: information beside use, what is enough, reconstructions, channels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqvae_audit.callables import Callables
from seqvae_audit.decoded import Used, shifted, without
from seqvae_audit.record import Findings
from seqvae_audit.wrapped import Form
from seqvae_core.pictures import INK, PALETTE, figure, png, tidy
from seqvae_core.records import Splits
from seqvae_influence.influence_picture import stems
from seqvae_tasks.pictures import cells, grid, mosaic

__all__ = ["figures"]

_COLOURS = {"matters": PALETTE[0], "weak": PALETTE[5], "ignored": PALETTE[1], "dead": "#b0b0b0"}
_SHOWN, _STEPS = 6, 7
_FLOOR = 1e-8  # of an effect on a logarithmic axis


def figures(found: Findings, x: Tensor, template: Tensor) -> dict[str, bytes]:
    """Return PNG bytes by title.

    Args:
        found: what was found.
        x: inputs to be reconstructed, (N, T, *frame).
        template: the mean z.
    """
    form, callables = found.form, found.callables
    titles = {
        f"{form.name}: what the encoder puts into each {found.noun}": stems(
            found.readings.sandwich, form.name, found.options.rules.threshold
        ),
        f"{form.name}: what the decoder makes of it": _beside(found),
    }
    if found.verdict.keep is not None:
        titles["reconstruction from the strongest"] = _enough(found.used, found)
    splits = found.material.splits
    x = x[:_SHOWN]
    across = ", along the elements of x" if _single(form) else ""
    titles[f"reconstructions{across}"] = _reconstructions(found, x, template, splits)
    if form.kind == "map":
        titles["channels moved at all places"] = _channels(found, callables, x, splits)
    return titles


def _beside(found: Findings) -> bytes:
    """Draw I_M of each factor beside what its exchange changes, by status."""
    rows = [row for row in found.factors() if row["effect"] is not None]
    picture = figure(3.65, 3.4)
    axes = picture.subplots()
    tidy(axes)
    for status, colour in _COLOURS.items():
        those = [row for row in rows if row["status"] == status]
        label = f"{status} ({len(those)})"
        axes.plot(
            [row["mi"] for row in those], [max(row["effect"], _FLOOR) for row in those],
            linestyle="", marker="o", markersize=4.5, color=colour, label=label,
        )  # fmt: skip
    rules = found.options.rules
    axes.axvline(rules.threshold, color="#7f7f7f", linewidth=0.9, linestyle=":")
    axes.axhline(max(rules.effect, _FLOOR), color="#7f7f7f", linewidth=0.9, linestyle=":")
    axes.set_yscale("log")
    axes.set_xlim(left=min(0.0, *axes.get_xlim()))
    axes.set_xlabel("$I_M$, nats", fontsize=9, color=INK)
    axes.set_ylabel("change of x when exchanged,\nshare of its variance", fontsize=9, color=INK)
    axes.legend(
        fontsize=8, frameon=False, labelcolor=INK, loc="lower center", bbox_to_anchor=(0.5, 1.0),
        ncols=2,
    )  # fmt: skip
    return png(picture)


def _enough(used: Used, found: Findings) -> bytes:
    """Draw R² against the number of factors kept, the strongest first."""
    kept = np.array(list(used.curve))
    explained = np.array([used.explained(mean.value) for mean in used.curve.values()])
    error = np.array([mean.stderr for mean in used.curve.values()]) / used.variance
    picture = figure(3.65, 3.4)
    axes = picture.subplots()
    tidy(axes)
    axes.fill_between(
        kept, explained - 2.0 * error, explained + 2.0 * error, color=PALETTE[5], alpha=0.35, lw=0,
        label="two standard errors",
    )  # fmt: skip
    marker = "o" if len(kept) <= 40 else None
    axes.plot(kept, explained, color=PALETTE[0], linewidth=1.4, marker=marker, markersize=3)
    keep = found.verdict.keep
    axes.axvline(
        float(keep or 0), color="#7f7f7f", linewidth=0.9, linestyle=":", label=f"{keep} are enough"
    )
    axes.set_ylim(min(max(float(explained.min()), -1.0), 0.0) - 0.03, 1.03)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(f"{found.noun}s kept, strongest first", fontsize=9, color=INK)
    axes.set_ylabel("share of the variance explained", fontsize=9, color=INK)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, loc="lower right")
    return png(picture)


def _reconstructions(found: Findings, x: Tensor, template: Tensor, splits: Splits) -> bytes:
    form, callables = found.form, found.callables
    mean = form.encoded(callables, x)[0]
    rows: dict[str, Tensor] = {"x": x, "all factors": form.decoded(callables, mean)}
    if found.verdict.dropped:
        some = without(form, mean, template, list(found.verdict.dropped))
        rows[f"the {found.verdict.keep} strongest"] = form.decoded(callables, some)
    shown = [_cells(value, form, splits) for value in rows.values()]
    columns = [str(i + 1) for i in range(len(x))]
    return _drawn(form, shown, list(rows), columns)


def _channels(found: Findings, callables: Callables, x: Tensor, splits: Splits) -> bytes:
    """Draw the strongest channels moved by up to three of their standard deviations."""
    form, steps = found.form, np.linspace(-3.0, 3.0, _STEPS)
    mean = form.encoded(callables, x[:1])[0]
    strongest = found.readings.sandwich.order[: found.options.strongest].tolist()
    lines: Mapping[str, list[Any]] = {
        f"channel {h}": [
            _cells(form.decoded(callables, shifted(form, mean, h, float(step) * scale)), form,
                   splits)[0]
            for step in steps
        ]
        for h, scale in ((h, float(found.readings.variance[h]) ** 0.5) for h in strongest)
    }  # fmt: skip
    columns = [f"{step:+.0f} σ" if step else "0" for step in steps]
    return _drawn(form, list(lines.values()), list(lines), columns)


def _drawn(form: Form, shown: list[list[Any]], rows: list[str], columns: list[str]) -> bytes:
    draw = mosaic if len(form.frame) > 1 else grid
    return draw(shown, rows, columns)


def _cells(value: Tensor, form: Form, splits: Splits) -> list[Any]:
    """Return sequences to be drawn; a single vector runs along its elements."""
    mask = torch.ones(value.shape[:2], dtype=torch.bool)
    found = cells(value, mask, splits)
    return [each.T if _single(form) else each for each in found]


def _single(form: Form) -> bool:
    return not form.frames and len(form.frame) == 1
