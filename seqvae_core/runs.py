"""Whole runs: train, resume, evaluate, each over one run directory."""

import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seqvae_core import checkpoint, config, files
from seqvae_core.components import DataRequest, TaskConfig, TaskResult
from seqvae_core.devices import make_fabric, threads
from seqvae_core.directory import begin, check_free, check_unchanged, precision_of, write_json
from seqvae_core.errors import ConfigError
from seqvae_core.experiment import Experiment
from seqvae_core.loading import check_splits, share
from seqvae_core.model import SeqVAE
from seqvae_core.plugins import Plugins, did_you_mean
from seqvae_core.records import Noise, Run, Splits
from seqvae_core.training import Metrics, Trainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["evaluate", "report", "resume", "train"]

Watch = Callable[[int, Metrics], None]
Evaluation = dict[str, dict[str, float]]


def train(
    experiment: Experiment,
    out: str | Path,
    *,
    plugins: Plugins | None = None,
    devices: int = 1,
    precision: str = "32-true",
    accelerator: str = "auto",
    force: bool = False,
    splits: Splits | None = None,
    watch: Watch = lambda step, metrics: None,
) -> Run:
    """Train an experiment, evaluate its tasks and write the run directory.

    Args:
        experiment: what to do.
        out: the run directory; refused if it exists and is not empty, unless `force`.
        plugins: all installed ones when left out.
        devices: processes to train on.
        precision: Fabric's name for it, such as "bf16-mixed".
        accelerator: "auto", "cpu" or "cuda".
        force: delete what an earlier run left in `out`.
        splits: data at hand, in place of what `experiment.data` reads; `resume` and `evaluate`
            must then be given them too.
        watch: called at every step with its metrics.

    Returns:
        The run, with its model (best weights if there was a validation part) and data.

    Raises:
        SeqVAEError: one line; nothing already written is lost.
    """
    plugins = plugins or Plugins.load()
    fabric = make_fabric(devices=devices, precision=precision, accelerator=accelerator)
    share(experiment.train.batch_size, fabric.world_size, experiment.train.accumulate)
    path = Path(out).absolute()
    if _is_first_process():
        check_free(path, force)
    fabric.launch()
    data = _data(experiment, splits)
    given = splits is not None

    def begun() -> None:
        begin(path, experiment, plugins, fabric, precision, force)

    return _run(experiment, path, data, fabric, plugins, watch, begun=begun, given=given)


def resume(
    run: str | Path,
    *,
    plugins: Plugins | None = None,
    devices: int = 1,
    precision: str | None = None,
    accelerator: str = "auto",
    splits: Splits | None = None,
    watch: Watch = lambda step, metrics: None,
) -> Run:
    """Continue a run from its newest checkpoint; on the CPU equal, bit for bit, to one never cut.

    Args:
        run: the run directory.
        plugins: all installed ones when left out.
        devices: as many as before.
        precision: the run's own, which is taken if None.
        accelerator: "auto", "cpu" or "cuda".
        splits: the data, if it was given them.
        watch: called at every step with its metrics.

    Raises:
        CheckpointError: if it is no run, or its newest checkpoint does not fit.
        ConfigError: if its experiment was changed in what made the checkpoint, or the precision.
    """
    plugins = plugins or Plugins.load()
    path = Path(run).absolute()
    experiment = checkpoint.read_experiment(path, plugins)
    start = checkpoint.latest(path)
    if start is not None:
        check_unchanged(path, start)
    _warn_of_versions(path, plugins)
    precision = precision_of(path, precision)
    fabric = make_fabric(devices=devices, precision=precision, accelerator=accelerator)
    fabric.launch()
    if fabric.is_global_zero:
        checkpoint.remove_partial(path)
    given = splits is not None
    begun = start is not None or (path / "data.json").is_file()
    about = checkpoint.read_data(path, given=given) if begun else {}
    data = _data(experiment, splits, about["fitted"] if start else None)
    if start is not None:
        checkpoint.check_names(path, data)
    return _run(experiment, path, data, fabric, plugins, watch, start=start, given=given)


