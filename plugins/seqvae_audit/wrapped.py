"""Two functions as the parts of a `SeqVAE`, so that every task runs on them unchanged."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from seqvae_audit.callables import Callables, told
from seqvae_audit.protocol import ModelError, mean_of, posterior_of
from seqvae_basics.backbones import FlatBackbone
from seqvae_basics.config import StandardNormal
from seqvae_basics.distributions import Gaussian
from seqvae_core.components import Decoder, Draw, Encoder, Likelihood
from seqvae_core.errors import SeqVAEError, ShapeError
from seqvae_core.model import SeqVAE
from seqvae_core.records import Shapes, Variable

__all__ = ["Form", "called", "wrap"]

Kind = Literal["vector", "frames", "map"]


@frozen(kw_only=True)
class Form:
    """How x and z pass between the data and the functions.

    Attributes:
        kind: z is a vector (N, D), one a frame (N, T, D), or a map (N, C, H, W).
        latent: shape of one z, (D,) or (C, H, W); () before it is known.
        frame: shape of one frame of x.
        frames: T; 0 for x without an axis of time.
        numpy: whether the functions take numpy arrays.
        batch_size: rows that they are given at most.
        differentiable: whether forward-mode derivatives pass through `decode`.
    """

    kind: Kind
    latent: tuple[int, ...]
    frame: tuple[int, ...]
    frames: int = 0
    numpy: bool = False
    batch_size: int = 64
    differentiable: bool = True

    @property
    def name(self) -> str:
        """What the latent is called: "s" is one a frame, "z" one a sequence."""
        return "s" if self.kind == "frames" else "z"

    @property
    def factors(self) -> int:
        """How many factors an audit lists: dimensions, of a map channels."""
        return self.latent[0]

    def code(self, x: Tensor) -> tuple[int, ...]:
        """Return the shape of z a row of x, as the functions see it; () before it is known."""
        return (x.shape[1], *self.latent) if self.kind == "frames" else self.latent

    def row(self, z: Tensor) -> tuple[int, ...]:
        """Return the shape of x a row of z, as the functions see it."""
        frames = z.shape[1] if self.kind == "frames" else self.frames
        return (frames, *self.frame) if frames else self.frame

    def encoded(self, callables: Callables, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and ln σ² in the functions' own shape, of x (N, T, *frame), float32.

        Raises:
            ModelError: if `encode` fails on a part of it, or gives a part another shape.
        """
        x = x if self.frames else x.squeeze(1)
        means: list[Tensor] = []
        logvars: list[Tensor] = []
        for part in torch.split(x.to(callables.like), self.batch_size):
            mean, logvar = _ran("encode(x)", callables.encode, part, self, posterior_of)
            known = self.code(part) or (tuple(means[0].shape[1:]) if means else ())
            if mean.ndim < 1 or len(mean) != len(part) or (known and mean.shape[1:] != known):
                _refuse("encode(x) returned a mean", mean, "x", part, known)
            means.append(mean.float())
            logvars.append(logvar.float())
        return torch.cat(means), torch.cat(logvars)

    def decoded(self, callables: Callables, z: Tensor) -> Tensor:
        """Return the mean of x, (N, T, *frame), float32.

        Raises:
            ModelError: if `decode` fails on a part of z, or gives a part another shape.
        """
        parts: list[Tensor] = []
        for part in torch.split(z.to(callables.like), self.batch_size):
            mean = _ran("decode(z)", callables.decode, part, self, mean_of)
            if mean.shape != (len(part), *(row := self.row(part))):
                _refuse("decode(z) returned x", mean, "z", part, row)
            parts.append(mean.float())
        mean = torch.cat(parts)
        return mean if self.frames else mean[:, None]


def called(function: Callable[[Any], Any], value: Tensor, form: Form) -> Any:
    """Call a function in the arrays that it takes, a copy, as it may work in place."""
    given: Any = value.numpy(force=True).astype(np.float32) if form.numpy else value.clone()
    return function(given)


def _ran(
    which: str, function: Callable[[Any], Any], part: Tensor, form: Form,
    reading: Callable[[Any], Any],
) -> Any:  # fmt: skip
    """Return what a function gives for a part, read; raise `ModelError` for whatever it raises."""
    try:
        return reading(called(function, part, form))
    except SeqVAEError as error:
        raise ModelError(str(error)) from error
    except (Exception, SystemExit) as error:  # somebody else's code
        given = which[-2]
        raise ModelError(
            f"{which} failed for {given} of shape {tuple(part.shape)}: {told(error)}"
        ) from error


