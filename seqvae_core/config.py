"""Plain data to experiments and back: strict, by name, every fault with its path at once."""

import re
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import attrs
import cattrs
import tomli_w
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

from seqvae_core.components import Component
from seqvae_core.errors import ConfigError, SeqVAEError
from seqvae_core.plugins import KINDS, Plugins, did_you_mean

if TYPE_CHECKING:
    from seqvae_core.experiment import Experiment

__all__ = ["converter", "dump", "merge", "plain", "read", "structure", "structure_component"]


# Reading -----------------------------------------------------------------------------------------


def read(source: str | Path, plugins: Plugins, overrides: list[str]) -> dict[str, Any]:
    """Return the plain data of a preset or file, its base preset and the overrides merged.

    Raises:
        ConfigError: if there is no such preset or file, or an override cannot be read.
    """
    path = Path(source)
    if path.suffix == ".toml" or path.is_file():
        data = _absolute(_read_file(path), path.resolve().parent)
    else:
        data = {"preset": str(source)}
    if "preset" in data:
        base = _thaw(plugins.get("preset", data.pop("preset")).data)
        if "preset" in base:
            base = merge(_thaw(plugins.get("preset", base.pop("preset")).data), base)
        data = merge(base, data)
    faults = []
    for text in overrides:
        try:
            _override(data, text)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return data


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None


def _absolute(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make `data.root` and `data.path` absolute against the file's folder."""
    section = data.get("data")
    if isinstance(section, dict):
        for key in ("root", "path"):
            if isinstance(section.get(key), str):
                section[key] = str(folder / Path(section[key]).expanduser())
    return data


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thaw(item) for key, item in value.items()}
    return [_thaw(item) for item in value] if isinstance(value, (list, tuple)) else value


