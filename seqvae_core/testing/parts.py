"""What every module must hold, whatever its kind: one module, one way to run it, many claims."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from seqvae_core.functional import zero_padding
from seqvae_core.model import seeded
from seqvae_core.records import Batch, Noise, Shapes
from seqvae_core.testing.claims import Subject, close, finite, identical, require
from seqvae_core.testing.small import small_batch

__all__ = ["ConstantNoise", "Part", "check_part", "check_state", "every_parameter", "sizes"]

Values = dict[str, Tensor]
LONGEST, ROWS, EXTRA = 7, 5, 3


class ConstantNoise(Noise):
    """The same number in every draw, so that rows may be permuted."""

    def _draw(self, like: Tensor, method: str) -> Tensor:
        return torch.full_like(like, 0.3)

    def permutation(self, count: int) -> Tensor:
        """Return 0, 1, ..., count - 1."""
        return torch.arange(count)

    def integers(self, high: int, shape: tuple[int, ...]) -> Tensor:
        """Return zeros."""
        return torch.zeros(shape, dtype=torch.int64)


def sizes(subject: Subject, smallest: int = 1) -> list[int]:
    """Return the numbers of rows that a component must work with."""
    return sorted({max(rows, smallest, subject.config.min_batch) for rows in (1, 2, ROWS)})


@frozen(eq=False, kw_only=True)
class Part:
    """A module and how to run it on a batch whose x holds whatever the module reads.

    Attributes:
        subject: the component.
        make: builds the module.
        shapes: of the batch: its x and its labels.
        outputs: runs the module; what it returns is zero in the padding, and (B, ...) unless
            `scalar`.
        scalar: whether the outputs are no rows.
        trained: whether the outputs hand a gradient to every parameter.
        longest: the most frames, 1 where there is no time.
    """

    subject: Subject
    make: Callable[[], nn.Module]
    shapes: Shapes
    outputs: Callable[[Any, Batch, Noise], Values]
    scalar: bool = False
    trained: bool = True
    longest: int = LONGEST

    def module(self, seed: int = 0) -> nn.Module:
        """Build the module in float64, its weights drawn from a seed."""
        with seeded(seed, "testing"):
            return self.make().double()

    def batch(self, rows: int = 0, frames: int = 0, seed: int = 0, padding: float = 0.0) -> Batch:
        """Return data for the module."""
        rows = rows or max(ROWS, self.subject.config.min_batch)
        return small_batch(
            self.shapes, rows=rows, frames=frames or self.longest, seed=seed, padding=padding
        )

    def run(self, module: nn.Module, batch: Batch, noise: Noise | None = None) -> Values:
        """Return the outputs, without their graph; the module's buffers are put back."""
        before = [(buffer, buffer.clone()) for buffer in module.buffers()]
        values = self.outputs(module, batch, noise or Noise(7))
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
        return {name: value.detach() for name, value in values.items()}


def check_part(part: Part) -> None:
    """Check all that holds for a module of any kind.

    Raises:
        AssertionError: naming the component, the claim, what was got and what was expected.
    """
    must = part.subject.must
    with must("build the same weights from the same seed"):
        _same_weights(part.module(3), part.module(3))
    module = part.module()
    with must("work for T in 1, 2, 7 and B in 1, 2, 5 from its min_batch on, in float64"):
        for rows in sizes(part.subject):
            for frames in sorted({1, min(2, part.longest), part.longest}):
                values = part.run(module, part.batch(rows, frames))
                finite(values)
                for name, value in values.items():
                    kind = str(value.dtype)
                    require(kind == "torch.float64", f"got {name} as {kind} from float64 numbers")
    with must("return the same twice from the same noise"):
        batch = part.batch()
        identical(part.run(module, batch), part.run(module, batch))
    _padding(part, module)
    if not part.subject.config.couples_batch and not part.scalar:
        _rows(part, module)
    check_state(part.subject, part.module, lambda given: part.run(given, part.batch()))
    if part.trained:
        with must("hand a gradient to every parameter"):
            every_parameter(part)


def _same_weights(first: nn.Module, second: nn.Module) -> None:
    expected = second.state_dict()
    require(first.state_dict().keys() == expected.keys(), "two builds have other parameters")
    identical(dict(first.state_dict()), dict(expected))


