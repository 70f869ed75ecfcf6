"""What holds of the readings of I(x; z_h) for all posteriors."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from posteriors import brute_force, random_table
from strategies import normal, seeds

from seqvae_core.errors import DataError, ShapeError
from seqvae_core.noise import Noise
from seqvae_influence.closed_form import (
    free_mean_form,
    joint_closed_form,
    kl_to_prior,
    zero_mean_form,
)
from seqvae_influence.decomposition import decompose
from seqvae_influence.mixture import mixture
from seqvae_influence.readings import checked
from seqvae_influence.sampled import joint_shares, leave_one_out, monte_carlo
from seqvae_influence.sandwich import sandwich

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
READINGS = [kl_to_prior, zero_mean_form, free_mean_form, mixture]
tables = st.builds(
    random_table,
    seeds,
    st.integers(2, 40),
    st.integers(1, 4),
    narrowest=st.floats(-8.0, 0.5),
)


def sandwiched(table):
    return sandwich(*table, Noise(1))


# The quadrature ---------------------------------------------------------------------------------


@given(seed=seeds, count=st.integers(2, 60), narrowest=st.floats(-6.0, 0.5))
@example(seed=0, count=2, narrowest=-6.0)
@example(seed=0, count=60, narrowest=0.5)
def test_the_quadrature_is_the_trapezoid_rule_on_one_fine_grid(seed, count, narrowest):
    mean, logvar = random_table(seed, count, 1, narrowest=narrowest)
    expected = brute_force(mean[:, 0], logvar[:, 0])
    assert mixture(mean, logvar).value.item() == pytest.approx(expected, abs=1e-9)


@given(seed=seeds, exponent=st.floats(-12.0, 0.0))
def test_a_narrow_and_a_wide_posterior_are_told_apart_whatever_lies_between(seed, exponent):
    """Where both stand alone the mixture is ln 2 for any ratio of their widths."""
    mean = torch.tensor([[0.0], [40.0]], dtype=torch.float64) + normal(seed, 2, 1)
    logvar = torch.tensor([[0.0], [2.0 * exponent * math.log(10.0)]], dtype=torch.float64)
    torch.testing.assert_close(mixture(mean, logvar).value.item(), math.log(2.0), **CLOSE)


@given(tables)
def test_the_mixture_lies_between_nothing_and_the_ceiling(table):
    found = mixture(*table)
    assert (found.value > -1e-9).all()
    assert (found.value < found.ceiling + 1e-9).all()
    assert found.ceiling == math.log(len(table[0]))
    assert found.saturated.equal(found.value > found.ceiling - found.margin)


@given(tables)
def test_an_estimate_says_what_it_is_and_that_it_is_saturated(table):
    for reading in (mixture, free_mean_form):
        found = reading(*table)
        for h, estimate in enumerate(found.estimates()):
            assert estimate.value == found.value[h]
            assert estimate.stderr == found.stderr[h]
            assert (estimate.bound, estimate.n) == (found.bound, len(table[0]))
            assert "bound" in estimate.note
            assert ("saturated" in estimate.note) == bool(found.saturated[h])


# Order and identities ---------------------------------------------------------------------------


@given(tables)
def test_each_reading_is_at_most_the_next_for_the_same_posteriors(table):
    found = sandwiched(table)
    ascending = [found.mixture, found.free_mean, found.zero_mean, found.kl]
    for lower, upper in pairwise(ascending):
        assert (lower.value <= upper.value + 1e-9).all()


@given(tables)
def test_each_closed_form_and_its_distance_from_the_prior_make_up_the_mean_kl(table):
    mean, logvar = table
    kl = kl_to_prior(mean, logvar).value
    zero, free = zero_mean_form(mean, logvar).value, free_mean_form(mean, logvar).value
    v = (logvar.exp() + mean.square()).mean(0)
    torch.testing.assert_close(zero, 0.5 * (v.log() - logvar.mean(0)))
    torch.testing.assert_close(zero + 0.5 * (v - 1.0 - v.log()), kl)
    v = logvar.exp().mean(0) + mean.var(0, correction=0)
    torch.testing.assert_close(free, 0.5 * (v.log() - logvar.mean(0)))
    distance = 0.5 * (v - 1.0 - v.log() + mean.mean(0).square())
    torch.testing.assert_close(free + distance, kl)


@given(tables)
def test_the_order_runs_from_the_most_informative_factor_down(table):
    found = sandwiched(table)
    ordered = found.mixture.value[found.order]
    assert (ordered[:-1] >= ordered[1:]).all()
    assert [row["factor"] for row in found.table()] == found.order.tolist()


@given(tables)
def test_a_factor_told_apart_is_above_the_next_by_its_own_bounds(table):
    found = sandwiched(table)
    upper = torch.minimum(found.leave_one_out.value, found.free_mean.value)
    ahead = found.mixture.value[found.order[:-1]] > upper[found.order[1:]]
    assert (ahead | ~found.apart).all()


# Invariances ------------------------------------------------------------------------------------


@given(table=tables, seed=seeds, reading=st.sampled_from(READINGS))
def test_the_order_of_posteriors_and_of_factors_does_not_matter(table, seed, reading):
    mean, logvar = table
    rows, columns = (Noise(seed).permutation(size) for size in mean.shape)
    found = reading(mean[rows][:, columns], logvar[rows][:, columns])
    torch.testing.assert_close(found.value, reading(mean, logvar).value[columns], **CLOSE)
    torch.testing.assert_close(found.stderr, reading(mean, logvar).stderr[columns], **CLOSE)


@given(
    table=tables,
    scale=st.floats(1e-3, 1e3),
    sign=st.sampled_from([-1.0, 1.0]),
    reading=st.sampled_from([zero_mean_form, free_mean_form, mixture]),
)
def test_rescaling_a_factor_changes_nothing(table, scale, sign, reading):
    mean, logvar = table
    found = reading(sign * scale * mean, logvar + 2.0 * math.log(scale))
    torch.testing.assert_close(found.shares, reading(mean, logvar).shares, rtol=1e-7, atol=1e-8)


@given(table=tables, shift=st.floats(-10, 10), reading=st.sampled_from([free_mean_form, mixture]))
def test_shifting_a_factor_changes_what_has_a_free_mean_not_at_all(table, shift, reading):
    mean, logvar = table
    found = reading(mean + shift, logvar)
    torch.testing.assert_close(found.shares, reading(mean, logvar).shares, rtol=1e-7, atol=1e-8)


@given(table=tables, shift=st.floats(1.0, 10.0))
def test_shifting_a_centred_factor_raises_the_zero_mean_form(table, shift):
    mean, logvar = table
    mean = mean - mean.mean(0)
    shifted = zero_mean_form(mean + shift, logvar).value
    assert (shifted > zero_mean_form(mean, logvar).value).all()


@given(table=tables, scale=st.floats(1e-2, 1e2), shift=st.floats(-5, 5))
def test_rescaling_and_shifting_change_no_leaving_out_with_the_same_noise(table, scale, shift):
    mean, logvar = table
    moved = (scale * mean + shift, logvar + 2.0 * math.log(scale))
    found = [leave_one_out(*each, mixture(*each), Noise(3)).shares for each in (table, moved)]
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-7)


@given(table=tables, copies=st.integers(2, 3))
def test_copies_of_all_posteriors_change_no_reading(table, copies):
    mean, logvar = table
    for reading in READINGS:
        found = reading(mean.repeat(copies, 1), logvar.repeat(copies, 1))
        torch.testing.assert_close(found.value, reading(mean, logvar).value, **CLOSE)


@given(seed=seeds, count=st.integers(2, 20), factors=st.integers(1, 3))
def test_identical_posteriors_tell_nothing(seed, count, factors):
    mean, logvar = (each.expand(count, factors) for each in random_table(seed, 1, factors))
    found = sandwiched((mean, logvar))
    for reading in (found.mixture, found.free_mean, found.leave_one_out):
        torch.testing.assert_close(reading.shares, torch.zeros_like(mean), rtol=0.0, atol=1e-9)
    assert joint_closed_form(mean, logvar).value == pytest.approx(0.0, abs=1e-9)


# Products and sums ------------------------------------------------------------------------------


class Still(Noise):
    """Noise that is zero: every sample is its posterior's mean."""

    def normal(self, like):
        return torch.zeros_like(like)


