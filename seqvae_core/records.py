"""What components hand to one another: batches, shapes, latents, one step's output, one run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import torch
from attrs import Factory, define, evolve, field, frozen
from torch import Tensor

from seqvae_core.errors import ShapeError
from seqvae_core.functional import masked_mean, masked_sum, zero_padding
from seqvae_core.noise import Noise
from seqvae_core.settings import CategoricalConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from seqvae_core.experiment import Experiment
    from seqvae_core.model import SeqVAE

__all__ = [
    "Batch",
    "Distribution",
    "Factors",
    "Latent",
    "Noise",
    "Output",
    "Run",
    "Scope",
    "Shapes",
    "Splits",
    "Variable",
]

Scope = Literal["global", "local"]
T = TypeVar("T")


class Distribution(Protocol):
    """What a posterior, a prior or a likelihood is: elementwise, and sampled from `Noise`."""

    @property
    def mean(self) -> Tensor:
        """The mean, (B, [T,] *event)."""

    def rsample(self, noise: Noise) -> Tensor:
        """Draw one reparameterised sample, (B, [T,] *event)."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the elementwise log density in nats, (B, [T,] *event)."""

    def kl(self, other: Any, sample: Tensor) -> Tensor:
        """Return the elementwise KL to `other` in nats: closed form, else at `sample`."""

    def detach(self) -> "Distribution":
        """Return the same distribution without its graph."""


@frozen(kw_only=True)
class Variable:
    """A latent, a feature or a label: its scope and the shape of one value of it.

    Attributes:
        family: of a latent "gaussian" or "gumbel-categorical"; "feature" of a decoder's feature,
            "class" or "number" of a label.
        categorical: of a categorical latent alone: its groups, and how it is sampled.
    """

    name: str
    scope: Scope
    shape: tuple[int, ...] = ()
    family: str = "gaussian"
    categorical: CategoricalConfig | None = field(
        default=Factory(
            lambda self: CategoricalConfig() if self.family == "gumbel-categorical" else None,
            takes_self=True,
        )
    )

    @property
    def size(self) -> int:
        """The number of numbers in one value."""
        return int(torch.Size(self.shape).numel())

    @property
    def values(self) -> int:
        """How many values each group of a categorical latent has; 0 of any other variable."""
        return self.size // self.categorical.groups if self.categorical else 0


@frozen(kw_only=True)
class Shapes:
    """What a component is built for; grows by fields as the model is built, in order.

    Attributes:
        frame: shape of one frame of x, (C,) or (C, H, W).
        labels: the data's labels by name.
        latents: the latents that the experiment names, then the decoder's local features.
        features: width F of the backbone's features (B, T, F); known to encoders and later.
        decoded: shape of one frame of the decoder's features; known to likelihoods and later.
        autoregressive: whether the decoder reads x; known to likelihoods and later.
        target: the name of the latent that a prior is built for.
    """

    frame: tuple[int, ...]
    labels: Mapping[str, Variable] = Factory(dict)
    latents: Mapping[str, Variable] = Factory(dict)
    features: int = 0
    decoded: tuple[int, ...] = ()
    autoregressive: bool = False
    target: str = ""

    def latent(self, name: str) -> Variable:
        """Return the latent or local feature `name`; raise `ShapeError` if there is none."""
        if name not in self.latents:
            known = ", ".join(self.latents)
            raise ShapeError(f"no latent or local feature '{name}'; the model has: {known}")
        return self.latents[name]

    def of(self, scope: Scope) -> list[Variable]:
        """Return the latents and local features of one scope, in order."""
        return [variable for variable in self.latents.values() if variable.scope == scope]

    def choose(self, scope: Scope, given: str | None, key: str, asker: str) -> str:
        """Return the name that a setting gives to a variable of one scope, or the only one's.

        Args:
            scope: a global variable is a latent, a local one a latent or a feature.
            given: the setting's value; None if it is left out.
            key: the setting's name.
            asker: whose setting it is.

        Raises:
            ShapeError: if there is none of that name, or not one alone to stand for it.
        """
        known = [variable.name for variable in self.of(scope)]
        if given is None and len(known) == 1:
            return known[0]
        if given in known:
            return str(given)
        noun = f"{scope} latent" if scope == "global" else f"{scope} variable"
        said = f"expects one {noun}, or '{key}'"
        if given is not None:
            said = f"expects a {noun} in '{key}', got '{given}'"
        raise ShapeError(f"{asker} {said}; the model has: {', '.join(known) or 'none'}")


