import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqvae_report.tables import metrics_table, number, table

FINITE = st.floats(-1e7, 1e7).filter(lambda value: value == 0 or abs(value) > 1e-9)


def parsed(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


@given(FINITE)
def test_a_number_keeps_its_first_three_digits(value):
    assert parsed(number(value)) == pytest.approx(value, rel=5.1e-3)


@given(FINITE, st.integers(0, 4))
def test_fixed_decimals_never_turn_a_small_number_into_zero(value, decimals):
    assert (parsed(number(value, decimals)) == 0) == (value == 0)


@given(st.integers(-(10**9), 10**9))
def test_an_integer_keeps_all_its_digits(value):
    assert parsed(number(value)) == value


def test_what_is_not_finite_has_a_sign_of_its_own():
    assert [number(v) for v in (math.nan, math.inf, -math.inf)] == ["–", "∞", "−∞"]


def test_a_column_has_one_precision():
    made = table([{"of": "z", "nll": 12.5}, {"of": "s", "nll": 0.123}])
    assert made.rows == (("z", "12.50"), ("s", "0.12"))


def test_a_percentage_has_one_decimal():
    assert table([{"of": "z", "EER, %": 3.25678}]).rows == (("z", "3.3"),)


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [([1.0, 2], True), (["95.7 [92.4, 98.4]", "−3.1e−05"], True), (["16 of 16", "1"], False),
     (["0.1.0"], False), ([None, 3], True), ([None, None], False), ([True], False)],
)  # fmt: skip
def test_columns_of_numbers_are_told_from_text(cells, numeric):
    made = table([{"of": "row", "cell": cell} for cell in cells])
    assert made.columns == (("of", False), ("cell", numeric))


def test_a_missing_cell_is_empty_and_columns_keep_their_order():
    made = table([{"a": "x", "b": 1}, {"a": "y", "c": 2}])
    assert [name for name, _ in made.columns] == ["a", "b", "c"]
    assert made.rows == (("x", "1", ""), ("y", "", "2"))


def test_no_rows_make_an_empty_table():
    assert (table([]).columns, table([]).rows) == ((), ())


def test_an_interval_stands_behind_its_metric():
    made = metrics_table({"eer": 0.125, "eer/low": 0.1, "eer/high": 0.2, "kl/low": 3.0})
    assert made.rows == (("eer", "0.125", "[0.100, 0.200]"), ("kl/low", "3.000", ""))
