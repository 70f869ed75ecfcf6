"""Intervals and the equal error rate against known answers and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from seqvae_tasks.rates import active
from seqvae_tasks.statistics import (
    accuracy,
    bootstrap,
    equal_error_rate,
    jackknife,
    r_squared,
    ratio,
)

SEEDS = st.integers(0, 2**31 - 1)


def scan(score, same):
    """Find the crossing of both rates by trying every threshold and a fine line between."""
    thresholds = [np.inf, *sorted(set(score), reverse=True)]
    miss = [float((score[same] < t).mean()) for t in thresholds]
    alarm = [float((score[~same] >= t).mean()) for t in thresholds]
    for i in range(1, len(thresholds)):
        if alarm[i] >= miss[i]:
            share = np.linspace(0.0, 1.0, 20001)
            left = miss[i - 1] + share * (miss[i] - miss[i - 1])
            right = alarm[i - 1] + share * (alarm[i] - alarm[i - 1])
            return float(left[np.abs(left - right).argmin()])
    raise AssertionError


@given(seed=SEEDS, ties=st.booleans(), count=st.integers(4, 60))
def test_equal_error_rate_is_that_of_a_threshold_scan(seed, ties, count):
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    same[:2] = [True, False]
    score = rng.normal(size=count) + same
    score = np.round(score) if ties else score
    assert equal_error_rate(score, same) == pytest.approx(scan(score, same), abs=1e-4)


@given(seed=SEEDS)
def test_equal_error_rate_turns_over_with_the_score_and_ignores_its_scale(seed):
    rng = np.random.default_rng(seed)
    same = np.array([True, False, *(rng.random(40) < 0.4)])
    score = rng.normal(size=42) + same
    rate = equal_error_rate(score, same)
    assert 0.0 <= rate <= 1.0
    assert equal_error_rate(np.exp(score), same) == rate
    assert equal_error_rate(-score, same) == pytest.approx(1.0 - rate)


def test_equal_error_rate_is_0_when_separable_and_half_when_all_scores_tie():
    same = np.array([True, True, False, False])
    assert equal_error_rate(np.array([1.0, 1.0, -1.0, -1.0]), same) == 0.0
    assert equal_error_rate(np.zeros(4), same) == 0.5


def test_equal_error_rate_of_one_kind_of_pair_is_nan():
    assert np.isnan(equal_error_rate(np.zeros(3), np.ones(3, dtype=bool)))


@given(seed=SEEDS, units=st.integers(1, 12), rows=st.integers(1, 40))
def test_bootstrap_interval_holds_the_number_and_stays_in_range(seed, units, rows):
    rng = np.random.default_rng(seed)
    unit = rng.integers(units, size=rows)
    target = rng.integers(2, size=rows)
    sums, statistic = accuracy(target, rng.integers(2, size=rows))
    score = bootstrap(sums, unit, statistic, seed=seed, resamples=50)
    assert score.value == sums[:, 0].mean()
    if len(np.unique(unit)) > 1:
        assert 0.0 <= score.low <= score.value <= score.high <= 1.0
    else:
        assert score.metrics("m") == {"m": score.value}


@pytest.mark.statistical
def test_bootstrap_interval_is_as_wide_as_the_normal_one():
    """Width within 15 %; the quantiles of 4000 draws err by about 2 %: far below 1e-6."""
    rng = np.random.default_rng(0)
    value = rng.normal(size=400)
    sums = np.stack([value, np.ones(400)], 1)
    score = bootstrap(sums, np.arange(400), ratio, seed=1, resamples=4000)
    assert score.high - score.low == pytest.approx(2 * 1.96 * value.std() / 20, rel=0.15)


def test_rows_of_one_unit_are_drawn_together():
    value = np.repeat([0.0, 1.0], 50)
    sums = np.stack([value, np.ones(100)], 1)
    score = bootstrap(sums, np.repeat([7, 3], 50), ratio, seed=0, resamples=500)
    assert (score.low, score.value, score.high) == (0.0, 0.5, 1.0)


@given(seed=SEEDS)
def test_r_squared_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    target = 1e3 + rng.normal(size=30)
    predicted = target + rng.normal(size=30)
    sums, statistic = r_squared(target, predicted)
    assert statistic(sums.sum(0)) == pytest.approx(r2_score(target, predicted))


@given(seed=SEEDS, identities=st.integers(3, 8), blocks=st.integers(3, 8))
def test_jackknife_leaves_out_every_pair_of_an_identity(seed, identities, blocks):
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.arange(identities), 3)
    pair = np.stack(np.triu_indices(len(identity), k=1), 1)
    same = identity[pair[:, 0]] == identity[pair[:, 1]]
    score = rng.normal(size=len(pair)) + same
    found = jackknife(score, same, pair, identity, blocks=blocks)
    assert found.value == equal_error_rate(score, same)
    if identities <= blocks:
        kept = [~(identity[pair] == one).any(1) for one in range(identities)]
        rates = np.array([equal_error_rate(score[rows], same[rows]) for rows in kept])
        error = np.sqrt((identities - 1) * rates.var())
        assert found.high - found.value <= 4.31 * error + 1e-12
        assert (found.high > found.value) == (error > 0.0 and found.value < 1.0)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0 or np.isnan(found.low)


def test_jackknife_of_two_identities_has_no_interval():
    pair = np.stack(np.triu_indices(4, k=1), 1)
    identity = np.array([0, 0, 1, 1])
    same = identity[pair[:, 0]] == identity[pair[:, 1]]
    found = jackknife(same.astype(float), same, pair, identity)
    assert found.value == 0.0
    assert np.isnan(found.low)


@given(seed=SEEDS, threshold=st.floats(0.01, 1.0))
def test_a_unit_is_active_if_its_mean_varies(seed, threshold):
    rng = np.random.default_rng(seed)
    value = rng.normal(size=200)
    value = (value - value.mean()) / value.std()
    scale = np.sqrt(threshold * np.array([0.0, 0.9, 1.1, 100.0]))
    assert active(5.0 + value[:, None] * scale, threshold).tolist() == [False, False, True, True]
