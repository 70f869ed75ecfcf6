"""What the commands print: tables and results to stdout, progress to stderr."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from seqvae_core.records import Run

__all__ = ["conclude", "print_metrics", "print_report", "print_rows", "print_tables", "watching"]


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    return Console(stderr=stderr, highlight=False, width=width)


@contextmanager
def watching(steps: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Yield what shows a step's metrics in a bar that ends at `steps`."""
    from rich import progress

    bar = progress.Progress(
        progress.TextColumn("step {task.completed}/{task.total}"), progress.BarColumn(),
        progress.TextColumn("{task.description}"), progress.TimeRemainingColumn(compact=True),
        progress.TextColumn("left"), console=_console(stderr=True),
    )  # fmt: skip
    task = bar.add_task("", total=steps)

    def watch(step: int, metrics: dict[str, float]) -> None:
        bar.start()  # not before: data that cannot be read shall leave one line, their error
        text = f"{metrics['loss_per_frame']:.3f} nats/frame, {metrics['padding']:.0%} padding"
        bar.update(task, completed=step, description=text)

    try:
        yield watch
    finally:
        if bar.live.is_started:
            bar.stop()


def conclude(run: "Run") -> None:
    """Print a finished run's tables and where its report is, once for all devices."""
    if all(os.environ.get(key, "0") == "0" for key in ("LOCAL_RANK", "RANK")):
        print_tables(run.path, [task.label or task.name for task in run.experiment.tasks])
        print_report(run.path)


def print_tables(run: Path, tasks: list[str]) -> None:
    """Print each task's first table, or why it has none; all else is in the report."""
    for task in tasks:
        stored = json.loads((run / "evaluation" / f"{task}.json").read_text())
        for note in [] if stored["tables"] else stored["notes"]:
            click.echo(f"{task}: {note}", err=True)
        for title, rows in list(stored["tables"].items())[:1]:
            name = task if title.startswith(task) else f"{task}: {title}"
            print_rows(rows, False, title=name)


def print_report(run: Path) -> None:
    """Print where a run's report is."""
    path = run / "report.html"
    if path.is_file():
        click.echo(f"report: {os.path.relpath(path)}")
    else:
        click.echo(f"no report in {run}: no plugin wrote one", err=True)


def print_metrics(metrics: dict[str, dict[str, float]]) -> None:
    """Print metrics by task and name as one table."""
    rows = [{"task": task, "metric": name, "value": value}
            for task, values in metrics.items() for name, value in values.items()]  # fmt: skip
    print_rows(rows, False)
    for task in [task for task, values in metrics.items() if not values]:
        click.echo(f"{task}: no numbers", err=True)


def print_rows(rows: list[dict[str, Any]], as_json: bool, title: str | None = None) -> None:
    """Print rows, which map a column to what it shows, as a table or as JSON."""
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        # a name is to be copied whole, so it alone is never broken
        table.add_column(column, justify="right" if numeric else "left", overflow="fold",
                         no_wrap=column == "name")  # fmt: skip
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    _console().print(table)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