def product(one, other):
    """Return the posteriors of all pairs, a factor from each."""
    return tuple(
        torch.cat([a.repeat_interleave(len(b), 0), b.repeat(len(a), 1)], 1)
        for a, b in zip(one, other, strict=True)
    )


@given(seed=seeds, counts=st.tuples(st.integers(2, 12), st.integers(2, 12)))
def test_the_information_of_independent_factors_adds_up(seed, counts):
    parts = [random_table(seed + i, count, 1) for i, count in enumerate(counts)]
    both = product(*parts)
    for reading in READINGS:
        separate = torch.cat([reading(*part).value for part in parts])
        torch.testing.assert_close(reading(*both).value, separate, **CLOSE)
    assert joint_closed_form(*both).value == pytest.approx(
        float(free_mean_form(*both).value.sum()), abs=1e-9
    )
    joint = joint_shares(*both, Still(0)).value
    assert joint == pytest.approx(float(monte_carlo(*both, Still(0)).value.sum()), abs=1e-9)


@given(tables)
def test_one_gaussian_for_all_factors_bounds_no_more_than_one_for_each(table):
    joint = joint_closed_form(*table).value
    assert joint <= float(free_mean_form(*table).value.sum()) + 1e-9
    assert joint >= float(free_mean_form(*table).value.max()) - 1e-9


