"""A bar for what takes long."""

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["watched"]

T = TypeVar("T")


def watched(jobs: Sequence[T]) -> Iterator[T]:
    """Yield jobs, with a bar on stderr if somebody watches and it takes long."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    begun = time.monotonic()
    for position, job in enumerate(jobs):
        if console.is_terminal and time.monotonic() - begun > 1.0:
            yield from track(
                jobs[position:], "features", total=len(jobs), completed=position,
                console=console, transient=True,
            )  # fmt: skip
            return
        yield job
