"""Folders of EEG recordings: channels, filters, events, windows, and what is wrong with files."""

import logging
import sys

import numpy as np
import pytest
import tiny
import torch
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import build, refused, refused_by

from seqvae_core.errors import DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.eeg.config import Eeg
from seqvae_data.eeg.mne_files import read

edfio = pytest.importorskip("edfio")
mne = pytest.importorskip("mne")

RATE = 100
NAME = r"(?P<subject>s\d)_(?P<run>\d)\.(edf|bdf|fif)"
BY_SUBJECT = SplitConfig(group="subject", test=0.25, valid=0.34)
NO_CACHE = CacheConfig(keep=False, workers=1)
PARTS = ("train", "valid", "test")
EVENTS = [(0.5, 1.0, "left"), (2.0, 0.5, "right"), (3.0, 0.0, "left"), (4.0, 0.6, "rest")]


def signals(seed, seconds=5.0, names=("Fz..", "Cz..", "Pz.."), rate=RATE):
    """Return microvolts by name: in each channel a sine of its own, and some noise."""
    noise = np.random.default_rng(seed).normal(size=(len(names), round(seconds * rate)))
    time = np.arange(noise.shape[1]) / rate
    return {
        name: 20.0 * np.sin(2 * np.pi * (4 + 3 * i) * time) + noise[i]
        for i, name in enumerate(names)
    }


