"""`.ts` files: what the format may hold, where problems are found, what is wrong with files."""

import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import build, fault, refused

from seqvae_core.config import plain, structure_component
from seqvae_core.errors import ConfigError, DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.series import archive, ts
from seqvae_data.series.config import TS
from seqvae_data.series.ts_files import read_cases

PARTS = ("train", "valid", "test")
HEADER = "# made up\n@problemName Toy\n@timeStamps false\n@missing false\n"
CLASSES = "@classLabel true Up Down\n@data\n"


def write(path, lines, header=HEADER + CLASSES):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + "".join(f"{line}\n" for line in lines))
    return path


def toy(seed, count):
    """Return cases of two channels and 2 to 5 steps, in two classes."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        values = rng.normal(size=(2, rng.integers(2, 6))).round(4)
        channels = (",".join(map(str, channel)) for channel in values)
        yield ":".join([*channels, ("Up", "Down")[i % 2]])


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "Toy" / "Toy_TRAIN.ts", toy(0, 12))
    write(tmp_path / "Toy" / "Toy_TEST.ts", toy(1, 6))
    return tmp_path


@pytest.fixture
def config(root):
    return TS(problem="Toy", root=root, split=SplitConfig(valid=0.25, stratify="class"))


def one_file(path, **settings):
    return TS(path_train=path, normalise=False, split=SplitConfig(test=0.5, valid=0.0), **settings)


def items(splits):
    return {
        name: item
        for part in PARTS
        for name, item in zip(getattr(splits, part).names, getattr(splits, part), strict=True)
    }


# The format --------------------------------------------------------------------------------------


def test_the_parts_are_those_of_the_files_and_valid_is_drawn_in_proportion(config):
    splits = build(config)
    assert [len(getattr(splits, part)) for part in PARTS] == [9, 3, 6]
    assert splits.classes == {"class": ("Down", "Up")}
    assert splits.test.names == [f"Toy_TEST.ts, line {i}" for i in range(7, 13)]
    assert {item["class"] for item in splits.valid} == {0, 1}
    shapes = data_shapes(splits)
    assert shapes.frame == (2,)
    assert set(splits.train.lengths) <= {2, 3, 4, 5}


def test_training_frames_have_mean_0_and_standard_deviation_1(config):
    x = torch.cat([item["x"] for item in build(config).train]).double()
    torch.testing.assert_close(x.mean(0), torch.zeros(2).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2).double(), atol=1e-6, rtol=0)


def test_without_a_test_file_the_split_draws_the_parts(config, root):
    config = TS(path_train=root / "Toy" / "Toy_TRAIN.ts", split=SplitConfig(stratify="class"))
    splits = build(config)
    assert [len(getattr(splits, part)) for part in PARTS] == [9, 1, 2]


def test_targets_of_a_regression_are_numbers(tmp_path):
    header = "@targetlabel true\n@data\n"
    path = write(tmp_path / "a.ts", ["1,2:-0.5", "3,4:1e3", "5,6:?"], header)
    found = items(build(one_file(path, label="strength")))
    values = [found[f"a.ts, line {i}"]["strength"] for i in (3, 4, 5)]
    assert values[:2] == [-0.5, 1000.0]
    assert np.isnan(values[2])


def test_files_without_classes_have_no_label(tmp_path):
    path = write(tmp_path / "a.ts", ["1,2:3,4", "5,6:7,8"], "@classLabel false\n@data\n")
    found = items(build(one_file(path)))
    assert found["a.ts, line 4"].keys() == {"x"}
    assert found["a.ts, line 4"]["x"].tolist() == [[5, 7], [6, 8]]


def test_missing_values_are_filled_in_linearly_in_time_on_request(tmp_path):
    path = write(tmp_path / "a.ts", ["?,1,?,3,NaN:1,1,1,1,1:Up", "1,2:?,4:?"])
    found = items(build(one_file(path, missing="interpolate")))
    assert found["a.ts, line 7"]["x"].T.tolist() == [[1, 1, 2, 3, 3], [1, 1, 1, 1, 1]]
    assert found["a.ts, line 8"]["x"].T.tolist() == [[1, 2], [4, 4]]
    assert found["a.ts, line 8"]["class"] == -1
    refused(one_file(path), r"a\.ts, line 7: 3 of 10 values are missing, the first in channel 0 at")


def every_shipped_file():
    root = archive.in_aeon()
    return sorted(root.glob("*/*.ts")) if root else []


@pytest.mark.parametrize("path", every_shipped_file(), ids=lambda path: path.stem)
def test_every_file_that_ships_with_aeon_reads_as_aeon_reads_it(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from aeon.datasets import load_from_ts_file
    if "TimeStamps" in path.name:
        with pytest.raises(
            DataError, match=r"TimeStamps_TRAIN\.ts, line 5: time stamps are not read"
        ):
            list(read_cases(path))
        return
    x, y = load_from_ts_file(str(path))
    cases = list(read_cases(path))
    assert len(cases) == len(x)
    for case, frames, label in zip(cases, x, y, strict=True):
        np.testing.assert_array_equal(case.x, frames.T.astype(np.float32))
        assert (case.label.lower() if isinstance(case.label, str) else case.label) == label


# What is wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2:3:Up", "expected channels of equally many numbers, then the class"),
        ("1,two:3,4:Up", "expected channels of equally many numbers"),
        ("1,2:3,4:", "expected channels of equally many numbers, then the class"),
        ("1,2,3", "expected channels of equally many numbers"),
        ("1,2:Up", "expected 2 channels as above, got 1"),
        ("1,2:3,4:Upp", r"expected a class that '@classLabel' lists \(down, up\), got 'Upp'"),
        ("1,2:3,4:5,6", r"expected a class that '@classLabel' lists \(down, up\), got '5,6'"),
        ("1,2:3,inf:Up", "1 of 4 values are NaN or infinite"),
        ("(0,1),(1,2):Up", "expected channels of equally many numbers"),
    ],
)
def test_a_bad_line_is_named(root, config, line, said):
    path = root / "Toy" / "Toy_TRAIN.ts"
    path.write_text(path.read_text() + line + "\n")
    refused(evolve(config, split=SplitConfig(valid=0.0)), f"{path}, line 19: {said}")


def test_a_case_of_another_length_than_promised_is_named(tmp_path):
    header = "@equalLength true\n@classLabel true a\n@data\n"
    path = write(tmp_path / "a.ts", ["1,2:a", "1,2,3:a"], header)
    refused(one_file(path), r"line 5: expected 2 steps \('@equalLength true'\), got 3")


def test_targets_that_are_no_numbers_are_named(tmp_path):
    path = write(tmp_path / "a.ts", ["1,2:Up"], "@targetlabel true\n@data\n")
    refused(one_file(path), "line 3: expected a number as the target, got 'Up'")


def test_a_channel_of_which_nothing_is_known_cannot_be_filled_in(tmp_path):
    path = write(tmp_path / "a.ts", ["1,2:?,NaN:Up"])
    config = one_file(path, missing="interpolate")
    refused(config, "line 7: all values of channel 1 are missing")


@pytest.mark.parametrize("content", [b"", b"\n", b"@data\n", b"junk" * 99, b"\xff\xfe\x00"])
def test_files_of_something_else_are_refused(tmp_path, content):
    path = tmp_path / "a.ts"
    path.write_bytes(content)
    refused(one_file(path), r"a\.ts: no cases after '@data'|cannot read .*a\.ts: 'utf-8' codec")


def test_a_missing_file_is_named(tmp_path):
    refused(one_file(tmp_path / "a.ts"), r"cannot read .*a\.ts: No such file")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_whatever_happens_to_a_file_is_an_error_of_one_line_or_none(tmp_path, data):
    path = write(tmp_path / "a.ts", toy(0, 6))
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    path.write_bytes(content)
    assert "\n" not in fault(one_file(path, cache=CacheConfig(keep=False)))


# Problems by name --------------------------------------------------------------------------------


def test_a_problem_lies_in_its_own_folder_or_in_none(config, root):
    found = items(build(config))
    for file in (root / "Toy").iterdir():
        file.rename(root / file.name)
    again = items(build(config))
    assert found.keys() == again.keys()
    assert all(torch.equal(found[name]["x"], again[name]["x"]) for name in found)


def test_a_problem_that_is_not_in_the_folder_is_named(config, root):
    refused(evolve(config, problem="Toyy"), "no Toyy_TRAIN.ts and .* did you mean 'Toy'")
    (root / "Toy" / "Toy_TEST.ts").unlink()
    refused(config, "no Toy_TRAIN.ts and Toy_TEST.ts in ")
    refused(evolve(config, root=root / "nowhere"), "in .*nowhere; known: none")


def test_a_problem_that_ships_with_aeon_needs_no_folder():
    pytest.importorskip("aeon")
    splits = build(TS(problem="BasicMotions", label="activity"))
    assert [len(getattr(splits, part)) for part in PARTS] == [36, 4, 40]
    assert splits.classes == {"activity": ("Badminton", "Running", "Standing", "Walking")}
    assert set(splits.test.lengths) == {100}
    assert data_shapes(splits).frame == (6,)


def test_unknown_problems_and_those_that_would_be_fetched_are_told_apart():
    pytest.importorskip("aeon")
    refused(TS(problem="basicMotion"), "knows no problem 'basicMotion'; did you mean 'BasicMotions")
    refused(TS(problem="EigenWrms", download=True), "did you mean 'EigenWorms'")
    refused(TS(problem="EigenWorms"), "'EigenWorms' does not come with aeon; data.download = true")


def test_without_aeon_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon", None)
    monkeypatch.setitem(sys.modules, "aeon.datasets.tsc_datasets", None)
    refused(TS(problem="BasicMotions"), r"needs aeon: pip install 'seqvae\[timeseries\]'")


@pytest.fixture
def served(tmp_path, root, monkeypatch):
    """Stand in for the archive's server: the file is in the folder already."""
    archive_root = tmp_path / "served"
    archive_root.mkdir()

    def put(problem, names):
        with zipfile.ZipFile(archive_root / f"{problem}.zip", "w") as packed:
            for name, source in names.items():
                packed.write(source, name)
        return TS(problem=problem, root=archive_root, download=True)

    return put


