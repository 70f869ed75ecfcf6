"""Omniglot's drawings in zip files, as images and as pen strokes.

Source: Human-level concept learning through probabilistic program induction (Lake, Salakhutdinov,
Tenenbaum, 2015) | https://github.com/brendenlake/omniglot
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import Features, compute_all, default_folder
from seqvae_data.download import Remote, fetch
from seqvae_data.extras import require
from seqvae_data.frames import Cut, Example, Prepare
from seqvae_data.images.config import OmniglotImages, OmniglotStrokes
from seqvae_data.images.pixels import resize, unit
from seqvae_data.images.zips import read_members
from seqvae_data.items import assemble, divide

__all__ = ["build_images", "build_strokes", "parse_strokes"]

_URL = "https://github.com/brendenlake/omniglot/raw/057f034baf2ecb8530bc5710e5a23584d2a519cc/python"
_CHECKSUMS = {
    "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
    "images_background_small1.zip":
        "sha256:f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
    "strokes_background_small1.zip":
        "sha256:8cb3960fb6cf4ccf5f064ad83169f828c36c36782a0f6e7faacb7ecfae4468a2",
}  # fmt: skip
_DRAWING = re.compile(r"[^/]+/(?P<alphabet>[^/]+)/(?P<character>[^/]+)/(?P<id>\d+)_(?P<drawer>\d+)")
_POINTS = 100_000  # of a stroke that is sampled anew

Decode = Callable[[bytes], NDArray[Any]]


def build_images(config: OmniglotImages, request: DataRequest) -> Splits:
    """Decode the images and share them among the parts."""
    require("PIL.Image", "images", "reading images")
    path = _find(config, "images")
    decode = partial(_image, size=config.size)
    return _build(config, request, path, decode, ("omniglot-images", 1, config.size), unit)


def build_strokes(config: OmniglotStrokes, request: DataRequest) -> Splits:
    """Parse the strokes and share the drawings among the parts."""
    path = _find(config, "strokes")
    decode = partial(parse_strokes, step_ms=config.step_ms)
    return _build(config, request, path, decode, ("omniglot-strokes", 1, config.step_ms), None)


def _find(config: OmniglotImages | OmniglotStrokes, what: str) -> Path:
    name = f"{what}_{config.subset}.zip"
    folder = config.root or default_folder() / "downloads" / "omniglot"
    for path in (folder / name, folder / "python" / name):
        if path.is_file():
            return path
    if config.download:
        remote = Remote(name=name, urls=(f"{_URL}/{name}",), checksum=_CHECKSUMS.get(name))
        return fetch([remote], folder, licence="Omniglot: Brenden Lake, MIT")[0]
    raise DataError(f"no {name} in {folder}: set data.root, or data.download = true")


def _build(
    config: OmniglotImages | OmniglotStrokes,
    request: DataRequest,
    path: Path,
    decode: Decode,
    parameters: tuple[Any, ...],
    prepare: Prepare | None,
) -> Splits:
    (found,) = compute_all([path], partial(_features, decode=decode), parameters, config.cache)
    frames = found.x[:]
    ends = [0, *np.cumsum(found.facts["lengths"]).tolist()]
    examples = [
        _example(name, Cut(frames, start, stop), path)
        for name, (start, stop) in zip(found.facts["names"], pairwise(ends), strict=True)
    ]
    parts = divide(examples, config.split, request)
    return assemble(*parts, request, scaled=config.normalise, prepare=prepare)


def _features(path: Path, decode: Decode) -> Features:
    """Return the frames of all drawings one after another, and how many each has."""
    names: list[str] = []
    drawings: list[NDArray[Any]] = []
    for name, content in read_members(path):
        if _DRAWING.fullmatch(stem := name.rpartition(".")[0]) is None:
            raise DataError(f"member '{name}': expected .../alphabet/character/id_drawer")
        try:
            drawing = decode(content)
        except DataError as error:
            raise DataError(f"member '{name}': {error}") from None
        if drawings and drawing.shape[1:] != drawings[0].shape[1:]:
            got, expected = drawing.shape[2:], drawings[0].shape[2:]
            raise DataError(f"member '{name}': expected {expected} pixels as others, got {got}")
        names.append(stem)
        drawings.append(drawing)
    if not drawings:
        raise DataError("has no drawings")
    lengths = [len(drawing) for drawing in drawings]
    return Features(x=np.concatenate(drawings), facts={"names": names, "lengths": lengths})


def _example(name: str, x: Cut, path: Path) -> Example:
    match = _DRAWING.fullmatch(name)
    assert match is not None
    alphabet = match["alphabet"]
    labels = {
        "alphabet": alphabet,
        "character": f"{alphabet}/{match['character']}",
        "drawer": f"{alphabet}/{match['drawer']}",
    }
    arrays = {label: np.array(text) for label, text in labels.items()}
    return Example(x=x, labels=arrays, source=f"{path}, member '{name}'", name=name)


# Images ------------------------------------------------------------------------------------------


def _image(content: bytes, size: int | None) -> NDArray[np.uint8]:
    """Return an image as bytes (1, 1, H, W), 255 where there is ink."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            if max(image.size) > 1024 or image.mode not in {"1", "L"}:
                raise DataError(f"expected a small grey image, got {image.mode} of {image.size}")
            pixels = 255 - np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise DataError("is damaged, or no PNG image") from None
    if size is not None:
        pixels = np.rint(resize(pixels, size, size)).astype(np.uint8)
    return pixels[None, None]


