"""The command line: its commands, what they print where, and what they write."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import numpy as np
import pytest
import tiny

from seqvae_core import sources

SITE = Path(__file__).resolve().parent.parent / "data" / "site"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with `toy.toml`, `toy.npz` and the finished run of them, `run`."""
    folder = tmp_path_factory.mktemp("trained")
    source = tiny.write_experiment(folder)
    tiny.call("train", source, "--out", folder / "run")
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """Return a copy of the finished run, to be written to."""
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


@pytest.fixture
def source(tmp_path):
    return tiny.write_experiment(tmp_path, steps=4, every=2)


# train and resume --------------------------------------------------------------------------------


def test_train_writes_the_files_that_a_run_is_known_by(trained):
    run = trained / "run"
    assert {
        "experiment.toml", "plugins.json", "metrics.jsonl", "tensorboard", "checkpoints", "best",
        "evaluation.json", "report.html",
    } <= {path.name for path in run.iterdir()}  # fmt: skip
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation.keys() == {"rates"}
    assert all(isinstance(value, float | int) for value in evaluation["rates"].values())
    assert tiny.steps_of(run) == list(range(1, 31))


def test_train_prints_one_table_for_each_task_and_the_report_and_logs_to_stderr(source, tmp_path):
    done = tiny.call("train", source, "--out", tmp_path / "run", "--set", "tasks+=reconstruction")

    stored = json.loads((tmp_path / "run" / "evaluation" / "rates.json").read_text())
    assert len(stored["tables"]) > 1
    lines = done.stdout.splitlines()
    assert [line.split(":")[0].strip() for line in lines if re.match(r"rates|reconstr", line)] == [
        "rates", "reconstruction",
    ]  # fmt: skip
    assert "None" not in done.stdout
    assert not any(note in done.stdout for note in stored["notes"])
    assert lines[-1].startswith("report: ")
    assert (Path.cwd() / lines[-1].removeprefix("report: ")).is_file()
    assert re.search(r"step 4/4 .* nats/frame, \d+% padding .* left", done.stderr)


