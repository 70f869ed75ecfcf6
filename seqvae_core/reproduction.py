"""Reproduce a study: what is to be done, cells trained in processes of their own, the page."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import IO, Any, Literal

from attrs import define, field, frozen

from seqvae_core import files, ledger, sources
from seqvae_core.devices import deferred_signals
from seqvae_core.errors import ConfigError, PluginError
from seqvae_core.ledger import Ledger
from seqvae_core.plugins import Plugins
from seqvae_core.study import Cell, Record, Study

__all__ = ["Entry", "Workers", "expected_seconds", "plan", "write_page"]

_PAUSE = 0.1  # seconds between two looks at the running cells


# What is to be done ------------------------------------------------------------------------------


@frozen(kw_only=True)
class Entry:
    """A cell of the plan.

    Attributes:
        cell: itself, with stand-ins such as "{timit}" for paths.
        settings: its experiment as plain data.
        recorded: whether there is a record of it.
        changed: the setting that was another when it was recorded, empty if none was.
        missing: the roots that it needs and that are not given.
    """

    cell: Cell
    settings: Mapping[str, Any] = field(repr=False)
    recorded: bool
    changed: str
    missing: tuple[str, ...]

    @property
    def state(self) -> Literal["done", "to do", "stale", "left out"]:
        """What it is in one word: a stale cell has a record of other settings."""
        if self.recorded:
            return "stale" if self.changed else "done"
        return "left out" if self.missing else "to do"

    def wanted(self, stale: bool) -> bool:
        """Return whether to train it, if stale cells are trained again or not."""
        return not self.missing and (self.state == "to do" or (stale and self.state == "stale"))


def plan(
    study: Study,
    plugins: Plugins,
    records: Mapping[str, Record],
    *,
    roots: Collection[str] = (),
    only: Sequence[str] = (),
    seeds: Collection[int] | None = None,
) -> list[Entry]:
    """Return what there is to do of a study, cell by cell, in its order.

    Args:
        study: what to reproduce.
        plugins: where its presets are.
        records: by key, those there are.
        roots: the names of the roots that are given.
        only: patterns of keys or groups, such as "timit/*"; all cells if none.
        seeds: all if None.

    Raises:
        ConfigError: if nothing fits `only` and `seeds`, or a cell's preset or override is wrong.
        PluginError: if two cells are in each other's way.
    """
    cells = _cells(study)
    chosen = [
        cell for cell in cells
        if (seeds is None or cell.seed in seeds)
        and (not only or any(fnmatchcase(name, each) for name in (cell.key, cell.group)
                             for each in only))
    ]  # fmt: skip
    if not chosen:
        seen = [cell.key for cell in cells] if len(cells) < 10 else [cell.group for cell in cells]
        raise ConfigError(f"no cell of '{study.name}' was asked for; known: "
                          f"{', '.join(dict.fromkeys(seen)) or 'none'}")  # fmt: skip
    return [_entry(cell, study, plugins, records.get(cell.key), roots) for cell in chosen]


def _cells(study: Study) -> list[Cell]:
    cells = list(study.cells({name: Path(_stand_in(name)) for name in study.roots}))
    keys = Counter(cell.key for cell in cells)
    if twice := [key for key, count in keys.items() if count > 1]:
        raise PluginError(f"study '{study.name}' has two cells '{twice[0]}'")
    folders = {str(folder) for key in keys for folder in Path(key).parents}
    if inside := sorted(folders & keys.keys()):
        raise PluginError(f"study '{study.name}' has cells within the cell '{inside[0]}'")
    return cells


def _stand_in(root: str) -> str:
    return f"{{{root}}}"


def _entry(
    cell: Cell, study: Study, plugins: Plugins, record: Record | None, roots: Collection[str]
) -> Entry:
    settings = _settings(cell, plugins)
    text = " ".join(cell.overrides)
    missing = [name for name in study.roots if _stand_in(name) in text and name not in roots]
    return Entry(
        cell=cell, settings=settings, recorded=record is not None,
        changed=ledger.difference(record["settings"], settings) if record else "",
        missing=tuple(missing),
    )  # fmt: skip


def _settings(cell: Cell, plugins: Plugins) -> dict[str, Any]:
    """Return a cell's experiment as plain data without a path of this machine."""
    try:
        found = sources.read(cell.source, plugins, [*cell.overrides, f"seed={cell.seed}"])
    except ConfigError as error:
        raise type(error)(f"cell {cell.key}: {error}") from None
    data = found.get("data")
    if isinstance(data, dict) and Path(cell.source).is_file():
        folder = f"{Path(cell.source).resolve().parent}/"
        found["data"] = {
            key: value.removeprefix(folder) if isinstance(value, str) else value
            for key, value in data.items()
        }
    return found


def expected_seconds(cell: Cell, records: Iterable[Record]) -> float | None:
    """Return how long a cell may take: the median of its source and group, None if unknown."""
    source = Path(cell.source).name
    known = [
        record["seconds"] for record in records
        if (record["source"], record["group"]) == (source, cell.group)
    ]  # fmt: skip
    return median(known) if known else None


def write_page(study: Study, book: Ledger) -> Path | None:
    """Write a study's page from all records of its cells; return its path, None without any.

    Raises:
        PluginError: if the study does not write it.
    """
    with book.locked():
        found = book.read()
        records = [found[cell.key] for cell in _cells(study) if cell.key in found]
        if not records:
            return None
        study.page(records, book.page.parent)
    if not book.page.is_file():
        raise PluginError(f"study '{study.name}' wrote no {book.page}")
    return book.page


# Training ----------------------------------------------------------------------------------------


