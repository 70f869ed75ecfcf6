"""Strings of words: who says what in which frame, in which part, and what is left over."""

import io
from collections import Counter

import numpy as np
import pytest
import tiny
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from reading import build, refused

from seqvae_core import Experiment
from seqvae_core.config import plain, structure_component
from seqvae_core.errors import ConfigError
from seqvae_core.loading import data_shapes
from seqvae_core.noise import Noise
from seqvae_core.runs import train
from seqvae_core.testing import check_component
from seqvae_data.config import SplitConfig
from seqvae_data.speech.config import AudioFolder, SpectrumConfig
from seqvae_data.speech.strings import Joined, compose
from seqvae_data.speech.strings_config import AudioStrings

soundfile = pytest.importorskip("soundfile")

RATE = 8000
NAME = r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d)\.wav"
SPLIT = SplitConfig(label="take", pattern="0", valid=0.3, stratify="speaker")
MELS = SpectrumConfig(mels=6, n_fft=256)
PARTS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Return a folder of 4 digits, 5 takes each, by three speakers: 20 words each."""
    root, rng = tmp_path_factory.mktemp("words"), np.random.default_rng(0)
    for speaker in ("ann", "bob", "cleo"):
        for digit in range(4):
            for take in range(5):
                sound = 0.1 * rng.normal(size=int(rng.integers(400, 1200)))
                path = root / f"{digit}_{speaker}_{take}.wav"
                soundfile.write(path, sound, RATE, subtype="PCM_16")
    return root


@pytest.fixture
def config(words):
    return AudioStrings(
        root=words, pattern=NAME, group="speaker", content="digit", split=SPLIT, spectrum=MELS,
        passes=2,
    )  # fmt: skip


def spoken(splits, part):
    """Return the words of each string of a part, as the run's list of its parts has them."""
    return [name.partition(": ")[2].split(", ") for name in getattr(splits, part).names]


def by_word(config):
    """Return the frames of each word as they are without strings."""
    fields = {key: getattr(config, key) for key in ("root", "pattern", "split", "spectrum")}
    splits = build(AudioFolder(**fields, normalise=False, features=config.features))
    return {
        name: item["x"]
        for part in PARTS
        for name, item in zip(
            getattr(splits, part).names, getattr(splits, part), strict=True
        )
    }  # fmt: skip


# What strings are made of ------------------------------------------------------------------------


@st.composite
def lengths(draw):
    shortest = draw(st.integers(1, 6))
    return shortest, draw(st.integers(shortest, 9))


@given(st.integers(0, 60), lengths(), st.integers(0, 2**32))
def test_strings_have_lengths_in_range_and_no_word_twice(words, bounds, seed):
    strings = list(compose(words, *bounds, Noise(seed)))
    assert all(bounds[0] <= len(string) <= bounds[1] for string in strings)
    used = [word for string in strings for word in string]
    assert len(set(used)) == len(used)
    assert set(used) <= set(range(words))


@given(st.integers(0, 60), lengths(), st.integers(0, 2**32))
def test_no_strings_of_these_lengths_could_hold_more_words(words, bounds, seed):
    held = {0}
    for total in range(1, words + 1):
        if any(total - length in held for length in range(bounds[0], bounds[1] + 1)):
            held.add(total)
    assert sum(map(len, compose(words, *bounds, Noise(seed)))) == max(held)


def test_all_lengths_and_both_ends_of_a_group_occur():
    strings = list(compose(1000, 3, 5, Noise(0)))
    counts = Counter(map(len, strings))
    assert counts.keys() == {3, 4, 5}
    assert min(counts.values()) > 50  # of about 83 each; 4 standard deviations
    assert sorted(word for string in strings for word in string) == list(range(1000))


def test_other_words_are_left_over_in_the_next_pass():
    noise = Noise(0)
    passes = [set().union(*compose(7, 4, 4, noise)) for _ in range(20)]
    assert {len(used) for used in passes} == {4}
    assert set().union(*passes) == set(range(7))


class Counted:
    """Frames that count how often they are read."""

    def __init__(self, x):
        self.x, self.shape, self.reads = x, x.shape, 0

    def __getitem__(self, index):
        self.reads += 1
        return self.x[index]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.data())
