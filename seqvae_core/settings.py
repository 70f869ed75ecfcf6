"""Plain settings that components and experiments share: schedules, optimisers, relaxations."""

import math
from collections.abc import Iterable
from typing import Literal

from attrs import field, frozen, validators

__all__ = ["CONSTANT", "CategoricalConfig", "OptimizerConfig", "Schedule", "Temperature"]


@frozen(kw_only=True)
class Schedule:
    """A factor in [0, 1] on a weight, as a function of the step.

    `constant` is 1 at every step. `linear` climbs from `start` to 1 within the first `steps`
    steps: at step t, counted from 0, it is start + (1 - start)·min(1, (t + 1) / steps), hence
    never 0 unless it is asked to be.
    """

    name: Literal["constant", "linear"] = "constant"
    steps: int = field(default=1, validator=validators.ge(1))
    start: float = field(default=0.0, validator=[validators.ge(0.0), validators.le(1.0)])

    def __call__(self, step: int) -> float:
        """Return the factor at `step`, counted from 0."""
        if self.name == "constant":
            return 1.0
        return self.start + (1.0 - self.start) * min(1.0, (step + 1) / self.steps)

    def corners(self) -> Iterable[int]:
        """Return the steps between which the factor is linear."""
        return (0,) if self.name == "constant" else (0, self.steps - 1)


CONSTANT = Schedule()


@frozen(kw_only=True)
class Temperature:
    """The temperature τ of relaxed categorical samples, as a function of the step.

    `fixed` is `start` at every step; `annealed` falls from it: max(start·exp(-rate·step), floor).
    """

    name: Literal["fixed", "annealed"] = "fixed"
    start: float = field(default=1.0, validator=validators.gt(0.0))
    rate: float = field(default=1.5e-5, validator=validators.ge(0.0))
    floor: float = field(default=0.3, validator=validators.gt(0.0))

    def __attrs_post_init__(self) -> None:
        if self.name == "annealed" and self.floor > self.start:
            raise ValueError(f"'floor' must be <= 'start': {self.floor:g}, {self.start:g}")

    def __call__(self, step: int) -> float:
        """Return τ at `step`, counted from 0."""
        if self.name == "fixed":
            return self.start
        return max(self.start * math.exp(-self.rate * step), self.floor)


@frozen(kw_only=True)
class CategoricalConfig:
    """What a categorical latent is made of, and how it is relaxed so that gradients pass.

    Attributes:
        groups: categorical variables that its numbers are cut into, each of dim / groups values.
        temperature: of the relaxed samples.
        straight_through: samples are one-hot, and their gradient is that of the relaxed ones.
    """

    groups: int = field(default=1, validator=validators.ge(1))
    temperature: Temperature = Temperature()
    straight_through: bool = False


def _betas(_: object, __: object, value: tuple[float, float]) -> None:
    if not all(0.0 <= beta < 1.0 for beta in value):
        raise ValueError(f"'betas' must be in [0, 1): {list(value)}")


@frozen(kw_only=True)
class OptimizerConfig:
    """An optimiser of torch and its learning rate as a function of the step.

    `warmup` steps climb linearly to `lr`; after them `decay` lowers it to `floor`·lr at the last
    step of training, along half a cosine or a line.
    """

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    lr: float = field(default=1e-3, validator=validators.gt(0.0))
    betas: tuple[float, float] = field(default=(0.9, 0.999), validator=_betas)
    eps: float = field(default=1e-8, validator=validators.gt(0.0))
    momentum: float = field(default=0.0, validator=validators.ge(0.0))
    weight_decay: float = field(default=0.0, validator=validators.ge(0.0))
    decay: Literal["none", "cosine", "linear"] = "none"
    floor: float = field(default=0.0, validator=[validators.ge(0.0), validators.le(1.0)])
    warmup: int = field(default=0, validator=validators.ge(0))

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate at `step`, counted from 0, of `steps`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        share = min(1.0, (step - self.warmup) / max(1, steps - self.warmup))
        fall = {
            "none": 0.0,
            "linear": share,
            "cosine": 0.5 * (1.0 - math.cos(math.pi * share)),
        }[self.decay]
        return self.lr * (1.0 - (1.0 - self.floor) * fall)
