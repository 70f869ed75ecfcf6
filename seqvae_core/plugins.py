"""Plugins: find, load and check them; look components up; call the lifecycle hooks."""

import difflib
import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from seqvae_core import discovery, hookspecs
from seqvae_core.discovery import GROUP, Plugin
from seqvae_core.errors import (
    ConfigError,
    DuplicateComponentError,
    PluginError,
    SeqVAEError,
    UnknownComponentError,
)
from seqvae_core.hookspecs import COMMANDS, Preset
from seqvae_core.study import Study

if TYPE_CHECKING:
    from seqvae_core.records import Run

__all__ = ["Plugin", "Plugins", "did_you_mean", "label"]

_INSTANCES = {"preset", "study", "command"}  # what hooks return themselves, not its class
_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'? known: x, y", without the question where nothing is close."""
    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"; {hint}known: {', '.join(names) or 'none'}"


def label(kind: str) -> str:
    """Return a kind as a message names it."""
    return kind.replace("mi_estimator", "MI estimator")


class Plugins:
    """The loaded plugins: a typed face on pluggy, with one method for each hook.

    Args:
        strict: raise at the first plugin that fails instead of leaving it out.
        only: the kinds of what is asked of the plugins, such as "command"; all if left out.
    """

    def __init__(self, *, strict: bool = False, only: Iterable[str] | None = None):
        self._kinds = _bases(only)
        self.strict = strict or os.environ.get("SEQVAE_STRICT_PLUGINS") == "1"
        self.all: list[Plugin] = []
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._silenced: set[tuple[str, str]] = set()

    @classmethod
    def load(
        cls,
        modules: Iterable[str] = (),
        *,
        strict: bool = False,
        only: Iterable[str] | None = None,
    ) -> "Plugins":
        """Load every installed plugin, then `modules` (names, or paths of single files).

        Args:
            modules: beside the installed plugins.
            strict: see the class.
            only: see the class; what is not asked for is not imported either.

        Raises:
            PluginError: if one of `modules` fails, or any plugin when `strict`.
        """
        plugins = cls(strict=strict, only=only)
        for plugin, load in discovery.installed():
            plugins._attempt(plugin, load, strict=plugins.strict)
        for module in modules:
            plugins._attempt(*discovery.single(module), strict=True)
        return plugins

    def register(
        self, module: Any, name: str | None = None, *, source: str = "registered"
    ) -> Plugin:
        """Register a module or object as a plugin.

        Raises:
            PluginError: whatever is wrong with it; nothing of it stays registered.
        """
        plugin = Plugin(name=name or str(getattr(module, "__name__", module)), source=source)
        self._attempt(plugin, lambda: module, strict=True)
        return plugin

    # Components ---------------------------------------------------------------------------------

    def components(self, kind: str) -> dict[str, Any]:
        """Return the classes of one kind (or the presets, or studies) by name, sorted.

        Raises:
            DuplicateComponentError: if two plugins provide one name.
        """
        table = self._providers(kind)
        return {name: self._single(kind, name, table[name]) for name in sorted(table)}

    def get(self, kind: str, name: str) -> Any:
        """Return the class (or preset, or study) of that kind and name.

        Raises:
            UnknownComponentError: naming what is close, what is known and what was left out.
            DuplicateComponentError: if two plugins provide the name.
        """
        table = self._providers(kind)
        if name not in table:
            failed = ", ".join(plugin.name for plugin in self.failures)
            raise UnknownComponentError(
                f"unknown {label(kind)} '{name}'{did_you_mean(name, table)}"
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
        versions = {
            canonicalize_name(plugin.distribution): plugin.version
            for plugin in self.loaded
            if plugin.distribution
        }
        faults = []
        for text in requirements:
            try:
                wanted = Requirement(text)
            except InvalidRequirement:
                faults.append(f"expected a requirement such as 'seqvae-acme>=0.3', got '{text}'")
                continue
            version = versions.get(canonicalize_name(wanted.name))
            if version is None:
                faults.append(f"plugin '{text}' is required but not loaded")
            elif not wanted.specifier.contains(version, prereleases=True):
                faults.append(f"plugin '{text}' is required, {version} is loaded")
        if faults:
            raise ConfigError("\n".join(f"{fault} @ $.plugins.require" for fault in faults))

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

    def _attempt(self, plugin: Plugin, load: Callable[[], Any], *, strict: bool) -> None:
        module = None
        try:
            for other in self.loaded:
                if plugin.name == other.name:
                    raise DuplicateComponentError(f"plugin {other.origin} has the same name")
            module = load()
            known = self._manager.get_name(module)
            if known is None:
                _check_hooks(module)
                self._manager.register(module, plugin.name)
                self._manager.check_pending()
            plugin.provides = self._collect(known or plugin.name)
        except (Exception, SystemExit) as error:
            # pluggy 1.5 and 1.6 leave a plugin that failed its checks half registered.
            if module is not None and self._manager.get_plugin(plugin.name) is module:
                self._manager.unregister(module)
            told = isinstance(error, Exception) and not isinstance(error, KeyError) and str(error)
            plugin.error = " ".join((told or repr(error)).split())
            plugin.exception = error
            if strict:
                kind = type(error) if isinstance(error, SeqVAEError) else PluginError
                raise kind(plugin.failure) from error
        self.all.append(plugin)

    def _collect(self, name: str) -> dict[str, list[Any]]:
        provides: dict[str, list[Any]] = {}
        for kind, base in self._kinds.items():
            hook = "seqvae_studies" if kind == "study" else f"seqvae_{kind}s"
            for implementation in getattr(self._manager.hook, hook).get_hookimpls():
                if implementation.plugin_name == name:
                    provides[kind] = list(implementation.function() or ())
                    _check_items(provides[kind], kind, base, hook)
        return provides

    def _providers(self, kind: str) -> dict[str, list[tuple[Plugin, Any]]]:
        table: dict[str, list[tuple[Plugin, Any]]] = {}
        for plugin in self.loaded:
            for item in plugin.provides.get(kind, ()):
                rivals = table.setdefault(item.name, [])
                if all(item != other for _, other in rivals):
                    rivals.append((plugin, item))
        return table

    @staticmethod
    def _single(kind: str, name: str, rivals: list[tuple[Plugin, Any]]) -> Any:
        if len(rivals) > 1:
            names = " and ".join(f"'{plugin.name}'" for plugin, _ in rivals)
            raise DuplicateComponentError(
                f"{label(kind)} '{name}' is provided by both {names}; "
                "disable one with SEQVAE_DISABLE_PLUGINS"
            )
        return rivals[0][1]


def _bases(only: Iterable[str] | None) -> dict[str, type]:
    """Return the class of what each kind's hook returns; torch is imported for components alone."""
    import click

    bases: dict[str, type] = {"preset": Preset, "study": Study, "command": click.Command}
    wanted = None if only is None else set(only)
    if wanted is None or wanted - bases.keys():
        from seqvae_core.components import KINDS

        bases = {**KINDS, **bases}
    return {kind: base for kind, base in bases.items() if wanted is None or kind in wanted}


def _check_hooks(module: Any) -> None:
    """Refuse what pluggy would pass over, or pass over in some of its versions only."""
    for name, function in inspect.getmembers(module, inspect.isroutine):
        marks = getattr(function, "seqvae_impl", None)
        if marks is None and name.startswith("seqvae_"):
            raise PluginError(f"function '{name}' is not marked with @hookimpl")
        if marks is None:
            continue
        if marks.get("wrapper") or marks.get("hookwrapper"):
            raise PluginError(f"hook '{name}' must not be a wrapper")
        for argument in inspect.signature(function).parameters.values():
            if argument.default is not argument.empty or argument.kind in (
                argument.VAR_POSITIONAL, argument.VAR_KEYWORD, argument.KEYWORD_ONLY,
            ):  # fmt: skip
                raise PluginError(
                    f"hook '{name}' must take plain arguments without defaults, got '{argument}'"
                )


def _check_items(items: list[Any], kind: str, base: type, hook: str) -> None:
    for item in items:
        if kind in _INSTANCES:
            if not isinstance(item, base):
                raise PluginError(f"{hook} returned {item!r}, expected a {base.__name__}")
        elif not (inspect.isclass(item) and issubclass(item, base)):
            raise PluginError(f"{hook} returned {item!r}, expected a subclass of {base.__name__}")
        elif inspect.isabstract(item):
            raise PluginError(f"{item.__name__} from {hook} does not define build()")
        if not isinstance(item.name, str) or not _KEBAB.fullmatch(item.name):
            raise PluginError(f"{hook} returned the name {item.name!r}, expected kebab-case")
        if kind == "command" and item.name in COMMANDS:
            raise DuplicateComponentError(f"command '{item.name}' is one of seqvae's own")
    names = [item.name for item in items]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DuplicateComponentError(f"{hook} returned '{twice[0]}' twice")
