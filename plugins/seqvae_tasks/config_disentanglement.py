"""The settings of evaluations of whether single dimensions of a latent hold single factors."""

from functools import partial
from typing import Any, ClassVar

from attrs import Attribute, field, frozen, validators

from seqvae_core.components import Task, TaskConfig
from seqvae_core.errors import ConfigError
from seqvae_core.records import Shapes
from seqvae_tasks.config import only_latent

__all__ = ["DCI", "MIG", "FactorTask", "LocalDisentanglement", "Modularity"]

_positive = validators.ge(1)
_several = validators.ge(2)


def _radii(_: Any, attribute: "Attribute[Any]", value: tuple[float, ...]) -> None:
    if not value or len(set(value)) < len(value) or not all(0.0 < each <= 1.0 for each in value):
        raise ValueError(f"'{attribute.name}' must be different numbers in (0, 1]: {list(value)}")


def _latent(shapes: Shapes, name: str | None) -> str:
    """Return the name of the latent to score, and check that the encoder gives it."""
    variable = shapes.latent(name or only_latent(shapes, "global", "latent"))
    if variable.family == "feature":
        raise ConfigError(
            f"expected 'latent' to name a latent, got the decoder's feature '{variable.name}'"
        )
    return variable.name


@frozen(kw_only=True)
class LocalDisentanglement(TaskConfig):
    """Local MIG and local modularity: of small neighbourhoods in the space of factors.

    The data must be such that images of any factors can be made, as `three-dots`, `dsprites`,
    `shapes3d`, `mpi3d` and `mpi3d-multi` are. The defaults are those of the paper.

    Attributes:
        latent: which one, by its posterior mean (of a local latent the mean over time); the only
            global one when left out.
        radii: of the neighbourhoods, as shares of a factor's values; at 1 it is the whole space.
        clusters: how many neighbourhoods. Their centres and points are always the same,
            whatever the experiment's seed, so that models can be compared on them.
        fresh: whether to score as many neighbourhoods that are drawn anew for each seed, beside
            the fixed ones; it doubles the time.
        points: images in a neighbourhood, for each radius.
        bins: of equal width, that each dimension's own range in a neighbourhood is cut into.
    """

    name: ClassVar[str] = "local-disentanglement"

    latent: str | None = None
    radii: tuple[float, ...] = field(default=(0.1, 0.2, 0.3, 0.6, 1.0), validator=_radii)
    clusters: int = field(default=20, validator=_positive)
    fresh: bool = False
    points: int = field(default=10_000, validator=_several)
    bins: int = field(default=5, validator=_several)

    def build(self, shapes: Shapes) -> Task:
        """Build the task.

        Raises:
            ConfigError: if `latent` is left out and the model has not exactly one global latent,
                or if it is a decoder's feature.
            ShapeError: if the model has no latent of that name.
        """
        from seqvae_tasks.local_disentanglement import local_disentanglement

        return partial(local_disentanglement, self, _latent(shapes, self.latent))


@frozen(kw_only=True)
class FactorTask(TaskConfig):
    """What `mig`, `modularity` and `dci` have in common; their fields are described there."""

    latent: str | None = None
    labels: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ("utterance",)
    points: int = field(default=10_000, validator=_several)


@frozen(kw_only=True)
class MIG(FactorTask):
    """The mutual information gap: how far the best dimension of a latent leads for each factor.

    Attributes:
        latent: as for `local-disentanglement`.
        labels: which factors; all when left out.
        exclude: factors that are not asked for.
        points: images drawn from all factors, where they can be made; else the most sequences of
            the test part, chosen at random, whose global classes are the factors.
        bins: of equal width, that each dimension's range is cut into.
    """

    name: ClassVar[str] = "mig"

    bins: int = field(default=20, validator=_several)

    def build(self, shapes: Shapes) -> Task:
        """Build the task.

        Raises:
            ConfigError: as `local-disentanglement` does.
            ShapeError: if the model has no latent of that name.
        """
        from seqvae_tasks.disentanglement import mig_task

        return partial(mig_task, self, _latent(shapes, self.latent))


@frozen(kw_only=True)
class Modularity(FactorTask):
    """Whether each dimension of a latent tells of one factor alone.

    Attributes:
        latent: as for `local-disentanglement`.
        labels: which factors; all when left out.
        exclude: factors that are not asked for.
        points: as for `mig`.
        bins: of equal width, that each dimension's range is cut into.
    """

    name: ClassVar[str] = "modularity"

    bins: int = field(default=20, validator=_several)

    def build(self, shapes: Shapes) -> Task:
        """Build the task.

        Raises:
            ConfigError: as `local-disentanglement` does.
            ShapeError: if the model has no latent of that name.
        """
        from seqvae_tasks.disentanglement import modularity_task

        return partial(modularity_task, self, _latent(shapes, self.latent))


@frozen(kw_only=True)
class DCI(FactorTask):
    """Disentanglement, completeness and informativeness by the importances of random forests.

    A forest for each label reads its class off the latent's dimensions; it is fitted on the train
    part and scored on the test part.

    Attributes:
        latent: as for `local-disentanglement`.
        labels: which global classes; all when left out.
        exclude: labels that are not asked for.
        points: the most sequences of each part, chosen at random.
        trees: of a forest; their depth is chosen by cross-validation inside the train part.
    """

    name: ClassVar[str] = "dci"

    points: int = field(default=5_000, validator=_several)
    trees: int = field(default=20, validator=_positive)

    def build(self, shapes: Shapes) -> Task:
        """Build the task.

        Raises:
            ConfigError: as `local-disentanglement` does.
            ShapeError: if the model has no latent of that name.
        """
        from seqvae_tasks.importances import dci

        return partial(dci, self, _latent(shapes, self.latent))
