"""Plugins: find, load and check them; look components up; call the lifecycle hooks."""

import difflib
import importlib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
from attrs import define, field
from packaging.requirements import Requirement

from seqvae_core import components, hookspecs
from seqvae_core.components import Component
from seqvae_core.errors import (
    ConfigError,
    DuplicateComponentError,
    PluginError,
    SeqVAEError,
    UnknownComponentError,
)
from seqvae_core.hookspecs import Preset

if TYPE_CHECKING:
    from seqvae_core.records import Run

__all__ = ["KINDS", "Plugin", "Plugins", "did_you_mean"]

GROUP = "seqvae"

KINDS: Mapping[str, type[Component]] = {
    base.kind: base
    for base in (
        components.BackboneConfig,
        components.EncoderConfig,
        components.PriorConfig,
        components.DecoderConfig,
        components.LikelihoodConfig,
        components.RegularizerConfig,
        components.MIEstimatorConfig,
        components.TaskConfig,
        components.DatasetConfig,
    )
}

_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest of `known`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


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


class Plugins:
    """The loaded plugins: a typed face on pluggy, with one method for each hook.

    Args:
        strict: raise at the first plugin that fails instead of leaving it out.
    """

    def __init__(self, *, strict: bool = False):
        self.strict = strict or os.environ.get("SEQVAE_STRICT_PLUGINS") == "1"
        self.all: list[Plugin] = []
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._silenced: set[tuple[str, str]] = set()

    @classmethod
    def load(cls, modules: Iterable[str] = (), *, strict: bool = False) -> "Plugins":
        """Load every installed plugin, then `modules` (names, or paths of single files).

        Raises:
            PluginError: if one of `modules` fails, or any plugin when `strict`.
        """
        plugins = cls(strict=strict)
        disabled = set(os.environ.get("SEQVAE_DISABLE_PLUGINS", "").replace(",", " ").split())
        found: dict[str, list[metadata.EntryPoint]] = {}
        for entry in sorted(metadata.entry_points(group=GROUP)):
            known = found.setdefault(entry.name, [])
            names = {entry.name, entry.dist.name if entry.dist else entry.name}
            if not names & disabled and not any(_same(entry, other) for other in known):
                known.append(entry)
        for entries in found.values():
            for entry in entries:
                plugins._load_entry(entry, entries)
        for module in modules:
            plugins._load_module(module)
        return plugins

    def register(
        self, module: Any, name: str | None = None, *, source: str = "registered"
    ) -> Plugin:
        """Register a module or object as a plugin.

        Raises:
            PluginError: whatever is wrong with it; nothing of it stays registered.
        """
        plugin = Plugin(name=name or getattr(module, "__name__", repr(module)), source=source)
        self._attempt(plugin, lambda: module, strict=True)
        return plugin

    # Components ---------------------------------------------------------------------------------

    def components(self, kind: str) -> dict[str, Any]:
        """Return the classes of one kind (or the presets) by name, sorted.

        Raises:
            DuplicateComponentError: if two plugins provide one name.
        """
        table = self._providers(kind)
        return {name: self._single(kind, name, table[name]) for name in sorted(table)}

    def get(self, kind: str, name: str) -> Any:
        """Return the class (or preset) of that kind and name.

        Raises:
            UnknownComponentError: naming what is close, what is known and what was left out.
            DuplicateComponentError: if two plugins provide the name.
        """
        table = self._providers(kind)
        if name not in table:
            label = kind.replace("mi_estimator", "MI estimator")
            known = ", ".join(sorted(table)) or "none"
            failed = ", ".join(plugin.name for plugin in self.failures)
            raise UnknownComponentError(
                f"unknown {label} '{name}'{did_you_mean(name, table)}; known: {known}"
                + (f"; left out: {failed}" if failed else "")
            )
        return self._single(kind, name, table[name])

    @property
    def loaded(self) -> list[Plugin]:
        """The plugins in use, sorted by name."""
        return sorted((p for p in self.all if p.error is None), key=lambda p: p.name)

    @property
    def failures(self) -> list[Plugin]:
        """The plugins that were left out, sorted by name."""
        return sorted((p for p in self.all if p.error is not None), key=lambda p: p.name)

    def provider(self, kind: str, name: str) -> Plugin:
        """Return the plugin that provides a component."""
        self.get(kind, name)
        return self._providers(kind)[name][0][0]

    def require(self, requirements: Iterable[str]) -> None:
        """Check that distributions such as "seqvae-acme>=0.3" are loaded.

        Raises:
            ConfigError: one line for each that is not.
        """
        versions = {p.distribution: p.version for p in self.loaded if p.distribution}
        faults = []
        for text in requirements:
            wanted = Requirement(text)
            version = versions.get(wanted.name)
            if version is None:
                faults.append(f"plugin '{text}' is required but not loaded @ $.plugins.require")
            elif not wanted.specifier.contains(version, prereleases=True):
                faults.append(f"plugin '{text}' is required, {version} is loaded"
                              " @ $.plugins.require")  # fmt: skip
        if faults:
            raise ConfigError("\n".join(faults))

    # Lifecycle ----------------------------------------------------------------------------------

    def before_run(self, run: "Run") -> None:
        """Call `seqvae_before_run`."""
        self._observe("seqvae_before_run", run=run)

    def after_step(self, run: "Run", metrics: Mapping[str, float]) -> None:
        """Call `seqvae_after_step`."""
        self._observe("seqvae_after_step", run=run, metrics=metrics)

    def after_evaluation(self, run: "Run", metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Call `seqvae_after_evaluation`."""
        self._observe("seqvae_after_evaluation", run=run, metrics=metrics)

    def after_run(self, run: "Run", error: BaseException | None) -> None:
        """Call `seqvae_after_run`."""
        self._observe("seqvae_after_run", run=run, error=error)

    def _observe(self, hook: str, **arguments: Any) -> None:
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            if (name, hook) in self._silenced:
                continue
            try:
                implementation.function(*(arguments[key] for key in implementation.argnames))
            except Exception as error:
                if self.strict:
                    raise PluginError(f"plugin '{name}' failed in {hook}: {error}") from error
                self._silenced.add((name, hook))
                warnings.warn(
                    f"plugin '{name}' failed in {hook} and is not called there again: {error}",
                    RuntimeWarning, stacklevel=3,
                )  # fmt: skip

    # Loading ------------------------------------------------------------------------------------

    def _load_entry(self, entry: metadata.EntryPoint, rivals: list[metadata.EntryPoint]) -> None:
        plugin = Plugin(
            name=entry.name,
            distribution=entry.dist.name if entry.dist else None,
            version=entry.dist.version if entry.dist else None,
        )

        def load() -> Any:
            if len(rivals) > 1:
                names = " and ".join(f"'{e.dist.name if e.dist else e.value}'" for e in rivals)
                raise DuplicateComponentError(
                    f"entry point '{entry.name}' is provided by both {names}; "
                    "disable one with SEQVAE_DISABLE_PLUGINS"
                )
            _check_requirements(entry.dist)
            return entry.load()

        self._attempt(plugin, load, strict=self.strict)

    def _load_module(self, text: str) -> None:
        path = Path(text)
        name = path.stem if path.suffix == ".py" else text
        folder = str(path.resolve().parent if path.suffix == ".py" else Path.cwd())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        plugin = Plugin(name=name, source=f"-p {text}")
        self._attempt(plugin, lambda: importlib.import_module(name), strict=True)

    def _attempt(self, plugin: Plugin, load: Callable[[], Any], *, strict: bool) -> None:
        module = None
        try:
            if any(plugin.name == other.name for other in self.loaded):
                raise DuplicateComponentError(f"a plugin named '{plugin.name}' is already loaded")
            module = load()
            _check_markers(module)
            self._manager.register(module, plugin.name)
            self._manager.check_pending()
            plugin.provides = self._collect(plugin.name)
        except Exception as error:
            # pluggy 1.5 and 1.6 leave a plugin that failed its checks half registered.
            if module is not None and self._manager.is_registered(module):
                self._manager.unregister(module)
            reason = str(error) or type(error).__name__
            plugin.error = " ".join(reason.split())
            plugin.exception = error
            if strict:
                kind = type(error) if isinstance(error, SeqVAEError) else PluginError
                raise kind(f"plugin {plugin.origin} left out: {plugin.error}") from error
        self.all.append(plugin)

    def _collect(self, name: str) -> dict[str, list[Any]]:
        provides: dict[str, list[Any]] = {}
        for kind, base in {**KINDS, "preset": Preset}.items():
            hook = getattr(self._manager.hook, f"seqvae_{kind}s")
            for implementation in hook.get_hookimpls():
                if implementation.plugin_name == name:
                    items = list(implementation.function() or ())
                    for item in items:
                        _check_item(item, kind, base)
                    provides[kind] = items
        return provides

    def _providers(self, kind: str) -> dict[str, list[tuple[Plugin, Any]]]:
        table: dict[str, list[tuple[Plugin, Any]]] = {}
        for plugin in self.loaded:
            for item in plugin.provides.get(kind, ()):
                rivals = table.setdefault(item.name, [])
                if all(item is not other for _, other in rivals):
                    rivals.append((plugin, item))
        return table

    @staticmethod
    def _single(kind: str, name: str, rivals: list[tuple[Plugin, Any]]) -> Any:
        if len(rivals) > 1:
            names = " and ".join(f"'{plugin.name}'" for plugin, _ in rivals)
            raise DuplicateComponentError(
                f"{kind} '{name}' is provided by both {names}; "
                "disable one with SEQVAE_DISABLE_PLUGINS"
            )
        return rivals[0][1]


def _same(one: metadata.EntryPoint, other: metadata.EntryPoint) -> bool:
    return one.value == other.value and (one.dist and one.dist.name) == (
        other.dist and other.dist.name
    )


def _check_requirements(dist: metadata.Distribution | None) -> None:
    for text in (dist.requires if dist else None) or ():
        wanted = Requirement(text)
        if wanted.name != "seqvae" or (wanted.marker and not wanted.marker.evaluate()):
            continue
        version = metadata.version("seqvae")
        if not wanted.specifier.contains(version, prereleases=True):
            raise PluginError(f"it needs {text}, and seqvae {version} is installed")


def _check_markers(module: Any) -> None:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if name.startswith("seqvae_") and not hasattr(function, "seqvae_impl"):
            raise PluginError(f"function '{name}' is not marked with @hookimpl")


def _check_item(item: Any, kind: str, base: type) -> None:
    if kind == "preset":
        if not isinstance(item, Preset):
            raise PluginError(f"seqvae_presets returned {item!r}, expected a Preset")
    elif not (inspect.isclass(item) and issubclass(item, base)):
        raise PluginError(f"seqvae_{kind}s returned {item!r}, expected a subclass of "
                          f"{base.__name__}")  # fmt: skip
    elif inspect.isabstract(item):
        raise PluginError(f"{kind} class {item.__name__} does not define build()")
    if not _KEBAB.fullmatch(item.name):
        raise PluginError(f"expected a kebab-case name for {kind} {item!r}, got '{item.name}'")
