"""`audit.html`: one self-contained file, in the dress of a run's report."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqvae_audit.record import Findings
from seqvae_core.components import TaskResult
from seqvae_core.errors import CheckpointError
from seqvae_report.shown import Shown, template
from seqvae_report.tables import number

__all__ = ["check_place", "render"]

_TEMPLATE = "seqvae_audit/audit.html.jinja"
_AT_ONCE = 40  # rows of the table of factors; the rest are folded away


def check_place(folder: Path) -> None:
    """Check that `audit.json` and `audit.html` can be made and put there, before any work.

    Raises:
        CheckpointError: if something is in the way.
        PluginError: if jinja2 is not installed.
    """
    template(_TEMPLATE)
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir():
        raise CheckpointError(f"cannot write {folder}: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise CheckpointError(f"cannot write {folder}: {there} must not be written to")
    for file in (folder / "audit.json", folder / "audit.html"):
        if file.is_dir():
            raise CheckpointError(f"cannot write {file}: a folder is in its place")


def render(found: Findings, content: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        found: what was found.
        content: the same as `audit.json` has it.
        figures: PNG bytes by title.

    Raises:
        PluginError: if jinja2 is not installed.
    """
    rows = [_row(row) for row in content["factors"]]
    kinds = [f"{found.form.name}: {found.noun}s, strongest first"]
    top = TaskResult(tables={kinds[0]: rows[:_AT_ONCE]}, figures=dict(figures))
    rest = TaskResult(tables={f"{kinds[0]}, from rank {_AT_ONCE + 1}": rows[_AT_ONCE:]})
    names = (_FACTORS, _LEFT_OUT, _AGGREGATE)
    return template(_TEMPLATE).render(
        name=f"audit of {content['model']['name']}",
        sentences=content["verdict"]["sentences"],
        warnings=content["warnings"],
        tiles=_tiles(found, content),
        facts=_facts(content),
        factors=Shown.of(names[0], top),
        rest=Shown.of("", rest) if rows[_AT_ONCE:] else None,
        notes=content["notes"],
        left_out=Shown.of(names[1], _left_out(found, content)),
        aggregate=Shown.of(names[2], _aggregate(found, content)),
        tasks=[Shown.of(each.name, each.result) for each in found.tasks if each.state == "done"],
        not_applicable=content["not_applicable"],
        options=content["options"],
    )


_FACTORS = "Which factors matter"
_LEFT_OUT = "What can be left out"
_AGGREGATE = "The aggregate and the prior"


