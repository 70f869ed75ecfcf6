"""Video files, decoded by PyAV."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import Features, compute_all
from seqvae_data.extras import require
from seqvae_data.images.config import Videos
from seqvae_data.images.folders import Clip, brought_to, find, share

__all__ = ["build", "read_video", "sampled"]

ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv")
LARGEST = 1 << 31  # bytes of one video's decoded frames
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def build(config: Videos, request: DataRequest) -> Splits:
    """Decode the files and share them among the parts."""
    require("av", "video", "reading video")
    files = find(config.root, ENDINGS)

    def compute(path: Path) -> Features:
        return Features(x=read_video(path, config))

    found = compute_all(
        files,
        compute,
        ("videos", 1, config.size, config.colour, config.fps),
        config.cache,
        on_error=config.on_error,
    )
    return share(config, [Clip(files[each.index], each.x) for each in found], request)


def read_video(path: Path, config: Videos) -> NDArray[np.uint8]:
    """Return a video's frames as bytes, (T, C, H, W).

    Raises:
        DataError: if the file is damaged or truncated, has no frames, frames of several sizes or,
            for `fps`, without times, or is larger than 2 GiB once it is decoded.
    """
    _check_complete(path)
    pictures = _pictures(path, config)
    if config.fps is not None:
        pictures = sampled(pictures, config.fps)
    frames: list[NDArray[np.uint8]] = []
    for _, frame in pictures:
        if frames and frame.shape != frames[0].shape:
            raise DataError(
                f"frame {len(frames)} has {frame.shape[1:]} pixels, the first "
                f"{frames[0].shape[1:]}: set data.size"
            )
        if frame.nbytes * (len(frames) + 1) > LARGEST:
            raise DataError(f"is larger than {LARGEST} bytes decoded: set data.size or data.fps")
        frames.append(frame)
    if not frames:
        raise DataError("has no frames")
    return np.stack(frames)


Timed = tuple[float | None, NDArray[np.uint8]]


def _pictures(path: Path, config: Videos) -> Iterator[Timed]:
    """Yield the time of each frame in seconds, if it has one, and its pixels (C, H, W)."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError("has no video stream")
            for packet in container.demux(container.streams.video[0]):
                if packet.is_corrupt:
                    raise DataError("is damaged or truncated")
                for picture in packet.decode():
                    yield picture.time, _pixels(picture, config)
    except av.FFmpegError as error:
        raise DataError(f"cannot be decoded: {error.strerror}") from None


def _pixels(picture: Any, config: Videos) -> NDArray[np.uint8]:
    image = picture.to_ndarray(format="rgb24")
    if not config.colour:
        image = np.rint(image @ LUMA).astype(np.uint8)
    return brought_to(image, config.size)


def sampled(pictures: Iterable[Timed], fps: float) -> Iterator[Timed]:
    """Yield the pictures on show at 0, 1/fps, 2/fps, ... seconds after the first.

    One that is on show at several of these times comes several times; the last picture is taken
    to be on show at its own time only.

    Raises:
        DataError: for pictures without times.
    """
    shown: Timed | None = None
    start = count = 0.0
    for time, picture in pictures:
        if time is None or not math.isfinite(time):
            raise DataError("has frames without times: leave data.fps out")
        if shown is None:
            start = time
        while shown is not None and start + count / fps < time - 1e-6:
            yield shown
            count += 1
        shown = time, picture
    if shown is not None and shown[0] is not None and start + count / fps < shown[0] + 1e-6:
        yield shown


# Truncation --------------------------------------------------------------------------------------


def _check_complete(path: Path) -> None:
    """Compare a file's length with what its boxes promise: a decoder takes what there is."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            promised = _promised(file, size)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None
    if size == 0:
        raise DataError("is empty")
    if size < promised:
        raise DataError(f"is truncated: {size} bytes, its header promises {promised}")


def _promised(file: BinaryIO, size: int) -> int:
    head = file.read(12)
    if head[:4] == b"RIFF":  # AVI
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:4] == b"\x1aE\xdf\xa3":
        return _promised_by_matroska(file)
    return _promised_by_boxes(file, size) if head[4:8] == b"ftyp" else 0


def _promised_by_boxes(file: BinaryIO, size: int) -> int:
    """Return where the last box of an MP4 or MOV file ends: each is its length, name, content."""
    end = 0
    while end < size:
        file.seek(end)
        box = file.read(16)
        length = int.from_bytes(box[:4], "big")
        if length == 1:
            length = int.from_bytes(box[8:16], "big")
        if length < 8:  # 0: to the end of the file
            return end
        end += length
    return end


def _promised_by_matroska(file: BinaryIO) -> int:
    """Return where the segment of a WebM or MKV file ends, 0 if its writer did not know."""
    file.seek(4)
    file.seek(_matroska_size(file), 1)
    if file.read(4) != b"\x18S\x80g":
        return 0
    size = _matroska_size(file)
    return file.tell() + size if size else 0


def _matroska_size(file: BinaryIO) -> int:
    """Return an element's size: the zeros that it begins with say how many bytes it takes."""
    first = file.read(1) or b"\0"
    more = 8 - first[0].bit_length()
    size = int.from_bytes(first + file.read(more), "big") - (1 << 7 * (more + 1))
    return size if 0 <= size < (1 << 7 * (more + 1)) - 1 else 0
