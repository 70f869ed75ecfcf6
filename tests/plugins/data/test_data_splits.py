"""Sharing sequences among the parts: whole groups, stated sizes, nothing but the seed."""

from collections import Counter

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core.errors import DataError
from seqvae_data.config import SplitConfig
from seqvae_data.splits import draw, split

seeds = st.integers(0, 2**63)
fractions = st.floats(0.05, 0.4)
labels = st.lists(
    st.builds(
        lambda speaker, take: {"speaker": speaker, "take": take},
        st.sampled_from("abcdefgh"),
        st.sampled_from("0123"),
    ),
    min_size=12,
    max_size=60,
)


def everything(parts):
    return sorted([*parts.train, *parts.valid, *parts.test])


@given(labels, seeds, fractions, fractions)
def test_every_sequence_is_in_exactly_one_part(labels, seed, test, valid):
    parts = split(labels, SplitConfig(test=test, valid=valid), seed)
    assert everything(parts) == list(range(len(labels)))
    assert len(parts.test) == max(1, round(test * len(labels)))


@given(labels, seeds, fractions, fractions)
def test_no_group_is_in_two_parts(labels, seed, test, valid):
    labels = [*labels, *({"speaker": s, "take": "0"} for s in "abcdefgh")]
    parts = split(labels, SplitConfig(test=test, valid=valid, group="speaker"), seed)
    assert everything(parts) == list(range(len(labels)))
    train, valid_, test_ = (
        {labels[i]["speaker"] for i in part} for part in (parts.train, parts.valid, parts.test)
    )
    assert train
    assert valid_
    assert test_
    assert train.isdisjoint(valid_ | test_)
    assert valid_.isdisjoint(test_)


@given(labels, seeds)
def test_the_same_seed_gives_the_same_parts(labels, seed):
    config = SplitConfig(stratify="speaker")
    assert split(labels, config, seed) == split(labels, config, seed)


@given(labels, seeds, fractions)
def test_the_test_part_does_not_depend_on_the_valid_fraction(labels, seed, valid):
    config = SplitConfig()
    assert split(labels, config, seed).test == split(labels, evolve(config, valid=valid), seed).test


@given(labels, seeds)
def test_a_rule_names_the_test_part_whatever_the_seed(labels, seed):
    labels = [*labels, {"speaker": "a", "take": "0"}, *[{"speaker": "a", "take": "3"}] * 3]
    parts = split(labels, SplitConfig(label="take", pattern="[01]"), seed)
    assert parts.test == [i for i, row in enumerate(labels) if row["take"] in "01"]


@given(st.lists(st.sampled_from("abc"), min_size=20, max_size=80), fractions, seeds)
def test_a_stratified_draw_is_in_proportion_and_of_exact_size(strata, fraction, seed):
    drawn = draw(strata, fraction, seed, "valid")
    size = max(1, round(fraction * len(strata)))
    assert len(drawn) == size
    chosen = Counter(strata[i] for i in drawn)
    for stratum, count in Counter(strata).items():
        assert abs(chosen[stratum] - size * count / len(strata)) <= 1


def test_other_seeds_give_other_parts():
    labels = [{"take": "0"}] * 40
    assert len({tuple(split(labels, SplitConfig(), seed).test) for seed in range(8)}) == 8


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (SplitConfig(group="speakr"), "no label 'speakr' to split by; known: speaker, take"),
        (SplitConfig(label="take", pattern="9"), "the test part is empty"),
        (SplitConfig(label="take", pattern=".*"), "the train part is empty"),
        (SplitConfig(test=0.0), "the test part is empty"),
        (SplitConfig(label="take", pattern="0", group="speaker"), "divides 2 values of 'speaker'"),
        (SplitConfig(test=0.5, valid=0.9, group="speaker"), "cannot take 1 of 1 for the valid"),
    ],
)
def test_a_split_that_cannot_be_is_refused(config, said):
    labels = [{"speaker": s, "take": t} for s in "ab" for t in "0123"]
    with pytest.raises(DataError, match=said) as caught:
        split(labels, config, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"test": 1.0}, "'test' must be < 1.0: 1.0"),
        ({"label": "take"}, "'label' and 'pattern' must be given together"),
        ({"label": "take", "pattern": "("}, "'pattern' must be a regular expression"),
        ({"group": "a", "stratify": "b"}, "'group' and 'stratify' must not be given together"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        SplitConfig(**settings)
