"""TIMIT: layouts, phones and words on frames, official lists, and what is wrong with files."""

import io
import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core import Experiment
from seqvae_core.components import DataRequest
from seqvae_core.config import plain, structure_component
from seqvae_core.errors import ConfigError, DataError
from seqvae_core.loading import check_splits, data_shapes
from seqvae_core.runs import train
from seqvae_core.testing import check_component
from seqvae_data.config import SplitConfig
from seqvae_data.speech.audio import read
from seqvae_data.speech.spectra import frame_times
from seqvae_data.speech.timit import Recording, build, find
from seqvae_data.speech.timit_config import Timit
from seqvae_data.speech.timit_tables import CORE_TEST, DEVELOPMENT, PHONES, folding
from seqvae_data.speech.timit_times import Segment, at, read_phones, read_words

soundfile = pytest.importorskip("soundfile")

RATE = 16000
ALL = ("SA", "SX", "SI")
PARTS = ("train", "valid", "test")
GLOBAL = {"speaker", "sex", "dialect", "sentence", "sentence_type"}
PHONE_LINES = "0 800 h#\n800 1600 sh\n1600 2400 ix\n2400 3200 q\n3200 4000 tcl\n4000 4700 t\n"
WORD_LINES = "800 2400 she\n2000 3200 is\n4000 4700 to\n"


def split_of(config, seed=0, fitted=None):
    return check_splits(config.build(DataRequest(seed=seed, fitted=fitted)))


def values(splits, part, label):
    return {splits.classes[label][item[label]] for item in getattr(splits, part)}


def said(splits, item, label):
    """Return a frame label's names, "" where it is missing."""
    return [splits.classes[label][i] if i >= 0 else "" for i in item[label].tolist()]


