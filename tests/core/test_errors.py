"""What goes wrong for a user: one line for each fault, exit 2, and nothing written is lost."""

import json
import pickle
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from seqvae_core.errors import CheckpointError
from seqvae_core.files import FORMAT, digest, digest_tensors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with `toy.toml`, `toy.npz` and a run of them that was stopped half-way."""
    folder = tmp_path_factory.mktemp("trained")
    source = tiny.write_experiment(folder, steps=6, every=3)
    tiny.call("train", source, "--out", folder / "run")
    shutil.rmtree(folder / "run" / "checkpoints" / "step-00000006")
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


@pytest.fixture
def source(tmp_path):
    return tiny.write_experiment(tmp_path, steps=6, every=2)


def refused(*arguments):
    """Run a command that must be refused in one line, and return the line."""
    done = tiny.call(*arguments, code=2)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    return done.stderr.rstrip("\n")


def rewrite(path, **changes):
    """Store the arrays of an `.npz` file anew with some of them changed."""
    with np.load(path) as stored:
        arrays = {**stored, **changes}
    np.savez(path, **arrays)


# The experiment and its data ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("train.stps=3", "unknown key 'stps'; did you mean 'steps'? known: "),
        ("model.encoder.name=dsae-ful", "unknown encoder 'dsae-ful'; did you mean 'dsae-full'? "),
        ("model.encoder.hidden=wide", "expected int, got 'wide' @ $.model.encoder.hidden"),
        ("train.batch_size=100", "the train part has "),
        ("data.split.test=0.0", "the test part is empty"),
        ("data.path=nowhere.npz", f"cannot read {Path.cwd() / 'nowhere.npz'}: No such file or dir"),
        ("model.latents.z.kl.weight=0.4", "the net weight of KL(z) (with cmi) must be > 0 at ev"),
    ],
)
def test_a_fault_of_the_experiment_is_one_line_and_leaves_no_run(source, tmp_path, change, line):
    out = tmp_path / "run"
    assert refused("train", source, "--out", out, "--set", change).startswith(line)
    assert not out.exists()


def test_several_faults_are_as_many_lines(source, tmp_path):
    faults = ["--set", "train.stps=3", "--set", "model.encoder=dsae-ful", "--set", "seed=-1"]
    done = tiny.call("train", source, "--out", tmp_path / "run", *faults, code=2)
    assert done.stderr.count("\n") == 3


def test_broken_toml_is_told_with_its_line(source, tmp_path):
    source.write_text(source.read_text().replace("[train]", "[train", 1))
    said = refused("train", source, "--out", tmp_path / "run")
    assert said.startswith(f"cannot read {source}: ")
    assert "line" in said


def test_frames_that_are_not_numbers_are_told_with_their_place(source, tmp_path):
    x = np.load(tmp_path / "toy.npz")["x"]
    x[17, 1, 2] = np.nan
    rewrite(tmp_path / "toy.npz", x=x)
    said = refused("train", source, "--out", tmp_path / "run")
    assert said.endswith("array 'x', row 17: 1 of 9 frames have NaN or infinite values")
    assert not (tmp_path / "run").exists()


def test_a_truncated_sound_is_named(source, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    corpus = tmp_path / "corpus"
    for speaker in ("ann", "bob"):
        (corpus / speaker).mkdir(parents=True)
        for take in range(4):
            noise = np.random.default_rng(take).normal(size=4000) * 0.1
            soundfile.write(corpus / speaker / f"{take}.wav", noise, 8000)
    cut = corpus / "ann" / "2.wav"
    cut.write_bytes(cut.read_bytes()[:1000])
    data = f'data={{name="audio-folder", root="{corpus}"}}'
    said = refused("train", source, "--out", tmp_path / "run", "--set", data)
    assert str(cut) in said


# The run directory -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["resume", "evaluate", "report"])
def test_a_directory_that_holds_no_run_is_told(tmp_path, command):
    assert refused(command, tmp_path) == f"no run at {tmp_path}: it has no experiment.toml"


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_run_without_its_data_file_is_told(run, command):
    (run / "data.json").unlink()
    assert refused(command, run).startswith(f"cannot read {run / 'data.json'}: ")


@pytest.mark.parametrize(
    ("name", "command"),
    [("data.json", "evaluate"), ("plugins.json", "resume"), ("evaluation.json", "report"),
     ("experiment.toml", "resume"), ("metrics.jsonl", "resume")],
)  # fmt: skip
def test_a_damaged_file_of_a_run_is_named(run, name, command):
    path = run / name
    path.write_text(path.read_text().replace('"', "?"))
    assert f"cannot read {path}: " in refused(command, run)


def test_weights_of_another_model_are_refused(run, trained, tmp_path):
    other = tmp_path / "other"
    tiny.call("train", trained / "toy.toml", "--out", other, "--set", "model.encoder.hidden=4")
    shutil.copy(other / "best" / "weights.safetensors", run / "best")
    said = refused("evaluate", run)
    assert "do not fit the experiment's model" in said


def edit_weights(path, **about):
    """Rewrite a file of weights with other facts in its header."""
    with safe_open(path, framework="pt") as file:
        found = json.loads(file.metadata()["seqvae"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={"seqvae": json.dumps({**found, **about})})
    return found, tensors


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_checkpoint_of_another_format_says_which_this_version_reads(run, command):
    for path in run.rglob("weights.safetensors"):
        edit_weights(path, format=FORMAT + 1)
    said = refused(command, run)
    assert said.endswith(f"checkpoint format {FORMAT + 1}, this version of seqvae reads {FORMAT}")


def test_the_digest_of_weights_covers_names_types_and_shapes(run):
    found, tensors = edit_weights(run / "best" / "weights.safetensors")
    assert digest_tensors(tensors) == found["digest"]
    name, value = next((k, v) for k, v in tensors.items() if v.ndim == 2)
    for other in ({name: value.T}, {name: value.view(dtype=value.dtype).int()}):
        assert digest_tensors({**tensors, **other}) != found["digest"]


NEWEST = "checkpoints/step-00000003"


@given(
    name=st.sampled_from(["weights.safetensors", "state.pt", "rank-0.pt", "digests.json"]),
    share=st.floats(0.0, 1.0, exclude_max=True),
    flip=st.integers(1, 255),
    cut=st.booleans(),
)
def test_a_checkpoint_with_a_byte_changed_or_its_end_cut_off_is_refused(
    trained, tmp_path_factory, name, share, flip, cut
):
    run = Path(shutil.copytree(trained / "run", tmp_path_factory.mktemp("damaged") / "run"))
    path = run / NEWEST / name
    content = bytearray(path.read_bytes())
    place = int(share * len(content))
    if cut:
        del content[place:]
    else:
        content[place] ^= flip
    path.write_bytes(bytes(content))
    before = tiny.files_of(run)

    done = tiny.call("resume", run, code=2)

    assert done.stderr.count("\n") == 1
    assert str(run) in done.stderr
    kept = tiny.files_of(run)
    assert kept["metrics.jsonl"] == before["metrics.jsonl"]
    assert kept["best/weights.safetensors"] == before["best/weights.safetensors"]


@given(share=st.floats(0.0, 1.0, exclude_max=True), flip=st.integers(1, 255))
def test_weights_with_a_byte_changed_are_never_loaded_as_others(
    trained, tmp_path_factory, share, flip
):
    from seqvae_core import load

    run = Path(shutil.copytree(trained / "run", tmp_path_factory.mktemp("damaged") / "run"))
    path = run / "best" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= flip
    path.write_bytes(bytes(content))
    good = load(trained / "run").state_dict()
    found = good
    with suppress(CheckpointError):  # none for a change in what is not read, such as the step
        found = load(run).state_dict()
    assert all(found[name].equal(value) for name, value in good.items())


class Malice:
    """An object whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["state.pt", "rank-0.pt"])
