"""What every task keeps to, and the known answers of those that are not probes."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mirror import mirror, padded, relabelled, sequences, splits

from seqvae_core.components import Estimate, MIEstimator, MIEstimatorConfig
from seqvae_core.errors import ConfigError, SeqVAEError, ShapeError
from seqvae_core.loading import collate
from seqvae_core.records import Noise, Shapes, Splits, Variable
from seqvae_tasks import seqvae_tasks
from seqvae_tasks.config import (
    LatentMap,
    MutualInformation,
    Probe,
    Rates,
    Reconstruction,
    Swap,
    Verification,
)
from seqvae_tasks.config_codes import Traverse, UnsupervisedClassification
from seqvae_tasks.config_disentanglement import DCI, MIG, LocalDisentanglement, Modularity
from seqvae_tasks.config_generation import MCAS, InputInformation, Recovery, SwapJudge
from seqvae_tasks.config_leakage import Leakage
from seqvae_tasks.latent_map import plane
from seqvae_tasks.pictures import grid

PNG = b"\x89PNG\r\n\x1a\n"


class Correlation(MIEstimator):
    """Gaussian I(a; b) of the first dimensions, b averaged over time."""

    def estimate(self, a, b, noise):
        assert torch.isfinite(b.sample).all()
        pooled = (b.sample * b.mask[..., None]).sum(1) / b.mask.sum(1, keepdim=True)
        rho = torch.corrcoef(torch.stack([a.sample[:, 0], pooled[:, 0]]))[0, 1]
        value = -0.5 * torch.log1p(-rho.square())
        return Estimate(value=float(value), stderr=float("nan"), bound="none", n=len(a.mask))


class GaussianMI(MIEstimatorConfig):
    name = "test-gaussian"

    def build(self, shapes):
        assert list(shapes.latents) == ["z", "s"]
        return Correlation()


TASKS = [
    Probe(resamples=50),
    Verification(),
    Leakage(resamples=50, steps=20),
    Rates(resamples=50),
    Reconstruction(resamples=50, pictures=2),
    Swap(pairs=2),
    LatentMap(),
    MutualInformation(estimator=GaussianMI()),
    InputInformation(),
    MCAS(permutations=1, resamples=50),
    SwapJudge(content="phone", judge="linear", resamples=50),
    Recovery(resamples=50),
    LocalDisentanglement(points=20),
    MIG(),
    Modularity(),
    DCI(points=40),
    Traverse(items=1, steps=2, plane_steps=2),
    UnsupervisedClassification(),
]
each_task = pytest.mark.parametrize("config", TASKS, ids=lambda config: config.name)


def run(config, data=None, model=None, seed=0):
    model = model or mirror()
    return config.build(model.shapes)(model, data or splits(train=12, test=12), Noise(seed))


def test_the_plugin_offers_every_task():
    assert {type(config) for config in TASKS} == set(seqvae_tasks())


@each_task
def test_model_is_left_as_it_was(config):
    model = mirror()
    model.train()
    model.decoder.eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    modes = [module.training for module in model.modules()]
    weights = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    run(config, model=model)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(parameter.grad, torch.ones_like(parameter)) for parameter in
               model.parameters())  # fmt: skip
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


@each_task
def test_what_stands_in_the_padding_changes_nothing(config):
    data = splits(train=12, test=12, spread=1.0)
    other = Splits(train=padded(data.train), valid=[], test=padded(data.test), classes=data.classes)
    plain, with_junk = run(config, data), run(config, other)
    assert plain.metrics == with_junk.metrics
    assert plain.tables == with_junk.tables
    assert plain.figures == with_junk.figures


@each_task
def test_same_noise_gives_the_same_result_in_double_precision_too(config, double):
    data = splits(train=12, test=12, spread=1.0)
    first, second = run(config, data, seed=4), run(config, data, seed=4)
    assert first.metrics == second.metrics
    assert first.figures == second.figures


@each_task
def test_metrics_are_finite_numbers_and_figures_are_png(config):
    result = run(config)
    why = [note for note in result.notes if note.startswith("not applicable")]
    assert result.metrics or result.figures or why
    assert all(type(value) is float and np.isfinite(value) for value in result.metrics.values())
    assert all(picture.startswith(PNG) for picture in result.figures.values())


@each_task
def test_one_sequence_a_part_is_no_crash(config):
    if isinstance(config, MutualInformation):
        pytest.skip("the smallest part is the estimator's to say")
    data = Splits(train=sequences(1, seed=1), valid=[], test=sequences(1, seed=2))
    result = run(config, data)
    assert all(np.isfinite(value) for value in result.metrics.values())


# Verification -----------------------------------------------------------------------------------


def test_equal_error_rate_is_0_where_identities_lie_apart():
    metrics = run(Verification(), splits(train=12, test=24)).metrics
    assert metrics["eer/z"] == 0.0
    assert metrics["eer/mean of frames"] <= 0.5


@pytest.mark.statistical
def test_equal_error_rate_of_a_latent_without_the_identity_is_one_half():
    """Within 0.08; over seeds 0 to 19 the rate lay in 0.47 to 0.53."""
    rng = np.random.default_rng(0)
    data = splits(train=12, test=90)
    shuffled = relabelled(data.test, speaker=rng.integers(5, size=90).tolist())
    result = run(Verification(), Splits(train=data.train, valid=[], test=shuffled))
    assert result.metrics["eer/z"] == pytest.approx(0.5, abs=0.08)


def test_both_segments_and_their_averages_are_verified():
    data = splits(train=12, test=24, spread=2.0)
    items = relabelled(
        data.test, speaker=[item["speaker"] for item in data.test], utterance=[*range(12)] * 2
    )
    train = relabelled(
        data.train, speaker=[item["speaker"] for item in data.train], utterance=[*range(12)]
    )
    data = Splits(train=train, valid=[], test=items)
    result = run(Verification(average="utterance"), data)
    assert result.metrics["eer/z by utterance"] <= result.metrics["eer/z"]
    assert list(result.tables) == [
        "speaker: 3 in 24 sequences", "speaker: 3 in 12 sequences by utterance",
    ]  # fmt: skip


@pytest.mark.parametrize(("shift", "kind"), [(0, "closed set: 3"), (3, "open set: 0")])
def test_the_protocol_is_named(shift, kind):
    data = splits(train=12, test=12)
    moved = relabelled(data.test, speaker=[item["speaker"] + shift for item in data.test])
    result = run(Verification(), Splits(train=data.train, valid=[], test=moved))
    assert any(note.startswith(f"{kind} of 3 values") for note in result.notes)


def test_sequences_beyond_the_most_are_left_out_and_said():
    result = run(Verification(sequences=6), splits(train=6, test=24))
    assert any(note.startswith("6 of 24 test sequences") for note in result.notes)


@pytest.mark.parametrize(("labels", "kind"), [([1] * 12, "different"), ([*range(12)], "equal")])
def test_no_pair_of_one_kind_gives_a_note(labels, kind):
    data = splits(train=12, test=12)
    data = Splits(train=data.train, valid=[], test=relabelled(data.test, speaker=labels))
    result = run(Verification(), data)
    assert result.metrics == {}
    assert any(f"no test pair of {kind} 'speaker'" in note for note in result.notes)


# Rates and reconstruction -----------------------------------------------------------------------


def test_rates_are_those_of_the_latents_themselves():
    model, data = mirror(), splits(train=6, test=12)
    metrics = run(Rates(), data, model).metrics
    out = model.output(collate(data.test))
    frames = float(out.batch.mask.sum())
    for name in ("z", "s"):
        kl = out.latents[name].kl().detach()
        assert metrics[f"kl/{name}"] == pytest.approx(float(kl.mean()), rel=1e-5)
    total = float(out.latents["s"].kl().detach().sum())
    assert metrics["kl/s per frame"] == pytest.approx(total / frames, rel=1e-5)
    assert metrics["active units/z"] == 2.0
    assert metrics["elbo per frame"] == pytest.approx(metrics["elbo"] * 12 / frames)


def test_dimensions_add_up_to_the_rate_and_are_sorted():
    result = run(Rates())
    for name in ("z", "s"):
        values = [row["KL, nats a sequence"] for row in result.tables[f"{name}: dimensions"]]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(result.metrics[f"kl/{name}"], abs=1e-3)


def test_reconstruction_of_a_constant_decoder_is_scored_as_that_constant():
    model, data = mirror(), splits(train=12, test=12)
    with torch.no_grad():
        for parameter in model.likelihood.mean.parameters():
            parameter.zero_()
    x = torch.cat([item["x"] for item in data.test]).double()
    average = torch.cat([item["x"] for item in data.train]).double().mean(0)
    metrics = run(Reconstruction(), data, model).metrics
    assert metrics["mse"] == pytest.approx(float(x.square().mean()), rel=1e-5)
    baseline = float((x - average).square().mean())
    assert metrics["mse of the train mean"] == pytest.approx(baseline, rel=1e-5)
    assert metrics["nats per frame"] == metrics["nats per frame at the mean"]


def test_rates_and_reconstruction_do_not_contradict_one_another():
    data = splits(train=12, test=12)
    rates, nats = run(Rates(), data).metrics, run(Reconstruction(), data).metrics
    frames = sum(len(item["x"]) for item in data.test)
    kl = 12 * (rates["kl/z"] + rates["kl/s"]) / frames
    assert -rates["elbo per frame"] == pytest.approx(nats["nats per frame"] + kl, rel=0.1)


# Pictures and mutual information ----------------------------------------------------------------


@given(seed=st.integers(0, 2**31 - 1), rows=st.integers(2, 20), dims=st.integers(2, 6))
def test_a_map_keeps_as_much_of_the_distances_as_a_plane_can(seed, rows, dims):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, dims))
    points, _ = plane(values, "z")
    before = np.linalg.norm(values[:, None] - values, axis=-1)
    after = np.linalg.norm(points[:, None] - points, axis=-1)
    np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize("frame", [(3,), (20,), (1, 8, 8), (3, 8, 8), (2, 8, 8)])
@pytest.mark.parametrize("frames", [1, 12])
def test_sequences_of_every_kind_are_drawn(frame, frames):
    cell = np.random.default_rng(0).normal(size=(frames, *frame))
    assert grid([[cell, cell[:1]]], ["row"], ["long", "short"]).startswith(PNG)


def test_every_label_of_a_sequence_has_a_map():
    assert set(run(LatentMap()).figures) == {"z by pitch", "z by speaker"}


def test_classes_beyond_the_most_and_missing_labels_are_drawn_too():
    data = splits(train=12, test=12)
    labels = {"speaker": [-1, *range(11)], "pitch": [float("nan")] * 12}
    data = Splits(train=data.train, valid=[], test=relabelled(data.test, **labels))
    assert set(run(LatentMap(classes=3), data).figures) == {"z by pitch", "z by speaker"}


@pytest.mark.parametrize("task", [Swap(), LatentMap()], ids=lambda config: config.name)
def test_without_matplotlib_the_error_names_the_extra(task, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(SeqVAEError, match=r"seqvae\[report\]"):
        run(task)


def test_without_matplotlib_reconstruction_keeps_its_numbers(monkeypatch):
    monkeypatch.setattr("seqvae_tasks.reconstruction.available", lambda: False)
    result = run(Reconstruction())
    assert result.metrics
    assert not result.figures
    assert any("matplotlib is missing" in note for note in result.notes)


def test_mutual_information_names_its_latents_and_leaves_no_nan():
    result = run(MutualInformation(estimator=GaussianMI()))
    assert list(result.metrics) == ["mi"]
    assert list(result.tables) == ["I(z;s)"]


def test_mutual_information_asks_which_latents_where_there_are_several():
    names = {"z": "global", "w": "global", "s": "local"}
    latents = {name: Variable(name=name, scope=scope, shape=(2,)) for name, scope in names.items()}
    shapes = Shapes(frame=(4,), latents=latents)
    with pytest.raises(ConfigError, match=r"expected 'a' to name a latent, .* 2: z, w"):
        MutualInformation(estimator=GaussianMI()).build(shapes)
    with pytest.raises(ShapeError, match="no latent or local feature 'q'"):
        MutualInformation(estimator=GaussianMI(), a="q").build(shapes)
