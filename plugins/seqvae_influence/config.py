"""Settings of the table of influential factors."""

from functools import partial
from typing import ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import Task, TaskConfig
from seqvae_core.records import Shapes

__all__ = ["Influence"]


@frozen(kw_only=True)
class Influence(TaskConfig):
    """How many nats of the data the encoder puts into each factor of a latent.

    Attributes:
        latent: which one; all when left out.
        part: of the data, whose posteriors are read.
        posteriors: how many are read at most, of sequences and of frames, chosen at random.
        pairs: how many sequences' posteriors are compared pair by pair at most, which leaving one
            out and the joint information take; 0 for never. Frames never are.
        samples: of each posterior, in those comparisons.
        threshold: nats above which a factor counts as influential.
        margin: nats below ln M, of M posteriors, from which a factor counts as saturated.
        active: the variance of its mean above which a unit counts as active.
    """

    name: ClassVar[str] = "influence"

    latent: str | None = None
    part: Literal["train", "test"] = "test"
    posteriors: int = field(default=10_000, validator=validators.ge(2))
    pairs: int = field(default=2000, validator=validators.ge(0))
    samples: int = field(default=1, validator=validators.ge(1))
    threshold: float = field(default=0.5, validator=validators.ge(0.0))
    margin: float = field(default=1.0, validator=validators.ge(0.0))
    active: float = field(default=0.01, validator=validators.ge(0.0))

    def build(self, shapes: Shapes) -> Task:
        """Build the task; raise `ShapeError` if the model has no latent of that name."""
        from seqvae_influence.influence import influence

        if self.latent is not None:
            shapes.latent(self.latent)
        return partial(influence, self)
