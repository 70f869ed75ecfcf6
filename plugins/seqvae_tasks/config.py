"""The settings of each evaluation; what it computes stands in the module that it builds."""

from functools import partial
from typing import Any, ClassVar, Literal

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
    "only_latent",
]

Classifier = Literal["linear", "svm", "mlp"]


@frozen(kw_only=True)
class Probe(TaskConfig):
    """How well each label can be read off each latent, beside what needs no training.

    A logistic regression (of a continuous label: ridge regression) and a small MLP are fitted on
    the train part and scored on the test part, or what else `classifier` names.

    Attributes:
        labels: which ones; all of the data's when left out.
        exclude: labels that are not asked for.
        codes: parts of latents that stand beside these as representations of their own, such as
            ["z[:2]", "z[2:]"].
        classifier: what is fitted: "linear", "svm" (with an RBF kernel; of a continuous label:
            kernel ridge regression) or "mlp".
        group: a global label whose values must not be on both sides. Train and test part are
            then joined and scored by 5-fold cross-validation over the groups.
        average: a global label that names the utterance which a segment is cut from: sequences
            of one utterance are averaged, for global labels.
        frames: how many frames a fit on single frames sees at most, chosen at random.
        resamples: of the bootstrap.
        reference: whether to add what an adversary with labels leaves of the local latents, an
            upper reference that is supervised; it takes some seconds, and no `group`.
        identity: the global label that the reference is to be without.
    """

    name: ClassVar[str] = "probe"

    labels: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ("utterance",)
    codes: tuple[str, ...] = ()
    classifier: tuple[Classifier, ...] = field(
        default=("linear", "mlp"), validator=validators.min_len(1)
    )
    group: str | None = None
    average: str | None = None
    frames: int = field(default=5000, validator=validators.ge(1))
    resamples: int = field(default=1000, validator=validators.ge(1))
    reference: bool = field(default=False)
    identity: str = "speaker"

    @reference.validator
    def _one_split(self, _: Any, reference: bool) -> None:
        if reference and self.group is not None:
            raise ConfigError(
                "'reference' is fitted with the labels of the train part, so that it takes the "
                f"given split: expected no 'group', got '{self.group}'"
            )

    def build(self, shapes: Shapes) -> Task:
        """Build the task; raise `ShapeError` for codes that the model does not have."""
        from seqvae_basics.codes import parse_code
        from seqvae_tasks.probe import probe

        for text in self.codes:  # unlike those that are trained on, these may overlap
            parse_code(text, shapes, self.name)
        return partial(probe, self)


@frozen(kw_only=True)
class Verification(TaskConfig):
    """Equal error rate of telling by cosine whether two test sequences share an identity.

    Attributes:
        identity: the global label that says who it is.
        average: a global label that names the utterance which a segment is cut from; utterances
            are then scored beside segments.
        protocol: "given" fits what is fitted, such as principal components, on the train part
            and compares test sequences. "open" joins both parts and goes through up to five
            folds of identities: it fits on the others and compares within the fold.
        sequences: how many are compared with one another at most, chosen at random.
        reference: whether to add what an adversary with labels leaves of the local latents, an
            upper reference that is supervised; it takes some seconds, and the given split.
    """

    name: ClassVar[str] = "verification"

    identity: str = "speaker"
    average: str | None = None
    protocol: Literal["given", "open"] = "given"
    sequences: int = field(default=4000, validator=validators.ge(2))
    reference: bool = field(default=False)

    @reference.validator
    def _one_split(self, _: Any, reference: bool) -> None:
        if reference and self.protocol != "given":
            raise ConfigError(
                "'reference' is fitted with the labels of the train part, so that it takes the "
                f"given split: expected protocol 'given', got '{self.protocol}'"
            )

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
        sounds: test sequences to be heard, where the data can be; 0 for none.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "reconstruction"

    pictures: int = field(default=4, validator=validators.ge(0))
    sounds: int = field(default=2, validator=validators.ge(0))
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
        sounds: pairs to be heard, where the data can be; 0 for none.
    """

    name: ClassVar[str] = "swap"

    pairs: int = field(default=4, validator=validators.ge(1))
    sounds: int = field(default=2, validator=validators.ge(0))

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
        unit: a global label, such as `utterance`, whose sequences an estimator that splits its
            rows keeps on one side; without it the split is by sequences.
        null: how often the estimate is repeated with b's units permuted, each time by a fresh
            critic; the p-value is the estimate's rank among these. 0, or at least 19.
    """

    name: ClassVar[str] = "mutual-information"

    estimator: MIEstimatorConfig
    a: str | None = None
    b: str | None = None
    unit: str | None = None
    null: int = field(default=0)

    @null.validator
    def _check_null(self, _: object, value: int) -> None:
        if value != 0 and value < 19:
            raise ValueError(f"'null' must be 0 or >= 19: {value}")

    def build(self, shapes: Shapes) -> Task:
        """Build the task.

        Raises:
            ConfigError: if a or b is left out and the model has not exactly one of the scope.
            ShapeError: if the model has no latent of that name.
        """
        from seqvae_tasks.mutual_information import mutual_information

        a = shapes.latent(self.a or only_latent(shapes, "global", "a"))
        b = shapes.latent(self.b or only_latent(shapes, "local", "b"))
        pair = evolve(shapes, latents={a.name: a, b.name: b})
        return partial(mutual_information, self, self.estimator.build(pair), a.name, b.name)


def only_latent(shapes: Shapes, scope: Scope, key: str) -> str:
    """Return the name of the one latent of a scope, or raise `ConfigError`, which names `key`."""
    names = [variable.name for variable in shapes.of(scope)]
    if len(names) != 1:
        raise ConfigError(
            f"expected '{key}' to name a latent, as the model has not one {scope} latent "
            f"but {len(names)}: {', '.join(names) or 'none'}"
        )
    return names[0]
