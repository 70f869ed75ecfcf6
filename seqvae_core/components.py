"""The kinds of components: for each, the config class and the module that it builds.

A component is a frozen attrs class with a `name` and a `build()`. Its kind is set once, by the
kind's base here. `couples_batch` says that the rows of a batch influence one another;
`min_batch` is the smallest batch that it can work on.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import Factory, field, frozen, validators
from torch import Tensor, nn

from seqvae_core.records import Distribution, Latent, Noise, Output, Shapes, Splits
from seqvae_core.settings import CONSTANT, OptimizerConfig, Schedule

if TYPE_CHECKING:
    from seqvae_core.model import SeqVAE

__all__ = [
    "KINDS",
    "Backbone",
    "BackboneConfig",
    "Component",
    "Critic",
    "DataRequest",
    "DatasetConfig",
    "Decoder",
    "DecoderConfig",
    "Draw",
    "Encoder",
    "EncoderConfig",
    "Estimate",
    "Likelihood",
    "LikelihoodConfig",
    "MIEstimator",
    "MIEstimatorConfig",
    "PairCritic",
    "Prior",
    "PriorConfig",
    "Regularizer",
    "RegularizerConfig",
    "Stepped",
    "Task",
    "TaskConfig",
    "TaskResult",
]

Draw = Callable[[str, Distribution], Tensor]


@frozen(kw_only=True)
class Component(ABC):  # noqa: B024 (each kind declares its own build)
    """The settings of one component: frozen, hashable, picklable, plain data all through."""

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    couples_batch: ClassVar[bool] = False
    min_batch: ClassVar[int] = 1


class Stepped(nn.Module):
    """A piece of a part of the model that depends on the step, such as a temperature.

    What it keeps of the step belongs into a buffer, so that a checkpoint has it: a model that is
    loaded is then that of the checkpoint's step, and a run that resumes goes on exactly.
    """

    @abstractmethod
    def at_step(self, step: int) -> None:
        """Take note that `step` steps are done: 0 before the first; called after each."""


class Backbone(nn.Module):
    """Frames to features, (B, T, *frame), mask → (B, T, F); `features` is F.

    Frame t of the features sees frame t alone, unless `temporal`.
    """

    features: int
    temporal: bool = False


@frozen(kw_only=True)
class BackboneConfig(Component):
    """A network over single frames, or over time if it says so."""

    kind: ClassVar[str] = "backbone"

    @abstractmethod
    def build(self, shapes: Shapes) -> Backbone:
        """Build the module; `shapes.frame` is known."""


class Encoder(nn.Module):
    """Features to posteriors: `forward(features, mask, draw)` calls `draw` for each latent.

    `draw(name, posterior)` records the posterior and returns its sample (the mean when encoding
    deterministically), so that q(s|x, z) conditions on the very z that the decoder gets. A local
    posterior's distribution is (B, T, *event), a global one's (B, *event). What the padding holds
    changes no valid step.
    """

    @abstractmethod
    def forward(self, features: Tensor, mask: Tensor, draw: Draw) -> None:
        """Draw every latent of the model."""


@frozen(kw_only=True)
class EncoderConfig(Component):
    """An amortised posterior over all latents of the model."""

    kind: ClassVar[str] = "encoder"

    @abstractmethod
    def build(self, shapes: Shapes) -> Encoder:
        """Build the module; `shapes.features` and `shapes.latents` are known."""


class Prior(nn.Module):
    """The prior of one latent: step t of a local one sees only the samples before t."""

    @abstractmethod
    def forward(self, sample: Tensor, mask: Tensor) -> Distribution:
        """Return p given the posterior's samples, (B, D) or (B, T, D)."""

    @abstractmethod
    def sample(self, n: int, lengths: Tensor, noise: Noise) -> Tensor:
        """Draw n values free-running: (n, D), or (n, max(lengths), D)."""


@frozen(kw_only=True)
class PriorConfig(Component):
    """The prior of the latent that `shapes.target` names."""

    kind: ClassVar[str] = "prior"

    @abstractmethod
    def build(self, shapes: Shapes) -> Prior:
        """Build the module; `shapes.latents` and `shapes.target` are known."""


