"""Tables in long format: sequences, labels, parts, times, and what is wrong with files."""

import gzip
import sys
import warnings

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import build, fault

from seqvae_core.config import plain, structure_component
from seqvae_core.errors import ConfigError, DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.series import columns, convert
from seqvae_data.series.config import Table

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PARTS = ("train", "valid", "test")
LABELS = {"labels": ("person", "height", "phase", "pulse"), "time": "t"}


def walks(count=12, seed=0):
    """Return columns of walks of 3 to 8 rows, two channels, and labels of all kinds."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, size=count)
    walk = np.repeat(np.arange(count), lengths)
    t = np.concatenate([np.arange(n) * 0.5 for n in lengths])
    return {
        "id": np.array([f"w{i}" for i in walk]),
        "t": t,
        "left": rng.normal(size=len(walk)).round(6),
        "right": 3.0 + rng.normal(size=len(walk)).round(6),
        "person": np.array(["ann", "bob", "cleo"])[walk % 3],
        "height": np.array([1.6, 1.7, 1.8])[walk % 3],
        "phase": (t > 1).astype(int),
        "pulse": 60.0 + t,
        "part": np.array(["train", "train", "valid", "test"])[walk % 4],
    }


def write(path, data, order=None):
    order = np.arange(len(data["id"])) if order is None else order
    data = {name: np.asarray(values)[order] for name, values in data.items()}
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(data), path, row_group_size=7)
        return path
    comma = "\t" if ".tsv" in path.name else ","
    rows = [comma.join(data), *(comma.join(map(str, row)) for row in zip(*data.values()))]  # noqa: B905
    text = "".join(f"{row}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def edit(path, row, old, new):
    """Replace text in a row of a CSV file, counted from the header, which is row 1."""
    lines = path.read_text().splitlines()
    assert old in lines[row - 1]
    lines[row - 1] = lines[row - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "walks.csv", walks())


@pytest.fixture
def small_blocks(monkeypatch):
    """Make a file of a few rows come in several blocks."""
    monkeypatch.setattr(columns, "BLOCK", 256)
    monkeypatch.setattr(columns, "ROWS", 5)


def items(splits):
    """Return all items by name, their classes as text."""
    return {
        name: {
            key: [splits.classes[key][i] for i in np.atleast_1d(value)]
            if key in splits.classes else np.asarray(value)
            for key, value in item.items()
        }
        for part in PARTS
        for name, item in zip(getattr(splits, part).names, getattr(splits, part), strict=True)
    }  # fmt: skip


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name][key], other[name][key]) for name in one for key in one[name]
    )


def refused(config, said):
    with pytest.raises(DataError, match=said) as caught:
        build(config)
    assert str(config.path) in str(caught.value)
    assert "\n" not in str(caught.value)


# Sequences and labels ----------------------------------------------------------------------------


def test_rows_of_an_id_are_a_sequence_of_all_columns_of_numbers_left(path):
    data = walks()
    splits = build(Table(path=path, normalise=False, **LABELS))
    found = items(splits)
    assert found.keys() == set(data["id"])
    for name, item in found.items():
        expected = np.stack([data["left"], data["right"]], 1)[data["id"] == name]
        np.testing.assert_array_equal(item["x"], expected.astype(np.float32))
    assert splits.fitted["channels"] == ["left", "right"]


def test_a_label_is_global_if_it_is_constant_within_each_sequence_else_local(path):
    data = walks()
    splits = build(Table(path=path, **LABELS))
    kinds = {n: (v.scope, v.family) for n, v in data_shapes(splits).labels.items()}
    assert kinds == {
        "person": ("global", "class"), "height": ("global", "number"),
        "phase": ("local", "class"), "pulse": ("local", "number"),
    }  # fmt: skip
    for name, item in items(splits).items():
        rows = data["id"] == name
        assert item["person"] == [data["person"][rows][0]]
        assert item["height"] == pytest.approx(data["height"][rows][0])
        assert item["phase"] == [str(i) for i in data["phase"][rows]]
        np.testing.assert_allclose(item["pulse"], data["pulse"][rows])


def test_a_declared_local_label_is_local_even_if_it_never_changes(path):
    splits = build(Table(path=path, channels=("left",), local_labels=("person",)))
    assert data_shapes(splits).labels["person"].scope == "local"
    assert data_shapes(splits).frame == (1,)


def test_empty_labels_are_missing(path):
    for row in (2, 3, 4):
        edit(path, row, ",ann,1.6,", ",,,")
    splits = build(Table(path=path, labels=("person", "height"), local_labels=("pulse",)))
    (item,) = [splits.train[i] for i, n in enumerate(splits.train.names) if n == "w0"] or [
        splits.test[i] for i, n in enumerate(splits.test.names) if n == "w0"
    ]
    assert torch.as_tensor(item["person"])[:3].eq(-1).all()
    assert torch.as_tensor(item["height"])[:3].isnan().all()
    assert splits.classes["person"] == ("ann", "bob", "cleo")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tsv", "a.tsv.gz", "a.parquet"])
def test_every_format_gives_the_same_sequences(path, tmp_path, name):
    other = write(tmp_path / name, walks())
    one, again = (build(Table(path=file, **LABELS)) for file in (path, other))
    assert same(items(one), items(again))
    assert one.fitted == again.fitted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), ending=st.sampled_from(["csv", "parquet"]))
def test_rows_of_other_sequences_may_lie_between(small_blocks, tmp_path, seed, ending):
    data = walks()
    order = np.random.default_rng(seed).permutation(len(data["id"]))
    for name in set(data["id"]):  # mixed, but each sequence in its own order
        place = data["id"][order] == name
        order[place] = np.sort(order[place])
    config = Table(path=tmp_path / f"a.{ending}", normalise=False, **LABELS)
    write(config.path, data)
    straight = items(build(config))
    write(config.path, data, order)
    assert same(items(build(config)), straight)


def test_blocks_of_any_size_give_the_same_sequences(path, tmp_path, request):
    config = Table(path=path, cache=CacheConfig(folder=tmp_path / "one"), **LABELS)
    whole = items(build(config))
    request.getfixturevalue("small_blocks")
    cut = build(evolve(config, cache=CacheConfig(folder=tmp_path / "two")))
    assert same(items(cut), whole)


def test_integers_as_ids_and_categories_as_labels_are_read(tmp_path):
    data = walks()
    table = pa.table({
        "id": [int(name[1:]) for name in data["id"]], "a": data["left"].astype(np.float32),
        "person": pa.array(data["person"]).dictionary_encode(),
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    splits = build(Table(path=tmp_path / "a.parquet", labels=("person",)))
    assert splits.classes["person"] == ("ann", "bob", "cleo")
    assert items(splits).keys() == {str(i) for i in range(12)}


# Parts -------------------------------------------------------------------------------------------


def test_a_column_says_the_parts(path):
    splits = build(Table(path=path, part="part"))
    assert [len(getattr(splits, part)) for part in PARTS] == [6, 3, 3]
    assert splits.test.names == ["w3", "w7", "w11"]


def test_without_a_valid_part_in_the_column_it_is_drawn_from_train(tmp_path):
    data = walks()
    data["part"][data["part"] == "valid"] = "train"
    path = write(tmp_path / "a.parquet", data)
    config = Table(path=path, part="part", labels=("person",),
                   split=SplitConfig(valid=0.4, group="person"))  # fmt: skip
    splits = build(config)
    assert splits.test.names == ["w3", "w7", "w11"]
    persons = [{item["person"] for item in part} for part in (splits.train, splits.valid)]
    assert len(persons[0] | persons[1]) == len(persons[0]) + len(persons[1])


def test_groups_stay_within_one_part(path):
    split = SplitConfig(group="person")
    splits = build(Table(path=path, channels=("left",), labels=("person",), split=split))
    persons = [{item["person"] for item in getattr(splits, part)} for part in PARTS]
    assert sum(map(len, persons)) == 3


# Times and missing values ------------------------------------------------------------------------


def test_missing_values_are_filled_in_linearly_in_time(tmp_path):
    (tmp_path / "a.csv").write_text(
        "id,t,a,b\n"
        "u,0,,1\nu,1,2,1.5\nv,0,1,1\nu,2,,1\nu,4,8,\nv,1,,2\nu,5,,4\n"
        "w,0,1,1\nw,1,1,1\n"
    )  # fmt: skip
    config = Table(path=tmp_path / "a.csv", time="t", missing="interpolate", normalise=False,
                   split=SplitConfig(test=0.3, valid=0.0))  # fmt: skip
    with pytest.warns(UserWarning, match="steps of 't' are irregular, from 1 to 2"):
        found = items(build(config))
    assert found["u"]["x"].T.tolist() == [[2, 2, 4, 8, 8], [1, 1.5, 1, 3, 4]]
    assert found["v"]["x"].tolist() == [[1, 1], [1, 2]]


def test_times_may_be_dates(tmp_path):
    path = tmp_path / "a.csv"
    days = ["2024-02-28", "2024-02-29", "2024-03-01"]
    path.write_text("id,day,a\n" + "".join(f"{i},{day},{i}.5\n" for i in range(5) for day in days))
    config = Table(path=path, time="day")
    assert len(build(config).test) == 1
    edit(path, 4, "2024-03-01", "2024-03-02")
    with pytest.warns(UserWarning, match="from 86400 to 172800"):
        build(config)
    edit(path, 3, "2024-02-29", "2024-02-28")
    refused(config, "row 3, column 'day': times must increase .*, it is the same as that of")


def test_times_that_go_back_repeat_or_are_missing_are_refused(path, small_blocks):
    config = Table(path=path, channels=("left",), time="t")
    original = path.read_text()
    edit(path, 4, "w0,1.0", "w0,0.25")
    refused(config, "row 4, column 't': times must increase within a sequence, it is before that")
    path.write_text(original)
    edit(path, 4, "w0,1.0", "w0,0.5")
    refused(config, "row 4, column 't': .* it is the same as that of the row before it")
    path.write_text(original)
    edit(path, 4, "w0,1.0", "w0,")
    refused(config, "row 4, column 't': .* it is missing")
    path.write_text(original)
    edit(path, 4, "w0,1.0", "w0,nan")
    refused(config, "row 4, column 't': .* it is missing")


# What is wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.640423", "oops", "row 4, column 'left': expected a number, got 'oops'"),
        ("0.640423", "", "row 4, column 'left': expected a finite number, it is missing"),
        ("0.640423", "NaN", "row 4, column 'left': expected a finite number, it is missing"),
        ("0.640423", "inf", "row 4, column 'left': expected a finite number, got inf"),
        ("0.640423", "1e99", "row 4, column 'left': expected a finite number, got 1e\\+99"),
        (",train", "", "row 4: expected 9 values, got 8"),
        (",train", ",train,1", "row 4: expected 9 values, got 10"),
        ("train", "dev", "column 'part': expected train, valid or test, got 'dev'"),
        ("train", "test", "column 'part': id 'w0' is in two parts"),
        ("w0", "", "row 4: 'id' is empty"),
    ],
)
def test_a_bad_row_is_named(path, small_blocks, old, new, said):
    lines = path.read_text().splitlines()
    lines[3] = ",".join(["w0", "1.0", "0.640423", *lines[3].split(",")[3:]])
    path.write_text("\n".join(lines) + "\n")
    edit(path, 4, old, new)
    refused(Table(path=path, part="part", channels=("left", "right")), said)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_a_column_that_one_cell_keeps_from_being_numbers_is_refused(tmp_path, name):
    data = walks()
    data["left"] = data["left"].astype(str)
    data["left"][7] = "n/k"
    path = write(tmp_path / name, data)
    refused(Table(path=path, **LABELS), "row 9, column 'left': expected a number, got 'n/k'")
    splits = build(Table(path=path, channels=("right",)))
    assert data_shapes(splits).frame == (1,)


def test_columns_of_text_are_no_channels_however_many_of_their_cells_are_empty(tmp_path):
    data = walks()
    notes = np.full(len(data["id"]), "nan", dtype="U9")
    notes[:5] = ["", "12", "slow", "NA", "left 3"]
    path = write(tmp_path / "a.csv", data | {"notes": notes})
    assert data_shapes(build(Table(path=path, **LABELS))).frame == (2,)


def test_infinite_labels_are_refused(path, small_blocks):
    edit(path, 9, path.read_text().splitlines()[8].split(",")[7], "-inf")
    said = "row 9, column 'pulse': expected a finite number, got -inf"
    refused(Table(path=path, **LABELS), said)


def test_infinite_values_are_refused_even_if_gaps_are_filled_in(path):
    edit(path, 3, path.read_text().splitlines()[2].split(",")[2], "inf")
    config = Table(path=path, channels=("left",), missing="interpolate")
    refused(config, "row 3, column 'left': expected a finite number, got inf")


def test_a_channel_of_which_nothing_is_known_cannot_be_filled_in(tmp_path):
    data = walks()
    data["left"][data["id"] == "w3"] = np.nan
    path = write(tmp_path / "a.parquet", data)
    config = Table(path=path, channels=("right", "left"), missing="interpolate")
    refused(config, "id 'w3': all values of channel left are missing")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "ids"}, "no column 'ids'; did you mean 'id'\\? known: height, id, left"),
        ({"time": "time"}, "no column 'time'"),
        ({"channels": ("lefft",)}, "no column 'lefft'; did you mean 'left'"),
        ({"labels": ("persn",)}, "no column 'persn'; did you mean 'person'"),
        ({"time": "person"}, "column 'person': expected numbers or ISO 8601 times, got string"),
        ({"channels": ("person",)}, "column 'person': expected a number, got 'ann'"),
        ({"part": "person"}, "column 'person': expected train, valid or test, got 'ann'"),
    ],
)
def test_wrong_columns_are_named(path, changes, said):
    refused(Table(path=path, **changes), said)


def test_text_in_a_parquet_channel_and_lists_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"id": ["u", "v"], "a": ["1", "2"], "b": [[1], [2]]}), path)
    refused(Table(path=path, channels=("a",)), "column 'a': expected numbers, got string")
    refused(Table(path=path, labels=("b",)), "column 'b': expected text or numbers, got list")
    refused(Table(path=path), "no column of numbers is left for the channels")


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("id,a,a\nu,1,2\n")
    refused(Table(path=tmp_path / "a.csv"), "column 'a' is there twice")


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "parquet"])
@pytest.mark.parametrize("content", [b"", b"\n", b"junk" * 99, b"\x00\xff\xfe,\n\x93,\n", b"PAR1"])
def test_files_of_something_else_are_refused(tmp_path, ending, content):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    refused(Table(path=path), rf"a\.{ending}: ")


def test_empty_and_missing_files_and_other_endings_are_named(tmp_path):
    path = tmp_path / "a.csv"
    refused(Table(path=path), "cannot read .*: No such file")
    refused(Table(path=path, cache=CacheConfig(keep=False)), "cannot read .*: no such file")
    path.write_text("")
    refused(Table(path=path), r"a\.csv: the file is empty")
    path.write_text("id,a\n")
    refused(Table(path=path), "there are no rows below the names of the columns")
    refused(Table(path=tmp_path), "cannot read .*: Is a directory")
    path.rename(tmp_path / "a.txt")
    refused(Table(path=tmp_path / "a.txt"), r"expected a \.csv, \.tsv")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.parquet"])
def test_a_file_that_was_cut_is_refused(tmp_path, name):
    path = write(tmp_path / name, walks(400))
    path.write_bytes(path.read_bytes()[:-200])
    refused(Table(path=path, **LABELS), "damaged, or not what its name says")


def test_damage_within_a_parquet_file_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", walks(400))
    content = bytearray(path.read_bytes())
    content[40:4000] = bytes(3960)
    path.write_bytes(content)
    refused(Table(path=path, **LABELS), "damaged, or not what its name says")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_whatever_happens_to_a_file_is_an_error_of_one_line_or_none(tmp_path, ending, data):
    path = write(tmp_path / f"a.{ending}", walks())
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* are irregular")
        config = Table(path=path, part="part", cache=CacheConfig(keep=False), **LABELS)
        assert "\n" not in fault(config)


# Settings, cache, training -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": ["t"], "time": "t"}, "column 't' must have one role, it is named twice"),
        ({"channels": []}, "'channels' must name a column"),
        ({"missing": "zero"}, "expected one of refuse, interpolate, got 'zero'"),
    ],
)
def test_wrong_settings_are_named(plugins, changes, said):
    with pytest.raises(ConfigError) as caught:
        structure_component("dataset", {"name": "table", "path": "/a.csv", **changes}, plugins)
    assert said in str(caught.value)


def test_a_label_cannot_have_a_reserved_name(tmp_path):
    path = write(tmp_path / "a.csv", walks())
    with pytest.raises(DataError, match="a label cannot be called 'x'"):
        build(Table(path=path, labels=("x",)))


def test_settings_survive_plain_data(plugins, path):
    config = Table(path=path, split=SplitConfig(group="person"), **LABELS)
    assert structure_component("dataset", plain(config), plugins) == config


def test_without_pyarrow_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'seqvae\[timeseries\]'"):
        build(Table(path=path, cache=CacheConfig(keep=False)))


def test_a_file_is_converted_once(path, tmp_path, monkeypatch):
    config = Table(path=path, cache=CacheConfig(folder=tmp_path / "cache"), **LABELS)
    first = items(build(config))
    monkeypatch.setattr(convert, "open_source", None)
    assert same(items(build(config)), first)


def test_in_memory_the_sequences_are_the_same(path, tmp_path):
    config = Table(path=path, cache=CacheConfig(folder=tmp_path / "cache"), **LABELS)
    again = evolve(config, cache=CacheConfig(folder=tmp_path / "none", keep=False))
    assert same(items(build(config)), items(build(again)))
    assert not (tmp_path / "none").exists()


def test_other_columns_than_the_runs_are_refused(path):
    splits = build(Table(path=path, channels=("left", "right")))
    config = Table(path=path, channels=("right", "left"))
    with pytest.raises(DataError, match=r"channels is \['right', 'left'\], the run's is"):
        build(config, fitted=splits.fitted)


@pytest.mark.parametrize("keep", [True, False])
def test_tables_keep_their_contract(path, keep):
    cache = CacheConfig(keep=keep)
    check_component(Table(path=path, cache=cache, **LABELS))
    check_component(Table(path=path, part="part", channels=("left",), normalise=False))
