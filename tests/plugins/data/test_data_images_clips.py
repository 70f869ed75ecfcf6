"""Clips in NumPy files, in folders of frames and in video files."""

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from reading import build, refused

from seqvae_core import Experiment, Trainer
from seqvae_core.config import structure_component
from seqvae_core.errors import ConfigError, DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.images.config import Clips, FrameFolders, Videos
from seqvae_data.images.video import sampled

Image = pytest.importorskip("PIL.Image")
av = pytest.importorskip("av")

PATTERN = r"(?P<who>\w+)/(?P<take>\d+)"


# NumPy files -------------------------------------------------------------------------------------


@given(axes=st.permutations("nthwc"), grey=st.booleans())
def test_axes_in_any_order_give_the_same_clips(tmp_path_factory, axes, grey):
    rng = np.random.default_rng(0)
    x = rng.integers(256, size=(6, 2, 4, 5, 1 if grey else 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("clips") / "x.npy"
    layout = "".join(axes)
    if grey:
        layout = layout.replace("c", "")
    stored = x.transpose(["nthwc".index(axis) for axis in axes])
    np.save(path, stored.squeeze(axes.index("c")) if grey else stored)
    splits = build(Clips(path=path, layout=layout, split=SplitConfig(valid=0)))
    assert data_shapes(splits).frame == (1 if grey else 3, 4, 5)
    rows = [int(name.removeprefix("row ")) for name in splits.train.names]
    for row, item in zip(rows, splits.train, strict=True):
        assert np.array_equal(item["x"], x[row].transpose(0, 3, 1, 2) / np.float32(255))


def test_clips_keep_their_contract(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(256, size=(12, 3, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=x, who=np.repeat(list("abc"), 4), length=[1, 2, 3] * 4)
    check_component(Clips(path=tmp_path / "x.npz"))
    check_component(Clips(path=tmp_path / "x.npz", normalise=True))
    np.savez(tmp_path / "parts.npz", v_train=x[:8], v_test=x[8:])
    check_component(Clips(path=tmp_path / "parts.npz", key="v"))


@pytest.mark.parametrize(
    ("x", "layout", "said"),
    [
        (np.zeros((4, 2, 3, 3), np.uint8), "nthwc", r"shape \(N, T, H, W, C\), got uint8"),
        (np.zeros((0, 2, 3, 3), np.uint8), "nthw", "expected numbers of shape"),
        (np.full((4, 2, 3, 3), 7.0), "nthw", r"in \[0, 1\], got 7 to 7"),
        (np.full((4, 2, 3, 3), np.nan), "nthw", "x.npy"),
        (np.full((4, 2, 3, 3), 300), "nthw", r"in \[0, 255\], got 300"),
        (np.full((4, 2, 3, 3), "a"), "nthw", "expected numbers"),
    ],
)
def test_clips_that_cannot_be_used_are_named_in_one_line(tmp_path, x, layout, said):
    np.save(tmp_path / "x.npy", x)
    refused(Clips(path=tmp_path / "x.npy", layout=layout), said)


@pytest.mark.parametrize("layout", ["nth", "nthwcc", "nthwx", "", "NTHW"])
def test_a_layout_that_is_none_is_refused(plugins, layout):
    with pytest.raises(ConfigError, match="must order the letters n, t, h, w and perhaps c"):
        structure_component("dataset", {"name": "clips", "path": "x", "layout": layout}, plugins)


# Folders of frames -------------------------------------------------------------------------------


def frame(seed, size=(8, 6), mode="RGB"):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(256, size=(*size, 3), dtype=np.uint8)).convert(mode)


@pytest.fixture
def folders(tmp_path):
    for w, who in enumerate(("ann", "bob")):
        for take in range(4):
            folder = tmp_path / "clips" / who / str(take)
            folder.mkdir(parents=True)
            for t in range(11):
                frame(100 * w + 20 * take + t).save(folder / f"f{t}.png")
    (tmp_path / "clips" / "notes.txt").write_text("not a frame")
    (tmp_path / "clips" / "ann" / "0" / "._f0.png").write_text("not a frame either")
    return FrameFolders(root=tmp_path / "clips", pattern=PATTERN, cache=CacheConfig(keep=False))


def test_folders_keep_their_contract(folders):
    check_component(evolve(folders, cache=CacheConfig()))
    check_component(evolve(folders, segment=4, segment_hop=3, normalise=True, colour=False))


def test_frames_come_in_natural_order_with_labels_of_their_path(folders):
    splits = build(folders)
    assert splits.classes.keys() == {"who", "take"}
    item, name = splits.train[0], splits.train.names[0]
    expected = [np.asarray(Image.open(folders.root / name / f"f{t}.png")) for t in range(11)]
    assert np.array_equal(item["x"], np.stack(expected).transpose(0, 3, 1, 2) / np.float32(255))


def test_the_cache_gives_the_same_frames(folders):
    first = build(folders)
    for _ in range(2):
        cached = build(evolve(folders, cache=CacheConfig()))
        assert all(
            np.array_equal(one["x"], other["x"])
            for one, other in zip(first.train, cached.train, strict=True)
        )


def test_segments_stay_in_one_part_and_carry_their_clip(folders):
    splits = build(evolve(folders, segment=4, segment_hop=3, labels=("who",)))
    parts = [
        {int(i["utterance"]) for i in part} for part in (splits.train, splits.valid, splits.test)
    ]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 8
    assert splits.train[0].keys() == {"x", "who", "utterance"}
    assert splits.train.lengths == [4] * len(splits.train)
    assert splits.train.names[1].endswith("[3:7]")


def test_without_a_pattern_the_folder_around_the_clip_is_the_label(folders):
    assert build(evolve(folders, pattern=None)).classes == {"label": ("ann", "bob")}


@pytest.mark.parametrize("mode", ["P", "L", "RGBA", "LA", "1", "CMYK"])
def test_every_mode_of_eight_bits_becomes_colours_or_grey(folders, mode):
    ending = "jpg" if mode == "CMYK" else "png"
    path = folders.root / "ann" / "0" / f"f10.{ending}"
    (folders.root / "ann" / "0" / "f10.png").unlink()
    frame(5, mode=mode).save(path)
    assert data_shapes(build(folders)).frame == (3, 8, 6)
    assert data_shapes(build(evolve(folders, colour=False))).frame == (1, 8, 6)


def test_what_is_transparent_lies_on_black(tmp_path):
    for take in range(3):
        (tmp_path / f"{take}").mkdir()
        Image.new("RGBA", (2, 2), (200, 100, 50, 0)).save(tmp_path / f"{take}" / "0.png")
    assert (build(FrameFolders(root=tmp_path)).train[0]["x"] == 0).all()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b""), "no PNG or JPEG image"),
        (lambda path: path.write_bytes(path.read_bytes()[:80]), "truncated|damaged"),
        (lambda path: path.write_bytes(b"GIF89a"), "no PNG or JPEG image"),
        (lambda path: Image.fromarray(np.ones((8, 6), np.uint16)).save(path), "8 bits a channel"),
        (lambda path: frame(0, (4, 6)).save(path), "expected 8 x 6 pixels as in .*f0.png, got 4"),
    ],
)
def test_a_frame_that_cannot_be_used_is_named_in_one_line(folders, damage, said):
    damage(folders.root / "bob" / "2" / "f3.png")
    refused(folders, f"bob/2/f3.png: .*{said}")


