"""Folders of audio files: labels, parts, segments, normalisation, and what is wrong with files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import build, refused

from seqvae_core import Experiment
from seqvae_core.config import plain, structure_component
from seqvae_core.errors import ConfigError, DataError
from seqvae_core.loading import data_shapes
from seqvae_core.runs import train
from seqvae_core.testing import check_component
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.speech.audio import read, trim
from seqvae_data.speech.config import AudioFolder

soundfile = pytest.importorskip("soundfile")

RATE = 16000
NAME = r"(?P<word>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.(wav|flac|WAV)"
TAKE_0 = SplitConfig(label="take", pattern="0", valid=0.25)
PARTS = ("train", "valid", "test")


@pytest.fixture
def config(corpus):
    return AudioFolder(root=corpus, pattern=NAME, split=TAKE_0)


def names(splits, part, label):
    return {splits.classes[label][item[label]] for item in getattr(splits, part)}


def same(one, other):
    return all(
        len(getattr(one, part)) == len(getattr(other, part))
        and all(
            a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
            for a, b in zip(getattr(one, part), getattr(other, part), strict=True)
        )
        for part in PARTS
    )


# Labels and parts --------------------------------------------------------------------------------


def test_named_groups_are_labels_and_a_rule_names_the_test_part(config):
    splits = build(config)
    assert [len(getattr(splits, part)) for part in PARTS] == [12, 4, 8]
    assert splits.classes["speaker"] == ("ann", "bob", "cleo", "dan")
    assert splits.classes["word"] == ("0", "1")
    assert names(splits, "test", "take") == {"0"}
    assert names(splits, "train", "take") == {"1", "2"}
    shapes = data_shapes(splits)
    assert shapes.frame == (40,)
    assert {(v.scope, v.family) for v in shapes.labels.values()} == {("global", "class")}


def test_labels_left_out_can_still_rule_the_split(config):
    splits = build(evolve(config, labels=("speaker",)))
    assert splits.train[0].keys() == {"x", "speaker"}
    assert len(splits.test) == 8


def test_without_a_pattern_the_folder_is_the_label(tmp_path, tone):
    for folder in ("low", "high"):
        (tmp_path / folder).mkdir()
        for i in range(4):
            sound = tone(300 if folder == "low" else 3000, seed=i)
            soundfile.write(tmp_path / folder / f"{i}.wav", sound, RATE)
    splits = build(AudioFolder(root=tmp_path, split=SplitConfig(stratify="label", test=0.5)))
    assert splits.classes == {"label": ("high", "low")}
    assert names(splits, "test", "label") == {"high", "low"}


def test_a_rule_may_look_at_the_path(config):
    split = SplitConfig(label="path", pattern=r".*_dan_.*")
    splits = build(evolve(config, split=split))
    assert names(splits, "test", "speaker") == {"dan"}
    assert splits.classes["speaker"] == ("ann", "bob", "cleo", "dan")


def test_excluded_files_are_left_out(config):
    splits = build(evolve(config, exclude="_dan_"))
    assert splits.classes["speaker"] == ("ann", "bob", "cleo")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(seed=st.integers(0, 2**32), segment=st.integers(1, 40), hop=st.integers(1, 40))
def test_no_utterance_and_no_group_is_in_two_parts(corpus, seed, segment, hop):
    config = AudioFolder(
        root=corpus, pattern=NAME, segment=segment, segment_hop=hop,
        split=SplitConfig(group="speaker", test=0.25, valid=0.3),
    )  # fmt: skip
    splits = build(config, seed)
    for label in ("utterance", "speaker"):
        values = [{item[label] for item in getattr(splits, part)} for part in PARTS]
        assert all(values)
        assert sum(map(len, values)) == len(set().union(*values))
    whole = build(evolve(config, split=SplitConfig(), segment=segment, segment_hop=hop), seed)
    utterances = [{item["utterance"] for item in getattr(whole, part)} for part in PARTS]
    assert sum(map(len, utterances)) == len(set().union(*utterances)) == 24


def test_the_same_seed_gives_the_same_items(config):
    config = evolve(config, split=SplitConfig(stratify="speaker"))
    assert same(build(config, 5), build(config, 5))
    assert not same(build(config, 5), build(config, 6))


# Segments ----------------------------------------------------------------------------------------


def test_segments_are_consecutive_frames_of_their_utterance(config):
    whole, cut = build(evolve(config, normalise=False)), build(
        evolve(config, normalise=False, segment=5, segment_hop=3)
    )  # fmt: skip
    x = whole.test[0]["x"]
    first = cut.test[0]["utterance"]
    segments = [item["x"] for item in cut.test if item["utterance"] == first]
    assert len(segments) == 1 + (len(x) - 5) // 3
    for i, segment in enumerate(segments):
        assert torch.equal(segment, x[3 * i : 3 * i + 5])


def test_an_utterance_shorter_than_a_segment_is_one_segment(config):
    splits = build(evolve(config, segment=20))
    assert {len(item["x"]) for item in splits.test} == {18}
    assert {len(item["x"]) for item in splits.train} == {20}


def test_whole_utterances_have_no_label_utterance(config):
    assert "utterance" not in build(config).train[0]


# Normalisation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "channels"),
    [("log-mel", 40), ("log-magnitude", 200), ("mfcc", 13), ("waveform", 400)],
)
def test_training_channels_have_mean_0_and_standard_deviation_1(config, features, channels):
    splits = build(evolve(config, features=features))
    assert splits.fitted["frame"] == [channels]
    x = torch.cat([item["x"] for item in splits.train]).double()
    assert x.mean(0).abs().max() < 1e-5
    assert (x.std(0, correction=0) - 1).abs().max() < 1e-5


def test_the_other_parts_are_scaled_by_the_training_part(config):
    raw, scaled = build(evolve(config, normalise=False)), build(config)
    mean, std = (torch.tensor(scaled.fitted[key]) for key in ("mean", "std"))
    for part in PARTS:
        for one, other in zip(getattr(raw, part), getattr(scaled, part), strict=True):
            torch.testing.assert_close((one["x"] - mean) / std, other["x"], atol=1e-4, rtol=1e-4)


def test_what_was_fitted_survives_json_and_gives_the_same_items(config):
    config = evolve(config, split=SplitConfig(group="speaker", test=0.25, valid=0.3))
    splits = build(config, 2)
    again = build(config, 2, json.loads(json.dumps(splits.fitted)))
    assert same(splits, again)
    assert splits.classes == again.classes


def test_classes_unseen_in_training_come_after_those_of_training(config):
    splits = build(evolve(config, split=SplitConfig(label="speaker", pattern="ann")))
    assert splits.classes["speaker"] == ("bob", "cleo", "dan", "ann")
    assert splits.fitted["classes"]["speaker"] == ["bob", "cleo", "dan"]
    assert {item["speaker"] for item in splits.test} == {3}


def test_other_data_must_have_the_run_s_sampling_rate(config):
    fitted = build(evolve(config, sample_rate=8000)).fitted
    with pytest.raises(DataError, match="sample_rate is 16000, the run's is 8000"):
        build(config, fitted=fitted)


# Files -------------------------------------------------------------------------------------------


def test_a_sphere_file_reads_like_a_wav_file(tmp_path, tone, sphere):
    sound = tone(440)
    (tmp_path / "a.WAV").write_bytes(sphere(sound))
    soundfile.write(tmp_path / "b.wav", sound, RATE, subtype="PCM_16")
    one, other = read(tmp_path / "a.WAV"), read(tmp_path / "b.wav")
    assert one[1] == other[1] == RATE
    np.testing.assert_allclose(one[0], other[0], atol=2 / 32767)


def test_channels_are_averaged_and_files_resampled(tmp_path, tone):
    pytest.importorskip("soxr")
    sound = tone(440, seconds=1.0)
    soundfile.write(tmp_path / "a.wav", np.stack([sound, 0 * sound], 1), RATE, subtype="FLOAT")
    mono, _ = read(tmp_path / "a.wav")
    np.testing.assert_allclose(mono, sound / 2, atol=1e-6)
    half, rate = read(tmp_path / "a.wav", 8000)
    assert (rate, half.size) == (8000, 8000)
    assert np.abs(np.fft.rfft(half)).argmax() == 440


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_samples(path):
    soundfile.write(path, np.zeros(0), RATE, format="WAV")


def not_finite(path):
    soundfile.write(path, np.array([0.0, np.nan, np.inf] * 2000), RATE, "FLOAT", format="WAV")


def garbage_header(path):
    path.write_bytes(b"RIFF" + bytes(range(36)) + path.read_bytes()[40:])


def absurd(path):
    soundfile.write(path, np.full(3000, 1e300), RATE, "DOUBLE", format="WAV")


def too_short(path):
    soundfile.write(path, np.zeros(300), RATE, format="WAV")


def other_rate(path):
    soundfile.write(path, np.zeros(3000), 8000, format="WAV")


FAULTS = [
    ("0_ann_0.wav", cut_short, "is truncated: 3222 bytes, its header promises 6444"),
    ("1_bob_1.flac", cut_short, "cannot be read as audio"),
    ("1_dan_2.WAV", lambda path: path.write_bytes(b""), "is empty: 0 bytes"),
    ("1_dan_2.WAV", lambda path: path.write_bytes(b"junk" * 999), "cannot be read as audio"),
    ("0_bob_0.wav", lambda path: path.write_bytes(path.read_bytes()[:20]), "cannot be read"),
    ("0_bob_0.wav", garbage_header, "cannot be read as audio"),
    ("0_cleo_0.wav", absurd, r"has a sample of 1e\+300, expected full scale 1"),
    ("0_ann_0.wav", no_samples, "has no samples"),
    ("0_cleo_0.wav", not_finite, "4000 of 6000 samples are NaN or infinite"),
    ("0_cleo_0.wav", too_short, "300 samples are fewer than one frame of 400"),
    ("1_dan_0.wav", other_rate, "sampled at 8000 Hz, .*0_ann_0.wav at 16000 Hz"),
]


@pytest.mark.parametrize(("name", "damage", "said"), FAULTS)
def test_a_file_that_cannot_be_used_is_named_in_one_line(config, name, damage, said):
    damage(config.root / name)
    assert str(config.root / name) in refused(config, said)


@pytest.mark.parametrize(("name", "damage", "said"), FAULTS)
def test_files_that_cannot_be_used_are_left_out_on_request_with_a_warning(
    config, name, damage, said
):
    damage(config.root / name)
    with pytest.warns(UserWarning, match=f"left out 1 files: .*{name}: .*{said}"):
        splits = build(evolve(config, on_error="skip"))
    assert sum(len(getattr(splits, part)) for part in PARTS) == 23


def test_a_truncated_sphere_file_is_named(tmp_path, tone, sphere):
    content = sphere(tone(440))
    (tmp_path / "a.sph").write_bytes(content[:-100])
    refused(AudioFolder(root=tmp_path), r"a\.sph: is truncated: 10524 bytes, .* 10624")


def test_a_wav_file_of_unknown_length_is_read_to_its_end(tmp_path, tone):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(440), RATE)
    content = path.read_bytes()
    assert content[36:40] == b"data"
    path.write_bytes(content[:40] + b"\xff\xff\xff\xff" + content[44:])
    assert read(path)[0].size == 4800


def test_the_rate_of_most_files_is_the_rate(config):
    other_rate(config.root / "0_ann_0.wav")
    said = refused(
        config, r"0_ann_0\.wav: sampled at 8000 Hz, .*0_ann_1\.flac at 16000 Hz: set data"
    )
    with pytest.warns(UserWarning, match=said):
        splits = build(evolve(config, on_error="skip"))
    assert splits.fitted["sample_rate"] == RATE
    resampled = build(evolve(config, sample_rate=RATE))
    assert sum(len(getattr(resampled, part)) for part in PARTS) == 24


def test_a_file_with_another_number_of_channels_is_named_where_one_is_asked_for(config, tone):
    sound = tone(440)
    soundfile.write(config.root / "1_dan_0.wav", np.stack([sound, sound], 1), RATE)
    build(config)
    refused(evolve(config, channels=1), r"1_dan_0\.wav: has 2 channels, expected 1")


def test_a_path_without_labels_is_left_out_on_request(config):
    config = evolve(config, pattern=NAME.replace(r"\d+", "[01]"), on_error="skip")
    config = evolve(config, split=SplitConfig(label="take", pattern="0"))
    with pytest.warns(UserWarning, match="left out 8 files: .*'0_ann_2.WAV' does not match"):
        splits = build(config)
    assert splits.classes["take"] == ("1", "0")


def test_the_files_of_an_empty_match_are_refused_even_if_they_may_be_left_out(config):
    with pytest.warns(UserWarning, match="left out 24 files"):
        refused(
            evolve(config, pattern="(?P<a>nothing)", on_error="skip"),
            "none of the 24 files can be used, the first: .*0_ann_0.wav",
        )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, tone, sphere, data):
    sound = tone(440, 0.03)
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    whole = data.draw(st.sampled_from([(tmp_path / "a.wav").read_bytes(), sphere(sound)]))
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 6)) if content else 0):
        at = data.draw(
            st.integers(0, min(len(content) - 1, data.draw(st.sampled_from([60, 4000]))))
        )
        content[at] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(content)
    said = ""
    try:
        found, _ = read(damaged, 8000)
        assert np.isfinite(found).all()
    except DataError as error:
        said = str(error)
    assert "\n" not in said


def test_when_no_file_can_be_used_the_first_reason_is_given(config):
    config = evolve(config, on_error="skip", spectrum=evolve(config.spectrum, fmax=1e5))
    with pytest.warns(UserWarning, match="left out 24 files"):
        refused(config, "none of the 24 files can be used, the first: .*fmin = 0 Hz to 100000 Hz")


def test_wrong_folders_patterns_and_labels_are_refused(config, corpus):
    refused(evolve(config, root=corpus / "nowhere"), "no such folder: .*nowhere")
    refused(evolve(config, extensions=("mp3",)), r"no \.mp3 files in ")
    refused(evolve(config, exclude="."), "but 24 that 'exclude' leaves out")
    refused(evolve(config, pattern=r"(?P<a>\d)_b"), r"'0_ann_0\.wav' does not match data\.pattern")
    refused(evolve(config, labels=("sex",)), "no label 'sex'; known: word, speaker, take$")
    refused(evolve(config, pattern="(?P<x>.)", labels=("x",)), "a label cannot be called 'x'")
    refused(evolve(config, split=SplitConfig(group="sex")), "no label 'sex' to split by")


def test_a_channel_that_never_changes_is_refused(config):
    spectrum = evolve(config.spectrum, floor_db=100.0)
    refused(evolve(config, spectrum=spectrum), "40 of 40 channels are constant")


@pytest.mark.parametrize("module", ["soundfile", "soxr"])
def test_without_the_audio_libraries_the_extra_is_named(config, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    config = evolve(config, sample_rate=8000, cache=CacheConfig(keep=False))
    refused(config, rf"needs {module}: pip install 'seqvae\[audio\]'")


# Silence -----------------------------------------------------------------------------------------


def test_silence_at_both_ends_is_left_out_and_pauses_are_kept(tone):
    quiet, loud = np.zeros(4000), tone(440)  # 4800 samples
    start, stop = trim(np.concatenate([quiet, loud, quiet, loud, quiet]), 400, 160, 40.0)
    assert 4000 - 400 <= start <= 4000
    assert 17600 <= stop <= 17600 + 400


@given(st.floats(1.0, 80.0), st.integers(1, 3000))
def test_a_sound_as_loud_throughout_is_not_shortened_by_more_than_a_hop(below, size):
    start, stop = trim(np.sin(np.arange(size) + 0.1), 400, 160, below)
    assert start == 0
    assert size - 160 < stop <= size


def test_trimmed_files_have_fewer_frames_and_are_found_again_in_the_cache(config, tone):
    sound = np.concatenate([np.zeros(8000), tone(440), np.zeros(8000)])
    soundfile.write(config.root / "0_ann_0.wav", sound, RATE)
    whole, trimmed = build(config), build(evolve(config, trim_db=30.0))
    assert len(whole.test[0]["x"]) == 128
    assert 28 <= len(trimmed.test[0]["x"]) <= 33
    assert same(trimmed, build(evolve(config, trim_db=30.0)))
    soundfile.write(config.root / "0_ann_0.wav", np.zeros(8000), RATE)
    refused(evolve(config, trim_db=30.0), r"0_ann_0\.wav: is silent throughout")


# Training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["mfcc", "waveform"])
def test_a_model_trains_on_segments(config, plugins, tmp_path, features):
    experiment = Experiment.load(tiny.write_experiment(tmp_path, steps=2), plugins)
    data = evolve(config, features=features, segment=10)
    run = train(evolve(experiment, data=data, tasks=()), tmp_path / "run", plugins=plugins)
    assert tiny.steps_of(run.path) == [1, 2]


@pytest.mark.parametrize(
    "settings",
    [
        {"features": "mfcc", "trim_db": 40.0, "channels": 1},
        {"features": "waveform", "spectrum": {"frame_ms": 5.0}, "segment": 4, "segment_hop": 3},
    ],
)
def test_every_kind_of_features_keeps_the_contract(plugins, config, settings):
    data = {"name": "audio-folder", "root": str(config.root), "pattern": NAME, **settings}
    check_component(structure_component("dataset", data, plugins))


# Settings ----------------------------------------------------------------------------------------


def test_settings_survive_plain_data(plugins, corpus):
    config = AudioFolder(root=corpus, pattern=NAME, labels=("word",), segment=20, split=TAKE_0)
    assert structure_component("dataset", plain(config), plugins) == config
    assert hash(config) == hash(evolve(config))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("pattern", "(", "'pattern' must be a regular expression"),
        ("pattern", "a(b)c", "'pattern' must have named groups"),
        ("segment_hop", 3, "'segment_hop' must not be given without 'segment'"),
        ("features", "plp", "expected one of log-mel, log-magnitude, mfcc, waveform, got 'plp'"),
        ("trim_db", -40.0, "'trim_db' must be > 0.0: -40.0"),
        ("channels", 0, "'channels' must be >= 1: 0"),
        ("numbers", ["age"], "'numbers' must not be given without 'manifest' or 'intervals'"),
        ("split", {"test": 2.0}, "'test' must be < 1.0: 2.0"),
    ],
)
def test_wrong_settings_are_named(plugins, key, value, said):
    data = {"name": "audio-folder", "root": "/nowhere", key: value}
    with pytest.raises(ConfigError) as caught:
        structure_component("dataset", data, plugins)
    assert said in str(caught.value)


# Real speech -------------------------------------------------------------------------------------


def test_spoken_digits_split_by_their_official_rule(shared_data):
    splits = build(AudioFolder(
        root=shared_data / "fsdd", pattern=NAME.replace("word", "digit"),
        split=SplitConfig(label="take", pattern="[0-4]", valid=0.1, stratify="speaker"),
    ))  # fmt: skip
    assert [len(getattr(splits, part)) for part in PARTS] == [360, 40, 200]
    assert splits.classes["digit"] == tuple("0123456789")
    assert splits.classes["speaker"] == ("jackson", "nicolas", "theo", "yweweler")
    counts = np.bincount([item["speaker"] for item in splits.valid])
    assert counts.tolist() == [10, 10, 10, 10]
    assert splits.fitted["sample_rate"] == 8000


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        (SplitConfig(label="sentence", pattern=r"SA\d", valid=0.125), [84, 12, 24]),
        (SplitConfig(label="part", pattern="TEST", group="speaker"), [90, 10, 20]),
        (SplitConfig(group="speaker", test=0.25, valid=0.2), [70, 20, 30]),
    ],
)
def test_read_sentences_split_by_sentence_by_folder_and_by_speaker(shared_data, split, sizes):
    pattern = r"(?P<part>TRAIN|TEST)/DR\d/(?P<speaker>\w+)/(?P<sentence>\w+)\.WAV"
    splits = build(AudioFolder(
        root=shared_data / "timit_sample", pattern=pattern, exclude="nltk_layout",
        labels=("speaker",), features="log-magnitude", segment=20, split=split,
    ))  # fmt: skip
    parts = [{item["utterance"] for item in getattr(splits, part)} for part in PARTS]
    assert [len(part) for part in parts] == sizes
    assert len(splits.classes["speaker"]) == 12
    assert splits.fitted["frame"] == [200]
    if split.group:
        speakers = [names(splits, part, "speaker") for part in PARTS]
        assert sum(map(len, speakers)) == 12


def test_sphere_and_wav_copies_of_a_sentence_are_equal(shared_data):
    root = shared_data / "timit_sample"
    copies = sorted((root / "nltk_layout").rglob("*.wav"))
    assert copies
    for copy in copies:
        speaker, sentence = copy.parent.name.split("-")[1].upper(), f"{copy.stem.upper()}.WAV"
        (original,) = (root / "TIMIT").rglob(str(Path(speaker) / sentence))
        assert np.array_equal(read(copy)[0], read(original)[0])