def test_a_fetched_archive_is_unpacked_and_nothing_but_its_two_files(served, root):
    pytest.importorskip("aeon")
    train, test = (root / "Toy" / f"Toy_{part}.ts" for part in ("TRAIN", "TEST"))
    config = served("EigenWorms", {
        "EigenWorms/EigenWorms_TRAIN.ts": train, "EigenWorms_TEST.ts": test,
        "EigenWorms.txt": test, "Other_TEST.ts": test,
    })  # fmt: skip
    assert len(build(config).test) == 6
    found = {str(p.relative_to(config.root)) for p in config.root.rglob("*.*")}
    folder = "EigenWorms/EigenWorms"
    assert found == {"EigenWorms.zip", f"{folder}_TRAIN.ts", f"{folder}_TEST.ts"}
    (config.root / "EigenWorms.zip").unlink()
    assert len(build(evolve(config, download=False)).test) == 6


@pytest.mark.parametrize("name", ["../Worms_TRAIN.ts", "/Worms_TRAIN.ts", "a\\..\\..\\W_TRAIN.ts"])
def test_entries_that_climb_out_are_refused(served, name):
    config = served("Worms", {})
    with zipfile.ZipFile(config.root / "Worms.zip", "w") as packed:
        packed.writestr(zipfile.ZipInfo(name), "")
    with pytest.raises(DataError, match="climbs out of its folder"):
        archive.unpack(config.root / "Worms.zip", "Worms", config.root / "Worms")
    assert not list(config.root.rglob("*.ts"))