@frozen(eq=False)
class Batch:
    """Sequences of one batch, padded at the end to the longest.

    Attributes:
        x: frames, (B, T, *frame).
        mask: (B, T) bool, True up to each sequence's length, which is at least 1.
        labels: by name, (B,) when global and (B, T) when local; -1 or NaN where missing.
    """

    x: Tensor
    mask: Tensor
    labels: Mapping[str, Tensor] = Factory(dict)

    @classmethod
    def of(
        cls,
        x: Tensor,  # (B, T, *frame)
        *,
        mask: Tensor | None = None,  # (B, T) bool
        labels: Mapping[str, Tensor] | None = None,
    ) -> "Batch":
        """Make a batch of checked shape; without a mask all frames are real.

        Raises:
            ShapeError: if x has fewer than three axes, or the mask is no (B, T) bool prefix.
        """
        if x.ndim < 3:
            raise ShapeError(f"expected x of shape (B, T, *frame), got {tuple(x.shape)}")
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if mask.shape != x.shape[:2] or mask.dtype != torch.bool:
            raise ShapeError(
                f"expected a bool mask of shape {tuple(x.shape[:2])}, "
                f"got {mask.dtype} {tuple(mask.shape)}"
            )
        if not bool(mask[:, 0].all()) or bool((mask[:, 1:] & ~mask[:, :-1]).any()):
            raise ShapeError(
                "expected each row of the mask to be True up to its length, then False"
            )
        return cls(x=x, mask=mask, labels=labels or {})

    @property
    def lengths(self) -> Tensor:
        """Number of real frames of each sequence, (B,) int64."""
        return self.mask.sum(1)

    def __len__(self) -> int:
        return self.x.shape[0]

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on `device`."""
        labels = {name: value.to(device) for name, value in self.labels.items()}
        return Batch(self.x.to(device), self.mask.to(device), labels)

    def pin_memory(self) -> "Batch":
        """Return the batch in memory that a GPU copies from."""
        labels = {name: value.pin_memory() for name, value in self.labels.items()}
        return Batch(self.x.pin_memory(), self.mask.pin_memory(), labels)

    def rows(self, index: Tensor | slice) -> "Batch":
        """Return the chosen sequences, with the padding they have here."""
        labels = {name: value[index] for name, value in self.labels.items()}
        return Batch(self.x[index], self.mask[index], labels)

    def zeroed(self) -> "Batch":
        """Return the batch with zeros in the padding, whatever stood there."""
        return evolve(self, x=zero_padding(self.x, self.mask))


@frozen(eq=False, kw_only=True)
class Latent:
    """One latent of a batch, or a deterministic local feature of a decoder.

    Attributes:
        name: its name in the experiment.
        scope: "global" or "local".
        sample: what the decoder saw, (B, D) or (B, T, D) or (B, T, D, H, W).
        mask: (B, T) bool.
        posterior: q(·|x), absent for a deterministic feature.
        prior: p(·), for a local latent given the posterior's earlier samples.
        unit: which rows belong together, (B,) integers, as segments of one utterance do: whoever
            splits rows keeps them on one side. None if each stands alone.
    """

    name: str
    scope: Scope
    sample: Tensor
    mask: Tensor
    posterior: Distribution | None = None
    prior: Distribution | None = None
    unit: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """The posterior's mean, or the value of a deterministic feature."""
        return self.sample if self.posterior is None else self.posterior.mean

    def kl(self) -> Tensor:
        """Return KL(q‖p) of each sequence, summed over time and dimensions, (B,), nats."""
        value = self.elementwise_kl()
        return value.flatten(1).sum(1) if self.scope == "global" else masked_sum(value, self.mask)

    def elementwise_kl(self) -> Tensor:
        """Return KL(q‖p) of each dimension in nats, (B, [T,] D), unmasked."""
        if self.posterior is None or self.prior is None:
            raise ShapeError(f"'{self.name}' is a deterministic feature: it has no KL")
        return self.posterior.kl(self.prior, self.sample)

    def pooled(self) -> Tensor:
        """Return the mean over time and grid of a local latent's means, (B, D)."""
        if self.scope == "global":
            return self.mean.flatten(1)
        pooled = masked_mean(self.mean, self.mask)
        return pooled.flatten(2).mean(2) if pooled.ndim > 2 else pooled

    def detach(self) -> "Latent":
        """Return the latent without its graph."""
        return evolve(
            self,
            sample=self.sample.detach(),
            posterior=self.posterior and self.posterior.detach(),
            prior=self.prior and self.prior.detach(),
        )


