"""A study: a paper's experiment as many training runs, and the page that is made from them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import Factory, field, frozen, validators

__all__ = ["Cell", "Record", "Study", "drawn"]

Record = Mapping[str, Any]

_KEY = r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*"


@frozen(kw_only=True)
class Cell:
    """One training run of a study.

    Attributes:
        key: unique within the study and path-like: "japanese-vowels/cmi/0.5/seed-3".
        source: a preset's name, or a TOML file.
        overrides: such as "regularizers.cmi.weight=0.5".
        group: what the cell is for, such as "grid" or "confirmatory".
        seed: the experiment's; it needs no override of its own.
    """

    key: str = field(validator=validators.matches_re(_KEY))
    source: str
    overrides: tuple[str, ...] = ()
    group: str
    seed: int = field(validator=validators.ge(0))


def _nothing_more(run: Path) -> Mapping[str, Any]:
    return {}


@frozen(kw_only=True)
class Study:
    """A paper's experiment.

    Attributes:
        name: kebab-case, unique among all plugins.
        summary: one line.
        reference: the paper, and which of its tables and figures are meant.
        roots: what the cells need from the user's disk: name → what it is.
        cells: returns all cells, always the same. It is given a stand-in for each root,
            `Path("{timit}")` for a root "timit", to be written into overrides; the user's path
            takes its place in training alone. A cell whose root is not given is left out.
        page: writes NAME.md, and any pictures, into a folder from the records alone, which come in
            the order of the cells.
        measure: returns figures of a finished run's directory beyond those that are always
            recorded.
        pictures: returns PNGs of a finished run's directory by a name, kept as STUDY-NAME.png
            beside the page, as the directory goes.
    """

    name: str
    summary: str
    reference: str
    roots: Mapping[str, str] = Factory(dict)
    cells: Callable[[Mapping[str, Path]], Sequence[Cell]]
    page: Callable[[Sequence[Record], Path], None]
    measure: Callable[[Path], Mapping[str, float]] = _nothing_more
    pictures: Callable[[Path], Mapping[str, bytes]] = _nothing_more


def drawn(run: Path, task: str, start: str) -> list[bytes]:
    """Return what a run's task has drawn under titles that start so, as PNG; perhaps nothing."""
    from seqvae_core import files  # late: it brings torch, and the commands list the studies

    folder = run / "evaluation"
    titles = files.read_json(folder / f"{task}.json", missing={}).get("figures", {})
    return [(folder / name).read_bytes() for title, name in titles.items()
            if title.startswith(start)]  # fmt: skip
