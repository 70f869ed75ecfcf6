"""Clips that are files: labels from their paths, segments; and folders of frames."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import Features, Found, compute_all
from seqvae_data.extras import require
from seqvae_data.faults import leave_out
from seqvae_data.frames import Cut, Example, Frames
from seqvae_data.images.config import ClipFiles, FrameFolders
from seqvae_data.images.pixels import resize, unit
from seqvae_data.items import RESERVED, assemble, divide

__all__ = ["Clip", "brought_to", "build", "find", "share"]

ENDINGS = (".png", ".jpg", ".jpeg")


# Clips that are files ----------------------------------------------------------------------------


@frozen(eq=False)
class Clip:
    """A clip and where it lies.

    Attributes:
        path: its file or folder.
        x: its frames as bytes, (T, C, H, W).
    """

    path: Path
    x: Frames


def find(root: Path, endings: Sequence[str]) -> list[Path]:
    """Return the files below a folder in natural order of their paths; hidden ones left out.

    Raises:
        DataError: if there are none.
    """
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    found = [
        path
        for path in root.rglob("*")
        if path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()
    ]
    if not found:
        raise DataError(f"no {', '.join(endings)} files in {root}")
    return sorted(found, key=lambda path: _natural(path.relative_to(root).as_posix()))


def _natural(text: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"\d+|[^\d/]+|/", text)
    return [(int(p), "") if p.isdecimal() else (-(p == "/"), p) for p in parts], text


def share(config: ClipFiles, clips: Sequence[Clip], request: DataRequest) -> Splits:
    """Label clips, share them among the parts, cut each part into segments."""
    whole = [
        Example(
            x=clip.x,
            labels=_labels(config, clip.path),
            source=str(clip.path),
            name=_name(config, clip.path),
            utterance=i,
        )
        for i, clip in enumerate(clips)
    ]
    names = _label_names(config, list(whole[0].labels))
    train, valid, test = (
        [piece for example in part for piece in _pieces(config, names, example)]
        for part in divide(whole, config.split, request)
    )
    return assemble(train, valid, test, request, scaled=config.normalise, prepare=unit)


def _name(config: ClipFiles, path: Path) -> str:
    return path.relative_to(config.root).as_posix()


def _labels(config: ClipFiles, path: Path) -> dict[str, NDArray[Any]]:
    if config.pattern is None:
        return {"label": np.array(path.parent.name if path != config.root else path.name)}
    match = re.search(config.pattern, _name(config, path))
    if match is None:
        raise DataError(
            f"{path}: the path '{_name(config, path)}' does not match data.pattern "
            f"'{config.pattern}'"
        )
    return {group: np.array(value or "") for group, value in match.groupdict().items()}


def _label_names(config: ClipFiles, known: list[str]) -> list[str]:
    names = known if config.labels is None else list(config.labels)
    for name in names:
        if name not in known:
            raise DataError(f"no label '{name}' in data.pattern; known: {', '.join(known)}")
        if name in RESERVED:
            raise DataError(f"a label cannot be called '{name}'; rename the group in data.pattern")
    return names


def _pieces(config: ClipFiles, names: list[str], example: Example) -> Iterator[Example]:
    labels = {name: example.labels[name] for name in names}
    if config.segment is None:
        yield evolve(example, labels=labels, utterance=None)
        return
    frames = example.x.shape[0]
    length = min(config.segment, frames)
    for start in range(0, frames - length + 1, config.segment_hop or length):
        stop = start + length
        yield evolve(
            example, x=Cut(example.x, start, stop), labels=labels,
            name=f"{example.name}[{start}:{stop}]",
        )  # fmt: skip


def brought_to(
    image: NDArray[np.uint8],  # (H, W) or (H, W, C)
    size: tuple[int, ...] | None,
) -> NDArray[np.uint8]:  # (C, height, width)
    """Return an image as bytes of another size, channels first."""
    if size is not None and image.shape[:2] != size:
        image = np.rint(resize(image, *size)).astype(np.uint8)
    return image[None] if image.ndim == 2 else np.ascontiguousarray(image.transpose(2, 0, 1))


# Folders of frames -------------------------------------------------------------------------------


def build(config: FrameFolders, request: DataRequest) -> Splits:
    """Decode the frames and join those of each folder."""
    require("PIL.Image", "images", "reading images")
    files = find(config.root, ENDINGS)
    found = compute_all(
        files,
        partial(_features, size=config.size, colour=config.colour),
        ("frame-folders", 1, config.size, config.colour),
        config.cache,
        on_error=config.on_error,
    )
    return share(config, _joined(config, files, found), request)


def _joined(config: FrameFolders, files: list[Path], found: list[Found]) -> list[Clip]:
    """Return the clip of each folder; one that lacks a frame is left out."""
    frames = {each.index: each for each in found}
    folders: dict[Path, list[int]] = {}
    for index, path in enumerate(files):
        folders.setdefault(path.parent, []).append(index)
    whole = {folder: rows for folder, rows in folders.items() if frames.keys() >= set(rows)}
    if not whole:
        raise DataError(f"every clip lacks a frame, the first: {next(iter(folders))}")
    clips, faults = [], []
    for folder, rows in whole.items():
        if fault := _fault_of_sizes(files, [frames[row] for row in rows]):
            faults.append(fault)
        else:
            clips.append(Clip(folder, _Joined(tuple(frames[row].x for row in rows))))
    leave_out(faults, config.on_error, "folders")
    if not clips:
        raise DataError(f"none of the {len(whole)} clips can be used, the first: {faults[0]}")
    return clips


def _fault_of_sizes(files: list[Path], frames: list[Found]) -> str:
    """Return what is wrong with a clip whose frames are not of one size, "" for nothing."""
    first = frames[0]
    for frame in frames:
        if frame.x.shape != first.x.shape:
            return (
                f"{files[frame.index]}: expected {_size(first)} pixels as in {files[first.index]}, "
                f"got {_size(frame)}; data.size brings all to one size"
            )
    return ""


def _size(found: Found) -> str:
    return " x ".join(map(str, found.x.shape[2:]))


@frozen(eq=False)
class _Joined:
    """Frames that are stored one by one."""

    pieces: tuple[Frames, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.pieces), *self.pieces[0].shape[1:])

    def __getitem__(self, index: slice) -> NDArray[Any]:
        return np.concatenate([piece[:] for piece in self.pieces[index]])


def _features(path: Path, size: tuple[int, ...] | None, colour: bool) -> Features:
    return Features(x=brought_to(_read(path, colour), size)[None])


def _read(path: Path, colour: bool) -> NDArray[np.uint8]:
    """Return an image as bytes, (H, W, 3) or (H, W)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            _check(image)
            opaque: Image.Image = image
            if image.has_transparency_data:
                above = image.convert("RGBA")
                opaque = Image.alpha_composite(Image.new("RGBA", above.size, "black"), above)
            return np.asarray(opaque.convert("RGB" if colour else "L"))
    except UnidentifiedImageError:
        raise DataError("is damaged, or no PNG or JPEG image") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from None
    except (SyntaxError, ValueError):
        raise DataError("is damaged") from None


def _check(image: Any) -> None:
    if image.width * image.height > 1 << 26:
        raise DataError(f"expected at most {1 << 26} pixels, got {image.width} x {image.height}")
    if image.mode.startswith(("I", "F")):
        raise DataError(f"expected 8 bits a channel, got an image of mode {image.mode}")
