"""The two protocols of verification, and the curves, on latents that are known."""

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from mirror import mirror, relabelled, sequences, splits

from seqvae_core.errors import ConfigError
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config import Verification
from seqvae_tasks.det import Curve, det
from seqvae_tasks.representations import represent
from seqvae_tasks.statistics import equal_error_rate, error_rates
from seqvae_tasks.verification import folds_of, pairs_of

SEEDS = st.integers(0, 2**31 - 1)
PNG = b"\x89PNG\r\n\x1a\n"


def run(data, **settings):
    model = mirror()
    return Verification(**settings).build(model.shapes)(model, data, Noise(0))


def speakers(count, classes, **settings):
    """Return train and test part with `classes` speakers in each."""
    parts = [sequences(count, classes=classes, seed=seed, **settings) for seed in (1, 2)]
    return Splits(train=parts[0], valid=[], test=parts[1])


@given(seed=SEEDS, rows=st.integers(0, 40), identities=st.integers(1, 12))
def test_open_folds_share_no_identity_and_pairs_stay_within_them(seed, rows, identities):
    rng = np.random.default_rng(seed)
    identity = rng.integers(identities, size=40)
    chosen = np.sort(rng.choice(40, rows, replace=False))
    folds = folds_of("open", identity, rng.random(40) < 0.5, chosen)
    fold = np.full(40, -1)
    for number, (fit, held) in enumerate(folds):
        assert not set(identity[fit]) & set(identity[held])
        assert sorted([*fit, *held]) == chosen.tolist()
        fold[held] = number
    pair = pairs_of(folds)
    assert (fold[pair[:, 0]] == fold[pair[:, 1]]).all()
    assert (pair[:, 0] < pair[:, 1]).all()
    assert len(np.unique(pair, axis=0)) == len(pair)
    assert len(folds) == (0 if len(set(identity[chosen])) < 4 else min(
        5, len(set(identity[chosen])) // 2))  # fmt: skip


def test_open_protocol_compares_all_sequences_of_both_parts():
    result = run(speakers(24, 8), protocol="open")
    assert list(result.tables) == ["speaker: 8 in 48 sequences"]
    assert result.metrics["eer/z"] == 0.0
    note = next(note for note in result.notes if note.startswith("open set"))
    assert "on sequences of 8 of 8 values" in note
    assert "protocol 'given'" in note


def test_rates_that_fit_nothing_are_those_of_pairs_within_folds_whatever_is_fitted():
    data = speakers(24, 8, spread=3.0)
    encoded = represent(mirror(), data, Noise(0))
    identity = encoded.labels["speaker"]
    folds = folds_of("open", identity, encoded.held_out, np.arange(48))
    left, right = pairs_of(folds).T
    z = encoded.vectors["z"] / np.linalg.norm(encoded.vectors["z"], axis=1, keepdims=True)
    score = (z[left] * z[right]).sum(1)
    expected = equal_error_rate(score, identity[left] == identity[right])
    found = run(data, protocol="open").metrics["eer/z"]
    assert found == pytest.approx(expected, abs=1e-12)


def test_components_of_a_fold_never_see_its_identities(monkeypatch):
    seen = []

    def spy(values, fit, count, seed):
        seen.append(set(fit.tolist()))
        return values[:, :count]

    monkeypatch.setattr("seqvae_tasks.verification.principal", spy)
    data = speakers(24, 8)
    identity = np.array([item["speaker"] for item in [*data.train, *data.test]])
    run(data, protocol="open")
    assert len(seen) == 4
    for fit in seen:
        assert len(set(identity[sorted(fit)])) == 6


def test_an_open_set_of_three_identities_gives_a_note():
    result = run(splits(train=12, test=12), protocol="open")
    assert result.metrics == {}
    assert any("no pair of different 'speaker'" in note for note in result.notes)


def test_open_rates_are_of_utterances_too():
    data = speakers(24, 8, spread=3.0)
    parts = [
        relabelled(part, speaker=[item["speaker"] for item in part], utterance=[*range(8)] * 3)
        for part in (data.train, data.test)
    ]
    data = Splits(train=parts[0], valid=[], test=parts[1])
    metrics = run(data, protocol="open", average="utterance").metrics
    assert metrics["eer/z by utterance"] <= metrics["eer/z"]


def test_shuffled_frames_change_nothing_of_a_latent_that_is_their_mean():
    metrics = run(splits(spread=3.0)).metrics
    assert metrics["eer/z of shuffled frames"] == pytest.approx(metrics["eer/z"], abs=0.01)
    assert "eer/pooled s of shuffled frames" not in metrics


def test_a_reference_takes_the_given_split():
    with pytest.raises(ConfigError, match="expected protocol 'given', got 'open'"):
        Verification(reference=True, protocol="open")


# Curves -----------------------------------------------------------------------------------------


@given(seed=SEEDS, ties=st.booleans())
def test_error_rates_are_those_of_each_threshold(seed, ties):
    rng = np.random.default_rng(seed)
    same = np.array([True, False, *(rng.random(30) < 0.4)])
    score = rng.normal(size=32) + same
    score = np.round(score) if ties else score
    alarm, miss = error_rates(score, same)
    thresholds = [np.inf, *sorted(set(score), reverse=True)]
    assert alarm == pytest.approx([(score[~same] >= t).mean() for t in thresholds])
    assert miss == pytest.approx([(score[same] < t).mean() for t in thresholds])


@given(seed=SEEDS, pairs=st.integers(2, 5000))
def test_a_thinned_curve_keeps_the_points_that_can_be_seen(seed, pairs):
    rng = np.random.default_rng(seed)
    same = np.append([True, False], rng.random(pairs - 2) < 0.3)
    score = rng.normal(size=pairs) + same
    curve = Curve.of("z", score, same, equal_error_rate(score, same))
    assert len(curve.alarm) == len(curve.miss) <= 800
    assert (np.diff(curve.alarm) >= 0.0).all()
    assert (np.diff(curve.miss) <= 0.0).all()
    alarm, miss = error_rates(score, same)
    points = set(zip(alarm, miss, strict=True))
    assert all(point in points for point in zip(curve.alarm, curve.miss, strict=True))
    gap = np.stack([np.diff(curve.alarm), -np.diff(curve.miss)]).min(0)
    steps = np.stack([np.diff(alarm), -np.diff(miss)])
    assert gap.max(initial=0.0) <= 0.01 + steps.max()


@pytest.mark.parametrize("shift", [0.0, 1.0, 100.0, -100.0])
def test_curves_of_every_quality_are_drawn(shift):
    rng = np.random.default_rng(0)
    same = np.arange(60) < 20
    score = rng.normal(size=60) + shift * same
    curve = Curve.of("z", score, same, equal_error_rate(score, same))
    picture = det([curve, evolve(curve, name="s")])
    assert picture.startswith(PNG)
    assert picture == det([curve, evolve(curve, name="s")])


def test_each_table_has_its_curves():
    result = run(splits(train=6, test=12))
    assert list(result.figures) == [f"DET of {title}" for title in result.tables]


def test_without_matplotlib_there_are_numbers_and_a_note(monkeypatch):
    monkeypatch.setattr("seqvae_tasks.verification.available", lambda: False)
    result = run(splits(train=6, test=12))
    assert result.metrics
    assert not result.figures
    assert any("matplotlib is missing" in note for note in result.notes)
