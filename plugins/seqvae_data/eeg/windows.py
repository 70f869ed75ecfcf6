"""Windows of fixed length along a recording."""

from collections.abc import Iterator

from attrs import evolve

from seqvae_core.errors import DataError
from seqvae_data.frames import Cut, Example

__all__ = ["samples", "windows"]


def samples(seconds: float, rate: float) -> int:
    """Return a duration as a number of samples.

    Raises:
        DataError: if it is shorter than one sample.
    """
    count = round(seconds * rate)
    if count < 1:
        raise DataError(f"{seconds:g} s are less than one sample at {rate:g} Hz")
    return count


def windows(
    example: Example, window: float | None, step: float | None, rate: float
) -> Iterator[Example]:
    """Yield windows of a sequence, its local labels cut alike; all of it if there is no window.

    What is shorter than a window is one; what is left over at the end is dropped.

    Args:
        example: the sequence.
        window: length of a window, in seconds.
        step: from one window to the next, in seconds; `window` if None.
        rate: samples in a second.

    Raises:
        DataError: if a window or a step is shorter than one sample.
    """
    if window is None:
        yield evolve(example, utterance=None)
        return
    frames = example.x.shape[0]
    length = min(samples(window, rate), frames)
    for start in range(0, frames - length + 1, samples(step or window, rate)):
        stop = start + length
        yield evolve(
            example,
            x=Cut(example.x, start, stop),
            labels={n: v[start:stop] if v.ndim else v for n, v in example.labels.items()},
            name=f"{example.name}[{start}:{stop}]",
            stats=None,
        )
