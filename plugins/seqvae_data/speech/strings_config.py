"""The settings of strings of words."""

from typing import ClassVar

from attrs import field, frozen, validators

from seqvae_core.components import DataRequest, DatasetConfig
from seqvae_core.records import Splits
from seqvae_data.speech.config import AudioFolder

__all__ = ["DATASETS", "AudioStrings"]


@frozen(kw_only=True)
class AudioStrings(AudioFolder):
    r"""Recorded words of one speaker, one after another: what is said changes within a sequence.

    The word that a recording holds is a label of the whole recording; in a string of several it
    is a label of frames. Each file is a word. Words are found, labelled, read and shared among
    the parts as files of `audio-folder` are; then those of each part that agree in `group` are
    strung together at random, by the run's seed. Their features stand side by side: no frame lies
    across two words.

    Words are left over, different ones in each pass, only where strings of `shortest` to
    `longest` words cannot hold all that a group has in a part: fewer than `shortest`, or, say,
    seven words in strings of four.

    Attributes:
        group: a label of words, a class; strings have it as a global label.
        content: a label of words (or of their frames, by `intervals`), which strings have as a
            local label.
        labels: more labels of words, which strings have as local labels; none if left out.
        shortest: words in a string at least.
        longest: words in a string at most; lengths are drawn evenly, but for a group's last ones.
        passes: how often each word of the train part is used, each time in new strings. Those of
            valid and test are used once.
        segment: frames in a segment of a string; whole strings if left out. Segments have the
            label `utterance`, the number of their string; see `audio-folder`.

    Example:
        `pattern = '(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav'` with
        `group = "speaker"` and `content = "digit"`.
    """

    name: ClassVar[str] = "audio-strings"

    group: str
    content: str
    shortest: int = field(default=3, validator=validators.ge(1))
    longest: int = field(default=5, validator=validators.ge(1))
    passes: int = field(default=1, validator=validators.ge(1))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.group == self.content:
            raise ValueError(f"'group' and 'content' must be two labels: '{self.group}'")
        if self.longest < self.shortest:
            raise ValueError(
                f"'longest' must be at least 'shortest', {self.shortest}: {self.longest}"
            )

    def build(self, request: DataRequest) -> Splits:
        """Read all words and string them together.

        Raises:
            DataError: naming the file that cannot be used, what is wrong with the folder, or the
                part that has too few words.
        """
        from seqvae_data.speech.strings import build

        return build(self, request)


DATASETS: tuple[type[DatasetConfig], ...] = (AudioStrings,)
