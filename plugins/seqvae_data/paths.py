"""Files below a folder, and what their paths say."""

import re
from collections.abc import Iterable
from pathlib import Path

from seqvae_core.errors import DataError

__all__ = ["files_below", "path_labels"]


def files_below(
    root: Path, extensions: Iterable[str], exclude: str | None = None
) -> dict[str, Path]:
    """Return the files at any depth below a folder, by their paths below it, sorted by them.

    Args:
        root: the folder.
        extensions: of the files, in any letter case, with or without a dot.
        exclude: a regular expression; files in whose path it is found are left out, and hidden
            ones always are.

    Raises:
        DataError: if there is no such folder, or nothing in it.
    """
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    endings = {f".{extension.lower().lstrip('.')}" for extension in extensions}
    found = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*")
        if path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()
    }
    kept = [name for name in sorted(found) if not (exclude and re.search(exclude, name))]
    if not kept:
        but = f" but {len(found)} that 'exclude' leaves out" if found else ""
        raise DataError(f"no {', '.join(sorted(endings))} files in {root}{but}")
    return {name: found[name] for name in kept}


def path_labels(pattern: str, root: Path, name: str) -> dict[str, str]:
    """Return the named groups of a pattern that is searched for in a path, "" where one is not.

    Raises:
        DataError: if it is not found.
    """
    match = re.search(pattern, name)
    if match is None:
        raise DataError(
            f"{root / name}: the path '{name}' does not match data.pattern '{pattern}'; leave "
            "such files out by data.exclude"
        )
    return {group: value or "" for group, value in match.groupdict().items()}
