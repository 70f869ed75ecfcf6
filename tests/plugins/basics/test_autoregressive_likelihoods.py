"""Likelihoods of quantised data: proper, stable, and sampled as they say."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal, seeds

from seqvae_basics.autoregressive_config import CategoricalLikelihood, DiscretisedLogisticMixture
from seqvae_basics.discretised import Categorical, LogisticMixture
from seqvae_core.errors import DataError
from seqvae_core.noise import Noise
from seqvae_core.records import Shapes

LEVELS = 256
KINDS = pytest.mark.parametrize("kind", [CategoricalLikelihood, DiscretisedLogisticMixture])


def mixture(seed, *shape, levels=LEVELS, spread=1.0, dtype=torch.float64):
    """Return a mixture of five components whose scales run from below a level to the range."""
    logits, location, log_scale = (normal(seed + i, *shape, 5).to(dtype) for i in range(3))
    return LogisticMixture(
        logits=logits, location=spread * location, log_scale=2.0 * log_scale - 3.0, levels=levels
    )


def every_level(distribution, levels=LEVELS):
    """Return the probability of each level, (levels, ...)."""
    grid = torch.arange(levels).to(distribution.mean) / (levels - 1)
    return torch.stack(
        [distribution.log_prob(level.expand_as(distribution.mean)).exp() for level in grid]
    )


def exact_mean(distribution, levels=LEVELS):
    grid = torch.arange(levels).to(distribution.mean) / (levels - 1)
    return torch.tensordot(grid, every_level(distribution, levels), 1)


# Mixture of logistics ----------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@given(seed=seeds, levels=st.sampled_from([2, 3, 16, 256]))
def test_a_mixture_sums_to_one_over_its_levels(dtype, tolerance, seed, levels):
    total = every_level(mixture(seed, 3, dtype=dtype, levels=levels), levels).sum(0)
    assert total.dtype == dtype
    torch.testing.assert_close(total, torch.ones_like(total), atol=tolerance, rtol=0.0)


@given(
    location=st.floats(-50.0, 50.0), log_scale=st.floats(-7.0, 7.0),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
def test_one_logistic_sums_to_one_wherever_it_lies(location, log_scale, dtype):
    single = LogisticMixture(
        logits=torch.zeros(1, 1, dtype=dtype), location=torch.full((1, 1), location, dtype=dtype),
        log_scale=torch.full((1, 1), log_scale, dtype=dtype), levels=LEVELS,
    )  # fmt: skip
    total = every_level(single).sum(0)
    # a centre and a distance of many scales lose digits of their difference
    tolerance = 1e-12 if dtype == torch.float64 else 2e-3
    torch.testing.assert_close(total, torch.ones_like(total), atol=tolerance, rtol=0.0)


@given(seeds)
def test_a_mixture_is_the_difference_of_distribution_functions(seed):
    q = mixture(seed, 4)
    edges = (torch.arange(LEVELS - 1).double() + 0.5) / (LEVELS - 1) * 2.0 - 1.0
    below = torch.sigmoid((edges[:, None, None] - q.location) * torch.exp(-q.log_scale))
    zero, one = torch.zeros_like(below[:1]), torch.ones_like(below[:1])
    inner = torch.diff(torch.cat([zero, below, one]), dim=0)
    expected = (torch.softmax(q.logits, -1) * inner).sum(-1)
    torch.testing.assert_close(every_level(q), expected, rtol=1e-7, atol=1e-13)


@given(
    value=st.integers(0, 255), location=st.floats(-1e3, 1e3), log_scale=st.floats(-7.0, 7.0),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
def test_a_mixture_has_finite_densities_and_gradients_however_far_off(
    value, location, log_scale, dtype
):
    parts = [
        torch.full((1, 2), number, dtype=dtype, requires_grad=True)
        for number in (0.0, location, log_scale)
    ]
    q = LogisticMixture(logits=parts[0], location=parts[1], log_scale=parts[2], levels=LEVELS)
    log_prob = q.log_prob(torch.tensor([value / 255], dtype=dtype))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert (log_prob <= 1e-6).all()
    assert all(part.grad.isfinite().all() for part in parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_density_of_a_level_far_off_falls_with_its_distance_in_scales(dtype):
    q = LogisticMixture(
        logits=torch.zeros(1, 1, dtype=dtype), location=torch.full((1, 1), -1.0, dtype=dtype),
        log_scale=torch.full((1, 1), math.log(0.001), dtype=dtype), levels=LEVELS,
    )  # fmt: skip
    # the upper tail of a logistic from the lower edge of the highest level on
    expected = -(1.0 - 1.0 / 255 + 1.0) / 0.001
    assert q.log_prob(torch.ones(1, dtype=dtype)).item() == pytest.approx(expected, rel=1e-5)


@given(seed=seeds, spread=st.sampled_from([0.1, 1.0, 3.0]))
def test_a_mixture_mean_is_within_half_a_level_of_the_exact_one(seed, spread):
    q = mixture(seed, 6, spread=spread)
    assert ((q.mean - exact_mean(q)).abs() <= 0.5 / (LEVELS - 1)).all()


def test_the_narrowest_component_puts_nearly_all_on_one_level():
    likelihood = DiscretisedLogisticMixture(components=1).build(Shapes(frame=(1,), decoded=(3,)))
    with torch.no_grad():
        likelihood.head.layer.weight.zero_()
        likelihood.head.layer.bias.copy_(torch.tensor([0.0, 1 / 255, -1e4]))
    q = likelihood(torch.zeros(1, 1, 3))
    assert every_level(q).max().item() == pytest.approx(0.978, abs=0.001)


# Categorical -------------------------------------------------------------------------------------


@given(seeds)
def test_a_categorical_agrees_with_torch(seed):
    logits = 3.0 * normal(seed, 4, 3, 16)
    q, expected = Categorical(logits), torch.distributions.Categorical(logits=logits)
    index = expected.probs.argmin(-1)
    torch.testing.assert_close(q.log_prob(index / 15), expected.log_prob(index))
    torch.testing.assert_close(q.mean, exact_mean(q, 16))
    torch.testing.assert_close(every_level(q, 16).sum(0), torch.ones(4, 3).double())


def test_a_level_without_probability_is_never_drawn():
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf]).expand(10_000, 5)
    drawn = Categorical(logits).rsample(Noise(0))
    assert drawn.unique().tolist() == [0.25, 0.75]


class Edge(Noise):
    """The smallest or the largest number of a uniform draw."""

    def __init__(self, value):
        super().__init__(0)
        self.value = value

    def uniform(self, like):
        return torch.full_like(like, self.value)


@pytest.mark.parametrize("value", [0.0, 1.0 - 2.0**-24])
def test_the_ends_of_the_uniform_draw_give_levels(value):
    noise = Edge(value)
    for q in (Categorical(torch.zeros(2, 3, LEVELS)), mixture(0, 2, 3, dtype=torch.float32)):
        drawn = q.rsample(noise)
        assert drawn.isfinite().all()
        assert ((drawn >= 0.0) & (drawn <= 1.0)).all()


# Both --------------------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(
    "make", [lambda: mixture(5, 1, levels=8), lambda: Categorical(normal(3, 1, 8))]
)
def test_levels_are_drawn_as_often_as_they_are_probable(make):
    """Fixed seed; for a random one the chi-squared test fails once in ten thousand."""
    q = make()
    noise, count = Noise(0), 50_000
    if isinstance(q, Categorical):
        many = Categorical(q.logits.expand(count, -1))
    else:
        spread = (part.expand(count, -1) for part in (q.logits, q.location, q.log_scale))
        many = LogisticMixture(
            **dict(zip(("logits", "location", "log_scale"), spread, strict=True)), levels=8
        )
    observed = torch.bincount((many.rsample(noise) * 7).round().long(), minlength=8)
    expected = count * every_level(q, 8)[:, 0]
    assert expected.min() > 5.0
    assert ((observed - expected).square() / expected).sum() < 29.9  # 7 degrees of freedom


@KINDS
@pytest.mark.parametrize("levels", [2, 16, 256])
def test_support_rounds_to_levels_of_which_each_stays_as_it_is(kind, levels):
    likelihood = kind(levels=levels).build(Shapes(frame=(1,), decoded=(3,)))
    x = torch.rand(50, 4, 1, generator=torch.Generator().manual_seed(0))
    found = likelihood.support(x, Noise(0))
    assert (found - x).abs().max() <= 0.5 / (levels - 1) + 1e-6
    assert likelihood.support(found, Noise(0)).equal(found)
    assert len(found.unique()) <= levels


@KINDS
def test_numbers_outside_the_unit_interval_are_refused(kind):
    likelihood = kind().build(Shapes(frame=(1,), decoded=(3,)))
    with pytest.raises(DataError, match=rf"'{kind.name}' expects x within \[0, 1\], got 0 to 255"):
        likelihood.support(torch.tensor([[[0.0]], [[255.0]]]), Noise(0))


@KINDS
def test_a_part_of_a_grid_is_read_like_the_whole(kind):
    likelihood = kind(levels=7).build(Shapes(frame=(2, 3, 4), decoded=(5, 3, 4))).double()
    features, x = normal(0, 2, 1, 5, 3, 4), torch.linspace(0, 1, 48).double()
    x = likelihood.support(x.reshape(2, 1, 2, 3, 4), Noise(0))
    whole = likelihood(features).log_prob(x)
    for i in range(3):
        for j in range(4):
            here = (..., slice(i, i + 1), slice(j, j + 1))
            torch.testing.assert_close(likelihood(features[here]).log_prob(x[here]), whole[here])


@KINDS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_features_give_float32_densities(kind, dtype):
    likelihood = kind(levels=7).build(Shapes(frame=(2,), decoded=(3,))).to(dtype)
    q = likelihood(torch.ones(2, 1, 3, dtype=dtype))
    assert q.log_prob(torch.ones(2, 1, 2)).dtype == q.mean.dtype == torch.float32


@KINDS
def test_no_gradient_flows_through_levels(kind):
    likelihood = kind(levels=7).build(Shapes(frame=(2,), decoded=(3,)))
    q = likelihood(torch.ones(2, 1, 3))
    assert not q.rsample(Noise(0)).requires_grad
    assert not q.detach().log_prob(torch.ones(2, 1, 2)).requires_grad
    assert q.log_prob(torch.ones(2, 1, 2)).requires_grad