def merge(base: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `data` over it, table by table.

    A table that names another component replaces the one below it; a bare name stands for a table
    with that name and keeps the settings below it if the name is the same.
    """
    result = dict(base)
    for key, value in data.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, str) and "name" in below:
            value = {"name": value}
        if isinstance(below, str) and isinstance(value, dict):
            below = {"name": below}
        if isinstance(below, dict) and isinstance(value, dict):
            other = value.get("name", below.get("name")) != below.get("name")
            value = value if other else merge(below, value)
        result[key] = value
    return result


def _override(data: dict[str, Any], text: str) -> None:
    path, equals, right = text.partition("=")
    append = path.endswith("+")
    keys = path.removesuffix("+").strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"expected KEY=VALUE, got '{text}'")
    try:
        value = tomllib.loads(f"value = {right}")["value"]
    except tomllib.TOMLDecodeError:
        value = right
    parent: Any = data
    for depth, key in enumerate(keys[:-1]):
        parent = _child(parent, key, ".".join(keys[: depth + 1]))
    last: Any = keys[-1]
    if isinstance(parent, list):
        last = _index(parent, last, path)
    if append:
        value = [*(parent.get(last) or []), value]
    if isinstance(parent, dict):
        parent.update(merge({last: parent[last]} if last in parent else {}, {last: value}))
    else:
        parent[last] = value


def _child(parent: Any, key: str, path: str) -> Any:
    if isinstance(parent, list):
        index = _index(parent, key, path)
        parent[index] = _table(parent[index], path)
        return parent[index]
    child = parent.setdefault(key, {})
    if not isinstance(child, list):
        child = parent[key] = _table(child, path)
    return child


def _table(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"name": value}
    raise ConfigError(f"'{path}' is {value!r}: it has no keys")


def _index(entries: list[Any], key: str, path: str) -> int:
    """Return the position of a list's entry, given by its number, label or name."""
    labels = [_table(entry, path) for entry in entries]
    names = [str(entry.get("label", entry.get("name"))) for entry in labels]
    if key in names:
        return names.index(key)
    if key.isdigit() and int(key) < len(entries):
        return int(key)
    raise ConfigError(f"no entry '{key}' in '{path}'{did_you_mean(key, names)}; "
                      f"known: {', '.join(names) or 'none'}")  # fmt: skip


# Structuring -------------------------------------------------------------------------------------


def structure(data: Mapping[str, Any], plugins: Plugins) -> "Experiment":
    """Return the experiment that plain data describe.

    Raises:
        ConfigError: every fault at once, one line each, with its path.
    """
    from seqvae_core.experiment import Experiment

    experiment: Experiment = _structure(data, Experiment, plugins)
    experiment.check_labels()
    plugins.require(experiment.plugins.require)
    return experiment


def structure_component(kind: str, data: Any, plugins: Plugins) -> Any:
    """Return the component of a kind that plain data, or a bare name, describe."""
    return _structure(data, KINDS[kind], plugins)


def _structure(data: Any, target: Any, plugins: Plugins) -> Any:
    try:
        return converter(plugins).structure(data, target)
    except (cattrs.BaseValidationError, SeqVAEError, ValueError, TypeError) as error:
        lines = cattrs.transform_error(error, path="$", format_exception=_describe)
        known = [re.sub(r"\['([^']*)'\]", r".\1", line) for line in lines]
        raise ConfigError("\n".join(known)) from None


def plain(value: Any) -> Any:
    """Return settings as plain data: tables, lists, numbers, text; what is None is left out."""
    if attrs.has(type(value)):
        fields = {a.name: plain(getattr(value, a.name)) for a in attrs.fields(type(value))}
        named = {"name": value.name} if isinstance(value, Component) else {}
        return named | {key: item for key, item in fields.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def dump(experiment: "Experiment") -> str:
    """Return the experiment as TOML."""
    return tomli_w.dumps(plain(experiment))


def converter(plugins: Plugins) -> cattrs.Converter:
    """Return a strict converter that looks components up in `plugins` while it structures."""
    made = cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=False)

    def strict(kind: type, *also: type) -> None:
        def hook(value: Any, _: Any) -> Any:
            if isinstance(value, bool) is not (kind is bool) or not isinstance(
                value, (kind, *also)
            ):
                raise ConfigError(f"expected {kind.__name__}, got {_show(value)}")
            return kind(value)

        made.register_structure_hook(kind, hook)

    for kind, also in {bool: (), int: (), float: (int,), str: ()}.items():
        strict(kind, *also)
    made.register_structure_hook(Path, _path)
    made.register_structure_hook_func(
        lambda target: target in KINDS.values(),
        lambda value, base: _component(value, base, plugins, made),
    )
    made.register_structure_hook_factory(
        lambda target: isinstance(target, type) and attrs.has(target) and target not in
        KINDS.values(),
        lambda target: _table_hook(target, made),
    )  # fmt: skip
    made.register_structure_hook_func(_is_optional, lambda value, target: made.structure(
        value, next(arm for arm in get_args(target) if arm is not type(None))))  # fmt: skip
    made.register_structure_hook_func(
        lambda target: get_origin(target) in (tuple, list, dict),
        lambda value, target: _collection(value, target, made),
    )
    return made


def _is_optional(target: Any) -> bool:
    arms = get_args(target)
    union = get_origin(target) in (Union, types.UnionType)
    return union and type(None) in arms and len(arms) == 2


def _collection(value: Any, target: Any, made: cattrs.Converter) -> Any:
    """Structure a list or table; a plain scalar in its place is an error, a str above all."""
    origin, arms = get_origin(target), get_args(target)
    if not isinstance(value, dict if origin is dict else (list, tuple)):
        wanted = "a table" if origin is dict else "a list"
        raise ConfigError(f"expected {wanted}, got {_show(value)}")
    if origin is dict:
        pairs = [(key, key, item) for key, item in value.items()]
        item_types: list[Any] = [arms[1]] * len(pairs)
    else:
        pairs = [(index, index, item) for index, item in enumerate(value)]
        fixed = origin is tuple and arms[-1] is not Ellipsis
        if fixed and len(arms) != len(value):
            raise ConfigError(f"expected a list of {len(arms)}, got {_show(value)}")
        item_types = list(arms) if fixed else [arms[0]] * len(pairs)
    done, faults = {}, []
    for (key, label, item), item_type in zip(pairs, item_types, strict=True):
        try:
            done[key] = made.structure(item, item_type)
        except Exception as error:
            text = f"Structuring mapping value @ key {label!r}" if origin is dict else ""
            note: Any = cattrs.errors.IterableValidationNote(
                text or f"Structuring @ index {label}", label, item_type
            )
            error.__notes__ = [*getattr(error, "__notes__", []), note]
            faults.append(error)
    if faults:
        raise cattrs.IterableValidationError("", faults, target)
    return done if origin is dict else origin(done.values())


def _component(value: Any, base: type[Component], plugins: Plugins, made: cattrs.Converter) -> Any:
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise ConfigError(f"expected a name or a table with one, got {_show(value)}")
    if not isinstance(table.get("name"), str):
        raise ConfigError(f"expected a table with the 'name' of a {base.kind}")
    found = plugins.get(base.kind, table["name"])
    return made.structure({k: v for k, v in table.items() if k != "name"}, found)


def _table_hook(target: Any, made: cattrs.Converter) -> Any:
    inner: Any = make_dict_structure_fn(
        target, made, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )
    names = {a.name for a in attrs.fields(target)}

    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, str) and "name" in names:
            value = {"name": value}
        if not isinstance(value, Mapping):
            raise ConfigError(f"expected a table, got {_show(value)}")
        return inner(value, target)

    return hook


def _path(value: Any, _: Any) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ConfigError(f"expected a path, got {_show(value)}")
    return Path(value).expanduser().absolute()


def _show(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else repr(value)


def _describe(error: BaseException, target: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        known = {a.alias for a in attrs.fields(error.cl) if a.init}
        return "; ".join(
            f"unknown key '{key}'{did_you_mean(key, known)}; known: {', '.join(sorted(known))}"
            for key in sorted(error.extra_fields)
        )
    if isinstance(error, KeyError):
        return f"required key '{error.args[0]}' is missing"
    text = str(error)
    if literal := re.search(r"(.*) not in literal (.*)", text):
        choices = ", ".join(map(str, get_args(target))) or literal[2]
        return f"expected one of {choices}, got {literal[1]}"
    return " ".join(text.split())