def _detached(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_detached(item) for item in value)
    if isinstance(value, dict):
        return {key: _detached(item) for key, item in value.items()}
    return value.detach() if hasattr(value, "detach") else value


def _extended(value: Tensor, mask: Tensor) -> Tensor:
    missing = mask.shape[1] - value.shape[1]
    if not missing:
        return value
    return torch.cat([value, value.new_zeros(len(value), missing, *value.shape[2:])], 1)


@define(eq=False, kw_only=True)
class Output:
    """All that one forward pass leaves to the objective, the terms and the critics.

    Attributes:
        batch: the batch, zero in the padding, x in the likelihood's support.
        latents: by name, the encoder's latents and the decoder's local features.
        likelihood: p(x|·) over (B, T, *frame).
        noise: streams for whoever draws; `term()` gives each term its own.
        sampler: draws every latent from its prior, free-running, at the batch's lengths: see
            `draw`.
        parts: the modules that `decode` runs, decoder and likelihood: for a term that computes
            the gradients of their parameters itself, or cannot work with some layers.
        step: the step, counted from 0, at which the objective asks a term; critics are not told.
    """

    batch: Batch
    latents: dict[str, Latent]
    likelihood: Distribution
    noise: Noise
    decoder: Callable[..., Distribution]
    sampler: Callable[[int, Tensor, Noise], dict[str, Tensor]] = lambda *_: {}
    parts: "tuple[nn.Module, ...]" = ()
    step: int = 0
    scalars: dict[str, Tensor] = Factory(dict)
    _memo: dict[str, Any] = Factory(dict)
    _live: "Output | None" = None
    _label: str = ""
    _streams: Noise = Factory(lambda out: out.noise, takes_self=True)

    def decode(self, latents: Mapping[str, Tensor], x: Tensor | None = None) -> Distribution:
        """Decode other latents; x (B, T, *frame) is needed by autoregressive decoders alone."""
        if self._live is None:
            return self.decoder(latents, self.batch.mask, x)
        with torch.no_grad():
            return self.decoder(latents, self.batch.mask, x)

    def draw(self) -> dict[str, Tensor]:
        """Draw as many of every latent from its prior as the batch has rows, without a graph.

        By name, (B, D) or (B, T, D), zero in the padding; from the output's own noise.
        """
        with torch.no_grad():
            drawn = self.sampler(len(self.batch), self.batch.lengths, self.noise.of("prior"))
        local = {name for name, latent in self.latents.items() if latent.scope == "local"}
        mask = self.batch.mask
        return {
            name: zero_padding(_extended(value, mask), mask) if name in local else value
            for name, value in drawn.items()
        }

    def once(self, key: str, make: Callable[["Output"], T]) -> T:
        """Return `make(out)`, made once a step and shared with the detached output, detached.

        Its noise is a stream of the key's own, whichever term asks first.
        """
        if key not in self._memo:
            live = evolve(self._live or self, noise=self._streams.of("once").of(key))
            with torch.enable_grad():
                self._memo[key] = make(live)
        value: T = self._memo[key]
        return value if self._live is None else _detached(value)

    def log(self, name: str, value: Tensor) -> None:
        """Log one number of this step under the term's label."""
        self.scalars[f"{self._label}/{name}" if self._label else name] = value.detach().mean()

    def term(self, label: str) -> "Output":
        """Return this output with the noise streams and the log names of one term."""
        live = self._live.term(label) if self._live else None
        return evolve(self, noise=self.noise.of(label), label=label, live=live)

    def detach(self) -> "Output":
        """Return the output for critics: no gradient flows back, the memo and log are shared."""
        latents = {name: latent.detach() for name, latent in self.latents.items()}
        return evolve(
            self, latents=latents, likelihood=self.likelihood.detach(), live=self._live or self
        )


