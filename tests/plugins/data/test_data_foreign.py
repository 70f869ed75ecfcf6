"""Data that other libraries hold: torch data sets, and Hugging Face's on the disk."""

import io
import json
import pickle
import sys

import numpy as np
import pytest
import tiny
import torch
from attrs import evolve
from reading import build
from torch.utils.data import Dataset, TensorDataset

from seqvae_core import Experiment, Trainer
from seqvae_core.components import DataRequest
from seqvae_core.config import plain, structure_component
from seqvae_core.errors import DataError
from seqvae_core.loading import check_splits, data_shapes, iterate
from seqvae_core.runs import train
from seqvae_core.testing import check_component
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.foreign import from_torch
from seqvae_data.foreign.config import HuggingFace

RNG = np.random.default_rng(0)
PARTS = ("train", "valid", "test")


def sizes(splits):
    return [len(getattr(splits, part)) for part in PARTS]


def everything(splits):
    return [item for part in PARTS for item in getattr(splits, part)]


def same(one, other):
    pairs = zip(everything(one), everything(other), strict=True)
    return all(torch.equal(mine["x"], theirs["x"]) for mine, theirs in pairs)


# Torch data sets ---------------------------------------------------------------------------------


class Listed(Dataset):
    """Items of a list, which counts how often it is read."""

    def __init__(self, items, **about):
        self.items = items
        self.read = 0
        self.__dict__.update(about)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.read += 1
        return self.items[index]


def walks(count=20, channels=3):
    generator = torch.Generator().manual_seed(0)
    return [
        {"x": torch.randn(4 + i % 3, channels, generator=generator), "speaker": i % 4,
         "age": i / 7, "phone": torch.arange(4 + i % 3)}
        for i in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "time", "item"),
    [
        ((6, 3), True, (6, 3)), ((6,), True, (6, 1)), ((6, 1, 4, 5), True, (6, 1, 4, 5)),
        ((3, 4, 5), False, (1, 3, 4, 5)), ((4, 5), False, (1, 1, 4, 5)), ((7,), False, (1, 7)),
    ],
)  # fmt: skip
def test_x_is_a_sequence_or_one_frame(shape, time, item):
    splits = check_splits(from_torch(TensorDataset(torch.randn(20, *shape)), time=time))

    assert sizes(splits) == [14, 2, 4]
    assert {tuple(one["x"].shape) for one in everything(splits)} == {item}
    assert splits.fitted == {"frame": list(item[1:])}
    assert splits.restore is None


def test_tuples_have_labels_by_name_and_class_names_of_their_own():
    items = [(torch.full((1, 4, 4), i / 20), i % 2) for i in range(20)]
    splits = from_torch(Listed(items, classes=["cat", "dog"]), time=False)

    assert splits.classes == {"label": ("cat", "dog")}
    assert all(item["label"] == round(20 * item["x"].max().item()) % 2
               for item in everything(splits))  # fmt: skip
    splits = from_torch(Listed([(*item, 0.5) for item in items]), labels=("digit", "age"))
    labels = data_shapes(splits).labels
    assert {name: label.family for name, label in labels.items()} == {
        "digit": "class", "age": "number"}  # fmt: skip
    assert from_torch(Listed(items), labels=()).train[0].keys() == {"x"}


def test_dicts_have_labels_of_both_scopes():
    splits = from_torch(Listed(walks()), classes={"speaker": list("abcd")})

    labels = data_shapes(splits).labels
    assert {name: (label.scope, label.family) for name, label in labels.items()} == {
        "speaker": ("global", "class"), "age": ("global", "number"), "phone": ("local", "class"),
    }  # fmt: skip
    assert splits.classes == {"speaker": ("a", "b", "c", "d")}
    assert from_torch(Listed(walks()), labels=("age",)).train[0].keys() == {"x", "age"}


def test_frames_beyond_the_length_are_no_frames():
    x = torch.randn(5, 2)
    items = [{"x": x, "length": 3}, {"x": x, "mask": [1, 1, 1, 0, 0]}] * 5
    for item in everything(from_torch(Listed(items), normalise=True)):
        assert item["x"].shape == (3, 2)


