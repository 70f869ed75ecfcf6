"""The Japanese Vowels data (Kudo, Toyama and Shimbo, 1999), from `.ts` files."""

from pathlib import Path

import numpy as np

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.frames import Example
from seqvae_data.items import assemble
from seqvae_data.series.archive import in_aeon
from seqvae_data.series.config import JapaneseVowels
from seqvae_data.series.ts_files import read_cases
from seqvae_data.splits import draw

__all__ = ["build"]


def build(config: JapaneseVowels, request: DataRequest) -> Splits:
    """Read the official parts and draw the valid part from the training cases."""
    root = config.root or _in_aeon()
    train, test = (_examples(root / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST"))
    speakers = [str(case.labels["speaker"]) for case in train]
    valid = draw(speakers, config.valid, request.seed, "valid")
    return assemble(
        [case for i, case in enumerate(train) if i not in valid],
        [train[i] for i in sorted(valid)],
        test,
        request,
    )


def _in_aeon() -> Path:
    folder = in_aeon()
    if folder is None:
        raise DataError(
            "the Japanese Vowels data come with aeon: pip install 'seqvae[timeseries]', "
            "or set data.root"
        )
    return folder / "JapaneseVowels"


def _examples(path: Path) -> list[Example]:
    return [
        Example(
            x=case.x,
            labels={"speaker": np.array(str(case.label or ""))},
            source=f"{path}, line {case.line}",
            name=f"{path.name}, line {case.line}",
        )
        for case in read_cases(path)
    ]
