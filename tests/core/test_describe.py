"""What is told of data before training: numbers, a table, a picture, and no complaint of NaN."""

import json
import sys

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core import Experiment, Splits
from seqvae_core.data_picture import data_picture
from seqvae_core.describe import describe
from seqvae_core.errors import DataError
from seqvae_core.loading import Order, padding_share

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def experiment(plugins, tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    return Experiment.load(tiny.write_experiment(folder), plugins)


def sequences(*lengths, channels=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, channels, generator=generator) for length in lengths]


def parts(train, valid=(), test=(), **others):
    return Splits(train=train, valid=list(valid), test=list(test) or list(train)[:1], **others)


# Numbers -----------------------------------------------------------------------------------------


def test_sequences_frames_lengths_and_bytes_of_each_part_are_told(experiment):
    found = describe(experiment, parts(sequences(3, 5, 8), sequences(2), sequences(9, 4)))

    train = found["parts"]["train"]
    assert (train["sequences"], train["share"], train["frames"]) == (3, 0.5, 16)
    assert train["lengths"] == {"known": 3, "min": 3, "median": 5, "max": 8}
    assert train["bytes"] == 16 * 4 * 4
    assert found["parts"]["valid"]["frames"] == 2
    assert found["frame"] == [4]
    assert sum(found["lengths"]["train"]) == 3


def test_a_part_without_sequences_is_described_by_none(experiment):
    valid = describe(experiment, parts(sequences(3)))["parts"]["valid"]

    assert valid["sequences"] == valid["frames"] == valid["bytes"] == 0
    assert valid["lengths"] == {"known": 0, "min": None, "median": None, "max": None}


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_values_are_those_of_all_frames_together(experiment, lengths, seed):
    train = [1e3 + x for x in sequences(*lengths, channels=3, seed=seed)]
    values = describe(experiment, parts(train))["values"]["trained"]

    everything = torch.cat(train).double().numpy()
    for found, x in [(values, everything), *zip(values["channels"], everything.T, strict=True)]:
        assert found["min"] == x.min()
        assert found["max"] == x.max()
        assert found["mean"] == pytest.approx(x.mean(), rel=1e-12)
        assert found["std"] == pytest.approx(x.std(), rel=1e-6, abs=1e-9)


def test_the_channels_of_images_are_their_colours(experiment):
    clips = [torch.rand(2, 3, 5, 4) * torch.tensor([1.0, 0.0, 3.0])[:, None, None]]
    found = describe(experiment, parts(clips))

    assert found["frame"] == [3, 5, 4]
    assert len(found["values"]["trained"]["channels"]) == 3
    assert found["values"]["trained"]["constant"] == [1]


def test_values_that_are_not_finite_are_counted_and_left_out(experiment):
    train = sequences(4, 6, 5)
    train[1][2, 0], train[1][3, 1], train[2][0, 0] = float("nan"), float("inf"), float("-inf")
    found = describe(experiment, parts(train))

    assert found["parts"]["train"]["not_finite"] == {"values": 3, "sequences": 2, "first": "item 1"}
    finite = torch.cat(train)[torch.isfinite(torch.cat(train))]
    assert found["values"]["trained"]["max"] == finite.max()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_channel_without_any_finite_value_has_no_numbers(experiment):
    x = sequences(4)[0]
    x[:, 2] = float("nan")
    channels = describe(experiment, parts([x]))["values"]["trained"]["channels"]

    assert channels[2] == {"min": None, "max": None, "mean": None, "std": None}
    assert channels[1]["min"] == x[:, 1].min()


def test_values_are_also_told_in_the_units_that_they_came_in(experiment):
    splits = parts(sequences(5), restore=lambda x: 10.0 * x + 100.0)
    values = describe(experiment, splits)["values"]

    assert values["restored"]["mean"] == pytest.approx(10 * values["trained"]["mean"] + 100)
    assert describe(experiment, parts(sequences(5)))["values"]["restored"] is None


def test_sequences_that_cannot_be_used_are_counted_with_what_is_wrong_with_the_first(experiment):
    train = [*sequences(4, 4), torch.zeros(3, 5), {"frames": 1}]
    unusable = describe(experiment, parts(train))["parts"]["train"]["unusable"]

    assert unusable["sequences"] == 2
    assert unusable["first"] == (
        "item 2 of the train part: expected frames (4,) with no labels as in others, "
        "got frames (5,) with no labels"
    )
    with pytest.raises(DataError, match="item 0 of the train part: expected a tensor or a dict"):
        describe(experiment, parts([{"frames": 1}]))


def test_what_the_data_set_fitted_is_told_where_it_is_a_plain_value(experiment):
    fitted = {"sample_rate": 8000, "mean": [0.0] * 4, "classes": {}}
    assert describe(experiment, parts(sequences(4), fitted=fitted))["facts"] == {
        "sample_rate": 8000
    }


# A part of the data ------------------------------------------------------------------------------


