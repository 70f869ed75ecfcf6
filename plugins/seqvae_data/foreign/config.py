"""The settings of the data sets that other libraries hold."""

from pathlib import Path
from typing import ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.speech.config import FeatureName, SpectrumConfig

__all__ = ["DATASETS", "HuggingFace"]


@frozen(kw_only=True)
class HuggingFace(DatasetConfig):
    """A Hugging Face data set on the disk: a row for each sequence, image, clip or recording.

    `path` is a folder that `save_to_disk` wrote, an Arrow file (`.arrow`), or a folder of Parquet
    files. Arrow files are mapped, Parquet files converted to one once. Nothing is fetched, and no
    code of the data set's is run.

    Column `x` holds numbers in nested lists or arrays, (T, *frame) or (T,); images, each a frame;
    lists of images, which are clips; or audio, of which features are computed once. Images are
    brought to [0, 1]. Labels of classes keep their names; other integers and text are classes as
    well, floats are numbers; a list of them, one a frame, is a local label; null is missing.

    Splits called train, validation (valid, dev) and test are the parts, others are left out; of
    Parquet files the name or the folder tells the split. What is not there is drawn from train.

    Attributes:
        path: the folder or file.
        x: the column of frames.
        labels: columns of labels; all other classes, numbers and truths, and lists of them, if
            left out: text must be named.
        time: whether the first axis of a list is time; without it a row is one frame, T = 1, and
            (H, W) becomes (1, 1, H, W).
        sample_rate: in hertz; audio of another is resampled. If left out all rows must agree.
        features: of audio; see `audio-folder`.
        spectrum: how they are computed.
        split: what is shared among the parts that are not there.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train; if
            left out, images are not and everything else is.
        cache: where features and converted Parquet files are kept.
        on_error: what to do with audio that cannot be used: `skip` leaves the row out and warns.

    Example:
        ```toml
        [data]
        name = "huggingface"
        path = "minds14"
        x = "audio"
        sample_rate = 16000
        labels = ["intent_class"]
        ```
    """

    name: ClassVar[str] = "huggingface"

    path: Path
    x: str = "x"
    labels: tuple[str, ...] | None = None
    time: bool = True
    sample_rate: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    features: FeatureName = "log-mel"
    spectrum: SpectrumConfig = SpectrumConfig()
    split: SplitConfig = SplitConfig()
    normalise: bool | None = None
    cache: CacheConfig = CacheConfig()
    on_error: Literal["raise", "skip"] = "raise"

    def build(self, request: DataRequest) -> Splits:
        """Open the tables, and compute the features of audio.

        Raises:
            DataError: naming the file, the column and the row that cannot be used.
        """
        from seqvae_data.foreign.huggingface import build

        return build(self, request)


DATASETS: tuple[type[DatasetConfig], ...] = (HuggingFace,)
