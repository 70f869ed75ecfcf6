"""A study's records: what is kept of each finished cell, one line of JSON, and who may write it."""

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from seqvae_core import files
from seqvae_core.errors import DataError
from seqvae_core.study import Record

__all__ = ["Ledger", "claim", "difference", "environment", "figures", "release", "used"]


class Ledger:
    """The records of one study, `NAME.jsonl` in a folder, shared by any number of processes.

    Args:
        folder: where it is, and the study's page.
        name: the study's.
    """

    def __init__(self, folder: Path, name: str):
        self.path = folder / f"{name}.jsonl"
        self.page = folder / f"{name}.md"
        self._lock = folder / f".{name}.lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing within the block."""
        with files.writing(self._lock):
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            file = self._lock.open("wb")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read(self) -> dict[str, Record]:
        """Return the records by their cells' keys, without half a line at the end.

        Raises:
            DataError: naming the line that is no record, or that repeats another's key.
        """
        return {key: json.loads(line) for key, line in self._lines().items()}

    def write(self, key: str, line: str) -> None:
        """Add a record as a line of JSON, in the place of the cell's older one if there is one.

        Raises:
            CheckpointError: if the disk refuses; the file is then as it was.
            DataError: if the file is damaged.
        """
        with self.locked():
            lines = {**self._lines(), key: line}
            files.write_atomic(self.path, "".join(f"{each}\n" for each in lines.values()))

    def _lines(self) -> dict[str, str]:
        if not self.path.is_file():
            return {}
        with files.reading(self.path):
            content = self.path.read_bytes()
        found: dict[str, str] = {}
        lines = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            key = _key(line)
            if key is None and number == len(lines):
                break
            if key is None:
                raise DataError(f"line {number} of {self.path} is no record of a cell")
            if key in found:
                raise DataError(f"line {number} of {self.path} repeats the cell {key}")
            found[key] = line.decode()
        return found


def _key(line: bytes) -> str | None:
    """Return the cell that a line is the record of, None if it is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    wanted: dict[str, Any] = {
        "key": str,
        "group": str,
        "source": str,
        "seconds": (int, float),
        "settings": dict,
    }
    if not isinstance(record, dict):
        return None
    whole = all(isinstance(record.get(name), kind) for name, kind in wanted.items())
    return record["key"] if whole else None


# Claims ------------------------------------------------------------------------------------------


def claim(path: Path) -> IO[bytes] | None:
    """Return a lock of a cell, held until it is closed; None if another process has it."""
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def release(file: IO[bytes]) -> None:
    """Give up the lock of a cell that has its record, which whoever claims it next will find."""
    Path(file.name).unlink(missing_ok=True)
    file.close()


# What a record holds -----------------------------------------------------------------------------


def figures(run: Path) -> dict[str, Any]:
    """Return a run's figures: "TASK/METRIC" of its evaluation, "last/NAME" of its metrics' last."""
    evaluation = files.read_json(run / "evaluation.json", missing={})
    found = {f"{task}/{name}": value for task, values in evaluation.items()
             for name, value in values.items()}  # fmt: skip
    with files.reading(run / "metrics.jsonl"):
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            found |= {f"last/{name}": value for name, value in json.loads(line).items()}
    return found


def used(usage: Any) -> dict[str, float]:
    """Return what a process has used: seconds of the processor, and its memory's peak in MiB."""
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return {
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / unit),
    }


def environment(run: Path) -> dict[str, Any]:
    """Return the versions and the hardware that a run was trained with."""
    versions = {name: metadata.version(name) for name in ("seqvae", "torch", "numpy")}
    device = files.read_json(run / "environment.json")["device"]
    return {
        "versions": {**versions, "python": platform.python_version()},
        "hardware": {"device": device, "cores": os.cpu_count(), "processor": _processor()},
    }


def _processor() -> str:
    """Return the processor's name, or its architecture where the system does not tell."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the first setting that differs, such as "train.steps was 800, is 900", or nothing."""
    before, after = dict(_flat(then)), dict(_flat(now))
    for name in [*after, *before]:
        old, new = before.get(name), after.get(name)
        if old != new:
            return f"{name} was {_shown(old)}, is {_shown(new)}"
    return ""


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)
