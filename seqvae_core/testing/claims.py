"""What must hold of a component, and the one message when it does not."""

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from seqvae_core.components import Component
from seqvae_core.plugins import label

__all__ = ["TOLERANCE", "Subject", "close", "finite", "identical", "require", "shaped"]

TOLERANCE = 1e-6


class _Broken(AssertionError):  # noqa: N818 (a claim, no error of its own)
    """What was got and what was expected; `Subject.must` says of what."""


@frozen
class Subject:
    """The component under test, as messages name it."""

    config: Component

    def __str__(self) -> str:
        name = self.config.name or type(self.config).__name__
        return f"{label(self.config.kind)} '{name}'"

    @contextmanager
    def must(self, what: str, *, first: bool = False) -> Iterator[None]:
        """Name a claim: whatever goes wrong within the block breaks it.

        Args:
            what: must hold.
            first: whether the block is the first to run the component's code; then it may move
                generators and switches, as the libraries do that it imports.

        Raises:
            AssertionError: "<kind> '<name>' must <what>: <got, expected>", also where the
                component raises, or moves a global generator or a switch of the process.
        """
        before = _process()
        try:
            yield
            for name, state in _process().items():
                require(first or state == before[name], f"it moved {name}")
        except _Broken as error:
            raise AssertionError(f"{self} must {what}: {error}") from None
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{self} must {what}: it raised {told}") from error


def _process() -> dict[str, bytes]:
    return {
        "torch's global generator": bytes(torch.get_rng_state().numpy()),
        "numpy's global generator": pickle.dumps(np.random.get_state()),
        "Python's global generator": pickle.dumps(random.getstate()),
        "torch's default type": str(torch.get_default_dtype()).encode(),
        "torch's gradient mode": str(torch.is_grad_enabled()).encode(),
        "torch's number of threads": str(torch.get_num_threads()).encode(),
    }


def require(condition: bool, detail: str) -> None:
    """Raise, within `Subject.must`, what was got and expected, unless the condition holds."""
    if not condition:
        raise _Broken(detail)


def shaped(name: str, value: Tensor, expected: tuple[int, ...]) -> None:
    """Require a tensor's shape."""
    require(isinstance(value, Tensor), f"got {type(value).__name__} as {name}, expected a tensor")
    got = tuple(value.shape)
    require(got == expected, f"got {name} of shape {got}, expected {expected}")


def finite(values: dict[str, Tensor]) -> None:
    """Require that no value is NaN or infinite."""
    for name, value in values.items():
        bad = int((~torch.isfinite(value)).sum())
        require(bad == 0, f"got {bad} of {value.numel()} values of {name} NaN or infinite")


def identical(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Require equality bit for bit."""
    for name, value in expected.items():
        if not torch.equal(got[name], value):
            require(False, f"{name} differs by {_difference(got[name], value):.2g}, expected 0")


def close(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Require equality up to 1e-6 of the largest value."""
    for name, value in expected.items():
        difference = _difference(got[name], value)
        require(
            difference <= TOLERANCE,
            f"{name} differs by {difference:.2g} of its largest value, expected at most 1e-06",
        )


def _difference(got: Tensor, expected: Tensor) -> float:
    if expected.numel() == 0 or torch.equal(got, expected):
        return 0.0
    scale = max(float(expected.detach().abs().max()), 1e-3)
    return float((got - expected).detach().abs().max()) / scale
