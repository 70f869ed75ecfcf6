"""The settings of each evaluation; what it computes stands in the module that it builds."""

from functools import partial
from typing import ClassVar

from attrs import evolve, field, frozen, validators

from seqvae_core.components import MIEstimatorConfig, Task, TaskConfig
from seqvae_core.errors import ConfigError
from seqvae_core.records import Scope, Shapes

__all__ = [
    "LatentMap",
    "MutualInformation",
    "Probe",
    "Rates",
    "Reconstruction",
    "Swap",
    "Verification",
]


@frozen(kw_only=True)
class Probe(TaskConfig):
    """How well each label can be read off each latent, beside what needs no training.

    A logistic regression (of a continuous label: ridge regression) and a small MLP are fitted on
    the train part and scored on the test part.

    Attributes:
        labels: which ones; all of the data's when left out.
        exclude: labels that are not asked for.
        group: a global label whose values must not be on both sides. Train and test part are
            then joined and scored by 5-fold cross-validation over the groups.
        average: a global label that names the utterance which a segment is cut from: sequences
            of one utterance are averaged, for global labels.
        frames: how many frames a fit on single frames sees at most, chosen at random.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "probe"

    labels: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ("utterance",)
    group: str | None = None
    average: str | None = None
    frames: int = field(default=5000, validator=validators.ge(1))
    resamples: int = field(default=1000, validator=validators.ge(1))

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.probe import probe

        return partial(probe, self)


@frozen(kw_only=True)
class Verification(TaskConfig):
    """Equal error rate of telling by cosine whether two test sequences share an identity.

    Attributes:
        identity: the global label that says who it is.
        average: a global label that names the utterance which a segment is cut from; utterances
            are then scored beside segments.
        sequences: how many are compared with one another at most, chosen at random.
    """

    name: ClassVar[str] = "verification"

    identity: str = "speaker"
    average: str | None = None
    sequences: int = field(default=4000, validator=validators.ge(2))

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.verification import verification

        return partial(verification, self)


@frozen(kw_only=True)
class Rates(TaskConfig):
    """KL of each latent and each of its dimensions, active units, and the ELBO, in nats.

    Attributes:
        threshold: a unit is active if its posterior mean varies by more than this.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "rates"

    threshold: float = field(default=0.01, validator=validators.gt(0.0))
    resamples: int = field(default=1000, validator=validators.ge(1))

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.rates import rates

        return partial(rates, self)


@frozen(kw_only=True)
class Reconstruction(TaskConfig):
    """Negative log-likelihood and squared error of test reconstructions, and their picture.

    Attributes:
        pictures: test sequences in the figure; 0 for none.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "reconstruction"

    pictures: int = field(default=4, validator=validators.ge(0))
    resamples: int = field(default=1000, validator=validators.ge(1))

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.reconstruction import reconstruction

        return partial(reconstruction, self)


@frozen(kw_only=True)
class Swap(TaskConfig):
    """A picture of test sequences decoded with the global latents of others.

    Attributes:
        pairs: rows of the figure.
    """

    name: ClassVar[str] = "swap"

    pairs: int = field(default=4, validator=validators.ge(1))

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.swap import swap

        return partial(swap, self)


@frozen(kw_only=True)
class LatentMap(TaskConfig):
    """A map of each global latent in two dimensions, coloured by each global label.

    Attributes:
        classes: how many classes get a colour, the most frequent ones; the others are grey.
        exclude: labels without a map.
    """

    name: ClassVar[str] = "latent-map"

    classes: int = field(default=20, validator=[validators.ge(1), validators.le(20)])
    exclude: tuple[str, ...] = ("utterance",)

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.latent_map import latent_map

        return partial(latent_map, self)


@frozen(kw_only=True)
class MutualInformation(TaskConfig):
    """An estimate of I(a; b) between posterior samples of two latents on the test part.

    Attributes:
        estimator: what estimates it.
        a: a latent; the only global one when left out.
        b: another; the only local one when left out.
    """

    name: ClassVar[str] = "mutual-information"

    estimator: MIEstimatorConfig
    a: str | None = None
    b: str | None = None

    def build(self, shapes: Shapes) -> Task:
        """Build the task.

        Raises:
            ConfigError: if a or b is left out and the model has not exactly one of the scope.
            ShapeError: if the model has no latent of that name.
        """
        from seqvae_tasks.mutual_information import mutual_information

        a = shapes.latent(self.a or _only(shapes, "global", "a"))
        b = shapes.latent(self.b or _only(shapes, "local", "b"))
        pair = evolve(shapes, latents={a.name: a, b.name: b})
        return partial(mutual_information, self.estimator.build(pair), a.name, b.name)


def _only(shapes: Shapes, scope: Scope, key: str) -> str:
    names = [variable.name for variable in shapes.of(scope)]
    if len(names) != 1:
        raise ConfigError(
            f"expected '{key}' to name a latent, as the model has not one {scope} latent "
            f"but {len(names)}: {', '.join(names) or 'none'}"
        )
    return names[0]