def _run(
    experiment: Experiment, path: Path, splits: Splits, fabric: "Fabric", plugins: Plugins,
    watch: Watch, *, start: Path | None = None, begun: Callable[[], None] | None = None,
    given: bool = False,
) -> Run:  # fmt: skip
    with threads(experiment.train.threads), torch.random.fork_rng():
        torch.manual_seed(experiment.seed + fabric.global_rank)
        trainer = Trainer(experiment, splits, fabric=fabric)
        for task in experiment.tasks:  # a typo in one should not be told after the training
            task.build(trainer.model.shapes)
        if begun and fabric.is_global_zero:  # not before all that can be refused was built
            begun()
        if start is not None:
            checkpoint.restore(start, trainer)
        run = Run(
            path=path, experiment=experiment, plugins=[p.describe() for p in plugins.loaded],
            start_step=trainer.step, step=trainer.step, model=trainer.model, splits=splits,
        )  # fmt: skip
        if not fabric.is_global_zero:
            trainer.fit(save=lambda: _save(path, trainer))
            return run
        checkpoint.write_data(path, trainer.model.shapes, splits, given=given)
        error: BaseException | None = None
        plugins.before_run(run)
        try:
            _fit(run, trainer, plugins, watch)
            _load_best(path, trainer.model)
            _evaluate(run, experiment.tasks, plugins)
        except BaseException as raised:
            error = raised
            raise
        finally:
            plugins.after_run(run, error)
    return run


def _fit(run: Run, trainer: Trainer, plugins: Plugins, watch: Watch) -> None:
    log = checkpoint.MetricsLog(run.path / "metrics.jsonl", run.start_step)

    def write(step: int, metrics: Metrics) -> None:
        run.step = step
        log(step, metrics)
        plugins.after_step(run, {"step": step, **metrics})

    def save_best() -> None:
        about = {"step": trainer.step, **trainer.best}
        path = run.path / "best" / "weights.safetensors"
        files.save_weights(path, {"model": trainer.model}, about)

    try:
        trainer.fit(
            log=write, save=lambda: _save(run.path, trainer), save_best=save_best, watch=watch
        )
    finally:
        log.close()


def _save(path: Path, trainer: Trainer) -> None:
    checkpoint.save(path / "checkpoints", trainer, trainer.experiment.to_toml())


def _load_best(path: Path, model: SeqVAE) -> None:
    best = path / "best" / "weights.safetensors"
    if best.is_file():
        files.load_weights(best, {"model": model})
    model.eval()


# Evaluation --------------------------------------------------------------------------------------


def evaluate(
    run: str | Path,
    *,
    tasks: Iterable[str] = (),
    overrides: Iterable[str] = (),
    plugins: Plugins | None = None,
    splits: Splits | None = None,
) -> Evaluation:
    """Evaluate a trained run's model, its best weights if it has them.

    Args:
        run: the run directory.
        tasks: labels of the run's tasks, or names of registered ones; all of the run's if none.
        overrides: of data and tasks, such as "data.root=other": other data, seen through the
            run's own normalisation; the result is then returned but not written.
        plugins: all installed ones when left out.
        splits: the data, if the run was given them.

    Returns:
        Numbers by task and metric.

    Raises:
        SeqVAEError: one line.
    """
    plugins = plugins or Plugins.load()
    path = Path(run).absolute()
    overrides = list(overrides)
    _check_overrides(overrides)
    experiment = checkpoint.read_experiment(path, plugins, overrides)
    chosen = [_task(name, experiment, plugins) for name in tasks] or list(experiment.tasks)
    splits = checkpoint.load_splits(path, plugins, overrides, splits)
    model = checkpoint.load(path, plugins)
    model.to(make_fabric().device)
    found = Run(path=path, experiment=experiment, plugins=[p.describe() for p in plugins.loaded],
                model=model, splits=splits)  # fmt: skip
    with threads(experiment.train.threads):
        if overrides:
            return {_label(task): _result(task, found).metrics for task in chosen}
        return _evaluate(found, chosen, plugins)