def refused(config, text):
    with pytest.raises(DataError, match=text) as caught:
        split_of(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def record(tone, sphere):
    """Return a function that writes one recording and its transcriptions."""

    def write(folder, sentence, *, seed=0, riff=False):
        folder.mkdir(parents=True, exist_ok=True)
        sound = tone(300 + 40 * seed, 0.3, seed=seed)
        case = str.lower if riff else str.upper
        path = folder / case(f"{sentence}.wav")
        if riff:
            soundfile.write(path, sound, RATE, subtype="PCM_16")
        else:
            path.write_bytes(sphere(sound))
        path.with_suffix(case(".phn")).write_text(PHONE_LINES)
        path.with_suffix(case(".wrd")).write_text(WORD_LINES)
        return path

    return write


@pytest.fixture
def corpus(tmp_path, record):
    """Return a folder with an LDC tree: three training speakers, one test speaker."""
    root = tmp_path / "corpus"
    speakers = ("TRAIN/DR1/FAAA0", "TRAIN/DR2/MBBB0", "TRAIN/DR2/MCCC1", "TEST/DR3/FDDD0")
    for s, speaker in enumerate(speakers):
        for i, sentence in enumerate(("SA1", "SX7", "SX18", f"SI{600 + s}")):
            record(root / "TIMIT" / speaker, sentence, seed=10 * s + i)
    return root


@pytest.fixture
def nltk(tmp_path, record):
    root = tmp_path / "nltk"
    for s, folder in enumerate(("dr1-faaa0", "dr2-mbbb0", "dr4-feee0", "dr5-mfff0")):
        for i, sentence in enumerate(("sa1", "sx7")):
            record(root / folder, sentence, seed=10 * s + i, riff=True)
    return root


@pytest.fixture
def config(corpus):
    return Timit(root=corpus)


# Finding -----------------------------------------------------------------------------------------


def test_each_recording_has_its_speaker_sex_dialect_and_sentence(config):
    first = find(config)[0]
    assert isinstance(first, Recording)
    assert first.name == "TIMIT/TEST/DR3/FDDD0/SI603.WAV"
    assert first.labels == {
        "part": "TEST", "dialect": "DR3", "speaker": "FDDD0", "sex": "F", "sentence": "SI603",
        "sentence_type": "SI",
    }  # fmt: skip


def test_sa_sentences_are_left_out_unless_asked_for(config):
    assert len(find(config)) == 12
    assert len(find(evolve(config, sentences=ALL))) == 16
    assert {one.labels["sentence"] for one in find(evolve(config, sentences=("SA",)))} == {"SA1"}


@pytest.mark.parametrize("below", ["", "TIMIT"])
def test_root_is_timit_s_own_folder_or_one_above(config, below):
    assert len(find(evolve(config, root=config.root / below))) == 12


def test_lower_case_and_upper_case_trees_give_the_same_items(tmp_path, config):
    lower = tmp_path / "lower"
    for path in config.root.rglob("*"):
        if path.is_file():
            copy = lower / path.relative_to(config.root).as_posix().lower()
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    one, other = split_of(config), split_of(evolve(config, root=lower))
    assert one.classes == other.classes
    for part in PARTS:
        for a, b in zip(getattr(one, part), getattr(other, part), strict=True):
            assert all(np.array_equal(a[key], b[key]) for key in a)


def test_where_both_layouts_lie_below_root_only_the_ldc_s_is_read(config, record):
    record(config.root / "nltk" / "dr1-faaa0", "SX7", riff=True)
    record(config.root / "nltk" / "dr7-mzzz0", "SX7", riff=True)
    assert {one.path.suffix for one in find(config)} == {".WAV"}
    assert len(find(config)) == 12


def test_a_second_copy_of_a_recording_is_refused(config, record):
    record(config.root / "copy" / "TRAIN" / "DR1" / "FAAA0", "SX7")
    refused(config, r"one recording is there twice: .*TIMIT/.*SX7\.WAV and .*copy/.*SX7\.WAV")


def test_nltk_s_layout_is_read_and_split_by_rule(nltk):
    config = Timit(
        root=nltk, sentences=ALL, split_by="rule",
        split=SplitConfig(group="speaker", test=0.25, valid=0.3),
    )  # fmt: skip
    splits = split_of(config)
    assert [len(getattr(splits, part)) for part in PARTS] == [4, 2, 2]
    assert set(splits.classes["dialect"]) == {"DR1", "DR2", "DR4", "DR5"}
    refused(evolve(config, split_by="official", split=SplitConfig()),
            "no recordings in folders TRAIN and TEST .* set data.split_by = 'rule'")  # fmt: skip


def test_wrong_folders_are_refused(config, tmp_path):
    refused(evolve(config, root=tmp_path / "nowhere"), "no such folder: .*nowhere")
    (tmp_path / "empty").mkdir()
    refused(evolve(config, root=tmp_path / "empty"), "no recordings of TIMIT in .*empty: expected")
    refused(evolve(config, root=config.root / "TIMIT" / "TRAIN"), "no recordings in folders TRAIN")
    for path in config.root.rglob("SI*"):
        path.unlink()
    refused(
        evolve(config, sentences=("SI",)),
        "none of the 12 recordings in .* is of a type in data.sentences: SI",
    )


# Labels ------------------------------------------------------------------------------------------


def test_the_phone_and_the_word_of_a_frame_are_those_at_its_centre(config):
    splits = split_of(evolve(config, words=True, phones=61))
    item = splits.test[0]
    assert item.keys() == {"x", "phone", "word"} | GLOBAL
    # the centres are samples 200, 360, 520, ...
    expected = ["h#"] * 4 + ["sh"] * 5 + ["ix"] * 5 + ["q"] * 5 + ["tcl"] * 5 + ["t"] * 4
    assert said(splits, item, "phone") == expected
    assert said(splits, item, "word") == (
        [""] * 4 + ["she"] * 8 + ["is"] * 7 + [""] * 5 + ["to"] * 4
    )
    shapes = data_shapes(splits)
    assert {name for name, v in shapes.labels.items() if v.scope == "local"} == {"phone", "word"}
    assert {name for name, v in shapes.labels.items() if v.scope == "global"} == GLOBAL


def test_frames_after_the_last_phone_have_none(config):
    (path,) = config.root.rglob("FDDD0/SX7.PHN")
    path.write_text("0 1000 h#\n1000 2000 sh\n")
    splits = split_of(config)
    (name,) = [n for n in splits.test.names if n.endswith("FDDD0/SX7.WAV")]
    labels = said(splits, splits.test[splits.test.names.index(name)], "phone")
    assert labels == ["sil"] * 5 + ["sh"] * 7 + [""] * 16


def test_folding_keeps_48_or_39_and_the_glottal_stop_has_no_phone(config):
    assert len(PHONES) == len(set(PHONES)) == 61
    for size in (61, 48, 39):
        table = folding(size)
        assert tuple(table) == PHONES
        assert len(set(table.values()) - {""}) == size
        assert (table["q"] == "") is (size < 61)
    splits = split_of(config)
    labels = said(splits, splits.test[0], "phone")
    assert labels == ["sil"] * 4 + ["sh"] * 5 + ["ih"] * 5 + [""] * 5 + ["sil"] * 5 + ["t"] * 4


@pytest.mark.parametrize(
    ("phone", "of_48", "of_39"),
    [
        ("h#", "sil", "sil"), ("pau", "sil", "sil"), ("epi", "epi", "sil"), ("bcl", "vcl", "sil"),
        ("kcl", "cl", "sil"), ("ax-h", "ax", "ah"), ("axr", "er", "er"), ("ux", "uw", "uw"),
        ("zh", "zh", "sh"), ("el", "el", "l"), ("em", "m", "m"), ("en", "en", "n"),
        ("eng", "ng", "ng"), ("nx", "n", "n"), ("hv", "hh", "hh"), ("ao", "ao", "aa"),
        ("ix", "ix", "ih"), ("dx", "dx", "dx"),
    ],
)  # fmt: skip
def test_phones_fold_as_lee_and_hon_have_it(phone, of_48, of_39):
    assert (folding(48)[phone], folding(39)[phone]) == (of_48, of_39)


@given(cuts=st.lists(st.integers(1, 99), min_size=1, unique=True))
def test_segments_without_gaps_give_every_sample_its_own_text(cuts):
    ends = [0, *sorted(cuts)]
    segments = [Segment(a, b, str(a), 1) for a, b in pairwise(ends)]
    texts = at(segments, np.arange(100.0))
    assert texts.tolist() == [
        str(max(end for end in ends[:-1] if end <= i)) if i < ends[-1] else "" for i in range(100)
    ]


def test_segments_cut_the_labels_of_frames_too(config):
    whole = split_of(config)
    cut = split_of(evolve(config, segment=10, segment_hop=6))
    assert len(cut.test) == 4 * len(whole.test)
    first = [item for item in cut.test if item["utterance"] == cut.test[0]["utterance"]]
    for i, segment in enumerate(first):
        frames = slice(6 * i, 6 * i + 10)
        assert torch.equal(segment["phone"], whole.test[0]["phone"][frames])
    assert cut.test.names[1] == "TIMIT/TEST/DR3/FDDD0/SI603.WAV[6:16]"
    assert "utterance" not in whole.test[0]


# Parts -------------------------------------------------------------------------------------------


def test_the_folders_are_the_parts_and_valid_is_whole_speakers_of_train(config):
    splits = split_of(evolve(config, split=SplitConfig(valid=0.3)))
    speakers = [values(splits, part, "speaker") for part in PARTS]
    assert [len(part) for part in speakers] == [2, 1, 1]
    assert speakers[2] == {"FDDD0"}
    assert not speakers[0] & speakers[1]


def test_the_published_lists_are_those_of_the_corpus():
    assert (len(CORE_TEST), len(DEVELOPMENT), len(CORE_TEST & DEVELOPMENT)) == (24, 50, 0)
    assert Counter(name[0] for name in CORE_TEST) == {"M": 16, "F": 8}


def test_core_test_and_development_set_are_used_when_all_of_their_speakers_are_there(
    tmp_path, record
):
    for speaker in ("TRAIN/DR1/FAAA0", "TRAIN/DR1/MBBB0", "TEST/DR1/MZZZ0"):
        record(tmp_path / speaker, "SX7")
    for speaker in CORE_TEST | DEVELOPMENT:
        record(tmp_path / "TEST" / "DR1" / speaker, "SX7")
    config = Timit(root=tmp_path)
    splits = split_of(config)
    assert values(splits, "train", "speaker") == {"FAAA0", "MBBB0"}
    assert values(splits, "valid", "speaker") == DEVELOPMENT
    assert values(splits, "test", "speaker") == CORE_TEST
    for path in (tmp_path / "TEST" / "DR1" / "MDAB0").iterdir():
        path.unlink()
    less = split_of(config)
    assert len(less.test) == 23 + 50 + 1
    assert len(less.valid) == 1


def test_by_sentence_all_speakers_are_in_train_and_in_test(config):
    splits = split_of(evolve(config, split_by="sentence", split=SplitConfig(valid=0.5)))
    assert [len(getattr(splits, part)) for part in PARTS] == [4, 4, 4]
    assert values(splits, "train", "speaker") == values(splits, "test", "speaker")
    assert values(splits, "train", "sentence_type") == {"SX"}
    assert values(splits, "test", "sentence_type") == {"SI"}


def test_a_rule_may_look_at_the_folder_which_is_no_label(config):
    rule = SplitConfig(label="part", pattern="TEST", group="speaker", valid=0.3)
    splits = split_of(evolve(config, split_by="rule", split=rule))
    assert values(splits, "test", "speaker") == {"FDDD0"}
    assert "part" not in splits.test[0]


def test_what_was_fitted_gives_the_same_items_again_and_knows_its_phones(config):
    splits = split_of(config)
    again = split_of(config, fitted=json.loads(json.dumps(splits.fitted)))
    assert again.classes == splits.classes
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(splits.test, again.test, strict=True))
    with pytest.raises(DataError, match="phones is 61, the run's is 39"):
        split_of(evolve(config, phones=61), fitted=splits.fitted)