def test_joined_frames_read_as_if_they_were_one_array(sizes, data):
    whole = np.arange(2 * sum(sizes)).reshape(-1, 2)
    parts = [Counted(part) for part in np.split(whole, np.cumsum(sizes)[:-1])]
    joined = Joined(parts)
    assert joined.shape == whole.shape
    near = st.none() | st.integers(-len(whole) - 2, len(whole) + 2)
    index = slice(data.draw(near), data.draw(near))
    read = joined[index]
    assert np.array_equal(read, whole[index])
    if len(read):
        touched = [bool(np.isin(part.x, read).all(1).any()) for part in parts]
        assert [part.reads for part in parts] == [int(each) for each in touched]


# Frames and labels -------------------------------------------------------------------------------


def test_a_string_is_its_words_frames_side_by_side_with_their_digit(config):
    splits, alone = build(evolve(config, normalise=False)), by_word(config)
    for part in PARTS:
        items = getattr(splits, part)
        for said, item, length in zip(spoken(splits, part), items, items.lengths, strict=True):
            assert torch.equal(item["x"], torch.cat([alone[name] for name in said]))
            assert length == len(item["x"]) == sum(len(alone[name]) for name in said)
            digits = [name[0] for name in said for _ in range(len(alone[name]))]
            assert [splits.classes["digit"][i] for i in item["digit"]] == digits


def test_every_string_is_of_one_speaker_who_is_its_global_label(config):
    splits = build(config)
    assert splits.classes["speaker"] == ("ann", "bob", "cleo")
    for part in PARTS:
        for said, item in zip(spoken(splits, part), getattr(splits, part), strict=True):
            assert {name.split("_")[1] for name in said} == {
                splits.classes["speaker"][item["speaker"]]
            }
    labels = data_shapes(splits).labels
    assert {name: (label.scope, label.family) for name, label in labels.items()} == {
        "speaker": ("global", "class"), "digit": ("local", "class")
    }  # fmt: skip


def test_more_labels_of_words_become_labels_of_frames(config):
    splits = build(evolve(config, labels=("digit", "take")))
    item, said = splits.test[0], spoken(splits, "test")[0]
    assert item.keys() == {"x", "speaker", "digit", "take"}
    assert item["take"].shape == item["digit"].shape
    assert {name[-5] for name in said} == {"0"} == {splits.classes["take"][i] for i in item["take"]}


def test_the_content_may_be_a_label_of_the_words_frames(config, words, tmp_path):
    rows = [f"{path.name},{start},{start + 0.02},{sound}"
            for path in sorted(words.iterdir())
            for start, sound in ((0.0, "a"), (0.02, "b"))]  # fmt: skip
    table = tmp_path / "sounds.csv"
    table.write_text("\n".join(["path,start,end,sound", *rows]))
    config = evolve(config, intervals=str(table), content="sound")
    splits, alone = build(config), by_word(config)
    said, item = spoken(splits, "test")[0], splits.test[0]
    # frames of 25 ms every 10 ms have their middles at 12.5, 22.5, 32.5, 42.5, ... ms
    expected = [
        i for name in said for i in ([0, 1, 1] + [-1] * len(alone[name]))[: len(alone[name])]
    ]
    assert item["sound"].tolist() == expected


# Parts -------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32), passes=st.integers(1, 3))
def test_each_word_is_in_one_part_as_often_as_there_are_passes(words, seed, passes):
    config = AudioStrings(
        root=words, pattern=NAME, group="speaker", content="digit", split=SPLIT, spectrum=MELS,
        passes=passes,
    )  # fmt: skip
    splits = build(config, seed)
    used = [Counter(word for string in spoken(splits, part) for word in string) for part in PARTS]
    assert sum(map(len, used)) == len(set().union(*used)) == 60
    assert [set(counts.values()) for counts in used] == [{passes}, {1}, {1}]
    assert all("_0.wav" in word for word in used[2])


def test_passes_have_other_strings_and_every_string_another_name(config):
    splits = build(evolve(config, passes=5))
    strings = {tuple(string) for string in spoken(splits, "train")}
    assert len(strings) > 0.9 * len(splits.train)  # of eight words some string may come again
    names = [name for part in PARTS for name in getattr(splits, part).names]
    assert len(set(names)) == len(names)


def test_the_same_seed_gives_the_same_strings_and_another_seed_others(config):
    one, again, other = build(config, 3), build(config, 3), build(config, 4)
    for part in PARTS:
        assert spoken(one, part) == spoken(again, part)
        for a, b in zip(getattr(one, part), getattr(again, part), strict=True):
            assert all(np.array_equal(a[key], b[key]) for key in a)
        assert spoken(one, part) != spoken(other, part)