def _tiles(found: Findings, content: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the numbers to see first: label, value, remark."""
    verdict, noun = content["verdict"], f"of {found.form.factors} {found.noun}s"
    kept = verdict["keep"]
    explained = content["reconstruction"]["explained"]
    return [
        ("matter", str(len(verdict["matters"])), noun),
        ("dead", str(len(verdict["dead"])), noun),
        ("encoded and ignored", str(len(verdict["ignored"])), noun),
        ("enough", "–" if kept is None else str(kept), "the strongest first"),
        ("explained variance", "–" if explained is None else f"{100.0 * explained:.1f} %",
         "of x, by all factors"),
    ]  # fmt: skip


def _facts(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, data = content["model"], content["data"]
    shape = " × ".join(map(str, model["shape"]))
    kinds = {"vector": "one vector an input", "frames": "one vector a frame", "map": "a map"}
    frame = " × ".join(map(str, data["frame"]))
    frames = f", {data['frames']} frames" if data["frames"] else ""
    part = "all parts" if data["part"] == "all" else f"{data['part']} part"
    read = f"{data['sequences']:,} of {data['available']:,}"
    noun = "sequences" if data["frames"] else "inputs"
    return [
        ("Model", f"{model['name']}, {model['parameters']:,} parameters"),
        ("Latent", f"{shape}, {kinds[model['latent']]}"),
        ("Data", f"{data['source']}, {part}: {read} {noun}, {data['decoded']} of them decoded"),
        ("x", f"{frame}{frames}"),
        ("Runs in", f"{model['arrays']}, {model['type']} on {model['device']}"),
        ("Seed", str(data["seed"])),
    ]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a factor's row as the page shows it."""
    rounded = {key: _shown(value) for key, value in row.items()}
    return {
        "factor": row["factor"],
        "verdict": ", ".join(
            [
                row["status"],
                *([] if row["settled"] else ["not settled"]),
                *(["saturated"] if row["saturated"] else []),
            ]
        ),
        "I_M, nats": rounded["mi"],
        "error": rounded["mi_stderr"],
        "upper bound": rounded["upper"],
        "KL": rounded["kl"],
        "effect, %": _percent(row["effect"]),
        "error of it, %": _percent(row["effect_stderr"]),
        "cost, %": _percent(row["cost"]),
        "above the next": {True: "yes", False: "no", None: ""}[row["apart_from_next"]],
    }


def _left_out(found: Findings, content: Mapping[str, Any]) -> TaskResult:
    made, verdict = content["reconstruction"], content["verdict"]
    wanted = {0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, verdict["keep"], found.form.factors}
    rows = [
        {
            "kept": str(point["kept"]),
            "squared error": _shown(point["mse"]),
            "standard error": _shown(point["mse_stderr"]),
            "explained, %": _percent(point["explained"]),
        }
        for point in made["top"] if point["kept"] in wanted
    ]  # fmt: skip
    notes = [
        f"reconstructions of {found.used.inputs} inputs from the strongest {found.noun}s by I_M, "
        "those that the decoder does not change with behind all others; what is left out is set "
        "to its mean. The decoder was not trained for that: another one might make more of them",
    ]
    return TaskResult(tables={"the strongest kept": rows}, notes=notes)


def _aggregate(found: Findings, content: Mapping[str, Any]) -> TaskResult:
    off, near = content["aggregate"]["off"], content["saturation"]["factors"]
    ceiling = content["saturation"]["ceiling"]
    total, alike = content["aggregate"]["kl_sum"], ""
    if (least := content["saturation"]["ceiling_if_alike"]) is not None:
        alike = f", or of the ln of the sequences, {least:.3g}, where frames of one may be alike"
    notes = [
        f"Σ_h KL(q(z_h)‖N(0, 1)) = {number(total)} nats over all {found.noun}s, an upper bound: "
        "how far, one by one, the aggregate is from the prior that new x are drawn from",
        f"{len(off)} of {found.form.factors} {found.noun}s are off the prior by more than "
        f"{found.options.off:g} nats"
        + (": what is decoded from draws of N(0, 1) is not what the decoder was trained on"
           if off else "")
        + ". That the parts agree does not mean that all of z together does",
        f"{len(near)} of {found.form.factors} {found.noun}s are saturated, within "
        f"{content['saturation']['margin']:.3g} nats of ln M = {ceiling:.3g}{alike}"
        + (": they may hold any amount above. Read more sequences, if there are any"
           if near else ""),
    ]  # fmt: skip
    rows = [
        {
            "factor": row["factor"],
            "mean": _shown(row["aggregate_mean"]),
            "variance": _shown(row["aggregate_variance"]),
            "KL(q(z_h)‖N(0, 1))": _shown(row["aggregate_kl"]),
            "standard error": _shown(row["aggregate_kl_stderr"]),
        }
        for row in sorted(content["factors"], key=lambda row: -(row["aggregate_kl"] or 0.0))[:12]
    ]
    return TaskResult(tables={"furthest from the prior": rows}, notes=notes)


def _percent(share: float | None) -> float | None:
    return None if share is None else float(f"{100.0 * share:.3g}")


def _shown(value: Any) -> Any:
    return round(value, 4) + 0.0 if isinstance(value, float) else value