def test_pictures_of_eight_bits_are_brought_to_one():
    image = pytest.importorskip("PIL.Image")
    pixels = RNG.integers(0, 256, size=(4, 5, 3), dtype=np.uint8)
    picture = image.fromarray(pixels)
    grey = image.fromarray(pixels[..., 0])
    colours = np.moveaxis(pixels, -1, 0)
    tensor = torch.from_numpy(colours.copy())
    for x, wanted in [(picture, colours), (grey, colours[:1]), (tensor, colours)]:
        item = from_torch(Listed([(x, 0)] * 5), time=False).train[0]
        assert item["x"].shape == (1, *wanted.shape)
        np.testing.assert_allclose(item["x"][0], wanted / np.float32(255))


def test_text_is_looked_up_in_the_classes():
    items = [(torch.ones(2, 1), name) for name in ("bob", "ann", "", "ann", "bob")]
    data = Listed(items)
    splits = from_torch(data, labels=("who",), classes={"who": ("ann", "bob")})

    assert sorted(item["who"].item() for item in everything(splits)) == [-1, 0, 0, 1, 1]
    with pytest.raises(DataError, match="item 0: label 'who' is text, 'bob': name its classes"):
        from_torch(data, labels=("who",))
    with pytest.raises(DataError, match="item 0: label 'who' is 'bob', which is no class of it"):
        from_torch(data, labels=("who",), classes={"who": ("ann",)})


def test_items_are_read_when_they_are_asked_for():
    data = Listed(walks(1000))

    splits = from_torch(data)

    assert data.read < 5
    assert splits.train.lengths is None
    assert from_torch(Listed(walks(), lengths=list(range(20)))).train.lengths is not None
    assert set(from_torch(TensorDataset(torch.ones(9, 4)), time=False).train.lengths) == {1}


def test_lengths_and_names_are_those_of_the_part():
    items = walks()
    splits = from_torch(Listed(items, lengths=[len(item["x"]) for item in items]))
    for part in PARTS:
        data = getattr(splits, part)
        assert data.lengths == [len(item["x"]) for item in data]
        for name, item in zip(data.names, data, strict=True):
            assert torch.equal(items[int(name.split()[1])]["x"], item["x"])


def test_an_official_test_part_is_kept():
    first, second = Listed(walks(20)), Listed(walks(6))
    splits = from_torch(first, test=second, split=SplitConfig(valid=0.25))

    assert sizes(splits) == [15, 5, 6]
    assert splits.test.names == [f"test item {i}" for i in range(6)]
    assert all(torch.equal(one["x"], other["x"])
               for one, other in zip(splits.test, second, strict=True))  # fmt: skip


def test_groups_stay_within_one_part_and_rules_see_class_names():
    data, classes = Listed(walks()), {"speaker": list("abcd")}
    splits = from_torch(data, split=SplitConfig(group="speaker", test=0.25), classes=classes)
    groups = [{int(item["speaker"]) for item in getattr(splits, part)} for part in PARTS]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 4

    rule = SplitConfig(label="speaker", pattern="[ab]")
    splits = from_torch(data, split=rule, classes=classes)
    assert {int(item["speaker"]) for item in splits.test} == {0, 1}


def test_normalised_channels_have_mean_0_and_standard_deviation_1_on_train():
    splits = from_torch(Listed(walks()), normalise=True)
    x = torch.cat([item["x"] for item in splits.train]).double()
    assert x.mean(0).abs().max() < 1e-6
    assert (x.std(0, correction=0) - 1).abs().max() < 1e-6
    raw = from_torch(Listed(walks())).test[0]["x"]
    np.testing.assert_allclose(splits.restore(splits.test[0]["x"].numpy()), raw, atol=1e-6)

    again = from_torch(
        Listed(walks()), normalise=True,
        request=DataRequest(fitted=json.loads(json.dumps(splits.fitted))),
    )  # fmt: skip
    assert same(splits, again)
    with pytest.raises(DataError, match=r"frame is \[2\], the run's is \[3\]"):
        from_torch(Listed(walks(channels=2)), request=DataRequest(fitted=splits.fitted))
    with pytest.raises(DataError, match="fit the run: it was not normalised"):
        from_torch(Listed(walks()), normalise=True, request=DataRequest(fitted={"frame": [3]}))


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("text", "item 0: expected x as numbers, got str"),
        (torch.tensor(3.0), r"item 0: expected x as numbers \(T,\) or \(T, \*frame\), got \(\)"),
        (torch.zeros(0, 3), "item 0: expected x of shape"),
        (torch.tensor([[np.nan]]), "item 0: 1 of 1 values are NaN or infinite"),
        ({"y": 3}, "item 0: expected 'x', got a dict with y"),
        ((torch.ones(3), 1, 2), "items are x and 2 labels: name them"),
        ((torch.ones(3), [1, 2]), "item 0: expected label 'label' of shape"),
    ],
)
def test_an_item_that_cannot_be_used_is_named(item, said):
    with pytest.raises(DataError, match=said) as caught:
        from_torch(Listed([item] * 5))
    assert "\n" not in str(caught.value)


