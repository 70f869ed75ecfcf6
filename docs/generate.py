"""Write docs/reference/components.md from the settings classes; `make docs` runs it."""

import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from seqvae_core import Plugins
from seqvae_core.components import KINDS, Component
from seqvae_core.settings import OptimizerConfig, Schedule

PAGE = Path(__file__).parent / "reference" / "components.md"

_HEAD = """# Built-in components

Written by `make docs` from the settings classes. A key without a default is left out by default.
Of a table's default only what differs from the table's own defaults is shown. `seqvae components`
lists the components of your own plugins too.
"""


def page(plugins: Plugins) -> str:
    """Return the page of all components that come with seqvae."""
    parts = [_HEAD]
    nested: dict[str, type] = {}
    for kind in KINDS:
        parts.append(f"\n## {kind}\n")
        for name, found in plugins.components(kind).items():
            if plugins.provider(kind, name).distribution == "seqvae":
                parts.append(_section(f"### {name}", found))
                nested |= _nested(found)
    parts.append("\n## Tables inside these\n")
    parts.extend(_section(f"### {found.__name__}", found) for _, found in sorted(nested.items()))
    return "".join(parts)


def _section(heading: str, found: type) -> str:
    summary, notes = _docstring(found)
    rows = [
        f"| `{field.alias}` | {_type(field.type)} | {_default(field)} | {notes[field.name]} |\n"
        for field in attrs.fields(attrs.resolve_types(found))
    ]
    table = ["\n| key | type | default | |\n|---|---|---|---|\n", *rows] if rows else []
    return "".join([f"\n{heading}\n\n{_cell(summary)}\n", *table])


def _docstring(found: type) -> tuple[str, dict[str, str]]:
    """Return the summary and what `Attributes:` says, those of the bases too."""
    notes: dict[str, str] = {}
    for each in reversed(found.__mro__):
        text = each.__dict__.get("__doc__") or ""
        block = re.search(r"Attributes:\n((?:[ ]{8}.*\n?|\n)+)", text)
        lines = re.finditer(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", block[1] if block else "", re.M)
        notes |= {line[1]: _cell(" ".join(line[2].split())).rstrip(".") for line in lines}
    return (found.__doc__ or "").strip().split("\n")[0], notes


def _nested(found: type) -> dict[str, type]:
    """Return the tables inside a class that are neither components nor the experiment's own."""
    inside: dict[str, type] = {}
    for field in attrs.fields(attrs.resolve_types(found)):
        for each in (field.type, *get_args(field.type)):
            if attrs.has(each) and not issubclass(each, (Component, OptimizerConfig, Schedule)):
                inside |= {each.__name__: each} | _nested(each)
    return inside


def _type(target: Any) -> str:
    if get_origin(target) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(target))
    if get_origin(target) in (types.UnionType, Union):
        return _type(next(arm for arm in get_args(target) if arm is not type(None)))
    if get_origin(target) is tuple:
        return f"list of {_type(get_args(target)[0])}"
    if issubclass(target, Component):
        return f"a component ({target.kind})"
    name: str = target.__name__
    return name.replace("Path", "path")


def _default(field: "attrs.Attribute[Any]") -> str:
    if field.default is attrs.NOTHING:
        return "required"
    return "" if field.default is None else f"`{_cell(_inline(field.default))}`"


def _inline(value: Any) -> str:
    if attrs.has(type(value)):
        own = {f.alias: f.default for f in attrs.fields(type(value))}
        items = {key: getattr(value, key) for key in own if getattr(value, key) != own[key]}
        return "{" + ", ".join(f"{key} = {_inline(item)}" for key, item in items.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(Plugins.load(strict=True)), encoding="utf-8")
