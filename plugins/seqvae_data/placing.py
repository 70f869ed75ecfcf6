"""Large cache files: written piece by piece under a temporary name, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from seqvae_core.errors import DataError

__all__ = ["placed"]


@contextmanager
def placed(target: Path) -> Iterator[IO[bytes]]:
    """Give a file to write; it takes its name when the block ends without an error.

    Raises:
        DataError: if the disk refuses; nothing of it is left then.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
        temporary.replace(target)
    except OSError as error:
        raise DataError(f"the cache {target.parent}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
