"""CSV and Parquet files in long format, converted once, a block of rows at a time.

Memory holds one block of rows (8 MiB of a CSV file, or 65536 rows of a Parquet file and the row
group that they are of), some numbers for each sequence and, where missing values are filled in,
one whole sequence.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.records import Splits
from seqvae_data.frames import Cut, Example
from seqvae_data.items import RESERVED, Parts, assemble, divide
from seqvae_data.series.config import Table
from seqvae_data.series.convert import convert
from seqvae_data.series.store import Store, stored
from seqvae_data.series.survey import PARTS

__all__ = ["build"]


def build(config: Table, request: DataRequest) -> Splits:
    """Convert the file, and share its sequences among the parts."""
    for name in (*config.labels, *config.local_labels):
        if name in RESERVED:
            raise DataError(f"a label cannot be called '{name}': rename the column")
    roles = (config.id, config.time, config.channels, config.labels, config.local_labels)
    store = stored(
        config.path,
        ("table", 2, config.path.suffixes, roles, config.part, config.missing),
        config.cache,
        lambda sink: convert(config, sink),
    )
    _warn_irregular(config, store)
    examples = list(_examples(config, store))
    train, valid, test = _given(config, store, examples, request)
    facts = {"channels": store.index["channels"]}
    return assemble(train, valid, test, request, scaled=config.normalise, facts=facts)


def _warn_irregular(config: Table, store: Store) -> None:
    import warnings

    shortest, longest = store.index["steps"]
    if longest > shortest * 1.001:
        warnings.warn(
            f"{config.path}: the steps of '{config.time}' are irregular, from {shortest:.6g} to "
            f"{longest:.6g}; models see the order of the rows alone",
            stacklevel=3,
        )


def _examples(config: Table, store: Store) -> Iterator[Example]:
    index = store.index
    for i, (start, stop) in enumerate(store.spans()):
        whole = {name: np.array(values[i]) for name, values in index["global"].items()}
        yield Example(
            x=Cut(store.columns["x"], start, stop),
            labels=_Labels(store, whole, start, stop) if index["local"] else whole,
            source=f"{config.path}, {config.id} '{index['names'][i]}'",
            name=index["names"][i],
        )


@frozen(eq=False)
class _Labels(Mapping[str, NDArray[Any]]):
    """The labels of one sequence, of which the local ones are read when asked for."""

    store: Store
    whole: Mapping[str, NDArray[Any]]
    start: int
    stop: int

    def __iter__(self) -> Iterator[str]:
        yield from self.whole
        yield from self.store.index["local"]

    def __len__(self) -> int:
        return len(self.whole) + len(self.store.index["local"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name in self.whole:
            return self.whole[name]
        classes = self.store.index["local"][name]
        values = self.store.columns[f"label {name}"][self.start : self.stop]
        return values if classes is None else np.array(classes)[values]


def _given(config: Table, store: Store, examples: list[Example], request: DataRequest) -> Parts:
    """Return the parts that the column says, or that the split draws."""
    if config.part is None:
        return divide(examples, config.split, request)
    said = store.index["parts"]
    chosen = {part: [i for i, one in enumerate(said) if one == part] for part in PARTS}
    for part in ("train", "test"):
        if not chosen[part]:
            raise DataError(f"{config.path}, column '{config.part}': no sequence is in '{part}'")
    if not chosen["valid"]:
        return divide(examples, config.split, request, test=chosen["test"])
    train, valid, test = ([examples[i] for i in chosen[part]] for part in PARTS)
    return train, valid, test
