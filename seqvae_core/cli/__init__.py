"""The command line. Results go to stdout, everything else to stderr; torch is imported late."""

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from seqvae_core.cli.brought import Commands
from seqvae_core.cli.options import (
    DEVICES,
    JSON,
    MODULES,
    PRECISION,
    SET,
    load_plugins,
    options,
)
from seqvae_core.cli.printing import (
    conclude,
    print_metrics,
    print_report,
    print_rows,
    print_tables,
    watching,
)
from seqvae_core.cli.reproduce import reproduce
from seqvae_core.errors import SeqVAEError

__all__ = ["cli", "main"]


@click.group(
    cls=Commands, commands=[reproduce], context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="seqvae", message="seqvae %(version)s")
def cli() -> None:
    """Sequential VAEs with global and local latents, every part a plugin."""


@cli.command()
@click.argument("source", metavar="PRESET|FILE")
@options(SET, DEVICES, PRECISION, MODULES)
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
    with watching(experiment.train.steps) as watch:
        run = runs.train(
            experiment, path, plugins=plugins, devices=devices, precision=precision, force=force,
            watch=watch,
        )  # fmt: skip
    conclude(run)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@options(DEVICES, MODULES)
@click.option("--precision", help="The run's own, which is taken if left out.")
def resume(run: Path, devices: int, precision: str | None, modules: tuple[str, ...]) -> None:
    """Continue a run that was cut off, from its newest checkpoint."""
    from seqvae_core import checkpoint, runs

    plugins = load_plugins(modules)
    experiment = checkpoint.read_experiment(run, plugins)
    with watching(experiment.train.steps) as watch:
        done = runs.resume(run, plugins=plugins, devices=devices, precision=precision, watch=watch)
    conclude(done)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only these tasks.")
@options(SET, JSON, MODULES)
def evaluate(
    run: Path, tasks: tuple[str, ...], overrides: tuple[str, ...], as_json: bool,
    modules: tuple[str, ...],
) -> None:  # fmt: skip
    """Evaluate a run, with --set data.root=... on other data."""
    from seqvae_core import runs

    metrics = runs.evaluate(run, tasks=tasks, overrides=overrides, plugins=load_plugins(modules))
    if as_json:
        click.echo(json.dumps(metrics, indent=1))
    elif overrides:
        print_metrics(metrics)
        click.echo("other settings than the run's own: nothing written", err=True)
    else:
        print_tables(run, list(metrics))


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@MODULES
def report(run: Path, modules: tuple[str, ...]) -> None:
    """Write a run's report anew from what is stored."""
    from seqvae_core import runs

    runs.report(run, plugins=load_plugins(modules))
    print_report(run)


@cli.command()
@click.argument("source", metavar="PRESET|FILE")
@options(SET, MODULES)
def show(source: str, overrides: tuple[str, ...], modules: tuple[str, ...]) -> None:
    """Print the fully resolved experiment as TOML."""
    click.echo(_experiment(source, overrides, modules)[1].to_toml(), nl=False)


@cli.command()
@click.argument("source", metavar="PRESET|FILE")
@options(SET, JSON, MODULES)
@click.option("--picture", type=click.Path(path_type=Path), help="PNG; else runs/NAME-data.png.")
@click.option("--limit", type=click.IntRange(min=1), default=2000, show_default=True,
              help="Sequences of each part to read.")  # fmt: skip
def data(
    source: str, overrides: tuple[str, ...], as_json: bool, modules: tuple[str, ...],
    picture: Path | None, limit: int,
) -> None:  # fmt: skip
    """Describe the data that would be trained on, and draw some of them."""
    from seqvae_core import data_picture, describe
    from seqvae_core.cli.description import print_description

    experiment = _experiment(source, overrides, modules)[1]
    splits = describe.build_splits(experiment)
    found = describe.describe(experiment, splits, limit=limit)
    path = picture or Path("runs") / f"{Path(source).stem}-data.png"
    drawn = data_picture.write(path, splits, found, experiment.seed)
    if as_json:
        click.echo(json.dumps({**found, "picture": str(path) if drawn else None}, indent=1))
    else:
        print_description(found)
    if not drawn:
        click.echo("no picture: that needs matplotlib, pip install 'seqvae[report]'", err=True)
    elif not as_json:
        click.echo(f"picture: {os.path.relpath(path)}")


@cli.command()
@options(JSON, MODULES)
def presets(as_json: bool, modules: tuple[str, ...]) -> None:
    """List the ready experiments."""
    plugins = load_plugins(modules)
    rows = [
        {"name": name, "summary": preset.summary, "reference": preset.reference,
         "plugin": plugins.provider("preset", name).name}
        for name, preset in plugins.components("preset").items()
    ]  # fmt: skip
    print_rows(rows, as_json)


@cli.command()
@click.argument("kind", required=False)
@options(JSON, MODULES)
def components(kind: str | None, as_json: bool, modules: tuple[str, ...]) -> None:
    """List the components, of all kinds or of one."""
    from seqvae_core.components import KINDS
    from seqvae_core.errors import ConfigError
    from seqvae_core.plugins import did_you_mean

    plugins = load_plugins(modules)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"unknown kind '{kind}'{did_you_mean(kind, KINDS)}")
    rows = [
        {"kind": each, "name": name, "plugin": plugins.provider(each, name).name,
         "summary": (found.__doc__ or "").strip().split("\n")[0]}
        for each in ([kind] if kind else KINDS)
        for name, found in plugins.components(each).items()
    ]  # fmt: skip
    print_rows(rows, as_json)


@cli.command("plugins")
@options(JSON, MODULES)
def plugins_(as_json: bool, modules: tuple[str, ...]) -> None:
    """List the plugins, those left out too, each with the reason."""
    plugins = load_plugins(modules, quiet=True)
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
    print_rows(rows, False)


# Loading -----------------------------------------------------------------------------------------


def _experiment(source: str, overrides: tuple[str, ...], modules: tuple[str, ...]) -> Any:
    from seqvae_core.experiment import Experiment

    plugins = load_plugins(modules)
    return plugins, Experiment.load(source, plugins, list(overrides))


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
