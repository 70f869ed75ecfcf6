"""Players, accumulation, validation, and what stops a run."""

import copy
import json
import math
import subprocess
import sys
from typing import ClassVar

import pytest
import tiny
import torch
from attrs import evolve, frozen
from safetensors.torch import load_file

from seqvae_core import runs
from seqvae_core.components import DataRequest, Regularizer, RegularizerConfig
from seqvae_core.devices import make_fabric
from seqvae_core.errors import CheckpointError, ConfigError, DataError, TrainingError
from seqvae_core.experiment import Experiment
from seqvae_core.loading import collate, train_batches
from seqvae_core.records import Noise, Splits
from seqvae_core.runs import train
from seqvae_core.testing import plugins_with
from seqvae_core.training import Trainer


@pytest.fixture
def experiment(tmp_path, plugins):
    return lambda *overrides: Experiment.load(
        tiny.write_experiment(tmp_path), plugins, list(overrides)
    )


@pytest.fixture
def trainer(experiment):
    def make(*overrides, **options):
        found = experiment(*overrides)
        return Trainer(found, found.data.build(DataRequest(seed=found.seed)), **options)

    return make


class Silence(Noise):
    """Noise that is always zero: samples are means, whatever the batch's size."""

    def _draw(self, like, method):
        return torch.zeros_like(like)


def snapshot(module):
    return copy.deepcopy(module.state_dict())


def changed(before, module):
    return {name for name, value in module.state_dict().items() if not value.equal(before[name])}


def batches(trainer, steps=1):
    return list(train_batches(trainer.splits.train, trainer.order, start=0, steps=steps))


def test_each_player_moves_only_its_own_parameters(trainer):
    made = trainer()
    critic, model = made.players
    [batch] = batches(made)
    out = made.model(batch, made.noise)
    for player, mover, other in (
        (critic, made.objective.terms["cmi"].critic, made.model),
        (model, made.model, made.objective.terms["cmi"].critic),
    ):
        own, foreign = snapshot(mover), snapshot(other)
        seen = out if player is model else out.detach()
        made.fabric.backward(player.loss(seen), inputs=player.parameters)
        player.optimizer.step()
        player.optimizer.zero_grad()

        assert changed(own, mover)
        assert not changed(foreign, other)


def test_critics_step_before_the_model_unless_they_say_after(trainer):
    assert [p.name for p in trainer().players] == ["cmi/critic", "model"]
    after = trainer("regularizers.cmi.critic.after=true")
    assert [p.name for p in after.players] == ["model", "cmi/critic"]


def test_a_critic_takes_as_many_steps_as_it_is_given(trainer):
    made = trainer("regularizers.cmi.critic.steps=3")
    made.advance(batches(made))
    states = made.players[0].optimizer.state_dict()["state"].values()
    assert {int(state["step"]) for state in states} == {3}


def test_gamma_zero_trains_the_very_model_of_the_plain_vae(trainer):
    plain, zero = trainer("regularizers=[]"), trainer("regularizers.cmi.weight=0.0")
    for made in (plain, zero):
        for batch in batches(made, steps=4):
            made.advance([batch])
    assert not changed(snapshot(plain.model), zero.model)


def test_accumulated_micro_batches_equal_the_large_batch_without_critics(trainer):
    noise = Silence(0)
    whole = trainer("regularizers=[]", noise=noise)
    parts = trainer("regularizers=[]", "train.accumulate=4", noise=noise)
    for step in range(3):
        order = {"start": step, "steps": step + 1}
        one = whole.advance(list(train_batches(whole.splits.train, whole.order, **order)))
        four = parts.advance(list(train_batches(parts.splits.train, parts.order, **order)))
        assert one["loss"] == pytest.approx(four["loss"], rel=1e-5)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_accumulation_logs_the_mean_of_the_critic_and_moves_it_once(trainer):
    made = trainer("train.accumulate=2")
    metrics = made.advance(batches(made))
    states = made.players[0].optimizer.state_dict()["state"].values()
    assert {int(state["step"]) for state in states} == {1}
    assert 0.0 < metrics["cmi/critic"] < 2.0


