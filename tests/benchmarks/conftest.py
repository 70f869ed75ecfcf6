"""Ratios of two costs, measured in turns on one machine."""

import time
from statistics import median

import pytest
import torch


@pytest.fixture
def ratio(benchmark):
    """Return a function that gives the median of mine / theirs in processor time, pair by pair.

    The machine's load changes from second to second: each call of the one is compared with the
    call of the other just before it, and time that other programs take does not count.
    """

    def measure(mine, theirs, *, rounds, timer=time.process_time):
        costs = []

        def time_theirs():
            start = timer()
            theirs()
            costs.append(timer() - start)

        benchmark._timer = timer
        benchmark.pedantic(mine, setup=time_theirs, rounds=rounds, warmup_rounds=2)
        pairs = zip(benchmark.stats.stats.data, costs[-rounds:], strict=True)
        found = median(own / other for own, other in pairs)
        benchmark.extra_info |= {"theirs": median(costs[-rounds:]), "ratio": found}
        benchmark.stats.name += f": {found:.3f}"
        return found

    return measure


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
