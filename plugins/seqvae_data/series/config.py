"""The settings of the time series data sets."""

from pathlib import Path
from typing import ClassVar, Literal

from attrs import field, frozen

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits
from seqvae_data.config import FRACTION, CacheConfig, SplitConfig

__all__ = ["DATASETS", "TS", "JapaneseVowels", "Table"]


@frozen(kw_only=True)
class TS(DatasetConfig):
    """Cases of `.ts` files, the format of the UEA and UCR archives: any lengths and channels.

    The files are `path_train` and `path_test`; or those of a `problem` of the archives, which is
    looked for in `root`, among the problems that come with the aeon package, and among those
    fetched before. A file is converted once, into flat files in the cache, and of these only what
    a batch needs is read. Time stamps are refused.

    Attributes:
        path_train: a file of training cases.
        path_test: a file of test cases; without it `split` draws the test part from `path_train`.
        problem: the name of a problem: "BasicMotions", say.
        root: a folder with `<problem>_TRAIN.ts` and `_TEST.ts`, or with a folder `<problem>` that
            has them; aeon's own and the user's cache folder if left out.
        download: whether to fetch a problem that is nowhere, from timeseriesclassification.com,
            into `root` or the user's cache folder. No checksums are published.
        label: what the class, or the target of a regression, is called.
        missing: what to do about '?' and 'NaN': refuse them, or fill them in linearly in time,
            held before the first and after the last known value.
        split: what is shared among the parts; only its valid part where there is a test file.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where converted files are kept.

    Example:
        ```toml
        [data]
        name = "ts"
        problem = "BasicMotions"
        label = "activity"
        split = { valid = 0.2, stratify = "activity" }
        ```
    """

    name: ClassVar[str] = "ts"

    path_train: Path | None = None
    path_test: Path | None = None
    problem: str | None = None
    root: Path | None = None
    download: bool = False
    label: str = "class"
    missing: Literal["refuse", "interpolate"] = "refuse"
    split: SplitConfig = SplitConfig()
    normalise: bool = True
    cache: CacheConfig = CacheConfig()

    def __attrs_post_init__(self) -> None:
        if (self.path_train is None) is (self.problem is None):
            raise ValueError("exactly one of 'path_train' and 'problem' must be given")
        if self.path_test is not None and self.path_train is None:
            raise ValueError("'path_test' must not be given without 'path_train'")
        if self.problem is None and (self.root is not None or self.download):
            raise ValueError("'root' and 'download' must not be given without 'problem'")

    def build(self, request: DataRequest) -> Splits:
        """Find the files, fetch them if that is asked for, and convert them once.

        Raises:
            DataError: for an unknown problem, or naming the file and the line that is wrong.
        """
        from seqvae_data.series.ts import build

        return build(self, request)


@frozen(kw_only=True)
class Table(DatasetConfig):
    """Sequences in one CSV or Parquet file in long format: a row for each step.

    `.csv` and `.tsv`, also with `.gz`, and `.parquet` or `.pq`. Rows of one `id` are a sequence,
    in the order of the file; those of other ids may lie between them. The file is converted once,
    a block of rows at a time, into flat files in the cache, and of these only what a batch needs
    is read. A label of text or integers is a class, one of other numbers is a number; empty
    labels are missing.

    Attributes:
        path: the file.
        id: the column that says which sequence a row belongs to.
        time: the column that says when: numbers, or ISO 8601 times. They must increase within a
            sequence; irregular steps are warned about, since models see steps alone.
        channels: the columns of the frames; all columns of numbers that are left if left out. A
            column of a CSV file whose cells are mostly numbers is one of them.
        labels: columns of labels: global if constant within each sequence, else local.
        local_labels: columns of labels that are local in any case.
        part: a column that says train, valid or test, the same all through a sequence. Without
            sequences in valid, `split` draws them from train.
        missing: what to do about empty and NaN values of channels: refuse them, or fill them in
            linearly in time, held before the first and after the last known value.
        split: what is shared among the parts; only its valid part where `part` is given.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where the converted file is kept.

    Example:
        ```toml
        [data]
        name = "table"
        path = "walks.parquet"
        id = "walk"
        time = "seconds"
        labels = ["person", "ground"]
        split = { group = "person" }
        ```
    """

    name: ClassVar[str] = "table"

    path: Path
    id: str = "id"
    time: str | None = None
    channels: tuple[str, ...] | None = None
    labels: tuple[str, ...] = ()
    local_labels: tuple[str, ...] = ()
    part: str | None = None
    missing: Literal["refuse", "interpolate"] = "refuse"
    split: SplitConfig = SplitConfig()
    normalise: bool = True
    cache: CacheConfig = CacheConfig()

    def __attrs_post_init__(self) -> None:
        named = [self.id, self.time, self.part, *(self.channels or ()), *self.labels,
                 *self.local_labels]  # fmt: skip
        given = [name for name in named if name is not None]
        for name in given:
            if given.count(name) > 1:
                raise ValueError(f"column '{name}' must have one role, it is named twice")
        if self.channels == ():
            raise ValueError("'channels' must name a column, or be left out")

    def build(self, request: DataRequest) -> Splits:
        """Convert the file, unless the cache has it, and share the sequences among the parts.

        Raises:
            DataError: naming the file, and the row and column where something is wrong.
        """
        from seqvae_data.series.table import build

        return build(self, request)


@frozen(kw_only=True)
class JapaneseVowels(DatasetConfig):
    """Nine speakers saying /ae/: 12 cepstral coefficients, 7 to 29 frames, label `speaker`.

    The official 270 training and 370 test cases as the `aeon` package brings them, normalised
    per channel on the training part.

    Attributes:
        root: a folder with `JapaneseVowels_TRAIN.ts` and `_TEST.ts`; those in aeon if left out.
        valid: fraction of the training cases for the valid part, drawn within each speaker.
    """

    name: ClassVar[str] = "japanese-vowels"

    root: Path | None = None
    valid: float = field(default=0.15, validator=FRACTION)

    def build(self, request: DataRequest) -> Splits:
        """Read the two files.

        Raises:
            DataError: if aeon or a file is missing, or a line cannot be read.
        """
        from seqvae_data.series.japanese_vowels import build

        return build(self, request)


DATASETS: tuple[type[DatasetConfig], ...] = (JapaneseVowels, Table, TS)
