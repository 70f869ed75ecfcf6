"""Leakage of known latents, the probes that it takes, and the baselines that need a network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mirror import mirror, padded, relabelled, sequences, splits

from seqvae_core.errors import ConfigError, DataError
from seqvae_core.loading import collate
from seqvae_core.records import Noise, Splits
from seqvae_tasks.adversary import add_reference
from seqvae_tasks.config import Probe, Verification
from seqvae_tasks.config_leakage import Leakage
from seqvae_tasks.fitting import Probing, arrange
from seqvae_tasks.ragged import Ragged
from seqvae_tasks.recurrent import classify
from seqvae_tasks.representations import represent, shuffled

SEEDS = st.integers(0, 2**31 - 1)
WITHOUT = "s adversarially without speaker"


def run(data, config=Leakage, seed=0, **settings):
    model = mirror()
    settings = {"resamples": 50, **({"steps": 100} if config is Leakage else {}), **settings}
    return config(**settings).build(model.shapes)(model, data, Noise(seed))


def ordered(count, seed, *, length=6):
    """Return frames, rows and classes that lie in the order of frames alone."""
    rng = np.random.default_rng(seed)
    target = np.arange(count) % 2
    half = np.repeat([[1.0, -1.0]], length // 2, 1).reshape(-1)
    frames = np.concatenate([half if kind else half[::-1] for kind in target])[:, None]
    return frames + 0.1 * rng.normal(size=frames.shape), np.repeat(np.arange(count), length), target


# The task ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    return run(splits(train=36, test=36))


def test_latents_tell_what_lies_in_them_and_nothing_else(found):
    metrics = found.metrics
    for name in ("s", "frames"):
        assert f"speaker/{name}/gru" in metrics
    for name in ("pooled s/linear", "s per frame/linear", "s/gru"):
        assert metrics[f"speaker/{name}/low"] <= 0.5
    assert metrics["speaker/mean of frames/linear"] >= 0.9
    assert metrics["speaker/frames/gru"] >= 0.9
    for reader in ("linear", "mlp"):
        assert metrics[f"phone/z/{reader}"] < 0.8
        assert metrics[f"phone/z of shuffled frames/{reader}"] < 0.8
        assert metrics[f"phone/s per frame/{reader}"] == 1.0
    assert metrics["speaker/chance"] == pytest.approx(1 / 3)


def test_principal_components_tell_what_varies_most(found):
    """The speaker varies most among means of frames, and the phone within a sequence."""
    assert found.metrics["phone/frames, pca 2/linear"] == 1.0
    assert found.metrics["phone/mean of frames, pca 2/linear"] < 0.8
    assert found.metrics["speaker/pooled frames, pca 2/linear"] >= 0.5


def test_every_row_says_what_is_read_by_which_probe(found):
    assert list(found.tables) == ["speaker", "phone"]
    columns = ["variable", "reads", "probe", "accuracy in %", "chance"]
    for rows in found.tables.values():
        assert all(list(row) == columns for row in rows)
    speaker = [tuple(row.values())[:3] for row in found.tables["speaker"]]
    for name in ("s", "untrained s", "frames, pca 2", "frames"):
        assert (name, "mean over time", "linear") in speaker
        assert (name, "single frames", "linear") in speaker
        assert (name, "whole sequence", "gru") in speaker
    phone = {row["variable"] for row in found.tables["phone"]}
    assert phone == {
        "z", "z of shuffled frames", "untrained z", "mean of frames", "mean of frames, pca 2",
        "s", "untrained s", "frames", "frames, pca 2",
    }  # fmt: skip


def test_intervals_lie_around_their_numbers(found):
    for name in [name for name in found.metrics if f"{name}/low" in found.metrics]:
        low, high = found.metrics[f"{name}/low"], found.metrics[f"{name}/high"]
        assert 0.0 <= low <= found.metrics[name] <= high <= 1.0


def test_the_gru_hears_what_lies_in_the_order_of_frames_alone():
    data = []
    for seed in (1, 2):
        frames, _, target = ordered(60, seed)
        blank = np.zeros((60, 6, 4), dtype=np.float32)
        blank[..., 2] = frames.reshape(60, 6)
        data.append([
            {"x": torch.from_numpy(x), "speaker": int(kind)}
            for x, kind in zip(blank, target, strict=True)
        ])  # fmt: skip
    metrics = run(Splits(train=data[0], valid=[], test=data[1])).metrics
    assert metrics["speaker/s/gru"] >= 0.95
    assert metrics["speaker/s per frame/linear"] < 0.7
    assert metrics["speaker/pooled s/linear"] < 0.7


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr("seqvae_tasks.adversary.STEPS", 20)


def test_padding_changes_nothing(hasty):
    data = splits(train=18, test=12, spread=2.0)
    other = Splits(train=padded(data.train), valid=[], test=padded(data.test), classes=data.classes)
    settings = {"steps": 20, "reference": True}
    plain, with_junk = run(data, **settings), run(other, **settings)
    assert plain.metrics == with_junk.metrics
    assert plain.tables == with_junk.tables


def test_segments_of_an_utterance_are_resampled_together():
    """Each of six utterances has copies: their interval is that of six, not of 24."""
    data = splits(train=18, test=6, spread=6.0)
    parts = []
    for part in (data.train, data.test * 4):
        labels = {"speaker": [i % 6 // 2 for i in range(len(part))]}
        parts.append(relabelled(part, utterance=[i % 6 for i in range(len(part))], **labels))
    data = Splits(train=parts[0], valid=[], test=parts[1])
    name, width = "speaker/mean of frames/linear", []
    for utterance in (None, "utterance"):
        metrics = run(data, utterance=utterance, steps=1, resamples=400).metrics
        width.append(metrics[f"{name}/high"] - metrics[f"{name}/low"])
    assert width[1] > 1.5 * width[0] > 0.0


def test_an_utterance_that_the_data_lack_is_an_error():
    with pytest.raises(DataError, match="no global label 'sentence'"):
        run(splits(train=6, test=6), utterance="sentence")


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"identity": "room"}, "no global class 'room'"),
        ({"identity": "pitch"}, "no global class 'pitch'"),
        ({"content": "word"}, "no local label 'word'"),
    ],
)
def test_a_label_that_the_data_lack_gives_a_note(settings, note, hasty):
    result = run(splits(train=6, test=6), steps=1, reference=True, **settings)
    assert any(note in line for line in result.notes)


def test_data_without_local_labels_ask_for_the_identity_alone():
    data = splits(train=12, test=12)
    parts = [
        relabelled(part, speaker=[item["speaker"] for item in part])
        for part in (data.train, data.test)
    ]
    result = run(Splits(train=parts[0], valid=[], test=parts[1]), steps=20)
    assert list(result.tables) == ["speaker"]
    assert any("the data have no local label" in note for note in result.notes)


# The recurrent probe ----------------------------------------------------------------------------


@pytest.mark.statistical
def test_the_gru_finds_nothing_in_noise():
    """Within 0.15 of one half on 200 held-out sequences: fails with probability below 1e-4."""
    rng = np.random.default_rng(0)
    frames, target = rng.normal(size=(1500, 3)), rng.integers(2, size=300)
    fit, held = np.arange(100), np.arange(100, 300)
    ragged = Ragged.of(frames, np.repeat(np.arange(300), 5), fit)
    predicted, ended = classify(
        ragged, target, fit, held, np.arange(300), steps=400, noise=Noise(0)
    )
    assert (predicted == target[held]).mean() == pytest.approx(0.5, abs=0.15)
    assert ended


def test_the_gru_depends_on_its_noise_alone():
    frames, row, target = ordered(30, 0)
    fit, held = np.arange(20), np.arange(20, 30)
    ragged = Ragged.of(frames, row, fit)
    state = torch.random.get_rng_state()
    first, second = (
        classify(ragged, target, fit, held, row, steps=15, noise=Noise(3)) for _ in range(2)
    )
    assert first[0].tolist() == second[0].tolist()
    assert torch.equal(torch.random.get_rng_state(), state)


@given(seed=SEEDS, count=st.integers(1, 8))
def test_batches_hold_the_frames_of_their_sequences_and_zeros(seed, count):
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 150, size=count)
    row = np.repeat(np.arange(count), length)
    frames = rng.normal(size=(len(row), 2))
    ragged = Ragged.of(frames, row, np.arange(count))
    chosen = rng.permutation(count)
    x, mask = ragged.batch(torch.from_numpy(chosen))
    assert mask.sum(1).tolist() == length[chosen].tolist()
    assert not x[~mask].any()
    for number, one in enumerate(chosen):
        assert torch.equal(x[number, : length[one]], ragged.values[torch.from_numpy(row == one)])
    drawn, begin, cut, mask = ragged.draw(torch.from_numpy(chosen), Noise(seed))
    assert mask.sum(1).tolist() == length[drawn.numpy()].clip(max=100).tolist()
    for number, one in enumerate(drawn.tolist()):
        part = cut[number, mask[number]]
        assert ragged.start[one] <= begin[number]
        assert begin[number] + len(part) <= ragged.start[one] + length[one]
        assert torch.equal(part, ragged.values[begin[number] : begin[number] + len(part)])


# Baselines --------------------------------------------------------------------------------------


@given(seed=SEEDS, count=st.integers(1, 6), frames=st.integers(0, 4))
def test_shuffled_sequences_have_the_same_frames_and_padding_behind(seed, count, frames):
    batch = collate(sequences(count, seed=seed))
    longer = collate([*sequences(count, seed=seed), {
        **sequences(1)[0], "x": torch.zeros(7 + frames, 4),
        "phone": torch.zeros(7 + frames, dtype=torch.long)}]).rows(slice(count))  # fmt: skip
    found, more = shuffled(batch, Noise(seed)), shuffled(longer, Noise(seed))
    assert torch.equal(found.mask, batch.mask)
    for row in range(count):
        length = int(batch.lengths[row])
        before, after = batch.x[row, :length], found.x[row, :length]
        assert sorted(before.tolist()) == sorted(after.tolist())
        assert sorted(more.x[row, :length].tolist()) == sorted(before.tolist())


def test_shuffled_encodings_are_made_only_when_asked_for():
    data = splits(train=6, test=6)
    assert not any("shuffled" in name for name in represent(mirror(), data, Noise(0)).vectors)
    names = represent(mirror(), data, Noise(0), shuffles=True).vectors
    assert [name for name in names if "shuffled" in name] == ["z of shuffled frames"]


@pytest.mark.statistical
def test_the_reference_loses_the_speaker_and_keeps_the_content():
    """Over noise seeds 0 to 7: 0.60 to 0.81 of sequences, 0.54 to 0.64 of frames, chance 0.5."""
    rng = np.random.default_rng(0)

    def items(count):
        for i in range(count):
            phone = torch.from_numpy(rng.integers(2, size=8))
            x = torch.from_numpy(0.3 * rng.normal(size=(8, 4))).float()
            x[:, 2] += 2.0 * (i % 2)
            x[:, 3] += 2.0 * phone
            yield {"x": x, "speaker": i % 2, "phone": phone}

    data = Splits(train=list(items(80)), valid=[], test=list(items(80)))
    result = run(data, Probe, reference=True, labels=("speaker", "phone"))
    for reader in ("linear", "mlp"):
        assert result.metrics[f"speaker/pooled s/{reader}"] == 1.0
        assert result.metrics[f"speaker/pooled {WITHOUT}/{reader}"] < 0.9
        assert result.metrics[f"speaker/{WITHOUT} per frame/{reader}"] < 0.7
        assert result.metrics[f"phone/{WITHOUT} per frame/{reader}"] > 0.95


def test_the_reference_learns_from_the_train_part_alone(hasty):
    data = splits(train=12, test=12)
    model = mirror()
    other = relabelled(data.test, speaker=[0] * 12)
    train = relabelled(data.train, speaker=[item["speaker"] for item in data.train])
    found = []
    for test in (relabelled(data.test, speaker=[i % 3 for i in range(12)]), other):
        encoded = represent(model, Splits(train=train, valid=[], test=test), Noise(0))
        notes = add_reference(encoded, "speaker", Noise(1))
        found.append(encoded.frames[f"{WITHOUT} per frame"])
        assert "supervised" in notes[0]
    assert (found[0] == found[1]).all()


def test_every_task_of_representations_shows_the_reference_when_asked_for(hasty):
    data = splits(train=12, test=12)
    probed = run(data, Probe, labels=("speaker",), classifier=("linear",), reference=True)
    assert f"speaker/pooled {WITHOUT}/linear" in probed.metrics
    assert f"speaker/{WITHOUT} per frame/linear" in probed.metrics
    verified = Verification(reference=True).build(mirror().shapes)(mirror(), data, Noise(0))
    assert f"eer/pooled {WITHOUT}" in verified.metrics
    leaked = run(data, reference=True, steps=5)
    assert f"speaker/{WITHOUT}/gru" in leaked.metrics
    for result in (probed, verified, leaked):
        assert any("upper reference that is supervised" in note for note in result.notes)


def test_a_reference_takes_the_given_split():
    with pytest.raises(ConfigError, match="expected no 'group', got 'speaker'"):
        Probe(reference=True, group="speaker")


# Classifiers ------------------------------------------------------------------------------------


def test_an_svm_finds_what_is_bent_and_a_line_does_not():
    rng = np.random.default_rng(0)
    angle, target = rng.uniform(0, 2 * np.pi, 300), np.arange(300) % 2
    values = (1.0 + target)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    folds, unseen = arrange(target, np.arange(300) >= 200)
    probing = Probing(target=target, unit=np.arange(300), folds=folds, unseen=unseen, tuned=True,
                      seed=0, resamples=20)  # fmt: skip
    assert probing.score(values, "svm")[0].value == 1.0
    assert probing.score(values, "svm")[1] == 0
    assert probing.score(values, "linear")[0].value < 0.7
    number = Probing(target=np.cos(angle) ** 2, unit=np.arange(300), folds=folds, unseen=0,
                     tuned=True, seed=0, resamples=20)  # fmt: skip
    assert number.score(values, "svm")[0].value > 0.9
    assert number.score(values, "linear")[0].value < 0.2


def test_classifiers_are_those_asked_for():
    data = splits(train=18, test=12)
    result = run(data, Probe, labels=("speaker",), classifier=("svm",))
    assert {name.rsplit("/", 1)[1] for name in result.metrics} <= {"svm", "low", "high", "chance",
                                                                  "chance per frame"}  # fmt: skip
    assert result.metrics["speaker/z/svm"] == 1.0
    assert "svm" in result.tables["speaker: accuracy in %"][0]
    assert any(note.startswith("svm: support vectors") for note in result.notes)
    with pytest.raises(ValueError, match="classifier"):
        Probe(classifier=())


def test_an_svm_on_many_rows_chooses_its_kernel_on_a_thousand(monkeypatch):
    monkeypatch.setattr("seqvae_tasks.fitting._KERNEL_ROWS", 30)
    result = run(splits(), Probe, labels=("phone",), classifier=("svm",))
    assert result.metrics["phone/s per frame/svm"] == 1.0
