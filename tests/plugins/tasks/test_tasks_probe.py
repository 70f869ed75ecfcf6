"""Probes on latents that are known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mirror import mirror, relabelled, sequences, splits

from seqvae_core.errors import DataError, ShapeError
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config import Probe
from seqvae_tasks.fitting import Probing, arrange
from seqvae_tasks.representations import coarse, coarse_grid, encode, represent, untrained

SEEDS = st.integers(0, 2**31 - 1)


def run(data, model=None, seed=0, **settings):
    model = model or mirror()
    settings = {"resamples": 100, **settings}
    return Probe(**settings).build(model.shapes)(model, data, Noise(seed))


def trial(target, held_out, **settings):
    folds, unseen = arrange(target, held_out)
    settings = {"tuned": True, "seed": 0, "resamples": 100, **settings}
    return Probing(
        target=target, unit=np.arange(len(target)), folds=folds, unseen=unseen, **settings
    )


def test_labels_are_read_where_they_lie_and_nowhere_else():
    metrics = run(splits(train=48, test=48)).metrics
    for reader in ("linear", "mlp"):
        assert metrics[f"speaker/z/{reader}"] == 1.0
        assert metrics[f"phone/s per frame/{reader}"] == 1.0
        assert metrics[f"speaker/pooled s/{reader}/low"] < 0.5
        assert metrics[f"phone/z/{reader}"] < 0.75
        assert metrics[f"pitch/z/{reader}"] > 0.95
        assert metrics[f"pitch/pooled s/{reader}"] < 0.5
    assert metrics["speaker/chance"] == pytest.approx(1 / 3)


def test_parts_of_latents_are_read_by_themselves():
    """The speaker lies on a circle in z: neither number alone tells all speakers from z's pair."""
    found = run(splits(), codes=("z[:1]", "z[1]", "s[0]"), classifier=("linear",))
    for part in ("z[:1]", "z[1]"):
        assert found.metrics[f"speaker/{part}/linear"] <= found.metrics["speaker/z/linear"]
    assert found.metrics["phone/s[0] per frame/linear"] == 1.0
    assert "speaker/pooled s[0]/linear" in found.metrics
    [row] = [r for r in found.tables["speaker: accuracy in %"] if r["representation"] == "z[1]"]
    assert row["dimensions"] == 1
    whole = run(splits(), classifier=("linear",)).metrics
    assert whole.items() <= found.metrics.items()


def test_a_part_that_is_not_there_is_refused_before_anything_is_encoded():
    with pytest.raises(
        ShapeError, match=r"probe got bound 3 in code 'z\[:3\]', out of range for 2"
    ):
        Probe(codes=("z[:3]",)).build(mirror().shapes)


def test_every_table_has_all_baselines():
    result = run(splits())
    assert list(result.tables) == ["phone: accuracy in %", "pitch: R²", "speaker: accuracy in %"]
    baselines = {
        "mean of frames", "mean and std of frames", "mean of frames, pca 2", "untrained z",
        "untrained pooled s", "frames", "frames, pca 2", "untrained s per frame",
    }  # fmt: skip
    for title, rows in result.tables.items():
        names = {row["representation"] for row in rows}
        assert baselines | {"z", "pooled s", "s per frame"} <= names
        assert ("chance" in names) == ("accuracy" in title)


def test_metrics_are_numbers_with_their_interval_around_them():
    metrics = run(splits()).metrics
    assert all(type(value) is float and np.isfinite(value) for value in metrics.values())
    for name in [name for name in metrics if f"{name}/low" in metrics]:
        assert metrics[f"{name}/low"] <= metrics[name] <= metrics[f"{name}/high"]


@pytest.mark.statistical
@pytest.mark.parametrize("reader", ["linear", "mlp"])
def test_interval_of_random_labels_covers_chance_as_often_as_it_claims(reader):
    """At least 32 of 40 intervals: a 95 % interval fails with probability below 1e-4."""
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values, target = rng.normal(size=(160, 2)), rng.integers(2, size=160)
        probing = trial(target, np.arange(160) >= 60, seed=seed, tuned=False)
        score, _ = probing.score(values, reader)
        covered += score.low <= 0.5 <= score.high
    assert covered >= 32


