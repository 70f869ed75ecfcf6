"""The Japanese Vowels data: the official parts, the labels, the normalisation."""

import json
import sys

import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.loading import check_splits, data_shapes
from seqvae_data.series.archive import in_aeon
from seqvae_data.series.config import JapaneseVowels
from seqvae_data.series.ts_files import read_cases


@pytest.fixture(scope="module")
def splits():
    pytest.importorskip("aeon")
    return JapaneseVowels().build(DataRequest(seed=3))


@pytest.fixture
def folder(tmp_path):
    for part, cases in {"TRAIN": 8, "TEST": 4}.items():
        lines = [
            f"1.{i},2.0,4.0:0.5,0.{i}5,1.0:{'ab'[i % 2]}\n" for i in range(cases)
        ]  # fmt: skip
        text = "#a comment\n@problemName Toy\n@data\n" + "".join(lines)
        (tmp_path / f"JapaneseVowels_{part}.ts").write_text(text)
    return tmp_path


def same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys() and torch.equal(a["x"], b["x"]) and a["speaker"] == b["speaker"]
        for a, b in zip(one, other, strict=True)
    )


def test_the_parts_are_the_official_ones(splits):
    assert len(splits.train) + len(splits.valid) == 270
    assert len(splits.test) == 370
    lengths = [len(item["x"]) for part in ("train", "valid", "test")
               for item in getattr(splits, part)]  # fmt: skip
    assert (min(lengths), max(lengths)) == (7, 29)


def test_an_item_is_a_sequence_of_12_numbers_with_its_speaker(splits):
    shapes = data_shapes(check_splits(splits))
    assert shapes.frame == (12,)
    assert shapes.labels["speaker"].scope == "global"
    assert shapes.labels["speaker"].family == "class"
    assert splits.classes == {"speaker": tuple("123456789")}
    assert splits.train[0]["x"].dtype == torch.float32


def test_the_valid_part_has_every_speaker_in_proportion(splits):
    count = torch.bincount(torch.tensor([item["speaker"] for item in splits.valid]), minlength=9)
    assert len(splits.valid) == 40
    assert set(count.tolist()) <= {4, 5}


def test_training_frames_have_mean_0_and_standard_deviation_1(splits):
    x = torch.cat([item["x"] for item in splits.train]).double()
    torch.testing.assert_close(x.mean(0), torch.zeros(12).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(12).double(), atol=1e-6, rtol=0)


def test_the_test_part_is_scaled_by_the_training_part(splits):
    raw = next(read_cases(in_aeon() / "JapaneseVowels" / "JapaneseVowels_TEST.ts"))
    mean, std = (torch.tensor(splits.fitted[key]).double() for key in ("mean", "std"))
    expected = (torch.from_numpy(raw.x).double() - mean) / std
    torch.testing.assert_close(splits.test[0]["x"].double(), expected, atol=1e-5, rtol=0)


def test_what_was_fitted_survives_json_and_gives_the_same_items(splits):
    fitted = json.loads(json.dumps(splits.fitted))
    again = JapaneseVowels().build(DataRequest(seed=3, fitted=fitted))
    for part in ("train", "valid", "test"):
        assert same(getattr(splits, part), getattr(again, part))
    assert again.classes == splits.classes


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_the_valid_part_depends_on_the_seed_alone(seed, other):
    one, again = (JapaneseVowels().build(DataRequest(seed=seed)) for _ in range(2))
    assert same(one.valid, again.valid)
    assert same(one.train, again.train)
    different = JapaneseVowels().build(DataRequest(seed=other))
    assert same(one.valid, different.valid) is (seed == other)


def test_no_valid_part_is_an_empty_one(folder):
    splits = JapaneseVowels(root=folder, valid=0.0).build(DataRequest())
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (8, 0, 4)


def test_a_folder_of_other_data_uses_the_normalisation_it_is_given(splits, shared_data):
    config = evolve(JapaneseVowels(), root=shared_data / "japanese_vowels")
    other = config.build(DataRequest(fitted=splits.fitted))
    assert len(other.test) == 185
    assert same(other.test, [splits.test[i] for i in range(0, 370, 2)])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1.0,2.0:0.5:a", "expected channels of equally many numbers"),
        ("1.0,?:0.5,1.0:a", "1 of 4 values are NaN or infinite"),
        ("1.0,2.0:0.5,1.0:", "expected channels of equally many numbers"),
        ("1.0,nan:0.5,1.0:a", "1 of 4 values are NaN or infinite"),
    ],
)
def test_a_bad_line_is_named(folder, line, said):
    path = folder / "JapaneseVowels_TEST.ts"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=said) as caught:
        JapaneseVowels(root=folder).build(DataRequest())
    assert f"{path}, line 8" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_an_empty_file_are_named(tmp_path, folder):
    with pytest.raises(DataError, match=r"cannot read .*nowhere.*: No such file"):
        JapaneseVowels(root=tmp_path / "nowhere").build(DataRequest())
    (folder / "JapaneseVowels_TEST.ts").write_text("@data\n")
    with pytest.raises(DataError, match="no cases after '@data'"):
        JapaneseVowels(root=folder).build(DataRequest())


def test_without_aeon_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon", None)
    with pytest.raises(DataError, match=r"pip install 'seqvae\[timeseries\]'"):
        JapaneseVowels().build(DataRequest())


def test_a_constant_channel_cannot_be_normalised(folder):
    for part in ("TRAIN", "TEST"):
        path = folder / f"JapaneseVowels_{part}.ts"
        path.write_text("@data\n" + "1.0,2.0:3.3,3.3:a\n" * 8)
    with pytest.raises(DataError, match=r"1 of 2 channels are constant .* channel 1 at 3.3"):
        JapaneseVowels(root=folder).build(DataRequest())


def test_data_with_other_frames_than_the_run_are_refused(folder, splits):
    with pytest.raises(DataError, match=r"frame is \[2\], the run's is \[12\]"):
        JapaneseVowels(root=folder).build(DataRequest(fitted=splits.fitted))


def test_classes_unseen_in_training_come_after_the_known_ones(folder):
    first = JapaneseVowels(root=folder).build(DataRequest())
    assert first.classes["speaker"] == ("a", "b")
    for part in ("TRAIN", "TEST"):
        path = folder / f"JapaneseVowels_{part}.ts"
        path.write_text(path.read_text().replace(":a\n", ":0\n"))
    other = JapaneseVowels(root=folder).build(DataRequest(fitted=first.fitted))
    assert other.classes["speaker"] == ("a", "b", "0")
    assert {item["speaker"] for item in other.test} == {1, 2}
    assert other.fitted == first.fitted
