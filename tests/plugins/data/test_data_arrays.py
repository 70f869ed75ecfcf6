"""Arrays on disk: shapes, lengths and masks, labels of both scopes, parts, damaged files."""

import json
import pickle

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import build

from seqvae_core.config import plain, structure_component
from seqvae_core.errors import DataError
from seqvae_core.loading import data_shapes
from seqvae_data.config import Arrays, SplitConfig

PARTS = ("train", "valid", "test")
RNG = np.random.default_rng(0)
X = RNG.normal(3.0, 2.0, size=(20, 6, 3))
LENGTH = RNG.integers(2, 7, size=20)
SPEAKER = np.repeat(np.array(["d", "b", "c", "a"]), 5)


@pytest.fixture
def save(tmp_path):
    def saved(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return Arrays(path=path)

    return saved


def refused(config, said):
    with pytest.raises(DataError, match=said) as caught:
        build(config)
    assert "\n" not in str(caught.value)
    assert str(config.path) in str(caught.value)


def everything(splits):
    return [item for part in PARTS for item in getattr(splits, part)]


@pytest.mark.parametrize(
    ("shape", "time", "item"),
    [
        ((20, 6, 3), True, (6, 3)),
        ((20, 6), True, (6, 1)),
        ((20, 6, 1, 4, 4), True, (6, 1, 4, 4)),
        ((20, 4, 5), False, (1, 1, 4, 5)),
        ((20, 3, 4, 5), False, (1, 3, 4, 5)),
        ((20, 7), False, (1, 7)),
    ],
)
def test_an_npy_file_holds_sequences_or_images(tmp_path, shape, time, item):
    np.save(tmp_path / "x.npy", RNG.normal(size=shape))
    splits = build(Arrays(path=tmp_path / "x.npy", time=time))
    assert [len(getattr(splits, part)) for part in PARTS] == [14, 2, 4]
    assert {tuple(one["x"].shape) for one in everything(splits)} == {item}
    assert splits.train[0]["x"].dtype == torch.float32
    assert data_shapes(splits).frame == item[1:]
    stacked = torch.cat([one["x"] for one in splits.train]).transpose(0, 1).flatten(1).double()
    assert stacked.mean(1).abs().max() < 1e-6
    assert (stacked.std(1, correction=0) - 1).abs().max() < 1e-6


def test_labels_have_the_scope_of_their_shape_and_the_family_of_their_type(save):
    phone = RNG.integers(0, 3, size=(20, 6))
    age, pitch = RNG.normal(size=20), RNG.normal(size=(20, 6))
    config = save(x=X, length=LENGTH, speaker=SPEAKER, phone=phone, age=age, pitch=pitch)
    splits = build(config)
    labels = data_shapes(splits).labels
    assert {name: (v.scope, v.family) for name, v in labels.items()} == {
        "speaker": ("global", "class"), "phone": ("local", "class"),
        "age": ("global", "number"), "pitch": ("local", "number"),
    }  # fmt: skip
    assert splits.classes == {"speaker": ("a", "b", "c", "d"), "phone": ("0", "1", "2")}
    for item in everything(splits):
        assert len(item["phone"]) == len(item["pitch"]) == len(item["x"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([np.nan, np.inf, 1e30, 0.0]))
def test_what_stands_in_the_padding_changes_nothing(save, filling):
    mask = np.arange(6) < LENGTH[:, None]
    clean = build(save(x=X, length=LENGTH))
    dirty = build(save(x=np.where(mask[..., None], X, filling), mask=mask))
    for one, other in zip(everything(clean), everything(dirty), strict=True):
        assert torch.equal(one["x"], other["x"])
    assert clean.fitted == dirty.fitted


def test_missing_labels_stay_missing(save):
    splits = build(save(x=X, digit=np.array([-1, 5, 9, 5] * 5), name=np.array(["", "b"] * 10)))
    assert splits.classes == {"digit": ("5", "9"), "name": ("b",)}
    assert {item["digit"] for item in everything(splits)} == {-1, 0, 1}
    assert {item["name"] for item in everything(splits)} == {-1, 0}


def test_groups_stay_within_one_part(save):
    config = evolve(
        save(x=X, speaker=SPEAKER), split=SplitConfig(group="speaker", test=0.25, valid=0.3)
    )
    for seed in range(5):
        splits = build(config, seed)
        groups = [{splits.classes["speaker"][item["speaker"]] for item in getattr(splits, part)}
                  for part in PARTS]  # fmt: skip
        assert sorted(map(len, groups)) == [1, 1, 2]
        assert len(set().union(*groups)) == 4


def test_parts_in_the_file_are_kept(save):
    config = save(x_train=X[:12], x_test=X[12:], y_train=np.arange(12) % 3, y_test=np.arange(8))
    splits = build(evolve(config, split=SplitConfig(valid=0.25), normalise=False))
    assert [len(getattr(splits, part)) for part in PARTS] == [9, 3, 8]
    for item, x in zip(splits.test, X[12:], strict=True):
        assert torch.equal(item["x"], torch.from_numpy(x).float())
    assert splits.classes["y"] == tuple("01234567")
    assert splits.fitted["classes"]["y"] == ["0", "1", "2"]
    refused(save(x_train=X, x_test=X, y_train=SPEAKER), "no array 'y_test'; known: x_test, x_train")
    config = save(x_train=X[:12], x_test=X[12:16], x_valid=X[16:])
    assert [len(getattr(build(config), part)) for part in PARTS] == [12, 4, 4]


@pytest.mark.parametrize(
    ("arrays", "got"),
    [
        ({"length_train": LENGTH}, "length_train"),
        ({"length": LENGTH}, "length"),
        ({"mask_test": X[..., 0] > 0}, "mask_test"),
        ({"length_train": LENGTH, "length_test": LENGTH, "length_valid": LENGTH},
         "length_train, length_valid, length_test"),
    ],
)  # fmt: skip
def test_lengths_that_only_some_parts_have_are_refused(save, arrays, got):
    name = got[: got.index("_")] if "_" in got else got
    wanted = f"expected {name}_train, {name}_test beside x_train and x_test, or none of them"
    refused(save(x_train=X, x_test=X, **arrays), f"{wanted}, got {got}$")


def test_lengths_of_every_part_are_kept(save):
    splits = build(save(x_train=X, x_test=X, length_train=LENGTH, length_test=LENGTH))
    assert splits.test.lengths == LENGTH.tolist()


def test_arrays_that_are_no_labels_of_x_are_said_to_be_left_out(save):
    config = save(x=X, speaker=SPEAKER[1:])
    said = r"^array 'speaker' of data.npz is left out: of shape \(19,\), it has other rows than x$"
    with pytest.warns(UserWarning, match=said) as caught:
        assert not build(config).classes
    assert len(caught) == 1
    build(evolve(config, labels=()))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y_train": SPEAKER[1:]}, r"'y_train' .* \(19,\), it has other rows than x_train"),
        ({"y_test": SPEAKER[:8]}, r"'y_test' .* \(8,\), there is no 'y_train'"),
        ({"y": SPEAKER}, r"'y' .* \(20,\), its name says no part"),
    ],
)
def test_arrays_that_are_labels_of_no_part_are_said_to_be_left_out(save, arrays, said):
    with pytest.warns(UserWarning, match=said):
        build(save(x_train=X, x_test=X[:8], **arrays))


