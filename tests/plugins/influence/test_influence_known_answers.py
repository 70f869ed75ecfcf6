"""The readings of I(x; z_h) where the truth is known."""

import math

import pytest
import torch
from posteriors import gaussian_channel, random_table
from strategies import normal

from seqvae_core.errors import ShapeError
from seqvae_core.noise import Noise
from seqvae_influence.closed_form import (
    SUMMED,
    free_mean_form,
    joint_closed_form,
    kl_to_prior,
    zero_mean_form,
)
from seqvae_influence.decomposition import decompose
from seqvae_influence.mixture import mixture
from seqvae_influence.sampled import leave_one_out, monte_carlo
from seqvae_influence.sandwich import sandwich

VARIANCES = [(0.3, 0.602), (0.05, 1.498), (0.0015, 3.251)]


@pytest.mark.parametrize(("variance", "truth"), VARIANCES)
@pytest.mark.parametrize("reading", [kl_to_prior, zero_mean_form, free_mean_form, mixture])
def test_every_reading_finds_a_gaussian_channels_information(reading, variance, truth):
    assert -0.5 * math.log(variance) == pytest.approx(truth, abs=1e-3)
    assert reading(*gaussian_channel(variance)).value.item() == pytest.approx(truth, abs=5e-3)


@pytest.mark.parametrize("reading", [kl_to_prior, zero_mean_form, free_mean_form])
def test_posteriors_that_are_the_prior_tell_exactly_nothing(reading):
    zero = torch.zeros(10, 3)
    assert reading(zero, zero).value.eq(0.0).all()
    assert reading(zero, zero).stderr.eq(0.0).all()


def test_two_clumps_tell_one_of_two_and_the_closed_form_says_far_more():
    mean = math.sqrt(0.99) * torch.tensor([[1.0], [-1.0]], dtype=torch.float64).repeat(50, 1)
    logvar = torch.full_like(mean, math.log(0.01))
    assert mixture(mean, logvar).value.item() == pytest.approx(math.log(2.0), abs=1e-9)
    for form in (zero_mean_form, free_mean_form):
        assert form(mean, logvar).value.item() == pytest.approx(2.303, abs=1e-3)


def test_an_aggregate_off_zero_misleads_the_zero_mean_form_alone():
    table = gaussian_channel(0.3, centre=2.0)
    assert zero_mean_form(*table).value.item() == pytest.approx(1.406, abs=2e-3)
    for reading in (free_mean_form, mixture):
        assert reading(*table).value.item() == pytest.approx(0.602, abs=2e-3)


@pytest.mark.statistical
@pytest.mark.parametrize(("count", "expected"), [(100, 4.53), (1000, 6.29), (10_000, 6.83)])
def test_the_mixture_nears_a_large_information_from_below_as_the_sample_grows(count, expected):
    """Within 0.05; over seeds the standard deviation is 0.012 at most (seed fixed)."""
    table = gaussian_channel(1e-6, means=normal(0, count))
    found = mixture(*table)
    assert found.value.item() == pytest.approx(expected, abs=0.05)
    assert found.saturated.item() == (count < 10_000)


@pytest.mark.statistical
def test_the_standard_errors_are_the_spread_over_samples():
    """A spread of 300 samples is known to 4 %: 15 % is 3.7 of its standard errors (seed fixed)."""
    count, runs = 100, 300
    mean, logvar = random_table(5, count, runs, narrowest=-3.0)
    for reading in (kl_to_prior, zero_mean_form, free_mean_form, mixture):
        found = reading(mean, logvar)  # each column is a sample
        assert found.stderr.mean().item() == pytest.approx(found.value.std().item(), rel=0.15)
    left_out = leave_one_out(mean, logvar, mixture(mean, logvar), Noise(0))
    assert left_out.stderr.mean().item() == pytest.approx(left_out.value.std().item(), rel=0.15)