def test_another_speaker_changes_nobody_s_strings(config):
    split = evolve(SPLIT, valid=0.0)  # what is drawn for valid depends on all words
    without = build(evolve(config, split=split, exclude="_bob_"))
    both = spoken(build(evolve(config, split=split)), "train")
    assert spoken(without, "train") == [said for said in both if "_bob_" not in said[0]]


def test_speakers_may_be_kept_apart_by_the_split(config):
    splits = build(evolve(config, split=SplitConfig(group="speaker", test=0.3, valid=0.4)))
    speakers = [{item["speaker"] for item in getattr(splits, part)} for part in PARTS]
    assert sum(map(len, speakers)) == len(set().union(*speakers)) == 3


def test_a_speaker_with_too_few_words_in_a_part_has_no_string_there(config):
    splits = build(evolve(config, exclude="[123]_bob_0"))
    assert {splits.classes["speaker"][item["speaker"]] for item in splits.test} == {"ann", "cleo"}


def test_a_part_whose_words_make_no_string_is_refused(config):
    refused(
        evolve(config, shortest=5),
        "the test part has no string: "
        "none of the 3 values of 'speaker' has data.shortest = 5 words there",
    )
    refused(evolve(config, split=evolve(SPLIT, valid=0.1)), "the valid part has no string: none of")
    assert len(build(evolve(config, split=evolve(SPLIT, valid=0.0))).valid) == 0


def test_segments_of_a_string_have_its_number_which_no_other_part_has(config):
    whole = build(evolve(config, normalise=False))
    cut = build(evolve(config, normalise=False, segment=7))
    assert "utterance" not in whole.train[0]
    first = cut.train[0]
    pieces = [item for item in cut.train if item["utterance"] == first["utterance"]]
    assert len(pieces) == len(whole.train[0]["x"]) // 7
    for i, piece in enumerate(pieces):
        for key in ("x", "digit"):
            assert torch.equal(piece[key], whole.train[0][key][7 * i : 7 * i + 7])
    numbers = [{item["utterance"] for item in getattr(cut, part)} for part in PARTS]
    assert sum(map(len, numbers)) == len(set().union(*numbers))


# Units -------------------------------------------------------------------------------------------


def test_channels_are_normalised_over_the_words_of_the_train_part(config):
    splits = build(config)
    x = torch.cat([item["x"] for item in splits.train]).double()
    assert x.mean(0).abs().max() < 1e-5
    assert (x.std(0, correction=0) - 1).abs().max() < 1e-5
    once = build(evolve(config, passes=1)).fitted  # every word is as often in it
    np.testing.assert_allclose(splits.fitted["mean"], once["mean"], rtol=1e-9)
    np.testing.assert_allclose(splits.fitted["std"], once["std"], rtol=1e-9)


def test_what_was_fitted_gives_the_same_strings_again(config):
    splits = build(config)
    again = build(config, fitted=splits.fitted)
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(splits.test, again.test, strict=True))


def test_a_restored_string_sounds_like_its_words_one_after_another(config, words):
    splits = build(evolve(config, features="waveform"))
    wav = splits.sound(splits.restore(splits.test[0]["x"].numpy()))
    sound, rate = soundfile.read(io.BytesIO(wav))
    said = [soundfile.read(words / name)[0] for name in spoken(splits, "test")[0]]
    whole = [one[: one.size // 200 * 200] for one in said]  # frames of 25 ms
    assert rate == RATE
    np.testing.assert_allclose(sound, np.concatenate(whole), atol=1e-4)


def test_spectra_of_a_string_sound_as_long_as_its_frames(config):
    splits = build(config)
    x = splits.test[0]["x"]
    sound, rate = soundfile.read(io.BytesIO(splits.sound(splits.restore(x.numpy()))))
    assert (rate, sound.size) == (RATE, 200 + 80 * (len(x) - 1))


# Settings and faults -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"passes": 3, "segment": 6, "normalise": False, "features": "waveform"}]
)
def test_strings_keep_the_contract(plugins, words, settings):
    data = {"name": "audio-strings", "root": str(words), "pattern": NAME, "group": "speaker",
            "content": "digit", "split": plain(SPLIT), **settings}  # fmt: skip
    check_component(structure_component("dataset", data, plugins))


def test_settings_survive_plain_data(plugins, config):
    assert structure_component("dataset", plain(config), plugins) == config
    assert hash(config) == hash(evolve(config))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shortest": 0}, "'shortest' must be >= 1: 0"),
        ({"longest": 2}, "'longest' must be at least 'shortest', 3: 2"),
        ({"passes": 0}, "'passes' must be >= 1: 0"),
        ({"content": "speaker"}, "'group' and 'content' must be two labels: 'speaker'"),
        ({"segment_hop": 3}, "'segment_hop' must not be given without 'segment'"),
        ({"groop": "speaker"}, "unknown key 'groop'"),
    ],
)
def test_wrong_settings_are_named(plugins, changed, said):
    data = {"name": "audio-strings", "root": "/nowhere", "group": "speaker", "content": "digit"}
    with pytest.raises(ConfigError) as caught:
        structure_component("dataset", data | changed, plugins)
    assert said in str(caught.value)


