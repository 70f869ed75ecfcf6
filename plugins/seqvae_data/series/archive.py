"""The problems of the UEA and UCR archives: in a folder, in aeon, or fetched on request."""

import difflib
import shutil
import zipfile
import zlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from seqvae_core.errors import DataError
from seqvae_data.cache import default_folder
from seqvae_data.download import Remote, fetch
from seqvae_data.extras import require
from seqvae_data.series.config import TS

__all__ = ["find", "in_aeon", "unpack"]

URL = "https://timeseriesclassification.com/aeon-toolkit"
LICENCE = "each problem has its own, at https://timeseriesclassification.com"

Pair = tuple[Path, Path]


def find(config: TS) -> Pair:
    """Return the training and the test file of the problem that the settings name.

    Raises:
        DataError: if it is in none of the places, with the name that was perhaps meant.
    """
    problem = config.problem or ""
    root = config.root or default_folder() / "downloads" / "ts"
    if config.root is None and (pair := _shipped().get(problem)):
        return pair
    if pair := _below(root, problem):
        return pair
    if config.download:
        return _fetched(problem, root)
    if config.root is not None:
        known = _problems(config.root)
        hint = _meant(problem, known) or f"; known: {', '.join(sorted(known)) or 'none'}"
        raise DataError(f"no {problem}_TRAIN.ts and {problem}_TEST.ts in {config.root}{hint}")
    if problem in _known():
        raise DataError(f"'{problem}' does not come with aeon; data.download = true fetches it")
    raise _unknown(problem)


def _pair(folder: Path, problem: str) -> Pair:
    return folder / f"{problem}_TRAIN.ts", folder / f"{problem}_TEST.ts"


def _below(root: Path, problem: str) -> Pair | None:
    pairs = [_pair(root / problem, problem), _pair(root, problem)]
    return next((pair for pair in pairs if pair[0].is_file() and pair[1].is_file()), None)


def _problems(root: Path) -> list[str]:
    found = [*root.glob("*_TRAIN.ts"), *root.glob("*/*_TRAIN.ts")]
    return [path.name.removesuffix("_TRAIN.ts") for path in found]


def _meant(problem: str, known: Iterable[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(problem.lower(), by_lower, n=1)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""


# What aeon has and knows -------------------------------------------------------------------------


def in_aeon() -> Path | None:
    """Return the folder of the data that come with aeon, None without aeon."""
    # the files alone: importing aeon would take seconds
    spec = find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


def _shipped() -> dict[str, Pair]:
    root = in_aeon()
    pairs = [_pair(path.parent, path.name.removesuffix("_TRAIN.ts"))
             for path in root.glob("*/*_TRAIN.ts")] if root else []  # fmt: skip
    return {pair[0].name.removesuffix("_TRAIN.ts"): pair for pair in pairs if pair[1].is_file()}


def _known() -> set[str]:
    purpose = "looking up a problem of the archives"
    classification = require("aeon.datasets.tsc_datasets", "timeseries", purpose)
    regression = require("aeon.datasets.tser_datasets", "timeseries", purpose)
    return {*classification.univariate, *classification.multivariate, *regression.tser_soton}


def _unknown(problem: str) -> DataError:
    hint = _meant(problem, {*_known(), *_shipped()})
    return DataError(
        f"aeon knows no problem '{problem}'{hint or '; see https://timeseriesclassification.com'}"
    )


# Fetching ----------------------------------------------------------------------------------------


def _fetched(problem: str, root: Path) -> Pair:
    if problem not in _known():
        raise _unknown(problem)
    remote = Remote(name=f"{problem}.zip", urls=(f"{URL}/{problem}.zip",))
    (packed,) = fetch([remote], root, licence=LICENCE)
    return unpack(packed, problem, root / problem)


def unpack(packed: Path, problem: str, folder: Path) -> Pair:
    """Unpack a problem's two `.ts` files, and nothing else, from an archive into a folder.

    Raises:
        DataError: if the archive is damaged, lacks one of them, or has names that climb out.
    """
    pair = _pair(folder, problem)
    try:
        with zipfile.ZipFile(packed) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(".ts")]
            for name in names:
                path = PurePosixPath(name.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts:
                    raise DataError(f"{packed}: the entry '{name}' climbs out of its folder")
            for target in pair:
                _unpack_one(archive, _entry(names, target.name, packed), target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise DataError(f"{packed}: damaged, or no zip archive; delete it") from None
    except OSError as error:
        raise DataError(f"cannot unpack {packed}: {error.strerror}") from None
    return pair


def _entry(names: list[str], wanted: str, packed: Path) -> str:
    for name in names:
        if PurePosixPath(name).name == wanted:
            return name
    raise DataError(f"{packed}: no {wanted} in it, only {', '.join(names) or 'no .ts files'}")


def _unpack_one(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    try:
        with archive.open(name) as source, temporary.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
