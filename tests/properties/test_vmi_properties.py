"""VMI's losses: known answers, identities and limits, in float64 with drawn seeds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal

from seqvae_basics.codes import parse_codes
from seqvae_basics.distributions import GumbelCategorical
from seqvae_core.model import seeded
from seqvae_core.noise import Noise
from seqvae_core.testing import small_shapes
from seqvae_core.testing.strategies import batches, seeds
from seqvae_vmi.config import QConfig
from seqvae_vmi.losses import (
    categorical_entropy,
    categorical_nll,
    gaussian_nll,
    mixture_entropy,
    prior_entropy,
)

KINDS = ("mlp", "conv", "recurrent")


def normal(seed, *shape):
    return Noise(seed).normal(torch.empty(*shape, dtype=torch.float64))


def relaxed(seed, rows, values, groups=1, temperature=0.5):
    law = GumbelCategorical(normal(seed, rows, groups * values), groups, temperature)
    return law.rsample(Noise(seed).of("draw"))


# Losses ------------------------------------------------------------------------------------------


@given(seeds(), st.integers(1, 4))
def test_the_gaussian_loss_is_that_of_torch(seed, size):
    code, mean, log_sigma = (normal(seed + i, 5, size) for i in range(3))
    expected = -Normal(mean, log_sigma.exp()).log_prob(code).sum(1)
    torch.testing.assert_close(gaussian_nll(code, mean, log_sigma), expected)


@given(seeds(), st.integers(1, 3), st.integers(2, 5))
def test_the_categorical_loss_of_a_one_hot_code_is_that_of_torch(seed, groups, values):
    logits = normal(seed, 5, groups * values)
    chosen = Noise(seed).integers(values, (5, groups))
    code = torch.nn.functional.one_hot(chosen, values).double().flatten(1)
    law = Categorical(logits=logits.reshape(5, groups, values))
    expected = -law.log_prob(chosen).sum(1)
    torch.testing.assert_close(categorical_nll(code, logits, groups), expected)


@given(seeds(), st.integers(2, 6))
def test_no_q_reads_a_code_better_than_the_code_itself(seed, values):
    """The cross-entropy is at least the entropy: of soft codes it does not fall to 0."""
    code = relaxed(seed, 6, values)
    entropy = categorical_entropy(code)
    assert bool((categorical_nll(code, normal(seed, 6, values)) >= entropy - 1e-9).all())
    torch.testing.assert_close(categorical_nll(code, code.log()), entropy)


@given(seeds())
def test_losses_permute_with_the_rows_and_add_over_numbers_and_frames(seed):
    code, mean, log_sigma = (normal(seed + i, 4, 3, 2) for i in range(3))
    mask = torch.arange(3) < torch.tensor([3, 1, 2, 3])[:, None]
    order = Noise(seed).permutation(4)
    found = gaussian_nll(code, mean, log_sigma, mask)
    permuted = gaussian_nll(code[order], mean[order], log_sigma[order], mask[order])
    assert torch.equal(permuted, found[order])
    parts = [gaussian_nll(code[:, t], mean[:, t], log_sigma[:, t]) * mask[:, t] for t in range(3)]
    torch.testing.assert_close(found, sum(parts))


@given(seeds())
def test_losses_ignore_what_stands_in_the_padding_bit_for_bit(seed):
    code, mean, log_sigma = (normal(seed + i, 4, 3, 4) for i in range(3))
    mask = torch.arange(3) < torch.tensor([3, 1, 2, 3])[:, None]
    spoiled = [torch.where(mask[..., None], v, math.nan) for v in (code, mean, log_sigma)]
    assert torch.equal(gaussian_nll(*spoiled, mask), gaussian_nll(code, mean, log_sigma, mask))
    assert torch.equal(
        categorical_nll(spoiled[0], spoiled[1], 2, mask), categorical_nll(code, mean, 2, mask)
    )


# Entropies ---------------------------------------------------------------------------------------


@given(seeds(), st.integers(2, 8))
def test_a_categorical_entropy_is_that_of_torch_and_at_most_ln_k(seed, values):
    probabilities = torch.softmax(normal(seed, 6, values), 1)
    found = categorical_entropy(probabilities)
    torch.testing.assert_close(found, Categorical(probabilities).entropy())
    assert bool((found <= math.log(values) + 1e-12).all())


@pytest.mark.parametrize(("size", "groups", "expected"), [
    (1, 0, 0.5 * math.log(2 * math.pi * math.e)), (10, 1, math.log(10)), (6, 2, 2 * math.log(3)),
])  # fmt: skip
def test_the_priors_entropy_is_in_closed_form(size, groups, expected):
    assert prior_entropy(size, groups) == pytest.approx(expected, rel=1e-12)


@pytest.mark.statistical
def test_the_mixtures_entropy_of_equal_posteriors_is_that_of_one():
    """Four standard errors of 20,000 draws: fails about once in 16,000 seeds."""
    mean, logvar = torch.zeros(7, 2).double(), torch.full((7, 2), -0.4).double()
    draws = math.exp(-0.2) * normal(0, 20_000, 2)
    found = mixture_entropy(draws, mean, logvar)
    truth = prior_entropy(2) - 0.4
    assert abs(float(found.mean()) - truth) < 4.0 * float(found.std()) / math.sqrt(len(found))


def test_the_mixtures_entropy_of_posteriors_far_apart_is_ln_b_above_that_of_one():
    mean = 100.0 * torch.arange(5.0).double()[:, None]
    found = mixture_entropy(mean + 0.3, mean, torch.zeros(5, 1).double())
    alone = -Normal(0.0, 1.0).log_prob(torch.tensor(0.3))
    torch.testing.assert_close(found, (alone + math.log(5.0)).double().expand(5))


# Known answers -----------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(("size", "noise"), [(1, 1.0), (2, 0.5), (5, 0.1)])
def test_the_bound_of_a_linear_channel_is_met_by_its_posterior(size, noise):
    """z ~ N(0, I), x = z + N(0, s²): d/2·ln(1 + 1/s²); four standard errors of 50,000 pairs."""
    z = normal(1, 50_000, size)
    x = z + noise * normal(2, 50_000, size)
    shrink = 1.0 / (1.0 + noise**2)
    log_sigma = torch.full_like(z, 0.5 * math.log(noise**2 * shrink))
    bound = prior_entropy(size) - gaussian_nll(z, shrink * x, log_sigma)
    error = float(bound.std()) / math.sqrt(len(bound))
    truth = 0.5 * size * math.log1p(1.0 / noise**2)
    assert abs(float(bound.mean()) - truth) < 4.0 * error
    worse = prior_entropy(size) - gaussian_nll(z, shrink * x, log_sigma + 0.2)
    assert float(worse.mean()) < truth


TEMPERATURES = (1.0, 0.7, 0.5, 0.3, 0.1)
FLOORS = {0.0: (0.73, 1.09, 1.41, 1.79, 2.14), 3.0: (1.07, 1.46, 1.75, 2.01, 2.22)}


def soft_value(margin, temperature):
    """Return ln 10 - E H(c), what the best Q reads off a relaxed code, and its standard error."""
    logits = torch.zeros(40_000, 10).double()
    logits[:, 0] = margin
    code = GumbelCategorical(logits, 1, temperature).rsample(Noise(0))
    value = math.log(10.0) - categorical_nll(code, code.log())
    return float(value.mean()), float(value.std()) / math.sqrt(len(value))


@pytest.mark.statistical
@pytest.mark.parametrize(("margin", "place"), [(m, i) for m in FLOORS for i in range(5)])
def test_a_perfect_q_reads_so_much_off_soft_codes(margin, place):
    """The known value to its rounding and four standard errors: once in 16,000 seeds outside."""
    found, error = soft_value(margin, TEMPERATURES[place])
    assert abs(found - FLOORS[margin][place]) < 0.005 + 4.0 * error


@pytest.mark.statistical
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_off_the_soft_codes_of_a_sure_encoder_it_reads_nearly_ln_10(temperature):
    """At a margin of 8: at least 2.21 nats, with four standard errors to spare."""
    found, error = soft_value(8.0, temperature)
    assert 2.21 - 4.0 * error < found < math.log(10.0)


# Q networks --------------------------------------------------------------------------------------


def network_of(kind, seed):
    shapes = small_shapes(categorical=True)
    codes = parse_codes(["z[:2]", "c", "s", "d[1]"], shapes, "vmi")
    with seeded(seed, "q"):
        return QConfig(name=kind, hidden=6, depth=1).build(shapes, codes).double()


@pytest.mark.parametrize("kind", KINDS)
@given(batch=batches(), seed=st.integers(0, 99))
def test_q_ignores_the_padding_and_permutes_with_the_batch(kind, batch, seed):
    network, latents = network_of(kind, seed), latents_for(batch, seed)
    found = network.nll(batch.x, batch.mask, latents)
    zeroed = network.nll(batch.zeroed().x, batch.mask, latents)
    order = Noise(seed).permutation(len(batch))
    permuted = network.nll(
        batch.x[order], batch.mask[order], {n: v[order] for n, v in latents.items()}
    )
    for name, value in found.items():
        assert value.shape == (len(batch),)
        assert torch.equal(value, zeroed[name])
        torch.testing.assert_close(permuted[name], value[order])


def latents_for(batch, seed):
    rows, frames = batch.mask.shape
    return {
        "z": normal(seed, rows, 3), "s": normal(seed, rows, frames, 2),
        "c": relaxed(seed, rows, 4),
        "d": relaxed(seed, rows * frames, 3, 2).reshape(rows, frames, 6),
    }  # fmt: skip


@given(seed=st.integers(0, 99), scale=st.floats(0.0, 1e6))
def test_q_is_never_surer_than_its_bound_on_ln_sigma(seed, scale):
    network = network_of("mlp", seed)
    law = network(scale * normal(seed, 4, 2, 3), torch.ones(4, 2).bool())["z[:2]"]
    assert bool((law.logvar.abs() <= 12.0).all())
    assert bool(law.mean.isfinite().all())
