"""Settings of what is made of the most influential factors, and of the bounds on it."""

from functools import partial
from typing import Any, ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import Task, TaskConfig
from seqvae_core.records import Shapes

__all__ = ["PUBLISHED", "FactorSelection", "FanoBound", "Ranking", "ReconstructionBound",
           "kept_counts"]  # fmt: skip

PUBLISHED = (128, 64, 13, 9, 7, 6, 4, 3, 2, 0)

Ranking = Literal["mi", "closed-form", "kl", "variance", "active-units", "random"]
_ALL: tuple[Ranking, ...] = ("mi", "closed-form", "kl", "variance", "active-units", "random")
_counts = validators.deep_iterable(validators.ge(0))


def _distinct(_: object, attribute: Any, value: Any) -> None:
    if value is not None and len(set(value)) < len(value):
        raise ValueError(f"'{attribute.name}' must be different from one another: {list(value)}")


def kept_counts(keep: tuple[int, ...] | None, factors: int) -> list[int]:
    """Return how many of so many factors are kept, one after another, rising from 0 to all."""
    asked = PUBLISHED if keep is None else keep
    return sorted({0, factors, *(count for count in asked if count <= factors)})


@frozen(kw_only=True)
class _Kept(TaskConfig):
    latent: str | None = None
    keep: tuple[int, ...] | None = field(
        default=None, validator=[validators.optional(_counts), _distinct]
    )
    labels: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ("utterance",)
    unit: str | None = None
    posteriors: int = field(default=10_000, validator=validators.ge(2))
    resamples: int = field(default=200, validator=validators.ge(1))

    def _check(self, shapes: Shapes) -> None:
        if self.latent is not None:
            shapes.latent(self.latent)


@frozen(kw_only=True)
class FactorSelection(_Kept):
    """What reconstructions and classes lose when all but the k best factors are zeroed.

    Attributes:
        latent: which one; all when left out.
        keep: how many factors are kept, beside none and all; as published when left out.
        by: what ranks the factors, from the train part's posteriors: "mi", I_M; "closed-form", as
            published; "kl", to N(0, 1); "variance", of the aggregated posterior; "active-units",
            the variance of its mean; "random".
        draws: of random orders.
        labels: global labels to tell; all when left out, none if empty.
        exclude: labels that are not told.
        above: of labels that are numbers, whether they are above this is told, in place of them.
        reader: "mlp" tells them from the posterior mean, of a local latent over time; "recurrent"
            tells classes from the means of all frames of a local latent, one after another.
        retrain: whether to fit each reader anew on the factors that are kept, beside zeroing the
            others of one that has seen all.
        retrained_draws: random orders for which it is.
        steps: of a recurrent reader at most.
        items: test sequences that are reconstructed at most; 0 for none.
        pictures: test sequences that are drawn; 0 for no picture of sequences.
        unit: a global label whose sequences are resampled together.
        posteriors: how many are read at most to rank the factors.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "factor-selection"

    by: tuple[Ranking, ...] = field(default=_ALL, validator=[validators.min_len(1), _distinct])
    draws: int = field(default=5, validator=validators.ge(1))
    above: float | None = None
    reader: Literal["mlp", "recurrent"] = "mlp"
    retrain: bool = True
    retrained_draws: int = field(default=2, validator=validators.ge(1))
    steps: int = field(default=300, validator=validators.ge(1))
    items: int = field(default=500, validator=validators.ge(0))
    pictures: int = field(default=6, validator=validators.ge(0))

    def build(self, shapes: Shapes) -> Task:
        """Build the task; raise `ShapeError` if the model has no latent of that name."""
        from seqvae_influence.selection import factor_selection

        self._check(shapes)
        return partial(factor_selection, self)


@frozen(kw_only=True)
class FanoBound(_Kept):
    """The least error of telling a class by the k most informative factors, by Fano's inequality.

    Attributes:
        latent: which one; all when left out.
        keep: how many factors are kept, beside none and all; as published when left out.
        labels: global classes to tell; all when left out.
        exclude: labels that are not told.
        unit: a global label whose sequences are resampled together.
        posteriors: of the test part at most, which are all compared with one another; and of the
            train part, to rank the factors by I_M.
        samples: of each posterior, in that comparison.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "fano-bound"

    posteriors: int = field(default=2000, validator=validators.ge(2))
    samples: int = field(default=1, validator=validators.ge(1))

    def build(self, shapes: Shapes) -> Task:
        """Build the task; raise `ShapeError` if the model has no latent of that name."""
        from seqvae_influence.fano_task import fano_bound

        self._check(shapes)
        return partial(fano_bound, self)


@frozen(kw_only=True)
class ReconstructionBound(TaskConfig):
    """The least squared error of a reconstruction that the information in the latents allows.

    Attributes:
        entropy: h(x) of a sequence in nats, as the model sees it; that of the data, if they
            declare one, when left out. Without it only ratios of errors are bounded.
        latent: whose factors are dropped for these; all when left out.
        keep: how many factors are kept, beside none and all; as published when left out.
        posteriors: how many are read at most, of the train part to rank the factors by I_M and of
            the test part.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "reconstruction-bound"

    entropy: float | None = None
    latent: str | None = None
    keep: tuple[int, ...] | None = field(
        default=None, validator=[validators.optional(_counts), _distinct]
    )
    posteriors: int = field(default=2000, validator=validators.ge(2))
    resamples: int = field(default=200, validator=validators.ge(1))

    def build(self, shapes: Shapes) -> Task:
        """Build the task; raise `ShapeError` if the model has no latent of that name."""
        from seqvae_influence.distortion import reconstruction_bound

        if self.latent is not None:
            shapes.latent(self.latent)
        return partial(reconstruction_bound, self)