def test_labels_that_there_are_not_or_that_are_no_class_of_files_are_refused(
    config, words, tmp_path
):
    refused(evolve(config, group="sex"), "no label 'sex'; known: digit, speaker, take$")
    refused(evolve(config, content="word"), "no label 'word'; known: digit, speaker, take$")
    table = tmp_path / "ages.csv"
    rows = [f"{path.name},1,31" for path in sorted(words.iterdir())]
    table.write_text("\n".join(["path,digit,age", *rows]))
    ages = evolve(config, pattern=None, manifest=str(table), numbers=("age",), group="age")
    refused(ages, "expected a class of files as data.group, 'age' is a number")
    table.write_text("path,start,end,age\n" + "\n".join(r.replace(",1,", ",0,0.05,") for r in rows))
    frames = evolve(config, intervals=str(table), group="age")
    refused(frames, "expected a class of files as data.group, 'age' is a label of frames")


def test_a_word_of_nobody_is_named_or_left_out_on_request(config, words, tmp_path):
    table = tmp_path / "speakers.csv"
    rows = [(path.name, *path.stem.split("_")) for path in sorted(words.iterdir())]
    lines = [",".join((name, digit, "" if name == "0_bob_1.wav" else speaker, take))
             for name, digit, speaker, take in rows]  # fmt: skip
    table.write_text("\n".join(["path,digit,speaker,take", *lines]))
    config = evolve(config, pattern=None, manifest=str(table))
    refused(config, r"0_bob_1\.wav: has no 'speaker', which strings are made by")
    with pytest.warns(UserWarning, match=r"left out 1 files: .*0_bob_1\.wav: has no 'speaker'"):
        splits = build(evolve(config, on_error="skip"))
    assert "0_bob_1.wav" not in {word for part in PARTS for s in spoken(splits, part) for word in s}


# Training ----------------------------------------------------------------------------------------


def test_a_model_trains_on_strings(config, plugins, tmp_path):
    experiment = Experiment.load(tiny.write_experiment(tmp_path, steps=2), plugins)
    run = train(evolve(experiment, data=config, tasks=()), tmp_path / "run", plugins=plugins)
    assert tiny.steps_of(run.path) == [1, 2]


@pytest.mark.parametrize(
    ("preset", "root"),
    [("fsdd-strings-cmi", "fsdd/recordings"), ("timit-phones-cmi", "timit_sample/TIMIT")],
)
def test_presets_of_local_content_train_on_real_speech(
    shared_data, plugins, tmp_path, preset, root
):
    settings = [
        f"data.root={shared_data / root}",
        "train.steps=2",
        "train.batch_size=8",
        "tasks=[]",
    ]
    run = train(Experiment.load(preset, plugins, settings), tmp_path / "run", plugins=plugins)
    assert tiny.steps_of(run.path) == [1, 2]


def test_spoken_digits_are_strung_within_their_official_parts(shared_data, plugins):
    settings = [f"data.root={shared_data / 'fsdd' / 'recordings'}"]
    experiment = Experiment.load("fsdd-strings", plugins, settings)
    splits = build(experiment.data, experiment.seed)
    used = [Counter(word for string in spoken(splits, part) for word in string) for part in PARTS]
    assert [len(words) for words in used] == [360, 40, 200]
    assert [set(words.values()) for words in used] == [{experiment.data.passes}, {1}, {1}]
    assert splits.classes["digit"] == tuple("0123456789")
    assert {len(string) for string in spoken(splits, "test")} == {3, 4, 5}
