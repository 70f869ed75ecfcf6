import json
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqvae_report
from seqvae_core.plugins import Plugins
from seqvae_core.records import Run
from seqvae_report.scalars import ScalarWriter


def metrics(step: int) -> dict[str, float]:
    return {"loss": 100.0 / step, "kl/z": 0.1 * step, "cmi/critic/accuracy": 0.5, "lr": 1e-3}


def log(path, steps) -> None:
    with (path / "metrics.jsonl").open("a") as file:
        for step in steps:
            file.write(json.dumps({"step": step, **metrics(step)}) + "\n")


def stored(path) -> dict[str, list[tuple[int, float]]]:
    read = EventAccumulator(str(path / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


def train(path, start: int, stop: int, *, killed: bool = False) -> None:
    plugins = Plugins(strict=True)
    plugins.register(seqvae_report, "report")
    run = Run(path=path, experiment=None, start_step=start, step=start)
    plugins.before_run(run)
    for step in range(start + 1, stop + 1):
        log(path, [step])
        run.step = step
        plugins.after_step(run, metrics(step))
    if killed:  # the process would be gone: nothing more is written, but its thread must end
        run.observers["report"].close()
    else:
        plugins.after_run(run, None)


def keep(path, last: int) -> None:
    lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (path / "metrics.jsonl").write_text("".join(lines[:last]))


def test_every_number_of_every_step_is_in_tensorboard_as_in_metrics_jsonl(tmp_path):
    train(tmp_path, 0, 7)
    found = stored(tmp_path)
    assert set(found) == set(metrics(1))
    for tag, points in found.items():
        assert [step for step, _ in points] == list(range(1, 8))
        assert [value for _, value in points] == pytest.approx(
            [metrics(step)[tag] for step in range(1, 8)], rel=1e-6
        )


@given(killed_at=st.integers(1, 12), back=st.integers(0, 12), cut=st.booleans())
def test_after_a_kill_and_a_resume_each_step_is_there_once(tmp_path_factory, killed_at, back, cut):
    path = tmp_path_factory.mktemp("run")
    checkpoint = max(killed_at - back, 0)
    train(path, 0, killed_at, killed=True)
    if cut:
        with (path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 99, "lo')
    else:
        keep(path, checkpoint)
    train(path, checkpoint, 15)
    for points in stored(path).values():
        assert [step for step, _ in points] == list(range(1, 16))


def test_events_that_never_reached_the_disk_are_replayed(tmp_path):
    log(tmp_path, range(1, 6))
    train(tmp_path, 5, 8)
    assert [step for step, _ in stored(tmp_path)["loss"]] == list(range(1, 9))


def test_only_event_files_are_removed(tmp_path):
    other = tmp_path / "tensorboard" / "notes.txt"
    other.parent.mkdir()
    other.write_text("mine")
    (tmp_path / "tensorboard" / "events.out.tfevents.1.old").write_bytes(b"")
    ScalarWriter(tmp_path).close()
    assert other.read_text() == "mine"
    assert not (tmp_path / "tensorboard" / "events.out.tfevents.1.old").exists()


def test_two_runs_at_a_time_do_not_mix(tmp_path):
    one, other = ScalarWriter(tmp_path / "one"), ScalarWriter(tmp_path / "other")
    one.write(1, {"loss": 1.0})
    other.write(1, {"loss": 2.0})
    one.close()
    other.close()
    assert stored(tmp_path / "one")["loss"] == [(1, 1.0)]
    assert stored(tmp_path / "other")["loss"] == [(1, 2.0)]


def test_no_thread_is_left_after_a_run(tmp_path):
    before = threading.active_count()
    train(tmp_path, 0, 3)
    assert threading.active_count() == before


def test_infinite_values_are_kept_as_they_are(tmp_path):
    writer = ScalarWriter(tmp_path)
    writer.write(1, {"loss": math.inf, "elbo": math.nan})
    writer.close()
    found = stored(tmp_path)
    assert found["loss"] == [(1, math.inf)]
    assert math.isnan(found["elbo"][0][1])


def test_a_stored_run_is_reported_without_tensorboard(tmp_path):
    plugins = Plugins(strict=True)
    plugins.register(seqvae_report, "report")
    plugins.after_evaluation(Run(path=tmp_path, experiment=None), {})
    assert (tmp_path / "report.html").is_file()
    assert not (tmp_path / "tensorboard").exists()
