"""The run directory: who may begin one, what is noted in it, and what a resumed run may change."""

import json
import platform
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import torch

from seqvae_core import files
from seqvae_core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from seqvae_core.experiment import Experiment
    from seqvae_core.plugins import Plugins

__all__ = ["begin", "check_free", "check_unchanged", "precision_of", "write_json"]

_NOTED = ("experiment.toml", "plugins.json", "environment.json")
_FREE_TRAIN = {
    "steps", "keep", "checkpoint_every", "valid_every", "log_every", "patience", "workers",
    "pin_memory", "threads",
}  # fmt: skip
_FREE_DATA = {"cache", "folder", "path", "path_test", "path_train", "root"}


def check_free(path: Path, force: bool) -> None:
    """Refuse a run directory that holds something, unless that is a run and may be deleted.

    Raises:
        ConfigError: naming what is in the way.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"the run directory {path} is a file")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not force:
        raise ConfigError(
            f"the run directory {path} is not empty; resume it, or train with --force"
        )
    if not all((path / name).is_file() for name in _NOTED):
        raise ConfigError(f"{path} is not empty and holds no run: not deleted")
    if Path.cwd().is_relative_to(path.resolve()):
        raise ConfigError(f"{path} holds the working directory: not deleted")


def begin(
    path: Path, experiment: "Experiment", plugins: "Plugins", fabric: "Fabric", precision: str,
    force: bool,
) -> None:  # fmt: skip
    """Make the run directory, in the place of an earlier run's if that may be deleted.

    Raises:
        CheckpointError: if the disk refuses, or another process was first.
        ConfigError: if it is not free any more.
    """
    check_free(path, force)
    try:
        if path.is_dir():
            shutil.rmtree(path)
        path.mkdir(parents=True)
    except OSError as error:
        raise CheckpointError(f"cannot make {path}: {error.strerror}") from None
    files.write_atomic(path / "experiment.toml", experiment.to_toml())
    write_json(path / "plugins.json", [plugin.describe() for plugin in plugins.all])
    write_json(path / "environment.json", _environment(fabric, precision))


def write_json(path: Path, content: Any) -> None:
    """Write plain data, what JSON has no form for as text."""
    files.write_atomic(path, json.dumps(content, indent=1, default=str) + "\n")


def _environment(fabric: "Fabric", precision: str) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "devices": fabric.world_size,
        "device": str(fabric.device),
        "precision": precision,
    }


def precision_of(run: Path, asked: str | None) -> str:
    """Return the precision that a run began with.

    Raises:
        ConfigError: if another is asked for.
    """
    noted = files.read_json(run / "environment.json", missing={})
    began = str(noted.get("precision", asked or "32-true"))
    if asked not in (None, began):
        raise ConfigError(f"{run} was trained with precision '{began}', got '{asked}'")
    return began


def check_unchanged(run: Path, start: Path) -> None:
    """Refuse an `experiment.toml` that says other things than the checkpoint's own.

    Where data lie, how long and on how many threads is trained, what is logged and kept, and
    which tasks are run may change; the rest made the weights what they are.

    Raises:
        ConfigError: naming the first setting that differs.
    """
    now, then = (_settings(folder / "experiment.toml") for folder in (run, start))
    for key in sorted(now.keys() | then.keys()):
        if now.get(key) != then.get(key) and not _free(key):
            raise ConfigError(
                f"{run / 'experiment.toml'}: {'.'.join(key)} is {_said(now.get(key))}, and "
                f"{start.name} was written with {_said(then.get(key))}: train anew, or put it back"
            )


def _said(value: Any) -> str:
    return "not given" if value is None else shorten(repr(value), 80, placeholder=" ...")


def _free(key: tuple[str, ...]) -> bool:
    section, *rest = key
    if section == "train":
        return rest[0] in _FREE_TRAIN
    return section == "tasks" or (section == "data" and not _FREE_DATA.isdisjoint(rest))


def _settings(path: Path) -> dict[tuple[str, ...], Any]:
    with files.reading(path):
        return dict(_flat(tomllib.loads(path.read_text(encoding="utf-8"))))


def _flat(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*above, key))
        else:
            yield (*above, key), value
