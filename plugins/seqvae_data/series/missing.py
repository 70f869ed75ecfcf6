"""Values that are missing: NaN in the frames."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError

__all__ = ["check_missing", "interpolate"]


def check_missing(x: NDArray[np.float32]) -> None:  # (T, C)
    """Raise `DataError`, saying how many values are missing and where the first is."""
    missing = np.isnan(x)
    if missing.any():
        step, channel = np.argwhere(missing)[0]
        raise DataError(
            f"{missing.sum()} of {x.size} values are missing, the first in channel {channel} at "
            f"step {step}; data.missing = 'interpolate' fills them in"
        )


def interpolate(
    x: NDArray[np.float32],  # (T, C)
    time: NDArray[np.float64] | None = None,  # (T,)
    names: Sequence[str] | None = None,
) -> NDArray[np.float32]:
    """Return x with NaN replaced, linearly in time between the nearest known values.

    Before the first and after the last known value it is held.

    Args:
        x: frames.
        time: when they are; at regular steps if left out.
        names: what errors call the channels; their numbers if left out.

    Raises:
        DataError: if nothing of a channel is known.
    """
    filled = x.copy()
    when = np.arange(len(x), dtype=np.float64) if time is None else time
    for channel in np.flatnonzero(np.isnan(x).any(0)):
        known = ~np.isnan(x[:, channel])
        if not known.any():
            raise DataError(
                f"all values of channel {names[channel] if names else channel} are missing"
            )
        filled[~known, channel] = np.interp(when[~known], when[known], x[known, channel])
    return filled
