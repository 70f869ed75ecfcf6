"""Which sequences are for training, validation and test."""

import re
from collections.abc import Mapping, Sequence

from attrs import frozen

from seqvae_core.errors import DataError
from seqvae_core.noise import Noise
from seqvae_data.config import SplitConfig

__all__ = ["Parts", "draw", "split"]


@frozen
class Parts:
    """Positions of the sequences of each part, ascending."""

    train: list[int]
    valid: list[int]
    test: list[int]


def split(
    labels: Sequence[Mapping[str, str]],  # of each sequence
    config: SplitConfig,
    seed: int,
    *,
    test: Sequence[int] | None = None,
) -> Parts:
    """Share sequences among the parts, as a function of the seed and of their order alone.

    Args:
        labels: each sequence's labels as text.
        config: the rules.
        seed: of what is drawn.
        test: the test part, where the data have an official one.

    Raises:
        DataError: for an unknown label, an empty part, or a group that the rule would divide.
    """
    known = labels[0].keys()
    for name in (config.group, config.stratify, config.label):
        if name is not None and name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise DataError(f"no label '{name}' to split by; known: {listed}")
    everything = list(range(len(labels)))
    if test is not None:
        chosen = set(test)
    elif config.label is not None and config.pattern is not None:
        rule = re.compile(config.pattern)
        chosen = {i for i in everything if rule.fullmatch(labels[i][config.label])}
    else:
        chosen = _drawn(everything, labels, config, config.test, seed, "test")
    rest = [i for i in everything if i not in chosen]
    for part, members in (("train", rest), ("test", chosen)):
        if not members:
            raise DataError(f"the {part} part is empty: the split takes {len(labels)} sequences")
    if config.group is not None and test is None:
        _check_whole({labels[i][config.group] for i in rest} & {
            labels[i][config.group] for i in chosen}, config.group)  # fmt: skip
    valid = _drawn(rest, labels, config, config.valid, seed, "valid")
    return Parts([i for i in rest if i not in valid], sorted(valid), sorted(chosen))


def draw(strata: Sequence[str], fraction: float, seed: int, purpose: str) -> set[int]:
    """Return the positions of a random `fraction` of the units, in proportion in each stratum.

    The number is `fraction` of all, rounded, and at least 1 unless `fraction` is 0.

    Raises:
        DataError: if nothing would be left.
    """
    count = len(strata)
    if fraction == 0.0:
        return set()
    size = max(1, round(fraction * count))
    if size >= count:
        raise DataError(f"cannot take {size} of {count} for the {purpose} part: nothing is left")
    order = Noise(seed).of("split").of(purpose).permutation(count).tolist()
    order.sort(key=lambda i: strata[i])  # stable: random within a stratum
    # evenly spaced along the strata, hence in proportion, and exactly `size` in all
    return {order[i] for i in range(count) if (i + 1) * size // count > i * size // count}


def _drawn(
    members: Sequence[int],
    labels: Sequence[Mapping[str, str]],
    config: SplitConfig,
    fraction: float,
    seed: int,
    purpose: str,
) -> set[int]:
    if config.group is None:
        strata = ["" if config.stratify is None else labels[i][config.stratify] for i in members]
        return {members[i] for i in draw(strata, fraction, seed, purpose)}
    groups = sorted({labels[i][config.group] for i in members})
    chosen = {groups[i] for i in draw([""] * len(groups), fraction, seed, purpose)}
    return {i for i in members if labels[i][config.group] in chosen}


def _check_whole(divided: set[str], group: str) -> None:
    if divided:
        raise DataError(
            f"the split's rule divides {len(divided)} values of '{group}' between train and test, "
            f"the first is '{min(divided)}'"
        )