class Many(torch.utils.data.Dataset):
    """More sequences than anybody reads, of known lengths."""

    def __init__(self, count, *, told=True):
        self.read = []
        self.all = [1 + index % 50 for index in range(count)]
        if told:
            self.lengths = self.all

    def __len__(self):
        return len(self.all)

    def __getitem__(self, index):
        self.read.append(index)
        return {"x": torch.full((self.all[index], 2), float(index)), "half": index % 2}


def test_no_more_than_the_limit_is_read_and_which_is_drawn_by_the_seed(experiment):
    train = Many(5000)
    found = describe(experiment, parts(train, test=sequences(3, channels=2)), limit=100)

    assert found["parts"]["train"]["read"] == len(train.read) == len(set(train.read)) == 100
    assert max(train.read) > 4000
    assert found["parts"]["train"]["lengths"]["known"] == 5000
    assert found["parts"]["train"]["frames"] == sum(train.all)
    again = Many(5000)
    assert found == describe(experiment, parts(again, test=sequences(3, channels=2)), limit=100)
    assert again.read == train.read


def test_lengths_that_are_not_told_are_estimated_from_what_was_read(experiment):
    train = Many(5000, told=False)
    part = describe(experiment, parts(train, test=sequences(3, channels=2)), limit=500)["parts"]

    assert part["train"]["lengths"]["known"] == 500
    assert part["train"]["frames"] == pytest.approx(sum(train.all), rel=0.1)


# Labels ------------------------------------------------------------------------------------------


def labelled(**labels):
    count = len(next(iter(labels.values())))
    return [{"x": x, **{name: value[i] for name, value in labels.items()}}
            for i, x in enumerate(sequences(*[3] * count))]  # fmt: skip


def test_classes_are_counted_by_part_the_largest_first(experiment):
    splits = parts(labelled(speaker=[0, 1, 1, -1]), labelled(speaker=[1]),
                   labelled(speaker=[2, 1, -1]),
                   classes={"speaker": ("anna", "bert", "carl")})  # fmt: skip
    speaker = describe(experiment, splits)["labels"]["speaker"]

    assert (speaker["scope"], speaker["family"], speaker["classes"]) == ("global", "class", 3)
    assert list(speaker["counts"].items()) == [
        ("bert", {"train": 2, "valid": 1, "test": 1}),
        ("anna", {"train": 1, "valid": 0, "test": 0}),
        ("carl", {"train": 0, "valid": 0, "test": 1}),
    ]
    assert speaker["parts"]["test"] == {
        "count": 2, "missing": 1, "classes": 2, "seen_in_training": 1, "unseen": ["carl"],
    }  # fmt: skip


def test_local_labels_are_counted_in_frames(experiment):
    phones = [torch.tensor([0, 0, 1]), torch.tensor([1, -1, -1])]
    phone = describe(experiment, parts(labelled(phone=phones)))["labels"]["phone"]

    assert phone["scope"] == "local"
    assert phone["counts"]["0"]["train"] == phone["counts"]["1"]["train"] == 2
    assert phone["parts"]["train"]["missing"] == 2


def test_numbers_have_a_range_and_are_missing_where_nan(experiment):
    train = labelled(pitch=[1.0, 4.0, float("nan")])
    pitch = describe(experiment, parts(train))["labels"]["pitch"]

    assert pitch["family"] == "number"
    assert pitch["parts"]["train"] == {
        "count": 2, "missing": 1, "min": 1.0, "max": 4.0, "mean": 2.5, "std": 1.5,
    }  # fmt: skip


# Padding -----------------------------------------------------------------------------------------


def test_padding_is_that_of_the_trainers_batches_with_and_without_buckets(experiment):
    lengths = [3 + 7 * i % 41 for i in range(300)]
    padding = describe(experiment, parts(sequences(*lengths)))["padding"]

    plain = Order(count=300, batch_size=8, seed=3, lengths=lengths)
    assert padding["plain"] == padding_share(plain)
    assert padding["bucketed"] < 0.5 * padding["plain"]
    assert not padding["bucketed_in_training"]


def test_padding_is_unknown_where_training_would_have_no_batch(experiment):
    assert describe(experiment, parts(sequences(3, 4)))["padding"]["plain"] is None


