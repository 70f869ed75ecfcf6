"""The settings of the data sets; reading begins in `build`."""

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import Attribute, field, frozen, validators

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits

__all__ = ["Arrays", "AudioFolder", "JapaneseVowels", "SpectrumConfig", "SplitConfig"]

_FRACTION = [validators.ge(0.0), validators.lt(1.0)]


def _regex(_: Any, attribute: "Attribute[Any]", value: str | None) -> None:
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

    test: float = field(default=0.2, validator=_FRACTION)
    valid: float = field(default=0.1, validator=_FRACTION)
    group: str | None = None
    stratify: str | None = None
    label: str | None = None
    pattern: str | None = field(default=None, validator=_regex)

    def __attrs_post_init__(self) -> None:
        if (self.label is None) is not (self.pattern is None):
            raise ValueError("'label' and 'pattern' must be given together")
        if self.group is not None and self.stratify is not None:
            raise ValueError("'group' and 'stratify' must not be given together")


@frozen(kw_only=True)
class SpectrumConfig:
    """A short-time spectrum: periodic sqrt-Hann window, no padding at the ends, decibels.

    Attributes:
        frame_ms: length of the window, in milliseconds.
        hop_ms: from one frame to the next, in milliseconds.
        n_fft: points of the Fourier transform; the window's samples when left out.
        mels: number of mel bands (log-mel only).
        fmin: lowest band's lower edge, in hertz (log-mel only).
        fmax: highest band's upper edge, in hertz; half the sampling rate when left out.
        floor_db: what is quieter is set to this; 0 dB is |X| = 1 at full scale 1.
    """

    frame_ms: float = field(default=25.0, validator=validators.gt(0.0))
    hop_ms: float = field(default=10.0, validator=validators.gt(0.0))
    n_fft: int | None = field(default=None, validator=validators.optional(validators.ge(2)))
    mels: int = field(default=40, validator=validators.ge(1))
    fmin: float = field(default=0.0, validator=validators.ge(0.0))
    fmax: float | None = field(default=None, validator=validators.optional(validators.gt(0.0)))
    floor_db: float = -80.0


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
    valid: float = field(default=0.15, validator=_FRACTION)

    def build(self, request: DataRequest) -> Splits:
        """Read the two files.

        Raises:
            DataError: if aeon or a file is missing, or a line cannot be read.
        """
        from seqvae_data.japanese_vowels import build

        return build(self, request)


def _named_groups(_: Any, attribute: "Attribute[Any]", value: str | None) -> None:
    _regex(None, attribute, value)
    if value is not None and not re.compile(value).groupindex:
        raise ValueError(f"'{attribute.name}' must have named groups, (?P<speaker>...): '{value}'")


@frozen(kw_only=True)
class AudioFolder(DatasetConfig):
    r"""A folder of audio files, as spectra: WAV, FLAC and NIST SPHERE, in any letter case.

    Labels are the named groups of `pattern`, else `label`, the name of the file's folder. Several
    channels are averaged. All is read and computed once, in memory.

    Attributes:
        root: the folder, searched to any depth.
        pattern: a regular expression with named groups, searched for in each file's path below
            root, written with "/".
        labels: which groups become labels; all if left out. `split` may use the others too.
        extensions: of the files to read.
        exclude: a regular expression; files in whose path it is found are left out.
        sample_rate: in hertz; other files are resampled. If left out all files must agree.
        features: `log-mel`, or `log-magnitude` without DC (frame 25 ms, 16 kHz: 200 channels).
        spectrum: how they are computed.
        segment: frames in a segment; whole utterances if left out. Segments have the label
            `utterance`, a number; an utterance shorter than a segment is one, what a longer one
            leaves over is dropped.
        segment_hop: frames from one segment to the next; `segment` if left out.
        split: what is shared among train, valid and test.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        on_error: what to do with a file that cannot be used: `skip` leaves it out and warns.

    Example:
        `(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav`,
        `(?P<part>TRAIN|TEST)/DR\d/(?P<speaker>\w+)/(?P<sentence>\w+)\.WAV`.
    """

    name: ClassVar[str] = "audio-folder"

    root: Path
    pattern: str | None = field(default=None, validator=_named_groups)
    labels: tuple[str, ...] | None = None
    extensions: tuple[str, ...] = ("wav", "flac", "sph")
    exclude: str | None = field(default=None, validator=_regex)
    sample_rate: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    features: Literal["log-mel", "log-magnitude"] = "log-mel"
    spectrum: SpectrumConfig = SpectrumConfig()
    segment: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    segment_hop: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    split: SplitConfig = SplitConfig()
    normalise: bool = True
    on_error: Literal["raise", "skip"] = "raise"

    def __attrs_post_init__(self) -> None:
        if self.segment is None and self.segment_hop is not None:
            raise ValueError("'segment_hop' must not be given without 'segment'")

    def build(self, request: DataRequest) -> Splits:
        """Read all files.

        Raises:
            DataError: naming the file that cannot be used, or what is wrong with the folder.
        """
        from seqvae_data.audio import build

        return build(self, request)


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
        labels: names of the labels; every other array of N rows if left out.
        time: whether the second axis is time; without it each row is one frame, T = 1, and
            images (N, H, W) become (N, 1, 1, H, W).
        split: what is shared among the parts; only its valid part where the file has parts.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
    """

    name: ClassVar[str] = "arrays"

    path: Path
    key: str = "x"
    labels: tuple[str, ...] | None = None
    time: bool = True
    split: SplitConfig = SplitConfig()
    normalise: bool = True

    def build(self, request: DataRequest) -> Splits:
        """Read the file.

        Raises:
            DataError: naming the file and the array that cannot be used.
        """
        from seqvae_data.arrays import build

        return build(self, request)
