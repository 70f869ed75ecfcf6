"""What a task found, as a page shows it: tables laid out, pictures and sounds inside."""

import base64
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from seqvae_core.components import TaskResult
from seqvae_core.errors import CheckpointError, PluginError
from seqvae_report.tables import Table, metrics_table, table

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Shown", "template"]


@frozen
class Shown:
    """One task on a page.

    Attributes:
        name: its heading.
        notes: sentences under it.
        tables: by title.
        figures: data URIs of pictures by title, None for a file that is missing.
        sounds: likewise.
        metrics: all of its numbers.
    """

    name: str
    notes: list[str]
    tables: list[tuple[str, Table]]
    figures: list[tuple[str, str | None]]
    sounds: list[tuple[str, str | None]]
    metrics: Table

    @classmethod
    def of(cls, name: str, result: TaskResult) -> "Shown":
        """Return what a task has just found."""
        return cls(
            name=name,
            notes=list(result.notes),
            tables=[(title, table(rows)) for title, rows in result.tables.items()],
            figures=[(title, _uri(each, "image/png")) for title, each in result.figures.items()],
            sounds=[(title, _uri(each, "audio/wav")) for title, each in result.sounds.items()],
            metrics=metrics_table(result.metrics),
        )

    @classmethod
    def read(cls, folder: Path, name: str, metrics: Mapping[str, Any]) -> "Shown":
        """Return what a run's folder `evaluation` has of a task.

        Raises:
            CheckpointError: if its file cannot be read.
        """
        file = folder / f"{name}.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        except ValueError as error:
            raise CheckpointError(f"cannot read {file}: {error}") from error
        return cls(
            name=name,
            notes=list(found.get("notes", ())),
            tables=[(title, table(rows)) for title, rows in found.get("tables", {}).items()],
            figures=_embedded(folder, found.get("figures", {}), "image/png"),
            sounds=_embedded(folder, found.get("sounds", {}), "audio/wav"),
            metrics=metrics_table(metrics),
        )


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _embedded(folder: Path, files: Mapping[str, str], kind: str) -> list[tuple[str, str | None]]:
    """Return each file in the folder as a data URI by title, None where there is none."""
    uris: list[tuple[str, str | None]] = []
    for title, relative in files.items():
        file, uri = folder / relative, None
        if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
            uri = _uri(file.read_bytes(), kind)
        uris.append((title, uri))
    return uris


def template(name: str) -> "Template":
    """Return a template, "package/file.html.jinja", that may extend others so named.

    What it is given is text and never markup, and a name that it is not given is an error.

    Raises:
        PluginError: if jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError:
        raise PluginError(
            "pages need jinja2, which is not installed: pip install 'seqvae[report]'"
        ) from None
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=FunctionLoader(_source),
    )  # fmt: skip
    return environment.get_template(name)


def _source(name: str) -> str:
    package, _, file = name.partition("/")
    return (resources.files(package) / file).read_text(encoding="utf-8")