@define
class _Child:
    """A cell that is being trained; the claim is shared with the process that trains it."""

    entry: Entry
    run: Path
    log: Path
    claim: IO[bytes]
    process: subprocess.Popen[bytes]
    begun: float
    seconds: float = 0.0
    usage: Any = None

    def ended(self) -> bool:
        """Return whether the process has ended, and then keep what it used."""
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid:
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.usage = usage
            self.seconds = time.monotonic() - self.begun
        return bool(pid)

    def stop(self) -> None:
        """End the process, and those that it started."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.claim.close()

    def fault(self) -> str:
        """Return the line that says why the process failed, empty if it did not."""
        code = self.process.returncode
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return (last or f"exit code {code}") if code else ""


@define(kw_only=True)
class Workers:
    """Processes that train a study's cells, side by side with those of any other `Workers`.

    Attributes:
        study: whose cells they are.
        book: where their records are.
        runs: the folder of the run directories, KEY of each cell.
        roots: the user's paths by name.
        modules: plugin modules that the processes load too.
        jobs: how many at a time.
        keep: whether run directories stay when they have a record.
        watch: called with a line for each thing that happens.
    """

    study: Study
    book: Ledger
    runs: Path
    roots: Mapping[str, Path] = field(factory=dict)
    modules: Sequence[str] = ()
    jobs: int = 1
    keep: bool = False
    watch: Callable[[str], None] = lambda line: None

    def train(self, entries: Iterable[Entry]) -> dict[str, str]:
        """Train cells and record each; return what failed, by key: the line that says why.

        A cell that another process has claimed is waited for, and trained if that one leaves no
        record. When this is interrupted, the running cells are stopped and lost.

        Raises:
            SeqVAEError: if a record cannot be read or written.
        """
        waiting, running = list(entries), list[_Child]()
        failed: dict[str, str] = {}
        idle = False
        with self.book.locked():  # a folder that cannot be written to is refused before the hours
            pass
        try:
            with deferred_signals() as stopped:
                while waiting or running:
                    if stopped():
                        raise KeyboardInterrupt
                    self._fill(waiting, running)
                    if not running and waiting and not idle:
                        self.watch(f"waiting for {len(waiting)} that another process trains")
                    idle = not running
                    for child in [child for child in running if child.ended()]:
                        running.remove(child)
                        said = f"is done, {child.seconds:.0f} s"
                        if fault := self._finish(child):
                            failed[child.entry.cell.key] = fault
                            said = f"failed: {fault}; see {child.log}"
                        left = len(waiting) + len(running)
                        self.watch(f"{child.entry.cell.key} {said}; {left} left")
                    time.sleep(_PAUSE)
        finally:
            for child in running:
                child.stop()
        return failed

    def _fill(self, waiting: list[Entry], running: list[_Child]) -> None:
        """Start what there is room for and nobody else has claimed."""
        for entry in list(waiting):
            if len(running) == self.jobs:
                return
            run = self.runs / entry.cell.key
            claim = ledger.claim(run.with_name(f"{run.name}.lock"))
            if claim is None:
                continue
            waiting.remove(entry)
            record = self.book.read().get(entry.cell.key)
            if record and not ledger.difference(record["settings"], entry.settings):
                ledger.release(claim)
                self.watch(f"{entry.cell.key} was done by another process")
            else:
                running.append(self._start(entry, run, claim))

    def _start(self, entry: Entry, run: Path, claim: IO[bytes]) -> _Child:
        for leftover in run.glob(".*.tmp"):  # of a kill before the run could be known as one
            leftover.unlink()
        log = run.with_name(f"{run.name}.log")
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "seqvae_core", *self._arguments(entry.cell, run)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
                # Whoever is killed, the claim stands until the cell's own process is gone too.
                pass_fds=[claim.fileno()],
            )  # fmt: skip
        return _Child(entry, run, log, claim, process, time.monotonic())

    def _arguments(self, cell: Cell, run: Path) -> list[str]:
        overrides = [*cell.overrides, f"seed={cell.seed}"]
        for name, path in self.roots.items():
            overrides = [text.replace(_stand_in(name), str(path)) for text in overrides]
        options = [*(("--set", text) for text in overrides), *(("-p", m) for m in self.modules)]
        words = [word for option in options for word in option]
        return ["train", cell.source, *words, "--out", str(run), "--force"]

    def _finish(self, child: _Child) -> str:
        """Record an ended cell and clean up; return what was wrong with it."""
        fault, line = child.fault(), ""
        if not fault:
            try:
                line = json.dumps(self._record(child))
                self._keep_pictures(child.run)
            except Exception as error:  # of the plugin: the other cells go on
                fault = " ".join(f"{type(error).__name__}: {error}".split())
        if fault:
            child.claim.close()
            return fault
        self.book.write(child.entry.cell.key, line)
        if not self.keep:
            rmtree(child.run)
        child.log.unlink()
        ledger.release(child.claim)
        return ""

    def _keep_pictures(self, run: Path) -> None:
        for name, content in self.study.pictures(run).items():
            path = self.book.page.with_name(f"{self.study.name}-{name}.png")
            files.write_atomic(path, content)

    def _record(self, child: _Child) -> Record:
        cell = child.entry.cell
        return {
            "key": cell.key,
            "group": cell.group,
            "source": Path(cell.source).name,
            "overrides": list(cell.overrides),
            "seed": cell.seed,
            "figures": {**ledger.figures(child.run), **self.study.measure(child.run)},
            "seconds": round(child.seconds, 1),
            **ledger.used(child.usage),
            **ledger.environment(child.run),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": child.entry.settings,
        }
