"""The task on models whose posteriors are known."""

import math

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from posteriors import quantiles
from strategies import normal
from torch import nn

from seqvae_basics.config import AutoregressiveGaussian, Identity
from seqvae_basics.distributions import Gaussian
from seqvae_core.components import Encoder
from seqvae_core.errors import ShapeError
from seqvae_core.functional import masked_mean
from seqvae_core.records import Noise, Splits, Variable
from seqvae_core.testing.small import small_model, small_shapes, small_splits
from seqvae_influence import seqvae_tasks
from seqvae_influence.beside import Beside
from seqvae_influence.config import Influence
from seqvae_influence.finding import Finding
from seqvae_influence.posteriors import Posteriors, collect, gaussian
from seqvae_influence.ranking import largest_gap, rank_correlations
from seqvae_influence.readings import Reading
from seqvae_influence.selection_config import FactorSelection, FanoBound, ReconstructionBound

VARIANCES = torch.tensor([0.3, 0.05, 1.0])
TRUTH = [0.602, 1.498, 0.0]
COUNT, FRAMES = 400, 4
LATENTS = {
    "z": Variable(name="z", scope="global", shape=(3,)),
    "s": Variable(name="s", scope="local", shape=(3,)),
}
SHAPES = evolve(small_shapes(), latents=LATENTS)


class Channels(Encoder):
    """Means are the frames, over time or one by one; variances are those of the channels."""

    def __init__(self, family=Gaussian):
        super().__init__()
        self.family, self.logvar = family, nn.Parameter(VARIANCES.log())

    def forward(self, features, mask, draw):
        draw("z", self.family(masked_mean(features, mask), self.logvar))
        draw("s", self.family(features, self.logvar))


class Laplace(Gaussian):
    """Has a log variance, and another density."""

    def log_prob(self, value):
        scale = torch.exp(0.5 * self.logvar) / math.sqrt(2.0)
        return -torch.log(2.0 * scale) - (value - self.mean).abs() / scale


def model_of(family=Gaussian, **priors):
    model = small_model(SHAPES, backbone=Identity(), priors=priors)
    model.encoder = Channels(family)
    return model


