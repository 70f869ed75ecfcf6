"""Swapped sequences before a judge."""

import numpy as np
import pytest
import torch
from attrs import evolve
from factors import copying
from hypothesis import given
from hypothesis import strategies as st
from mirror import padded, relabelled, splits

from seqvae_core.errors import DataError
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config_generation import SwapJudge
from seqvae_tasks.judges import Question
from seqvae_tasks.swap_judge import partners

GRU = SwapJudge(content="phone", steps=60, hidden=8, resamples=20)
LINEAR = evolve(GRU, judge="linear")
each_judge = pytest.mark.parametrize("config", [GRU, LINEAR], ids=lambda config: config.judge)


def run(config=LINEAR, data=None, model=None, seed=0):
    model = model or copying()
    return config.build(model.shapes)(model, data or splits(train=45, test=15), Noise(seed))


@each_judge
def test_perfect_factors_have_b_as_identity_and_keep_the_content_of_a(config):
    metrics = run(config).metrics
    for name in ("identity of a", "content of a"):
        assert metrics[f"real/{name}"] == metrics[f"reconstructed/{name}"] == 1.0
    assert metrics["swapped/identity of b"] == metrics["swapped/content of a"] == 1.0
    assert metrics["swapped/identity of a"] == metrics["real/identity of b"] == 0.0


@each_judge
def test_a_decoder_that_ignores_z_keeps_the_identity_of_a(config):
    metrics = run(config, model=copying(whole=True)).metrics
    assert metrics["swapped/identity of a"] == metrics["swapped/content of a"] == 1.0
    assert metrics["swapped/identity of b"] == 0.0


@each_judge
def test_content_may_be_a_global_label(config):
    data = splits(train=45, test=15)
    parts = []
    for items in (data.train, data.test):
        steady = [
            {"x": torch.cat([item["x"][:, :2], item["x"][:1, 2:].expand(len(item["x"]), 2)], 1),
             "speaker": item["speaker"], "word": int(item["phone"][0])}
            for item in items
        ]  # fmt: skip
        parts.append(steady)
    data = Splits(train=parts[0], valid=[], test=parts[1])
    metrics = run(evolve(config, content="word"), data).metrics
    assert metrics["swapped/identity of b"] == metrics["swapped/content of a"] == 1.0


def test_draws_are_judged_where_asked_for():
    mean, drawn = run(), run(evolve(LINEAR, draw="sample"))
    assert drawn.metrics["swapped/identity of b"] == 1.0
    assert any("the mean of p(x|latents)" in note for note in mean.notes)
    assert any("drawn from p(x|latents)" in note for note in drawn.notes)


def test_chance_is_the_most_frequent_class():
    metrics = run().metrics
    assert metrics["chance/identity"] == pytest.approx(1 / 3)
    assert 0.5 <= metrics["chance/content"] < 0.7


def test_without_content_identity_alone_is_judged():
    result = run(evolve(LINEAR, content=None))
    assert {name.split("/")[1] for name in result.metrics} == {
        "identity of a", "identity of b", "identity",
    }  # fmt: skip
    assert [row["judged"] for row in result.tables["what the judge says"]] == [
        "real test sequences a", "a reconstructed", "a with the globals of b", "chance",
    ]  # fmt: skip


@pytest.mark.parametrize("label", ["pitch", "phone", "nothing"])
def test_an_identity_that_is_no_global_class_gives_a_note(label):
    result = run(evolve(LINEAR, identity=label))
    assert result.metrics == {}
    assert any(f"a global class '{label}'" in note for note in result.notes)


def test_identities_that_the_judge_cannot_know_are_left_out():
    data = splits(train=30, test=30)
    train = relabelled(data.train, speaker=[item["speaker"] for item in data.train])
    test = relabelled(data.test, speaker=[item["speaker"] + 1 for item in data.test])
    metrics = run(evolve(LINEAR, content=None), Splits(train=train, valid=[], test=test)).metrics
    assert metrics["chance/identity"] == 0.5
    alone = [{**item, "speaker": 7} for item in test]
    result = run(evolve(LINEAR, content=None), Splits(train=train, valid=[], test=alone))
    assert result.metrics == {}
    assert any(note.startswith("not applicable") for note in result.notes)


def test_a_training_that_was_cut_short_is_said():
    assert any(
        "stopped before it came to its end" in note for note in run(evolve(GRU, steps=2)).notes
    )


def test_an_unknown_unit_is_an_error():
    with pytest.raises(DataError, match="no global label 'take'"):
        run(evolve(LINEAR, unit="take"))


@each_judge
def test_what_stands_in_the_padding_changes_nothing(config):
    data = splits(train=12, test=12, spread=1.0)
    other = Splits(train=padded(data.train), valid=[], test=padded(data.test))
    config = evolve(config, steps=10)
    assert run(config, data).metrics == run(config, other).metrics


@each_judge
def test_same_noise_gives_the_same_result_in_double_precision_too(config, double):
    config = evolve(config, steps=5)
    first, second = run(config), run(config)
    assert first.metrics == second.metrics
    assert first.metrics["real/identity of b"] < 0.9


@given(identity=st.lists(st.integers(-1, 3), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_partners_have_another_identity_if_there_is_one(identity, seed):
    identity = np.array(identity)
    known = {*identity[identity >= 0].tolist()}
    for mine, partner in zip(identity, partners(identity, seed), strict=True):
        assert (partner >= 0) == (mine >= 0 and len(known) > 1)
        assert partner < 0 or identity[partner] not in (-1, mine)


def test_a_gru_hears_an_order_that_moments_do_not():
    """Rising and falling sequences of the same numbers."""
    rng = np.random.default_rng(0)
    rising = rng.integers(2, size=120)
    steps = np.sort(rng.normal(size=(120, 6)), 1)
    frames = np.where(rising[:, None] == 1, steps, steps[:, ::-1]).reshape(-1, 1)
    target = np.where(np.arange(120) < 90, rising, -1)
    question = Question(
        frames=frames, row=np.repeat(np.arange(120), 6), target=target, local=False, train=90,
        unit=np.arange(90),
    )  # fmt: skip
    heard, _ = question.by_gru(hidden=8, steps=100, noise=Noise(0))
    read, _ = question.by_regression(Noise(0))
    assert (heard[90:] == rising[90:]).mean() > 0.9
    assert (read[90:] == rising[90:]).mean() < 0.8
