"""Two processes train as one: models, critics and logs agree."""

import json
import subprocess
import sys

import pytest
import tiny
import torch
from safetensors.torch import load_file

WORKER = '''
import sys, torch
from seqvae_core import Experiment, Noise, Plugins
from seqvae_core.components import DataRequest
from seqvae_core.loading import train_batches
from seqvae_core.devices import make_fabric
from seqvae_core.training import Trainer
from safetensors.torch import save_file

class Table(Noise):
    """Numbers that belong to the row of the joined batch, whichever rank holds it."""
    rank, world = 0, 1
    def _draw(self, like, method):
        drawn = torch.zeros(like.shape[0] * self.world, *like.shape[1:], dtype=like.dtype)
        whole = Noise._draw(self, drawn, method)
        return whole[self.rank * like.shape[0] : (self.rank + 1) * like.shape[0]]

source, devices, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
plugins = Plugins.load()
experiment = Experiment.load(source, plugins, sys.argv[4:])
fabric = make_fabric(devices=devices, accelerator="cpu")
fabric.launch()
Table.rank, Table.world = fabric.global_rank, fabric.world_size
made = Trainer(experiment, experiment.data.build(DataRequest(seed=3)), fabric=fabric,
               noise=Table(5))
order = made.order
batches = train_batches(made.splits.train, order, start=0, steps=4)
for step in range(4):
    made.advance([next(batches) for _ in range(experiment.train.accumulate)])
state = {f"model.{k}": v.contiguous() for k, v in made.model.state_dict().items()}
state |= {f"objective.{k}": v.contiguous().clone()
          for k, v in made.objective.state_dict().items()}
save_file({k: v.clone() for k, v in state.items()}, f"{out}-{fabric.global_rank}.safetensors")
'''


def train(folder, devices, *overrides):
    script = folder / "worker.py"
    script.write_text(WORKER)
    out = folder / f"weights-{devices}"
    done = subprocess.run(
        [sys.executable, script, folder / "toy.toml", str(devices), out, *overrides],
        capture_output=True, text=True, env=tiny.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [load_file(f"{out}-{rank}.safetensors") for rank in range(devices)]


@pytest.fixture
def folder(tmp_path):
    tiny.write_experiment(tmp_path)
    # Equal lengths: the ranks then draw noise of the very shape that one process draws.
    import numpy as np

    arrays = dict(np.load(tmp_path / "toy.npz"))
    arrays["length"][:] = 9
    np.savez(tmp_path / "toy.npz", **arrays)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [(), ("regularizers.cmi.critic.steps=2", "train.clip=1.0")])
def test_two_ranks_stay_equal_critics_too_and_equal_one_process_on_the_joined_batch(
    folder, overrides
):
    first, second = train(folder, 2, *overrides)
    [alone] = train(folder, 1, *overrides)
    critic = [name for name in alone if "critic" in name]

    assert critic
    for name, value in first.items():
        assert value.equal(second[name]), f"{name} differs between the ranks"
        torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
def test_the_command_line_trains_and_resumes_on_two_devices(tmp_path):
    source = tiny.write_experiment(tmp_path, steps=12, every=5)
    changes = ("--set", "train.workers=1", "--set", "train.bucket=3")
    for name in ("whole", "cut"):
        tiny.run("train", source, *changes, "--devices", 2, "--out", tmp_path / name)
    import shutil

    shutil.rmtree(tmp_path / "cut/checkpoints/step-00000012")
    (tmp_path / "cut/evaluation.json").unlink()

    tiny.run("resume", tmp_path / "cut", "--devices", 2)

    for name in ("metrics.jsonl", "evaluation.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    assert tiny.steps_of(tmp_path / "cut") == list(range(1, 13))
    metrics = json.loads((tmp_path / "cut/metrics.jsonl").read_text().splitlines()[-1])
    assert "valid/elbo" in metrics


@pytest.mark.slow
def test_torchrun_starts_the_ranks_itself(tmp_path):
    source = tiny.write_experiment(tmp_path, steps=3)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "seqvae_core", "train", source, "--out", tmp_path / "run"],
        capture_output=True, text=True, env=tiny.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert tiny.steps_of(tmp_path / "run") == [1, 2, 3]
    assert json.loads((tmp_path / "run/environment.json").read_text())["devices"] == 2


def test_a_checkpoint_of_two_devices_is_refused_on_one(tmp_path):
    source = tiny.write_experiment(tmp_path, steps=2)
    tiny.run("train", source, "--devices", 2, "--out", tmp_path / "run")
    done = tiny.run("resume", tmp_path / "run", code=2)
    assert "was written by 2 devices, not 1" in done.stderr
    assert "Traceback" not in done.stderr