def test_items_that_differ_from_the_first_are_named():
    with pytest.raises(DataError, match=r"item \d+: expected frames \(3,\), got \(2,\)"):
        everything(from_torch(Listed(walks(5) + walks(1, channels=2))))
    with pytest.raises(DataError, match="item 3: expected x and the labels label, got 1 values"):
        everything(from_torch(Listed([(torch.ones(2), 1)] * 3 + [(torch.ones(2),)])))
    with pytest.raises(DataError, match="the data set is empty"):
        from_torch(Listed([]))


def test_an_experiment_trains_on_a_torch_data_set(tmp_path, plugins):
    experiment = Experiment.load(tiny.write_experiment(tmp_path, steps=2), plugins)
    trainer = Trainer(experiment, from_torch(Listed(walks()), normalise=True))
    steps = []

    trainer.fit(log=lambda step, metrics: steps.append(step))

    assert steps == [1, 2]


# Hugging Face ------------------------------------------------------------------------------------

NAMES = ["cleo", "ann", "bob"]
LENGTHS = RNG.integers(3, 9, size=20).tolist()
COLUMNS = {
    "x": [RNG.normal(3.0, 2.0, size=(length, 3)).tolist() for length in LENGTHS],
    "speaker": [i % 3 for i in range(20)],
    "age": [None if i == 7 else i / 7 for i in range(20)],
    "phone": [RNG.integers(0, 2, size=length).tolist() for length in LENGTHS],
    "town": ["york" if i % 2 else None for i in range(20)],
}


@pytest.fixture(scope="module")
def datasets():
    return pytest.importorskip("datasets")


@pytest.fixture
def table(datasets):
    """Return the made-up rows as a data set of the library."""
    return datasets.Dataset.from_dict(COLUMNS, features=datasets.Features({
        "x": datasets.List(datasets.List(datasets.Value("float32"))),
        "speaker": datasets.ClassLabel(names=NAMES),
        "age": datasets.Value("float32"),
        "phone": datasets.List(datasets.ClassLabel(names=["a", "b"])),
        "town": datasets.Value("string"),
    }))  # fmt: skip


@pytest.fixture
def save(tmp_path):
    def save(data, **settings):
        folder = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
        data.save_to_disk(folder)
        return HuggingFace(path=folder, cache=CacheConfig(folder=tmp_path / "cache"), **settings)

    return save


def refused(config, said):
    with pytest.raises(DataError, match=said) as caught:
        everything(build(config))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_saved_data_set_gives_its_rows_with_labels_of_both_scopes(table, save):
    splits = build(save(table, normalise=False))

    assert sizes(splits) == [14, 2, 4]
    for part in PARTS:
        data = getattr(splits, part)
        assert data.lengths == [len(item["x"]) for item in data]
        for name, item in zip(data.names, data, strict=True):
            row = int(name.removeprefix("row "))
            np.testing.assert_allclose(item["x"], COLUMNS["x"][row], rtol=1e-6)
            assert splits.classes["speaker"][item["speaker"]] == NAMES[row % 3]
            assert item["phone"].tolist() == COLUMNS["phone"][row]
            assert (item["age"] != item["age"]) is (row == 7)
    assert splits.classes == {"speaker": ("ann", "bob", "cleo"), "phone": ("a", "b")}


def test_text_is_a_label_when_it_is_named_and_null_is_missing(table, save):
    splits = build(save(table, labels=("town",)))
    assert splits.classes == {"town": ("york",)}
    assert {item["town"] for item in everything(splits)} == {-1, 0}


def test_arrow_files_of_both_kinds_are_those_of_the_folder(table, save, tmp_path):
    import pyarrow

    config = save(table)
    (stream,) = config.path.glob("*.arrow")
    whole = pyarrow.ipc.open_stream(stream.read_bytes()).read_all()
    with pyarrow.ipc.new_file(tmp_path / "file.arrow", whole.schema) as writer:
        writer.write_table(whole)

    wanted = build(config)
    for path in (stream, tmp_path / "file.arrow"):
        got = build(evolve(config, path=path))
        assert got.classes["speaker"] == ("ann", "bob", "cleo")
        assert same(got, wanted)


