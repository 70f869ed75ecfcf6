"""What is in the way of a run, what a resumed run may change, and what stays where it is."""

import json
import os
import shutil

import pytest
import tiny
import torch

from seqvae_core import Experiment, evaluate, resume, train
from seqvae_core.checkpoint import latest
from seqvae_core.directory import begin
from seqvae_core.errors import ConfigError


@pytest.fixture(scope="module")
def begun(tmp_path_factory, plugins):
    """Return the folder of a run of 14 steps, stopped after 7."""
    folder = tmp_path_factory.mktemp("begun")
    experiment = Experiment.load(tiny.write_experiment(folder), plugins, ["train.steps=14"])

    def stop(step, metrics):
        if step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(experiment, folder / "run", plugins=plugins, precision="64-true", watch=stop)
    assert latest(folder / "run").name == "step-00000007"
    return folder / "run"


@pytest.fixture
def run(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "run")


def edit(run, old, new):
    path = run / "experiment.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


# Resuming ----------------------------------------------------------------------------------------


def test_a_run_goes_on_in_its_own_precision(run, plugins):
    assert json.loads((run / "environment.json").read_text())["precision"] == "64-true"
    done = resume(run, plugins=plugins)
    assert {p.dtype for p in done.model.parameters()} == {torch.float64}


def test_another_precision_is_refused(run, plugins):
    with pytest.raises(ConfigError, match="trained with precision '64-true', got '32-true'"):
        resume(run, plugins=plugins, precision="32-true")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("weight = 0.5", "weight = 0.4", "regularizers is .*, and step-00000007 was written with"),
        ("batch_size = 8", "batch_size = 4", "train.batch_size is 4, .* with 8"),
        ("seed = 3", "seed = 4", "seed is 4"),
        ("normalise = true", "normalise = false", "data.normalise is False, .* with True"),
    ],
)
def test_settings_that_made_the_weights_may_not_be_changed(run, plugins, old, new, said):
    edit(run, old, new)
    with pytest.raises(ConfigError, match=said):
        resume(run, plugins=plugins)


def test_length_threads_tasks_and_the_place_of_the_data_may_be_changed(run, plugins, tmp_path):
    moved = tmp_path / "moved.npz"
    text = (run / "experiment.toml").read_text()
    old = text.split('path = "')[1].split('"')[0]
    shutil.copy(old, moved)
    edit(run, old, str(moved))
    edit(run, "steps = 14", "steps = 9")
    edit(run, "log_every = 1", "log_every = 3")
    edit(run, "threshold = 0.01", "threshold = 0.02")
    done = resume(run, plugins=plugins)
    assert done.step == 9
    assert "rates" in json.loads((run / "evaluation.json").read_text())


def test_copies_beside_the_checkpoints_are_neither_taken_nor_deleted(run, plugins):
    newest = latest(run)
    mine = shutil.copytree(newest, newest.with_name("step-00000099-mine"))
    assert latest(run) == newest
    resume(run, plugins=plugins)
    assert mine.is_dir()


# Beginning ---------------------------------------------------------------------------------------


def test_a_folder_of_ones_own_with_an_experiment_is_no_run_to_be_deleted(tmp_path, plugins):
    source = tiny.write_experiment(tmp_path).rename(tmp_path / "experiment.toml")
    experiment = Experiment.load(source, plugins)
    with pytest.raises(ConfigError, match="is not empty and holds no run: not deleted"):
        train(experiment, tmp_path, plugins=plugins, force=True)
    assert (tmp_path / "toy.npz").is_file()


def test_the_working_directory_is_not_deleted(run, plugins, monkeypatch):
    experiment = Experiment.load(run / "experiment.toml", plugins)
    monkeypatch.chdir(run / "checkpoints")
    with pytest.raises(ConfigError, match="holds the working directory: not deleted"):
        train(experiment, os.pardir, plugins=plugins, force=True)


def test_a_directory_that_another_run_took_meanwhile_is_left_to_it(run, plugins):
    experiment = Experiment.load(run / "experiment.toml", plugins)
    before = sorted(run.rglob("*"))
    with pytest.raises(ConfigError, match="is not empty; resume it, or train with --force"):
        begin(run, experiment, plugins, None, "32-true", force=False)
    assert sorted(run.rglob("*")) == before


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("override", ["model.latents.z.dim=4", "train.steps=2", "seed=2"])
def test_an_evaluation_takes_no_settings_that_it_would_ignore(run, plugins, override):
    with pytest.raises(ConfigError, match=f"settings of data and tasks, got '{override}'"):
        evaluate(run, overrides=[override], plugins=plugins)


def test_a_seed_beyond_64_bits_is_one_line(run, plugins):
    with pytest.raises(ConfigError, match=r"'seed' must be < .*18446744073709551616"):
        Experiment.load(run / "experiment.toml", plugins, ["seed=18446744073709551616"])


@pytest.mark.parametrize(
    ("path", "said"), [("~nosuchuser/x.npz", "of an unknown user"), ("", "expected a path")]
)
def test_a_path_that_is_none_is_refused_in_a_file_as_by_override(tmp_path, plugins, path, said):
    source = tiny.write_experiment(tmp_path)
    source.write_text(source.read_text().replace('path = "toy.npz"', f'path = "{path}"'))
    with pytest.raises(ConfigError, match=said):
        Experiment.load(source, plugins)
