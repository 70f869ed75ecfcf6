"""The density ratio as an estimate of mutual information."""

import math

import pytest
import torch

from seqvae_core.errors import ShapeError
from seqvae_core.records import Latent, Noise, Shapes
from seqvae_core.settings import OptimizerConfig
from seqvae_estimators.config import CriticConfig, DensityRatio

QUICK = DensityRatio(
    critic=CriticConfig(name="mlp", width=32, optimizer=OptimizerConfig(lr=1e-3)),
    steps=60, check_every=20, batch_size=32, shuffles=4,
)  # fmt: skip


def pairs(count, correlation, seed=0, dtype=torch.float32):
    noise, like = Noise(seed).of("pairs"), torch.zeros(count, 1, dtype=dtype)
    a = noise.of("a").normal(like)
    rest = math.sqrt(1.0 - correlation**2) * noise.of("b").normal(like)
    return wrap("a", a), wrap("b", correlation * a + rest)


def wrap(name, sample, mask=None):
    if mask is None:
        mask = torch.ones(len(sample), sample.shape[1] if sample.ndim > 2 else 1).bool()
    scope = "local" if sample.ndim > 2 else "global"
    return Latent(name=name, scope=scope, sample=sample, mask=mask)


def estimate(config, a, b, seed=0):
    return config.build(Shapes(frame=(1,))).estimate(a, b, Noise(seed))


@pytest.mark.statistical
def test_correlated_gaussians_give_the_known_answer():
    """Within 0.12 of 0.5108; over seeds the standard deviation is 0.046 (seed fixed)."""
    config = DensityRatio(
        critic=CriticConfig(name="mlp", width=64, optimizer=OptimizerConfig(lr=1e-3))
    )
    found = estimate(config, *pairs(4000, 0.8))
    assert found.value == pytest.approx(-0.5 * math.log(1.0 - 0.8**2), abs=0.12)
    assert 0.005 < found.stderr < 0.05
    assert found.n == 1200
    assert found.bound == "none"


@pytest.mark.statistical
def test_independent_gaussians_give_about_nothing():
    """Within 0.05 of 0; over seeds the standard deviation is 0.01 (seed fixed)."""
    config = DensityRatio(
        critic=CriticConfig(name="mlp", width=64, optimizer=OptimizerConfig(lr=1e-3))
    )
    found = estimate(config, *pairs(4000, 0.0))
    assert found.value == pytest.approx(0.0, abs=0.05)
    assert "not converged" not in found.note


@pytest.mark.statistical
def test_a_global_variable_in_every_frame_is_found_in_a_sequence():
    """s_t = z + noise in sequences of 2 to 6 frames; at least half of 1.7 nats (seed fixed)."""
    noise = Noise(0).of("sequence")
    z = noise.of("z").normal(torch.zeros(600, 2))
    s = z[:, None] + noise.of("s").normal(torch.zeros(600, 6, 2))
    lengths = 2 + noise.of("lengths").integers(5, (600,))
    mask = torch.arange(6) < lengths[:, None]
    s[~mask] = float("nan")
    truth = float(torch.log(1.0 + lengths).mean())
    config = DensityRatio(
        critic=CriticConfig(name="conv", width=16, kernel=1, optimizer=OptimizerConfig(lr=3e-3)),
        steps=400,
    )
    found = estimate(config, wrap("z", z, mask), wrap("s", s, mask))
    assert 0.5 * truth < found.value < 1.3 * truth


def test_the_same_noise_gives_the_same_estimate_and_leaves_the_global_generator_alone():
    a, b = pairs(100, 0.5)
    before = torch.random.get_rng_state()
    first = estimate(QUICK, a, b)
    assert torch.random.get_rng_state().equal(before)
    with torch.no_grad():
        assert estimate(QUICK, a, b) == first
    assert estimate(QUICK, a, b, seed=1) != first


def test_the_order_of_the_rows_does_not_matter():
    a, b = pairs(100, 0.5)
    order = Noise(0).permutation(100)
    moved = estimate(QUICK, wrap("a", a.sample[order]), wrap("b", b.sample[order]))
    assert moved == estimate(QUICK, a, b)


def test_shifting_and_scaling_a_variable_changes_nothing_but_rounding():
    a, b = pairs(100, 0.5, dtype=torch.float64)
    moved = estimate(QUICK, wrap("a", 100.0 + 0.01 * a.sample), b)
    assert moved.value == pytest.approx(estimate(QUICK, a, b).value, rel=1e-6)


def test_a_note_says_so_when_training_was_cut_off():
    found = estimate(QUICK, *pairs(100, 0.9))
    assert found.note.startswith("NWJ lower bound ")
    assert found.note.endswith("; not converged after 60 steps")


def test_the_latents_get_no_gradient_from_an_estimate():
    a, b = pairs(40, 0.5)
    a.sample.requires_grad_()
    estimate(QUICK, a, b)
    assert a.sample.grad is None


def test_rows_that_do_not_pair_up_or_are_too_few_are_refused():
    a, b = pairs(20, 0.5)
    with pytest.raises(ShapeError, match=r"expected paired rows, got 20 of 'a' and 19 of 'b'$"):
        estimate(QUICK, a, wrap("b", b.sample[:19]))
    with pytest.raises(ShapeError, match=r"expected at least 10 paired rows, got 9$"):
        estimate(QUICK, wrap("a", a.sample[:9]), wrap("b", b.sample[:9]))
    assert estimate(QUICK, wrap("a", a.sample[:10]), wrap("b", b.sample[:10])).n == 3


def test_parts_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValueError, match=r"'valid_share' \+ 'test_share' must be <= 0.8: 1.1"):
        DensityRatio(valid_share=0.5, test_share=0.6)
