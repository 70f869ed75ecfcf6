"""Where an experiment's plain data come from: presets, files, and overrides."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqvae_core.errors import ConfigError
from seqvae_core.plugins import Plugins, did_you_mean

__all__ = ["merge", "override", "read"]

_PATHS = {"folder", "path", "path_test", "path_train", "root"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def read(source: str | Path, plugins: Plugins, overrides: list[str]) -> dict[str, Any]:
    """Return the plain data of a preset or file, its base presets and the overrides merged.

    Raises:
        ConfigError: if there is no such preset or file, or an override cannot be read.
    """
    path = Path(source)
    if path.suffix == ".toml" or path.is_file():
        data = _absolute(_read_file(path), path.resolve().parent)
    else:
        data = {"preset": str(source)}
    return override(_based(data, plugins), overrides)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None


def _absolute(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the paths within `data` absolute against the file's folder."""
    if isinstance(section := data.get("data"), dict):
        _anchor(section, folder)
    return data


def _anchor(table: dict[str, Any], folder: Path) -> None:
    for key, value in table.items():
        if isinstance(value, dict):
            _anchor(value, folder)
        elif key in _PATHS and isinstance(value, str) and value and value[0] != "~":
            table[key] = str(folder / value)


def _based(data: dict[str, Any], plugins: Plugins, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """Merge `data` over the preset that it names, and that one over its own."""
    if "preset" not in data:
        return data
    name = data["preset"]
    if not isinstance(name, str):
        raise ConfigError(f"expected the name of a preset, got {name!r} @ $.preset")
    if name in below:
        raise ConfigError(f"presets name one another: {', '.join((*below, name))}")
    base = _based(_thaw(plugins.get("preset", name).data), plugins, (*below, name))
    return merge(base, {key: value for key, value in data.items() if key != "preset"})


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thaw(item) for key, item in value.items()}
    return [_thaw(item) for item in value] if isinstance(value, (list, tuple)) else value


def merge(base: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `data` over it, table by table.

    A table that names another component replaces the one below it; a bare name stands for a table
    with that name and keeps the settings below it if the name is the same.
    """
    return {**base, **{key: _over(base.get(key), value) for key, value in data.items()}}


def _over(below: Any, value: Any) -> Any:
    if isinstance(below, Mapping) and "name" in below and isinstance(value, str):
        value = {"name": value}
    if isinstance(below, str) and isinstance(value, Mapping):
        below = {"name": below}
    if not isinstance(below, Mapping) or not isinstance(value, Mapping):
        return value
    same = value.get("name", below.get("name")) == below.get("name")
    return merge(below, value) if same else value


def override(data: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """Return `data` with overrides such as "train.steps=20" or "tasks+=rates".

    The right side is a TOML value, else a string. Entries of a list are named by their label,
    name or number; `+=` appends to a list.

    Raises:
        ConfigError: one line for each override that cannot be read.
    """
    faults = []
    for text in texts:
        left, equals, right = text.partition("=")
        path = left.strip().removesuffix("+").strip()
        keys = path.split(".")
        try:
            if not equals or not all(keys):
                raise ConfigError(f"expected KEY=VALUE, got '{text}'")
            patch = _patch(data, keys, _value(right.strip()), path, left.strip().endswith("+"))
            data = merge(data, patch)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return data


def _value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return float(text) if _NUMBER.fullmatch(text) else text
    return value if isinstance(value, (bool, int, float, str, list, dict)) else text


def _patch(node: Any, keys: list[str], value: Any, path: str, append: bool) -> Any:
    """Return what to lay over `node` so that `value` comes to stand below it at `keys`."""
    if not keys:
        if append and not isinstance(node, (list, type(None))):
            raise ConfigError(f"'{path}' is {node!r}: nothing can be appended")
        return [*(node or []), value] if append else value
    if isinstance(node, list):
        index = _index(node, keys[0], path)
        patch = _patch(node[index], keys[1:], value, path, append)
        return [*node[:index], _over(node[index], patch), *node[index + 1 :]]
    if not isinstance(node, (dict, str, type(None))):
        raise ConfigError(f"cannot set '{path}': {node!r} has no key '{keys[0]}'")
    below = node.get(keys[0]) if isinstance(node, dict) else None
    return {keys[0]: _patch(below, keys[1:], value, path, append)}


def _index(entries: list[Any], key: str, path: str) -> int:
    """Return the position of a list's entry, given by its label, name or number."""
    names = [
        str(entry.get("label", entry.get("name"))) if isinstance(entry, dict)
        else entry if isinstance(entry, str) else str(place)
        for place, entry in enumerate(entries)
    ]  # fmt: skip
    if key in names:
        return names.index(key)
    if key.isdigit() and int(key) < len(entries):
        return int(key)
    raise ConfigError(f"no entry '{key}' for '{path}'{did_you_mean(key, names)}")
