"""Plugins for one test: nothing is installed, nothing global changes."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from seqvae_core.components import Component
from seqvae_core.hookspecs import Preset, hookimpl
from seqvae_core.plugins import Plugins

__all__ = ["plugins_with"]


def plugins_with(*items: Any, base: Plugins | None = None) -> Plugins:
    """Return a fresh set of plugins that provides `items`.

    Args:
        items: component classes, presets, and modules (or objects) with hooks.
        base: plugins whose modules are registered as well, such as `Plugins.load()`; it is left
            as it is.

    Raises:
        PluginError: for an item that no plugin may provide.
        TypeError: for an item that is none of these.

    Example:
        `Experiment.load("study.toml", plugins_with(MyEncoder, base=Plugins.load()))`
    """
    plugins = Plugins(strict=True)
    if base is not None:
        _copy(base, plugins)
    provided: dict[str, list[Any]] = {}
    for item in items:
        if inspect.isclass(item) and issubclass(item, Component) and item.kind:
            provided.setdefault(item.kind, []).append(item)
        elif isinstance(item, Preset):
            provided.setdefault("preset", []).append(item)
        elif any(hasattr(each, "seqvae_impl") for _, each in inspect.getmembers(item)):
            plugins.register(item)
        else:
            raise TypeError(f"expected a component class, a preset or hooks, got {item!r}")
    if provided:
        plugins.register(_module(provided))
    return plugins


def _copy(base: Plugins, plugins: Plugins) -> None:
    for known in base.loaded:
        module = base._manager.get_plugin(known.name)
        if module is not None:  # else a second name of a module that is registered already
            copy = plugins.register(module, known.name, source=known.source)
            copy.distribution, copy.version = known.distribution, known.version


def _module(provided: dict[str, list[Any]]) -> ModuleType:
    module = ModuleType("throw-away")
    for kind, items in provided.items():
        setattr(module, f"seqvae_{kind}s", hookimpl(_hook(items)))
    return module


def _hook(items: list[Any]) -> Callable[[], list[Any]]:
    return lambda: items
