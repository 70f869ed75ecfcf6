"""Categorical latents: KLs, relaxed samples and their limit, in float64 with drawn seeds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import OneHotCategorical, RelaxedOneHotCategorical, kl_divergence

from seqvae_basics.distributions import Gaussian, GumbelCategorical
from seqvae_core.errors import ConfigError
from seqvae_core.functional import categorical_kl, grouped_log_softmax, gumbel_softmax, one_hot
from seqvae_core.noise import Noise
from seqvae_core.settings import Temperature
from seqvae_core.testing.strategies import seeds

temperatures = st.sampled_from([1.0, 0.7, 0.5, 0.3, 0.1])
groupings = st.tuples(st.integers(1, 3), st.integers(2, 5))


def logits_of(seed, *shape, scale=2.0):
    return scale * Noise(seed).normal(torch.empty(*shape, dtype=torch.float64))


def law_of(seed, grouping, *, rows=6, **settings):
    groups, values = grouping
    return GumbelCategorical(logits_of(seed, rows, groups * values), groups, **settings)


@given(seeds(), groupings)
def test_the_kl_is_that_of_torch_group_by_group(seed, grouping):
    q, p = law_of(seed, grouping), law_of(seed + 1, grouping)
    shape = (6, *grouping)
    expected = kl_divergence(
        OneHotCategorical(logits=q.logits.reshape(shape)),
        OneHotCategorical(logits=p.logits.reshape(shape)),
    )
    found = q.kl(p, q.mean).reshape(shape).sum(2)
    torch.testing.assert_close(found, expected)
    assert bool((found >= -1e-12).all())


@given(seeds(), groupings)
def test_the_kl_to_the_uniform_is_ln_k_less_the_entropy(seed, grouping):
    q = law_of(seed, grouping)
    uniform = GumbelCategorical(torch.zeros_like(q.logits), grouping[0])
    entropy = OneHotCategorical(logits=q.logits.reshape(6, *grouping)).entropy().sum(1)
    expected = grouping[0] * math.log(grouping[1]) - entropy
    torch.testing.assert_close(q.kl(uniform, q.mean).sum(1), expected)


@given(seeds())
def test_the_kl_stays_finite_for_a_posterior_that_is_sure(seed):
    logits = logits_of(seed, 4, 5, scale=1e4)
    assert bool(categorical_kl(logits, torch.zeros(4, 5).double()).isfinite().all())


@given(seeds(), groupings)
def test_the_kl_has_the_gradient_of_its_formula(seed, grouping):
    logits = logits_of(seed, 2, grouping[0] * grouping[1]).requires_grad_()
    prior = logits_of(seed + 1, 2, grouping[0] * grouping[1])
    assert torch.autograd.gradcheck(lambda given: categorical_kl(given, prior, grouping[0]), logits)


@pytest.mark.statistical
def test_the_kl_is_met_by_monte_carlo_of_one_hot_draws():
    """Four standard errors of 50,000 draws: fails about once in 16,000 seeds."""
    q, p = law_of(3, (2, 4), rows=1), law_of(4, (2, 4), rows=1)
    many = GumbelCategorical(q.logits.expand(50_000, -1), 2)
    draws = many.one_hot(Noise(0))
    ratios = (many.log_prob(draws) - p.log_prob(draws)).sum(1)
    error = ratios.std() / math.sqrt(len(ratios))
    assert abs(float(ratios.mean() - q.kl(p, draws).sum())) < 4.0 * float(error)


@pytest.mark.statistical
def test_one_hot_draws_have_the_probabilities():
    """Five standard errors of 50,000 draws for 8 values: fails about once in 200,000 seeds."""
    q = law_of(5, (2, 4), rows=1)
    draws = GumbelCategorical(q.logits.expand(50_000, -1), 2).one_hot(Noise(1))
    error = (q.mean * (1.0 - q.mean) / len(draws)).sqrt()
    assert bool(((draws.mean(0) - q.mean[0]).abs() < 5.0 * error[0]).all())


@given(seeds(), groupings, temperatures)
def test_samples_lie_on_the_simplex_of_each_group(seed, grouping, temperature):
    sample = law_of(seed, grouping, temperature=temperature).rsample(Noise(seed))
    assert bool((sample >= 0.0).all())
    torch.testing.assert_close(
        sample.reshape(6, *grouping).sum(2), torch.ones(6, grouping[0]).double()
    )


@given(seeds(), groupings)
def test_as_the_temperature_goes_to_0_the_sample_becomes_the_one_hot_draw(seed, grouping):
    hard = law_of(seed, grouping).one_hot(Noise(seed))
    cold = law_of(seed, grouping, temperature=1e-6).rsample(Noise(seed))
    torch.testing.assert_close(cold, hard, atol=1e-3, rtol=0.0)


@given(seeds(), groupings, temperatures)
def test_the_largest_number_of_a_sample_is_the_one_hot_draw_at_any_temperature(
    seed, grouping, temperature
):
    law = law_of(seed, grouping, temperature=temperature)
    assert torch.equal(one_hot(law.rsample(Noise(seed)), law.groups), law.one_hot(Noise(seed)))


@given(seeds(), groupings, temperatures)
def test_straight_through_is_one_hot_exactly_with_the_relaxed_gradient(seed, grouping, temperature):
    direction = logits_of(seed + 2, 6, grouping[0] * grouping[1])
    found = {}
    for straight in (False, True):
        law = law_of(seed, grouping, temperature=temperature, straight_through=straight)
        law.logits.requires_grad_()
        sample = law.rsample(Noise(seed))
        (sample * direction).sum().backward()
        found[straight] = sample.detach(), law.logits.grad
    assert set(found[True][0].unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(found[True][0], law_of(seed, grouping).one_hot(Noise(seed)))
    torch.testing.assert_close(found[True][1], found[False][1])


@given(seeds(), temperatures)
def test_the_relaxed_sample_is_that_of_torch_for_the_same_uniform_numbers(seed, temperature):
    logits = logits_of(seed, 5, 4)
    uniform = Noise(seed).uniform(logits)
    law = RelaxedOneHotCategorical(torch.tensor(temperature).double(), logits=logits)
    gumbel = -torch.log(-torch.log(uniform))
    expected = torch.softmax((law.logits + gumbel) / temperature, -1)
    torch.testing.assert_close(gumbel_softmax(logits, uniform, temperature), expected)


def test_a_uniform_number_of_0_gives_a_finite_sample_and_gradient():
    logits = torch.zeros(2, 3, requires_grad=True)
    sample = gumbel_softmax(logits, torch.zeros(2, 3), 0.1)
    sample[:, 0].sum().backward()
    assert bool(sample.isfinite().all())
    assert bool(logits.grad.isfinite().all())


def test_log_prob_of_a_one_hot_value_is_ln_of_its_probability():
    law = law_of(0, (2, 3))
    value = law.one_hot(Noise(0))
    expected = (grouped_log_softmax(law.logits, 2) * value).sum(1)
    torch.testing.assert_close(law.log_prob(value).sum(1), expected)
    torch.testing.assert_close(
        law.log_prob(value).sum(1),
        OneHotCategorical(logits=law.logits.reshape(6, 2, 3))
        .log_prob(value.reshape(6, 2, 3))
        .sum(1),
    )


def test_a_prior_that_is_no_categorical_law_is_refused():
    law = law_of(0, (1, 3))
    zero = torch.zeros_like(law.logits)
    with pytest.raises(ConfigError, match=r"must be a categorical law .*, got Gaussian"):
        law.kl(Gaussian(zero, zero), law.mean)


# The temperature ---------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.floats(0.0, 1e-2), st.floats(0.05, 1.0), st.floats(0.0, 5.0))
def test_an_annealed_temperature_falls_from_its_start_to_its_floor(step, rate, floor, above):
    start = floor + above
    schedule = Temperature(name="annealed", start=start, rate=rate, floor=floor)
    assert schedule(0) == start
    assert floor <= schedule(step + 1) <= schedule(step) <= start
    assert schedule(step) == max(start * math.exp(-rate * step), floor)


def test_the_published_schedule_reaches_its_floor_after_80_000_steps():
    schedule = Temperature(name="annealed")
    assert schedule(0) == 1.0
    assert 80_000 < -math.log(0.3) / 1.5e-5 < 80_300
    assert schedule(80_000) > 0.3 == schedule(80_300) == schedule(10**7)


def test_a_floor_above_the_start_is_refused_unless_the_temperature_is_fixed():
    assert Temperature(start=0.1)(5) == 0.1
    with pytest.raises(ValueError, match=r"'floor' must be <= 'start': 0.3, 0.1"):
        Temperature(name="annealed", start=0.1)
