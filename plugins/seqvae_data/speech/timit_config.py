"""The settings of TIMIT."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import Attribute, evolve, field, frozen, validators

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.speech.config import FeatureName, SpectrumConfig

__all__ = ["DATASETS", "Timit"]


def _distinct(_: Any, attribute: "Attribute[Any]", value: tuple[str, ...]) -> None:
    if not value or len(set(value)) < len(value):
        raise ValueError(f"'{attribute.name}' must be one or more, each once: {list(value)}")


@frozen(kw_only=True)
class Timit(DatasetConfig):
    """TIMIT, as the LDC has it or as NLTK's sample has it, with its phones aligned to frames.

    Files are found by their paths, in any letter case, at any depth below root:
    `TRAIN/DR1/FVMH0/SX26.WAV` (NIST SPHERE or RIFF WAVE), or `dr1-fvmh0/sx26.wav`. Where both
    are there the former are taken. Beside each lies `.PHN`, and `.WRD` if `words`.

    Global labels are `speaker` (FVMH0), `sex` (F, M), `dialect` (DR1 to DR8), `sentence` (SX26)
    and `sentence_type` (SA, SX, SI). The local label `phone` is the one at the frame's centre,
    the middle of the samples that its window covers.

    Attributes:
        root: the folder; TIMIT's own or one above.
        sentences: which types to read. SA1 and SA2 are the same two sentences for everybody.
        phones: 61 as transcribed; 48 or 39 as folded by Lee and Hon (1989). These drop the
            glottal stop `q`: its frames have no phone. The 39 hold one silence `sil` for closures,
            pauses, `epi` and `h#`.
        words: whether frames also have the local label `word`, missing between words. Where two
            words overlap it is the later one.
        split_by: `official`, the folders TRAIN and TEST; if TEST has all of the core test's 24
            speakers and of the development set's 50, these are test and valid and its other
            speakers are left out, else valid is drawn from TRAIN by speaker. `sentence`, a closed
            set of speakers: SI is test, the other types are train. `rule`, as `split` says.
        split: by `rule`, where it may also look at `part` (TRAIN, TEST); else only how much of
            the training part is for valid.
        features: `log-mel`, `log-magnitude` without DC (200 channels), `mfcc` or `waveform`, as of
            `audio-folder`.
        spectrum: how they are computed.
        segment: frames in a segment; whole utterances if left out. Segments have the label
            `utterance`, a number; what an utterance leaves over is dropped.
        segment_hop: frames from one segment to the next; `segment` if left out.
        normalise: whether to bring each channel to mean 0 and standard deviation 1 on train.
        cache: where computed features are kept.
        on_error: what to do with a recording that cannot be used, or whose transcription cannot:
            `skip` leaves it out and warns.

    Example:
        `{name = "timit", root = "/data/timit", features = "log-magnitude", segment = 20}`.
    """

    name: ClassVar[str] = "timit"

    root: Path
    sentences: tuple[Literal["SA", "SX", "SI"], ...] = field(
        default=("SX", "SI"), validator=_distinct
    )
    phones: Literal[61, 48, 39] = 39
    words: bool = False
    split_by: Literal["official", "sentence", "rule"] = "official"
    split: SplitConfig = SplitConfig()
    features: FeatureName = "log-mel"
    spectrum: SpectrumConfig = SpectrumConfig()
    segment: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    segment_hop: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    normalise: bool = True
    cache: CacheConfig = CacheConfig()
    on_error: Literal["raise", "skip"] = "raise"

    def __attrs_post_init__(self) -> None:
        if self.segment is None and self.segment_hop is not None:
            raise ValueError("'segment_hop' must not be given without 'segment'")
        only_valid = evolve(self.split, valid=SplitConfig().valid) == SplitConfig()
        if self.split_by != "rule" and not only_valid:
            raise ValueError("'split' must set nothing but 'valid' unless split_by = 'rule'")
        if self.split_by == "sentence" and not {"SI"} < set(self.sentences):
            raise ValueError("'sentences' must hold SI and another type for split_by = 'sentence'")

    def build(self, request: DataRequest) -> Splits:
        """Read all recordings and their transcriptions.

        Raises:
            DataError: naming the file (and line) that cannot be used, or what root lacks.
        """
        from seqvae_data.speech.timit import build

        return build(self, request)


DATASETS: tuple[type[DatasetConfig], ...] = (Timit,)