def test_the_true_elbo_is_logged_beside_the_trained_loss(trainer):
    made = trainer("model.latents.z.kl.weight=3.0", "regularizers.cmi.weight=0.25")
    metrics = made.advance(batches(made))
    assert metrics["elbo"] == pytest.approx(
        -(metrics["nll"] + metrics["kl/z"] + metrics["kl/s"]), rel=1e-6
    )
    assert metrics["loss"] == pytest.approx(
        metrics["nll"] + 3.0 * metrics["kl/z"] + metrics["kl/s"] + 0.25 * metrics["cmi"], rel=1e-6
    )


def test_clipping_bounds_the_step_of_every_player(trainer):
    made = trainer("train.clip=0.01", "train.optimizer={name='sgd', lr=0.1}")
    before = snapshot(made.model)
    metrics = made.advance(batches(made))
    moved = sum((made.model.state_dict()[k] - v).square().sum() for k, v in before.items())
    assert float(moved) ** 0.5 <= 1.01 * made.config.optimizer.lr * 0.01
    assert {"model/grad_norm", "cmi/critic/grad_norm"} <= metrics.keys()


def test_the_learning_rate_falls_to_zero_along_a_cosine(trainer):
    made = trainer()
    rates = [made.advance([batch])["lr"] for batch in batches(made, steps=30)]
    expected = [3e-3 * 0.5 * (1 + math.cos(math.pi * t / 30)) for t in range(30)]
    assert rates == pytest.approx(expected)


def test_bf16_mixed_keeps_likelihood_and_kl_in_float32(trainer):
    made = trainer(fabric=make_fabric(precision="bf16-mixed"))
    [batch] = batches(made)
    out = made._modules["model"](batch, made.noise)
    with made.fabric.autocast():
        losses = made.objective(out, 0)
    assert {value.dtype for value in losses.raw.values()} == {torch.float32}
    assert made.advance([batch])["loss"] == pytest.approx(losses.total.mean().item(), rel=0.1)


@pytest.mark.parametrize(("asked", "allowed"), [("highest", False), ("high", True)])
def test_convolutions_have_the_precision_that_torch_is_asked_for(asked, allowed, monkeypatch):
    from seqvae_core.devices import make_fabric

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not allowed)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(asked)
    try:
        make_fabric(accelerator="cpu")
        assert torch.backends.cudnn.allow_tf32 == allowed
    finally:
        torch.set_float32_matmul_precision(before)


NEWER = """
import torch
torch.backends.{switch} = "tf32"
from seqvae_core.devices import make_fabric
make_fabric(accelerator="cpu")
assert torch.backends.{switch} == "tf32"
assert torch.backends.cudnn.conv.fp32_precision == "tf32"
"""


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch has it not yet")
@pytest.mark.parametrize("switch", ["fp32_precision", "cuda.matmul.fp32_precision"])
def test_the_newer_switches_of_torch_are_left_as_they_are(switch):
    subprocess.run([sys.executable, "-c", NEWER.format(switch=switch)], check=True)


def test_weights_that_are_not_finite_are_never_saved(experiment, tmp_path, plugins):
    found = experiment("train.optimizer={name='sgd', lr=1e30}", "train.checkpoint_every=1")
    with pytest.raises((TrainingError, CheckpointError), match="step") as raised:
        train(found, tmp_path / "run", plugins=plugins)
    assert "\n" not in str(raised.value)
    for path in (tmp_path / "run").rglob("*.safetensors"):
        assert all(value.isfinite().all() for value in load_file(path).values())