@given(tables)
def test_the_parts_make_up_the_mean_kl_and_its_error_is_that_of_their_sum(table):
    found = decompose(*table, Noise(0))
    kl = kl_to_prior(*table)
    assert found.rate.value == pytest.approx(float(kl.value.sum()))
    assert found.factors.value + found.marginals.value == pytest.approx(found.rate.value)
    assert found.rate.stderr == pytest.approx(
        float(kl.shares.sum(1).std()) / math.sqrt(len(table[0]))
    )
    assert found.saturated == (found.joint is None) == (found.total_correlation is None)
    assert found.saturated == bool(found.note)
    if not found.saturated:
        total = found.joint.value + found.total_correlation.value
        assert total == pytest.approx(found.factors.value)


# Streaming and what is taken --------------------------------------------------------------------


@given(table=tables, seed=seeds, held=st.integers(1, 2000), samples=st.integers(1, 3))
def test_streaming_gives_what_one_block_gives(table, seed, held, samples):
    for sampler in (
        lambda **given: monte_carlo(*table, Noise(seed), samples=samples, **given).shares,
        lambda **given: joint_shares(*table, Noise(seed), samples=samples, **given).mi,
        lambda **given: leave_one_out(*table, mixture(*table), Noise(seed), **given).shares,
    ):
        torch.testing.assert_close(sampler(held=held), sampler(held=10**9), **CLOSE)


@given(table=tables, reading=st.sampled_from(READINGS))
def test_single_precision_is_read_in_double(table, reading):
    single = [each.float() for each in table]
    assert reading(*single).shares.equal(reading(*(each.double() for each in single)).shares)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    ("mean", "logvar", "error"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 1), ShapeError),
        (torch.zeros(3), torch.zeros(3), ShapeError),
        (torch.zeros(1, 2), torch.zeros(1, 2), ShapeError),
        (torch.zeros(3, 0), torch.zeros(3, 0), ShapeError),
        (torch.tensor([[0.0], [math.nan]]), torch.zeros(2, 1), DataError),
        (torch.zeros(2, 1), torch.tensor([[0.0], [-math.inf]]), DataError),
    ],
)
def test_what_is_no_table_of_posteriors_is_refused(reading, mean, logvar, error):
    with pytest.raises(error, match="expected"):
        reading(mean, logvar)


def test_a_width_that_vanishes_beside_the_spread_is_refused():
    mean = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    with pytest.raises(DataError, match="got 1e-20 where means lie"):
        mixture(mean, torch.full_like(mean, -40.0 * math.log(10.0)))


def test_a_table_is_read_without_its_graph():
    mean = torch.zeros(2, 1, requires_grad=True)
    assert not any(each.requires_grad for each in checked(mean, mean))