def constant(count=COUNT, *, frames=FRAMES, junk=0):
    """Return sequences of equal frames; each channel's aggregated posterior is N(0, 1)."""
    generator = torch.Generator().manual_seed(0)
    means = [quantiles(count)[torch.randperm(count, generator=generator)] for _ in VARIANCES]
    means = ((1.0 - VARIANCES).sqrt() * torch.stack(means, 1)).float()
    items = [{"x": mean.expand(frames, 3)} for mean in means]
    if junk:
        end = torch.full((junk, 3), torch.nan)
        items = [{"x": torch.cat([item["x"], end]), "length": frames} for item in items]
    return Splits(train=items[: count // 2], valid=[], test=items)


def run(data=None, model=None, **settings):
    model = model or model_of()
    return Influence(**settings).build(model.shapes)(model, data or constant(), Noise(0))


def values(result, name, width=3):
    return [result.metrics[f"mi/{name}/{h}"] for h in range(width)]


@pytest.fixture(scope="module")
def found():
    return run()


# Known answers ----------------------------------------------------------------------------------


def test_the_plugin_offers_its_tasks():
    assert seqvae_tasks() == [FactorSelection, FanoBound, Influence, ReconstructionBound]


def test_each_factor_of_gaussian_channels_has_the_information_that_its_variance_says(found):
    assert values(found, "z") == pytest.approx(TRUTH, abs=0.02)
    rows = found.tables["z: factors"]
    assert [row["factor"] for row in rows] == [1, 0, 2]
    for row in rows:
        for bound in ("free mean", "zero mean", "KL"):
            assert row[bound] == pytest.approx(TRUTH[row["factor"]], abs=0.02)
        assert row["leave-one-out"] > row["I_M"] - 0.05


def test_two_of_three_channels_are_influential_by_threshold_as_published_and_by_gap(found):
    for way in ("influential", "influential as published", "active units"):
        assert found.metrics[f"{way}/z"] == 2.0
    assert found.metrics["influential by gap/z"] == 1.0
    assert found.metrics["gap/z"] == pytest.approx(TRUTH[1] - TRUTH[0], abs=0.02)
    selected = [row["selected by"] for row in found.tables["z: factors"]]
    assert selected == ["threshold, closed form, gap", "threshold, closed form", "none"]
    assert run(threshold=1.0).metrics["influential/z"] == 1.0


def test_the_sum_over_factors_has_a_name_of_its_own_and_the_joint_is_estimated_where_it_can_be(
    found,
):
    assert found.metrics["mi plus tc/z"] == pytest.approx(sum(values(found, "z")), abs=1e-9)
    assert found.metrics["joint mi/z"] == pytest.approx(sum(TRUTH), abs=0.2)
    assert found.metrics["kl/z"] == pytest.approx(sum(TRUTH), abs=0.02)
    assert not {"mi/z", "mi/s per frame", "mi/pooled s"} & found.metrics.keys()


def test_equal_frames_tell_and_err_as_much_as_their_sequence(found):
    """Copies neither add information nor make the error smaller."""
    assert values(found, "s per frame") == pytest.approx(values(found, "z"), abs=1e-9)
    errors = [
        [row["standard error"] for row in found.tables[f"{name}: factors"]]
        for name in ("z", "s per frame")
    ]
    assert errors[0] == pytest.approx(errors[1], abs=2e-4)


def test_the_mean_over_time_has_the_posterior_of_a_mean_of_independent_frames(found):
    noise = VARIANCES / FRAMES
    truth = 0.5 * torch.log((1.0 - VARIANCES + noise) / noise)
    assert values(found, "pooled s") == pytest.approx(truth.tolist(), abs=0.03)


def test_what_leaves_one_frame_out_of_many_alike_is_not_taken_for_a_bound(found):
    assert "leave-one-out" in found.tables["z: factors"][0]
    assert "leave-one-out" not in found.tables["s per frame: factors"][0]
    assert "joint mi/s per frame" not in found.metrics
    few = run(constant(6, frames=40))
    assert few.metrics["saturated/s per frame"] == 0.0
    assert any("within 0.896 nats of the ln of the 6 sequences" in note for note in few.notes)


def test_tables_rank_columns_that_agree_alike(found):
    ranks = found.tables["z: rank correlations"]
    alike = {"I_M", "free mean", "zero mean", "KL", "variance of the mean"}
    rows = [row for row in ranks if {row["of"], row["and"]} <= alike]
    assert len(rows) == 10
    for row in rows:
        assert row["Spearman"] == row["Kendall"] == 1.0
    assert found.metrics["rank correlation/z/KL"] == 1.0


# What is read -------------------------------------------------------------------------------------


def test_the_train_part_and_a_single_latent_can_be_asked_for():
    result = run(part="train", latent="z")
    assert result.metrics["ceiling/z"] == pytest.approx(math.log(COUNT // 2))
    assert not [name for name in result.metrics if "s per frame" in name]
    with pytest.raises(ShapeError, match="no latent or local feature 'w'"):
        Influence(latent="w").build(SHAPES)


def test_at_most_so_many_posteriors_are_read_and_a_note_says_so():
    result = run(posteriors=50, pairs=49)
    assert result.metrics["ceiling/z"] == result.metrics["ceiling/s per frame"] == math.log(50)
    assert "50 of the test part's 400 sequences, chosen at random" in result.notes
    assert "s per frame: 50 of 200 frames, chosen at random" in result.notes
    assert any("50 posteriors are more than pairs = 49" in note for note in result.notes)
    assert "leave-one-out" not in result.tables["z: factors"][0]
    assert "joint mi/z" not in result.metrics


def test_a_prior_that_is_not_standard_normal_leaves_out_its_kl_and_says_so(found):
    result = run(constant(30), model_of(s=AutoregressiveGaussian(hidden=4)))
    assert "KL" in found.tables["s per frame: factors"][0]
    assert "KL" not in result.tables["s per frame: factors"][0]
    assert "kl/s per frame" not in result.metrics
    said = "no KL to N(0, 1), which is not the prior here; see the task 'rates'"
    assert f"s per frame: {said}" in result.notes
    assert f"z: {said}" not in result.notes


def test_posteriors_that_are_not_gaussian_are_said_to_be_out_of_reach():
    result = run(constant(20), model_of(Laplace))
    assert result.notes == [
        f"not applicable to '{name}': its posteriors are not Gaussian" for name in ("z", "s")
    ]
    assert not result.metrics


def test_a_single_sequence_has_frames_alone():
    item = {"x": torch.randn(5, 3, generator=torch.Generator().manual_seed(0))}
    result = run(Splits(train=[item], valid=[], test=[item]))
    assert "not applicable to z: it takes two posteriors" in result.notes
    assert "not applicable to pooled s: it takes two posteriors" in result.notes
    assert all(row["standard error"] is None for row in result.tables["s per frame: factors"])
    assert all(np.isfinite(value) for value in result.metrics.values())


def test_sequences_of_one_frame_are_not_pooled():
    assert not [name for name in run(constant(20, frames=1)).tables if "pooled" in name]


def test_padding_changes_nothing():
    plain, longer = run(constant(40)), run(constant(40, junk=3))
    assert plain.metrics == longer.metrics
    assert plain.tables == longer.tables
    assert plain.figures == longer.figures


# Parts --------------------------------------------------------------------------------------------


def test_frames_come_in_order_whatever_the_batches():
    data = small_splits(SHAPES, test=70).test
    model = model_of()
    found = collect(model, data, np.arange(70), ["s"])["s"]
    expected = torch.cat([item["x"] for item in data]).double()
    assert torch.equal(found.mean, expected)
    lengths = torch.tensor([len(item["x"]) for item in data])
    assert torch.equal(found.unit, torch.arange(70).repeat_interleave(lengths))


def test_only_a_gaussian_passes_for_one():
    mean, logvar = torch.zeros(2, 3), torch.zeros(3)
    assert gaussian(Gaussian(mean, logvar)) is not None
    assert gaussian(Laplace(mean, logvar)) is None


@given(shift=st.floats(-3.0, 3.0), units=st.integers(2, 6), copies=st.integers(1, 5))
def test_copies_of_a_share_within_its_unit_leave_the_error_as_it_is(shift, units, copies):
    shares = shift + quantiles(units)[:, None]
    alone = Reading(shares=shares, bound="lower")
    unit = torch.arange(units).repeat_interleave(copies)
    repeated = Reading(shares=shares.repeat_interleave(copies, 0), bound="lower", unit=unit)
    torch.testing.assert_close(repeated.stderr, alone.stderr)
    torch.testing.assert_close(
        torch.tensor(repeated.total().stderr), torch.tensor(alone.total().stderr)
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([0.0, 0.0], (0, 0.0)),
        ([1.5], (1, 1.5)),
        ([0.25, 3.0, 0.5, 2.5], (2, 2.0)),
        ([3.0, 2.5], (2, 2.5)),
    ],
)
def test_the_largest_gap_counts_what_lies_above_it(value, expected):
    assert largest_gap(np.array(value)) == expected


def test_constant_columns_and_pairs_of_factors_have_no_rank_correlation():
    rising, flat = np.arange(4.0), np.ones(4)
    assert [(row["of"], row["and"]) for row in rank_correlations(
        {"a": rising, "b": flat, "c": -rising})] == [("a", "c")]  # fmt: skip
    assert rank_correlations({"a": rising[:2], "b": rising[:2]}) == []


def test_rounding_errors_of_unused_factors_are_tied():
    used = np.array([2.0, 1.0, 0.0, 0.0, 0.0])
    [row] = rank_correlations({"a": used, "b": used + 1e-14 * np.arange(5.0)})
    assert row["Spearman"] == row["Kendall"] == 1.0


def test_few_posteriors_of_many_factors_do_not_bound_the_joint_information():
    mean = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)).double()
    table = Posteriors(name="z", mean=mean, logvar=torch.zeros_like(mean), standard=True)
    notes = Finding.of(Influence(), table, Beside(), Noise(0)).notes()
    assert any("far more than 8² posteriors, and there are 20" in note for note in notes)


def test_equal_factors_without_noise_leave_the_task_standing_and_are_noted():
    mean = normal(0, 100, 1).repeat(1, 2)
    table = Posteriors(name="z", mean=mean, logvar=torch.full_like(mean, -45.0), standard=True)
    found = Finding.of(Influence(), table, Beside(), Noise(0))
    assert any("the covariance of all factors is singular" in note for note in found.notes())
    rows = {row["quantity"]: row for row in found.sums()}
    assert rows["TC, by one Gaussian"]["bound"] == "lower"
    assert rows["TC, by one Gaussian"]["standard error"] is not None
