"""TIMIT: find its recordings, align phones and words to frames, share out speakers, cut."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from attrs import evolve, frozen

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.cache import Features, Found, compute_all
from seqvae_data.config import SplitConfig
from seqvae_data.faults import leave_out
from seqvae_data.frames import Example
from seqvae_data.items import Parts, assemble, divide
from seqvae_data.speech.audio import read
from seqvae_data.speech.inverse import to_wav
from seqvae_data.speech.segments import cut
from seqvae_data.speech.spectra import features, frame_times
from seqvae_data.speech.timit_config import Timit
from seqvae_data.speech.timit_tables import CORE_TEST, DEVELOPMENT, folding
from seqvae_data.speech.timit_times import at, read_phones, read_words

__all__ = ["Recording", "build", "find"]

RATE = 16000  # hertz; transcriptions count samples at this rate

_SPEAKER = r"(?P<speaker>[FM][A-Z]{3}\d)"
_SENTENCE = r"(?P<sentence>S[AIX]\d+)\.WAV$"
_LDC = rf"(?:^|/)(?P<part>TRAIN|TEST)/(?P<dialect>DR[1-8])/{_SPEAKER}/{_SENTENCE}"
_NLTK = rf"(?:^|/)(?P<part>)(?P<dialect>DR[1-8])-{_SPEAKER}/{_SENTENCE}"


@frozen
class Recording:
    """One sentence by one speaker.

    Attributes:
        path: the sound file.
        name: its path below root.
        labels: `speaker`, `sex`, `dialect`, `sentence`, `sentence_type`, and `part`: TRAIN, TEST,
            or "" where folders do not say.
    """

    path: Path
    name: str
    labels: Mapping[str, str]

    @property
    def key(self) -> tuple[str, str]:
        """The speaker and the sentence, of which there is but one recording."""
        return self.labels["speaker"], self.labels["sentence"]

    def beside(self, ending: str) -> Path:
        """Return the file of the same name with another ending, in either letter case.

        Raises:
            DataError: if there is none.
        """
        for path in (self.path.with_suffix(ending.upper()), self.path.with_suffix(ending)):
            if path.is_file():
                return path
        raise DataError(f"{self.path}: no {ending.upper()} file of its name beside it")


def build(config: Timit, request: DataRequest) -> Splits:
    """Read the recordings, share the utterances, cut each part into segments."""
    recordings = find(config)
    whole = _examples(config, recordings)
    parts = _divide(config, recordings, whole, request)
    train, valid, test = (_cut(config, part) for part in parts)
    return assemble(
        train, valid, test, request,
        scaled=config.normalise,
        facts={"sample_rate": RATE, "phones": config.phones},
        sound=partial(to_wav, name=config.features, rate=RATE, config=config.spectrum),
    )  # fmt: skip


# Finding -----------------------------------------------------------------------------------------


def find(config: Timit) -> list[Recording]:
    """Return the recordings of the wanted sentence types, by part, speaker and sentence.

    Raises:
        DataError: if there are none, or one is there twice.
    """
    if not config.root.is_dir():
        raise DataError(f"no such folder: {config.root}")
    files = sorted(path for path in config.root.rglob("*") if path.is_file())
    everything = _matching(config.root, files, _LDC) or _matching(config.root, files, _NLTK)
    if not everything:
        raise DataError(
            f"no recordings of TIMIT in {config.root}: expected files as "
            "TRAIN/DR1/FVMH0/SX26.WAV or dr1-fvmh0/sx26.wav"
        )
    wanted = [one for one in everything if one.labels["sentence_type"] in config.sentences]
    if not wanted:
        raise DataError(
            f"none of the {len(everything)} recordings in {config.root} is of a type in "
            f"data.sentences: {', '.join(config.sentences)}"
        )
    seen: dict[tuple[str, str], Path] = {}
    for one in wanted:
        if (other := seen.setdefault(one.key, one.path)) is not one.path:
            raise DataError(f"one recording is there twice: {other} and {one.path}")
    return wanted


def _matching(root: Path, files: Sequence[Path], pattern: str) -> list[Recording]:
    found = [
        Recording(path, path.relative_to(root).as_posix(), _labels(match))
        for path in files
        if (match := re.search(pattern, path.as_posix(), re.IGNORECASE))
    ]
    return sorted(found, key=lambda one: (one.labels["part"], *one.key, one.name))


def _labels(match: re.Match[str]) -> dict[str, str]:
    groups = {name: text.upper() for name, text in match.groupdict().items()}
    return {**groups, "sex": groups["speaker"][0], "sentence_type": groups["sentence"][:2]}


# Reading -----------------------------------------------------------------------------------------


def _examples(config: Timit, recordings: Sequence[Recording]) -> list[Example]:
    """Return whole utterances; what cannot be used is left out if the settings say so."""
    examples, faults = [], []
    for found in _features(config, recordings):
        try:
            examples.append(_example(config, recordings[found.index], found))
        except DataError as error:
            faults.append(str(error))
    leave_out(faults, config.on_error, "recordings")
    if not examples:
        total = len(recordings)
        raise DataError(f"none of the {total} recordings can be used, the first: {faults[0]}")
    return examples


def _example(config: Timit, recording: Recording, found: Found) -> Example:
    """Return an utterance with its labels: the phone, and the word, at each frame's centre."""
    times = frame_times(config.features, found.x.shape[0], RATE, config.spectrum)
    centres = np.round(RATE * times, 3)
    samples = found.facts["samples"]
    names = folding(config.phones)
    phones = read_phones(recording.beside(".phn"), samples)
    local = {"phone": at([evolve(one, text=names[one.text]) for one in phones], centres)}
    if config.words:
        local["word"] = at(read_words(recording.beside(".wrd"), samples), centres)
    return Example(
        x=found.x,
        labels={name: np.array(text) for name, text in recording.labels.items()} | local,
        source=str(recording.path),
        name=recording.name,
        utterance=found.index,
        stats=found.stats,
    )