@pytest.mark.statistical
@pytest.mark.parametrize("variance", [0.3, 0.05, 0.0015])
def test_the_two_mixtures_lie_on_their_sides_of_the_truth_in_expectation(variance):
    """Means of 200 samples of 100, each four standard errors of the mean off at most (seed)."""
    mean, logvar = gaussian_channel(variance, means=normal(2, 100 * 200))
    mean, logvar = mean.reshape(100, 200), logvar.reshape(100, 200)
    lower = mixture(mean, logvar)
    upper = leave_one_out(mean, logvar, lower, Noise(0))
    truth = -0.5 * math.log(variance)
    error = lower.value.std().item() / math.sqrt(200)
    assert lower.value.mean().item() < truth + 4.0 * error
    error = upper.value.std().item() / math.sqrt(200)
    assert upper.value.mean().item() > truth - 4.0 * error


@pytest.mark.statistical
def test_samples_find_what_the_quadrature_finds():
    """Each of 20 factors within four standard errors of the difference (seed fixed)."""
    table = random_table(1, 300, 20, narrowest=-6.0)
    exact, sampled = mixture(*table), monte_carlo(*table, Noise(0), samples=4)
    difference = sampled.shares - exact.shares
    error = difference.std(0) / math.sqrt(300)
    assert (difference.mean(0).abs() < 4.0 * error).all()
    assert sampled.ceiling == exact.ceiling


@pytest.mark.statistical
def test_leaving_one_out_raises_the_mixture_by_more_than_its_samples_error():
    """Each of 20 factors but for four standard errors of what it adds (seed fixed)."""
    table = random_table(2, 300, 20, narrowest=-6.0)
    mixed = mixture(*table)
    added = leave_one_out(*table, mixed, Noise(0)).shares - mixed.shares
    assert (added.mean(0) > -4.0 * added.std(0) / math.sqrt(300)).all()


def test_leaving_one_out_explodes_where_posteriors_stand_alone_and_the_note_says_so():
    mean = torch.arange(8, dtype=torch.float64)[:, None] * 100.0
    found = sandwich(mean, torch.zeros_like(mean), Noise(0))
    assert found.mixture.value.item() == pytest.approx(math.log(8))
    assert found.leave_one_out.value.item() > 4000.0
    assert any(
        "leave-one-out is more than 1 nats above the closed form on 1" in note
        for note in found.notes
    )
    assert any("saturated, within 1 nats of ln 8" in note for note in found.notes)


def test_leaving_one_out_takes_the_mixture_of_the_same_posteriors():
    table = gaussian_channel(0.3, count=4)
    with pytest.raises(ShapeError, match=r"posteriors, \(4, 1\), got one of \(5, 1\)"):
        leave_one_out(*table, mixture(*gaussian_channel(0.3, count=5)), Noise(0))


# The decomposition ------------------------------------------------------------------------------


def correlated(count, correlation, variance=0.2):
    """Return posteriors of two factors whose aggregate is Gaussian with a correlation."""
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance - variance * torch.eye(2))
    mean = normal(4, count, 2) @ factor.T
    return mean, torch.full_like(mean, math.log(variance))


@pytest.mark.statistical
def test_the_joint_information_and_the_total_correlation_of_gaussians_are_found():
    """Within four of their standard errors, and of a bias below 0.01 (seed fixed)."""
    found = decompose(*correlated(2000, 0.7), Noise(0))
    total_correlation = -0.5 * math.log(1.0 - 0.7**2)
    factors = -math.log(0.2)
    for estimate, truth in (
        (found.factors, factors),
        (found.joint, factors - total_correlation),
        (found.joint_bound, factors - total_correlation),
        (found.total_correlation, total_correlation),
    ):
        assert estimate.value == pytest.approx(truth, abs=4.0 * estimate.stderr + 0.01)
    least = found.total_correlation_bound
    assert least.bound == "lower"
    assert 0.0 < least.stderr < found.factors.stderr + found.joint_bound.stderr
    assert least.value == pytest.approx(total_correlation, abs=4.0 * least.stderr + 0.01)
    assert least.value == pytest.approx(found.factors.value - found.joint_bound.value)
    assert found.marginals.value == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(
    ("variance", "factors", "why"),
    [
        (1e-6, 1, "a single factor's is near ln 500"),
        (0.02, 8, "the joint mixture is near its ceiling, ln 500"),
    ],
)
def test_a_joint_information_near_the_ceiling_is_not_given_as_an_estimate(variance, factors, why):
    mean = math.sqrt(1.0 - variance) * normal(3, 500, factors)
    found = decompose(mean, torch.full_like(mean, math.log(variance)), Noise(0))
    assert found.saturated
    assert found.joint is None
    assert found.total_correlation is None
    assert why in found.note
    truth = -0.5 * factors * math.log(variance)
    assert found.joint_bound.value == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize("logvar", [-10.0, -20.0, -26.0])
