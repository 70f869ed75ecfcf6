"""A tiny experiment on generated sequences, as a user would write it, and ways to run it."""

import io
import json
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np

EXPERIMENT = """
seed = 3
[data]
name = "arrays"
path = "toy.npz"
[model]
backbone = "identity"
encoder = {{ name = "dsae-factorised", rnn = "gru", hidden = 8 }}
decoder = {{ name = "framewise", hidden = [16] }}
likelihood = "gaussian"
[model.latents.z]
scope = "global"
dim = 3
prior = "standard-normal"
[model.latents.s]
scope = "local"
dim = 2
prior = {{ name = "autoregressive-gaussian", hidden = 8 }}
[[regularizers]]
name = "cmi"
weight = 0.5
critic = {{ name = "conv", width = 8 }}
[train]
steps = {steps}
batch_size = 8
checkpoint_every = {every}
threads = 1
optimizer = {{ name = "adam", lr = 3e-3, decay = "cosine" }}
[[tasks]]
name = "rates"
"""


def write_experiment(folder: Path, *, steps: int = 30, every: int = 7, sequences: int = 60) -> Path:
    """Write `toy.npz` and `toy.toml` into a folder and return the latter."""
    rng = np.random.default_rng(0)
    speaker = rng.integers(3, size=sequences)
    length = rng.integers(3, 10, size=sequences)
    x = rng.normal(size=(sequences, 9, 4)) + 2.0 * speaker[:, None, None]
    np.savez(folder / "toy.npz", x=x.astype(np.float32), length=length, speaker=speaker)
    path = folder / "toy.toml"
    path.write_text(EXPERIMENT.format(steps=steps, every=every))
    return path


def command(*arguments: object, prelude: str = "") -> list[str]:
    """Return the command line as an argument list, after some Python of the test's own."""
    code = f"{prelude}\nfrom seqvae_core.cli import main\nmain()"
    start = ["-c", code] if prelude else ["-m", "seqvae_core"]
    return [sys.executable, *start, *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **changes}


def run(*arguments: object, code: int = 0, cwd: Path | None = None, **changes: str):
    """Run the command line to its end and check its exit code."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=cwd, env=environment(**changes)
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def steps_of(folder: Path) -> list[int]:
    """Return the steps in `metrics.jsonl`, in order."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def call(*arguments: object, code: int = 0):
    """Run the command line within this process, and check its exit code."""
    from seqvae_core.cli import main

    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["seqvae", *map(str, arguments)]
    got = 0
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            main()
    except SystemExit as end:
        got = end.code or 0
    finally:
        sys.argv = argv
    assert got == code, f"exit {got}\n{out.getvalue()}\n{err.getvalue()}"
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip
