"""UCI's EEG Database: the text format, the official parts, and every way a trial is damaged."""

import gzip

import numpy as np
import pytest
import tiny
import torch
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import build, refused

from seqvae_core.errors import DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.eeg.config import EegSmni
from seqvae_data.eeg.smni import read_trial

NAMES = ("FP1", "CZ", "X", "nd", "Y")
CONDITIONS = ("S1 obj", "S2 match", "S2 nomatch")
PARTS = ("train", "valid", "test")


def numbers(subject, trial):
    rng = np.random.default_rng([int(subject[4:]), trial])
    return 20.0 * rng.normal(size=(256, len(NAMES))).round(3)


def text(subject, trial, condition="S1 obj"):
    """Return a trial as the archive writes it."""
    lines = [
        f"# {subject}.rd",
        f"# 120 trials, {len(NAMES)} chans, 416 samples 368 post_stim samples",
        "# 3.906000 msecs uV",
        f"# {condition} , trial {trial}",
    ]
    for i, (name, values) in enumerate(zip(NAMES, numbers(subject, trial).T, strict=True)):
        lines.append(f"# {name} chan {i}")
        lines += [f"{trial} {name} {n} {value:.3f}" for n, value in enumerate(values)]
    return "\n".join(lines) + "\n"


def write(folder, subject, trial, content):
    path = folder / subject / f"{subject}.rd.{trial:03}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode()))
    return path


@pytest.fixture(scope="session")
def trials(tmp_path_factory):
    """Return a folder of four subjects with six trials each."""
    folder = tmp_path_factory.mktemp("smni")
    for subject in ("co2a0000001", "co2a0000002", "co2c0000003", "co2c0000004"):
        for trial in range(6):
            write(folder, subject, trial, text(subject, trial, CONDITIONS[trial % 3]))
    return folder


@pytest.fixture
def config(trials):
    return EegSmni(root=trials)


# The format --------------------------------------------------------------------------------------


def test_a_trial_is_256_samples_of_its_channels(tmp_path):
    path = write(tmp_path, "co2a0000001", 7, text("co2a0000001", 7, "S2 match"))
    channels, condition, x = read_trial(path)
    assert channels == list(NAMES)
    assert condition == "S2 match"
    np.testing.assert_allclose(x, numbers("co2a0000001", 7), atol=1e-3)


def test_a_wrong_answer_is_part_of_the_condition(tmp_path):
    path = write(tmp_path, "co2a0000001", 7, text("co2a0000001", 7, "S2 nomatch err"))
    assert read_trial(path)[1] == "S2 nomatch err"


def test_labels_are_the_subject_its_group_and_the_condition(config):
    splits = build(config)
    shapes = data_shapes(splits)
    assert shapes.frame == (2,)
    assert {v.scope + v.family for v in shapes.labels.values()} == {"globalclass"}
    assert splits.classes == {
        "subject": ("co2a0000001", "co2a0000002", "co2c0000003", "co2c0000004"),
        "group": ("alcoholic", "control"),
        "condition": CONDITIONS,
    }
    assert [len(getattr(splits, part)) for part in PARTS] == [17, 2, 5]
    for part in PARTS:
        for item in getattr(splits, part):
            assert item["x"].shape == (256, 2)
            assert splits.classes["subject"][item["subject"]][3] == "ac"[item["group"]]


def test_training_frames_are_normalised_and_restored(config):
    splits, raw = build(config), build(evolve(config, normalise=False))
    x = torch.cat([item["x"] for item in splits.train])
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    restored = splits.restore(splits.test[0]["x"].numpy())
    np.testing.assert_allclose(restored, raw.test[0]["x"], atol=1e-3)


def test_channels_are_left_out_by_name(config):
    splits = build(evolve(config, exclude_channels=("CZ",)))
    assert splits.fitted["channels"] == ["FP1", "X", "nd", "Y"]
    refused(evolve(config, exclude_channels=("Q",)), "no channel 'Q' to exclude")
    refused(evolve(config, exclude_channels=NAMES), "leaves no channel")


def test_decimation_keeps_slow_waves_and_removes_fast_ones(tmp_path):
    time = np.arange(256) / 256
    waves = [np.sin(2 * np.pi * f * time) for f in (5, 110)]
    for subject in ("co2a0000001", "co2a0000002"):
        content = text(subject, 0).splitlines()
        for i, wave in enumerate(waves):
            start = 5 + 257 * i
            content[start : start + 256] = [
                f"0 {NAMES[i]} {n} {value:.3f}" for n, value in enumerate(wave)
            ]
        write(tmp_path, subject, 0, "\n".join(content))
    config = EegSmni(root=tmp_path, decimate=4, normalise=False, split=SplitConfig(valid=0.0))
    splits = build(config)
    x = splits.train[0]["x"].numpy()
    assert x.shape == (64, 2)
    assert splits.fitted["sample_rate"] == 64.0
    np.testing.assert_allclose(x[5:-5, 0], waves[0][::4][5:-5], atol=0.02)
    assert np.abs(x[5:-5, 1]).max() < 0.02


# The parts ---------------------------------------------------------------------------------------


def index(folder, rows):
    folder.joinpath("index.csv").write_text("file,trial,split\n" + "\n".join(rows) + "\n")


@pytest.fixture
def copied(trials, tmp_path):
    for path in trials.rglob("*.gz"):
        target = tmp_path / "SMNI_CMI_TRAIN" / path.relative_to(trials)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path


def test_an_index_names_the_test_part(copied):
    names = sorted(path.name for path in copied.rglob("*.gz"))
    index(copied, [f"{n},0,{'test' if '.004' in n else 'train'}" for n in names])
    splits = build(EegSmni(root=copied, split=SplitConfig(stratify="subject", valid=0.2)))
    assert [len(getattr(splits, part)) for part in PARTS] == [16, 4, 4]
    assert all(".rd.004.gz" in name for name in splits.test.names)
    drawn = build(EegSmni(root=copied, official=False, split=SplitConfig(group="subject")))
    assert len({item["subject"] for item in drawn.test}) == 1


def test_the_archives_folders_name_the_test_part(copied):
    for trial in (8, 9):
        write(
            copied / "SMNI_CMI_TEST", "co2a0000001", trial, text("co2a0000001", trial, "S2 match")
        )
    splits = build(EegSmni(root=copied))
    assert len(splits.test) == 2
    assert all(name.startswith("SMNI_CMI_TEST/") for name in splits.test.names)


def test_an_index_that_does_not_fit_is_an_error_with_its_line(copied):
    names = sorted(path.name for path in copied.rglob("*.gz"))
    config = EegSmni(root=copied)
    for rows, said in (
        ([f"{n},0,train" for n in names[1:]], f"no row for SMNI_CMI_TRAIN/.*{names[0]}"),
        ([f"{n},0,dev" for n in names], "index.csv, line 2: expected a 'file'.* and 'dev'"),
        ([f"{names[0]},0,train"] * 2, f"line 3: {names[0]} stands there twice"),
        ([names[0]], f"line 2: .* got '{names[0]}' and 'None'"),
        ([f"{n},0,train" for n in names], "the test part is empty"),
    ):
        index(copied, rows)
        refused(config, said)
    copied.joinpath("index.csv").write_bytes(b"\xff\xfe\x00")
    refused(config, "cannot read .*index.csv")


# Damage ------------------------------------------------------------------------------------------


def edited(change):
    lines = text("co2a0000001", 7).splitlines()
    change(lines)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines.clear(), "ends after line 0|line 1: expected"),
        (lambda lines: lines.__delitem__(slice(3, None)), "ends after line 3, expected '# <cond"),
        (lambda lines: lines.__delitem__(slice(4, None)), "ends after line 4, expected '# <name> "),
        (lambda lines: lines.__setitem__(0, "# co2a0000002.rd"), "line 1: the trial is of co2a0"),
        (lambda lines: lines.__setitem__(1, "# many trials"), "line 2: expected '# <n> trials"),
        (lambda lines: lines.__setitem__(2, "# 4.0 msecs uV"), "line 3: expected '# 3.906000"),
        (lambda lines: lines.__setitem__(3, "# S3 , trial 7"), "line 4: expected '# <condition>"),
        (lambda lines: lines.__setitem__(10, "7 FP1 5 x"), "line 11: .* '7 FP1 5 <number>', got"),
        (lambda lines: lines.__setitem__(10, "7 FP1 5 nan"), "line 11: expected"),
        (lambda lines: lines.__setitem__(10, "7 FP1 5 -inf"), "line 11: expected"),
        (lambda lines: lines.__setitem__(10, "8 FP1 5 1.0"), "line 11: expected"),
        (lambda lines: lines.__setitem__(10, "7 CZ 5 1.0"), "line 11: expected"),
        (lambda lines: lines.__setitem__(10, ""), "line 11: expected"),
        (lambda lines: lines.__delitem__(10), "line 11: expected '7 FP1 5 <number>', got '7 FP1 6"),
        (lambda lines: lines.insert(10, lines[9]), "line 11: expected '7 FP1 5 <number>'"),
        (lambda lines: lines.__delitem__(slice(261, 518)), "line 262: expected channel 1, got"),
        (lambda lines: lines.__setitem__(261, "# FP1 chan 1"), "line 262: expected channel 1"),
        (lambda lines: lines.__delitem__(261), r"line 262: expected '# <name> chan 1'"),
        (lambda lines: lines.__delitem__(slice(-257, None)), "expected '# <name> chan 4'"),
        (lambda lines: lines.__delitem__(slice(-9, None)), "channel Y has 247 of 256 samples"),
        (lambda lines: lines.append("7 Y 256 1.0"), "expected the end after 5 channels"),
    ],
)
def test_a_damaged_text_is_an_error_that_names_file_and_line(tmp_path, change, said):
    path = write(tmp_path, "co2a0000001", 7, edited(change))
    said = refused(EegSmni(root=tmp_path), said)
    assert said.startswith(f"{path}: ")