# The picture -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (30,), (1, 8, 8), (3, 6, 9)], ids=str)
@pytest.mark.parametrize("lengths", [(1, 1), (5, 12)], ids=str)
def test_any_data_can_be_drawn_and_the_same_twice(experiment, shape, lengths):
    train = [
        {"x": torch.rand(length, *shape), "speaker": index % 2 - 1, "pitch": 2.5,
         "phone": torch.arange(length) // 2 - 1}
        for index, length in enumerate(lengths)
    ]  # fmt: skip
    splits = parts(train, classes={"phone": ("a", "e", "o", "u", "i")})
    found = describe(experiment, splits)

    picture = data_picture(splits, found, 0)
    assert picture.startswith(PNG)
    assert picture == data_picture(splits, found, 0)


def test_what_cannot_be_used_or_is_not_finite_does_not_stop_the_picture(experiment):
    train = [*sequences(4, 9), torch.full((5, 4), float("nan")), torch.zeros(7)]
    splits = parts(train)
    assert data_picture(splits, describe(experiment, splits), 0).startswith(PNG)

    splits = parts([torch.full((5, 4), float("nan"))])
    assert data_picture(splits, describe(experiment, splits), 0).startswith(PNG)


# The command -------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.write_experiment(tmp_path)


def test_the_command_prints_what_is_there_and_draws_it_below_runs(source, tmp_path):
    done = tiny.call("data", source.name)

    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:2] == ["data: arrays", "frame: 4 channels"]
    assert "% of a batch of 8; " in lines[2]
    assert any(line.startswith("speaker: global, 3 classes; classes seen") for line in lines)
    assert lines[-1] == "picture: runs/toy-data.png"
    assert (tmp_path / "runs" / "toy-data.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "toy.npz", "toy.toml"]


def test_json_is_all_that_is_printed_and_the_picture_lies_where_it_is_told_to(source, tmp_path):
    done = tiny.call("data", source, "--json", "--picture", tmp_path / "there.png", "--limit", 10)

    found = json.loads(done.stdout)
    assert found["picture"] == str(tmp_path / "there.png")
    assert found["parts"]["train"]["read"] == 10
    assert found["data"]["name"] == "arrays"
    assert len(found["values"]["restored"]["channels"]) == 4
    assert (tmp_path / "there.png").read_bytes().startswith(PNG)
    assert not (tmp_path / "runs").exists()


def test_settings_change_what_is_described(source):
    chosen = ["--set", "data.split={group='speaker', test=0.3, valid=0.0}"]
    done = tiny.call("data", source, *chosen, "--set", "train.bucket=4")

    assert "classes seen in training: test none of 1" in done.stdout
    assert " without train.bucket = 4" in done.stdout


def test_classes_beyond_twelve_and_missing_ones_are_summed_up(source, tmp_path):
    rng = np.random.default_rng(0)
    word = rng.integers(-1, 30, size=200)
    np.savez(tmp_path / "toy.npz", x=rng.normal(size=(200, 5, 4)), word=word, take=np.arange(200))
    done = tiny.call("data", source)

    assert done.stdout.count("... and 18 more") == done.stdout.count("(missing)") == 1
    assert "take: global, 200 classes, each once; classes seen in training: " in done.stdout
    assert "padding: none, all sequences are equally long" in done.stdout


def test_a_sample_is_called_one(source):
    done = tiny.call("data", source, "--limit", 7)
    assert "train: values and labels are those of 7 of 43 sequences, drawn at random" in done.stdout
    assert "; classes seen in what was read of training: " in done.stdout


def test_without_matplotlib_there_is_no_picture_and_a_line_that_says_so(source, monkeypatch):
    monkeypatch.setattr("seqvae_core.data_picture.available", lambda: False)
    done = tiny.call("data", source)

    assert done.stderr == "no picture: that needs matplotlib, pip install 'seqvae[report]'\n"
    assert "picture" not in done.stdout
    assert json.loads(tiny.call("data", source, "--json").stdout)["picture"] is None


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--set", "data.path=nowhere.npz"], "nowhere.npz"),
        (["--set", "data.pth=toy.npz"], "unknown key 'pth'; did you mean 'path'?"),
        (["--limit", "0"], "Invalid value for '--limit': 0 is not in the range x>=1."),
        (["--picture", "toy.npz/there.png"], "cannot write toy.npz/there.png: "),
    ],
)
def test_what_cannot_be_described_is_one_line_and_exit_2(source, options, line):
    done = tiny.call("data", source, *options, code=2)
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_data_that_are_not_finite_are_told_by_the_command(source, tmp_path, monkeypatch):
    (tmp_path / "acme_bare.py").write_text(BARE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    done = tiny.call("data", source, "--set", "data=acme-bare", "-p", tmp_path / "acme_bare.py")

    sys.modules.pop("acme_bare", None)
    assert (
        "train: 3 values are NaN or infinite, in 1 sequence, item 2 first; training refuses them"
        in done.stdout
    )
    assert "constant on train: channel 1" in done.stdout


BARE = '''
from typing import ClassVar
import torch
from attrs import frozen
from seqvae_core import Splits
from seqvae_core.components import DatasetConfig
from seqvae_core.hookspecs import hookimpl

@frozen(kw_only=True)
class Bare(DatasetConfig):
    """Tensors, some of them not finite."""

    name: ClassVar[str] = "acme-bare"

    def build(self, request):
        data = [torch.stack([torch.arange(5.0), torch.ones(5)], 1) for _ in range(20)]
        data[2][:3, 0] = float("nan")
        return Splits(train=data, valid=[], test=data[:2])

@hookimpl
def seqvae_datasets():
    return [Bare]
'''
