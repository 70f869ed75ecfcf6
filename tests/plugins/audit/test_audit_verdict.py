"""The verdict is a pure function of numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqvae_audit.verdict import Factor, Rules, judge, keeping

RULES = Rules(threshold=0.5, dead=0.05, effect=1e-3, tolerance=0.01)


def factor(index, mi, *, stderr=0.01, upper=None, effect=0.1):
    upper = mi if upper is None else upper
    return Factor(index=index, mi=mi, stderr=stderr, upper=upper, effect=effect)


FOUR = [
    factor(0, 0.01, upper=0.02, effect=0.0),
    factor(1, 1.5),
    factor(2, 1.0, effect=1e-5),
    factor(3, 0.3),
]


def test_each_factor_gets_one_of_four_statuses_sorted_by_information():
    found = judge(FOUR, RULES)
    assert list(found.status.items()) == [
        (1, "matters"), (2, "ignored"), (3, "weak"), (0, "dead"),
    ]  # fmt: skip
    assert found.of("matters") == (1,)
    assert found.keep is None
    assert found.dropped == ()


def test_a_factor_is_dead_by_its_upper_bound():
    """A low lower bound may be saturation or a small sample: it kills nothing."""
    assert judge([factor(0, 0.0, upper=0.2, effect=0.0)], RULES).status[0] == "weak"
    assert judge([factor(0, 0.0, upper=0.05, effect=0.0)], RULES).status[0] == "dead"
    assert judge([factor(0, 0.0, upper=0.05, effect=None)], RULES).status[0] == "dead"


def test_what_the_decoder_changes_with_is_not_dead():
    assert judge([factor(0, 0.01, effect=0.002)], RULES).status[0] == "weak"


def test_where_the_decoder_is_not_known_information_alone_decides():
    assert judge([factor(0, 1.0, effect=None)], RULES).status[0] == "matters"


def test_a_threshold_within_the_interval_is_not_settled_and_widens_the_count():
    factors = [
        factor(0, 1.0), factor(1, 0.51, stderr=0.02), factor(2, 0.45, upper=0.49, stderr=0.01),
        factor(3, 2.0, effect=0.0),
    ]  # fmt: skip
    found = judge(factors, RULES)
    assert found.settled == {3: True, 0: True, 1: False, 2: False}
    assert (found.least, found.most) == (1, 3)
    assert len(found.of("matters")) == 2


def test_an_error_that_is_not_known_settles_nothing():
    assert not judge([factor(0, 5.0, stderr=math.nan)], RULES).settled[0]


def test_what_is_kept_is_the_smallest_top_k_within_the_tolerance():
    curve = {0: 1.0, 1: 0.4, 2: 0.108, 3: 0.1005, 4: 0.1}
    found = judge(FOUR, RULES, curve)
    assert found.keep == 2
    assert found.loss == pytest.approx(0.008)
    assert found.dropped == (2, 0)


def test_what_the_decoder_ignores_is_left_out_first_however_much_it_holds():
    assert keeping(FOUR, RULES) == (1, 3, 2, 0)


def test_leaving_out_what_makes_reconstructions_worse_costs_nothing():
    found = judge(FOUR, RULES, {0: 0.09, 4: 0.1})
    assert (found.keep, found.loss, len(found.dropped)) == (0, 0.0, 4)


@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=9)
)
def test_every_factor_has_one_status_and_the_count_lies_within_its_range(numbers):
    factors = [
        factor(h, mi, upper=mi + more, effect=effect)
        for h, (mi, more, effect) in enumerate(numbers)
    ]
    found = judge(factors, RULES)
    statuses = [found.of(each) for each in ("matters", "weak", "ignored", "dead")]
    assert sorted(sum(statuses, ())) == list(range(len(factors)))
    assert found.least <= len(found.of("matters")) <= found.most
    assert judge(factors[::-1], RULES) == found


@pytest.mark.parametrize(
    "settings",
    [{"dead": 1.0}, {"effect": -0.1}, {"effect": 1.0}, {"tolerance": 1.0}, {"threshold": -1.0}],
)
def test_rules_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match="'"):
        Rules(**settings)
