"""Pixels as floats, images of another size, and members of zip files."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seqvae_core.errors import DataError
from seqvae_data.images import zips
from seqvae_data.images.pixels import frames_first, resize, unit
from seqvae_data.images.zips import read_members

# Pixels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (np.full((2, 4, 5), 255, np.uint8), (2, 1, 4, 5)),
        (np.full((2, 4, 5, 3), 255, np.int64), (2, 3, 4, 5)),
        (np.ones((2, 4, 5, 4), bool), (2, 4, 4, 5)),
        (np.ones((2, 4, 5, 1), np.float64), (2, 1, 4, 5)),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_frames_of_every_type_become_floats_with_their_channels_first(x, shape):
    frames = frames_first(x)
    assert frames.dtype == np.float32
    assert frames.shape == shape
    assert (frames == 1.0).all()


def test_channels_keep_their_places():
    x = np.random.default_rng(0).integers(256, size=(3, 4, 5, 3), dtype=np.uint8)
    assert np.array_equal(frames_first(x)[2, 1], unit(x[2, :, :, 1]))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.full((1, 2, 2), 1.5), r"in \[0, 1\], got 1.5 to 1.5"),
        (np.full((1, 2, 2), np.nan), "got nan to nan"),
        (np.full((1, 2, 2), 256, np.uint16), r"uint16 in \[0, 255\], got 256 to 256"),
        (np.full((1, 2, 2), -1), r"in \[0, 255\], got -1 to -1"),
        (np.zeros((1, 2, 2), complex), "got complex128"),
        (np.zeros((1, 2, 2, 2), np.uint8), r"got \(1, 2, 2, 2\)"),
        (np.zeros((2, 2), np.uint8), r"got \(2, 2\)"),
    ],
)
def test_pixels_that_are_none_are_refused(x, said):
    with pytest.raises(DataError, match=said):
        frames_first(x)


@given(
    image=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
)
def test_resizing_keeps_the_mean_and_the_range(image, height, width):
    resized = resize(image, height, width)
    assert resized.shape == (height, width)
    assert resized.mean() == pytest.approx(image.mean(), abs=1e-9)
    assert resized.min() >= image.min() - 1e-9
    assert resized.max() <= image.max() + 1e-9


def test_resizing_by_whole_numbers_is_the_mean_of_blocks():
    image = np.random.default_rng(0).uniform(size=(6, 8, 3))
    blocks = image.reshape(2, 3, 2, 4, 3).mean((1, 3))
    assert resize(image, 2, 2) == pytest.approx(blocks)
    assert resize(image, 6, 8) == pytest.approx(image)


# Zip files ---------------------------------------------------------------------------------------


def zipped(path, members, **settings):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **settings) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refused(path, said):
    with pytest.raises(DataError, match=said) as caught:
        list(read_members(path))
    assert "\n" not in str(caught.value)


def test_files_are_read_in_the_order_of_their_names(tmp_path):
    members = {
        "a/": b"", "a/2.txt": b"two", "a/1.txt": b"one", "a/.DS_Store": b"x",
        "__MACOSX/a/._1.txt": b"x",
    }  # fmt: skip
    read = list(read_members(zipped(tmp_path / "good.zip", members)))
    assert read == [("a/1.txt", b"one"), ("a/2.txt", b"two")]


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "..", "a\\x", "..\\x", "C:/x", "c:x", "__MACOSX/../x"]
)
def test_a_name_that_leads_out_is_refused_before_anything_is_read(tmp_path, name):
    path = zipped(tmp_path / "bad.zip", {"a/1.txt": b"one", name: b"x"})
    with pytest.raises(DataError, match="leads out of the archive"):
        next(read_members(path))


def test_a_member_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path):
    refused(zipped(tmp_path / "bomb.zip", {"zeros": bytes(2 << 20)}), "claims 2097152 bytes")


def test_members_that_claim_too_much_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "TOTAL", 5)
    refused(zipped(tmp_path / "many.zip", {"a": b"123", "b": b"456"}), "members claim 6 bytes")


def test_a_size_that_is_not_the_real_one_is_refused(tmp_path):
    path = zipped(tmp_path / "lie.zip", {"a": b"12345"})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    for claimed in (4, 500_000):
        content[entry + 24 : entry + 28] = struct.pack("<I", claimed)
        path.write_bytes(content)
        refused(path, "member 'a' is damaged")


def test_an_encrypted_member_is_refused(tmp_path):
    path = zipped(tmp_path / "secret.zip", {"a": b"12345"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused(path, "member 'a' is encrypted")


def test_two_members_of_one_name_are_refused(tmp_path):
    path = zipped(tmp_path / "twins.zip", {"a": b"1", "b": b"2"})
    path.write_bytes(path.read_bytes().replace(b"b", b"a"))
    refused(path, "two members 'a'")


@given(data=st.data())
def test_a_cut_or_changed_zip_file_is_read_rightly_or_refused(tmp_path_factory, data):
    buffer = io.BytesIO()
    content = zlib.compress(bytes(range(256)))
    zipped(buffer, {"a": content, "b": b"other"})
    damaged = bytearray(buffer.getvalue())
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    else:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("zip") / "z.zip"
    path.write_bytes(damaged)
    try:
        read = [one for _, one in read_members(path)]
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert set(read) <= {content, b"other"}


def test_a_missing_file_and_one_of_another_kind_are_refused(tmp_path):
    refused(tmp_path / "none.zip", "No such file")
    (tmp_path / "text.zip").write_text("no zip file")
    refused(tmp_path / "text.zip", "damaged, or no zip file")
