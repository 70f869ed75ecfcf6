"""What is done about files that cannot be used."""

import warnings
from collections.abc import Sequence
from typing import Literal

from seqvae_core.errors import DataError

__all__ = ["leave_out"]


def leave_out(faults: Sequence[str], on_error: Literal["raise", "skip"], what: str) -> None:
    """Raise the first fault, or warn of all.

    Raises:
        DataError: unless `on_error` is "skip".
    """
    if faults and on_error == "raise":
        raise DataError(faults[0])
    if faults:
        warnings.warn(f"left out {len(faults)} {what}: {'; '.join(faults)}", stacklevel=3)