def test_an_archive_that_is_damaged_or_of_something_else_is_named(served, root, tmp_path):
    config = served("Worms", {"Worms_TRAIN.ts": root / "Toy" / "Toy_TRAIN.ts"})
    packed = config.root / "Worms.zip"
    with pytest.raises(DataError, match=r"no Worms_TEST\.ts in it, only Worms_TRAIN\.ts"):
        archive.unpack(packed, "Worms", tmp_path / "a")
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(DataError, match="damaged, or no zip archive; delete it"):
        archive.unpack(packed, "Worms", tmp_path / "a")
    packed.write_text("<html>not found</html>")
    with pytest.raises(DataError, match="damaged, or no zip archive; delete it"):
        archive.unpack(packed, "Worms", tmp_path / "a")


# Settings, cache, training -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "exactly one of 'path_train' and 'problem' must be given"),
        ({"path_train": "/a.ts", "problem": "Toy"}, "exactly one of 'path_train' and 'problem'"),
        ({"problem": "Toy", "path_test": "/a.ts"}, "'path_test' must not be given without"),
        ({"path_train": "/a.ts", "download": True}, "'root' and 'download' must not be given"),
    ],
)
def test_wrong_settings_are_named(plugins, data, said):
    with pytest.raises(ConfigError) as caught:
        structure_component("dataset", {"name": "ts", **data}, plugins)
    assert said in str(caught.value)