@pytest.mark.parametrize("keep", [True, False])
def test_parquet_files_tell_their_split_and_are_converted_once(table, tmp_path, keep):
    folder = tmp_path / "parquet"
    (folder / "data").mkdir(parents=True)
    table.select(range(8)).to_parquet(folder / "data/train-00000-of-00002.parquet")
    table.select(range(8, 12)).to_parquet(folder / "data/train-00001-of-00002.parquet")
    table.select(range(12, 20)).to_parquet(folder / "data/test-00000-of-00001.parquet")
    cache = CacheConfig(folder=tmp_path / "cache", keep=keep)
    config = HuggingFace(path=folder, cache=cache, normalise=False)

    splits = build(config)

    assert sorted(len(getattr(splits, part)) for part in PARTS) == [1, 8, 11]
    assert sorted(splits.test.names) == sorted(f"row {row}" for row in range(12, 20))
    np.testing.assert_allclose(splits.test[0]["x"], COLUMNS["x"][12], rtol=1e-6)
    assert splits.classes["speaker"] == ("ann", "bob", "cleo")
    assert len(list(tmp_path.glob("cache/tables/*.arrow"))) == (2 if keep else 0)


def test_parquet_files_without_a_split_in_their_names_are_shared(table, tmp_path):
    (tmp_path / "files").mkdir()
    table.to_parquet(tmp_path / "files/part-0.parquet")
    table.to_parquet(tmp_path / "files/part-1.parquet")
    config = HuggingFace(path=tmp_path / "files", cache=CacheConfig(folder=tmp_path / "cache"))
    assert sizes(build(config)) == [29, 3, 8]
    table.to_parquet(tmp_path / "files/test.parquet")
    refused(config, r"part-0\.parquet: neither its name nor its folder tells a split")


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        (("train",), [14, 2, 4]),
        (("train", "test"), [18, 2, 3]),
        (("train", "validation"), [16, 3, 4]),
        (("train", "valid", "test"), [20, 3, 3]),
        (("test", "dev", "train", "unsupervised"), [20, 3, 3]),
    ],
)
def test_the_splits_of_a_dict_are_the_parts(datasets, table, save, parts, wanted):
    data = {part: table if part == "train" else table.select(range(3)) for part in parts}
    assert sizes(build(save(datasets.DatasetDict(data)))) == wanted


def test_arrays_of_fixed_shape_and_single_frames_are_read(datasets, save):
    images = RNG.integers(0, 256, size=(20, 4, 5)).astype(np.uint8)
    features = datasets.Features({"x": datasets.Array2D((4, 5), "uint8")})
    data = datasets.Dataset.from_dict({"x": images}, features=features)

    config = save(data, time=False, normalise=False)
    splits = build(config)
    assert data_shapes(splits).frame == (1, 4, 5)
    assert sum(item["x"].sum() for item in everything(splits)) == images.sum()
    assert data_shapes(build(evolve(config, time=True))).frame == (5,)


def test_images_and_clips_are_decoded_and_brought_to_one(datasets, save):
    image = pytest.importorskip("PIL.Image")
    pixels = RNG.integers(0, 256, size=(20, 6, 4, 3), dtype=np.uint8)

    def encoded(value):
        content = io.BytesIO()
        image.fromarray(value).save(content, format="PNG")
        return {"bytes": content.getvalue(), "path": None}

    data = datasets.Dataset.from_dict(
        {"picture": [encoded(one) for one in pixels],
         "clip": [[encoded(one[..., 0])] * (1 + i % 3) for i, one in enumerate(pixels)]},
        features=datasets.Features(
            {"picture": datasets.Image(), "clip": datasets.List(datasets.Image(decode=False))}
        ),
    )  # fmt: skip
    config = save(data, x="picture")
    splits = build(config)
    assert "mean" not in splits.fitted
    for name, item in zip(splits.train.names, splits.train, strict=True):
        wanted = np.moveaxis(pixels[int(name[4:])], -1, 0)
        np.testing.assert_allclose(item["x"][0], wanted / np.float32(255))
    clips = build(evolve(config, x="clip"))
    assert data_shapes(clips).frame == (1, 6, 4)
    assert set(clips.train.lengths) == {1, 2, 3}

    damaged = datasets.Dataset.from_dict(
        {"x": [encoded(pixels[0])] * 19 + [{"bytes": b"\x89PNG junk", "path": None}]},
        features=datasets.Features({"x": datasets.Image()}),
    )
    refused(save(damaged), "column 'x', row 19: an image is damaged, or of an unknown format")
    other = [encoded(pixels[0])] * 19 + [encoded(pixels[0][:3])]
    other = datasets.Dataset.from_dict({"x": other}, features=damaged.features)
    refused(save(other), r"row 19: expected images \(3, 6, 4\) as in row 0, got \(3, 3, 4\)")


