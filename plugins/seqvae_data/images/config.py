"""The settings of the image and video data sets."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import Attribute, field, frozen, validators

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits
from seqvae_data.config import CacheConfig, SplitConfig, named_groups

__all__ = [
    "DATASETS",
    "Clips",
    "FrameFolders",
    "Idx",
    "Olshausen",
    "OmniglotImages",
    "OmniglotStrokes",
    "Sprites",
    "Videos",
]

Subset = Literal["background", "evaluation", "background_small1", "background_small2"]

_POSITIVE: Any = validators.optional(validators.gt(0))
_COUNT: Any = validators.optional(validators.ge(1))


def _layout(_: Any, attribute: "Attribute[Any]", value: str) -> None:
    if sorted(value) not in (sorted("nthw"), sorted("nthwc")):
        raise ValueError(
            f"'{attribute.name}' must order the letters n, t, h, w and perhaps c: '{value}'"
        )


def _two(_: Any, attribute: "Attribute[Any]", value: tuple[int, ...] | None) -> None:
    if value is not None and (len(value) != 2 or min(value) < 1):
        raise ValueError(f"'{attribute.name}' must be [height, width], both >= 1: {list(value)}")


# Images ------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Idx(DatasetConfig):
    """MNIST, Fashion-MNIST or KMNIST from their IDX files, T = 1, frames (1, 28, 28) in [0, 1].

    The files are called as their makers did, `train-images-idx3-ubyte` and so on, with or without
    `.gz`. Label `digit` for MNIST, else `class`. The test part is the official one.

    Attributes:
        corpus: which one: how its label and classes are called, and what to download.
        root: the folder of the four files; a torchvision folder will do; that of the downloads
            in the cache if left out.
        limit: at most this many training images, the first ones; all if left out.
        limit_test: at most this many test images, evenly spread over them; all if left out.
        split: the valid part, drawn from each class in proportion unless it says otherwise.
        normalise: whether to bring pixels to mean 0 and standard deviation 1 on train.
        download: whether to fetch files that are not there.

    Example:
        `{name = "idx", corpus = "mnist", root = "mnist"}`.
    """

    name: ClassVar[str] = "idx"

    corpus: Literal["mnist", "fashion-mnist", "kmnist"]
    root: Path | None = None
    limit: int | None = field(default=None, validator=_COUNT)
    limit_test: int | None = field(default=None, validator=_COUNT)
    split: SplitConfig = SplitConfig()
    normalise: bool = False
    download: bool = False

    def build(self, request: DataRequest) -> Splits:
        """Read the four files.

        Raises:
            DataError: naming the file that is missing or wrong.
        """
        from seqvae_data.images.idx import build

        return build(self, request)


@frozen(kw_only=True)
class Olshausen(DatasetConfig):
    """Patches of 16×16 pixels of Olshausen and Field's whitened natural images, frames (1, 16, 16).

    The images are the variable `IMAGES`, (512, 512, 10), of their file `IMAGES.mat`; together they
    are brought to [0, 1] by their smallest and their largest number. Places of patches are drawn
    uniformly; the one image that test patches are cut from comes last, the one of valid patches
    before it, and the others are for train. Patch i of a part is a function of the seed and of i
    alone. Label `image`, the number of the image from 0.

    Attributes:
        path: the file.
        count: patches of the training part.
        valid: patches of the validation part, possibly 0.
        test: patches of the test part.

    Example:
        `[data]`, `name = "olshausen"`, `path = "IMAGES.mat"`.
    """

    name: ClassVar[str] = "olshausen"

    path: Path
    count: int = field(default=100_000, validator=validators.ge(1))
    valid: int = field(default=2_000, validator=validators.ge(0))
    test: int = field(default=10_000, validator=validators.ge(1))

    def build(self, request: DataRequest) -> Splits:
        """Read the images and draw where the patches lie.

        Raises:
            DataError: naming the file, and what it holds in place of the images.
        """
        from seqvae_data.images.olshausen import build

        return build(self, request)


@frozen(kw_only=True)
class OmniglotImages(DatasetConfig):
    """Omniglot's drawings as images, T = 1, from its zip files; ink is 1 on 0, frames (1, H, W).

    Labels `alphabet`, `character` (alphabet/character) and `drawer` (alphabet/number: the drawers
    of each alphabet are numbered on their own).

    Attributes:
        root: the folder of `images_background.zip`, or its parent; that of the downloads in the
            cache if left out.
        subset: which zip file.
        size: height and width to bring them to, by the mean of the area; 105 if left out.
        split: what is shared among the parts.
        normalise: whether to bring pixels to mean 0 and standard deviation 1 on train.
        cache: where the images are kept once they are decoded.
        download: whether to fetch a zip file that is not there.

    Example:
        `split = {label = "drawer", pattern = ".*/(17|18|19|20)", valid = 0.1}`.
    """

    name: ClassVar[str] = "omniglot-images"

    root: Path | None = None
    subset: Subset = "background"
    size: int | None = field(default=None, validator=_COUNT)
    split: SplitConfig = SplitConfig()
    normalise: bool = False
    cache: CacheConfig = CacheConfig()
    download: bool = False

    def build(self, request: DataRequest) -> Splits:
        """Read the zip file.

        Raises:
            DataError: naming the zip file, and the member that is wrong.
        """
        from seqvae_data.images.omniglot import build_images

        return build_images(self, request)


@frozen(kw_only=True)
class OmniglotStrokes(DatasetConfig):
    """Omniglot's drawings as pen strokes: a frame (dx, dy, pen up) for each point.

    dx and dy lead from the point before, in pixels of the 105 x 105 canvas, y upwards; they are 0
    at a drawing's first point. The third number is 1 at the last point of each stroke. Labels as
    those of `omniglot-images`.

    Attributes:
        root: the folder of `strokes_background.zip`, or its parent; that of the downloads in the
            cache if left out.
        subset: which zip file.
        step_ms: sample each stroke anew, linearly, at its start, every so many milliseconds, and
            at its end; the points as recorded if left out. Pauses between strokes take no time.
        split: what is shared among the parts.
        normalise: whether to bring all three numbers to mean 0 and standard deviation 1 on train.
        cache: where the points are kept once they are parsed.
        download: whether to fetch a zip file that is not there.
    """

    name: ClassVar[str] = "omniglot-strokes"

    root: Path | None = None
    subset: Subset = "background"
    step_ms: float | None = field(default=None, validator=_POSITIVE)
    split: SplitConfig = SplitConfig()
    normalise: bool = True
    cache: CacheConfig = CacheConfig()
    download: bool = False

    def build(self, request: DataRequest) -> Splits:
        """Read the zip file.

        Raises:
            DataError: naming the zip file, the member that is wrong, and the line.
        """
        from seqvae_data.images.omniglot import build_strokes

        return build_strokes(self, request)


# Video -------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Sprites(DatasetConfig):
    """The Sprites clips of the DSVAE paper: 8 frames (3, 64, 64) in [0, 1] of a moving character.

    Reads `sprites_train.npz` and `sprites_test.npz`, or the `.npy` files that the dataset's own
    scripts write, `walk_front_frames_train.npy` and so on. Labels `body`, `bottom`, `top`, `hair`,
    `action`, `direction` and `character`. The test part is the official one: other characters.

    Attributes:
        root: the folder of the files.
        split: the valid part, of characters that are not in train.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where arrays of an `.npz` file that are larger than 256 MiB are unpacked to.
    """

    name: ClassVar[str] = "sprites"

    root: Path
    split: SplitConfig = SplitConfig(group="character")
    normalise: bool = False
    cache: CacheConfig = CacheConfig()

    def build(self, request: DataRequest) -> Splits:
        """Read or map the files.

        Raises:
            DataError: naming the file, and the array that is wrong.
        """
        from seqvae_data.images.sprites import build

        return build(self, request)


@frozen(kw_only=True)
class Clips(DatasetConfig):
    """Clips in one `.npy` or `.npz` file with its axes in any order, as frames in [0, 1].

    Integers are divided by 255; floats must lie in [0, 1]. Lengths, masks, labels and official
    parts are found in an `.npz` file as `arrays` does.

    Attributes:
        path: the file.
        key: the name of the clips in an `.npz` file.
        layout: its axes: n clips, t frames, h rows, w columns, c channels, which grey clips lack.
        labels: names of the labels; every other array of N rows if left out.
        split: what is shared among the parts; only its valid part where the file has parts.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where arrays of an `.npz` file that are larger than 256 MiB are unpacked to.

    Example:
        `layout = "tnhw"` for Moving MNIST, `layout = "nthwc"` for colour clips.
    """

    name: ClassVar[str] = "clips"

    path: Path
    key: str = "x"
    layout: str = field(default="nthwc", validator=_layout)
    labels: tuple[str, ...] | None = None
    split: SplitConfig = SplitConfig()
    normalise: bool = False
    cache: CacheConfig = CacheConfig()

    def build(self, request: DataRequest) -> Splits:
        """Read the file, or map it if it is large.

        Raises:
            DataError: naming the file and the array that cannot be used.
        """
        from seqvae_data.images.clips import build

        return build(self, request)


@frozen(kw_only=True)
class ClipFiles(DatasetConfig):
    """What `frame-folders` and `videos` have in common.

    Attributes:
        root: the folder, searched to any depth.
        pattern: a regular expression with named groups, searched for in each clip's path below
            root, written with "/".
        labels: which groups become labels; all if left out. `split` may use the others too.
        size: [height, width] to bring frames to, by the mean of the area; as stored if left out.
        colour: whether frames have three channels, or one.
        segment: frames in a segment; whole clips if left out. Segments have the label
            `utterance`, the clip's number; a clip shorter than a segment is one, what a longer
            one leaves over is dropped.
        segment_hop: frames from one segment to the next; `segment` if left out.
        split: what is shared among train, valid and test.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where decoded frames are kept, as bytes.
        on_error: what to do with a file that cannot be used: `skip` leaves its clip out and warns.
    """

    root: Path
    pattern: str | None = field(default=None, validator=named_groups)
    labels: tuple[str, ...] | None = None
    size: tuple[int, ...] | None = field(default=None, validator=_two)
    colour: bool = True
    segment: int | None = field(default=None, validator=_COUNT)
    segment_hop: int | None = field(default=None, validator=_COUNT)
    split: SplitConfig = SplitConfig()
    normalise: bool = False
    cache: CacheConfig = CacheConfig()
    on_error: Literal["raise", "skip"] = "raise"

    def __attrs_post_init__(self) -> None:
        if self.segment is None and self.segment_hop is not None:
            raise ValueError("'segment_hop' must not be given without 'segment'")


@frozen(kw_only=True)
class FrameFolders(ClipFiles):
    """Folders of PNG or JPEG files, each folder a clip, its frames in natural order of names.

    Labels are the named groups of `pattern`, else `label`, the name of the folder around the
    clip's. Palettes become colours; what is transparent lies on black.
    """

    name: ClassVar[str] = "frame-folders"

    def build(self, request: DataRequest) -> Splits:
        """Read all files.

        Raises:
            DataError: naming the file that cannot be used, or what is wrong with the folder.
        """
        from seqvae_data.images.folders import build

        return build(self, request)


@frozen(kw_only=True)
class Videos(ClipFiles):
    """A folder of video files, each a clip: MP4, MOV, AVI, WebM and MKV, through PyAV.

    Labels are the named groups of `pattern`, else `label`, the name of the file's folder. Sound
    and the rotation that a file may ask for are left aside.

    Attributes:
        fps: frames a second to take: those on show at 0, 1/fps, 2/fps, ...; all if left out.
    """

    name: ClassVar[str] = "videos"

    fps: float | None = field(default=None, validator=_POSITIVE)

    def build(self, request: DataRequest) -> Splits:
        """Decode all files.

        Raises:
            DataError: naming the file that cannot be used, or what is wrong with the folder.
        """
        from seqvae_data.images.video import build

        return build(self, request)


DATASETS: tuple[type[DatasetConfig], ...] = (
    Idx,
    Olshausen,
    OmniglotImages,
    OmniglotStrokes,
    Sprites,
    Clips,
    FrameFolders,
    Videos,
)
