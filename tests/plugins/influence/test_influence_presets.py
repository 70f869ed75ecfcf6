"""The presets on EEG in a few steps, from the files to a recurrent reader of the factors."""

import numpy as np
import pytest
import tiny
from scipy.io import savemat

from seqvae_core.experiment import Experiment
from seqvae_core.files import read_json
from seqvae_core.runs import train

FEW = ("train.steps=2", "train.batch_size=4", "train.checkpoint_every=2", "train.valid_every=2")


@pytest.fixture(scope="session")
def deap(tmp_path_factory):
    """Return a folder in DEAP's layout: two subjects, five trials of 3 s of baseline and 4 s."""
    folder = tmp_path_factory.mktemp("deap")
    for number in (1, 2):
        generator = np.random.default_rng(number)
        arrays = {"data": generator.normal(size=(5, 40, 128 * 7)),
                  "labels": generator.uniform(1.0, 9.0, size=(5, 4))}  # fmt: skip
        savemat(folder / f"s{number:02}.mat", arrays)
    return folder


def run(preset, plugins, root, out, label, *more):
    tasks = (
        f'tasks=[{{name="factor-selection", reader="recurrent", labels=["{label}"], steps=2, '
        'keep=[2], by=["mi"], items=4, pictures=0, above=5.0}]'
    )
    settings = [f"data.root={root}", *FEW, *more, tasks]
    done = train(Experiment.load(preset, plugins, settings), out, plugins=plugins)
    assert tiny.steps_of(done.path)[-1] == 2
    return read_json(done.path / "evaluation.json")["factor-selection"]


@pytest.mark.slow
def test_factors_of_eeg_trials_are_read_over_time(shared_data, plugins, tmp_path):
    root = shared_data / "eeg_smni"
    found = run("eeg-smni-influence", plugins, root, tmp_path / "run", "subject")
    for way in ("zeroed", "retrained"):
        assert 0.0 <= found[f"{way}/s per frame/subject/mi/2"] <= 1.0
    assert found["chance/s per frame/subject"] == pytest.approx(0.1)


@pytest.mark.slow
def test_factors_of_edf_events_are_read_over_time(shared_data, plugins, tmp_path):
    root = shared_data / "eeg_eegmmidb"
    found = run("edf-influence", plugins, root, tmp_path / "run", "event")
    assert 0.5 <= found["chance/s per frame/event"] < 1.0


@pytest.mark.slow
def test_high_and_low_valence_is_read_over_time(deap, plugins, tmp_path):
    found = run("deap-influence", plugins, deap, tmp_path / "run", "valence")
    assert 0.0 <= found["zeroed/s per frame/valence/mi/32"] <= 1.0
    assert "chance/s per frame/valence" in found