@pytest.fixture
def sounds(datasets, tone):
    soundfile = pytest.importorskip("soundfile")

    def encoded(i):
        content = io.BytesIO()
        soundfile.write(content, tone(300 + 40 * i, 0.2, seed=i), 16000, format="WAV")
        return {"bytes": content.getvalue(), "path": f"{i}.wav"}

    data = datasets.Dataset.from_dict(
        {"audio": [encoded(i) for i in range(12)], "word": [i % 2 for i in range(12)]}
    )
    return data.cast_column("audio", datasets.Audio(decode=False))


def test_features_of_audio_are_computed_once(sounds, save, monkeypatch):
    from seqvae_data.speech import audio

    config = save(sounds, x="audio")
    splits = build(config)
    assert data_shapes(splits).frame == (40,)
    assert splits.fitted["sample_rate"] == 16000
    assert sizes(splits) == [9, 1, 2]

    monkeypatch.setattr(audio, "read", None)
    again = build(config)
    assert torch.equal(again.train[0]["x"], splits.train[0]["x"])


def test_audio_that_cannot_be_used_is_named_or_left_out(datasets, sounds, save):
    rows = sounds.to_dict()
    rows["audio"][3] = {"bytes": rows["audio"][3]["bytes"][:900], "path": None}
    rows["audio"][5] = {"bytes": b"", "path": None}
    data = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    data = datasets.DatasetDict(train=data, test=sounds.select(range(2)))
    config = save(data, x="audio")

    refused(config, "column 'audio', row 3: is truncated: 900 bytes")
    with pytest.warns(UserWarning, match="left out 2 files: .*row 5: holds no audio"):
        splits = build(evolve(config, on_error="skip"))
    assert sizes(splits) == [9, 1, 2]
    assert splits.test.names == ["row 12", "row 13"]


def test_audio_of_two_rates_is_refused_unless_resampled(datasets, sounds, save):
    pytest.importorskip("soxr")
    soundfile = pytest.importorskip("soundfile")
    rows = sounds.to_dict()
    content = io.BytesIO()
    soundfile.write(content, RNG.normal(size=4000) / 9, 8000, format="WAV")
    rows["audio"][3] = {"bytes": content.getvalue(), "path": None}
    data = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    config = save(data, x="audio")

    refused(config, "row 3: sampled at 8000 Hz, .*row 0 at 16000 Hz: set data.sample_rate")
    assert build(evolve(config, sample_rate=8000)).fitted["sample_rate"] == 8000


def test_worker_processes_open_the_table_themselves(table, save):
    splits = build(save(table))
    content = pickle.dumps(splits.train)
    assert len(content) < 20_000
    assert torch.equal(pickle.loads(content)[3]["x"], splits.train[3]["x"])