def test_a_damaged_archive_is_an_error_that_names_the_file(tmp_path):
    path = write(tmp_path, "co2a0000001", 7, text("co2a0000001", 7))
    good = path.read_bytes()
    bad_middle = good[:500] + bytes([good[500] ^ 255]) + good[501:]
    binary = gzip.compress(b"# \xff\xfe")
    for content in (b"", b"text", good[:-200], good[:-4], bad_middle, binary):
        path.write_bytes(content)
        said = refused(EegSmni(root=tmp_path), "damaged, or not a gzip|ASCII|line 0")
        assert said.startswith(f"{path}: ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(position=st.integers(0, 20_000), content=st.binary(min_size=1, max_size=40))
def test_any_change_of_the_text_is_read_or_refused_in_one_line(tmp_path, position, content):
    whole = bytearray(text("co2a0000001", 7).encode())
    whole[position : position + len(content)] = content
    path = tmp_path / "co2a0000001.rd.007.gz"
    path.write_bytes(gzip.compress(whole, 1))
    said = ""
    try:
        x = read_trial(path)[2]
    except DataError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
    assert said or np.isfinite(x).all()


def test_trials_of_other_channels_are_an_error(tmp_path):
    write(tmp_path, "co2a0000001", 1, text("co2a0000001", 1))
    write(tmp_path, "co2a0000001", 2, text("co2a0000001", 2).replace("CZ", "OZ"))
    refused(EegSmni(root=tmp_path), r"002.gz: other channels than in .*001.gz")


def test_damaged_trials_are_left_out_on_request(copied):
    path = copied / "SMNI_CMI_TRAIN" / "co2a0000001" / "co2a0000001.rd.000.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"left out 1 files: .*co2a0000001.rd.000.gz: damaged"):
        splits = build(EegSmni(root=copied, on_error="skip"))
    assert sum(len(getattr(splits, part)) for part in PARTS) == 23


def test_a_folder_without_trials_is_an_error(tmp_path):
    refused(EegSmni(root=tmp_path), "no files <subject>.rd.<trial>.gz in")
    refused(EegSmni(root=tmp_path / "none"), "no such folder")


# The library around it ---------------------------------------------------------------------------


def test_eeg_smni_keeps_the_contract_of_a_data_set(config):
    for changes in (
        {"decimate": 8},
        {"decimate": 8, "normalise": False, "split": SplitConfig(group="subject")},
        {"decimate": 8, "cache": CacheConfig(keep=False)},
    ):
        check_component(evolve(config, **changes))


def test_a_tiny_experiment_trains_on_trials(trials, tmp_path):
    toml = tiny.write_experiment(tmp_path, steps=2)
    data = f'name = "eeg-smni"\nroot = "{trials}"\ndecimate = 8\n'
    toml.write_text(toml.read_text().replace('name = "arrays"\npath = "toy.npz"\n', data))
    tiny.call("train", toml, "--out", tmp_path / "run")
    assert tiny.steps_of(tmp_path / "run")[-1] == 2


def test_the_real_trials_are_read_and_shared_as_their_index_says(shared_data):
    splits = build(EegSmni(root=shared_data / "eeg_smni", normalise=False))
    assert len(splits.train) + len(splits.valid) == 60
    assert len(splits.test) == 30
    assert len(splits.classes["subject"]) == 10
    assert data_shapes(splits).frame == (61,)
    assert not {"X", "Y", "nd"} & {*splits.fitted["channels"]}
    assert splits.test.names[0].endswith("co2a0000364/co2a0000364.rd.010.gz")
    position = splits.test.names.index("SMNI_CMI_TRAIN/co2a0000370/co2a0000370.rd.023.gz")
    assert splits.classes["condition"][splits.test[position]["condition"]] == "S2 match"