def _refuse(what: str, got: Tensor, given: str, part: Tensor, row: tuple[int, ...]) -> NoReturn:
    rows = len(part)
    shape = str((rows, *row)) if row else f"({rows}, D), a map ({rows}, C, H, W), or ({rows}, T, D)"
    meant = ", the shape of x" if given == "z" else ""
    raise ModelError(
        f"{what} of shape {tuple(got.shape)} for {given} of shape {tuple(part.shape)}; expected "
        f"{shape}{meant}"
    )


class _Holder(nn.Module):
    """Holds the functions, and their modules as its own."""

    def __init__(self, callables: Callables, form: Form):
        super().__init__()
        self.callables, self.form = callables, form
        self.held = nn.ModuleList(callables.modules)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Holder":
        made = object.__new__(type(self))
        memo[id(self)] = made
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        if not made.callables.apart_from(self.callables):
            raise ShapeError(
                "these functions cannot be copied with their weights; pass methods of the model, "
                "or the model itself, where a task is to compare with an untrained copy"
            )
        return made


class _Backbone(FlatBackbone):
    """The frames themselves; its one number says where the model is, and in which type."""

    def __init__(self, shapes: Shapes, like: Tensor):
        super().__init__(shapes)
        self.place = nn.Parameter(torch.zeros((), device=like.device), requires_grad=False)


class _Encoder(_Holder, Encoder):
    def forward(self, features: Tensor, mask: Tensor, draw: Draw) -> None:
        """Draw the latent, a map as one long vector."""
        mean, logvar = self.form.encoded(
            self.callables, torch.unflatten(features, 2, self.form.frame)
        )
        if self.form.kind == "map":
            mean, logvar = mean.flatten(1), logvar.flatten(1)
        draw(self.form.name, Gaussian(mean.to(features), logvar.to(features)))


class _Decoder(_Holder, Decoder):
    def __init__(self, callables: Callables, form: Form):
        super().__init__(callables, form)
        self.decoded = form.frame
        self.differentiable_forward = form.differentiable

    def forward(
        self, latents: Mapping[str, Tensor], x: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean of x, (B, T, *frame)."""
        z = latents[self.form.name]
        if self.form.kind == "map":
            z = torch.unflatten(z, 1, self.form.latent)
        return self.form.decoded(self.callables, z).to(z.device), {}


class _Residual(Likelihood):
    """N(decoded mean, σ²), one σ² for all numbers: what the decoder leaves unexplained."""

    logvar: Tensor

    def __init__(self, variance: float, device: torch.device):
        super().__init__()
        logvar = torch.tensor(math.log(max(variance, 1e-12)), device=device)
        self.register_buffer("logvar", logvar, persistent=False)

    def forward(self, features: Tensor) -> Gaussian:
        """Return the Gaussian of each number of a frame."""
        return Gaussian(features, self.logvar)


def wrap(
    callables: Callables, form: Form, labels: Mapping[str, Variable], variance: float
) -> SeqVAE:
    """Return a `SeqVAE` that encodes and decodes by two functions.

    Its prior is N(0, 1), its likelihood a Gaussian of one variance; the functions' modules are its
    own. A map is one vector of C·H·W numbers to it.

    Args:
        callables: the functions.
        form: of x and z.
        labels: of the data.
        variance: of the likelihood, that of the residuals.
    """
    scope: Literal["global", "local"] = "local" if form.kind == "frames" else "global"
    latent = Variable(name=form.name, scope=scope, shape=(math.prod(form.latent),))
    shapes = Shapes(frame=form.frame, labels=labels, latents={form.name: latent})
    like = callables.like
    backbone = _Backbone(shapes, like)
    shapes = evolve(shapes, features=backbone.features, decoded=form.frame)
    prior = StandardNormal().build(evolve(shapes, target=form.name)).to(like.device)
    return SeqVAE(
        backbone,
        _Encoder(callables, form),
        {form.name: prior},
        _Decoder(callables, form),
        _Residual(variance, like.device),
        shapes,
    )
