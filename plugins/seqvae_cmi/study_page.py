"""The page of the study of CMI, from the records alone; what has no records has no section."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from seqvae_cmi.study import IMAGES, SETTINGS, SPEECH, Setting
from seqvae_cmi.study_contrasts import Runs, contrasts
from seqvae_cmi.study_plots import plot
from seqvae_cmi.study_tables import aims, confirmatory, grid, images, speech
from seqvae_core.files import write_atomic
from seqvae_core.study import Record

__all__ = ["write"]


def write(records: Sequence[Record], folder: Path) -> None:
    """Write `cmi.md` and its plots."""
    found = {record["key"]: record for record in records}
    parts = [(Path(__file__).parent / "study_head.md").read_text(encoding="utf-8")]
    for name in dict.fromkeys(setting.name for setting in (*SETTINGS, *SPEECH, *IMAGES)):
        if lines := _section(name, found, folder):
            parts += [f"## {name}\n", *lines]
    write_atomic(folder / "cmi.md", "\n".join(parts))


def _section(name: str, found: Mapping[str, Record], folder: Path) -> list[str]:
    lines: list[str] = []
    for setting in _named(name, SETTINGS):
        runs = Runs(setting, found)
        if runs.seeds:
            lines += [*contrasts(runs), *confirmatory(runs)]
            write_atomic(folder / f"cmi-{name}.png", plot(runs))
            lines.append(f"![{name}](cmi-{name}.png)\n")
        lines += grid(setting, found)
    for setting in _named(name, SPEECH):
        lines += [*speech(setting, found), *aims(setting, found)]
    for setting in _named(name, IMAGES):
        lines += images(setting, found)
    return lines


def _named(name: str, settings: Sequence[Setting]) -> list[Setting]:
    return [setting for setting in settings if setting.name == name]
