"""Checkpoints: safetensors weights beside plain state that is never unpickled."""

import io
import json
import random
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from attrs import asdict

from seqvae_core.components import DataRequest
from seqvae_core.errors import CheckpointError, DataError
from seqvae_core.experiment import Experiment
from seqvae_core.files import (
    check_digest,
    digest,
    load_weights,
    read_json,
    reading,
    save_weights,
    write_atomic,
    writing,
)
from seqvae_core.loading import check_splits
from seqvae_core.model import SeqVAE, build_model
from seqvae_core.plugins import Plugins
from seqvae_core.records import Shapes, Splits, Variable

if TYPE_CHECKING:
    from seqvae_core.training import Trainer

__all__ = [
    "MetricsLog",
    "check_names",
    "latest",
    "load",
    "load_splits",
    "read_data",
    "read_experiment",
    "remove_partial",
    "restore",
    "save",
    "write_data",
]

_STEP = re.compile(r"step-\d{8,}")

# Checkpoints -------------------------------------------------------------------------------------


def save(folder: Path, trainer: "Trainer", experiment: str) -> Path:
    """Write a checkpoint of all ranks as `checkpoints/step-N`, and drop the oldest.

    Raises:
        CheckpointError: if a parameter is not finite or the disk refuses; older ones are kept.
    """
    fabric = trainer.fabric
    modules = {"model": trainer.model, "objective": trainer.objective}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise CheckpointError(f"no checkpoint at step {trainer.step}: {name}.{key} has NaN")
    target = folder / f"step-{trainer.step:08d}"
    partial = folder / f".{target.name}.tmp"
    with writing(target):
        if fabric.is_global_zero:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        fabric.barrier()
        _write_state(partial / f"rank-{fabric.global_rank}.pt", _rank_state(trainer))
        fabric.barrier()
        if fabric.is_global_zero:
            state = {"world": fabric.world_size, **trainer.state_dict()}
            _write_state(partial / "state.pt", state)
            files = {path.name: digest(path.read_bytes()) for path in partial.glob("*.pt")}
            write_atomic(partial / "digests.json", json.dumps(files))
            save_weights(partial / "weights.safetensors", modules, {"step": trainer.step})
            write_atomic(partial / "experiment.toml", experiment)
        fabric.barrier()
        if fabric.is_global_zero:
            if target.exists():  # a resumed run that was stopped again at the same step
                shutil.rmtree(target)
            partial.rename(target)
            for old in _steps(folder)[: -trainer.config.keep]:
                shutil.rmtree(old)
    fabric.barrier()
    return target


def restore(path: Path, trainer: "Trainer") -> None:
    """Put a trainer where the checkpoint was taken: weights, optimisers, every stream of numbers.

    Raises:
        CheckpointError: if it is damaged, of another format, or of another number of ranks.
    """
    modules = {"model": trainer.model, "objective": trainer.objective}
    load_weights(path / "weights.safetensors", modules)
    files = read_json(path / "digests.json")
    state = _read_state(path / "state.pt", files)
    if state["world"] != trainer.fabric.world_size:
        raise CheckpointError(
            f"{path} was written by {state['world']} devices, not {trainer.fabric.world_size}"
        )
    trainer.load_state_dict(state)
    rank = _read_state(path / f"rank-{trainer.fabric.global_rank}.pt", files)
    trainer.noise.load_state_dict(rank["noise"])
    _set_generators(rank)


