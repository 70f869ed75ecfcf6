"""The settings of the data sets; reading begins in `build`."""

import re
from pathlib import Path
from typing import Any, ClassVar

from attrs import Attribute, field, frozen, validators

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits

__all__ = ["FRACTION", "Arrays", "CacheConfig", "LinearGaussian", "SplitConfig", "named_groups",
           "regex"]  # fmt: skip

FRACTION = [validators.ge(0.0), validators.lt(1.0)]


def regex(_: Any, attribute: "Attribute[Any]", value: str | None) -> None:
    """Refuse what is no regular expression."""
    try:
        re.compile(value or "")
    except re.error as error:
        raise ValueError(f"'{attribute.name}' must be a regular expression: {error}") from None


@frozen(kw_only=True)
class SplitConfig:
    r"""How sequences are shared among train, valid and test.

    The test part is what a rule names (`label` and `pattern`), else a random fraction; the valid
    part is a random fraction of what the test part leaves. Segments of one utterance never part.

    Attributes:
        test: fraction for the test part, unless a rule names it; of the groups if there are any.
        valid: fraction of the rest for the valid part; 0 for none.
        group: a label whose values (speakers, say) each stay within one part.
        stratify: a label whose values are drawn from in proportion.
        label: the label that the rule looks at; for audio files also `path`.
        pattern: a regular expression; where it matches the whole label, the part is test.

    Example:
        `{label = "take", pattern = "[0-4]"}`, `{label = "sentence", pattern = 'SA\d'}`,
        `{group = "speaker", test = 0.25}`.
    """

    test: float = field(default=0.2, validator=FRACTION)
    valid: float = field(default=0.1, validator=FRACTION)
    group: str | None = None
    stratify: str | None = None
    label: str | None = None
    pattern: str | None = field(default=None, validator=regex)

    def __attrs_post_init__(self) -> None:
        if (self.label is None) is not (self.pattern is None):
            raise ValueError("'label' and 'pattern' must be given together")
        if self.group is not None and self.stratify is not None:
            raise ValueError("'group' and 'stratify' must not be given together")


def named_groups(_: Any, attribute: "Attribute[Any]", value: str | None) -> None:
    """Refuse what is no regular expression with named groups."""
    regex(None, attribute, value)
    if value is not None and not re.compile(value).groupindex:
        raise ValueError(f"'{attribute.name}' must have named groups, (?P<speaker>...): '{value}'")


@frozen(kw_only=True)
class CacheConfig:
    """Where computed features are kept.

    Attributes:
        keep: whether to keep them on disk; without it they are computed anew each time, in memory.
        folder: where; `$SEQVAE_CACHE` or the user's cache folder if left out. Whatever is in it
            may be deleted at any time.
        workers: threads that compute; one a core if left out.
    """

    keep: bool = True
    folder: Path | None = None
    workers: int | None = field(default=None, validator=validators.optional(validators.ge(1)))


@frozen(kw_only=True)
class Arrays(DatasetConfig):
    """Sequences in one `.npy` or `.npz` file, which is never unpickled.

    An `.npy` file holds x, (N, T, *frame), or (N, T) for frames of one number. An `.npz` file
    holds x under `key`, optionally `length` (N,) or `mask` (N, T), and labels: (N,) when global,
    (N, T) when local; text and integers are classes, floats are numbers. Where `x_train` and
    `x_test` (perhaps `x_valid`) stand in for x, every array's name ends so, and the parts are
    those.

    Attributes:
        path: the file.
        key: the name of x in an `.npz` file.
        labels: names of the labels; every other array of N rows if left out, with a warning about
            arrays that have other rows.
        time: whether the second axis is time; without it each row is one frame, T = 1, and
            images (N, H, W) become (N, 1, 1, H, W).
        split: what is shared among the parts; only its valid part where the file has parts.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where arrays of an `.npz` file that are larger than 256 MiB are unpacked to.
    """

    name: ClassVar[str] = "arrays"

    path: Path
    key: str = "x"
    labels: tuple[str, ...] | None = None
    time: bool = True
    split: SplitConfig = SplitConfig()
    normalise: bool = True
    cache: CacheConfig = CacheConfig()

    def build(self, request: DataRequest) -> Splits:
        """Read the file, or map it if it is large.

        Raises:
            DataError: naming the file and the array that cannot be used.
        """
        from seqvae_data.arrays import build

        return build(self, request)


@frozen(kw_only=True)
class LinearGaussian(DatasetConfig):
    """Vectors x = A z + e of known density: z ~ N(0, I), e ~ N(0, noise² I), T = 1.

    The columns of A are orthogonal and of length 2, 2·decay, 2·decay², so that factors matter
    less and less; A is the same for all seeds. h(x) is known, and the data declare it, for bounds
    that take it.

    Attributes:
        size: numbers of x.
        factors: of them, at most `size`.
        noise: standard deviation of e.
        decay: of the columns' lengths.
        count: vectors in all.
        split: what is shared among the parts.
    """

    name: ClassVar[str] = "linear-gaussian"

    size: int = field(default=8, validator=validators.ge(1))
    factors: int = field(default=3, validator=validators.ge(1))
    noise: float = field(default=0.5, validator=validators.gt(0.0))
    decay: float = field(default=0.7, validator=[validators.gt(0.0), validators.le(1.0)])
    count: int = field(default=5000, validator=validators.ge(3))
    split: SplitConfig = SplitConfig()

    def __attrs_post_init__(self) -> None:
        if self.factors > self.size:
            raise ValueError(f"'factors' must be <= 'size', {self.size}: {self.factors}")

    def build(self, request: DataRequest) -> Splits:
        """Draw the vectors, as a function of the seed."""
        from seqvae_data.gaussian import build

        return build(self, request)
