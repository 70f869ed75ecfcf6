"""The command `reproduce`: studies, what is to be done of one, and doing it."""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqvae_core.cli.options import JSON, MODULES, load_plugins, options
from seqvae_core.cli.printing import print_rows
from seqvae_core.errors import ConfigError

if TYPE_CHECKING:
    from seqvae_core.ledger import Ledger
    from seqvae_core.plugins import Plugins
    from seqvae_core.reproduction import Entry
    from seqvae_core.study import Study

__all__ = ["reproduce"]


@click.command()
@click.argument("name", required=False)
@click.option("--root", "roots", multiple=True, metavar="ROOT=PATH",
              help="Where data that the study needs are.")  # fmt: skip
@click.option("--only", multiple=True, metavar="PATTERN",
              help="Only cells whose key or group fits, such as 'timit/*'.")  # fmt: skip
@click.option("--seeds", metavar="1-3,7", help="Only cells of these seeds.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True,
              help="Cells to train at a time.")  # fmt: skip
@click.option("--rerun-stale", is_flag=True, help="Train cells again whose settings have changed.")
@click.option("--dry-run", is_flag=True, help="Say what would be trained, and for how long.")
@click.option("--keep", is_flag=True, help="Keep the run directories of finished cells.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/results"),
              show_default=True, help="Folder of the records and the page.")  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path),
              help="Folder of the run directories; else runs/NAME.")  # fmt: skip
@options(JSON, MODULES)
def reproduce(
    name: str | None, roots: tuple[str, ...], only: tuple[str, ...], seeds: str | None, jobs: int,
    rerun_stale: bool, dry_run: bool, keep: bool, out: Path, runs: Path | None, as_json: bool,
    modules: tuple[str, ...],
) -> int:  # fmt: skip
    """Train what a paper's study lacks, and write its page; list the studies without NAME."""
    plugins = load_plugins(modules)
    if name is None:
        _list(plugins, as_json)
        return 0
    from seqvae_core.ledger import Ledger
    from seqvae_core.reproduction import Workers, plan, write_page

    study = plugins.get("study", name)
    places = _roots(study, roots)
    book = Ledger(out, name)
    look = partial(plan, study, plugins, roots=places, only=only, seeds=_seeds(seeds))
    entries = look(book.read())
    failed: dict[str, str] = {}
    page = None
    if not dry_run:
        workers = Workers(
            study=study, book=book, runs=runs or Path("runs") / name, roots=places,
            modules=modules, jobs=jobs, keep=keep, watch=lambda line: click.echo(line, err=True),
        )  # fmt: skip
        failed = workers.train(entry for entry in entries if entry.wanted(rerun_stale))
        page = write_page(study, book)
        entries = look(book.read())
    wanted = [entry for entry in entries if entry.wanted(rerun_stale)]
    if as_json:
        click.echo(json.dumps(_described(entries, wanted, book, jobs, failed, page), indent=1))
    else:
        _print(study, entries, wanted, book, jobs)
        if page:
            click.echo(f"page: {os.path.relpath(page)}")
        elif not dry_run:
            click.echo("no page: there are no records yet", err=True)
    return 1 if failed else 0


def _list(plugins: "Plugins", as_json: bool) -> None:
    rows = [
        {"name": name, "summary": study.summary, "reference": study.reference,
         "roots": ", ".join(study.roots), "plugin": plugins.provider("study", name).name}
        for name, study in plugins.components("study").items()
    ]  # fmt: skip
    print_rows(rows, as_json)


# What was asked for ------------------------------------------------------------------------------


def _roots(study: "Study", texts: Sequence[str]) -> dict[str, Path]:
    from seqvae_core.plugins import did_you_mean

    found = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise ConfigError(f"expected --root ROOT=PATH, got '{text}'")
        if name not in study.roots:
            raise ConfigError(f"study '{study.name}' has no root '{name}'"
                              f"{did_you_mean(name, study.roots)}")  # fmt: skip
        found[name] = Path(path).expanduser().absolute()
        if not found[name].exists():
            raise ConfigError(f"root '{name}' is not there: {found[name]}")
    return found


def _seeds(text: str | None) -> set[int] | None:
    if text is None:
        return None
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise ConfigError(f"expected --seeds such as 1-3,7, got '{text}'")
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


# What there is to do -----------------------------------------------------------------------------


def _seconds(wanted: Sequence["Entry"], book: "Ledger", jobs: int) -> tuple[float, int]:
    """Return how long cells may take, and of how many of them that is unknown."""
    from seqvae_core.reproduction import expected_seconds

    records = list(book.read().values())
    known = [expected_seconds(entry.cell, records) for entry in wanted]
    return sum(filter(None, known)) / jobs, known.count(None)


def _described(
    entries: Sequence["Entry"], wanted: Sequence["Entry"], book: "Ledger", jobs: int,
    failed: dict[str, str], page: Path | None,
) -> dict[str, Any]:  # fmt: skip
    seconds, unknown = _seconds(wanted, book, jobs)
    cells = [
        {"key": entry.cell.key, "group": entry.cell.group, "source": entry.cell.source,
         "seed": entry.cell.seed, "state": entry.state, "changed": entry.changed or None,
         "missing": list(entry.missing), "failed": failed.get(entry.cell.key)}
        for entry in entries
    ]  # fmt: skip
    return {"cells": cells, "seconds_left": None if unknown else seconds,
            "page": str(page) if page else None}  # fmt: skip


def _print(
    study: "Study", entries: Sequence["Entry"], wanted: Sequence["Entry"], book: "Ledger", jobs: int
) -> None:
    kinds = dict.fromkeys((entry.cell.source, entry.cell.group) for entry in entries)
    rows = []
    for source, group in kinds:
        here = [e for e in entries if (e.cell.source, e.cell.group) == (source, group)]
        states = Counter(entry.state for entry in here)
        left = [entry for entry in wanted if entry in here]
        rows.append({"source": source, "group": group, "done": states["done"],
                     "to do": states["to do"], "stale": states["stale"],
                     "left out": states["left out"],
                     "time": _time(*_seconds(left, book, jobs))})  # fmt: skip
    print_rows(rows, False)
    if wanted and len(rows) > 1:
        click.echo(f"time for all: {_time(*_seconds(wanted, book, jobs))}")
    for root, about in study.roots.items():
        if missing := [entry for entry in entries if root in entry.missing]:
            click.echo(f"{len(missing)} need --root {root}=PATH: {about}")
    if stale := [entry for entry in entries if entry.state == "stale"]:
        click.echo(f"{len(stale)} have records of other settings, trained again with "
                   f"--rerun-stale: {stale[0].cell.key}, {stale[0].changed}")  # fmt: skip


def _time(seconds: float, unknown: int) -> str:
    """Return a time as one says it, empty for no time at all."""
    if not seconds:
        return "unknown" if unknown else ""
    least = "more than" if unknown else "about"
    if seconds < 90:
        return f"{least} {seconds:.0f} s"
    return (
        f"{least} {seconds / 60:.0f} min" if seconds < 5400 else f"{least} {seconds / 3600:.1f} h"
    )
