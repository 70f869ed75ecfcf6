"""What holds of the bounds on errors, of rankings and of zeroing, for all posteriors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from posteriors import random_table
from strategies import normal, seeds

from seqvae_core.noise import Noise
from seqvae_influence.closed_form import kl_to_prior
from seqvae_influence.distortion import reconstruction_floor
from seqvae_influence.fano import class_information, entropy, fano_error, weak_fano_error
from seqvae_influence.orders import measures, orders
from seqvae_influence.posteriors import Posteriors
from seqvae_influence.selection import zeroed
from seqvae_influence.selection_config import FactorSelection, kept_counts

tables = st.builds(random_table, seeds, st.integers(2, 30), st.integers(1, 5))
RANKINGS = ("mi", "closed-form", "kl", "variance", "active-units")


def posteriors(table, standard=True):
    mean, logvar = table
    return Posteriors(name="z", mean=mean, logvar=logvar, standard=standard)


def open_nats(error, classes):
    parts = [-p * math.log(p) for p in (error, 1.0 - error) if p > 0.0]
    return sum(parts) + error * math.log(classes - 1)


# Fano -------------------------------------------------------------------------------------------


@given(classes=st.integers(2, 50), share=st.floats(0.0, 1.0))
def test_fanos_least_error_solves_its_equation(classes, share):
    error = share * (1.0 - 1.0 / classes)
    assert fano_error(open_nats(error, classes), classes) == pytest.approx(error, abs=1e-6)


@given(classes=st.integers(2, 50), one=st.floats(-1.0, 5.0), other=st.floats(-1.0, 5.0))
def test_fanos_least_error_rises_with_what_is_open_and_the_weak_form_is_below_it(
    classes, one, other
):
    low, high = sorted([one, other])
    assert 0.0 <= fano_error(low, classes) <= fano_error(high, classes) <= 1.0 - 1.0 / classes
    weak = weak_fano_error(min(low, math.log(classes)), classes)
    assert weak is None if classes == 2 else weak <= fano_error(low, classes) + 1e-9


@given(seed=seeds, classes=st.integers(2, 5), states=st.integers(1, 6))
def test_no_classifier_of_any_channel_errs_less_often_than_fano_allows(seed, classes, states):
    joint = normal(seed, classes, states).abs() + 1e-3
    joint /= joint.sum()
    error = 1.0 - float(joint.max(0).values.sum())  # of the best classifier
    conditional = -float((joint * (joint / joint.sum(0)).log()).sum())
    assert fano_error(conditional, classes) <= error + 1e-9


@given(tables, seeds, st.integers(1, 4))
def test_a_class_is_told_at_most_by_its_own_surprise(table, seed, classes):
    """Each share is at most -ln of the class's frequency, and so their mean is at most H(y)."""
    label = Noise(seed).integers(classes, (len(table[0]),))
    shares = class_information(*table, label, range(table[0].shape[1] + 1), Noise(1))
    frequency = (label[:, None] == label).double().mean(1)
    assert (shares <= -frequency.log() + 1e-9).all()
    assert (shares.mean(1) <= entropy(label) + 1e-9).all()
    assert not shares[0].any()  # without any factor nothing is told


@given(tables, seeds)
def test_posteriors_that_are_all_alike_tell_no_class(table, seed):
    mean, logvar = (value[:1].expand_as(value) for value in table)
    label = Noise(seed).integers(3, (len(mean),))
    shares = class_information(mean, logvar, label, [mean.shape[1]], Noise(1))
    torch.testing.assert_close(shares, torch.zeros_like(shares), rtol=0.0, atol=1e-9)


@given(table=tables, seed=seeds, held=st.integers(1, 400))
def test_streamed_class_information_is_that_of_one_block(table, seed, held):
    label = Noise(seed).integers(3, (len(table[0]),))
    counts = range(table[0].shape[1] + 1)
    found = [
        class_information(*table, label, counts, Noise(1), samples=2, held=size)
        for size in (held, 10**9)
    ]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@given(table=tables, seed=seeds, scale=st.floats(1e-2, 1e2), shift=st.floats(-5.0, 5.0))
def test_rescaling_and_shifting_factors_tells_no_more_of_a_class(table, seed, scale, shift):
    mean, logvar = table
    label = Noise(seed).integers(2, (len(mean),))
    found = [
        class_information(*each, label, [mean.shape[1]], Noise(1))
        for each in (table, (scale * mean + shift, logvar + 2.0 * math.log(scale)))
    ]
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


# Reconstruction ---------------------------------------------------------------------------------


@given(numbers=st.integers(1, 20), variance=st.floats(0.01, 100.0), told=st.floats(0.0, 10.0))
def test_white_gaussian_numbers_that_are_told_alike_err_as_little_as_can_be(
    numbers, variance, told
):
    entropy_of_x = 0.5 * numbers * math.log(2.0 * math.pi * math.e * variance)
    information = numbers * told
    error = numbers * variance * math.exp(-2.0 * told)
    floor = reconstruction_floor(numbers, entropy_of_x, information)
    assert floor == pytest.approx(error, rel=1e-9)


