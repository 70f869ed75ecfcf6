"""DEAP's two layouts, on generated files: trials, ratings, baselines, windows, and damage."""

import pickle

import numpy as np
import pytest
import tiny
from attrs import evolve
from reading import build, refused
from scipy.io import savemat

from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import SplitConfig
from seqvae_data.eeg.config import Deap
from seqvae_data.eeg.deap import CHANNELS

PARTS = ("train", "valid", "test")
SECONDS = 5  # of which the baseline takes 3
TRIALS = 3


def subject(number, trials=TRIALS):
    """Return a subject's arrays, fewer and shorter trials than DEAP's."""
    rng = np.random.default_rng(number)
    data = rng.normal(size=(trials, 40, 128 * SECONDS)) + np.arange(40.0)[:, None]
    return {"data": data, "labels": rng.uniform(1, 9, size=(trials, 4))}


@pytest.fixture(scope="session")
def subjects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deap")
    for number in range(1, 5):
        arrays = subject(number)
        savemat(folder / f"s{number:02}.mat", arrays, do_compression=number % 2 == 0)
        (folder / f"s{number:02}.dat").write_bytes(pickle.dumps(arrays, 2))
    return folder


@pytest.fixture
def config(subjects):
    return Deap(root=subjects, normalise=False)


def everything(splits):
    """Return all items by the names of their trials."""
    return {
        name: item
        for part in PARTS
        for name, item in zip(getattr(splits, part).names, getattr(splits, part), strict=True)
    }


# Trials ------------------------------------------------------------------------------------------


def test_there_are_forty_channels_32_of_them_of_eeg():
    assert len(set(CHANNELS)) == 40
    assert CHANNELS[31:33] == ("O2", "hEOG")


@pytest.mark.parametrize("files", ["mat", "dat"])
def test_a_trial_is_a_sequence_with_its_subject_its_video_and_its_ratings(config, files):
    splits = build(evolve(config, files=files))
    items = everything(splits)
    assert len(items) == 12
    assert splits.classes["video"] == ("1", "2", "3")
    assert splits.fitted["channels"] == list(CHANNELS[:32])
    assert splits.fitted["sample_rate"] == 128.0
    families = {name: v.family for name, v in data_shapes(splits).labels.items()}
    ratings = ("valence", "arousal", "dominance", "liking")
    assert families == {"subject": "class", "video": "class", **dict.fromkeys(ratings, "number")}
    expected = subject(3)
    item = items[f"s03.{files}, trial 2"]
    np.testing.assert_allclose(item["x"], expected["data"][1, :32, 384:].T, rtol=1e-6)
    assert splits.classes["subject"][item["subject"]] == "03"
    assert splits.classes["video"][item["video"]] == "2"
    np.testing.assert_allclose([item[name] for name in ratings], expected["labels"][1])


def test_both_layouts_hold_the_same(config):
    one, two = (everything(build(evolve(config, files=files))) for files in ("mat", "dat"))
    for name, item in one.items():
        np.testing.assert_array_equal(item["x"], two[name.replace("mat", "dat")]["x"])


def test_the_other_channels_come_on_request(config):
    splits = build(evolve(config, channels="all"))
    assert data_shapes(splits).frame == (40,)
    assert splits.fitted["channels"] == list(CHANNELS)


def test_the_baseline_is_dropped_subtracted_or_kept(config):
    data = subject(1)["data"][0, :32]
    for baseline, expected in (
        ("drop", data[:, 384:]),
        ("subtract", data[:, 384:] - data[:, :384].mean(1, keepdims=True)),
        ("keep", data),
    ):
        item = everything(build(evolve(config, baseline=baseline)))["s01.mat, trial 1"]
        np.testing.assert_allclose(item["x"], expected.T, atol=1e-5)


def test_windows_of_a_trial_stay_together(config):
    whole = everything(build(config))
    splits = build(evolve(config, window=1.0, step=0.5))
    for name, item in everything(splits).items():
        trial, start = name.removesuffix("]").split("[")
        first, last = map(int, start.split(":"))
        np.testing.assert_array_equal(item["x"], whole[trial]["x"][first:last])
        assert last - first == 128
    assert len(everything(splits)) == 12 * 3
    numbers = [{item["utterance"] for item in getattr(splits, part)} for part in PARTS]
    assert sum(map(len, numbers)) == len(set().union(*numbers)) == 12


