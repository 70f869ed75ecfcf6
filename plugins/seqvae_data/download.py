"""Downloads, on request alone."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import field, frozen, validators

from seqvae_core.errors import DataError
from seqvae_data.extras import require

__all__ = ["Remote", "fetch"]

_CHECKSUM = validators.matches_re(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")
_PATIENCE = (10.0, 60.0)  # seconds until a server answers, and between two pieces


@frozen(kw_only=True)
class Remote:
    """A file that somebody serves.

    Attributes:
        name: its name on the disk, a path below the folder.
        urls: where it is served, the first that answers is taken.
        checksum: "md5:..." or "sha256:..." of its bytes; None where none is published.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str | None = field(default=None, validator=validators.optional(_CHECKSUM))


def fetch(files: Sequence[Remote], folder: Path, *, licence: str) -> list[Path]:
    """Download what is not in the folder yet and return where the files are.

    A file is renamed into place when it is whole and its checksum is right; of several processes
    one downloads and the others wait. The licence is told on stderr before the first byte, and so
    is the checksum of a file that has none yet, for a later run to hold it to.

    Args:
        files: what is wanted.
        folder: where it is kept; made if need be.
        licence: one line, with the terms under which the data may be used.

    Raises:
        DataError: naming each address and why it does not serve, a file in the folder that is
            another than expected, or the folder if it cannot be written to.
    """
    paths = [folder / file.name for file in files]
    if _missing(files, folder):
        pooch = require("pooch", "download", "downloading")
        with _locked(folder):
            missing = _missing(files, folder)
            if missing:
                _tell(f"licence: {licence}")
            for file in missing:
                _fetch(pooch, file, folder / file.name)
    return paths


def _missing(files: Sequence[Remote], folder: Path) -> list[Remote]:
    missing = []
    for file in files:
        path = folder / file.name
        if not path.exists():
            missing.append(file)
        elif file.checksum is not None and (found := _sum(path, file.checksum)) != file.checksum:
            raise DataError(
                f"{path}: expected {file.checksum}, got {found}; delete it to fetch it anew"
            )
    return missing


def _fetch(pooch: Any, file: Remote, path: Path) -> None:
    faults = []
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    for url in file.urls:
        try:
            with _writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _receive(pooch, url, temporary)
                found = _sum(temporary, file.checksum or "sha256:")
                if file.checksum in (None, found):
                    temporary.replace(path)
                    if file.checksum is None:
                        _tell(f"{path}: no checksum is published, got {found}")
                    return
            faults.append(f"{url}: expected {file.checksum}, got {found}")
        except _Unserved as error:
            faults.append(f"{url}: {error}")
        finally:
            temporary.unlink(missing_ok=True)
    raise DataError(f"cannot download {file.name}: {'; '.join(faults)}")


class _Unserved(Exception):  # noqa: N818
    """Why an address does not serve."""


def _receive(pooch: Any, url: str, path: Path) -> None:
    import requests

    bar = _Bar(path.name) if sys.stderr.isatty() else None
    # a server that packs for the way would be unpacked, and the checksum be another's
    whole = {"Accept-Encoding": "identity"}
    download = pooch.HTTPDownloader(
        progressbar=bar or False, chunk_size=1 << 16, headers=whole, timeout=_PATIENCE
    )
    try:
        download(url, str(path), None)
    except requests.HTTPError as error:
        code = error.response.status_code if error.response is not None else "nothing"
        raise _Unserved(f"answers {code}") from None
    except (requests.ConnectTimeout, requests.ReadTimeout):
        raise _Unserved("does not answer in time") from None
    except requests.exceptions.ChunkedEncodingError:
        raise _Unserved("breaks off") from None
    except requests.ConnectionError:
        raise _Unserved("cannot be reached") from None
    except requests.RequestException as error:
        raise _Unserved(str(error).partition("\n")[0]) from None
    finally:
        if bar:
            bar.close()


class _Bar:
    """A progress bar as pooch wants it."""

    def __init__(self, name: str):
        from rich.console import Console
        from rich.progress import Progress

        self.bar = Progress(console=Console(stderr=True), transient=True)
        self.task = self.bar.add_task(name.strip("."), total=None)
        self.total = 0
        self.bar.start()

    def update(self, size: int) -> None:
        self.bar.update(self.task, total=self.total or None, advance=size)

    def reset(self) -> None:
        self.bar.reset(self.task)

    def close(self) -> None:
        self.bar.stop()


# Small parts -------------------------------------------------------------------------------------


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _sum(path: Path, like: str) -> str:
    kind = like.partition(":")[0]
    try:
        with path.open("rb") as file:
            return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    from filelock import FileLock

    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            yield