def test_two_equal_factors_hold_together_what_their_mean_does(logvar):
    """½ ln((2v + σ²)/σ²), also where the covariance is singular to twelve digits."""
    mean = normal(6, 300, 1).repeat(1, 2)
    found = joint_closed_form(mean, torch.full_like(mean, logvar))
    noise, spread = math.exp(logvar), float(mean[:, 0].var(correction=0))
    truth = 0.5 * math.log((2.0 * spread + noise) / noise)
    assert found.value == pytest.approx(truth, abs=1e-3)


@pytest.mark.parametrize(
    ("mean", "logvar"),
    [(normal(6, 300, 1).repeat(1, 2), -34.0), (normal(6, 300, 1).repeat(1, 2), -40.0),
     (normal(6, 300, 1).repeat(1, 3), -60.0), (normal(6, 20, 40), -36.0)],
    ids=["two alike", "two more alike", "three alike", "more factors than posteriors"],
)  # fmt: skip
def test_where_a_joint_gaussian_is_singular_the_sum_over_factors_takes_its_place(mean, logvar):
    table = mean, torch.full_like(mean, logvar)
    found = decompose(*table, Noise(0))
    assert found.joint_bound.note == joint_closed_form(*table).note == SUMMED
    assert found.joint_bound.bound == "upper"
    assert found.joint_bound.value == pytest.approx(float(free_mean_form(*table).value.sum()))
    assert math.isfinite(found.total_correlation_bound.value)


def test_of_two_posteriors_not_every_factor_is_saturated():
    """The margin is half of ln M at most: ln 2 is less than one nat."""
    mean = torch.tensor([[0.0, -9.0], [0.5, 9.0]])
    found = mixture(mean, torch.zeros(2, 2))
    assert found.saturated.tolist() == [False, True]
    assert mixture(mean.repeat(50, 1), torch.zeros(100, 2)).margin == 1.0


# The sandwich -----------------------------------------------------------------------------------


def three_channels(count=2000):
    """Return factors of 0.602, 3.251 and 0.6 nats: two of them are too close to call."""
    variances = (0.3, 0.0015, 0.301)
    parts = [gaussian_channel(v, means=normal(i, count)) for i, v in enumerate(variances)]
    return [torch.cat(each, 1) for each in zip(*parts, strict=True)]


def test_factors_too_close_to_call_are_not_told_apart():
    found = sandwich(*three_channels(), Noise(0))
    assert found.order[0] == 1
    assert found.apart.tolist() == [True, False]
    assert found.notes == [
        "1 of 2 neighbours in the order are told apart by two standard errors, bounds included: "
        "trust the order between those alone"
    ]


def test_the_table_has_a_row_a_factor_and_room_for_the_decoded_side():
    mean, logvar = three_channels(200)
    plain = sandwich(mean, logvar, Noise(0)).table()
    assert [row["apart"] for row in plain] == ["yes", "no", None]
    assert "decoded" not in plain[0]

    beside = sandwich(mean, logvar, Noise(0), decoded=mixture(mean, logvar)).table()

    for row in beside:
        assert row["decoded"] == row["mixture"] <= row["zero mean"]
        assert row["decoded: standard error"] == row["mixture: standard error"]