def _check_overrides(overrides: Iterable[str]) -> None:
    for override in overrides:
        section = re.split(r"[.=+]", override, maxsplit=1)[0].strip()
        if section not in ("data", "tasks"):
            why = ": the run's own seed shares its data" if section == "seed" else ""
            raise ConfigError(f"evaluate takes settings of data and tasks, got '{override}'{why}")


def report(run: str | Path, *, plugins: Plugins | None = None) -> None:
    """Let the observers write the stored evaluation's report anew.

    Raises:
        CheckpointError: if it is no run, or a file of it cannot be read.
        PluginError: if an observer fails.
    """
    plugins = plugins or Plugins.load()
    path = Path(run).absolute()
    experiment = checkpoint.read_experiment(path, plugins)
    stored = Run(path=path, experiment=experiment)
    before, plugins.strict = plugins.strict, True  # the report is all that was asked for
    try:
        plugins.after_evaluation(stored, read_evaluation(path))
    finally:
        plugins.strict = before


def read_evaluation(run: Path) -> Evaluation:
    """Return `evaluation.json`, empty if there is none yet."""
    found: Evaluation = files.read_json(run / "evaluation.json", missing={})
    return found


def _evaluate(run: Run, tasks: Sequence[TaskConfig], plugins: Plugins) -> Evaluation:
    metrics = read_evaluation(run.path)
    for task in tasks:
        result = _result(task, run)
        metrics[_label(task)] = result.metrics
        _write_result(run.path / "evaluation", _label(task), result)
        write_json(run.path / "evaluation.json", metrics)
    plugins.after_evaluation(run, metrics)
    return {_label(task): metrics[_label(task)] for task in tasks}


def _result(task: TaskConfig, run: Run) -> TaskResult:
    assert run.model is not None
    assert run.splits is not None
    label = _label(task)
    noise = Noise(run.experiment.seed).of("task").of(label)
    return task.build(run.model.shapes)(run.model, run.splits, noise)


def _label(task: TaskConfig) -> str:
    return task.label or task.name


def _task(name: str, experiment: Experiment, plugins: Plugins) -> TaskConfig:
    own = {_label(task): task for task in experiment.tasks}
    if name in own:
        return own[name]
    known = [*own, *plugins.components("task")]
    if name not in known:
        raise ConfigError(f"unknown task '{name}'{did_you_mean(name, known)}")
    try:
        task: TaskConfig = config.structure_component("task", name, plugins)
    except ConfigError as error:
        raise ConfigError(f"task '{name}' is not the run's, and has no defaults: {error}") from None
    return task


def _write_result(folder: Path, label: str, result: TaskResult) -> None:
    written: dict[str, dict[str, str]] = {"figures": {}, "sounds": {}}
    for kind, suffix in (("figures", "png"), ("sounds", "wav")):
        for index, (title, content) in enumerate(getattr(result, kind).items()):
            name = f"{label}/{index}.{suffix}"
            files.write_atomic(folder / name, content)
            written[kind][title] = name
    content = {"tables": result.tables, "notes": result.notes, **written}
    write_json(folder / f"{label}.json", content)


def _data(
    experiment: Experiment, given: Splits | None, fitted: Mapping[str, Any] | None = None
) -> Splits:
    request = DataRequest(seed=experiment.seed, fitted=fitted)
    return check_splits(given or experiment.data.build(request))


# Small parts -------------------------------------------------------------------------------------


def _is_first_process() -> bool:
    return all(os.environ.get(key, "0") == "0" for key in ("LOCAL_RANK", "RANK"))


def _warn_of_versions(path: Path, plugins: Plugins) -> None:
    now: Mapping[str, str | None] = {p.name: p.version for p in plugins.loaded}
    for then in checkpoint.read_plugins(path):
        if then["status"] == "loaded" and now.get(then["name"]) != then["version"]:
            warnings.warn(
                f"plugin '{then['name']}' was {then['version']} when the run began, "
                f"it is {now.get(then['name'], 'not loaded')} now",
                RuntimeWarning, stacklevel=3,
            )  # fmt: skip
