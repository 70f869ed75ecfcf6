"""The Sprites clips in both of their layouts."""

from itertools import product

import numpy as np
import pytest
from attrs import evolve
from reading import build, refused

from seqvae_core import Experiment, Trainer
from seqvae_core.errors import DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.images.config import Sprites
from seqvae_data.images.sprites import pixels

ACTIONS, DIRECTIONS = ("walk", "spellcard", "slash"), ("front", "left", "right")


def clips(characters, seed):
    """Return the arrays of a part, character by character, then action, then direction."""
    rng = np.random.default_rng(seed)
    rows = list(product(characters, range(3), range(3)))
    character, action, direction = (np.array(column) for column in zip(*rows, strict=True))
    attributes = np.stack([character // 6**i % 6 for i in (3, 2, 1, 0)], 1)
    return {
        "frames": rng.integers(256, size=(len(rows), 4, 16, 16, 3), dtype=np.uint8),
        "attributes": attributes.astype(np.uint8),
        "action": action.astype(np.uint8),
        "direction": direction.astype(np.uint8),
        "action_names": np.array(ACTIONS),
        "direction_names": np.array(DIRECTIONS),
    }


PARTS = {"train": clips((3, 50, 700, 1295), 0), "test": clips((0, 216), 1)}


def write_archives(folder):
    folder.mkdir()
    for part, arrays in PARTS.items():
        np.savez_compressed(folder / f"sprites_{part}.npz", **arrays)
    return folder


def write_arrays(folder):
    folder.mkdir()
    for part, arrays in PARTS.items():
        for (a, action), (d, direction) in product(enumerate(ACTIONS), enumerate(DIRECTIONS)):
            rows = (arrays["action"] == a) & (arrays["direction"] == d)
            frames = (arrays["frames"][rows] / 256).astype(np.float32)
            one_hot = np.eye(6, dtype=np.float32)[arrays["attributes"][rows]]
            repeated = np.repeat(one_hot[:, None], 4, 1)
            np.save(folder / f"{action}_{direction}_frames_{part}.npy", frames)
            np.save(folder / f"{action}_{direction}_attributes_{part}.npy", repeated)
    return folder


@pytest.fixture(params=[write_archives, write_arrays])
def config(request, tmp_path):
    return Sprites(root=request.param(tmp_path / "sprites"))


def content(part):
    """Return what a part holds, whatever its order."""
    return sorted(
        (*(int(v) for k, v in sorted(item.items()) if k != "x"), item["x"].numpy().tobytes())
        for item in part
    )


def test_clips_keep_their_contract(config):
    check_component(config)
    check_component(evolve(config, normalise=True))


def test_parts_are_of_different_characters(config):
    splits = build(config)
    characters = [
        {splits.classes["character"][item["character"]] for item in getattr(splits, part)}
        for part in ("train", "valid", "test")
    ]
    assert [len(found) for found in characters] == [3, 1, 2]
    assert characters[2] == {"0", "216"}
    assert len(set().union(*characters)) == 6


def test_labels_are_the_attributes_and_the_movement(config):
    splits = build(config)
    assert data_shapes(splits).frame == (3, 16, 16)
    assert splits.classes["action"] == ("slash", "spellcard", "walk")
    names = ("body", "bottom", "top", "hair", "character")
    for item in splits.test:
        *digits, character = (int(splits.classes[name][item[name]]) for name in names)
        assert digits == [character // 6**i % 6 for i in (3, 2, 1, 0)]


def test_both_layouts_give_the_same_clips(tmp_path):
    one = build(Sprites(root=write_archives(tmp_path / "npz")))
    other = build(Sprites(root=write_arrays(tmp_path / "npy").parent))
    again = build(Sprites(root=tmp_path / "npy"))
    for part in ("train", "valid", "test"):
        assert content(getattr(one, part)) == content(getattr(again, part))
        assert content(getattr(other, part)) == content(getattr(again, part))
    assert one.classes == again.classes


def test_floats_that_are_no_bytes_are_refused():
    with pytest.raises(DataError, match="multiples of 1/256"):
        pixels(np.full((1, 2, 2, 3), 0.3))
    with pytest.raises(DataError, match="multiples of 1/256"):
        pixels(np.full((1, 2, 2, 3), np.nan))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("frames", np.zeros((36, 4, 16, 16), np.uint8), r"\(N, T, H, W, 3\)"),
        ("frames", PARTS["train"]["frames"][:5], "36 values of 'body' for 5 clips"),
        ("frames", np.array([{}] * 36), "Python objects"),
        ("attributes", np.full((36, 4), 6), "integers below 6"),
        ("attributes", np.zeros((36, 3), int), "integers below 6"),
        ("attributes", np.zeros((36, 4)), "got float64"),
        ("action", np.full(36, 3), "array 'action': .* integers below 3"),
        ("direction", np.zeros((36, 2), int), "array 'direction'"),
    ],
)
def test_arrays_that_cannot_be_used_are_named_in_one_line(tmp_path, name, value, said):
    root = write_archives(tmp_path / "npz")
    np.savez(root / "sprites_train.npz", **{**PARTS["train"], name: value})
    refused(Sprites(root=root), f"sprites_train.npz.*{said}")


def test_files_that_cannot_be_used_are_named_in_one_line(tmp_path):
    root = write_arrays(tmp_path / "npy")
    attributes = root / "walk_left_attributes_train.npy"
    good = np.load(attributes)
    for value, said in (
        (good[:, :, :3], r"expected \(N, T, 4, 6\)"),
        (good * 0.5, "a single 1 among zeros"),
        (np.concatenate([good[:, :1], np.roll(good[:, 1:], 1, 3)], 1), "change within a clip"),
        (good[:2], "2 values of 'body' for 4 clips"),
    ):
        np.save(attributes, value)
        refused(Sprites(root=root), f"walk_left_.*{said}")
    attributes.write_bytes(b"\x93NUMPY")
    refused(Sprites(root=root), "walk_left_attributes_train.npy: damaged")
    attributes.unlink()
    refused(Sprites(root=root), "walk_left_attributes_train.npy: No such file")


def test_a_folder_without_clips_is_named(tmp_path):
    refused(Sprites(root=tmp_path), "no sprites_train.npz in .*, nor walk_front_frames_train.npy")


def test_the_preset_trains_on_clips(tmp_path, plugins):
    root = write_archives(tmp_path / "npz")
    changes = [f"data.root={root}", "train.steps=2", "train.batch_size=4"]
    experiment = Experiment.load("sprites", plugins, changes)
    steps = []
    trainer = Trainer(experiment, build(experiment.data))
    trainer.fit(log=lambda step, metrics: steps.append(step))
    assert steps == [1, 2]


def test_the_real_clips_are_read(shared_data):
    splits = build(Sprites(root=shared_data / "sprites_lpc"))
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [810, 90, 270]
    assert len(splits.classes["character"]) == 130
    assert splits.train[0]["x"].shape == (8, 3, 64, 64)
    stored = np.load(shared_data / "sprites_lpc" / "sprites_test.npz")
    character = [int(splits.classes["character"][i["character"]]) for i in splits.test]
    assert character == stored["character"].tolist()
