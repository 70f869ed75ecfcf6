"""Training that stops by a held-out loss, and errors of means over rows that belong together."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal
from torch import nn

from seqvae_core.settings import OptimizerConfig
from seqvae_estimators.errors_of_means import standard_error
from seqvae_estimators.stopping import train_until


class Number(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))


def train(turn, *, steps=60, patience=3, first=math.inf):
    """Let a number rise by 0.1 a step; the held-out loss is its distance from `turn`."""
    module = Number()
    rate = OptimizerConfig(lr=0.1)
    ended = train_until(
        module, lambda: -module.value, lambda: abs(module.value.item() - turn), rate,
        steps=steps, check_every=2, patience=patience, first=first,
    )  # fmt: skip
    return ended, module.value.item()


def test_a_module_is_left_where_its_held_out_loss_was_least():
    ended, value = train(1.0)
    assert ended
    assert value == pytest.approx(1.0, abs=0.01)


def test_a_loss_that_still_falls_at_the_last_step_is_no_end():
    ended, value = train(100.0)
    assert not ended
    assert value == pytest.approx(6.0, abs=0.01)


def test_an_untrained_module_that_is_never_bettered_is_kept():
    assert train(-1.0, first=1.0) == (True, 0.0)
    assert train(-1.0)[1] > 0.1


@given(seed=st.integers(0, 2**31 - 1), rows=st.integers(3, 40), copies=st.integers(2, 5))
def test_copies_of_rows_make_an_error_no_smaller_where_they_are_known_to_be_copies(
    seed, rows, copies
):
    shares = normal(seed, rows, 2)
    alone = standard_error(shares)
    unit = torch.arange(rows)
    assert torch.allclose(standard_error(shares, unit), alone)
    assert torch.allclose(standard_error(shares.repeat(copies, 1), unit.repeat(copies)), alone)


def test_a_single_unit_has_no_error():
    assert standard_error(torch.randn(5), torch.zeros(5, dtype=torch.int64)).isnan()
