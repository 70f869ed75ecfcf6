"""Plain data to experiments and back: strict, by name, every fault with its path at once."""

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import cattrs
import tomli_w

from seqvae_core.components import KINDS, Component
from seqvae_core.errors import ConfigError, SeqVAEError
from seqvae_core.plugins import Plugins, did_you_mean, label

__all__ = ["converter", "dump", "plain", "structure", "structure_component"]


def structure(data: Any, target: Any, plugins: Plugins) -> Any:
    """Return the settings of class `target` that plain data describe.

    Raises:
        ConfigError: every fault at once, one line each, with its path.
    """
    faults: list[tuple[str, str]] = []
    with _at("$", faults):
        return converter(plugins).structure(data, target)
    raise ConfigError("\n".join(f"{line} @ {path}" for path, line in faults))


def structure_component(kind: str, data: Any, plugins: Plugins) -> Any:
    """Return the component of a kind that plain data, or a bare name, describe.

    Raises:
        ConfigError: every fault at once, one line each, with its path.
    """
    return structure(data, KINDS[kind], plugins)


def plain(value: Any) -> Any:
    """Return settings as plain data: tables, lists, numbers, text; what is None is left out."""
    if attrs.has(type(value)):
        fields = {a.alias: plain(getattr(value, a.name)) for a in attrs.fields(type(value))}
        named = {"name": value.name} if isinstance(value, Component) else {}
        return named | {key: item for key, item in fields.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def dump(value: Any) -> str:
    """Return settings as TOML."""
    return tomli_w.dumps(plain(value))


# Structuring -------------------------------------------------------------------------------------


class _Faults(Exception):  # noqa: N818 (several errors, never shown as one)
    """What is wrong below one place: pairs of a path from there and a line."""

    def __init__(self, faults: list[tuple[str, str]]):
        self.faults = faults


@contextmanager
def _at(place: str, faults: list[tuple[str, str]]) -> Iterator[None]:
    """Collect what is raised, with its path."""
    try:
        yield
    except _Faults as below:
        faults.extend((place + path, line) for path, line in below.faults)
    except (SeqVAEError, ValueError, TypeError, OverflowError) as error:
        faults.append((place, _line(error)))


def _line(error: Exception) -> str:
    # attrs puts the attribute and the value behind the message.
    first = error.args[0] if error.args else ""
    return " ".join((first if isinstance(first, str) else str(error)).split())


def converter(plugins: Plugins) -> cattrs.Converter:
    """Return a strict converter that looks components up in `plugins` while it structures."""
    made = cattrs.Converter()
    scalars = {bool: (bool,), int: (int,), float: (float, int), str: (str,)}
    for kind, accepted in scalars.items():
        made.register_structure_hook(kind, partial(_scalar, accepted))
    made.register_structure_hook(Path, _path)
    hooks: dict[Callable[[Any], bool], Callable[..., Any]] = {
        attrs.has: partial(_table, made),
        _is_component: partial(_component, made, plugins),
        _is_optional: partial(_optional, made),
        lambda target: get_origin(target) in (tuple, list): partial(_list, made),
        lambda target: get_origin(target) is dict: partial(_dict, made),
        lambda target: get_origin(target) is Literal: _choice,
    }
    for predicate, hook in hooks.items():
        made.register_structure_hook_func(predicate, hook)
    return made


def _is_component(target: Any) -> bool:
    return inspect.isclass(target) and issubclass(target, Component)


def _is_optional(target: Any) -> bool:
    union = get_origin(target) in (Union, types.UnionType)
    return union and len(get_args(target)) == 2 and type(None) in get_args(target)


def _scalar(accepted: tuple[type, ...], value: Any, target: type) -> Any:
    if not isinstance(value, accepted) or (isinstance(value, bool) and target is not bool):
        raise ConfigError(f"expected {target.__name__}, got {value!r}")
    return target(value)


def _path(value: Any, _: Any) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ConfigError(f"expected a path, got {value!r}")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(f"expected a path, got {str(value)!r} of an unknown user") from None


def _choice(value: Any, target: Any) -> Any:
    choices = get_args(target)
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ConfigError(f"expected one of {', '.join(map(str, choices))}, got {value!r}")
    return value


def _optional(made: cattrs.Converter, value: Any, target: Any) -> Any:
    arm = next(arm for arm in get_args(target) if arm is not type(None))
    return None if value is None else made.structure(value, arm)


def _list(made: cattrs.Converter, value: Any, target: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"expected a list, got {value!r}")
    arms: tuple[Any, ...] = get_args(target)
    if get_origin(target) is list or arms[-1] is Ellipsis:
        arms = arms[:1] * len(value)
    if len(arms) != len(value):
        raise ConfigError(f"expected a list of {len(arms)}, got {value!r}")
    faults: list[tuple[str, str]] = []
    items = []
    for index, (item, arm) in enumerate(zip(value, arms, strict=True)):
        with _at(f"[{index}]", faults):
            items.append(made.structure(item, arm))
    if faults:
        raise _Faults(faults)
    return get_origin(target)(items)


def _dict(made: cattrs.Converter, value: Any, target: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"expected a table, got {value!r}")
    faults: list[tuple[str, str]] = []
    items = {}
    for key, item in value.items():
        with _at(f".{key}", faults):
            items[key] = made.structure(item, get_args(target)[1])
    if faults:
        raise _Faults(faults)
    return items


def _component(made: cattrs.Converter, plugins: Plugins, value: Any, base: Any) -> Any:
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise ConfigError(f"expected a name or a table with one, got {value!r}")
    name = table.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"expected a table with the 'name' of a component ({label(base.kind)})")
    found = plugins.get(base.kind, name)
    if not issubclass(found, base):
        raise ConfigError(f"expected {label(base.kind)} '{base.name}', got '{name}'")
    return _table(made, {key: item for key, item in table.items() if key != "name"}, found)


def _table(made: cattrs.Converter, value: Any, target: Any) -> Any:
    """Structure an attrs class; its validators speak even where another field is at fault."""
    known = {a.alias: a for a in attrs.fields(attrs.resolve_types(target)) if a.init}
    if isinstance(value, str) and "name" in known:
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise ConfigError(f"expected a table, got {value!r}")
    faults = [("", f"unknown key '{key}'{did_you_mean(key, known)}") for key in value if
              key not in known]  # fmt: skip
    done: dict[str, Any] = {}
    for key, attribute in known.items():
        if key in value:
            with _at(f".{key}", faults):
                done[key] = made.structure(value[key], attribute.type)
        elif attribute.default is attrs.NOTHING:
            faults.append(("", f"required key '{key}' is missing"))
    whole = not faults
    if whole:
        with _at("", faults):
            return target(**done)
    complaints: list[tuple[str, str]] = []
    instance = types.SimpleNamespace(**done)
    for key in done:
        if check := known[key].validator:
            with suppress(AttributeError), _at("", complaints):
                check(instance, known[key], done[key])
    raise _Faults(complaints or faults if whole else faults + complaints)
