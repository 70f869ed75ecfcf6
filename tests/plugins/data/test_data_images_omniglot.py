"""Omniglot's zip files, as images and as strokes."""

import io
import zipfile

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from reading import build, refused

from seqvae_core import Experiment, Trainer
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import SplitConfig
from seqvae_data.images.config import OmniglotImages, OmniglotStrokes
from seqvae_data.images.omniglot import parse_strokes

Image = pytest.importorskip("PIL.Image")

DRAWER_3 = SplitConfig(label="drawer", pattern=".*/03", valid=0.25)
STROKES = b"START\n10,-20,0\n12,-21,100\n16,-21,200\nBREAK\n5,-5,900\nBREAK\n"


def png(seed=0, size=105, mode="1"):
    ink = np.random.default_rng(seed).uniform(size=(size, size)) < 0.1
    buffer = io.BytesIO()
    Image.fromarray(~ink).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def strokes(seed):
    rng = np.random.default_rng(seed)
    lines = ["START"]
    for stroke in range(1 + seed % 2):
        points = rng.uniform(0, 105, size=(3 + seed % 4, 2))
        lines += [f"{x:.3f},{-y:.3f},{500 * stroke + 40 * i}" for i, (x, y) in enumerate(points)]
        lines.append("BREAK")
    return "\n".join(lines).encode()


def write(path, content, ending, changed=None):
    top, seed = path.stem, 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{top}/", b"")
        archive.writestr(f"__MACOSX/{top}/._.DS_Store", b"x")
        archive.writestr(f"{top}/.DS_Store", b"x")
        for alphabet in ("Greek", "Latin"):
            for character in ("character01", "character02"):
                for drawer in ("01", "02", "03"):
                    seed += 1
                    name = f"{top}/{alphabet}/{character}/{seed:04}_{drawer}.{ending}"
                    archive.writestr(name, content(seed))
        for name, other in (changed or {}).items():
            archive.writestr(f"{top}/{name}", other)
    return path


@pytest.fixture
def images(tmp_path):
    write(tmp_path / "images_background.zip", png, "png")
    return OmniglotImages(root=tmp_path, split=DRAWER_3, size=14)


@pytest.fixture
def drawings(tmp_path):
    write(tmp_path / "strokes_background.zip", strokes, "txt")
    return OmniglotStrokes(root=tmp_path, split=DRAWER_3)


def test_drawings_keep_their_contract(images, drawings):
    check_component(images)
    check_component(drawings)
    check_component(evolve(drawings, step_ms=15.0, normalise=False))


def test_labels_come_from_the_members_names_and_a_rule_takes_drawers(images):
    splits = build(images)
    assert splits.classes["alphabet"] == ("Greek", "Latin")
    assert "Greek/character02" in splits.classes["character"]
    assert {splits.classes["drawer"][item["drawer"]] for item in splits.test} == {
        "Greek/03", "Latin/03",
    }  # fmt: skip
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [6, 2, 4]
    assert splits.test.names[0] == "images_background/Greek/character01/0003_03"


def test_ink_is_1_and_smaller_images_have_the_same_mean(images):
    large, small = build(evolve(images, size=None)), build(images)
    assert data_shapes(large).frame == (1, 105, 105)
    assert data_shapes(small).frame == (1, 14, 14)
    x = large.train[0]["x"]
    assert set(np.unique(x)) == {0.0, 1.0}
    assert 0.05 < x.mean() < 0.15
    assert float(small.train[0]["x"].mean()) == pytest.approx(float(x.mean()), abs=0.002)


def test_strokes_are_steps_of_the_pen_with_its_lifts():
    frames = parse_strokes(STROKES)
    assert frames.tolist() == [[0, 0, 0], [2, -1, 0], [4, 0, 1], [-11, 16, 1]]


def test_strokes_are_sampled_anew_in_time():
    frames = parse_strokes(STROKES, 50.0)
    assert frames.tolist() == [
        [0, 0, 0], [1, -0.5, 0], [1, -0.5, 0], [2, 0, 0], [2, 0, 1], [-11, 16, 1],
    ]  # fmt: skip


