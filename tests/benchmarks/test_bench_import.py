"""What importing the library costs over importing torch."""

import resource
import subprocess
import sys
from statistics import median

import pytest


def processor_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def python(code):
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "code", ["import seqvae_core", "from seqvae_core import Experiment, Plugins, load, train"]
)
def test_importing_the_library_costs_at_most_half_a_second_over_torch(benchmark, ratio, code):
    ratio(python(code), python("import torch"), rounds=7, timer=processor_time)
    mine = median(benchmark.stats.stats.data)
    assert mine <= benchmark.extra_info["theirs"] + 0.5