@given(seed=seeds, size=st.integers(1, 6), factors=st.integers(1, 6), noise=st.floats(0.05, 3.0))
def test_the_best_estimate_from_a_linear_gaussian_channel_errs_more_than_the_floor(
    seed, size, factors, noise
):
    """Of x ~ N(0, C) from z = W x + noise: the error is tr(C|z), I(x; z) = ½ ln det C/det C|z."""
    root, weights = normal(seed, size, size), normal(seed + 1, factors, size)
    covariance = root @ root.T + 0.1 * torch.eye(size)
    precision = torch.linalg.inv(covariance) + weights.T @ weights / noise**2
    left = torch.linalg.inv(precision)
    information = 0.5 * float(torch.logdet(covariance) - torch.logdet(left))
    entropy_of_x = 0.5 * (size * math.log(2.0 * math.pi * math.e) + float(torch.logdet(covariance)))
    floor = reconstruction_floor(size, entropy_of_x, information)
    assert floor <= float(left.trace()) * (1.0 + 1e-9)
    # what I(x; z) is at most gives a lower floor, and what it is not gives none
    assert reconstruction_floor(size, entropy_of_x, information + 0.5) < floor


@given(st.integers(1, 50), st.floats(0.0, 20.0), st.floats(0.0, 20.0), st.floats(-50.0, 50.0))
def test_the_factor_by_which_floors_differ_needs_no_entropy(numbers, one, other, entropy_of_x):
    floors = [reconstruction_floor(numbers, entropy_of_x, told) for told in (one, other)]
    assert floors[0] / floors[1] == pytest.approx(math.exp(2.0 * (other - one) / numbers))


# Rankings and zeroing ---------------------------------------------------------------------------


@given(tables, seeds)
def test_every_ranking_is_an_order_of_all_factors_by_what_it_measures(table, seed):
    found = orders(posteriors(table), [*RANKINGS, "random"], 3, seed)
    assert list(found) == [*RANKINGS, "random"]
    for name, value in measures(posteriors(table), RANKINGS).items():
        [order] = found[name]
        assert (np.diff(value[order]) <= 0.0).all()
    for each in found.values():
        for order in each:
            assert sorted(order.tolist()) == list(range(table[0].shape[1]))
    assert len(found["random"]) == 3


@given(tables)
def test_a_prior_that_is_not_standard_normal_ranks_nothing_by_its_kl(table):
    assert list(measures(posteriors(table, standard=False), RANKINGS)) == [
        name for name in RANKINGS if name != "kl"
    ]


@given(table=tables, scale=st.floats(0.1, 10.0), shift=st.floats(-3.0, 3.0))
def test_information_ranks_factors_alike_in_any_unit_and_variance_does_not_claim_to(
    table, scale, shift
):
    mean, logvar = table
    moved = (scale * mean + shift, logvar + 2.0 * math.log(scale))
    before, after = (measures(posteriors(each), ("mi", "variance")) for each in (table, moved))
    np.testing.assert_allclose(after["mi"], before["mi"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(after["variance"], scale**2 * before["variance"], rtol=1e-6)


@given(tables)
def test_where_all_aggregates_are_standard_normal_the_kl_ranks_as_the_closed_form(table):
    """Once each factor is rescaled so, KL and the zero-mean form are the same number."""
    mean, logvar = table
    scale = (logvar.exp() + mean.square()).mean(0).sqrt()
    found = measures(posteriors((mean / scale, logvar - 2.0 * scale.log())), ("closed-form", "kl"))
    np.testing.assert_allclose(found["closed-form"], found["kl"], rtol=1e-9, atol=1e-9)


@given(seed=seeds, shape=st.tuples(st.integers(1, 4), st.integers(1, 6)), kept=st.integers(0, 6))
def test_zeroing_keeps_what_is_kept_and_twice_is_once(seed, shape, kept):
    value = normal(seed, *shape)
    chosen = np.random.default_rng(seed).permutation(shape[1])[:kept]
    found = zeroed(value, chosen)
    left = np.isin(np.arange(shape[1]), chosen)
    assert found[:, left].equal(value[:, left])
    assert not found[:, ~left].any()
    assert zeroed(found, chosen).equal(found)


@given(keep=st.sets(st.integers(0, 200), max_size=6), factors=st.integers(1, 128))
def test_none_and_all_are_always_among_the_numbers_kept(keep, factors):
    counts = kept_counts(tuple(keep), factors)
    assert counts[0] == 0
    assert counts[-1] == factors
    assert counts == sorted(set(counts))
    assert set(counts) <= {0, factors, *keep}


def test_the_numbers_kept_are_the_published_ones_cut_to_what_there_is():
    assert kept_counts(None, 128) == [0, 2, 3, 4, 6, 7, 9, 13, 64, 128]
    assert kept_counts(None, 5) == [0, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="'keep' must be different from one another"):
        FactorSelection(keep=(3, 3))


@given(tables)
def test_the_kl_of_the_first_factors_rises_with_their_number(table):
    assume(table[0].shape[1] > 1)
    assert (kl_to_prior(*table).value.cumsum(0).diff() >= -1e-12).all()