def _features(config: Timit, recordings: Sequence[Recording]) -> list[Found]:
    def compute(path: Path) -> Features:
        sound, rate = read(path)
        if rate != RATE:
            raise DataError(f"sampled at {rate} Hz, TIMIT is at {RATE} Hz")
        x = features(config.features, sound, rate, config.spectrum)
        return Features(x=x, facts={"samples": sound.size})

    return compute_all(
        [one.path for one in recordings],
        compute,
        ("timit", 1, config.features, config.spectrum),
        config.cache,
        on_error=config.on_error,
    )


# Parts and segments ------------------------------------------------------------------------------


def _divide(
    config: Timit, recordings: Sequence[Recording], whole: list[Example], request: DataRequest
) -> Parts:
    if config.split_by == "rule":
        return divide(whole, config.split, request)
    valid = config.split.valid
    if config.split_by == "sentence":
        rule = SplitConfig(label="sentence_type", pattern="SI", stratify="speaker", valid=valid)
        return divide(whole, rule, request)
    present = {part: {one.labels["speaker"] for one in recordings if one.labels["part"] == part}
               for part in ("TRAIN", "TEST")}  # fmt: skip
    if not all(present.values()):
        raise DataError(
            f"no recordings in folders TRAIN and TEST in {config.root}, which the official parts "
            "are: set data.split_by = 'rule' and data.split = {group = 'speaker'}"
        )
    if present["TEST"] >= CORE_TEST | DEVELOPMENT:
        return _listed(whole)
    test = [i for i, example in enumerate(whole) if example.labels["part"] == "TEST"]
    return divide(whole, SplitConfig(group="speaker", valid=valid), request, test=test)


def _listed(whole: Sequence[Example]) -> Parts:
    train = [example for example in whole if example.labels["part"] == "TRAIN"]
    valid, test = (
        [one for one in whole if one.labels["part"] == "TEST" and str(one.labels["speaker"]) in who]
        for who in (DEVELOPMENT, CORE_TEST)
    )
    return train, valid, test


def _cut(config: Timit, part: Sequence[Example]) -> list[Example]:
    """Return the segments of utterances, without what is no label."""
    pieces: list[Example] = []
    for example in part:
        labels = {name: value for name, value in example.labels.items() if name != "part"}
        pieces.extend(cut(evolve(example, labels=labels), config.segment, config.segment_hop))
    return pieces