@pytest.mark.parametrize("name", ["log-mel", "log-magnitude", "mfcc", "waveform"])
def test_every_feature_has_a_phone_for_each_of_its_frames(config, name):
    splits = split_of(evolve(config, features=name))
    item = splits.test[0]
    assert len(item["x"]) == len(item["phone"])
    times = frame_times(name, len(item["x"]), RATE, config.spectrum)
    last = max(i for i, phone in enumerate(said(splits, item, "phone")) if phone == "t")
    assert times[last] * RATE < 4700


# Files -------------------------------------------------------------------------------------------


PHN_FAULTS = [
    ("", "SX7.PHN: has no phones"),
    ("0 800 h#\n800 zwei sh\n", "SX7.PHN, line 2: expected 'start end phone', got '800 zwei sh'"),
    ("0 800 h#\n800 1600\n", "SX7.PHN, line 2: expected 'start end phone', got '800 1600'"),
    ("-5 800 h#\n", "SX7.PHN, line 1: expected 'start end phone'"),
    ("0 ² h#\n", "SX7.PHN: expected lines of ASCII text, got other bytes"),
    ("0 800 h#\n\n800 1600 zz\n", "SX7.PHN, line 3: 'zz' is none of TIMIT's 61 phones"),
    ("0 800 h#\n900 1600 sh\n", "line 2: a gap between phones: starts at 900, .* ends at 800"),
    ("0 800 h#\n700 1600 sh\n", "line 2: an overlap between phones: starts at 700, .* at 800"),
    ("0 800 h#\n800 4801 sh\n", "line 2: samples 800 to 4801 of a recording of 4800"),
    ("0 800 h#\n800 700 sh\n", "line 2: samples 800 to 700 of a recording of 4800"),
    (f"0 {10**30} h#\n", "line 1: expected 'start end phone'"),
]
WRD_FAULTS = [
    ("\n", "SX7.WRD: has no words"),
    ("0 800 the dog\n", "SX7.WRD, line 1: expected 'start end word', got '0 800 the dog'"),
    ("800 900 b\n700 950 a\n", "SX7.WRD, line 2: starts at 700, the one before starts at 800"),
    ("800 9000 b\n", "SX7.WRD, line 1: samples 800 to 9000 of a recording of 4800"),
]
FAULTS = [("PHN", *fault) for fault in PHN_FAULTS] + [("WRD", *fault) for fault in WRD_FAULTS]


