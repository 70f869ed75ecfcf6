"""The pure maths of density ratios."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from seqvae_estimators.losses import accuracy, logistic_loss, nwj_bound

logits = st.lists(st.floats(-20, 20), min_size=1, max_size=9).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


@st.composite
def discrete_laws(draw):
    """Return two laws on the same atoms, each as counts of its atoms."""
    atoms = draw(st.integers(2, 6))
    counts = st.lists(st.integers(1, 5), min_size=atoms, max_size=atoms).map(torch.tensor)
    return draw(counts), draw(counts)


def spread(values, counts):
    return values.repeat_interleave(counts)


@given(discrete_laws())
def test_the_true_log_ratio_gives_the_divergence_and_makes_nwj_tight(laws):
    p, q = (counts.double() / counts.sum() for counts in laws)
    best = (p / q).log()
    truth = (p * best).sum()
    torch.testing.assert_close(spread(best, laws[0]).mean(), truth)
    torch.testing.assert_close(nwj_bound(spread(best, laws[0]), spread(best, laws[1])), truth)


@given(discrete_laws(), st.data())
def test_nothing_beats_the_true_log_ratio_in_the_logistic_loss(laws, data):
    p, q = (counts.double() / counts.sum() for counts in laws)
    best = (p / q).log()
    shift = data.draw(st.lists(st.floats(-3, 3), min_size=len(p), max_size=len(p)))
    other = best + torch.tensor(shift, dtype=torch.float64)
    least = logistic_loss(spread(best, laws[0]), spread(best, laws[1]))
    assert logistic_loss(spread(other, laws[0]), spread(other, laws[1])) >= least - 1e-12
    middle = 0.5 * (p + q)
    jsd = 0.5 * ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum())
    torch.testing.assert_close(least, math.log(2.0) - jsd)


@given(discrete_laws(), st.data())
def test_nwj_of_any_ratio_lies_below_the_divergence(laws, data):
    p, q = (counts.double() / counts.sum() for counts in laws)
    values = data.draw(st.lists(st.floats(-5, 5), min_size=len(p), max_size=len(p)))
    guess = torch.tensor(values, dtype=torch.float64)
    truth = (p * (p / q).log()).sum()
    assert nwj_bound(spread(guess, laws[0]), spread(guess, laws[1])) <= truth + 1e-9


@given(logits, logits)
def test_the_losses_have_the_gradients_that_they_should(positive, negative):
    inputs = (positive.requires_grad_(), negative.requires_grad_())
    assert gradcheck(logistic_loss, inputs)
    clipped = tuple((value.detach() / 4).requires_grad_() for value in inputs)
    assert gradcheck(nwj_bound, clipped)


@given(logits, logits)
def test_exchanging_the_laws_and_the_sign_keeps_loss_and_accuracy(positive, negative):
    torch.testing.assert_close(
        logistic_loss(positive, negative), logistic_loss(-negative, -positive)
    )
    torch.testing.assert_close(accuracy(positive, negative), accuracy(-negative, -positive))


def test_the_logistic_loss_stays_finite_at_the_widest_logits():
    wide = torch.tensor([1e4, -1e4])
    assert logistic_loss(wide, wide).item() == pytest.approx(5e3)
    zero = torch.zeros(3)
    assert logistic_loss(zero, zero).item() == pytest.approx(math.log(2.0))


def test_accuracy_counts_both_laws_alike_whatever_their_numbers():
    assert accuracy(torch.tensor([1.0, -1.0]), torch.tensor([-1.0] * 7)).item() == 0.75