def _write_state(path: Path, state: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def _read_state(path: Path, files: Mapping[str, str]) -> dict[str, Any]:
    with reading(path):
        content = path.read_bytes()
        check_digest(path, digest(content), files.get(path.name))
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
    return state


def _rank_state(trainer: "Trainer") -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "noise": trainer.noise.state_dict(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": random.getstate(),
        "numpy": [name, np.asarray(keys).tolist(), *rest],
    }


def _set_generators(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(state["numpy"]))


def _steps(folder: Path) -> list[Path]:
    """Return whole checkpoints, the oldest first, and no copy that somebody put beside them."""
    found = [path for path in folder.glob("step-*") if _STEP.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def remove_partial(run: Path) -> None:
    """Remove what a process that was killed while it wrote has left under temporary names."""
    for path in list(run.rglob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def latest(run: Path) -> Path | None:
    """Return the run's newest whole checkpoint, None if it was cut off before its first."""
    return next(iter(_steps(run / "checkpoints")[::-1]), None)


# The run's plain files ---------------------------------------------------------------------------


def read_experiment(run: Path, plugins: Plugins, overrides: Iterable[str] = ()) -> Experiment:
    """Return the experiment of a run directory.

    Raises:
        CheckpointError: if it is no run directory, or was trained with modules given by `-p`.
        ConfigError: if it does not fit the plugins that are loaded now.
    """
    path = run / "experiment.toml"
    if not path.is_file():
        raise CheckpointError(f"no run at {run}: it has no experiment.toml")
    names = {plugin.name for plugin in plugins.loaded}
    for recorded in read_plugins(run):
        if recorded["source"].startswith("-p ") and recorded["name"] not in names:
            raise CheckpointError(f"{run} was trained with {recorded['source']}: give it again")
    return Experiment.load(path, plugins, list(overrides))


def read_plugins(run: Path) -> list[dict[str, Any]]:
    """Return the plugins that a run recorded."""
    found: list[dict[str, Any]] = read_json(run / "plugins.json", missing=[])
    return found


def write_data(run: Path, shapes: Shapes, splits: Splits, *, given: bool = False) -> None:
    """Write what the model must know of its data, `data.json`, and who is in which part."""
    parts = {part: len(getattr(splits, part)) for part in ("train", "valid", "test")}
    content = {
        "frame": list(shapes.frame),
        "labels": {name: asdict(label) for name, label in shapes.labels.items()},
        "classes": {name: list(values) for name, values in splits.classes.items()},
        "fitted": dict(splits.fitted),
        "sequences": parts,
        "given": given,
    }
    write_atomic(run / "data.json", json.dumps(content, indent=1))
    write_atomic(run / "splits.json", json.dumps(_names(splits), indent=0))


def check_names(run: Path, splits: Splits) -> None:
    """Refuse data that are not shared among the parts as they were when the run began.

    Raises:
        DataError: naming a sequence that is new, gone, or in another part.
    """
    then: dict[str, list[str]] = read_json(run / "splits.json", missing={})
    now = _names(splits)
    for part in then:
        if then[part] != now.get(part, then[part]):
            moved = sorted(set(then[part]) ^ set(now[part])) or ["their order"]
            raise DataError(
                f"the data are not the run's: the {part} part had {len(then[part])} sequences and "
                f"has {len(now[part])}; {len(moved)} differ, {moved[0]} among them"
            )


def _names(splits: Splits) -> dict[str, list[str]]:
    parts = {part: getattr(splits, part) for part in ("train", "valid", "test")}
    return {name: list(part.names) for name, part in parts.items() if hasattr(part, "names")}


def read_data(run: Path, *, given: bool = True) -> dict[str, Any]:
    """Return `data.json`.

    Args:
        run: the run directory.
        given: whether there is no need of the experiment's own data.

    Raises:
        CheckpointError: if it is not there or not whole, or tells of data that were given from
            Python when those of the experiment are needed.
    """
    found: dict[str, Any] = read_json(run / "data.json")
    if lacking := {"fitted", "frame", "labels"}.difference(found):
        raise CheckpointError(f"{run / 'data.json'} lacks {', '.join(sorted(lacking))}")
    if found.get("given") and not given:
        raise CheckpointError(f"{run} was trained on data given from Python: give them as 'splits'")
    return found


def load(run: str | Path, plugins: Plugins | None = None) -> SeqVAE:
    """Return a run's model in evaluation mode: its best weights, else its newest.

    Args:
        run: the run directory; its data are not needed.
        plugins: all installed ones when left out.

    Raises:
        CheckpointError: if the run is missing, damaged or of another version.
    """
    run = Path(run)
    experiment = read_experiment(run, plugins or Plugins.load())
    about = read_data(run)
    labels = {
        name: Variable(**{**label, "shape": tuple(label["shape"])})
        for name, label in about["labels"].items()
    }
    shapes = Shapes(frame=tuple(about["frame"]), labels=labels)
    model = build_model(experiment.model, shapes, experiment.seed)
    best, newest = run / "best" / "weights.safetensors", latest(run)
    path = best if best.is_file() or newest is None else newest / best.name
    load_weights(path, {"model": model})
    return model.eval()


def load_splits(
    run: str | Path,
    plugins: Plugins | None = None,
    overrides: Iterable[str] = (),
    given: Splits | None = None,
) -> Splits:
    """Return a run's data, or others, through what the run fitted on its training part.

    Args:
        run: the run directory.
        plugins: all installed ones when left out.
        overrides: such as "data.root=other", for other data.
        given: the data, if the run was given them.

    Raises:
        CheckpointError: if the run was given its data, and they are not given here.
        DataError: if they cannot be read, or the run's own are not what they were.
    """
    run, plugins = Path(run), plugins or Plugins.load()
    experiment = read_experiment(run, plugins, overrides)
    own = experiment.data == read_experiment(run, plugins).data
    about = read_data(run, given=given is not None or not own)
    request = DataRequest(seed=experiment.seed, fitted=about["fitted"])
    splits = check_splits(given or experiment.data.build(request))
    if own:
        check_names(run, splits)
    return splits


class MetricsLog:
    """`metrics.jsonl`: one JSON object for each logged step, each step once.

    Args:
        path: the file.
        start_step: lines after it belong to a run that was cut off, and are dropped.
    """

    def __init__(self, path: Path, start_step: int = 0):
        with reading(path):
            kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= start_step]
        write_atomic(path, "".join(f"{line}\n" for line in kept))
        self.path = path
        self._file = path.open("a", encoding="utf-8")

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one step; it is handed to the system before this returns."""
        with writing(self.path):
            self._file.write(json.dumps({"step": step, **metrics}) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with writing(self.path):  # what could not be written is tried again
            self._file.close()


def _whole_lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [line for line in text.split("\n")[:-1] if line]
