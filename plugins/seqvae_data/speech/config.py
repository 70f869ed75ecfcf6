"""The settings of the speech data sets."""

from pathlib import Path
from typing import ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits
from seqvae_data.config import CacheConfig, SplitConfig, named_groups, regex

__all__ = ["DATASETS", "AudioFolder", "FeatureName", "SpectrumConfig"]

FeatureName = Literal["log-mel", "log-magnitude", "mfcc", "waveform"]


@frozen(kw_only=True)
class SpectrumConfig:
    """A short-time spectrum: periodic sqrt-Hann window, no padding at the ends, decibels.

    Attributes:
        frame_ms: length of the window, in milliseconds.
        hop_ms: from one frame to the next, in milliseconds.
        n_fft: points of the Fourier transform; the window's samples when left out.
        mels: number of mel bands (log-mel and mfcc).
        fmin: lowest band's lower edge, in hertz (log-mel and mfcc).
        fmax: highest band's upper edge, in hertz; half the sampling rate when left out.
        floor_db: what is quieter is set to this; 0 dB is |X| = 1 at full scale 1.
        coefficients: how many, the first included (mfcc only).
    """

    frame_ms: float = field(default=25.0, validator=validators.gt(0.0))
    hop_ms: float = field(default=10.0, validator=validators.gt(0.0))
    n_fft: int | None = field(default=None, validator=validators.optional(validators.ge(2)))
    mels: int = field(default=40, validator=validators.ge(1))
    fmin: float = field(default=0.0, validator=validators.ge(0.0))
    fmax: float | None = field(default=None, validator=validators.optional(validators.gt(0.0)))
    floor_db: float = -80.0
    coefficients: int = field(default=13, validator=validators.ge(1))


@frozen(kw_only=True)
class AudioFolder(DatasetConfig):
    r"""A folder of audio files, as spectra: WAV, FLAC and NIST SPHERE, in any letter case.

    Labels are the named groups of `pattern`, or the columns of `manifest`, else `label`, the name
    of the file's folder; `intervals` adds labels of frames. Several channels are averaged.
    Features are computed once.

    A manifest is a CSV (.csv, .tsv) or JSON lines (.jsonl) file with a row for each audio file: a
    column `path`, below root and written with "/", and labels. Cells may be empty (null in JSON).
    A column is numbers if `numbers` names it, or if all its cells are written as numbers and one
    of them has a decimal point; else classes. Intervals are a file of the same kinds with columns
    `path`, `start` and `end` in seconds, and labels; a frame has the labels of the interval that
    its middle lies in.

    Attributes:
        root: the folder, searched to any depth.
        pattern: a regular expression with named groups, searched for in each file's path below
            root, written with "/".
        manifest: a file with each audio file's labels, relative to root.
        intervals: a file with labels of stretches of time, relative to root.
        numbers: columns of these two files that are numbers whatever they look like.
        labels: which groups or columns become labels; all if left out. `split` may use the others
            too.
        extensions: of the files to read.
        exclude: a regular expression; files in whose path it is found are left out.
        sample_rate: in hertz; other files are resampled. If left out all files must agree.
        channels: how many each file must have; any number if left out.
        trim_db: silence at both ends, which lies this far below the loudest frame, is left out.
        features: `log-mel`; `log-magnitude` without DC (frame 25 ms, 16 kHz: 200 channels);
            `mfcc`; `waveform`, the samples themselves in frames of `frame_ms` without overlap.
        spectrum: how they are computed.
        segment: frames in a segment; whole utterances if left out. Segments have the label
            `utterance`, a number; an utterance shorter than a segment is one, what a longer one
            leaves over is dropped.
        segment_hop: frames from one segment to the next; `segment` if left out.
        split: what is shared among train, valid and test.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where computed features are kept.
        on_error: what to do with a file or row that cannot be used: `skip` leaves it out and
            warns.

    Example:
        `(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav`,
        `(?P<part>TRAIN|TEST)/DR\d/(?P<speaker>\w+)/(?P<sentence>\w+)\.WAV`.
    """

    name: ClassVar[str] = "audio-folder"

    root: Path
    pattern: str | None = field(default=None, validator=named_groups)
    manifest: str | None = None
    intervals: str | None = None
    numbers: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    extensions: tuple[str, ...] = ("wav", "flac", "sph")
    exclude: str | None = field(default=None, validator=regex)
    sample_rate: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    channels: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    trim_db: float | None = field(default=None, validator=validators.optional(validators.gt(0.0)))
    features: FeatureName = "log-mel"
    spectrum: SpectrumConfig = SpectrumConfig()
    segment: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    segment_hop: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    split: SplitConfig = SplitConfig()
    normalise: bool = True
    cache: CacheConfig = CacheConfig()
    on_error: Literal["raise", "skip"] = "raise"

    def __attrs_post_init__(self) -> None:
        if self.segment is None and self.segment_hop is not None:
            raise ValueError("'segment_hop' must not be given without 'segment'")
        if self.pattern is not None and self.manifest is not None:
            raise ValueError("'pattern' and 'manifest' must not be given together")
        if self.numbers and self.manifest is None and self.intervals is None:
            raise ValueError("'numbers' must not be given without 'manifest' or 'intervals'")

    def build(self, request: DataRequest) -> Splits:
        """Read all files.

        Raises:
            DataError: naming the file that cannot be used, or what is wrong with the folder.
        """
        from seqvae_data.speech.folder import build

        return build(self, request)


DATASETS: tuple[type[DatasetConfig], ...] = (AudioFolder,)