@given(step=st.floats(1.0, 1000.0), seed=st.integers(0, 50))
def test_sampling_anew_keeps_lifts_and_the_way_from_the_first_point_to_the_last(step, seed):
    recorded, sampled = parse_strokes(strokes(seed)), parse_strokes(strokes(seed), step)
    assert sampled[:, 2].sum() == recorded[:, 2].sum()
    assert sampled[:, :2].sum(0) == pytest.approx(recorded[:, :2].sum(0), abs=1e-3)


def test_time_that_goes_back_stands_still():
    frames = parse_strokes(b"START\n0,0,0\n1,0,10\n2,0,5\n3,0,20\nBREAK\n", 10.0)
    assert frames[:, 0].tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty, truncated, or another file"),
        (STROKES[:-8], "empty, truncated, or another file"),
        (b"START\nBREAK\n", "has no points"),
        (b"START\n1,2\nBREAK\n", "line 2: expected three numbers x,y,t, got '1,2'"),
        (b"START\n1,2,x\nBREAK\n", "line 2"),
        (b"START\n1,2,0\nnan,2,3\nBREAK\n", "line 3"),
        (b"\xff\x00\x81", "another file"),
        (b"START\n0,0,0\n1,1,1e9\nBREAK\n", "more than 100000 steps"),
    ],
)
def test_strokes_that_cannot_be_used_are_named_in_one_line(drawings, content, said):
    changed = {"Greek/character01/0001_07.txt": content}
    write(drawings.root / "strokes_background.zip", strokes, "txt", changed)
    refused(
        evolve(drawings, step_ms=1.0),
        rf"strokes_background.zip: member '.*/0001_07.txt': .*{said}",
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("Greek/character01/0001_07.png", b"", "no PNG image"),
        ("Greek/character01/0001_07.png", png()[:90], "is damaged"),
        ("Greek/character01/0001_07.png", png(mode="RGB"), "small grey image, got RGB"),
        ("Greek/character01/0001_07.png", png(size=1025), "got 1 of"),
        ("Greek/0001_07.png", png(), "expected .../alphabet/character/id_drawer"),
        ("../../x.png", png(), "leads out of the archive"),
    ],
)
def test_members_that_cannot_be_used_are_named_in_one_line(images, name, content, said):
    write(images.root / "images_background.zip", png, "png", {name: content})
    refused(images, rf"images_background.zip: member '.*{said}")


def test_images_of_several_sizes_need_one(images):
    changed = {"Latin/character02/0099_07.png": png(size=50)}
    write(images.root / "images_background.zip", png, "png", changed)
    refused(evolve(images, size=None), r"expected \(105, 105\) pixels as others, got \(50, 50\)")
    assert data_shapes(build(images)).frame == (1, 14, 14)


def test_missing_and_damaged_zip_files_are_named(images, tmp_path):
    refused(evolve(images, subset="evaluation"), "no images_evaluation.zip in .*data.download")
    (tmp_path / "images_background.zip").write_bytes(b"PK")
    refused(images, "images_background.zip: is damaged, or no zip file")


def test_an_experiment_trains_on_strokes(drawings, plugins):
    changes = ["train.steps=2", "train.batch_size=4"]
    experiment = Experiment.load("japanese-vowels", plugins, changes)
    steps = []
    Trainer(experiment, build(drawings)).fit(log=lambda step, metrics: steps.append(step))
    assert steps == [1, 2]


def test_the_original_archives_give_the_same_drawings_twice(shared_data):
    settings = {
        "root": shared_data / "omniglot", "subset": "background_small1",
        "split": SplitConfig(label="drawer", pattern=".*/(17|18|19|20)"),
    }  # fmt: skip
    drawn = build(OmniglotImages(size=28, **settings))
    strokes = build(OmniglotStrokes(**settings))
    for splits in (drawn, strokes):
        assert len(splits.train) + len(splits.valid) == 136 * 16
        assert len(splits.test) == 136 * 4
        assert [len(values) for values in splits.classes.values()] == [5, 136, 100]
    assert max(strokes.train.lengths) <= 535
    same = [splits.classes["character"][splits.test[0]["character"]] for splits in (drawn, strokes)]
    assert same == ["Balinese/character01"] * 2