class Burst(Regularizer):
    """Zero for ten batches, then NaN."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, out):
        self.seen += 1
        return torch.full((len(out.batch),), math.nan if self.seen > 10 else 0.0)


@frozen(kw_only=True)
class BurstConfig(RegularizerConfig):
    name: ClassVar[str] = "toy-burst"

    def build(self, shapes):
        return Burst()


def test_a_loss_that_is_not_finite_stops_the_run_naming_the_term_and_keeps_the_checkpoint(
    tmp_path, plugins
):
    known = plugins_with(BurstConfig, base=plugins)
    changes = ["regularizers=['toy-burst']", "data.split.valid=0.0", "train.checkpoint_every=4"]
    found = Experiment.load(tiny.write_experiment(tmp_path), known, changes)
    with pytest.raises(TrainingError, match=r"^'toy-burst' is nan at step 11: training stopped$"):
        train(found, tmp_path / "run", plugins=known)
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000008"]
    assert tiny.steps_of(tmp_path / "run") == list(range(1, 11))


def test_early_stopping_ends_after_patience_and_keeps_the_best_as_a_copy(
    experiment, tmp_path, plugins
):
    found = experiment("train.steps=200", "train.valid_every=2", "train.patience=2",
                       "train.optimizer.lr=0.3", "train.optimizer.decay=none")  # fmt: skip
    run = train(found, tmp_path / "run", plugins=plugins)

    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    values = {line["step"]: -line["valid/elbo"] for line in lines if "valid/elbo" in line}
    assert run.step < 200
    assert list(values.values())[-3] == min(values.values())
    from safetensors import safe_open

    with safe_open(run.path / "best" / "weights.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["seqvae"])
    assert about["step"] == min(values, key=values.get)


def test_only_the_newest_checkpoints_are_kept(experiment, tmp_path, plugins):
    run = train(experiment("train.checkpoint_every=5", "train.keep=3"), tmp_path / "run",
                plugins=plugins)  # fmt: skip
    names = sorted(path.name for path in (run.path / "checkpoints").iterdir())
    assert names == ["step-00000020", "step-00000025", "step-00000030"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.batch_size=61", "fewer than train.batch_size = 61"),
        ("train.accumulate=3", "'batch_size' must be a multiple of 'accumulate': 8, 3"),
    ],
)
def test_a_batch_that_cannot_be_cut_is_refused_in_one_line(experiment, trainer, change, message):
    with pytest.raises((ConfigError, DataError), match=message):
        trainer(change)


def test_a_critic_of_several_steps_is_refused_where_players_step_together(trainer):
    with pytest.raises(ConfigError, match="'cmi/critic' has 3 steps for each of the model's, but"):
        trainer("regularizers.cmi.critic={name='conv', steps=3}", "train.accumulate=2")


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_weights_in_16_bits_are_refused_in_one_line(precision):
    with pytest.raises(ConfigError, match=f"precision '{precision}' .*; expected 32-true, 64-true"):
        make_fabric(precision=precision)


def test_a_kl_warm_up_below_gamma_is_refused_before_training(trainer):
    warm = 'model.latents.z.kl={schedule={name="linear", steps=10}}'
    with pytest.raises(ConfigError, match=r"net weight of KL\(z\) \(with cmi\) must be > 0"):
        trainer(warm)
    trainer(warm, 'regularizers.cmi.schedule={name="linear", steps=10}')


def test_any_torch_dataset_of_tensors_or_dicts_trains(experiment):
    found = evolve(experiment(), regularizers=())
    tensors = [torch.randn(5 + i % 3, 4) for i in range(20)]
    dicts = [{"x": value, "length": 4, "speaker": i} for i, value in enumerate(tensors)]
    masked = [{"x": v, "mask": torch.arange(len(v)) < 3} for v in tensors]
    from seqvae_core.records import Splits

    for data in (tensors, dicts, masked):
        made = Trainer(found, Splits(train=data, valid=[], test=data))
        assert math.isfinite(made.advance(batches(made))["loss"])
        assert collate(data[:2]).x.shape[2:] == (4,)


# Data at hand -----------------------------------------------------------------------------------


def test_a_run_on_data_given_from_python_is_resumed_and_evaluated_with_them_alone(
    tmp_path, plugins
):
    data = [torch.randn(5, 4, generator=torch.Generator().manual_seed(i)) for i in range(12)]
    splits = Splits(train=data[:8], valid=data[8:10], test=data[10:])
    source = tiny.write_experiment(tmp_path, steps=2, every=1)
    experiment = Experiment.load(source, plugins, ["data.path=nowhere.npz"])
    run = runs.train(experiment, tmp_path / "run", plugins=plugins, splits=splits)
    assert run.step == 2
    found = runs.evaluate(tmp_path / "run", plugins=plugins, splits=splits)
    assert found["rates"] == runs.read_evaluation(tmp_path / "run")["rates"]
    for action in (runs.resume, runs.evaluate):
        with pytest.raises(CheckpointError, match="was trained on data given from Python"):
            action(tmp_path / "run", plugins=plugins)
    assert runs.resume(tmp_path / "run", plugins=plugins, splits=splits).step == 2