def test_a_clip_with_a_damaged_frame_is_left_out_on_request(folders):
    (folders.root / "bob" / "2" / "f3.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out 1 files: .*f3.png"):
        splits = build(evolve(folders, on_error="skip"))
    names = [*splits.train.names, *splits.valid.names, *splits.test.names]
    assert len(names) == 7
    assert "bob/2" not in names


def test_a_clip_whose_frames_have_two_sizes_is_left_out_on_request(folders):
    frame(0, (4, 6)).save(folders.root / "bob" / "2" / "f3.png")
    said = "left out 1 folders: .*f3.png: expected 8 x 6 pixels as in .*f0.png, got 4 x 6"
    with pytest.warns(UserWarning, match=said):
        splits = build(evolve(folders, on_error="skip"))
    names = [*splits.train.names, *splits.valid.names, *splits.test.names]
    assert len(names) == 7
    assert "bob/2" not in names


def test_if_every_clip_has_frames_of_two_sizes_none_can_be_skipped(folders):
    for path in folders.root.glob("*/*/f3.png"):
        frame(0, (4, 6)).save(path)
    with pytest.warns(UserWarning, match="left out 8 folders"):
        refused(evolve(folders, on_error="skip"), "none of the 8 clips can be used, the first: ")


def test_frames_of_several_sizes_are_brought_to_one(folders):
    frame(0, (4, 12)).save(folders.root / "bob" / "2" / "f3.png")
    assert data_shapes(build(evolve(folders, size=(4, 3)))).frame == (3, 4, 3)


