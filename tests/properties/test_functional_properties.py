"""What holds of the pure maths for all inputs."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import masks, normal, seeds
from torch.distributions import Normal, kl_divergence

from seqvae_core.functional import (
    full_precision,
    gaussian_kl,
    gaussian_log_prob,
    log_mean_exp,
    masked_mean,
    masked_sum,
    precomputed_gradient,
    zero_padding,
)

extremes = st.floats(-30.0, 30.0)
garbage = st.sampled_from([math.nan, math.inf, -math.inf, 1e300, 0.0])


def gaussians(seed, *shape):
    """Return mean and ln σ² of q and of p."""
    return [3.0 * each for each in normal(seed, 4, *shape)]


def scale(*logvars):
    return [torch.exp(0.5 * each) for each in logvars]


# KL and log density -----------------------------------------------------------------------------


@given(seed=seeds)
def test_the_kl_and_the_log_density_are_those_of_torch(seed):
    mean, logvar, prior_mean, prior_logvar = gaussians(seed, 5, 3)
    q_scale, p_scale = scale(logvar, prior_logvar)
    expected = kl_divergence(Normal(mean, q_scale), Normal(prior_mean, p_scale))
    torch.testing.assert_close(gaussian_kl(mean, logvar, prior_mean, prior_logvar), expected)
    value = normal(seed + 1, 5, 3)
    torch.testing.assert_close(
        gaussian_log_prob(value, mean, logvar), Normal(mean, q_scale).log_prob(value)
    )


@given(seed=seeds, near=st.sampled_from([0.0, 1e-12, 1e-8, 1e-3, 1.0]))
def test_the_kl_is_never_negative_and_zero_between_equals(seed, near):
    mean, logvar, *_ = gaussians(seed, 50)
    kl = gaussian_kl(mean + near * normal(seed, 50), logvar + near * normal(seed, 50), mean, logvar)
    assert (kl >= -1e-15 * (1.0 + near)).all()
    assert gaussian_kl(mean, logvar, mean, logvar).eq(0.0).all()


@given(seed=seeds, near=st.sampled_from([1e-7, 1e-5, 1e-3]))
def test_the_kl_keeps_its_digits_near_equality(seed, near):
    mean, logvar, *_ = gaussians(seed, 50)
    kl = gaussian_kl(mean, logvar + near, mean, logvar)
    torch.testing.assert_close(kl, torch.full_like(kl, near**2 / 4), rtol=1e-2, atol=0.0)


@given(seed=seeds)
def test_the_kl_adds_up_over_independent_dimensions(seed):
    parts = gaussians(seed, 2, 3)
    q_mean, q_logvar, p_mean, p_logvar = parts
    q, p = (
        torch.distributions.MultivariateNormal(mean, torch.diag_embed(torch.exp(logvar)))
        for mean, logvar in ((q_mean, q_logvar), (p_mean, p_logvar))
    )
    torch.testing.assert_close(gaussian_kl(*parts).sum(1), kl_divergence(q, p))


@given(logvar=extremes, prior_logvar=extremes, mean=extremes, dtype=st.sampled_from(
    [torch.float32, torch.float64]))  # fmt: skip
@example(logvar=30.0, prior_logvar=-30.0, mean=30.0, dtype=torch.float32)
def test_kl_and_density_and_their_gradients_are_finite_at_the_extremes(
    logvar, prior_logvar, mean, dtype
):
    leaves = [torch.tensor(v, dtype=dtype, requires_grad=True) for v in (mean, logvar, -mean)]
    kl = gaussian_kl(*leaves, torch.tensor(prior_logvar, dtype=dtype))
    density = gaussian_log_prob(leaves[2], leaves[0], leaves[1])
    (kl + density).backward()
    assert all(each.isfinite() for each in [kl, density, *(leaf.grad for leaf in leaves)])


@given(seed=seeds)
def test_the_gradients_of_kl_and_density_are_right(seed):
    leaves = [(each / 3.0).requires_grad_() for each in gaussians(seed, 2, 2)]
    assert torch.autograd.gradcheck(gaussian_kl, leaves)
    assert torch.autograd.gradcheck(gaussian_log_prob, leaves[:3])


# Masks ------------------------------------------------------------------------------------------


@given(seed=seeds, mask=masks(), fill=garbage, event=st.sampled_from([(), (3,), (2, 2, 2)]))
def test_the_padding_changes_no_sum_mean_or_gradient_bit_for_bit(seed, mask, fill, event):
    clean = normal(seed, *mask.shape, *event)
    shaped = mask.reshape(mask.shape + (1,) * len(event))
    dirty = torch.where(shaped, clean, torch.full((), fill, dtype=clean.dtype))
    for function in (masked_sum, masked_mean, zero_padding):
        results, gradients = [], []
        for value in (clean.clone(), dirty.clone()):
            value.requires_grad_()
            result = function(value, mask)
            result.square().sum().backward()
            results.append(result)
            gradients.append(value.grad)
        assert results[0].equal(results[1])
        assert gradients[0].equal(gradients[1])
        assert gradients[1][~mask].eq(0.0).all()


@given(seed=seeds, mask=masks(), more=st.integers(1, 9))
def test_how_much_padding_there_is_changes_sums_and_means_by_rounding_alone(seed, mask, more):
    value = normal(seed, *mask.shape, 3)
    wide = torch.cat([value, normal(seed + 1, len(mask), more, 3)], 1)
    wide_mask = torch.cat([mask, torch.zeros(len(mask), more, dtype=torch.bool)], 1)
    for function in (masked_sum, masked_mean):
        torch.testing.assert_close(
            function(wide, wide_mask), function(value, mask), rtol=1e-12, atol=1e-12
        )


@given(seed=seeds, mask=masks())
def test_masked_sum_and_mean_are_those_of_each_sequence_alone(seed, mask):
    value = normal(seed, *mask.shape, 2)
    for row, length in enumerate(mask.sum(1)):
        alone = value[row, :length]
        torch.testing.assert_close(masked_sum(value, mask)[row], alone.sum())
        torch.testing.assert_close(masked_mean(value, mask)[row], alone.mean(0))


# The rest ---------------------------------------------------------------------------------------


@given(seed=seeds, shift=st.floats(-1e4, 1e4), dim=st.sampled_from([0, 1, -1]))
def test_log_mean_exp_is_the_log_of_the_mean_and_does_not_overflow(seed, shift, dim):
    value = normal(seed, 4, 5)
    expected = torch.log(torch.exp(value).mean(dim))
    torch.testing.assert_close(log_mean_exp(value, dim), expected)
    torch.testing.assert_close(log_mean_exp(value + shift, dim), expected + shift)


@given(seed=seeds, number=st.floats(-1e3, 1e3))
def test_log_mean_exp_of_equal_numbers_is_that_number_and_at_most_the_largest(seed, number):
    same = torch.full((7,), number, dtype=torch.float64)
    torch.testing.assert_close(log_mean_exp(same, 0), same[0])
    value = normal(seed, 7)
    assert value.mean() <= log_mean_exp(value, 0) <= value.max()


@given(seed=seeds, batch=st.integers(1, 5), weight=st.floats(0.0, 10.0))
def test_a_precomputed_gradient_is_handed_on_as_the_gradient_of_the_mean(seed, batch, weight):
    theta = normal(seed, 3).requires_grad_()
    x = normal(seed + 1, batch, 3)

    def term():
        return (x * theta).sin().sum(1)

    (expected,) = torch.autograd.grad(weight * term().mean(), theta)
    value = term()
    gradients = torch.autograd.grad(value.mean(), [theta])
    handed = precomputed_gradient(value, [theta], list(gradients))
    assert handed.equal(value)
    other = theta.square().sum()
    (got,) = torch.autograd.grad((weight * handed).mean() + other, theta)
    torch.testing.assert_close(got, expected + 2.0 * theta.detach())


def test_a_precomputed_gradient_must_fit_its_parameter():
    theta = torch.zeros(3, requires_grad=True)
    for gradients in ([torch.zeros(2)], [], [torch.zeros(3), torch.zeros(3)]):
        with pytest.raises(ValueError, match="must pair up with parameters"):
            precomputed_gradient(torch.zeros(2), [theta], gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_full_precision_widens_narrow_types_alone(dtype):
    value = torch.ones(2, dtype=dtype)
    wide = full_precision(value)
    assert wide.dtype == (dtype if dtype.itemsize >= 4 else torch.float32)