def write(path, data, events=EVENTS, rate=RATE, dimension="uV"):
    """Write EDF+ or BDF+, by the ending."""
    of, signal = (
        (edfio.Bdf, edfio.BdfSignal) if path.suffix == ".bdf" else (edfio.Edf, edfio.EdfSignal)
    )
    found = [
        signal(x, rate, label=name, physical_dimension=dimension, physical_range=(-200, 200))
        for name, x in data.items()
    ]
    of(found, annotations=[edfio.EdfAnnotation(*event) for event in events]).write(path)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Return a folder of four subjects with two recordings each."""
    folder = tmp_path_factory.mktemp("eeg")
    for subject in range(4):
        for run in range(2):
            write(folder / f"s{subject}_{run}.edf", signals(10 * subject + run))
    return folder


@pytest.fixture
def config(recordings):
    return Eeg(root=recordings, pattern=NAME, split=BY_SUBJECT)


def everything(splits):
    return [item for part in PARTS for item in getattr(splits, part)]


def reading(folder, name="s0_0.edf", **changes):
    """Read one file of a folder."""
    with mne.utils.use_log_level("error"):
        return read(folder / name, Eeg(root=folder, **changes))


# Recordings --------------------------------------------------------------------------------------


def test_a_recording_is_a_sequence_of_samples_of_all_channels_in_microvolts(config):
    splits = build(evolve(config, normalise=False))
    assert data_shapes(splits).frame == (3,)
    assert {len(item["x"]) for item in everything(splits)} == {500}
    assert splits.fitted["channels"] == ["Fz..", "Cz..", "Pz.."]
    assert splits.fitted["sample_rate"] == RATE
    names = splits.test.names
    expected = np.stack(list(signals(10 * int(names[0][1]) + int(names[0][3])).values()), 1)
    np.testing.assert_allclose(splits.test[0]["x"], expected, atol=0.01)


def test_named_groups_are_labels_and_no_subject_is_in_two_parts(config):
    splits = build(config)
    assert sorted(splits.classes["subject"]) == ["s0", "s1", "s2", "s3"]
    subjects = [{item["subject"] for item in getattr(splits, part)} for part in PARTS]
    assert sum(map(len, subjects)) == len(set().union(*subjects)) == 4


def test_labels_left_out_can_still_rule_the_split(config):
    splits = build(evolve(config, labels=("run",)))
    assert splits.train[0].keys() == {"x", "run"}


def test_training_frames_are_normalised_by_channel(config):
    x = torch.cat([item["x"] for item in build(config).train])
    torch.testing.assert_close(x.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(3), atol=1e-3, rtol=0)


def test_channels_are_picked_by_name_or_type_in_the_order_given(tmp_path):
    data = signals(0, names=("EEG Fz", "EEG Cz", "EOG left", "Pz"))
    write(tmp_path / "s0_0.edf", data)
    for picks, expected in (
        (("eeg",), ["Fz", "Cz", "Pz"]),
        (("eog", "Cz"), ["left", "Cz"]),
        (("Pz", "eeg"), ["Pz", "Fz", "Cz"]),
    ):
        assert reading(tmp_path, picks=picks).facts["channels"] == expected


def test_characters_around_the_names_of_channels_can_be_stripped(recordings):
    features = reading(recordings, strip=".", picks=("Pz", "Fz"))
    assert features.facts["channels"] == ["Pz", "Fz"]
    said = refused_by(lambda: reading(recordings, picks=("Oz",)), "type 'Oz'")
    assert said.endswith("known: eeg, Fz.., Cz.., Pz..")
    refused_by(lambda: reading(recordings, strip=".zPFC"), "the same name")


def test_an_average_reference_leaves_no_mean_over_the_channels(recordings):
    x = reading(recordings, reference="average").x
    np.testing.assert_allclose(x.mean(1), 0.0, atol=1e-4)


def test_filters_pass_the_band_between_low_and_high(tmp_path):
    data = signals(0, seconds=20.0)  # sines of 4, 7 and 10 Hz
    write(tmp_path / "s0_0.edf", data, events=[])
    spread = reading(tmp_path, low=5.5, high=8.5).x.std(0)
    assert spread[1] > 13.0
    assert spread[0] < 3.0
    assert spread[2] < 3.0


def test_resampling_keeps_the_signal_and_the_time_of_events(tmp_path):
    write(tmp_path / "s0_0.edf", signals(0, seconds=20.0))
    before, after = (reading(tmp_path, resample=rate) for rate in (None, 50.0))
    assert after.x.shape == (1000, 3)
    assert after.facts["rate"] == 50.0
    assert after.facts["onset"] == before.facts["onset"]
    assert np.corrcoef(before.x[100:-100:2, 0], after.x[50:-50, 0])[0, 1] > 0.95


def test_volts_and_millivolts_become_microvolts(tmp_path):
    data = {"Fz": 100.0 * np.sin(np.arange(500.0))}
    for dimension, factor in (("uV", 1.0), ("mV", 1e3)):
        write(tmp_path / "s0_0.edf", data, dimension=dimension)
        np.testing.assert_allclose(
            reading(tmp_path).x[:, 0], factor * data["Fz"], atol=0.02 * factor
        )


def test_bdf_and_fif_files_are_read_like_edf_files(tmp_path):
    data = signals(0)
    write(tmp_path / "s0_0.edf", data)
    write(tmp_path / "s0_0.bdf", data)
    info = mne.create_info(list(data), RATE, "eeg", verbose="error")
    raw = mne.io.RawArray(1e-6 * np.stack(list(data.values())), info, verbose="error")
    onset, duration, text = zip(*EVENTS, strict=True)
    raw.set_annotations(mne.Annotations(onset, duration, text))
    raw.save(tmp_path / "s0_0.fif", verbose="error")
    edf, bdf, fif = (reading(tmp_path, f"s0_0.{end}") for end in ("edf", "bdf", "fif"))
    for other in (bdf, fif):
        np.testing.assert_allclose(other.x, edf.x, atol=0.01)
        for fact in ("rate", "channels", "event"):
            assert other.facts[fact] == edf.facts[fact]
        for fact in ("onset", "duration"):
            np.testing.assert_allclose(other.facts[fact], edf.facts[fact], atol=1e-6)


def test_onsets_count_from_the_first_sample_of_a_cropped_recording(tmp_path):
    info = mne.create_info(["Fz"], RATE, "eeg", verbose="error")
    raw = mne.io.RawArray(np.arange(500.0)[None], info, verbose="error")
    raw.set_meas_date(0)
    raw.set_annotations(mne.Annotations([3.0], [0.5], ["left"], orig_time=raw.info["meas_date"]))
    raw.crop(2.0).save(tmp_path / "s0_0.fif", verbose="error")
    assert reading(tmp_path, "s0_0.fif").facts["onset"] == [1.0]


def test_mne_is_silent_and_keeps_its_level_of_logging(config, capsys):
    mne.set_log_level("info")
    level = mne.utils.logger.level
    build(evolve(config, cache=NO_CACHE, low=2.0, high=30.0, resample=50.0))
    assert mne.utils.logger.level == level == logging.INFO
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""


def test_settings_of_the_reading_have_cache_entries_of_their_own(config, tmp_path):
    config = evolve(config, normalise=False, cache=CacheConfig(folder=tmp_path))
    plain, again, filtered = (build(c) for c in (config, config, evolve(config, low=3.0)))
    assert torch.equal(plain.train[0]["x"], again.train[0]["x"])
    assert not torch.equal(plain.train[0]["x"], filtered.train[0]["x"])


# Events and windows ------------------------------------------------------------------------------


def test_the_samples_after_an_event_are_a_sequence_with_the_event_as_label(config):
    whole = build(evolve(config, normalise=False))
    splits = build(evolve(config, events=("left", "rest"), tmin=-0.2, tmax=0.8, normalise=False))
    assert splits.classes["event"] == ("left", "rest")
    assert [len(getattr(splits, part)) for part in PARTS] == [12, 6, 6]
    assert {len(item["x"]) for item in everything(splits)} == {100}
    assert splits.test.names[:3] == [
        f"{whole.test.names[0]}, event {i} ({event})"
        for i, event in ((0, "left"), (2, "left"), (3, "rest"))
    ]
    assert torch.equal(splits.test[1]["x"], whole.test[0]["x"][280:380])


def test_without_an_end_a_sequence_is_as_long_as_its_event(config):
    splits = build(evolve(config, events=("right", "rest")))
    lengths = {
        splits.classes["event"][item["event"]]: len(item["x"]) for item in everything(splits)
    }
    assert lengths == {"right": 50, "rest": 60}
    said = refused(evolve(config, events=("left",)), "set data.tmax")
    assert "s0_0.edf, event 2 (left): 0 s are less than one sample" in said


def test_events_that_reach_beyond_the_recording_are_left_out_with_a_warning(config):
    with pytest.warns(UserWarning, match=r"left out 8 of 24 events, .* s0_0.edf, event 3"):
        splits = build(evolve(config, events=("left", "rest"), tmax=1.5))
    assert len(everything(splits)) == 16
    refused(evolve(config, events=("rest",), tmax=9.0), "all 8 events reach beyond")


def test_epochs_can_be_kept_together_by_recording(config):
    splits = build(
        evolve(config, events=("left",), tmax=0.5, split=SplitConfig(group="path", test=0.3))
    )
    runs = [{(i["subject"], i["run"]) for i in getattr(splits, part)} for part in PARTS]
    assert sum(map(len, runs)) == len(set().union(*runs)) == 8


def test_an_event_that_no_recording_has_is_an_error_with_those_that_there_are(config):
    said = refused(evolve(config, events=("left", "up")), "event 'up'")
    assert said.endswith("known: left, rest, right")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(seed=st.integers(0, 2**32), window=st.floats(0.05, 4.0), step=st.floats(0.5, 3.0))
def test_windows_are_slices_of_their_recording_and_stay_in_one_part(config, seed, window, step):
    whole = build(evolve(config, normalise=False), seed)
    splits = build(
        evolve(config, normalise=False, window=window, step=step, events=("left", "right")), seed
    )
    size, hop = round(window * RATE), round(step * RATE)
    for part in PARTS:
        recordings = getattr(whole, part)
        cut = list(getattr(splits, part))
        expected = [
            item["x"][start : start + size]
            for item in recordings
            for start in range(0, 500 - size + 1, hop)
        ]
        assert len(cut) == len(expected)
        for got, slice_ in zip(cut, expected, strict=True):
            assert torch.equal(got["x"], slice_)
            assert got["event"].shape == (size,)
    numbers = [{item["utterance"] for item in getattr(splits, part)} for part in PARTS]
    assert sum(map(len, numbers)) == len(set().union(*numbers)) == 8


def test_each_frame_of_a_window_has_the_event_that_it_lies_in(config):
    splits = build(evolve(config, window=5.0, events=("left", "right")))
    assert data_shapes(splits).labels["event"].scope == "local"
    names = ["", *splits.classes["event"]]
    found = [names[label + 1] for label in splits.train[0]["event"].tolist()]
    expected = np.full(500, "", "U5")
    expected[50:150], expected[200:250], expected[300] = "left", "right", "left"
    assert found == expected.tolist()


def test_a_recording_shorter_than_a_window_is_one(config):
    assert {len(item["x"]) for item in everything(build(evolve(config, window=60.0)))} == {500}


# What is wrong with files and settings -----------------------------------------------------------


def test_settings_that_contradict_each_other_are_refused(config):
    for changes, said in (
        ({"low": 8.0, "high": 4.0}, "'low' must be below 'high'"),
        ({"events": ("left",), "tmin": 1.0, "tmax": 0.5}, "'tmin' must be below 'tmax'"),
        ({"tmax": 1.0}, "without 'events'"),
        ({"events": ("left",), "tmax": 1.0, "window": 1.0}, "with 'window'"),
        ({"step": 1.0}, "without 'window'"),
        ({"picks": ()}, "picks"),
        ({"pattern": "s0"}, "named groups"),
    ):
        with pytest.raises(ValueError, match=said):
            evolve(config, **changes)


def test_what_does_not_fit_the_recordings_is_an_error(config, tmp_path):
    for changes, said in (
        ({"high": 50.0}, r"data.high = 50 Hz: expected less than half of 100 Hz"),
        ({"low": 0.1}, "5 s are too short for data.low and data.high, whose filter takes 33 s"),
        ({"window": 0.001}, "0.001 s are less than one sample at 100 Hz"),
        ({"labels": ("sex",)}, "no label 'sex' in data.pattern; known: subject, run"),
        ({"pattern": r"(?P<length>s)"}, "a label cannot be called 'length'"),
        ({"pattern": r"(?P<event>s)"}, "a label cannot be called 'event'"),
        ({"pattern": r"(?P<subject>x\d)"}, r"s0_0.edf: the path 's0_0.edf' does not match"),
        ({"exclude": "s"}, r"no .bdf, .edf, .fif files in .* but 8 that 'exclude' leaves out"),
        ({"root": tmp_path / "none"}, "no such folder"),
        ({"root": tmp_path}, r"no .bdf, .edf, .fif files in"),
    ):
        if "pattern" in changes:
            changes["split"] = SplitConfig()
        refused_by(lambda changes=changes: build(evolve(config, **changes)), said)


def test_recordings_that_differ_are_an_error_that_says_how(tmp_path):
    write(tmp_path / "a.edf", signals(0))
    config = Eeg(root=tmp_path)
    write(tmp_path / "b.edf", signals(0, rate=50), rate=50)
    refused(config, r"b.edf: sampled at 50 Hz, .*a.edf at 100 Hz: set data.resample")
    write(tmp_path / "b.edf", signals(0, names=("Fz..", "Cz..", "Oz..")))
    refused(config, r"b.edf: other channels than in .*a.edf \(Oz.., Pz..\)")
    write(tmp_path / "b.edf", signals(0, names=("Fz..", "Pz..", "Cz..")))
    refused(config, r"\(their order\)")


def test_other_data_must_have_the_channels_of_the_run(config, recordings):
    fitted = build(config).fitted
    refused_by(lambda: build(evolve(config, strip="."), fitted=fitted), "channels is")
    refused_by(lambda: build(evolve(config, resample=50.0), fitted=fitted), "sample_rate is 50.0")


def test_damaged_files_are_errors_of_one_line(recordings, tmp_path):
    good = (recordings / "s0_0.edf").read_bytes()
    path = tmp_path / "s0_0.edf"
    for content, said in (
        (b"", "its header is damaged"),
        (b"no recording at all" * 50, "its header is damaged"),
        (good[:200], "its header is damaged"),
        (good[:-100], f"is truncated: {len(good) - 100} bytes, its header promises {len(good)}"),
        (good + b"more", "is too long"),
        (good[:192] + b"EDF+D" + good[197:], "discontinuous"),
        (good[:244] + b"x" * 8 + good[252:], "cannot be read as EDF"),
    ):
        path.write_bytes(content)
        said = refused(Eeg(root=tmp_path), said)
        assert str(path) in said
    path.unlink()
    (tmp_path / "s0_0.fif").write_bytes(good[::-1])
    refused(Eeg(root=tmp_path), "s0_0.fif: cannot be read as FIF")


def test_a_truncated_fif_file_is_an_error(tmp_path):
    info = mne.create_info(3, RATE, "eeg", verbose="error")
    raw = mne.io.RawArray(np.random.default_rng(0).normal(size=(3, 500)), info, verbose="error")
    raw.save(tmp_path / "a.fif", verbose="error")
    content = (tmp_path / "a.fif").read_bytes()
    for size in (10, len(content) // 3, len(content) // 2, len(content) - 500):
        (tmp_path / "a.fif").write_bytes(content[:size])
        refused(Eeg(root=tmp_path), r"a.fif: cannot be read as FIF")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    position=st.integers(0, 256 * 5 - 1),
    text=st.binary(min_size=1, max_size=8),
)
def test_a_damaged_header_is_read_or_refused_in_one_line(recordings, tmp_path, position, text):
    content = bytearray((recordings / "s0_0.edf").read_bytes())
    content[position : position + len(text)] = text
    (tmp_path / "a.edf").write_bytes(content)
    said = ""
    try:
        x = reading(tmp_path, "a.edf").x
    except DataError as error:
        said = str(error)
    assert "\n" not in said
    assert said or x.ndim == 2


def test_files_that_cannot_be_used_are_left_out_on_request(config, recordings, tmp_path):
    for path in recordings.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[:-9] if path.name == "s0_0.edf" else content)
    with pytest.warns(UserWarning, match=r"left out 1 files: .*s0_0.edf: is truncated"):
        splits = build(evolve(config, root=tmp_path, on_error="skip"))
    assert len(everything(splits)) == 7


def test_without_mne_the_error_names_the_extra(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "mne", None)
    said = refused(config, "needs mne")
    assert said == "reading EEG needs mne: pip install 'seqvae[eeg]'"


# The library around it ---------------------------------------------------------------------------


def test_eeg_keeps_the_contract_of_a_data_set(config):
    for changes in (
        {},
        {"events": ("left", "right"), "tmin": -0.1, "tmax": 0.4, "normalise": False},
        {"events": ("left",), "window": 0.5, "step": 0.25, "cache": NO_CACHE},
    ):
        check_component(evolve(config, **changes))


def test_a_tiny_experiment_trains_on_epochs(recordings, tmp_path):
    toml = tiny.write_experiment(tmp_path, steps=2)
    data = f"""name = "eeg"
root = "{recordings}"
events = ["left", "right"]
tmax = 0.3
"""
    toml.write_text(toml.read_text().replace('name = "arrays"\npath = "toy.npz"\n', data))
    tiny.call("train", toml, "--out", tmp_path / "run")
    assert tiny.steps_of(tmp_path / "run")[-1] == 2


def test_the_motor_imagery_recording_aligns_with_its_events(shared_data):
    config = Eeg(
        root=shared_data / "eeg_eegmmidb",
        pattern=r"(?P<subject>S\d{3})R(?P<run>\d\d)\.edf",
        strip=".",
        events=("T0", "T1", "T2"),
        split=SplitConfig(stratify="event"),
        normalise=False,
    )
    splits = build(config)
    assert splits.classes == {
        "subject": ("S001",), "run": ("03",), "event": ("T0", "T1", "T2")
    }  # fmt: skip
    assert len(everything(splits)) == 30
    assert {len(item["x"]) for item in everything(splits)} <= {656, 672}
    assert splits.fitted["channels"][:3] == ["Fc5", "Fc3", "Fc1"]