@pytest.mark.parametrize(("ending", "text", "expected"), FAULTS)
def test_a_transcription_that_cannot_be_used_is_named_with_its_line(config, ending, text, expected):
    config = evolve(config, words=True)
    (path,) = config.root.rglob(f"MBBB0/SX7.{ending}")
    path.write_text(text, encoding="utf-8")
    assert str(path) in refused(config, expected)
    with pytest.warns(UserWarning, match=f"left out 1 recordings: .*{expected}"):
        splits = split_of(evolve(config, on_error="skip"))
    assert sum(len(getattr(splits, part)) for part in PARTS) == 11


def test_a_missing_transcription_is_named_and_words_only_when_asked_for(config):
    (words,) = config.root.rglob("MBBB0/SX7.WRD")
    words.unlink()
    assert len(split_of(config).train) > 0
    refused(evolve(config, words=True), r"MBBB0/SX7\.WAV: no \.WRD file of its name beside it")
    (phones,) = config.root.rglob("MBBB0/SX7.PHN")
    phones.unlink()
    refused(config, r"MBBB0/SX7\.WAV: no \.PHN file of its name beside it")
    with pytest.warns(UserWarning, match="left out 1 recordings: .*no .PHN file"):
        split_of(evolve(config, on_error="skip"))


def test_a_damaged_sound_is_named_or_left_out(config, tone, sphere):
    (path,) = config.root.rglob("MBBB0/SX7.WAV")
    content = path.read_bytes()
    path.write_bytes(content[:-50])
    refused(config, r"MBBB0/SX7\.WAV: is truncated: 10574 bytes, its header promises 10624")
    path.write_bytes(sphere(tone(300, rate=8000), rate=8000))
    refused(config, r"SX7\.WAV: sampled at 8000 Hz, TIMIT is at 16000 Hz")
    with pytest.warns(UserWarning, match="left out 1 files: .*8000 Hz"):
        splits = split_of(evolve(config, on_error="skip"))
    assert sum(len(getattr(splits, part)) for part in PARTS) == 11


