"""The settings of evaluations of what a decoder makes of latents, and of what they say of x."""

from functools import partial
from typing import ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import Task, TaskConfig
from seqvae_core.records import Shapes

__all__ = ["MCAS", "InputInformation", "Recovery", "SwapJudge"]

Draw = Literal["sample", "mean"]
JudgeKind = Literal["gru", "linear"]

_positive = validators.ge(1)


@frozen(kw_only=True)
class MCAS(TaskConfig):
    """Whether the decoder uses the global latents: classes learnt from what it makes of them.

    A logistic regression is fitted on sequences that the model draws given z of labelled train
    sequences, and scored on real test sequences.

    Attributes:
        labels: global classes; all of the data's when left out.
        exclude: labels that are not asked for.
        draw: "sample" draws x from the likelihood, "mean" takes its mean; an autoregressive
            decoder draws in any case.
        sequences: how many train sequences are redrawn at most, chosen at random.
        permutations: of the labels, for the floor: one fit each.
        unit: a global label, such as `utterance`, whose test sequences are resampled together.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "mcas"

    labels: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ("utterance",)
    draw: Draw = "sample"
    sequences: int = field(default=4000, validator=_positive)
    permutations: int = field(default=10, validator=_positive)
    unit: str | None = None
    resamples: int = field(default=1000, validator=_positive)

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.mcas import mcas

        return partial(mcas, self)


@frozen(kw_only=True)
class SwapJudge(TaskConfig):
    """What a classifier that knows real sequences takes swapped ones for.

    Sequences a are decoded with the global latents of sequences b of another identity. A judge,
    trained on the real train part, says whose identity they have, and whether a's content is
    kept.

    Attributes:
        identity: the global label that the global latents should carry.
        content: the label, global or local, that the local latents should carry; None for none.
        judge: "gru" is a bidirectional GRU over frames, "linear" logistic regression on mean and
            standard deviation of frames, or on each frame for a local label.
        hidden: width of the GRU, each way.
        steps: the most optimiser steps of the GRU.
        draw: "mean" judges the mean of x, "sample" a draw; an autoregressive decoder draws in any
            case.
        sequences: how many test sequences are swapped at most, chosen at random.
        unit: a global label, such as `utterance`, whose sequences are resampled together, and
            held out together to stop the judge's training.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "swap-judge"

    identity: str = "speaker"
    content: str | None = None
    judge: JudgeKind = "gru"
    hidden: int = field(default=32, validator=_positive)
    steps: int = field(default=600, validator=_positive)
    draw: Draw = "mean"
    sequences: int = field(default=2000, validator=validators.ge(2))
    unit: str | None = None
    resamples: int = field(default=1000, validator=_positive)

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.swap_judge import swap_judge

        return partial(swap_judge, self)


@frozen(kw_only=True)
class InputInformation(TaskConfig):
    """How many nats each global latent holds of the sequence that it encodes, I(x; z).

    Attributes:
        samples: of each posterior.
        margin: nats below the ceiling ln N, N test sequences, from which the estimate is called
            saturated.
        block: posterior samples that are compared at a time with a batch of posteriors; more take
            more memory and give the same result.
    """

    name: ClassVar[str] = "input-information"

    samples: int = field(default=4, validator=_positive)
    margin: float = field(default=1.0, validator=validators.ge(0.0))
    block: int = field(default=1024, validator=_positive)

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.input_information import input_information

        return partial(input_information, self)


@frozen(kw_only=True)
class Recovery(TaskConfig):
    """How well a linear reader recovers x from each latent and from a decoder's local features.

    Attributes:
        radius: places to each side that the widest reading sees.
        sequences: of each part that are read at most, chosen at random.
        places: of these, frames or pixels, that are fitted and scored at most.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "recovery"

    radius: int = field(default=1, validator=_positive)
    sequences: int = field(default=500, validator=_positive)
    places: int = field(default=10000, validator=_positive)
    resamples: int = field(default=1000, validator=_positive)

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.recovery import recovery

        return partial(recovery, self)