def test_a_label_cannot_have_a_reserved_name(config):
    refused(evolve(config, label="mask"), "a label cannot be called 'mask'")


def test_settings_survive_plain_data(plugins, config):
    assert structure_component("dataset", plain(config), plugins) == config


def test_a_file_is_converted_once_and_its_cache_files_are_checked(config, tmp_path, monkeypatch):
    config = evolve(config, cache=CacheConfig(folder=tmp_path / "cache"))
    first = items(build(config))
    monkeypatch.setattr(ts, "read_cases", None)
    splits = build(config)
    again = items(splits)
    assert all(torch.equal(first[name]["x"], again[name]["x"]) for name in first)
    for file in (tmp_path / "cache").rglob("*.bin"):
        file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"the cache file .*0\.bin is gone or cut short; delete"):
        items(splits)
    for file in (tmp_path / "cache").rglob("index.json"):
        file.write_text("{")
    refused(config, "the cache folder .* is damaged; delete it")


def test_a_conversion_that_was_killed_is_done_anew(config, tmp_path):
    config = evolve(config, cache=CacheConfig(folder=tmp_path / "cache"))
    first = items(build(config))
    for entry in [p for p in (tmp_path / "cache" / "series").iterdir() if p.is_dir()]:
        (entry / "index.json").unlink()
        entry.rename(entry.with_suffix(".tmp"))
    again = items(build(config))
    assert first.keys() == again.keys()
    assert not list((tmp_path / "cache" / "series").glob("*.tmp"))


def test_a_conversion_that_fails_leaves_nothing(config, root, tmp_path):
    config = evolve(config, cache=CacheConfig(folder=tmp_path / "cache"))
    (root / "Toy" / "Toy_TRAIN.ts").write_text("@data\n1,2:a\n1,b:a\n")
    refused(config, "line 3: expected channels")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.suffix != ".lock" and p.is_file()]


def test_a_cache_that_cannot_be_written_is_named(config, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    config = evolve(config, cache=CacheConfig(folder=tmp_path / "cache"))
    refused(config, "the cache .*: Not a directory; set data.cache.folder")


@pytest.mark.parametrize("keep", [True, False])
def test_ts_files_keep_their_contract(config, keep):
    check_component(evolve(config, cache=CacheConfig(keep=keep)))


def test_a_small_experiment_trains(config, root):
    path = tiny.write_experiment(root, steps=2)
    text = path.read_text().replace('name = "arrays"', 'name = "ts"')
    path.write_text(text.replace('path = "toy.npz"', 'problem = "Toy"\nroot = "."'))
    tiny.call("train", path, "--set", "tasks=[]", "--out", root / "run")
    assert tiny.steps_of(Path(root / "run")) == [1, 2]
