"""A training step with the Jacobian's penalty: published networks, 64×64, batch 64, L = 10."""

import math
import subprocess
import sys
from pathlib import Path

import jacobian_steps
import pytest
import torch

# The goals of finite differences on one core, in plain steps. Autodiff has none, nor have GPUs.
GOALS = {"1 column": 2.2, "1 column of half of the batch": 1.6}
on_cpu = not torch.cuda.is_available()


def peak_mib(name):
    file = Path(jacobian_steps.__file__)
    done = subprocess.run([sys.executable, str(file), name], capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.filterwarnings("ignore:.*biased gradient")
@pytest.mark.parametrize("name", jacobian_steps.ESTIMATORS)
def test_an_estimator_costs_so_many_plain_steps(ratio, benchmark, name):
    cost = ratio(jacobian_steps.steps(name), jacobian_steps.steps("plain"), rounds=12,
                 timer=jacobian_steps.clock)  # fmt: skip
    benchmark.extra_info["peak MiB"] = peak_mib(name)
    assert cost <= GOALS.get(name, math.inf) or not on_cpu


def test_all_columns_in_chunks_cost_at_most_55_percent_of_the_published_way(ratio, benchmark):
    mine, theirs = (jacobian_steps.steps(name) for name in ("all columns", "published"))
    cost = ratio(mine, theirs, rounds=8, timer=jacobian_steps.clock)
    benchmark.extra_info |= {f"peak MiB, {name}": peak_mib(name)
                             for name in ("all columns", "published", "plain")}  # fmt: skip
    assert cost <= 0.55 or not on_cpu