class Decoder(nn.Module):
    """Latents to the likelihood's features; pure, so that jvp and vmap pass.

    Attributes:
        decoded: shape of one frame of the features.
        local_features: variables that `forward` returns beside them, by name.
        autoregressive: whether `forward` needs x.
        differentiable_forward: whether jvp and vmap pass through `forward`.
        framewise: whether, given x, frame t of the features sees a local latent at step t alone.
    """

    decoded: tuple[int, ...]
    local_features: Mapping[str, tuple[int, ...]] = {}
    autoregressive: bool = False
    differentiable_forward: bool = True
    framewise: bool = False

    @abstractmethod
    def forward(
        self, latents: Mapping[str, Tensor], x: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return features (B, T, *decoded) and local features by name, (B, T, ...).

        T is that of the local latents, else of x, else 1.
        """

    def ancestral(
        self,
        latents: Mapping[str, Tensor],
        lengths: Tensor,
        draw: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return frames (B, max(lengths), *frame), drawn one after another and fed back.

        Asked of autoregressive decoders alone. The result is what `draw` makes of the features
        that `forward` gives for it.

        Args:
            latents: as for `forward`.
            lengths: frames of each sequence, (B,).
            draw: from features (B, t, *decoded) of a step (t = 1), or of one place of the grids
                of t steps, with H = W = 1, to the numbers there; called once for each, in order.

        Raises:
            TypeError: if the decoder is not autoregressive.
        """
        raise TypeError(f"{type(self).__name__} is not autoregressive")


@frozen(kw_only=True)
class DecoderConfig(Component):
    """A decoder of all latents of the model."""

    kind: ClassVar[str] = "decoder"

    @abstractmethod
    def build(self, shapes: Shapes) -> Decoder:
        """Build the module; `shapes.latents` and `shapes.frame` are known."""


class Likelihood(nn.Module):
    """Decoder features (B, T, *decoded) to a distribution over frames (B, T, *frame).

    To serve an autoregressive decoder of grids, features (D, H, W) are read place by place, alike
    at all places: it asks for one at a time, with H = W = 1.
    """

    @abstractmethod
    def forward(self, features: Tensor) -> Distribution:
        """Return p(x|·), elementwise."""

    def support(self, x: Tensor, noise: Noise) -> Tensor:
        """Map stored x to the likelihood's support (scaling, binarisation)."""
        return x


@frozen(kw_only=True)
class LikelihoodConfig(Component):
    """The distribution of a frame given the decoder's features."""

    kind: ClassVar[str] = "likelihood"

    @abstractmethod
    def build(self, shapes: Shapes) -> Likelihood:
        """Build the module; `shapes.decoded` and `shapes.frame` are known."""


class Critic(nn.Module):
    """A network that a term trains beside the model: `forward(out)` is its scalar loss.

    The trainer gives it an optimiser of its own, steps it `steps` times on the detached output
    before the model (`after`: behind it), and moves nothing else by it.
    """

    optimizer: OptimizerConfig
    steps: int = 1
    after: bool = False

    @abstractmethod
    def forward(self, out: Output) -> Tensor:
        """Return the loss of the critic's player, a scalar in nats."""


class Regularizer(nn.Module):
    """A term of the loss: `forward(out)` returns (B,) nats, to be minimised.

    Attributes:
        critic: the network that the term trains by its own player, if any.
        kl_coefficients: by latent, the factor of KL(q‖p) within the term (CMI: z → -1), so that
            the objective can refuse a net KL weight ≤ 0.
        replaces_kl: latents whose KL the term alone holds, in a form of its own: the objective
            then wants a net KL weight of 0.
        schedules: what the term itself reads at `out.step`, beside the schedule of its weight.
    """

    critic: Critic | None  # no class attribute: it would hide the submodule of that name
    kl_coefficients: Mapping[str, float] = {}
    replaces_kl: Collection[str] = ()
    schedules: Sequence[Schedule] = ()

    def __init__(self) -> None:
        super().__init__()
        self.critic = None

    @abstractmethod
    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,)."""


@frozen(kw_only=True)
class RegularizerConfig(Component):
    """A weighted term of the loss; `weight` is the paper's symbol.

    Attributes:
        label: unique within an experiment; the name when left out.
        weight: of the term, in the trained loss.
        schedule: a factor on the weight over the steps.
    """

    kind: ClassVar[str] = "regularizer"

    label: str | None = None
    weight: float = field(default=1.0, validator=[validators.ge(0.0), validators.lt(math.inf)])
    schedule: Schedule = CONSTANT

    @abstractmethod
    def build(self, shapes: Shapes) -> Regularizer:
        """Build the term; all shapes are known."""


@frozen(kw_only=True)
class Estimate:
    """An estimate of a mutual information.

    Attributes:
        value: in nats.
        stderr: its standard error, NaN where there is none.
        bound: on which side of the truth it lies in expectation.
        n: the number of samples that it was read from.
        note: what a reader must know (saturated, not converged).
        beside: other readings by name, in nats, such as a bound beside a value that is none.
    """

    value: float
    stderr: float
    bound: Literal["lower", "upper", "none"]
    n: int
    note: str = ""
    beside: Mapping[str, float] = Factory(dict)


class PairCritic(nn.Module):
    """A differentiable estimate of how two variables' law P differs from a law Q, in nats."""

    @abstractmethod
    def forward(self, a: Latent, b: Latent) -> Tensor:
        """Return (B,): its mean over pairs from P estimates the divergence KL(P‖Q)."""

    @abstractmethod
    def loss(
        self, positive: tuple[Latent, Latent], negative: tuple[Latent, Latent]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the critic's own scalar loss on pairs from P and from Q, and what to log."""


class MIEstimator(ABC):
    """An estimator of I(a; b)."""

    @abstractmethod
    def estimate(self, a: Latent, b: Latent, noise: Noise) -> Estimate:
        """Estimate I(a; b) from paired rows of a and b, in nats."""

    def critic(self, shapes: Shapes) -> PairCritic:
        """Return a critic for the two variables of `shapes.latents`, a first.

        Only offered where the config's `offers_critic` is True.
        """
        raise TypeError(f"{type(self).__name__} offers no critic")


@frozen(kw_only=True)
class MIEstimatorConfig(Component):
    """An estimator of mutual information.

    `offers_critic` says that it fits a regularizer's slot, `bound` on which side of the truth its
    values lie in expectation, `loose` that even the best of critics does not bring them close.
    """

    kind: ClassVar[str] = "mi_estimator"
    offers_critic: ClassVar[bool] = False
    bound: ClassVar[Literal["lower", "upper", "none"]] = "none"
    loose: ClassVar[bool] = False

    @abstractmethod
    def build(self, shapes: Shapes) -> MIEstimator:
        """Build the estimator."""


@frozen(eq=False, kw_only=True)
class TaskResult:
    """What a task found.

    Attributes:
        metrics: numbers by name, for `evaluation.json`.
        tables: by title, a list of rows; a row maps column to text, a number, or None.
        figures: PNG bytes by title.
        sounds: WAV bytes by title.
        notes: sentences that a reader needs beside the numbers.
    """

    metrics: dict[str, float] = Factory(dict)
    tables: dict[str, list[dict[str, Any]]] = Factory(dict)
    figures: dict[str, bytes] = Factory(dict)
    sounds: dict[str, bytes] = Factory(dict)
    notes: list[str] = Factory(list)


Task = Callable[["SeqVAE", Splits, Noise], TaskResult]


@frozen(kw_only=True)
class TaskConfig(Component):
    """An evaluation; it leaves the model's mode and gradients as they were.

    Attributes:
        label: unique within an experiment, the key in `evaluation.json`; the name if left out.
    """

    kind: ClassVar[str] = "task"

    label: str | None = None

    @abstractmethod
    def build(self, shapes: Shapes) -> Task:
        """Build the task."""


@frozen(kw_only=True)
class DataRequest:
    """What a data set is built for.

    Attributes:
        seed: of random splits.
        fitted: what an earlier run fitted on its training part; None to fit anew.
    """

    seed: int = 0
    fitted: Mapping[str, Any] | None = None


@frozen(kw_only=True)
class DatasetConfig(Component):
    """A data set with its splits, deterministic given the seed; no download at import."""

    kind: ClassVar[str] = "dataset"

    @abstractmethod
    def build(self, request: DataRequest) -> Splits:
        """Read the data.

        Raises:
            DataError: one line, with the file, what was expected and what was got.
        """


KINDS: Mapping[str, type[Component]] = {
    base.kind: base
    for base in (
        BackboneConfig,
        EncoderConfig,
        PriorConfig,
        DecoderConfig,
        LikelihoodConfig,
        RegularizerConfig,
        MIEstimatorConfig,
        TaskConfig,
        DatasetConfig,
    )
}
