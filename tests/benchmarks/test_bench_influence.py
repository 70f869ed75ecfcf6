"""I(x; z_h) of 128 factors from 10,000 posteriors: time, memory, and the quadrature's error."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from posteriors import brute_force, random_table
from strategies import normal

from seqvae_influence.closed_form import zero_mean_form
from seqvae_influence.mixture import mixture

COUNT, FACTORS, NARROWEST = 10_000, 128, -6.9  # σ from 0.001 to 1.6
# Linux's ru_maxrss is at least that of the process which started this one: VmHWM is its own.
MEMORY = f"""
import pathlib, torch
from seqvae_influence.mixture import mixture
mean = torch.randn({COUNT}, {FACTORS}, dtype=torch.float64)
mixture(mean, {2.0 * NARROWEST} * torch.rand_like(mean))
status = pathlib.Path("/proc/self/status").read_text()
print(float(status.split("VmHWM:")[1].split()[0]) / 1024.0)
"""


def all_pairs(mean, logvar, held=200):
    """Return each posterior's ln q_M at its mean, one factor: M² exponentials in blocks."""
    precision, constant = torch.exp(-logvar), -0.5 * logvar
    parts = []
    for block in mean.split(held):
        exponent = constant - 0.5 * precision * (block[:, None] - mean).square()
        parts.append(torch.logsumexp(exponent, 1))
    return torch.cat(parts)


def test_the_mixtures_of_all_factors_cost_less_than_sixteen_factors_by_all_pairs(ratio):
    """The mean of the benchmark is the processor time of 128 factors; the goal is 6 s."""
    mean, logvar = random_table(0, COUNT, FACTORS, narrowest=NARROWEST)
    found = ratio(
        lambda: mixture(mean, logvar), lambda: all_pairs(mean[:, 0], logvar[:, 0]), rounds=3
    )
    assert found <= 16.0


def test_the_quadrature_of_many_posteriors_is_the_trapezoid_rule_to_a_billionth(benchmark):
    wide = random_table(1, COUNT, 1, narrowest=NARROWEST)
    equal = (normal(2, COUNT, 1), torch.full((COUNT, 1), -10.0, dtype=torch.float64))
    benchmark.pedantic(lambda: mixture(*wide), rounds=3)
    for name, (mean, logvar) in {"wide": wide, "equal": equal}.items():
        expected = brute_force(mean[:, 0], logvar[:, 0])
        error = abs(mixture(mean, logvar).value.item() - expected)
        benchmark.extra_info[f"error, {name}"] = error
        benchmark.stats.name += f", {name}: {error:.1g} nats"
        assert error < 1e-9


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read on Linux")
def test_a_process_that_reads_all_mixtures_stays_below_500_megabytes(benchmark):
    used = []

    def process():
        done = subprocess.run(
            [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
        )
        used.append(float(done.stdout))

    benchmark.pedantic(process, rounds=1)
    benchmark.stats.name += f": {used[0]:.0f} MB"
    assert used[0] < 500.0


def test_the_closed_form_costs_six_copies_of_its_input_at_most(ratio):
    mean, logvar = random_table(0, COUNT, FACTORS)
    found = ratio(
        lambda: zero_mean_form(mean, logvar).value,
        lambda: (mean.clone(), logvar.clone()),
        rounds=30,
    )
    assert found <= 6.0
