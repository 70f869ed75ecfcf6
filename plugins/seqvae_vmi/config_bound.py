"""Settings of the bound on the mutual information of a fixed model's codes and what it decodes."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from attrs import Attribute, field, frozen, validators

from seqvae_core.components import Task, TaskConfig
from seqvae_core.records import Shapes
from seqvae_core.settings import OptimizerConfig
from seqvae_vmi.config import QConfig

__all__ = ["VMIBound"]

_positive = validators.ge(1)


def _each_once(_: object, attribute: "Attribute[tuple[str, ...]]", values: Sequence[str]) -> None:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ValueError(f"'{attribute.name}' must not name '{value}' twice: {list(values)}")


_some: Any = validators.and_(validators.min_len(1), _each_once)


@frozen(kw_only=True)
class VMIBound(TaskConfig):
    """A lower bound on I(c; x̃) of chosen codes c and what a fixed model decodes from them.

    A fresh Q(c|x̃) is trained on pairs of the model, stopped on others, and the bound H(c) +
    E[ln Q(c|x̃)] read on pairs of the test part, which neither saw. Pairs from the prior measure
    what the decoder shows of c; those from the posterior what c and the reconstruction share, be it
    by way of other latents.

    Attributes:
        codes: which, such as ["z[:2]", "c"]; every latent's when left out.
        pairs: where c comes from: the prior, the posterior, or each in turn.
        samples: whether categorical latents are drawn one-hot, "hard", or relaxed, "soft".
        critic: Q, and the optimiser that it is trained by; by the frames' shape when left out.
        count: pairs that Q is trained and stopped on.
        valid_share: share of these that stop the training.
        held_out: pairs that the bound is read from, at most; of local codes also frames.
        steps: the most optimiser steps.
        batch_size: pairs in a step.
        check_every: steps between looks at the validation loss.
        patience: looks without a better one before training stops.
        linear: whether to add the bound by a linear Gaussian Q, in closed form, to Gaussian codes.
    """

    name: ClassVar[str] = "vmi-bound"

    codes: tuple[str, ...] | None = field(
        default=None, validator=validators.optional(validators.min_len(1))
    )
    pairs: tuple[Literal["prior", "posterior"], ...] = field(
        default=("prior", "posterior"), validator=_some
    )
    samples: tuple[Literal["hard", "soft"], ...] = field(default=("hard", "soft"), validator=_some)
    critic: QConfig | None = None
    count: int = field(default=4000, validator=validators.ge(2))
    valid_share: float = field(default=0.2, validator=[validators.gt(0.0), validators.lt(1.0)])
    held_out: int = field(default=2000, validator=validators.ge(2))
    steps: int = field(default=2000, validator=_positive)
    batch_size: int = field(default=128, validator=_positive)
    check_every: int = field(default=50, validator=_positive)
    patience: int = field(default=5, validator=_positive)
    linear: bool = True

    def build(self, shapes: Shapes) -> Task:
        """Build the task; raise `ShapeError` for codes that the model does not have."""
        from seqvae_basics.codes import parse_codes
        from seqvae_vmi.bound import vmi_bound

        if self.codes is not None:
            parse_codes(self.codes, shapes, self.name)
        return partial(vmi_bound, self)

    def network(self, frame: tuple[int, ...]) -> QConfig:
        """Return the settings of Q, by default convolutions over a picture or over time."""
        if self.critic is not None:
            return self.critic
        optimizer = OptimizerConfig(lr=1e-3)
        if len(frame) == 3 and min(frame[1:]) >= 4:
            return QConfig(name="conv2d", channels=(16, 32), hidden=64, optimizer=optimizer)
        return QConfig(name="conv", hidden=64, optimizer=optimizer)
