"""A run that was killed at any point continues to the same end, bit for bit."""

import json
import random
import shutil
import signal
import subprocess
import time

import pytest
import tiny

STEPS = 40


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    source = tiny.write_experiment(folder, steps=STEPS)
    tiny.run("train", source, "--out", folder / "run")
    return folder


def kill_when(process, folder, step):
    """Kill the process with SIGKILL as soon as it has logged a step."""
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if metrics.is_file() and metrics.read_text().count("\n") >= step:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    return process.returncode


def assert_same_run(one, other):
    for name in ("metrics.jsonl", "evaluation.json", "best/weights.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    last = f"checkpoints/step-{STEPS:08d}/weights.safetensors"
    assert (one / last).read_bytes() == (other / last).read_bytes()
    assert tiny.steps_of(other) == list(range(1, STEPS + 1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_at_random_steps_resumes_to_the_same_end(uninterrupted, tmp_path, seed):
    run = tmp_path / "run"
    source = uninterrupted / "toy.toml"
    arguments = ["train", source, "--out", run]
    for step in sorted(random.Random(seed).sample(range(1, STEPS - 2), 2)):
        process = subprocess.Popen(
            tiny.command(*arguments), env=tiny.environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert kill_when(process, run, step) == -signal.SIGKILL
        arguments = ["resume", run]
    tiny.run(*arguments)

    assert_same_run(uninterrupted / "run", run)
    assert tensorboard_steps(run) == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_a_run_with_worker_processes_and_buckets_resumes_in_the_middle_of_an_epoch(tmp_path):
    source = tiny.write_experiment(tmp_path, steps=STEPS)
    changes = [f"--set=train.{key}" for key in ("workers=2", "bucket=3", "log_every=1")]
    tiny.run("train", source, *changes, "--out", tmp_path / "whole")
    run = tmp_path / "run"
    process = subprocess.Popen(
        tiny.command("train", source, *changes, "--out", run), env=tiny.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    kill_when(process, run, 17)
    tiny.run("resume", run)
    assert_same_run(tmp_path / "whole", run)


@pytest.mark.slow
def test_data_that_changed_since_the_run_began_are_refused(uninterrupted, tmp_path):
    shutil.copytree(uninterrupted / "run", tmp_path / "run")
    splits = json.loads((tmp_path / "run/splits.json").read_text())
    assert {part: len(names) for part, names in splits.items()} == {
        "train": 43, "valid": 5, "test": 12}  # fmt: skip
    assert len({name for names in splits.values() for name in names}) == 60
    splits["test"].append(splits["train"].pop())
    (tmp_path / "run/splits.json").write_text(json.dumps(splits))
    for command in ("resume", "evaluate"):
        done = tiny.run(command, tmp_path / "run", code=2)
        assert "the data are not the run's: the " in done.stderr
        assert "row " in done.stderr
        assert "Traceback" not in done.stderr


KILL_IN_SAVE = """
import os, signal
from pathlib import Path
write, calls = Path.write_bytes, []
def killing(path, content):
    calls.extend([path] if "checkpoints" in str(path) else [])
    if len(calls) == {nth}:
        write(path, content[:100])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, content)
Path.write_bytes = killing
"""


@pytest.mark.slow
@pytest.mark.parametrize("nth", [1, 3, 8])
def test_a_run_killed_inside_a_save_resumes_to_the_same_end(uninterrupted, tmp_path, nth):
    run = tmp_path / "run"
    killed = subprocess.run(
        tiny.command("train", uninterrupted / "toy.toml", "--out", run,
                     prelude=KILL_IN_SAVE.format(nth=nth)),
        env=tiny.environment(), capture_output=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL

    tiny.run("resume", run)

    assert_same_run(uninterrupted / "run", run)
    assert not list(run.rglob("*.tmp"))


@pytest.mark.slow
def test_ctrl_c_writes_a_checkpoint_exits_130_and_resumes_to_the_same_end(uninterrupted, tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        tiny.command("train", uninterrupted / "toy.toml", "--out", run),
        env=tiny.environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    while not (run / "metrics.jsonl").is_file() or len(tiny.steps_of(run)) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()

    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    steps = tiny.steps_of(run)
    assert (run / f"checkpoints/step-{steps[-1]:08d}").is_dir()
    tiny.run("resume", run)
    assert_same_run(uninterrupted / "run", run)


def tensorboard_steps(run):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps = []
    for path in sorted((run / "tensorboard").glob("events.out.tfevents.*")):
        events = EventFileLoader(str(path)).Load()
        steps += [e.step for e in events if any(v.tag == "loss" for v in e.summary.value)]
    return steps


@pytest.mark.slow
def test_settings_of_tasks_do_not_hide_that_the_data_have_changed(uninterrupted, tmp_path):
    shutil.copytree(uninterrupted / "run", tmp_path / "run")
    splits = json.loads((tmp_path / "run/splits.json").read_text())
    splits["test"].append(splits["train"].pop())
    (tmp_path / "run/splits.json").write_text(json.dumps(splits))
    other = ("--set", "tasks.rates.threshold=0.1")
    done = tiny.run("evaluate", tmp_path / "run", *other, code=2)
    assert "the data are not the run's: the train part had" in done.stderr
