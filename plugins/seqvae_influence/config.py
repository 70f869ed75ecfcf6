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
        margin: nats below ln M, of M posteriors, from which a factor counts as saturated; half of
            ln M at most.
        active: the variance of its mean above which a unit counts as active.
        norms: sequences of that part over which the norms of the decoder's derivatives by each
            factor are averaged; 0 for none.
        labels: which ones are read off each factor alone, by a classifier that is fitted on the
            train part and scored on the test part; all when left out, none if empty.
        exclude: labels that are not read.
        frames: how many frames such a fit on single frames sees at most.
        decoded: where the pairs of a factor and what is decoded from it come from, by which the
            information that the decoder lets through is bounded: samples of the posteriors, where
            a factor is told by others that go with it too, or of the prior, where factors are
            independent; "none" leaves the bound out.
        decoded_as: what a pair holds of the likelihood: a "sample" of it, whose information about a
            factor ends where noise covers it, or its "mean", of which ever so small a change tells
            the factor, as there is no noise.
        decoded_pairs: how many pairs at most; half of them fit the bound.
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
    norms: int = field(default=64, validator=validators.ge(0))
    labels: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ("utterance",)
    frames: int = field(default=5000, validator=validators.ge(1))
    decoded: Literal["posterior", "prior", "none"] = "posterior"
    decoded_as: Literal["sample", "mean"] = "sample"
    decoded_pairs: int = field(default=4000, validator=validators.ge(20))

    def build(self, shapes: Shapes) -> Task:
        """Build the task; raise `ShapeError` if the model has no latent of that name."""
        from seqvae_influence.influence import influence

        if self.latent is not None:
            shapes.latent(self.latent)
        return partial(influence, self)
