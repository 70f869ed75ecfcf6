"""The command line. Results go to stdout, everything else to stderr; torch is imported late."""

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqvae_core.errors import SeqVAEError

if TYPE_CHECKING:
    from rich.console import Console

    from seqvae_core.plugins import Plugins
    from seqvae_core.records import Run

__all__ = ["main"]

_Command = Callable[..., Any]


def _options(*options: _Command) -> Callable[[_Command], _Command]:
    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_modules = click.option("-p", "modules", multiple=True, metavar="MODULE",
                        help="Load a plugin module or a single .py file too.")  # fmt: skip
_set = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
                    help="Override a setting, such as train.steps=20.")  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON only.")
_devices = click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True,
                        help="Processes to train on.")  # fmt: skip
_precision = click.option("--precision", default="32-true", show_default=True,
                          help="Such as bf16-mixed or 64-true.")  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="seqvae", message="seqvae %(version)s")
def cli() -> None:
    """Sequential VAEs with global and local latents, every part a plugin."""


@cli.command()
@click.argument("source", metavar="PRESET|FILE")
@_options(_set, _devices, _precision, _modules)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory; else runs/NAME.")
@click.option("--force", is_flag=True, help="Delete the run that stands in the way.")
def train(
    source: str, overrides: tuple[str, ...], devices: int, precision: str,
    modules: tuple[str, ...], out: Path | None, force: bool,
) -> None:  # fmt: skip
    """Train an experiment, evaluate it and write its report."""
    from seqvae_core import runs

    plugins, experiment = _experiment(source, overrides, modules)
    path = out or Path("runs") / Path(source).stem
    with _progress(experiment.train.steps) as watch:
        run = runs.train(
            experiment, path, plugins=plugins, devices=devices, precision=precision, force=force,
            watch=watch,
        )  # fmt: skip
    _conclude(run)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@_options(_devices, _precision, _modules)
def resume(run: Path, devices: int, precision: str, modules: tuple[str, ...]) -> None:
    """Continue a run that was cut off, from its newest checkpoint."""
    from seqvae_core import checkpoint, runs

    plugins = _plugins(modules)
    experiment = checkpoint.read_experiment(run, plugins)
    with _progress(experiment.train.steps) as watch:
        done = runs.resume(run, plugins=plugins, devices=devices, precision=precision, watch=watch)
    _conclude(done)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only these tasks.")
@_options(_set, _json, _modules)
def evaluate(
    run: Path, tasks: tuple[str, ...], overrides: tuple[str, ...], as_json: bool,
    modules: tuple[str, ...],
) -> None:  # fmt: skip
    """Evaluate a run, with --set data.root=... on other data."""
    from seqvae_core import runs

    metrics = runs.evaluate(run, tasks=tasks, overrides=overrides, plugins=_plugins(modules))
    if as_json:
        click.echo(json.dumps(metrics, indent=1))
    elif overrides:
        _print_metrics(metrics)
        click.echo("other settings than the run's own: nothing written", err=True)
    else:
        _print_tables(run, list(metrics))


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@_modules
def report(run: Path, modules: tuple[str, ...]) -> None:
    """Write a run's report anew from what is stored."""
    from seqvae_core import runs

    runs.report(run, plugins=_plugins(modules))
    _print_report(run)


@cli.command()
@click.argument("source", metavar="PRESET|FILE")
@_options(_set, _modules)
def show(source: str, overrides: tuple[str, ...], modules: tuple[str, ...]) -> None:
    """Print the fully resolved experiment as TOML."""
    click.echo(_experiment(source, overrides, modules)[1].to_toml(), nl=False)


@cli.command()
@_options(_json, _modules)
def presets(as_json: bool, modules: tuple[str, ...]) -> None:
    """List the ready experiments."""
    plugins = _plugins(modules)
    rows = [
        {"name": name, "summary": preset.summary, "reference": preset.reference,
         "plugin": plugins.provider("preset", name).name}
        for name, preset in plugins.components("preset").items()
    ]  # fmt: skip
    _print_rows(rows, as_json)


@cli.command()
@click.argument("kind", required=False)
@_options(_json, _modules)
def components(kind: str | None, as_json: bool, modules: tuple[str, ...]) -> None:
    """List the components, of all kinds or of one."""
    from seqvae_core.errors import ConfigError
    from seqvae_core.plugins import KINDS, did_you_mean

    plugins = _plugins(modules)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"unknown kind '{kind}'{did_you_mean(kind, KINDS)}")
    rows = [
        {"kind": each, "name": name, "plugin": plugins.provider(each, name).name,
         "summary": (found.__doc__ or "").strip().split("\n")[0]}
        for each in ([kind] if kind else KINDS)
        for name, found in plugins.components(each).items()
    ]  # fmt: skip
    _print_rows(rows, as_json)