def changed(table, **columns):
    data = table.to_dict() | ({"phone": None} if "x" in columns else {}) | columns
    return table.from_dict({name: value for name, value in data.items() if value is not None})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x": [[[1.0, 2.0]]] * 19 + [[[1.0, 2.0], [3.0]]]},
         "column 'x', row 19: expected frames of one shape, got lists of 1 and 2"),
        ({"x": [[[1.0, 2.0]]] * 19 + [[[1.0]]]},
         r"row 19: expected frames \(2,\) as in row 0, got \(1,\)"),
        ({"x": [[[1.0]]] * 19 + [[[None]]]}, "row 19: 1 of 1 values are missing"),
        ({"x": [[[1.0]]] * 19 + [[[float("nan")]]]}, "row 19: 1 of 1 values are NaN"),
        ({"x": [[[1.0]]] * 19 + [None]}, "column 'x', row 19: is missing or empty"),
        ({"x": [[[1.0]]] * 19 + [[]]}, "column 'x', row 19: is missing or empty"),
        ({"x": [[["a"]]] * 20}, "column 'x', row 0: expected numbers, got string"),
        ({"x": ["a"] * 20}, "column 'x': expected lists of numbers, images or audio, got"),
        ({"x": None, "y": [1] * 20}, "no column 'x'; known: age, speaker, town, y"),
        ({"phone": [[1]] * 20}, r"column 'phone', row \d+: 1 labels of \d frames; data\.labels"),
        ({"path": [1] * 20, "labels": ("path",)}, "a label cannot be called 'path'"),
        ({"labels": ("spaeker",)}, "no column 'spaeker'; did you mean 'speaker'"),
        ({"when": [{"a": 1}] * 20, "labels": ("when",)}, "'when': expected classes, numbers or"),
        ({"big": np.full(20, 2**63, np.uint64), "labels": ("big",)}, "column 'big': damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_columns_that_cannot_be_used_are_named(table, save, columns, said):
    labels = columns.pop("labels", None)
    config = save(changed(table, **columns), labels=labels, normalise=False)
    assert str(config.path) in refused(config, said)


def test_damaged_files_are_named(table, save, tmp_path):
    config = save(table)
    (file,) = config.path.glob("*.arrow")
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], content[:50], b"", b"junk" * 99):
        file.write_bytes(damaged)
        refused(config, f"{config.path}: damaged, or of another format")
        refused(evolve(config, path=file), f"{file}: damaged, or of another format")
    file.write_bytes(content)
    (config.path / "state.json").write_text("{")
    refused(config, f"{config.path}: damaged")
    (config.path / "dataset_dict.json").write_text("[]")
    refused(config, r"dataset_dict\.json: damaged")
    (config.path / "dataset_dict.json").write_text('{"splits": ["dev"]}')
    refused(config, "no split 'train'; known: dev")
    (config.path / "dataset_dict.json").write_text('{"splits": ["train", "val", "dev"]}')
    refused(config, "two splits for one part: train, val, dev")


def test_offsets_that_point_nowhere_are_refused(table, save):
    """Such a table would end the process if it were read."""
    config = save(table)
    (file,) = config.path.glob("*.arrow")
    content = file.read_bytes()
    offsets = np.cumsum([0, *LENGTHS]).astype("<i4").tobytes()
    assert offsets in content
    file.write_bytes(content.replace(offsets, offsets[:-4] + b"\xff\xff\xff\x7f"))
    refused(config, "column '(x|phone)': damaged")


def test_damaged_parquet_files_are_named(table, tmp_path):
    (tmp_path / "files").mkdir()
    file = tmp_path / "files/a.parquet"
    table.to_parquet(file)
    content = file.read_bytes()
    config = HuggingFace(path=tmp_path / "files", cache=CacheConfig(folder=tmp_path / "cache"))
    for damaged in (content[:-20], b"", content[:4] + bytes(len(content) - 100) + content[-96:]):
        file.write_bytes(damaged)
        refused(config, f"{file}: damaged")
    file.write_bytes(content)
    table.remove_columns("age").to_parquet(tmp_path / "files/b.parquet")
    refused(config, r"b\.parquet: the columns are not those of .*a\.parquet")
    assert list(tmp_path.glob("cache/tables/.*")) == []


def test_places_without_a_data_set_are_named(tmp_path):
    refused(HuggingFace(path=tmp_path / "no"), "no such folder or file: .*/no")
    refused(HuggingFace(path=tmp_path), "expected a folder of save_to_disk or of .parquet files")


def test_parts_with_other_columns_are_refused(datasets, table, save):
    data = datasets.DatasetDict(train=table, test=table.remove_columns("age"))
    refused(save(data), "the columns of test are not those of train")


def test_without_the_library_the_extra_is_named(table, save, monkeypatch):
    config = save(table)
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused(config, r"needs datasets: pip install 'seqvae\[huggingface\]'")


def test_a_saved_data_set_keeps_the_contract(table, save, plugins):
    config = save(table, labels=("speaker", "age", "phone"), normalise=True)
    check_component(config)
    check_component(evolve(config, split=SplitConfig(group="speaker", test=0.4)))
    assert structure_component("dataset", plain(config), plugins) == config


def test_an_experiment_trains_on_a_saved_data_set(table, save, tmp_path, plugins):
    experiment = Experiment.load(tiny.write_experiment(tmp_path, steps=2), plugins)
    experiment = evolve(experiment, data=save(table), tasks=())

    run = train(experiment, tmp_path / "run", plugins=plugins, accelerator="cpu")

    assert tiny.steps_of(run.path) == [1, 2]
    assert next(iterate(run.splits.test)).labels.keys() == {"speaker", "age", "phone"}