# Strokes -----------------------------------------------------------------------------------------


def parse_strokes(content: bytes, step_ms: float | None = None) -> NDArray[np.float32]:
    """Return a drawing's points as frames (T, 3): dx, dy, and 1 at the last point of a stroke.

    The file has `START`, then a line `x,y,t` for each point and `BREAK` after each stroke; t is
    in milliseconds. Where the recorded time goes back it is taken to stand still.

    Args:
        content: of the file.
        step_ms: see `OmniglotStrokes`.

    Raises:
        DataError: with the line that is wrong, or if there are no points.
    """
    strokes = [np.array(stroke) for stroke in _strokes(content)]
    if step_ms is not None:
        strokes = [_resampled(stroke, step_ms) for stroke in strokes]
    if not strokes:
        raise DataError("has no points")
    points = np.concatenate(strokes)[:, :2]
    frames = np.zeros((len(points), 3), np.float32)
    frames[1:, :2] = np.diff(points, axis=0)
    frames[np.cumsum([len(stroke) for stroke in strokes]) - 1, 2] = 1.0
    return frames


def _strokes(content: bytes) -> Iterator[list[list[float]]]:
    lines = content.decode("latin-1").split()
    if not lines or lines[0] != "START" or lines[-1] != "BREAK":
        raise DataError("expected START, points and BREAK: empty, truncated, or another file")
    stroke: list[list[float]] = []
    for number, line in enumerate(lines[1:], 2):
        if line != "BREAK":
            stroke.append(_point(line, number))
        elif stroke:
            yield stroke
            stroke = []


def _point(line: str, number: int) -> list[float]:
    try:
        point = [float(text) for text in line.split(",")]
    except ValueError:
        point = []
    if len(point) != 3 or not np.isfinite(point).all():
        raise DataError(f"line {number}: expected three numbers x,y,t, got '{line[:40]}'")
    return point


def _resampled(stroke: NDArray[np.float64], step_ms: float) -> NDArray[np.float64]:
    time = np.maximum.accumulate(stroke[:, 2])
    if (time[-1] - time[0]) / step_ms > _POINTS:
        raise DataError(f"a stroke of {time[-1] - time[0]:.6g} ms: more than {_POINTS} steps")
    last = np.append(time[1:] > time[:-1], True)  # of points at one time
    grid = np.append(np.arange(time[0], time[-1], step_ms), time[-1])
    return np.stack([np.interp(grid, time[last], stroke[last, i]) for i in (0, 1)], 1)
