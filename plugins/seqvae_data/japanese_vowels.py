"""The Japanese Vowels data (Kudo, Toyama and Shimbo, 1999), from `.ts` files."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.config import JapaneseVowels
from seqvae_data.items import Example, assemble
from seqvae_data.splits import draw

__all__ = ["build", "read_ts"]


def build(config: JapaneseVowels, request: DataRequest) -> Splits:
    """Read the official parts and draw the valid part from the training cases."""
    root = config.root or _in_aeon()
    train, test = (read_ts(root / f"JapaneseVowels_{part}.ts", "speaker")
                   for part in ("TRAIN", "TEST"))  # fmt: skip
    speakers = [str(case.labels["speaker"]) for case in train]
    valid = draw(speakers, config.valid, request.seed, "valid")
    return assemble(
        [case for i, case in enumerate(train) if i not in valid],
        [train[i] for i in sorted(valid)],
        test,
        request,
    )


def _in_aeon() -> Path:
    # the files alone: importing aeon would take seconds
    spec = find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "the Japanese Vowels data come with aeon: pip install 'seqvae[timeseries]', "
            "or set data.root"
        )
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "JapaneseVowels"


def read_ts(path: Path, label: str) -> list[Example]:
    """Read a `.ts` file: a case a line, channels divided by ':', the class at the end.

    Raises:
        DataError: naming the file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    cases = []
    begun = False
    for number, line in enumerate(lines, 1):
        if begun and line.strip():
            cases.append(_case(line, label, f"{path}, line {number}"))
        begun = begun or line.strip().lower() == "@data"
    if not cases:
        raise DataError(f"{path}: no cases after '@data'")
    return cases


def _case(line: str, label: str, where: str) -> Example:
    *channels, name = line.strip().split(":")
    try:
        x = np.array([list(map(float, channel.split(","))) for channel in channels], np.float32)
    except ValueError:
        x = np.empty(0, np.float32)
    if x.ndim != 2 or not name:
        raise DataError(
            f"{where}: expected channels of equally many numbers, then the class, divided by ':'"
        )
    return Example(x=np.ascontiguousarray(x.T), labels={label: np.array(name)}, source=where)
