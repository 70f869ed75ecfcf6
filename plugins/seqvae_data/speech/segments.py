"""Utterances in pieces of one length."""

from collections.abc import Iterator

from attrs import evolve

from seqvae_data.frames import Cut, Example

__all__ = ["cut"]


def cut(example: Example, length: int | None, hop: int | None) -> Iterator[Example]:
    """Yield segments of an utterance, its local labels cut alike.

    Args:
        example: the utterance.
        length: frames in a segment; None for the whole, which is then no segment of another. An
            utterance that is shorter is one segment.
        hop: frames from one segment to the next; `length` if None. What is left over is dropped.
    """
    if length is None:
        yield evolve(example, utterance=None)
        return
    frames = example.x.shape[0]
    length = min(length, frames)
    for start in range(0, frames - length + 1, hop or length):
        stop = start + length
        yield evolve(
            example,
            x=Cut(example.x, start, stop),
            labels={name: value[start:stop] if value.ndim else value
                    for name, value in example.labels.items()},
            name=f"{example.name}[{start}:{stop}]",
            stats=None,
        )  # fmt: skip
