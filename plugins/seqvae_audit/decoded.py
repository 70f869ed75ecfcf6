"""What the decoder makes of each factor: what changes when it is exchanged, set, or left out."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from attrs import Factory, frozen
from torch import Tensor

from seqvae_audit.callables import Callables
from seqvae_audit.protocol import check_finite
from seqvae_audit.wrapped import Form
from seqvae_core.noise import Noise

__all__ = ["Mean", "Used", "shifted", "top", "use_of", "without"]

_EACH, _STEPS = 32, 24  # sizes of a top k that are all tried, and how many beyond


@frozen(kw_only=True)
class Mean:
    """A mean over inputs, and its standard error, NaN of one input."""

    value: float
    stderr: float

    @classmethod
    def of(cls, rows: Tensor) -> "Mean":  # (N,)
        """Return the mean of one number an input."""
        error = float(rows.std()) / len(rows) ** 0.5 if len(rows) > 1 else float("nan")
        return cls(value=float(rows.mean()), stderr=error)


@frozen(eq=False, kw_only=True)
class Used:
    """What N inputs' reconstructions owe to each factor; squared errors per element of x.

    Attributes:
        inputs: N.
        variance: mean squared distance of x to the mean x.
        mse: of the reconstruction from posterior means.
        effect: by factor, the mean squared change of what is decoded when the factor is exchanged
            among inputs.
        cost: by factor, by how much the squared error grows when the factor is set to its mean.
        curve: by k, the squared error from the first k factors of an order, as `top` has it.
    """

    inputs: int
    variance: float
    mse: Mean
    effect: list[Mean]
    cost: list[Mean]
    curve: Mapping[int, Mean] = Factory(dict)

    def explained(self, mse: float) -> float:
        """Return 1 - mse / variance, R²; NaN for constant x."""
        return 1.0 - mse / self.variance if self.variance > 0.0 else float("nan")


def use_of(
    callables: Callables,
    form: Form,
    x: Tensor,  # (N, T, *frame)
    template: Tensor,  # the mean z
    noise: Noise,
) -> Used:
    """Measure what the decoder uses, at posterior means.

    Args:
        callables: the functions.
        form: of x and z.
        x: inputs, two or more.
        template: the mean z, whose factors stand in for those that are left out.
        noise: what the exchange among inputs is drawn from.

    Raises:
        DataError: if decode gives NaN.
    """
    mean = form.encoded(callables, x)[0]
    template = template.to(mean)
    place = noise.permutation(len(x))
    exchanged = torch.empty_like(place)
    exchanged[place] = place.roll(1)  # one cycle: no input keeps its own
    exchanged, centre = exchanged.to(mean.device), _mean(form, x).to(mean)
    spread, error = _Rows(), _Rows()
    effect, cost = ([_Rows() for _ in range(form.factors)] for _ in range(2))
    for rows in torch.split(torch.arange(len(x)), form.batch_size):
        some, mine = x[rows].to(mean), mean[rows]
        base = _decoded(callables, form, mine)
        spread.add(_squares(some - centre))
        error.add(known := _squares(some - base))
        for h in range(form.factors):
            other = _with(form, mine, h, mean[exchanged[rows]])
            effect[h].add(_squares(_decoded(callables, form, other) - base))
            absent = without(form, mine, template, [h])
            cost[h].add(_squares(some - _decoded(callables, form, absent)) - known)
    return Used(
        inputs=len(x),
        variance=spread.mean().value,
        mse=error.mean(),
        effect=[each.mean() for each in effect],
        cost=[each.mean() for each in cost],
    )


def top(
    callables: Callables,
    form: Form,
    x: Tensor,  # (N, T, *frame)
    template: Tensor,  # the mean z
    order: Sequence[int],  # (H,)
) -> dict[int, Mean]:
    """Return by k the squared error from the first k factors, the others at their mean.

    Every k up to 32 is tried, and some beyond; from 0 to all.
    """
    mean = form.encoded(callables, x)[0]
    errors = {k: _Rows() for k in _sizes(form.factors)}
    for rows in torch.split(torch.arange(len(x)), form.batch_size):
        some = x[rows].to(mean)
        for k, each in errors.items():
            kept = without(form, mean[rows], template, list(order[k:]))
            each.add(_squares(some - _decoded(callables, form, kept)))
    return {k: each.mean() for k, each in errors.items()}


class _Rows:
    """Numbers of inputs, one an input, batch after batch: all that is kept of what is decoded."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def add(self, part: Tensor) -> None:
        """Take those of a batch, (B,)."""
        self.parts.append(part)

    def mean(self) -> Mean:
        """Return their mean over all inputs."""
        return Mean.of(torch.cat(self.parts))


def _mean(form: Form, x: Tensor) -> Tensor:
    """Return the mean x, (T, *frame), in double precision."""
    total = torch.zeros(x.shape[1:], dtype=torch.float64)
    for part in torch.split(x, form.batch_size):
        total += part.double().sum(0)
    return total / len(x)


def without(form: Form, mean: Tensor, template: Tensor, dropped: list[int]) -> Tensor:
    """Return z with some factors as in the mean z: of frames the same one in each."""
    template = template.to(mean)
    full = (template.mean(0) if form.kind == "frames" else template).expand_as(mean)
    made = mean.clone()
    for h in dropped:
        _of(form, made, h).copy_(_of(form, full, h))
    return made


def shifted(form: Form, mean: Tensor, h: int, by: float) -> Tensor:
    """Return z with factor h moved: a channel by as much at all places, a dimension in all frames.

    Args:
        form: of z.
        mean: z, (N, D), (N, T, D) or (N, C, H, W).
        h: which factor.
        by: how far.
    """
    step = torch.zeros_like(mean)
    _of(form, step, h).fill_(by)
    return mean + step


def _sizes(factors: int) -> list[int]:
    """Return sizes of a top k from 0 to all, every one up to 32."""
    few = range(min(factors, _EACH) + 1)
    many = np.geomspace(_EACH, max(factors, _EACH), _STEPS).round().astype(int)
    return sorted({*few, *many[many <= factors].tolist(), factors})


def _of(form: Form, z: Tensor, h: int) -> Tensor:
    """Return the part of z (N, ...) that is factor h, to be written to."""
    return z[:, h] if form.kind == "map" else z[..., h]


def _with(form: Form, z: Tensor, h: int, other: Tensor) -> Tensor:
    """Return z with factor h from another z."""
    made = z.clone()
    _of(form, made, h).copy_(_of(form, other, h))
    return made


def _decoded(callables: Callables, form: Form, z: Tensor) -> Tensor:
    found = form.decoded(callables, z)
    check_finite(found, "decode(z)")
    return found


def _squares(value: Tensor) -> Tensor:  # (N,)
    return value.double().square().flatten(1).mean(1).cpu()