def test_clips_of_several_sizes_are_refused(folders):
    for t in range(11):
        frame(t, (4, 4)).save(folders.root / "bob" / "2" / f"f{t}.png")
    refused(folders, "bob/2: expected frames of shape|expected frames of shape .* bob/2")


def test_wrong_folders_patterns_and_labels_are_named(folders, tmp_path):
    refused(evolve(folders, root=tmp_path / "none"), "no such folder")
    refused(evolve(folders, root=tmp_path / "clips" / "x"), "no such folder")
    (tmp_path / "empty").mkdir()
    refused(evolve(folders, root=tmp_path / "empty"), "no .png, .jpg, .jpeg files in")
    refused(evolve(folders, pattern=r"(?P<a>zoe)"), "does not match data.pattern")
    refused(evolve(folders, labels=("whom",)), "no label 'whom' in data.pattern; known: who, take")
    refused(evolve(folders, pattern=r"(?P<x>\w+)/"), "a label cannot be called 'x'")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("size", [3], "must be"), ("size", [0, 3], "must be"), ("segment_hop", 3, "without")],
)
def test_wrong_settings_are_named(plugins, key, value, said):
    with pytest.raises(ConfigError, match=said):
        structure_component("dataset", {"name": "videos", "root": "x", key: value}, plugins)


def test_an_experiment_trains_on_folders(folders, plugins):
    experiment = Experiment.load(
        "sprites", plugins, ["train.steps=2", "train.batch_size=4", "data.root=unused"]
    )
    steps = []
    trainer = Trainer(experiment, build(evolve(folders, size=(8, 8))))
    trainer.fit(log=lambda step, metrics: steps.append(step))
    assert steps == [1, 2]


# Video files -------------------------------------------------------------------------------------


