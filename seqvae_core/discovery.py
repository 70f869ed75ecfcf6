"""Find plugins, installed ones by their entry points and single modules by name or path."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from attrs import define, field
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from seqvae_core.errors import DuplicateComponentError, PluginError

__all__ = ["GROUP", "Plugin", "installed", "single"]

GROUP = "seqvae"


@define(kw_only=True)
class Plugin:
    """One plugin: where it came from, what it provides, and why it was left out, if it was."""

    name: str
    distribution: str | None = None
    version: str | None = None
    source: str = "entry point"
    error: str | None = None
    exception: BaseException | None = field(default=None, repr=False)
    provides: dict[str, list[Any]] = field(factory=dict)

    @property
    def origin(self) -> str:
        """The plugin's name with its distribution and version, if it has one."""
        release = f" ({self.distribution} {self.version})" if self.distribution else ""
        return f"{self.name}{release}"

    @property
    def failure(self) -> str:
        """The line that says why the plugin was left out."""
        return f"plugin {self.origin} left out: {self.error}"

    def describe(self) -> dict[str, Any]:
        """Return the plugin as JSON data."""
        provides = {
            kind: sorted(item.name for item in items) for kind, items in self.provides.items()
        }
        return {
            "name": self.name, "distribution": self.distribution, "version": self.version,
            "source": self.source, "status": "left out" if self.error else "loaded",
            "error": self.error, "provides": provides,
        }  # fmt: skip


def installed() -> Iterator[tuple[Plugin, Callable[[], Any]]]:
    """Yield the installed plugins that are not disabled, sorted by name, each with its loader.

    A distribution whose metadata lie on the path twice counts once. `SEQVAE_DISABLE_PLUGINS`
    names entry points or distributions.
    """
    disabled = {
        canonicalize_name(name)
        for name in os.environ.get("SEQVAE_DISABLE_PLUGINS", "").replace(",", " ").split()
    }
    found: dict[str, dict[tuple[str, str], metadata.EntryPoint]] = {}
    for entry in sorted(metadata.entry_points(group=GROUP)):
        owner = canonicalize_name(_owner(entry))
        if not {canonicalize_name(entry.name), owner} & disabled:
            found.setdefault(entry.name, {}).setdefault((owner, entry.value), entry)
    for name, entries in found.items():
        owners = sorted(_owner(entry) for entry in entries.values())
        for entry in entries.values():
            plugin = Plugin(
                name=name,
                distribution=entry.dist.name if entry.dist else None,
                version=entry.dist.version if entry.dist else None,
            )
            yield plugin, _loader(entry, owners)


def _owner(entry: metadata.EntryPoint) -> str:
    return (entry.dist.name if entry.dist else None) or entry.value


def _loader(entry: metadata.EntryPoint, owners: list[str]) -> Callable[[], Any]:
    def load() -> Any:
        if len(owners) > 1:
            raise DuplicateComponentError(
                f"entry point '{entry.name}' is provided by both "
                f"{' and '.join(map(repr, owners))}; disable one with SEQVAE_DISABLE_PLUGINS"
            )
        for text in (entry.dist.requires if entry.dist else None) or ():
            _check_requirement(Requirement(text))
        return entry.load()

    return load


def _check_requirement(wanted: Requirement) -> None:
    if canonicalize_name(wanted.name) != "seqvae":
        return
    version = metadata.version("seqvae")
    applies = wanted.marker is None or wanted.marker.evaluate()
    if applies and not wanted.specifier.contains(version, prereleases=True):
        raise PluginError(f"it needs {wanted}, and seqvae {version} is installed")


def single(text: str) -> tuple[Plugin, Callable[[], Any]]:
    """Return the plugin of a module's name or a file's path, with its loader.

    The file's folder, or the working directory for a name, joins the end of the import path, so
    that worker processes find the module too.
    """
    if not text.endswith(".py"):
        return Plugin(name=text, source=f"-p {text}"), lambda: _import(text, Path.cwd())
    path = Path(text).resolve()

    def load() -> Any:
        if not path.is_file():
            raise PluginError(f"no such file: {path}")
        module = _import(path.stem, path.parent)
        got = getattr(module, "__file__", None)
        if got is None or Path(got).resolve() != path:
            raise PluginError(
                f"the name '{path.stem}' belongs to {got or 'a built-in module'}; rename {path}"
            )
        return module

    return Plugin(name=path.stem, source=f"-p {path}"), load


def _import(name: str, folder: Path) -> Any:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    return importlib.import_module(name)
