"""Schedules and learning rates at the steps that matter."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core.settings import CONSTANT, OptimizerConfig, Schedule


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (CONSTANT, {0: 1.0, 1: 1.0, 1000: 1.0}),
        (Schedule(name="linear", steps=4), {0: 0.25, 1: 0.5, 3: 1.0, 4: 1.0, 1000: 1.0}),
        (Schedule(name="linear", steps=1), {0: 1.0, 1: 1.0}),
        (Schedule(name="linear", steps=4, start=0.5), {0: 0.625, 1: 0.75, 3: 1.0, 9: 1.0}),
        (Schedule(name="linear", steps=4, start=1.0), {0: 1.0, 2: 1.0, 9: 1.0}),
    ],
)
def test_a_schedule_has_these_values(schedule, factors):
    assert {step: schedule(step) for step in factors} == pytest.approx(factors)


@given(steps=st.integers(1, 100), start=st.floats(0.0, 1.0), step=st.integers(0, 200))
def test_a_schedule_climbs_in_a_line_between_its_corners_to_one(steps, start, step):
    schedule = Schedule(name="linear", steps=steps, start=start)
    first, last = schedule.corners()
    assert 0.0 < schedule(step) <= schedule(step + 1) <= 1.0
    assert schedule(last) == pytest.approx(1.0)
    if first <= step <= last > first:
        share = (step - first) / (last - first)
        line = schedule(first) + share * (schedule(last) - schedule(first))
        assert schedule(step) == pytest.approx(line)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, {0: 1.0, 99: 1.0}),
        ({"warmup": 10}, {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 99: 1.0}),
        ({"decay": "linear"}, {0: 1.0, 50: 0.5, 100: 0.0, 200: 0.0}),
        ({"decay": "cosine"}, {0: 1.0, 25: 0.5 + math.sqrt(0.125), 50: 0.5, 100: 0.0}),
        ({"decay": "linear", "floor": 0.2}, {0: 1.0, 50: 0.6, 100: 0.2, 200: 0.2}),
        ({"decay": "cosine", "floor": 0.2, "warmup": 20}, {19: 1.0, 20: 1.0, 60: 0.6, 100: 0.2}),
        ({"decay": "cosine", "warmup": 100}, {0: 0.01, 99: 1.0}),
    ],
)
def test_a_learning_rate_has_these_values_of_100_steps(settings, rates):
    optimizer = OptimizerConfig(lr=3.0, **settings)
    assert {step: optimizer.rate(step, 100) / 3.0 for step in rates} == pytest.approx(rates)


@given(
    decay=st.sampled_from(["none", "linear", "cosine"]),
    warmup=st.integers(0, 30),
    floor=st.floats(0.0, 1.0),
    step=st.integers(0, 150),
    steps=st.integers(1, 120),
)
def test_a_learning_rate_stays_between_zero_and_lr_and_falls_after_its_warmup(
    decay, warmup, floor, step, steps
):
    optimizer = OptimizerConfig(lr=0.5, decay=decay, warmup=warmup, floor=floor)
    rate, following = (optimizer.rate(at, steps) for at in (step, step + 1))
    assert 0.0 <= rate <= 0.5
    if step >= warmup:
        assert following <= rate + 1e-12
        assert rate >= floor * 0.5 - 1e-12