@frozen(eq=False, kw_only=True)
class Factors:
    """What data of known factors are made from, so that any of them can be made.

    Attributes:
        sizes: the number of values of each factor by name, from 0 on; its label has the same name.
        ordered: the factors whose neighbouring values are alike, as places are and shapes are not.
        render: from values (N, F) of integers to normalised sequences (N, T, *frame), float32.
    """

    sizes: Mapping[str, int]
    ordered: frozenset[str]
    render: "Callable[[NDArray[Any]], Tensor]"


@frozen(eq=False, kw_only=True)
class Splits:
    """The parts of a data set, each any torch map-style data set.

    An item is a tensor (T, *frame) or a dict with `x`, optionally `mask` (T,) or `length`, and
    labels: a number when global, (T,) when local, -1 or NaN when missing. Classes are integers;
    `classes` names them. `fitted` is plain data that was fitted on the training part
    (normalisation, label tables); a run keeps it, and hands it back when other data are built.

    A part may have `lengths`, the frames of each item, which spares a reading of all to put items
    of like lengths into a batch, and `names`, what a run's `splits.json` calls each item.

    Attributes:
        train: the training part.
        valid: the validation part, possibly empty.
        test: the test part.
        classes: names of the classes, by label.
        fitted: see above.
        restore: from an item's x, (T, *frame), to the units that the data came in.
        sound: from restored frames to a WAV file, for data that can be heard.
        factors: of data that can be made anew for any of their factors' values.
        entropy: h(x) of a sequence in nats, of data whose density is known.
    """

    train: Any
    valid: Any
    test: Any
    classes: Mapping[str, tuple[str, ...]] = Factory(dict)
    fitted: Mapping[str, Any] = Factory(dict)
    restore: "Callable[[NDArray[Any]], NDArray[Any]] | None" = None
    sound: "Callable[[NDArray[Any]], bytes] | None" = None
    factors: Factors | None = None
    entropy: float | None = None


@define(eq=False, kw_only=True)
class Run:
    """One training run, as the lifecycle hooks see it.

    Attributes:
        path: its directory.
        experiment: as resolved and written to `experiment.toml`.
        plugins: name, distribution and version of what was loaded.
        start_step: 0, or the step that was resumed from.
        step: steps done so far.
        model: the model, None when only the report is rewritten.
        splits: the data, None likewise.
        observers: what an observer keeps from one hook to the next, by its plugin's name.
    """

    path: Path
    experiment: "Experiment"
    plugins: list[dict[str, Any]] = field(factory=list)
    start_step: int = 0
    step: int = 0
    model: "SeqVAE | None" = None
    splits: Splits | None = None
    observers: dict[str, Any] = field(factory=dict)