def test_when_no_transcription_can_be_used_the_first_reason_is_given(config):
    for path in config.root.rglob("*.PHN"):
        path.write_text("junk")
    said_first = "none of the 12 recordings can be used, the first: .*SI603.PHN, line 1"
    with pytest.warns(UserWarning, match="left out 12 recordings"):
        refused(evolve(config, on_error="skip"), said_first)


def test_transcriptions_are_read_without_a_corpus(tmp_path):
    path = tmp_path / "a.phn"
    path.write_text(PHONE_LINES)
    assert [one.text for one in read_phones(path, 4800)] == ["h#", "sh", "ix", "q", "tcl", "t"]
    path.write_text(WORD_LINES)
    assert [one.text for one in read_words(path, 4800)] == ["she", "is", "to"]
    with pytest.raises(DataError, match=r"b\.phn: cannot be read: No such file"):
        read_phones(tmp_path / "b.phn", 4800)


# Settings ----------------------------------------------------------------------------------------


def test_settings_survive_plain_data(plugins, config):
    config = evolve(config, phones=48, words=True, segment=20, split_by="sentence")
    assert structure_component("dataset", plain(config), plugins) == config
    assert hash(config) == hash(evolve(config))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"phones": 40}, "expected one of 61, 48, 39, got 40"),
        ({"sentences": ["SB"]}, "expected one of SA, SX, SI, got 'SB'"),
        ({"sentences": []}, "'sentences' must be one or more, each once: []"),
        ({"sentences": ["SX", "SX"]}, "'sentences' must be one or more, each once"),
        ({"segment_hop": 3}, "'segment_hop' must not be given without 'segment'"),
        ({"split": {"test": 0.5}}, "'split' must set nothing but 'valid' unless split_by = 'rule'"),
        ({"split_by": "sentence", "sentences": ["SI"]}, "'sentences' must hold SI and another"),
        ({"split_by": "sentence", "sentences": ["SX"]}, "'sentences' must hold SI and another"),
    ],
)
def test_wrong_settings_are_named(plugins, settings, expected):
    data = {"name": "timit", "root": "/nowhere", **settings}
    with pytest.raises(ConfigError) as caught:
        structure_component("dataset", data, plugins)
    assert expected in str(caught.value)