def test_without_out_a_run_is_named_after_its_source(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.call("train", source.name)
    assert (tmp_path / "runs" / "toy" / "report.html").is_file()


def test_a_directory_that_is_not_empty_is_refused_and_left_as_it_is(run, trained):
    before = tiny.files_of(run)
    done = tiny.call("train", trained / "toy.toml", "--out", run, code=2)
    assert done.stderr == (
        f"the run directory {run} is not empty; resume it, or train with --force\n"
    )
    assert tiny.files_of(run) == before


def test_force_replaces_a_run_and_nothing_else(run, source, tmp_path):
    tiny.call("train", source, "--out", run, "--force")
    assert tiny.steps_of(run) == [1, 2, 3, 4]

    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.png").write_bytes(b"png")
    done = tiny.call("train", source, "--out", photos, "--force", code=2)
    assert done.stderr == f"{photos} is not empty and holds no run: not deleted\n"
    assert tiny.files_of(photos) == {"one.png": b"png"}


def test_an_experiment_that_cannot_be_trained_leaves_the_old_run_alone(run, source):
    before = tiny.files_of(run)
    for fault in ("train.steps=0", "data.path=nowhere.npz"):
        tiny.call("train", source, "--out", run, "--force", "--set", fault, code=2)
        assert tiny.files_of(run) == before


def test_resuming_a_finished_run_trains_nothing_and_evaluates_again(run):
    before = tiny.files_of(run)
    done = tiny.call("resume", run)
    after = tiny.files_of(run)
    for name in ("metrics.jsonl", "evaluation.json", "best/weights.safetensors"):
        assert after[name] == before[name]
    assert done.stdout.splitlines()[-1].startswith("report: ")


def test_a_precision_is_trained_in_and_an_unknown_one_is_refused(source, tmp_path):
    tiny.call("train", source, "--out", tmp_path / "run", "--precision", "bf16-mixed")
    assert tiny.steps_of(tmp_path / "run") == [1, 2, 3, 4]

    done = tiny.call("train", source, "--out", tmp_path / "no", "--precision", "tiny", code=2)
    assert done.stderr.startswith("Precision 'tiny' is invalid")
    assert not (tmp_path / "no").exists()


# show --------------------------------------------------------------------------------------------


def test_what_show_prints_is_the_run_s_experiment(trained):
    shown = tiny.call("show", trained / "toy.toml").stdout
    assert shown == (trained / "run" / "experiment.toml").read_text()
    assert tomllib.loads(shown)["data"]["path"] == str(trained / "toy.npz")


def test_what_show_prints_trains_to_the_same_result_bit_for_bit(trained, tmp_path):
    changes = ["--set", "train.steps=6", "--set", "regularizers.cmi.weight=0.25"]
    shown = tmp_path / "shown.toml"
    shown.write_text(tiny.call("show", trained / "toy.toml", *changes).stdout)

    tiny.call("train", trained / "toy.toml", *changes, "--out", tmp_path / "one")
    tiny.call("train", shown, "--out", tmp_path / "two")

    one, two = tiny.files_of(tmp_path / "one"), tiny.files_of(tmp_path / "two")
    for name in one:
        if name.endswith((".safetensors", ".jsonl", ".toml", "evaluation.json", "data.json")):
            assert one[name] == two[name], name
    assert json.loads(one["metrics.jsonl"].splitlines()[-1])["step"] == 6


# evaluate and report -----------------------------------------------------------------------------


def test_evaluate_prints_what_training_stored(run):
    stored = json.loads((run / "evaluation.json").read_text())
    assert json.loads(tiny.call("evaluate", run, "--json").stdout) == stored
    assert json.loads((run / "evaluation.json").read_text()) == stored
    assert "ELBO" in tiny.call("evaluate", run).stdout


def test_evaluate_takes_the_tasks_of_the_run_and_any_other_by_name(run):
    done = tiny.call("evaluate", run, "--task", "rates", "--task", "reconstruction", "--json")
    assert json.loads(done.stdout).keys() == {"rates", "reconstruction"}
    assert json.loads((run / "evaluation.json").read_text()).keys() == {"rates", "reconstruction"}

    refused = tiny.call("evaluate", run, "--task", "rate", code=2)
    assert refused.stderr.startswith("unknown task 'rate'; did you mean 'rates'? known: ")


def write_shifted(folder, shift, speakers=3):
    """Write the toy data moved by a constant, the speakers numbered from 3 - `speakers` on."""
    with np.load(folder / "toy.npz") as stored:
        arrays = dict(stored)
    arrays["x"] = arrays["x"] + shift
    arrays["speaker"] = arrays["speaker"] + 3 - speakers
    np.savez(folder / "other.npz", **arrays)
    return folder / "other.npz"


def test_other_data_are_seen_through_the_run_s_own_normalisation_and_nothing_is_written(
    run, tmp_path
):
    tiny.write_experiment(tmp_path)
    before = tiny.files_of(run)

    def mse(*options):
        done = tiny.call("evaluate", run, "--task", "reconstruction", "--json", *options)
        return json.loads(done.stdout)["reconstruction"]["mse"]

    same = mse("--set", f"data.path={tmp_path / 'toy.npz'}")
    moved = mse("--set", f"data.path={write_shifted(tmp_path, 20.0)}")
    assert tiny.files_of(run) == before
    # Normalised by a fit of their own, data and their shifted copy would be the same.
    assert moved > 3.0 * same
    assert same == pytest.approx(mse(), rel=1e-6)


def test_speakers_never_seen_in_training_are_scored_by_what_needs_no_training_on_them(
    run, tmp_path
):
    tiny.write_experiment(tmp_path)
    other = ["--set", f"data.path={write_shifted(tmp_path, 0.0, speakers=-5)}"]
    apart = ["--set", "data.split={group='speaker', test=0.7, valid=0.0}"]
    tasks = ["--task", "verification", "--task", "probe", "--task", "rates"]
    done = tiny.call("evaluate", run, *tasks, *other, *apart, "--json")
    found = json.loads(done.stdout)
    assert found.keys() == {"verification", "probe", "rates"}
    assert 0.0 <= found["verification"]["eer/z"] <= 1.0
    assert not any("speaker" in name for name in found["probe"])
    assert done.stderr == ""


def test_other_data_may_be_shown_as_a_table_that_says_that_nothing_is_written(run, trained):
    done = tiny.call("evaluate", run, "--set", f"data.path={trained / 'toy.npz'}")
    assert "elbo" in done.stdout
    assert done.stderr == "other settings than the run's own: nothing written\n"


def test_report_writes_the_page_anew_from_what_is_stored(run):
    page = run / "report.html"
    written = page.read_bytes()
    page.unlink()
    done = tiny.call("report", run)
    assert page.read_bytes() == written
    assert done.stdout.startswith("report: ")


# presets, components, plugins --------------------------------------------------------------------


def test_presets_are_listed_with_their_plugin_as_json_and_as_a_table(plugins):
    rows = json.loads(tiny.call("presets", "--json").stdout)
    assert [row["name"] for row in rows] == list(plugins.components("preset"))
    for row in rows:
        assert row.keys() == {"name", "summary", "reference", "plugin"}
        assert all(isinstance(value, str) and value for value in row.values())
        data = sources.read(row["name"], plugins, [])["data"]
        fields = attrs.fields(plugins.get("dataset", data["name"]))
        needed = [f.name for f in fields if f.default is attrs.NOTHING and f.name not in data]
        places = [word for name in needed for word in ("--set", f"data.{name}=corpus")]
        assert tiny.call("show", row["name"], *places).stdout
    table = tiny.call("presets").stdout
    assert all(row["name"] in table for row in rows)


def test_components_of_all_kinds_or_of_one_are_listed(plugins):
    rows = json.loads(tiny.call("components", "--json").stdout)
    assert all(row.keys() == {"kind", "name", "plugin", "summary"} for row in rows)
    assert all(row["summary"] for row in rows)
    kinds = {row["kind"] for row in rows}
    assert {"backbone", "encoder", "prior", "decoder", "likelihood", "regularizer",
            "mi_estimator", "task", "dataset"} == kinds  # fmt: skip

    encoders = json.loads(tiny.call("components", "encoder", "--json").stdout)
    assert encoders == [row for row in rows if row["kind"] == "encoder"]
    assert "dsae-full" in tiny.call("components", "encoder").stdout

    refused = tiny.call("components", "encodr", code=2)
    assert refused.stderr.startswith("unknown kind 'encodr'; did you mean 'encoder'? known: ")


def test_plugins_are_listed_with_every_third_party_broken():
    done = tiny.run("plugins", "--json", PYTHONPATH=str(SITE))
    rows = json.loads(done.stdout)
    assert all(
        row.keys() == {"name", "distribution", "version", "source", "status", "error", "provides"}
        for row in rows
    )
    status = {row["name"]: row["status"] for row in rows}
    assert {"basics", "cmi", "data", "estimators", "report", "tasks"} <= {
        name for name, value in status.items() if value == "loaded"
    }
    broken = next(row for row in rows if row["name"] == "broken")
    assert broken["status"] == "left out"
    assert broken["error"] == "No module named 'no_such_library'"
    assert broken["distribution"] == "seqvae-broken"

    table = tiny.run("plugins", PYTHONPATH=str(SITE)).stdout
    assert "left out" in table
    assert "no_such_library" in table


def test_a_command_tells_of_plugins_left_out_on_stderr_and_prints_json_alone():
    done = tiny.run("components", "backbone", "--json", PYTHONPATH=str(SITE),
                    SEQVAE_DISABLE_PLUGINS="rival")  # fmt: skip
    assert {row["name"] for row in json.loads(done.stdout)} >= {"identity", "mlp"}
    assert "plugin broken (seqvae-broken 1.0) left out: No module named 'no_such_l" in done.stderr


# -p ----------------------------------------------------------------------------------------------

PLUGIN = '''
from typing import ClassVar
from attrs import frozen
from seqvae_core.components import BackboneConfig
from seqvae_core.hookspecs import hookimpl

@frozen(kw_only=True)
class Scaled(BackboneConfig):
    """The frame, doubled."""

    name: ClassVar[str] = "acme-scaled"

    def build(self, shapes):
        from seqvae_basics.backbones import FlatBackbone

        return FlatBackbone(shapes)

@hookimpl
def seqvae_backbones():
    return [Scaled]
'''


def test_a_module_given_by_p_is_recorded_and_must_be_given_again(source, tmp_path, monkeypatch):
    module = tmp_path / "acme_parts.py"
    module.write_text(PLUGIN)
    monkeypatch.setattr(sys, "path", list(sys.path))
    out = tmp_path / "run"
    choice = ["--set", "model.backbone=acme-scaled"]

    refused = tiny.call("train", source, *choice, "--out", out, code=2)
    assert refused.stderr.startswith("unknown backbone 'acme-scaled'")
    tiny.call("train", source, *choice, "--out", out, "-p", module)

    recorded = json.loads((out / "plugins.json").read_text())
    assert next(row for row in recorded if row["name"] == "acme_parts")["source"] == f"-p {module}"
    for command in ("evaluate", "resume", "report"):
        refused = tiny.call(command, out, code=2)
        assert refused.stderr == f"{out} was trained with -p {module}: give it again\n"
        tiny.call(command, out, "-p", module)
    sys.modules.pop("acme_parts", None)


# The rest ----------------------------------------------------------------------------------------


def test_version_and_help_do_not_import_torch():
    code = "import sys; from seqvae_core.cli import cli; cli({!r}, standalone_mode=False); {}"
    check = "assert not {'torch', 'numpy', 'lightning_fabric'} & set(sys.modules)"
    for arguments, text in (
        (["--version"], "seqvae 0."),
        (["--help"], "Usage: "),
        (["train", "--help"], "--set KEY=VALUE"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code.format(arguments, check)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert text in done.stdout


def test_importing_the_library_imports_nothing_and_its_names_no_more_than_torch():
    code = (
        "import sys, seqvae_core; assert 'torch' not in sys.modules; "
        "from seqvae_core import Experiment, Plugins, load, train; assert not "
        "{'lightning_fabric', 'sklearn', 'scipy', 'matplotlib', 'tensorboard', 'rich', 'click', "
        "'safetensors', 'pandas', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--fast"], "No such option '--fast'."),
        (["evaluat"], "No such command 'evaluat'."),
        (["train"], "Missing argument 'PRESET|FILE'."),
        (["train", "x.toml", "--devices", "0"], "Invalid value for '--devices': 0 is not in the"),
    ],
)
def test_a_call_that_is_not_understood_is_one_line_and_exit_2(arguments, line):
    done = tiny.call(*arguments, code=2)
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_batch_that_the_devices_cannot_share_is_refused_once_before_they_start(source, tmp_path):
    done = tiny.run("train", source, "--devices", 3, "--out", tmp_path / "run", code=2)
    assert done.stderr == (
        "train.batch_size = 8 cannot be shared equally by 3 devices and 1 micro-batches\n"
    )
