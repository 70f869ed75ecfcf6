"""Members of zip files, read one by one and never extracted."""

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from seqvae_core.errors import DataError

__all__ = ["read_members"]

LARGEST = 1 << 26  # bytes of a member
TOTAL = 1 << 32  # bytes of all members
RATIO = 250  # of a member's bytes to its packed bytes, beyond
SMALL = 1 << 20  # bytes, where any ratio is harmless

_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError,
    RuntimeError, ValueError,
)  # fmt: skip


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file in a zip file, sorted by name.

    Folders, `.DS_Store` and what is below `__MACOSX` are left out. All names and sizes are
    checked before the first member is read.

    Raises:
        DataError: for a damaged file, an encrypted or damaged member, a name that leads out of
            the archive, two members of one name, or sizes that no honest archive has. It names
            the member, not the zip file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked(archive.infolist())
            for info in members:
                yield info.filename, _read(archive, info)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from None
    except _DAMAGE:
        raise DataError("is damaged, or no zip file") from None


def _checked(infos: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    for info in infos:
        _check(info)
    if (total := sum(info.file_size for info in infos)) > TOTAL:
        raise DataError(f"its members claim {total} bytes, expected at most {TOTAL}")
    members = sorted((i for i in infos if not _ignored(i.filename)), key=lambda i: i.filename)
    for one, other in pairwise(members):
        if one.filename == other.filename:
            raise DataError(f"has two members '{one.filename}'")
    return members


def _check(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    if name.startswith("/") or re.search(r"\\|\0|^[A-Za-z]:|(^|/)\.\.(/|$)", name):
        raise DataError(f"member {name!r} leads out of the archive")
    size, packed = info.file_size, info.compress_size
    if size > LARGEST or size > max(SMALL, RATIO * packed):
        raise DataError(
            f"member '{name}' claims {size} bytes, packed into {packed}: expected at most "
            f"{LARGEST}, and {RATIO} times the packed ones"
        )
    if info.flag_bits & 1:
        raise DataError(f"member '{name}' is encrypted")


def _ignored(name: str) -> bool:
    parts = name.split("/")
    return name.endswith("/") or "__MACOSX" in parts or parts[-1] == ".DS_Store"


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as member:
            content = member.read(info.file_size + 1)  # beyond the end, where the checksum is
    except _DAMAGE:
        raise DataError(f"member '{info.filename}' is damaged") from None
    if len(content) != info.file_size:
        raise DataError(
            f"member '{info.filename}' is damaged: {len(content)} bytes, it claims {info.file_size}"
        )
    return content