@pytest.mark.parametrize("settings", [{}, {"segment": 9, "words": True, "normalise": False}])
def test_timit_keeps_its_contract(plugins, config, settings):
    data = {"name": "timit", "root": str(config.root), **settings}
    check_component(structure_component("dataset", data, plugins))


def test_two_steps_train_on_its_segments(plugins, config, tmp_path):
    toml = tiny.write_experiment(tmp_path, steps=2).read_text()
    data = f'name = "timit"\nroot = "{config.root}"\nsegment = 9'
    path = tmp_path / "timit.toml"
    path.write_text(toml.replace('name = "arrays"\npath = "toy.npz"', data))
    run = train(Experiment.load(path, plugins), tmp_path / "run", plugins=plugins)
    assert tiny.steps_of(run.path) == [1, 2]


def test_its_spectra_can_be_heard_again(config):
    splits = split_of(evolve(config, features="log-magnitude"))
    wav = splits.sound(splits.restore(splits.test[0]["x"].numpy()))
    sound, rate = soundfile.read(io.BytesIO(wav))
    assert rate == RATE
    assert sound.size == 160 * 27 + 400


# The corpus' public sample -----------------------------------------------------------------------


@pytest.fixture
def sample(shared_data):
    return Timit(root=shared_data / "timit_sample", sentences=ALL)


def test_the_sample_has_its_known_recordings_speakers_and_phones(sample):
    recordings = find(sample)
    assert len(recordings) == 120
    assert Counter(name[0] for name in {r.labels["speaker"] for r in recordings}) == {
        "F": 6,
        "M": 6,
    }
    assert len(find(evolve(sample, sentences=("SX", "SI")))) == 96
    phones = Counter(
        segment.text
        for one in recordings
        for segment in read_phones(one.beside(".phn"), read(one.path)[0].size)
    )
    assert phones.total() == 4592
    assert (phones["q"], phones["epi"], phones["ax-h"]) == (100, 40, 19)
    for one in recordings:
        assert read_words(one.beside(".wrd"), read(one.path)[0].size)


def test_both_layouts_of_the_sample_hold_the_same_sound_and_phones(sample):
    ldc = {one.key: one for one in find(sample)}
    copies = find(evolve(sample, root=sample.root / "nltk_layout"))
    assert len(copies) == 4
    for copy in copies:
        original = ldc[copy.key]
        assert np.array_equal(read(copy.path)[0], read(original.path)[0])
        assert copy.beside(".phn").read_bytes() == original.beside(".phn").read_bytes()


def test_the_sample_splits_officially_and_by_sentence(sample):
    config = evolve(sample, sentences=("SX", "SI"), segment=20, features="log-magnitude")
    for split_by, sizes in (("official", [72, 8, 16]), ("sentence", [54, 6, 36])):
        splits = build(evolve(config, split_by=split_by), DataRequest(seed=0, fitted=None))
        parts = [{item["utterance"] for item in getattr(splits, part)} for part in PARTS]
        assert [len(part) for part in parts] == sizes
        assert splits.fitted["frame"] == [200]
        assert len(splits.classes["phone"]) == 39


def test_frames_of_unseen_speakers_tell_their_phones_far_above_chance(sample):
    """A least-squares classifier of single frames; labels that were shifted would fail."""
    splits = split_of(sample)
    count = len(splits.classes["phone"])

    def frames(part, shift=0):
        x = torch.cat([item["x"] for item in part]).double().numpy()
        y = np.concatenate([np.roll(item["phone"].numpy(), shift) for item in part])
        return np.c_[x, np.ones(len(x))][y >= 0], y[y >= 0]

    def accuracy(shift):
        x, y = frames(splits.train, shift)
        weights = np.linalg.lstsq(x, np.eye(count)[y], rcond=None)[0]
        x, y = frames(splits.test, shift)
        return float(((x @ weights).argmax(1) == y).mean())

    _, y = frames(splits.test)
    chance = np.bincount(y).max() / len(y)
    assert accuracy(0) > chance + 0.15
    assert accuracy(0) > max(accuracy(-4), accuracy(4)) + 0.05
