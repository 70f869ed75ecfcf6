"""The command `seqvae audit`; what is heavy is imported when it runs."""

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqvae_core.cli.options import JSON, MODULES, SET, load_plugins, options
from seqvae_core.cli.printing import print_rows

if TYPE_CHECKING:
    from seqvae_audit.auditing import Audit

__all__ = ["command"]

_PARTS = click.Choice(["train", "valid", "test", "all"])
_ROWS = 20  # factors that are printed


@click.command("audit")
@click.option("--model", "text", required=True, metavar="pkg.module:factory",
              help="What gives the model: an import path, or file.py:factory.")  # fmt: skip
@click.option("--data", "source", required=True, metavar="PRESET|FILE",
              help="A preset, a TOML experiment, or an .npy or .npz file.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder of audit.json and audit.html; else runs/audit-NAME.")  # fmt: skip
@click.option("--part", type=_PARTS, help="Of the data; the test part, or all of an array file.")
@click.option("--time/--no-time", default=None,
              help="Whether x has an axis of time; seen by its axes if left out.")  # fmt: skip
@click.option("--posteriors", type=click.IntRange(min=2), default=10_000, show_default=True,
              help="Sequences to encode at most.")  # fmt: skip
@click.option("--decoded", type=click.IntRange(min=2), default=256, show_default=True,
              help="Sequences to decode at most.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True,
              help="Rows that the model is given at most.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(min=0.0), default=0.5, show_default=True,
              help="Nats above which a factor counts as informative.")  # fmt: skip
@click.option("--tolerance", type=click.FloatRange(min=0.0, max=1.0, max_open=True), default=0.01,
              show_default=True, help="Share of the variance of x that may be lost.")  # fmt: skip
@click.option("--task", "tasks", multiple=True, metavar="NAME",
              help="Only these tasks; 'none' for none.")  # fmt: skip
@click.option("--device", metavar="cpu|cuda", help="Where to run; else where the model is.")
@click.option("--seed", type=click.IntRange(min=0), help="Of all draws; else the data's own.")
@options(SET, JSON, MODULES)
def command(
    text: str, source: str, out: Path | None, part: Any, time: bool | None, posteriors: int,
    decoded: int, batch_size: int, threshold: float, tolerance: float, tasks: tuple[str, ...],
    device: str | None, seed: int | None, overrides: tuple[str, ...], as_json: bool,
    modules: tuple[str, ...],
) -> None:  # fmt: skip
    """Audit a VAE that was trained elsewhere: which factors matter, which are dead."""
    from attrs import evolve

    from seqvae_audit.auditing import examine
    from seqvae_audit.callables import imported
    from seqvae_audit.material import gather
    from seqvae_audit.options import Options
    from seqvae_audit.page import check_place
    from seqvae_audit.verdict import Rules
    from seqvae_core.errors import ConfigError

    plugins = load_plugins(modules)
    try:
        rules = Rules(threshold=threshold, dead=min(Rules().dead, threshold), tolerance=tolerance)
    except ValueError as error:  # NaN, which passes for any number before
        raise ConfigError(str(error)) from None
    settings = Options(
        posteriors=posteriors, decoded=decoded, batch_size=batch_size, rules=rules
    )  # fmt: skip
    place = out or Path("runs") / f"audit-{text.rpartition(':')[2]}"
    check_place(place)
    with redirect_stdout(sys.stderr):  # what the model itself prints is no result
        callables = evolve(imported(text), device=device)
        material = gather(source, plugins, overrides=overrides, part=part, time=time, seed=seed)
        if tasks:
            material = evolve(material, tasks=[name for name in tasks if name != "none"])
        found = examine(callables, material, settings, plugins, watch=_tell)
        path = found.write(place)
    for line in found.content["warnings"]:
        click.echo(f"warning: {line}", err=True)
    for task in found.findings.tasks:
        if task.state == "failed":
            click.echo(f"warning: task {task.name} failed: {task.why}", err=True)
    if as_json:
        click.echo(found.json(), nl=False)
    else:
        _print(found, path)


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _print(found: "Audit", path: Path) -> None:
    rows = found.content["factors"]
    shown = [
        {
            "factor": row["factor"], "verdict": row["status"], "I_M": row["mi"],
            "standard error": row["mi_stderr"], "upper bound": row["upper"], "KL": row["kl"],
            "effect, %": None if row["effect"] is None else 100.0 * row["effect"],
        }
        for row in rows[:_ROWS]
    ]  # fmt: skip
    print_rows(shown, False, title="factors, strongest first")
    if len(rows) > _ROWS:
        click.echo(f"... and {len(rows) - _ROWS} more")
    for sentence in found.content["verdict"]["sentences"]:
        click.echo(sentence)
    click.echo(f"audit: {os.path.relpath(path)}")