def test_same_noise_seed_gives_the_same_numbers():
    data = splits(train=18, test=12, spread=2.0)
    first, second = (run(data, labels=("speaker",), seed=5) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.tables == second.tables


@pytest.mark.filterwarnings("error")
def test_fits_that_do_not_converge_are_counted_and_do_not_warn(monkeypatch):
    monkeypatch.setattr("seqvae_tasks.fitting._ITERATIONS", 1)
    result = run(splits(train=12, test=12, spread=2.0), labels=("speaker",))
    assert any("stopped before they converged" in note for note in result.notes)


def test_classes_never_seen_in_training_are_not_scored():
    data = splits()
    data = Splits(train=data.train, valid=[], test=sequences(24, classes=4, seed=2))
    result = run(data, labels=("speaker",))
    note = "speaker per sequence: 6 of 24 held-out rows not scored"
    assert any(line.startswith(note) for line in result.notes)
    assert "speaker/z/linear" in result.metrics


def test_labels_that_are_all_new_give_a_note_and_no_metric():
    data = splits(train=12, test=12)
    shifted = relabelled(data.test, speaker=[9] * 12)
    result = run(Splits(train=relabelled(data.train, speaker=[0, 1] * 6), valid=[], test=shifted))
    assert result.metrics == {}
    assert any("not applicable" in note for note in result.notes)


@pytest.mark.parametrize("value", [0, 0.25])
def test_a_label_of_one_value_gives_a_note_and_no_metric(value):
    data = splits(train=12, test=12)
    parts = [relabelled(part, constant=[value] * 12) for part in (data.train, data.test)]
    result = run(Splits(train=parts[0], valid=[], test=parts[1]))
    assert result.metrics == {}
    assert any(note.startswith("constant per sequence: not applicable") for note in result.notes)


def test_missing_labels_are_left_out_of_fit_and_score():
    data = splits(train=36, test=30)
    train = [item["speaker"] if i % 2 else -1 for i, item in enumerate(data.train)]
    test = [item["speaker"] if i % 3 else -1 for i, item in enumerate(data.test)]
    target = np.array([*train, *test])
    folds, unseen = arrange(target, np.arange(66) >= 36)
    assert unseen == 0
    assert (target[np.concatenate(folds[0])] >= 0).all()
    parts = Splits(
        train=relabelled(data.train, speaker=train), valid=[],
        test=relabelled(data.test, speaker=test),
    )  # fmt: skip
    assert run(parts).metrics["speaker/z/linear"] == 1.0


def test_a_label_that_the_data_lack_gives_a_note():
    result = run(splits(train=6, test=6), labels=("dialect",))
    assert result.metrics == {}
    assert "dialect: not applicable, the data have no such label" in result.notes


def test_a_group_that_the_data_lack_is_an_error_that_names_what_there_is():
    message = "the data have no global label 'speakr'; known: pitch, speaker"
    with pytest.raises(DataError, match=message):
        run(splits(train=6, test=6), group="speakr")


@given(seed=SEEDS, rows=st.integers(4, 40), groups=st.integers(2, 9))
def test_no_group_is_ever_on_both_sides(seed, rows, groups):
    rng = np.random.default_rng(seed)
    target, group = rng.integers(-1, 3, size=rows), rng.integers(-1, groups, size=rows)
    folds, unseen = arrange(target, rng.random(rows) < 0.5, group)
    held = [row for _, rows in folds for row in rows]
    assert len(held) == len(set(held))
    assert len(held) + unseen <= ((target >= 0) & (group >= 0)).sum()
    for fit, scored in folds:
        assert not set(group[fit]) & set(group[scored])
        assert set(target[scored]) <= set(target[fit])
        assert target[fit].min() >= 0
        assert group[[*fit, *scored]].min() >= 0


def test_grouped_probe_scores_every_sequence_of_both_parts():
    data = splits(train=30, test=24)
    parts = [
        relabelled(part, speaker=[item["speaker"] for item in part], room=rooms)
        for part, rooms in ((data.train, [0, 1] * 15), (data.test, [2, 3] * 12))
    ]
    result = run(Splits(train=parts[0], valid=[], test=parts[1]), group="room")
    assert result.metrics["speaker/z/linear"] == 1.0
    assert any("no 'room' on both sides" in note for note in result.notes)
    assert any("room per sequence: not applicable" in note for note in result.notes)


def test_segments_of_one_utterance_are_averaged():
    data = splits(train=36, test=36, spread=3.0, spacing=1.0)
    parts = []
    for part in (data.train, data.test):  # items i, i + 12 and i + 24 have the same speaker
        labels = {"speaker": [item["speaker"] for item in part]}
        parts.append(relabelled(part, utterance=[i % 12 for i in range(36)], **labels))
    model = mirror()
    encoded = represent(model, Splits(train=parts[0], valid=[], test=parts[1]), Noise(0))
    averaged = encoded.averaged("utterance")
    assert len(averaged) == 24
    rows = [i for i in range(36, 72) if (i - 36) % 12 == 5]
    np.testing.assert_allclose(averaged.vectors["z"][17], encoded.vectors["z"][rows].mean(0))
    assert averaged.labels["speaker"][17] == parts[1][5]["speaker"]
    result = run(Splits(train=parts[0], valid=[], test=parts[1]), model, average="utterance")
    assert "speaker/z by utterance/linear" in result.metrics
    assert "speaker/z/linear" not in result.metrics


def test_a_label_that_varies_within_an_utterance_is_missing():
    items = relabelled(
        sequences(6), utterance=[0, 0, 1, 1, -1, -1], take=[1, 2, 3, 3, 4, 5],
        pitch=[1.0, 1.0, 2.0, float("nan"), 3.0, 4.0],
    )  # fmt: skip
    averaged = encode(mirror(), items, "test").averaged("utterance")
    assert sorted(averaged.labels["take"]) == [-1, 3, 4, 5]
    assert np.isnan(averaged.labels["pitch"]).sum() == 1
    assert len(averaged) == 4


def test_untrained_copy_has_other_weights_and_leaves_model_and_generator_alone():
    model = mirror()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    first, second, other = untrained(model, 1), untrained(model, 1), untrained(model, 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(first.state_dict()[name], second.state_dict()[name])
    weight = "encoder.map.weight"
    assert not torch.equal(first.state_dict()[weight], model.state_dict()[weight])
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])


def test_frames_of_a_fit_are_capped_and_all_held_out_frames_scored():
    metrics = run(splits(), labels=("phone",), frames=12).metrics
    assert metrics["phone/s per frame/linear"] == 1.0


def test_large_pictures_are_averaged_over_blocks_and_small_ones_are_read_as_they_are():
    x = torch.arange(2 * 3 * 3 * 32 * 32, dtype=torch.float64).reshape(2, 3, 3, 32, 32)
    small = coarse(x)
    assert small.shape == (2, 3, 3, 16, 16)
    assert small[1, 2, 0, 0, 1] == x[1, 2, 0, :2, 2:4].mean()
    assert coarse(x[..., :8, :8]).shape[-2:] == (8, 8)
    assert coarse_grid((200,)) is None
    assert coarse_grid((3, 64, 8)) is None
    assert coarse_grid((3, 120, 8)) == (16, 8)