def test_classes_in_the_padding_of_a_local_label_are_none(save):
    phone = np.where(np.arange(6) < LENGTH[:, None], RNG.integers(0, 3, size=(20, 6)), 99)
    splits = build(save(x=X, length=LENGTH, phone=phone))
    assert splits.classes == {"phone": ("0", "1", "2")}
    assert splits.fitted["classes"] == {"phone": ["0", "1", "2"]}


def test_infinite_labels_are_refused_and_nan_is_missing(save):
    age, pitch = RNG.normal(size=20), RNG.normal(size=(20, 6))
    age[3], pitch[2, 5] = np.nan, -np.inf
    build(save(x=X, age=age, pitch=pitch, length=np.full(20, 5)))
    refused(save(x=X, pitch=pitch), "row 2, label 'pitch': expected a finite number, .* got -inf")
    age[7] = np.inf
    refused(save(x=X, age=age), "row 7, label 'age': expected a finite number, .* got inf")
    age[7] = 1e300  # infinite in float32
    refused(save(x=X, age=age), r"row 7, label 'age': expected a finite number, .* got 1e\+300")


@pytest.mark.parametrize("far", [np.float64(1e6), np.float64(1e9), np.int64(1 << 30)])
def test_values_far_from_zero_keep_their_digits_until_they_are_normalised(save, far):
    near = RNG.integers(-1000, 1000, size=(20, 6, 3))
    one, other = build(save(x=near.astype(far.dtype))), build(save(x=near + far))
    for item, moved in zip(everything(one), everything(other), strict=True):
        torch.testing.assert_close(item["x"], moved["x"], rtol=0, atol=1e-6)
        assert moved["x"].dtype == torch.float32


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.uint8, np.int16])
def test_what_float32_holds_exactly_is_normalised_as_float32(save, kind):
    x = (X * 5 + 60).astype(kind)
    splits = build(save(x=x))
    same = build(save(x=x.astype(np.float32)))
    assert splits.fitted == same.fitted
    for one, other in zip(everything(splits), everything(same), strict=True):
        assert torch.equal(one["x"], other["x"])


