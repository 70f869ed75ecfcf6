"""MNIST and its like: IDX files, their labels and parts, and what is wrong with them."""

import gzip
import hashlib
import struct
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from reading import build, refused

from seqvae_core import Experiment, Trainer
from seqvae_core.errors import DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import SplitConfig
from seqvae_data.images.config import Idx
from seqvae_data.images.idx import CORPORA, FILES, read_idx

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def idx(array):
    head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write(folder, *, packed=True, train=40, test=10):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("t10k", test)):
        for kind, array in (
            ("images-idx3-ubyte", rng.integers(256, size=(count, 28, 28))),
            ("labels-idx1-ubyte", np.arange(count) % 10),
        ):
            content = idx(array)
            name = f"{part}-{kind}" + (".gz" if packed else "")
            (folder / name).write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return folder


@pytest.fixture
def config(tmp_path):
    return Idx(corpus="mnist", root=write(tmp_path / "mnist"))


def digits(part):
    return sorted(item["digit"] for item in part)


def test_images_keep_their_contract(config):
    check_component(config)
    check_component(evolve(config, limit=25, normalise=True))


def test_the_test_part_is_the_official_one_and_valid_has_every_digit(config):
    splits = build(evolve(config, split=SplitConfig(valid=0.25)))
    assert data_shapes(splits).frame == (1, 28, 28)
    assert splits.classes == {"digit": tuple("0123456789")}
    assert digits(splits.valid) == digits(splits.test) == list(range(10))
    assert digits(splits.train) == sorted(list(range(10)) * 3)
    x = splits.test[0]["x"]
    assert x.shape == (1, 1, 28, 28)
    assert x.min() == 0
    assert x.max() == 1


def test_a_limit_keeps_the_first_training_images(config):
    splits = build(evolve(config, limit=20, split=SplitConfig(valid=0.5)))
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (10, 10, 10)
    first = read_idx(config.root / IMAGES, 3)[:20]
    kept = np.sort([item["x"].sum() for part in (splits.train, splits.valid) for item in part])
    assert kept == pytest.approx(np.sort(first.sum((1, 2)) / 255))


def test_a_limit_of_the_test_part_keeps_images_that_are_evenly_spread(config):
    whole = [float(item["x"].sum()) for item in build(config).test]
    kept = [float(item["x"].sum()) for item in build(evolve(config, limit_test=5)).test]
    assert kept == whole[::2]
    more = build(evolve(config, limit_test=11)).test
    assert len(more) == len(whole) == 10


@pytest.mark.parametrize("folder", [".", "raw", "FashionMNIST/raw"])
def test_unpacked_files_and_the_folders_of_torchvision_are_found(tmp_path, folder):
    write(tmp_path / folder, packed=False)
    splits = build(Idx(corpus="fashion-mnist", root=tmp_path))
    assert len(splits.classes["class"]) == 10
    assert splits.classes["class"][splits.test[0]["class"]] == "t-shirt"


def gzipped(content):
    return gzip.compress(content, mtime=0)  # else every worker names the test by its own clock


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (IMAGES, b"", "damaged, or not a gzip file|expected it to begin"),
        (IMAGES, b"garbage", "damaged, or not a gzip file"),
        (IMAGES, gzipped(idx(np.zeros((40, 28, 28))))[:-20], "damaged"),
        (IMAGES, gzipped(idx(np.arange(40))), "begin with 00 00 08 03, got 00 00 08 01"),
        (IMAGES, gzipped(b"\0\0\x08\x03\0\0"), "truncated within its header"),
        (IMAGES, gzipped(idx(np.zeros((40, 28, 28)))[:-1]), "31360 bytes, got 31359"),
        (IMAGES, gzipped(idx(np.zeros((40, 28, 28))) + b"x"), "31360 bytes, got more"),
        (IMAGES, gzipped(b"\0\0\x08\x03" + b"\xff" * 12), "its header promises"),
        (IMAGES, gzipped(idx(np.zeros((40, 14, 14)))), r"expected images of \(14, 14\)"),
        (LABELS, gzipped(idx(np.zeros(39))), "39 labels, expected 40 as in"),
        (LABELS, gzipped(idx(np.full(40, 10))), "labels 0 to 9, got 10"),
        (LABELS, gzipped(idx(np.zeros(0))), "its header promises"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_a_file_that_cannot_be_used_is_named_in_one_line(config, name, content, said):
    (config.root / name).write_bytes(content)
    refused(config, said)


def test_a_wrong_checksum_of_gzip_is_noticed(config):
    path = config.root / IMAGES
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    refused(config, "train-images-idx3-ubyte.gz: damaged")


@given(position=st.integers(0, 200), bit=st.integers(0, 7))
def test_a_changed_bit_gives_an_array_or_one_line(tmp_path_factory, position, bit):
    content = bytearray(gzip.compress(idx(np.arange(200)), mtime=0))
    content[position % len(content)] ^= 1 << bit
    path = tmp_path_factory.mktemp("idx") / "x.gz"
    path.write_bytes(content)
    try:
        assert np.array_equal(read_idx(path, 1), np.arange(200))
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_missing_files_say_how_to_get_them(config, tmp_path):
    (config.root / LABELS).unlink()
    refused(config, "no train-labels-idx1-ubyte or .* set data.root, or data.download = true")
    refused(Idx(corpus="kmnist", root=tmp_path / "none"), "no train-images-idx3-ubyte")


def test_missing_files_are_fetched_on_request(tmp_path, monkeypatch):
    pytest.importorskip("pooch")
    served = write(tmp_path / "served")
    sums = tuple(hashlib.md5((served / f"{n}.gz").read_bytes()).hexdigest() for n in FILES)
    handler = partial(Quiet, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        corpus = evolve(CORPORA["kmnist"], url=url, checksums=sums)
        monkeypatch.setitem(CORPORA, "kmnist", corpus)
        config = Idx(corpus="kmnist", root=tmp_path / "fetched", download=True)
        splits = build(config)
        server.shutdown()
    assert len(splits.test) == 10
    assert len(build(evolve(config, download=False)).test) == 10


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_the_preset_trains_on_images(config, plugins):
    changes = [f"data.root={config.root}", "train.steps=2", "train.batch_size=8"]
    experiment = Experiment.load("mnist", plugins, changes)
    steps = []
    trainer = Trainer(experiment, build(experiment.data))
    trainer.fit(log=lambda step, metrics: steps.append(step))
    assert steps == [1, 2]


def test_the_official_test_files_have_the_checksums_that_downloads_are_checked_by(shared_data):
    for name, checksum in zip(FILES[2:], CORPORA["mnist"].checksums[2:], strict=True):
        content = (shared_data / "mnist" / f"{name}.gz").read_bytes()
        assert hashlib.md5(content).hexdigest() == checksum


def test_handwritten_digits_are_read(shared_data):
    splits = build(Idx(corpus="mnist", root=shared_data / "mnist"))
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [5400, 600, 10000]
    assert [int(splits.test[i]["digit"]) for i in range(10)] == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(digits(splits.test))[0] == 980
