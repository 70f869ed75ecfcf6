"""The settings of the EEG and physiology data sets."""

from pathlib import Path
from typing import ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits
from seqvae_data.config import CacheConfig, SplitConfig, named_groups, regex

__all__ = ["DATASETS", "Deap", "Eeg", "EegSmni"]

_POSITIVE = validators.optional(validators.gt(0.0))


@frozen(kw_only=True)
class Eeg(DatasetConfig):
    r"""A folder of EEG recordings: EDF, EDF+, BDF and FIF, read by MNE.

    A frame is one sample of all channels, (C,): voltages in microvolts, other channels in MNE's
    units. A sequence is what follows an event if `events` are named and no `window` is given, with
    the global label `event`; a window of fixed length if `window` is given, with `event` as a
    local label, missing outside events; else a whole recording. Events are the file's annotations.
    Each recording is referenced, filtered and resampled once, as a whole and in memory.

    Attributes:
        root: the folder, searched to any depth.
        pattern: a regular expression with named groups, searched for in each file's path below
            root, written with "/"; the groups are labels.
        labels: which groups become labels; all if left out. `split` may use the others too, and
            `path`.
        extensions: of the files to read.
        exclude: a regular expression; files in whose path it is found are left out.
        picks: names or MNE's types of the channels, in this order. Channels of EDF files are of
            type `eeg` unless their label starts with another, as in "EOG left".
        strip: characters taken off both ends of each channel's name: "." makes "Fc5." "Fc5".
        reference: `average` subtracts the mean over the picked EEG channels.
        low: lower edge of the pass-band, in hertz.
        high: upper edge of the pass-band, in hertz.
        resample: sampling rate to bring recordings to, in hertz; if left out all must agree.
        events: names of the annotations to use.
        tmin: start of an event's sequence, in seconds after the event's onset.
        tmax: its end, in seconds after the onset; the event's own end if left out. Sequences that
            reach beyond their recording are left out, with a warning.
        window: length of windows, in seconds. Windows have the label `utterance`, the recording's
            number; what is left over at the end is dropped.
        step: from one window to the next, in seconds; `window` if left out.
        split: what is shared among train, valid and test: the events' sequences, or the
            recordings, whose windows stay together.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where recordings are kept as they are after resampling.
        on_error: what to do with a file that cannot be used: `skip` leaves it out and warns.

    Example:
        `pattern = '(?P<subject>S\d+)/S\d+R(?P<run>\d+)\.edf'`, `events = ["T1", "T2"]`,
        `tmin = 0.0`, `tmax = 4.0`, `split = {group = "subject"}`.
    """

    name: ClassVar[str] = "eeg"

    root: Path
    pattern: str | None = field(default=None, validator=named_groups)
    labels: tuple[str, ...] | None = None
    extensions: tuple[Literal["edf", "bdf", "fif"], ...] = ("edf", "bdf", "fif")
    exclude: str | None = field(default=None, validator=regex)
    picks: tuple[str, ...] = field(default=("eeg",), validator=validators.min_len(1))
    strip: str = ""
    reference: Literal["none", "average"] = "none"
    low: float | None = field(default=None, validator=_POSITIVE)
    high: float | None = field(default=None, validator=_POSITIVE)
    resample: float | None = field(default=None, validator=_POSITIVE)
    events: tuple[str, ...] = ()
    tmin: float = 0.0
    tmax: float | None = None
    window: float | None = field(default=None, validator=_POSITIVE)
    step: float | None = field(default=None, validator=_POSITIVE)
    split: SplitConfig = SplitConfig()
    normalise: bool = True
    cache: CacheConfig = CacheConfig()
    on_error: Literal["raise", "skip"] = "raise"

    def __attrs_post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("'low' must be below 'high'")
        if self.tmax is not None and self.tmin >= self.tmax:
            raise ValueError("'tmin' must be below 'tmax'")
        if (self.tmin, self.tmax) != (0.0, None) and (self.window is not None or not self.events):
            raise ValueError(
                "'tmin' and 'tmax' must not be given without 'events' or with 'window'"
            )
        _check_step(self.window, self.step)

    def build(self, request: DataRequest) -> Splits:
        """Read all recordings.

        Raises:
            DataError: naming the file that cannot be used, or what is wrong with the folder.
        """
        from seqvae_data.eeg.recordings import build

        return build(self, request)