def test_what_was_fitted_survives_json_and_gives_the_same_items(save):
    config = save(x=X, length=LENGTH, speaker=SPEAKER)
    splits = build(config, 1)
    again = build(config, 1, json.loads(json.dumps(splits.fitted)))
    for one, other in zip(everything(splits), everything(again), strict=True):
        assert torch.equal(one["x"], other["x"])
        assert one["speaker"] == other["speaker"]


def test_without_normalisation_values_stay_as_they_are(save):
    images = RNG.integers(0, 256, size=(20, 4, 4), dtype=np.uint8)
    splits = build(evolve(save(x=images), time=False, normalise=False))
    assert "mean" not in splits.fitted
    values = torch.stack([item["x"] for item in everything(splits)])
    assert values.sum() == images.sum()


def test_settings_survive_plain_data(plugins, tmp_path):
    config = Arrays(path=tmp_path / "x.npy", labels=("a", "b"), split=SplitConfig(group="a"))
    assert structure_component("dataset", plain(config), plugins) == config


def test_pickled_arrays_are_never_read(save, tmp_path):
    config = save(x=X, notes=np.array([{"a": 1}] * 20, dtype=object))
    refused(config, "array 'notes': Python objects are never read; data.labels names those to read")
    assert len(everything(build(evolve(config, labels=())))) == 20
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(Arrays(path=path), "Python objects are never read")
    path.write_bytes(pickle.dumps({"x": 1}))
    refused(Arrays(path=path), "damaged, or not a NumPy file of numbers")


def test_damaged_files_are_named(save, tmp_path):
    config = save(x=X)
    content = config.path.read_bytes()
    config.path.write_bytes(content[: len(content) // 2])
    refused(config, "damaged, or not a NumPy file")
    config.path.write_bytes(content.replace(X[3].tobytes()[:16], b"\0" * 16))
    refused(config, "array 'x': damaged")
    np.savez_compressed(config.path, x=X)
    content = config.path.read_bytes()
    config.path.write_bytes(content[:300] + b"\xff" * 300 + content[600:])
    refused(config, "array 'x': damaged")
    config.path.write_bytes(b"")
    refused(config, "damaged, or not a NumPy file")
    refused(Arrays(path=tmp_path / "no.npy"), "cannot read .*no.npy: No such file")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": X}, "no array 'x'; known: y"),
        ({"x": X[:, 0, 0]}, r"expected numbers of shape \(N, T, \*frame\), got float64 \(20,\)"),
        ({"x": X.astype(str)}, "expected numbers of shape"),
        ({"x": X[:0]}, r"got float64 \(0, 6, 3\)"),
        ({"x": X * 1j}, "expected numbers or text, got complex128"),
        ({"x": X, "length": LENGTH * 0}, "array 'length': expected lengths in 1..6"),
        ({"x": X, "length": LENGTH + 9}, "array 'length': expected lengths in 1..6"),
        ({"x": X, "length": LENGTH[:3]}, "array 'length': expected lengths in 1..6"),
        ({"x": X, "mask": np.eye(20, 6) > 0}, "array 'mask': expected lengths in 1..6"),
        ({"x": X, "y": X}, r"array 'y': expected a label of shape \(20,\) or \(20, 6\)"),
        ({"x": X, "path": SPEAKER}, "a label cannot be called 'path'"),
        ({"x": np.where(np.eye(6, 3) > 0, np.nan, X)}, r"row \d+: 3 of 6 frames have NaN"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_named(save, arrays, said):
    refused(save(**arrays), said)


def test_data_with_other_frames_than_the_run_are_refused(save):
    fitted = build(save(x=X)).fitted
    with pytest.raises(DataError, match=r"frame is \[2\], the run's is \[3\]"):
        build(save(x=X[..., :2]), fitted=fitted)
    unscaled = {key: value for key, value in fitted.items() if key != "mean"}
    with pytest.raises(DataError, match="3 channels, 'mean' of 0"):
        build(save(x=X), fitted=unscaled)


def test_a_large_npy_file_is_mapped_and_read_row_by_row(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(np.float32))
    splits = build(Arrays(path=tmp_path / "x.npy", normalise=False))
    assert isinstance(splits.train.examples.x, np.memmap)
    assert sorted(one["x"].sum().item() for one in everything(splits)) == pytest.approx(
        sorted(X.sum((1, 2)).tolist()), rel=1e-5
    )


def test_normalisation_is_undone_by_restore(save):
    splits = build(save(x=X))
    restored = splits.restore(splits.train[0]["x"].numpy())
    row = int(splits.train.names[0].removeprefix("row "))
    np.testing.assert_allclose(restored, X[row], rtol=1e-5)
