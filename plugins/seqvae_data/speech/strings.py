"""Strings of words: recordings of one speaker one after another, within each part."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.noise import Noise
from seqvae_core.records import Splits
from seqvae_data.faults import leave_out
from seqvae_data.frames import Example, Frames, Stats
from seqvae_data.items import divide
from seqvae_data.speech.folder import finish, utterances
from seqvae_data.speech.strings_config import AudioStrings

__all__ = ["Joined", "build", "compose"]


@frozen(eq=False)
class Joined:
    """Frames of several, one after another, read when asked for."""

    parts: Sequence[Frames]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (T of all together, *frame)."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    def __getitem__(self, index: slice) -> NDArray[Any]:
        """Read the frames of a slice, of those parts alone that it touches."""
        first, last, _ = index.indices(self.shape[0])
        pieces = []
        for part in self.parts:
            if last > max(first, 0) and first < part.shape[0]:
                pieces.append(part[max(first, 0) : last])
            first, last = first - part.shape[0], last - part.shape[0]
        return np.concatenate(pieces or [self.parts[0][:0]])


def build(config: AudioStrings, request: DataRequest) -> Splits:
    """Read the words, share them out, string those of each part together."""
    wanted = dict.fromkeys((config.group, config.content, *(config.labels or ())))
    words, names, rate = utterances(evolve(config, labels=tuple(wanted)))
    parts = divide(_grouped(config, words), config.split, request)
    noise, numbers = Noise(request.seed).of("strings"), count()
    train, valid, test = (
        [_string(config.group, names, string, next(numbers))
         for string in _strung(config, part, name, noise.of(name))]
        for name, part in zip(("train", "valid", "test"), parts, strict=True)
    )  # fmt: skip
    return finish(config, (train, valid, test), names, rate, request)


def compose(words: int, shortest: int, longest: int, noise: Noise) -> Iterator[list[int]]:
    """Yield strings of words in random order, each word in one of them, until none is left.

    A string's length is drawn from those that leave a number of words which strings can hold. If
    they cannot hold all words, as few as can be are left over.

    Args:
        words: how many there are.
        shortest: words in a string at least.
        longest: words in a string at most.
        noise: what order and lengths are drawn from.

    Yields:
        Positions of words, in [0, words), each at most once.
    """

    def fits(number: int) -> bool:
        return -(-number // longest) <= number // shortest

    order = noise.permutation(words).tolist()
    rest = next(number for number in range(words, -1, -1) if fits(number))
    while rest:
        lengths = [n for n in range(shortest, min(longest, rest) + 1) if fits(rest - n)]
        length = lengths[int(noise.integers(len(lengths), (1,)))]
        yield order[rest - length : rest]
        rest -= length


def _grouped(config: AudioStrings, words: Sequence[Example]) -> list[Example]:
    """Return the words whose group is known."""
    value = words[0].labels[config.group]
    if value.ndim or value.dtype.kind == "f":
        kind = "a label of frames" if value.ndim else "a number"
        raise DataError(f"expected a class of files as data.group, '{config.group}' is {kind}")
    faults = [
        f"{word.source}: has no '{config.group}', which strings are made by"
        for word in words
        if _group(word, config.group) in ("", "-1")
    ]
    leave_out(faults, config.on_error, "files")
    known = [word for word in words if _group(word, config.group) not in ("", "-1")]
    if not known:
        raise DataError(f"none of the {len(words)} files can be used, the first: {faults[0]}")
    return known


def _group(word: Example, label: str) -> str:
    return str(word.labels[label])


def _strung(
    config: AudioStrings, words: Sequence[Example], part: str, noise: Noise
) -> Iterator[list[Example]]:
    """Yield the words of each string of a part.

    Raises:
        DataError: if there are words, but no group has enough for a string.
    """
    groups: dict[str, list[Example]] = {}
    for word in words:
        groups.setdefault(_group(word, config.group), []).append(word)
    if groups and max(map(len, groups.values())) < config.shortest:
        raise DataError(
            f"the {part} part has no string: none of the {len(groups)} values of "
            f"'{config.group}' has data.shortest = {config.shortest} words there"
        )
    for group, members in sorted(groups.items()):
        stream = noise.of(group)
        for _ in range(config.passes if part == "train" else 1):
            for string in compose(len(members), config.shortest, config.longest, stream):
                yield [members[i] for i in string]


def _string(group: str, names: Sequence[str], words: Sequence[Example], number: int) -> Example:
    """Return words as one example, whose labels but `group` are those of frames."""
    labels = {
        name: np.concatenate([np.broadcast_to(w.labels[name], w.x.shape[:1]) for w in words])
        for name in names
    }
    said = ", ".join(word.name for word in words)
    return Example(
        x=Joined([word.x for word in words]),
        labels=labels | {group: words[0].labels[group]},
        source=f"the string of {said}",
        name=f"string {number}: {said}",
        utterance=number,
        stats=Stats.merged([word.stats or Stats.of(word.x[:]) for word in words]),
    )