@cli.command("plugins")
@_options(_json, _modules)
def plugins_(as_json: bool, modules: tuple[str, ...]) -> None:
    """List the plugins, those left out too, each with the reason."""
    plugins = _plugins(modules, quiet=True)
    described = [plugin.describe() for plugin in sorted(plugins.all, key=lambda p: p.name)]
    if as_json:
        click.echo(json.dumps(described, indent=1))
        return
    rows = [
        {"name": item["name"], "status": item["status"],
         "distribution": f"{item['distribution'] or '-'} {item['version'] or ''}".strip(),
         "provides": item["error"] or ", ".join(f"{len(names)} {kind}" for kind, names in
                                                item["provides"].items() if names) or "observers"}
        for item in described
    ]  # fmt: skip
    _print_rows(rows, False)


# Loading -----------------------------------------------------------------------------------------


def _plugins(modules: tuple[str, ...], *, quiet: bool = False) -> "Plugins":
    from seqvae_core.plugins import Plugins

    plugins = Plugins.load(modules)
    for plugin in [] if quiet else plugins.failures:
        click.echo(f"plugin {plugin.origin} left out: {plugin.error}", err=True)
    return plugins


def _experiment(source: str, overrides: tuple[str, ...], modules: tuple[str, ...]) -> Any:
    from seqvae_core.experiment import Experiment

    plugins = _plugins(modules)
    return plugins, Experiment.load(source, plugins, list(overrides))


# Printing ----------------------------------------------------------------------------------------


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    return Console(stderr=stderr, highlight=False, width=width)


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    from rich import progress

    bar = progress.Progress(
        progress.TextColumn("step {task.completed}/{task.total}"), progress.BarColumn(),
        progress.TextColumn("{task.description}"), progress.TimeRemainingColumn(compact=True),
        progress.TextColumn("left"), console=_console(stderr=True),
    )  # fmt: skip
    task = bar.add_task("", total=steps)

    def watch(step: int, metrics: dict[str, float]) -> None:
        bar.start()  # not before: data that cannot be read shall leave one line, their error
        text = f"{metrics['loss_per_frame']:.3f} nats/frame"
        bar.update(task, completed=step, description=text)

    try:
        yield watch
    finally:
        if bar.live.is_started:
            bar.stop()


def _conclude(run: "Run") -> None:
    if all(os.environ.get(key, "0") == "0" for key in ("LOCAL_RANK", "RANK")):
        _print_tables(run.path, [task.label or task.name for task in run.experiment.tasks])
        _print_report(run.path)


def _print_tables(run: Path, tasks: list[str]) -> None:
    """Print each task's first table; the others, and the notes, are in the report."""
    for task in tasks:
        stored = json.loads((run / "evaluation" / f"{task}.json").read_text())
        for title, rows in list(stored["tables"].items())[:1]:
            name = task if title.startswith(task) else f"{task}: {title}"
            _print_rows(rows, False, title=name)


def _print_report(run: Path) -> None:
    path = run / "report.html"
    if path.is_file():
        click.echo(f"report: {os.path.relpath(path)}")
    else:
        click.echo(f"no report in {run}: no plugin wrote one", err=True)


def _print_metrics(metrics: dict[str, dict[str, float]]) -> None:
    rows = [{"task": task, "metric": name, "value": value}
            for task, values in metrics.items() for name, value in values.items()]  # fmt: skip
    _print_rows(rows, False)


def _print_rows(rows: list[dict[str, Any]], as_json: bool, title: str | None = None) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        numeric = all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    _console().print(table)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def _line(message: object) -> str:
    return " ".join(str(message).split())


def main() -> None:
    """Run the command line: exit 0, 2 for a user's error, 130 on Ctrl-C."""
    warnings.showwarning = lambda message, *_: click.echo(f"warning: {_line(message)}", err=True)
    try:
        code = cli.main(standalone_mode=False)
    except SeqVAEError as error:
        click.echo(str(error), err=True)
        code = 2
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        click.echo(_line(error.format_message()), err=True)
        code = 2
    except BrokenPipeError:  # `seqvae components | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = 128 + signal.SIGINT
    sys.exit(code)