def test_parts_can_be_drawn_by_subject_or_by_video(config):
    for label in ("subject", "video"):
        splits = build(evolve(config, split=SplitConfig(group=label, test=0.3, valid=0.0)))
        parts = [{item[label] for item in part} for part in (splits.train, splits.test)]
        assert not parts[0] & parts[1]


# Damage ------------------------------------------------------------------------------------------


def test_a_damaged_mat_file_is_an_error_of_one_line(tmp_path):
    path = tmp_path / "s01.mat"
    savemat(path, subject(1), do_compression=True)
    good = path.read_bytes()
    for content, said in (
        (b"", "is no MATLAB file of version 5"),
        (good[:100], "is no MATLAB file of version 5"),
        (good[:5000], "is a damaged MATLAB file: an element of"),
        (good[:500] + b"garbage" + good[507:], "is a damaged MATLAB file: Error -3"),
    ):
        path.write_bytes(content)
        said = refused(Deap(root=tmp_path), said)
        assert said.startswith(f"{path}: ")


def test_arrays_of_another_layout_are_an_error(tmp_path):
    path = tmp_path / "s01.mat"
    good = subject(1)
    for arrays, said in (
        ({"x": 1.0}, "expected arrays of numbers 'data' and 'labels', got 'x' of"),
        ({"data": good["data"]}, "got 'data' of float64"),
        ({**good, "data": {"a": 1}}, "got 'labels' of float64"),
        ({**good, "data": np.array([["text"]], dtype=object)}, "got 'labels' of float64"),
        ({**good, "labels": "text"}, "got 'data' of float64"),
        ({**good, "data": good["data"][:, :32]}, r"expected data \(trials, 40, samples\) of more"),
        ({**good, "data": good["data"][..., :384]}, r"of more than 384 samples, got \(3, 40, 384"),
        ({**good, "data": good["data"][0]}, r"got \(40, 640\)"),
        ({**good, "labels": good["labels"][:2]}, r"expected labels \(3, 4\), got \(2, 4\)"),
        ({**good, "labels": good["labels"] + 8.5}, r"12 of 12 ratings are not numbers from 1 to 9"),
        ({**good, "labels": good["labels"] * np.nan}, "12 of 12 ratings are not numbers"),
        ({**good, "data": good["data"] * np.nan}, r"values are NaN or infinite"),
    ):
        savemat(path, arrays)
        said = refused(Deap(root=tmp_path), said)
        assert str(path) in said


def test_a_pickle_of_anything_else_is_refused(tmp_path):
    path = tmp_path / "s01.dat"
    path.write_bytes(pickle.dumps({"data": print, "labels": print}, 2))
    said = refused(Deap(root=tmp_path, files="dat"), "asks for '__builtin__.print'")
    assert said.startswith(f"{path}: a pickle that")


def test_a_folder_without_subjects_is_an_error(tmp_path):
    refused(Deap(root=tmp_path), r"no files s<subject>.mat in")
    refused(Deap(root=tmp_path / "none"), "no such folder")


def test_a_step_without_a_window_is_refused(subjects):
    with pytest.raises(ValueError, match="'step' must not be given without 'window'"):
        Deap(root=subjects, step=1.0)


# The library around it ---------------------------------------------------------------------------


def test_deap_keeps_the_contract_of_a_data_set(config):
    for changes in ({"normalise": True}, {"window": 0.5, "baseline": "subtract", "files": "dat"}):
        check_component(evolve(config, **changes))


def test_a_tiny_experiment_trains_on_windows(subjects, tmp_path):
    toml = tiny.write_experiment(tmp_path, steps=2)
    data = f'name = "deap"\nroot = "{subjects}"\nwindow = 0.1\n'
    toml.write_text(toml.read_text().replace('name = "arrays"\npath = "toy.npz"\n', data))
    tiny.call("train", toml, "--out", tmp_path / "run")
    assert tiny.steps_of(tmp_path / "run")[-1] == 2