@frozen(kw_only=True)
class EegSmni(DatasetConfig):
    """UCI's EEG Database: trials of one second, 256 Hz, 64 channels in µV (Begleiter, 1995).

    Files `<subject>.rd.<trial>.gz` are found at any depth. Labels: `subject`; `group`, `alcoholic`
    or `control`; `condition`, `S1 obj`, `S2 match` or `S2 nomatch`, followed by `err` where the
    subject's answer was wrong.

    Attributes:
        root: the folder, of whole archives or of a choice from them.
        exclude_channels: names of channels to leave out: two of the eyes, and one of nothing.
        decimate: keep each n-th sample, behind a low-pass filter: 2 gives 128 Hz.
        official: take the test part from root's `index.csv` (columns `file` and `split`), else
            from the folder SMNI_CMI_TEST beside SMNI_CMI_TRAIN; where there is neither, or
            without this, `split` draws it.
        split: what is shared among train, valid and test; only its valid part is used where the
            test part is official.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where trials are kept once their text has been read.
        on_error: what to do with a file that cannot be used: `skip` leaves it out and warns.

    Example:
        `name = "eeg-smni"`, `root = "eeg"`, `decimate = 2`,
        `split = {stratify = "subject", valid = 0.1}`.
    """

    name: ClassVar[str] = "eeg-smni"

    root: Path
    exclude_channels: tuple[str, ...] = ("X", "Y", "nd")
    decimate: int = field(default=1, validator=[validators.ge(1), validators.le(64)])
    official: bool = True
    split: SplitConfig = SplitConfig()
    normalise: bool = True
    cache: CacheConfig = CacheConfig()
    on_error: Literal["raise", "skip"] = "raise"

    def build(self, request: DataRequest) -> Splits:
        """Read all trials.

        Raises:
            DataError: naming the file and the line that cannot be used, or what is wrong with
                the folder.
        """
        from seqvae_data.eeg.smni import build

        return build(self, request)


@frozen(kw_only=True)
class Deap(DatasetConfig):
    """DEAP's preprocessed recordings: 40 music videos a subject, 128 Hz (Koelstra et al., 2012).

    Files `s01.mat` or `s01.dat`, one a subject, with arrays `data` (40 trials, 40 channels, 8064
    samples) and `labels` (40 trials, 4 ratings). The `.dat` files are pickles: only arrays of
    numbers are read from them, by a reader that runs nothing that a file asks for. Labels:
    `subject`, `video` (the number of the trial), and `valence`, `arousal`, `dominance`, `liking`,
    numbers from 1 to 9.

    Attributes:
        root: the folder of the files.
        files: which of the two layouts to read.
        channels: the 32 of EEG, in microvolts, or `all` 40, with eyes, muscles and the body's.
        baseline: what to do with the 3 s before each video: `drop` them; `subtract` each
            channel's mean over them from the rest; or `keep` them.
        window: length of windows, in seconds; whole trials if left out. Windows have the label
            `utterance`, the trial's number; what is left over at the end is dropped.
        step: from one window to the next, in seconds; `window` if left out.
        split: what is shared among train, valid and test; windows of one trial stay together.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where the frames are kept.
        on_error: what to do with a file that cannot be used: `skip` leaves it out and warns.

    Example:
        `name = "deap"`, `root = "data_preprocessed_matlab"`, `window = 2.0`,
        `split = {group = "subject"}`.
    """

    name: ClassVar[str] = "deap"

    root: Path
    files: Literal["mat", "dat"] = "mat"
    channels: Literal["eeg", "all"] = "eeg"
    baseline: Literal["drop", "subtract", "keep"] = "drop"
    window: float | None = field(default=None, validator=_POSITIVE)
    step: float | None = field(default=None, validator=_POSITIVE)
    split: SplitConfig = SplitConfig()
    normalise: bool = True
    cache: CacheConfig = CacheConfig()
    on_error: Literal["raise", "skip"] = "raise"

    def __attrs_post_init__(self) -> None:
        _check_step(self.window, self.step)

    def build(self, request: DataRequest) -> Splits:
        """Read all subjects.

        Raises:
            DataError: naming the file that cannot be used, or what is wrong with the folder.
        """
        from seqvae_data.eeg.deap import build

        return build(self, request)


def _check_step(window: float | None, step: float | None) -> None:
    if window is None and step is not None:
        raise ValueError("'step' must not be given without 'window'")


DATASETS: tuple[type[DatasetConfig], ...] = (Eeg, EegSmni, Deap)
