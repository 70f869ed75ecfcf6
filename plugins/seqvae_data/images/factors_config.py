"""The settings of images with known factors, each a sequence of one frame in [0, 1]."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import Attribute, field, frozen, validators

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits
from seqvae_data.config import CacheConfig, SplitConfig

__all__ = ["DATASETS", "MPI3D", "DSprites", "Digits", "MPI3DMulti", "Shapes3D", "ThreeDots"]

_SOME = validators.ge(1)
_ANY = validators.ge(0)


@frozen(kw_only=True)
class Digits(DatasetConfig):
    """The 1797 handwritten digits of 8×8 pixels that ship with scikit-learn, label `digit`.

    Attributes:
        split: how images are shared among the parts.
        normalise: whether to bring the pixels to mean 0 and standard deviation 1 on train.

    Example:
        `[data]`, `name = "sklearn-digits"`.
    """

    name: ClassVar[str] = "sklearn-digits"

    split: SplitConfig = SplitConfig(stratify="digit")
    normalise: bool = False

    def build(self, request: DataRequest) -> Splits:
        """Read the images from the installed package."""
        from seqvae_data.images.digits import build

        return build(self, request)


@frozen(kw_only=True)
class ThreeDots(DatasetConfig):
    """Three black dots anywhere on 64×64 pixels of white, drawn when asked for.

    The six labels `x0`, `y0`, `x1`, `y1`, `x2`, `y2` are drawn uniformly and apart. Each has the
    64 classes "0" to "63", and the class is the factor's value: x counts columns, y rows. Image i
    of a part is a function of the seed and of i alone. See `three_dots.render` for the drawing.

    Attributes:
        count: images of the training part.
        valid: images of the validation part, possibly 0.
        test: images of the test part.

    Example:
        `[data]`, `name = "three-dots"`, `count = 20000`.
    """

    name: ClassVar[str] = "three-dots"

    count: int = field(default=500_000, validator=_SOME)
    valid: int = field(default=2_000, validator=_ANY)
    test: int = field(default=10_000, validator=_SOME)

    def build(self, request: DataRequest) -> Splits:
        """Draw the factors."""
        from seqvae_data.images.three_dots import build

        return build(self, request)


@frozen(kw_only=True)
class _File(DatasetConfig):
    path: Path | None = None
    split: SplitConfig = SplitConfig()
    normalise: bool = False
    cache: CacheConfig = CacheConfig()
    download: bool = False


@frozen(kw_only=True)
class DSprites(_File):
    """dSprites: a white square, ellipse or heart on 64×64 pixels of black, from its `.npz` file.

    Labels are `shape` (0 square, 1 ellipse, 2 heart), `scale`, `orientation`, `pos_x` and
    `pos_y`; the sixth factor, colour, has one value and is left out. The file's `metadata`, which
    is pickled, is never read.

    Attributes:
        path: the file; if left out, where `download` puts it.
        factors: "classes" for `latents_classes`; "numbers" for `latents_values` (scale in
            [0.5, 1], orientation in radians, positions in [0, 1]), with `shape` still a class.
        split: how images are shared among the parts.
        normalise: whether to bring the pixels to mean 0 and standard deviation 1 on train.
        cache: where the images, 3 GB, are unpacked to once and mapped from.
        download: whether to fetch the file, 26 MB, if it is not there.

    Example:
        `[data]`, `name = "dsprites"`, `download = true`.
    """

    name: ClassVar[str] = "dsprites"

    factors: Literal["classes", "numbers"] = "classes"

    def build(self, request: DataRequest) -> Splits:
        """Map the images.

        Raises:
            DataError: naming the file, and the array that cannot be used.
        """
        from seqvae_data.images.dsprites import build

        return build(self, request)


@frozen(kw_only=True)
class Shapes3D(_File):
    """3D Shapes: an object in a room, 64×64 pixels in colour, from `3dshapes.h5`.

    Labels are `floor_hue`, `wall_hue`, `object_hue` (10 values each), `scale` (8), `shape` (0
    cube, 1 cylinder, 2 sphere, 3 capsule) and `orientation` (15).

    Attributes:
        path: the file; if left out, where `download` puts it.
        factors: "classes" for the rank of each value; "numbers" for the values (hues in [0, 1),
            scale in [0.75, 1.25], orientation in degrees), with `shape` still a class.
        split: how images are shared among the parts.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where the images, 6 GB, are unpacked to once and mapped from. The published file
            is compressed in blocks of 15000 images, of which 768 must be read for one image.
            A file in blocks of 64 images or less is read in place.
        download: whether to fetch the file, 256 MB, if it is not there.

    Example:
        `[data]`, `name = "shapes3d"`, `path = "3dshapes.h5"`.
    """

    name: ClassVar[str] = "shapes3d"

    factors: Literal["classes", "numbers"] = "classes"

    def build(self, request: DataRequest) -> Splits:
        """Open the file, and unpack it if it must be.

        Raises:
            DataError: naming the file, and the data set in it that cannot be used.
        """
        from seqvae_data.images.shapes3d import build

        return build(self, request)


def _seven(_: Any, attribute: "Attribute[Any]", value: tuple[int, ...] | None) -> None:
    if value is not None and (len(value) != 7 or min(value) < 1):
        raise ValueError(f"'{attribute.name}' must be 7 numbers of values, each >= 1: {value}")


@frozen(kw_only=True)
class MPI3D(_File):
    """MPI3D: an object on a robot's arm, 64×64 pixels in colour, from an `.npz` file.

    Labels are `object_color` (6 values), `object_shape` (6), `object_size` (2), `camera_height`
    (3), `background_color` (3), `horizontal_axis` (40) and `vertical_axis` (40), which the order
    of the images implies, the last varying fastest. A file of 460800 images, such as
    `real3d_complicated_shapes_ordered.npz`, has 4 colours and 4 shapes.

    Attributes:
        path: the file; if left out, where `download` puts that of `variant`.
        variant: which file to fetch.
        sizes: the numbers of values of the seven factors; if left out, the number of images,
            1036800 or 460800, says which.
        split: how images are shared among the parts.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where the images, 13 GB or 6 GB, are unpacked to once and mapped from.
        download: whether to fetch the file, up to 12 GB, if it is not there.

    Example:
        `[data]`, `name = "mpi3d"`, `path = "mpi3d_real.npz"`.
    """

    name: ClassVar[str] = "mpi3d"

    variant: Literal["toy", "realistic", "real"] = "real"
    sizes: tuple[int, ...] | None = field(default=None, validator=_seven)

    def build(self, request: DataRequest) -> Splits:
        """Map the images.

        Raises:
            DataError: naming the file, and what it holds in place of MPI3D's images.
        """
        from seqvae_data.images.mpi3d import build

        return build(self, request)


@frozen(kw_only=True)
class MPI3DMulti(DatasetConfig):
    """MPI3D-Multi: four independent images of `mpi3d` at half their size, 2×2, put together anew.

    Colour 3, shape 1, size 1, camera height 0 and background 2 are fixed. The eight labels
    `horizontal_0`, `vertical_0`, ..., `vertical_3` are the arms' angles, drawn uniformly and
    apart; each has 40 classes, and the class is the factor's value. Images 0 and 1 are on the
    left, 0 and 2 on top. Source: Rhodes and Lee, arXiv 2106.02923.

    Attributes:
        path: an MPI3D file; if left out, where `download` puts that of `variant`.
        variant: which file to fetch.
        sizes: the numbers of values of the file's factors; see `mpi3d`.
        count: images of the training part.
        valid: images of the validation part, possibly 0.
        test: images of the test part.
        cache: where the file's images are unpacked to once and mapped from.
        download: whether to fetch the file, up to 12 GB, if it is not there.

    Example:
        `[data]`, `name = "mpi3d-multi"`, `path = "mpi3d_real.npz"`.
    """

    name: ClassVar[str] = "mpi3d-multi"

    path: Path | None = None
    variant: Literal["toy", "realistic", "real"] = "real"
    sizes: tuple[int, ...] | None = field(default=None, validator=_seven)
    count: int = field(default=500_000, validator=_SOME)
    valid: int = field(default=2_000, validator=_ANY)
    test: int = field(default=10_000, validator=_SOME)
    cache: CacheConfig = CacheConfig()
    download: bool = False

    def build(self, request: DataRequest) -> Splits:
        """Draw the factors and map the images.

        Raises:
            DataError: naming the file, and what it holds in place of MPI3D's images.
        """
        from seqvae_data.images.mpi3d import build_multi

        return build_multi(self, request)


DATASETS: tuple[type[DatasetConfig], ...] = (
    Digits, ThreeDots, DSprites, Shapes3D, MPI3D, MPI3DMulti,
)  # fmt: skip