def _padding(part: Part, module: nn.Module) -> None:
    must = part.subject.must
    batch, junk = part.batch(), part.batch(padding=float("nan"))
    with must("not see what stands in the padding, bit for bit"):
        values = part.run(module, batch)
        got = part.run(module, junk)
        finite(got)
        identical(got, values)
    if part.longest == 1:
        return
    with must("not see how much padding there is, up to 1e-06"):
        longer = part.run(module, _padded(batch))
        close({name: _cut(value, values[name]) for name, value in longer.items()}, values)


def _padded(batch: Batch) -> Batch:
    def pad(value: Tensor, fill: float) -> Tensor:
        return torch.cat([value, value.new_full((len(value), EXTRA, *value.shape[2:]), fill)], 1)

    labels = {
        name: value
        if value.ndim == 1
        else pad(value, float("nan") if value.is_floating_point() else -1)
        for name, value in batch.labels.items()
    }
    mask = pad(batch.mask, False)
    return Batch.of(pad(batch.x, 0.0), mask=mask, labels=labels)


def _cut(value: Tensor, like: Tensor) -> Tensor:
    return value[:, : like.shape[1]] if value.ndim > 1 and like.ndim > 1 else value


def _rows(part: Part, module: nn.Module) -> None:
    must = part.subject.must
    batch = part.batch(max(2, part.subject.config.min_batch, ROWS))
    with must("keep the rows of a batch apart (or declare couples_batch)"):
        values = part.run(module, batch)
        x = batch.x.clone()
        x[0] = zero_padding(part.batch(len(batch), seed=1).x, batch.mask)[0]
        changed = part.run(module, Batch.of(x, mask=batch.mask, labels=batch.labels))
        close(_each(changed, slice(1, None)), _each(values, slice(1, None)))
    with must("permute its rows with those of the batch (or declare couples_batch)"):
        order = Noise(5).permutation(len(batch))
        straight = part.run(module, batch, ConstantNoise(0))
        permuted = part.run(module, batch.rows(order), ConstantNoise(0))
        close(permuted, _each(straight, order))


def _each(values: Values, index: Any) -> Values:
    return {name: value[index] for name, value in values.items()}


def check_state(
    subject: Subject, make: Callable[[int], nn.Module], run: Callable[[nn.Module], Values]
) -> None:
    """Check that a module's state_dict holds all of its state.

    Args:
        subject: the component.
        make: builds the module from a seed.
        run: the module's outputs.
    """
    with subject.must("keep all of its state in tensors of its state_dict"):
        first, second = make(1), make(2)
        state = copy.deepcopy(first.state_dict())
        for name, value in state.items():
            require(isinstance(value, Tensor), f"got {type(value).__name__} as '{name}'")
        second.load_state_dict(state)
        identical(run(second), run(first))


def every_parameter(part: Part) -> None:
    """Require that the outputs' gradient reaches every parameter.

    Five random neighbourhoods are looked at: a weight that starts at 0 may hide another.
    """
    missing: set[str] = set()
    for seed in range(5):
        module = part.module(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                noise = Noise(seed).of(name).normal(parameter)
                parameter.add_(0.05 * noise)
        values = part.outputs(module, part.batch(), Noise(seed))
        _weighted(values, seed).backward()  # type: ignore[no-untyped-call]
        found = {name: p for name, p in module.named_parameters() if p.requires_grad}
        none = {name for name, p in found.items() if p.grad is None or not bool(p.grad.any())}
        missing = none if seed == 0 else missing & none
        for name, parameter in found.items():
            if parameter.grad is not None:
                finite({f"the gradient of '{name}'": parameter.grad})
        if not missing:
            return
    require(False, f"got none for {', '.join(sorted(missing))}")


def _weighted(values: Values, seed: int) -> Tensor:
    """Return a random combination of all outputs."""
    totals = [
        (value * Noise(seed).of(name).normal(value)).sum()
        for name, value in values.items()
        if value.requires_grad
    ]
    return torch.stack(totals).sum() if totals else torch.zeros(()).requires_grad_()