@pytest.mark.parametrize("signed", [False, True], ids=["as it is", "with its digest"])
def test_a_pickle_in_place_of_a_checkpoint_is_refused_and_never_run(run, tmp_path, name, signed):
    trap = tmp_path / "trap"
    content = pickle.dumps({"world": 1, "step": 3, "noise": Malice(trap)})
    (run / NEWEST / name).write_bytes(content)
    if signed:
        path = run / NEWEST / "digests.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), name: digest(content)}))
    said = refused("resume", run)
    assert str(run / NEWEST / name) in said
    assert not trap.exists()
    pickle.loads(content)["noise"].close()  # the trap works
    assert trap.exists()


# Interruption ------------------------------------------------------------------------------------

INTERRUPTED = """
from seqvae_core import runs
def interrupt(*more):
    raise KeyboardInterrupt
runs._result = interrupt
"""


def test_ctrl_c_during_the_evaluation_exits_130_and_keeps_all_that_was_trained(source, tmp_path):
    out = tmp_path / "run"
    done = subprocess.run(
        tiny.command("train", source, "--out", out, prelude=INTERRUPTED),
        capture_output=True, text=True, env=tiny.environment(),
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr.endswith("interrupted\n")
    assert "Traceback" not in done.stderr
    assert (out / "checkpoints" / "step-00000006").is_dir()
    metrics = (out / "metrics.jsonl").read_bytes()

    tiny.call("resume", out)
    assert (out / "metrics.jsonl").read_bytes() == metrics
    assert "rates" in json.loads((out / "evaluation.json").read_text())


SECOND_INTERRUPTED = """
from seqvae_core import runs
evaluated = runs._result
def result(task, run):
    if task.name == "reconstruction":
        raise KeyboardInterrupt
    return evaluated(task, run)
runs._result = result
"""


def test_what_a_task_has_found_is_kept_when_the_next_one_fails(source, tmp_path):
    out = tmp_path / "run"
    done = subprocess.run(
        tiny.command("train", source, "--out", out, "--set", "tasks+=reconstruction",
                     prelude=SECOND_INTERRUPTED),
        capture_output=True, text=True, env=tiny.environment(),
    )  # fmt: skip
    assert done.returncode == 130
    assert json.loads((out / "evaluation.json").read_text()).keys() == {"rates"}


@pytest.mark.parametrize(
    "task",
    ['{name="traverse", codes=["k"]}', '{name="vmi-bound", codes=["z[99]"]}',
     '{name="probe", codes=["z", "k"]}'],
)  # fmt: skip
def test_a_task_that_does_not_fit_the_model_is_refused_before_anything_is_trained(
    task, source, tmp_path
):
    line = refused("train", source, "--out", tmp_path / "run", "--set", f"tasks=[{task}]")
    assert "'k'" in line or "z[99]" in line
    assert not (tmp_path / "run").exists()


def test_a_run_that_ended_before_its_first_checkpoint_resumes_from_the_start(source, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    tiny.call("train", source, "--out", whole)
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints")
    for path in ("checkpoints/.step-00000002.tmp/state.pt", ".metrics.jsonl.1.tmp",
                 "best/.weights.safetensors.12.tmp"):  # fmt: skip
        (cut / path).parent.mkdir(parents=True, exist_ok=True)
        (cut / path).write_bytes(b"partial")
    (cut / "metrics.jsonl").write_text((whole / "metrics.jsonl").read_text()[:400])

    tiny.call("resume", cut)

    assert not list(cut.rglob("*.tmp"))
    for name in ("metrics.jsonl", "evaluation.json", "best/weights.safetensors"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


FAULTY = """
from seqvae_core.hookspecs import hookimpl
@hookimpl
def seqvae_after_step(run, metrics):
    if run.step >= 2:
        raise RuntimeError("no\\nmemory")
"""


def test_an_observer_that_fails_is_warned_of_once_and_training_goes_on(source, tmp_path):
    module = tmp_path / "acme_faulty.py"
    module.write_text(FAULTY)
    done = tiny.run("train", source, "--out", tmp_path / "run", "-p", module)
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert warned == [
        "warning: plugin 'acme_faulty' failed in seqvae_after_step and is not called there again: "
        "no memory"
    ]
    assert tiny.steps_of(tmp_path / "run") == list(range(1, 7))


# The disk ----------------------------------------------------------------------------------------

# A file larger than the limit is refused by the system as on a full disk: an OSError in Python.
LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
"""


def limited(limit, *arguments):
    return subprocess.run(
        tiny.command(*arguments, prelude=LIMITED.format(limit=limit)),
        capture_output=True, text=True, env=tiny.environment(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "every", "name"),
    [(200, 2, "experiment.toml"), (6_000, 99, "metrics.jsonl"), (10_000, 2, "weights.safetensors"),
     (25_000, 2, "state.pt")],
)  # fmt: skip
def test_a_full_disk_ends_training_in_one_line_and_keeps_what_was_written(
    source, tmp_path, limit, every, name
):
    out = tmp_path / "run"
    settings = [f"--set=train.checkpoint_every={every}", "--set=train.steps=30"]
    done = limited(limit, "train", source, "--out", out, *settings)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("cannot write")]
    assert name in error
    assert error.endswith("File too large; what was written before is kept")
    if out.joinpath("metrics.jsonl").is_file():
        lines = (out / "metrics.jsonl").read_text().split("\n")[:-1]
        assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1))


def test_a_report_that_cannot_be_written_is_one_line_and_keeps_the_old_one(run):
    page = (run / "report.html").read_bytes()
    done = limited(2_000, "report", run)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert (run / "report.html").read_bytes() == page


UNPRIVILEGED = """
import os
from seqvae_core import runs
begin = runs.begin
def unprivileged(*arguments):
    os.geteuid() or os.seteuid(65534)  # root may write everywhere
    begin(*arguments)
runs.begin = unprivileged
"""


def test_a_directory_that_may_not_be_written_is_one_line():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        source = tiny.write_experiment(folder, steps=6, every=2)
        folder.chmod(0o555)
        done = subprocess.run(
            tiny.command("train", source, "--out", folder / "run", prelude=UNPRIVILEGED),
            capture_output=True, text=True, env=tiny.environment(),
        )  # fmt: skip
        folder.chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"cannot make {folder / 'run'}: Permission denied\n"
