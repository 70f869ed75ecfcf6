"""The settings of evaluations of single codes: what they change, and which classes they are."""

from functools import partial
from typing import ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import Task, TaskConfig
from seqvae_core.records import Shapes

__all__ = ["Traverse", "UnsupervisedClassification"]

_positive = validators.ge(1)
_least = validators.ge(0)


@frozen(kw_only=True)
class Traverse(TaskConfig):
    """Pictures of what single codes change: one or two of them move, all others are held.

    Attributes:
        codes: which, such as ["z[:2]", "c"]: dimensions by index or slice; of categorical latents,
            whose values are swapped, these count groups. Left out: every latent, of each the
            dimensions of largest KL.
        most: dimensions of a latent where `codes` is left out.
        start: where the others are held: at the posterior means of test sequences, or at the
            prior's mean; of a categorical latent always at the likeliest value.
        items: test sequences that are started from, evenly spaced.
        reach: a dimension moves from -reach to reach.
        steps: values on that way.
        plane_reach: the same for the grid of the first two dimensions among the codes.
        plane_steps: values to each side of that grid; 0 for no grid.
        sounds: sequences whose traversals are to be heard, where the data can be; 0 for none.
    """

    name: ClassVar[str] = "traverse"

    codes: tuple[str, ...] | None = field(
        default=None, validator=validators.optional(validators.min_len(1))
    )
    most: int = field(default=8, validator=_positive)
    start: Literal["item", "prior"] = "item"
    items: int = field(default=3, validator=_positive)
    reach: float = field(default=5.0, validator=validators.gt(0.0))
    steps: int = field(default=7, validator=validators.ge(2))
    plane_reach: float = field(default=3.0, validator=validators.gt(0.0))
    plane_steps: int = field(default=9, validator=_least)
    sounds: int = field(default=1, validator=_least)

    def build(self, shapes: Shapes) -> Task:
        """Build the task; raise `ShapeError` for codes that the model does not have."""
        from seqvae_basics.codes import parse_codes
        from seqvae_tasks.traverse import traverse

        if self.codes is not None:
            parse_codes(self.codes, shapes, self.name)
        return partial(traverse, self)


@frozen(kw_only=True)
class UnsupervisedClassification(TaskConfig):
    """Whether the values of categorical latents are classes, though no label was trained on.

    The likeliest value of each categorical latent is taken for a class by a mapping that is fitted
    on one part of the data, and scored on the test part.

    Attributes:
        labels: classes, global or local; all of the data's when left out.
        exclude: labels that are not asked for.
        fit: the part that the mapping from values to classes is fitted on.
        unit: a global label, such as `utterance`, whose sequences are resampled together.
        control: whether to add k-means with as many clusters on each Gaussian latent's posterior
            means, fitted on the train part.
        frames: frames that k-means on a local latent is fitted on at most, chosen at random.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "unsupervised-classification"

    labels: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ("utterance",)
    fit: Literal["train", "valid"] = "train"
    unit: str | None = None
    control: bool = True
    frames: int = field(default=5000, validator=_positive)
    resamples: int = field(default=1000, validator=_positive)

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.unsupervised import unsupervised_classification

        return partial(unsupervised_classification, self)