def write_video(path, *, frames=12, rate=10, size=(32, 48), codec="mpeg4", seed=0):
    """Write frames that grow brighter from left to right and with time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", 10**6
        for t in range(frames):
            picture = np.full((*size, 3), min(255, 10 + seed + 15 * t), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def videos(tmp_path):
    for who in ("ann", "bob"):
        for take in range(3):
            write_video(tmp_path / "videos" / who / f"{take}.mp4", seed=take)
    return Videos(
        root=tmp_path / "videos", pattern=PATTERN, size=(8, 12), cache=CacheConfig(keep=False)
    )


def brightness(x):
    return (255 * x.mean((1, 2, 3))).numpy()


def test_videos_keep_their_contract(videos):
    check_component(evolve(videos, cache=CacheConfig()))
    check_component(evolve(videos, fps=5.0, segment=3, colour=False, normalise=True))


def test_frames_of_a_video_come_in_order_and_size(videos):
    splits = build(evolve(videos, split=SplitConfig(label="take", pattern="0")))
    x = splits.test[0]["x"]
    assert x.shape == (12, 3, 8, 12)
    assert brightness(x) == pytest.approx(10 + 15 * np.arange(12), abs=3)
    assert splits.classes == {"who": ("ann", "bob"), "take": ("1", "2", "0")}


def test_a_rate_takes_the_frames_on_show(videos):
    splits = build(evolve(videos, split=SplitConfig(label="take", pattern="0"), fps=4.0))
    assert brightness(splits.test[0]["x"]) == pytest.approx(
        10 + 15 * np.array([0, 2, 5, 7, 10]), abs=3
    )


@given(
    gaps=st.lists(st.integers(1, 50), min_size=1, max_size=20),
    fps=st.integers(1, 60), start=st.integers(0, 100),
)  # fmt: skip
def test_sampling_takes_at_each_time_the_last_frame_that_has_begun(gaps, fps, start):
    times = (start + np.cumsum([0, *gaps])) / 30
    taken = [time for time, _ in sampled([(t, np.empty(0)) for t in times.tolist()], fps)]
    ticks = times[0] + np.arange(len(taken)) / fps
    assert taken == [times[times <= tick + 1e-6][-1] for tick in ticks]
    assert ticks[-1] <= times[-1] + 1e-6 < ticks[-1] + 1 / fps + 2e-6


def test_frames_without_times_cannot_be_sampled():
    with pytest.raises(DataError, match="frames without times"):
        list(sampled([(None, np.empty(0))], 5))


@pytest.mark.parametrize(
    ("ending", "codec"), [("avi", "mpeg4"), ("webm", "libvpx"), ("mkv", "ffv1"), ("MOV", "mpeg4")]
)
def test_other_containers_are_read(videos, ending, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"PyAV was built without {codec}")
    write_video(videos.root / "cleo" / f"0.{ending}", codec=codec)
    assert "cleo" in build(videos).classes["who"]


def sound_alone(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"garbage" * 100), "cannot be decoded: Invalid data"),
        (lambda path: cut(path, 0.6), "is truncated: .* its header promises"),
        (lambda path: cut(path, 0.97), "is truncated: .* its header promises"),
        (sound_alone, "has no video stream"),
    ],
)
def test_a_video_that_cannot_be_used_is_named_in_one_line(videos, damage, said):
    damage(videos.root / "bob" / "1.mp4")
    refused(videos, f"bob/1.mp4: {said}")


def test_a_video_whose_packets_are_damaged_is_refused(videos):
    path = videos.root / "bob" / "1.mp4"
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start : start + 400] = bytes(400)
    path.write_bytes(content)
    refused(videos, "bob/1.mp4: ")


@pytest.mark.parametrize("ending", ["avi", "mkv"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_other_containers_that_were_cut_are_named(videos, ending, share):
    cut(write_video(videos.root / "bob" / f"7.{ending}"), share)
    refused(videos, f"7.{ending}: is truncated")


def test_damaged_videos_are_left_out_on_request(videos):
    cut(videos.root / "bob" / "1.mp4", 0.5)
    with pytest.warns(UserWarning, match="left out 1 files: .*1.mp4: is truncated"):
        splits = build(evolve(videos, on_error="skip"))
    assert len(splits.train) + len(splits.valid) + len(splits.test) == 5


def test_a_video_that_would_fill_the_memory_is_refused(videos, monkeypatch):
    monkeypatch.setattr("seqvae_data.images.video.LARGEST", 1000)
    refused(videos, "is larger than 1000 bytes decoded: set data.size or data.fps")


@pytest.mark.parametrize(
    ("config", "module", "extra"),
    [(Videos, "av", "video"), (FrameFolders, "PIL.Image", "images")],
)
def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch, config, module, extra):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    refused(config(root=tmp_path), rf"pip install 'seqvae\[{extra}\]'")
