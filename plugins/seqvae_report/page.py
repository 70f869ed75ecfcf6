"""`report.html`: one self-contained file, a pure function of a run's directory."""

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from seqvae_core.errors import CheckpointError
from seqvae_core.files import write_atomic
from seqvae_report import curves
from seqvae_report.history import History
from seqvae_report.shown import Shown, template
from seqvae_report.tables import Table, number, table

__all__ = ["render", "write"]


def write(path: Path, *, error: str | None = None) -> Path:
    """Write the report of a run's directory in one step, and return its file.

    Args:
        path: the run's directory.
        error: what ended the run, if it ended badly.

    Raises:
        CheckpointError: if a file of the run cannot be read, or the disk refuses.
        PluginError: if jinja2 is not installed.
    """
    file = path / "report.html"
    write_atomic(file, render(path, error=error))
    return file


def render(path: Path, *, error: str | None = None) -> str:
    """Return the report of a run's directory as HTML; what is not there yet is said.

    Args:
        path: the run's directory.
        error: what ended the run, if it ended badly.

    Raises:
        CheckpointError: if a file of the run cannot be read.
        PluginError: if jinja2 is not installed.
    """
    config = _read(path / "experiment.toml", lambda text: text)
    experiment = _read(path / "experiment.toml", tomllib.loads) or {}
    train, history = experiment.get("train", {}), History.read(path)
    return template("seqvae_report/report.html.jinja").render(
        name=path.resolve().name,
        status=_status(train, history, error),
        error=error,
        facts=_facts(experiment),
        tiles=_tiles(train, history),
        tasks=_tasks(path),
        history=history,
        panels=curves.panels(history),
        plot=curves,
        config=config,
        plugins=_plugins(path),
        environment=_read(path / "environment.json", json.loads) or {},
    )


def _read(file: Path, parse: Callable[[str], Any]) -> Any:
    """Return a file's content, None where there is no such file."""
    if not file.is_file():
        return None
    try:
        return parse(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error


# Headline ----------------------------------------------------------------------------------------


def _status(train: Mapping[str, Any], history: History, error: str | None) -> str:
    if error is not None:
        return "stopped"
    if not history.step:
        return "not trained yet"
    if history.step >= train.get("steps", math.inf):
        return "finished"
    best, patience = _best(train, history), train.get("patience")
    if best is not None and patience is not None and best.since >= patience:
        return "finished early"
    return "unfinished"


@frozen
class _Best:
    value: float
    step: int
    since: int


def _best(train: Mapping[str, Any], history: History) -> _Best | None:
    """Return the best validation, the lowest −ELBO or loss, and how many came after it."""
    monitor = train.get("monitor", "elbo")
    column = history.columns.get(f"valid/{monitor}")
    if column is None:
        return None
    values = -column.values if monitor == "elbo" else column.values
    best = int(values.argmin())
    return _Best(float(values[best]), int(column.steps[best]), len(values) - 1 - best)


def _facts(experiment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the experiment is, in a few lines: label and text."""
    if not experiment:
        return []
    model, train = experiment.get("model", {}), experiment.get("train", {})
    latents = [
        f"{name} {latent.get('scope')}, {latent.get('dim')}"
        for name, latent in model.get("latents", {}).items()
    ]
    terms = [
        f"{entry.get('label') or _name(entry)} × {entry.get('weight', 1.0):g}"
        for entry in experiment.get("regularizers", ())
    ]
    parts = [_name(model.get(part)) for part in ("backbone", "encoder", "decoder", "likelihood")]
    optimizer = train.get("optimizer", {})
    return [
        ("Data", _name(experiment.get("data"))),
        ("Latents", " · ".join(latents)),
        ("Model", " → ".join(parts)),
        ("Regularizers", " · ".join(terms) or "none"),
        ("Training", f"{_name(optimizer)}, learning rate {optimizer.get('lr', '?')}, "
                     f"{train.get('batch_size', '?')} sequences a step"),
        ("Seed", str(experiment.get("seed", 0))),
    ]  # fmt: skip


def _name(component: Any) -> str:
    return str(component.get("name", "?") if isinstance(component, Mapping) else component or "?")


def _tiles(train: Mapping[str, Any], history: History) -> list[tuple[str, str, str]]:
    """Return the numbers to see first: label, value, remark."""
    steps = train.get("steps")
    tiles = [("steps", f"{history.step:,}", f"of {steps:,}" if steps else "")]
    best = _best(train, history)
    if best is not None:
        what = "loss" if train.get("monitor") == "loss" else "−ELBO"
        remark = f"nats per sequence, at step {best.step:,}"
        tiles.append((f"best validation {what}", number(best.value), remark))
    for name, column in history.columns.items():
        if name.startswith("valid/kl/") and not name.endswith("/weighted"):
            value = number(float(column.values[-1]))
            tiles.append((f"KL of {name[9:]}, last validation", value, "nats per sequence"))
    return tiles


# Evaluation --------------------------------------------------------------------------------------


def _tasks(path: Path) -> list[Shown]:
    evaluation = _read(path / "evaluation.json", json.loads) or {}
    return [Shown.read(path / "evaluation", name, metrics) for name, metrics in evaluation.items()]


def _plugins(path: Path) -> Table | None:
    found = _read(path / "plugins.json", json.loads)
    if not found:
        return None
    columns = ("name", "distribution", "version", "source", "status", "error")
    present = [column for column in columns if any(entry.get(column) for entry in found)]
    return table([{c: entry.get(c) or "" for c in present} for entry in found])
