"""The model: backbone → encoder → priors → decoder → likelihood."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from attrs import evolve
from torch import Tensor, nn

from seqvae_core.components import Decoder, Encoder, Likelihood, Prior, Stepped
from seqvae_core.errors import ShapeError
from seqvae_core.experiment import ModelConfig
from seqvae_core.functional import zero_padding
from seqvae_core.records import Batch, Distribution, Latent, Noise, Output, Shapes, Variable

__all__ = ["SeqVAE", "as_batch", "build_model", "seeded"]


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Fix torch's CPU generator within the block, then put it back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(Noise(seed).of(purpose).integers(2**31, (1,))))
        yield


def build_model(config: ModelConfig, shapes: Shapes, seed: int) -> "SeqVAE":
    """Build the parts in order; each states its output's shape for those after it.

    Args:
        config: the model's settings.
        shapes: what the data have: frame and labels.
        seed: of the initial weights, which depend on nothing but it and the model.

    Raises:
        ShapeError: if parts do not fit together.
    """
    latents = {name: latent.variable(name) for name, latent in config.latents.items()}
    with seeded(seed, "weights"):
        shapes = evolve(shapes, latents=latents)
        backbone = config.backbone.build(shapes)
        shapes = evolve(shapes, features=backbone.features)
        encoder = config.encoder.build(shapes)
        priors = {
            name: latent.prior.build(evolve(shapes, target=name))
            for name, latent in config.latents.items()
        }
        decoder = config.decoder.build(shapes)
        if taken := latents.keys() & decoder.local_features.keys():
            raise ShapeError(
                f"'{taken.pop()}' is both a latent and a local feature of decoder "
                f"'{config.decoder.name}'; name one of them otherwise"
            )
        local = {
            name: Variable(name=name, scope="local", shape=tuple(shape), family="feature")
            for name, shape in decoder.local_features.items()
        }
        shapes = evolve(
            shapes, decoded=decoder.decoded, latents=latents | local,
            autoregressive=decoder.autoregressive,
        )  # fmt: skip
        likelihood = config.likelihood.build(shapes)
    return SeqVAE(backbone, encoder, priors, decoder, likelihood, shapes)


class SeqVAE(nn.Module):
    """A sequential VAE with any number of named global and local latents.

    Attributes:
        shapes: all shapes, with the decoder's local features among the latents.
    """

    def __init__(
        self,
        backbone: nn.Module,
        encoder: Encoder,
        priors: Mapping[str, Prior],
        decoder: Decoder,
        likelihood: Likelihood,
        shapes: Shapes,
    ):
        super().__init__()
        self.backbone = backbone
        self.encoder = encoder
        self.priors = nn.ModuleDict(dict(priors))
        self.decoder = decoder
        self.likelihood = likelihood
        self.shapes = shapes

    def forward(self, batch: Batch, noise: Noise, *, deterministic: bool = False) -> Output:
        """Encode, sample and decode a batch.

        Args:
            batch: the sequences; what stands in the padding has no influence.
            noise: what the samples are drawn from.
            deterministic: use posterior means in place of samples.

        Raises:
            ShapeError: if the frames are not what the model was built for.
        """
        batch, x = self._seen(batch, noise)
        latents = self._infer(x, batch.mask, noise, deterministic)
        samples = {name: latent.sample for name, latent in latents.items()}
        decoded, features = self._decode(samples, batch.mask, x)
        for name, value in features.items():
            sample = zero_padding(value, batch.mask)
            latents[name] = Latent(name=name, scope="local", sample=sample, mask=batch.mask)
        return Output(
            batch=evolve(batch, x=x),
            latents=latents,
            likelihood=self.likelihood(decoded),
            noise=noise,
            decoder=self._likelihood_of,
            sampler=self._from_prior,
            parts=(self.decoder, self.likelihood),
        )

    def _seen(self, batch: Batch, noise: Noise) -> tuple[Batch, Tensor]:
        """Return the batch in the model's type, and x in the likelihood's support, zeroed."""
        if tuple(batch.x.shape[2:]) != tuple(self.shapes.frame):
            raise ShapeError(
                f"expected frames of shape {tuple(self.shapes.frame)}, "
                f"got {tuple(batch.x.shape[2:])}"
            )
        batch = evolve(batch, x=batch.x.to(self.dtype)).zeroed()
        x = self.likelihood.support(batch.x, noise.of("support"))
        x = x if x is batch.x else zero_padding(x, batch.mask)
        return batch, x

    def _infer(
        self, x: Tensor, mask: Tensor, noise: Noise, deterministic: bool
    ) -> dict[str, Latent]:
        found: dict[str, Latent] = {}

        def draw(name: str, posterior: Distribution) -> Tensor:
            variable = self.shapes.latent(name)
            stream = noise.of("posterior").of(name)
            sample = posterior.mean if deterministic else posterior.rsample(stream)
            if variable.scope == "local":
                sample = zero_padding(sample, mask)
            expected = (*mask.shape[: 1 + (variable.scope == "local")], *variable.shape)
            if tuple(sample.shape) != expected:
                raise ShapeError(
                    f"expected a sample of {variable.scope} '{name}' of shape {expected}, "
                    f"got {tuple(sample.shape)}"
                )
            found[name] = Latent(
                name=name, scope=variable.scope, sample=sample, mask=mask,
                posterior=posterior, prior=self.priors[name](sample, mask),
            )  # fmt: skip
            return sample

        self.encoder(self.backbone(x, mask), mask, draw)
        if missing := [name for name in self.priors if name not in found]:
            raise ShapeError(f"the encoder drew no {', '.join(missing)}")
        return {name: found[name] for name in self.priors}

    def _decode(
        self, latents: Mapping[str, Tensor], mask: Tensor, x: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        decoded, features = self.decoder(latents, x)
        if decoded.shape[1] == 1 < mask.shape[1]:  # no local latent says how long the sequence is
            decoded = decoded.expand(-1, mask.shape[1], *decoded.shape[2:])
        return decoded, features

    def _likelihood_of(
        self, latents: Mapping[str, Tensor], mask: Tensor, x: Tensor | None
    ) -> Distribution:
        result: Distribution = self.likelihood(self._decode(latents, mask, x)[0])
        return result

    def _from_prior(
        self, n: int, lengths: Tensor, noise: Noise, given: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Draw n values of every latent that is not given, free-running."""
        latents = dict(given or {})
        priors: dict[str, Any] = dict(self.priors.items())
        for name, prior in priors.items():
            if name not in latents:
                latents[name] = prior.sample(n, lengths, noise.of(name))
        return latents

    def at_step(self, step: int) -> None:
        """Tell the parts that depend on it how many steps are done."""
        for module in self.modules():
            if isinstance(module, Stepped):
                module.at_step(step)

    # For users: no gradient, evaluation mode, the mode put back afterwards --------------------

    @torch.no_grad()
    def output(self, x: Any, *, mask: Tensor | None = None, noise: Noise | None = None) -> Output:
        """Return the whole `Output` of sequences; deterministic unless `noise` is given."""
        with self.evaluating():
            batch = as_batch(x, mask).to(self.device)
            out: Output = self(batch, noise or Noise(0), deterministic=noise is None)
            return out

    @torch.no_grad()
    def encode(
        self, x: Any, *, mask: Tensor | None = None, noise: Noise | None = None
    ) -> dict[str, Tensor]:
        """Return each latent's posterior mean, or its sample when `noise` is given.

        Nothing is decoded.

        Args:
            x: (B, T, *frame), a `Batch`, or a dict with x and optionally mask.
            mask: (B, T) bool; all frames when left out.
            noise: draw samples from it.

        Returns:
            By name: (B, D) for a global latent, (B, T, D) and zero in the padding for a local.
        """
        with self.evaluating():
            batch = as_batch(x, mask).to(self.device)
            stream = noise or Noise(0)
            batch, seen = self._seen(batch, stream)
            found = self._infer(seen, batch.mask, stream, noise is None)
            return {name: latent.sample for name, latent in found.items()}

    @torch.no_grad()
    def decode(
        self,
        latents: Mapping[str, Tensor],
        *,
        mask: Tensor | None = None,
        noise: Noise | None = None,
        sample: bool = False,
    ) -> Tensor:
        """Return the mean of p(x|latents), (B, T, *frame), zero outside the mask if given.

        An autoregressive decoder has no such mean: it draws x from its own earlier frames.

        Args:
            latents: by name, (B, D) or (B, T, D).
            mask: (B, T) bool; without local latents it says how long the sequences are.
            noise: what x is drawn from.
            sample: draw x in place of its mean, as an autoregressive decoder does anyway.

        Raises:
            ShapeError: for a latent that is missing, unknown, or of another shape.
        """
        self._check(latents, self.priors)
        with self.evaluating():
            latents = {name: value.to(self.device) for name, value in latents.items()}
            if mask is None:
                mask = torch.ones(_extent(latents), dtype=torch.bool)
            return self._frames(latents, mask.to(self.device), noise or Noise(0), sample)

    def _check(self, latents: Mapping[str, Tensor], needed: Iterable[str] = ()) -> None:
        for name in {**latents, **dict.fromkeys(needed)}:
            latent = self.shapes.latent(name)
            axes = ("B", "T")[: 1 + (latent.scope == "local")]
            shape = getattr(latents.get(name), "shape", None)
            if shape is None or len(shape) < len(axes) or shape[len(axes) :] != latent.shape:
                wanted = ", ".join(map(str, (*axes, *latent.shape)))
                got = "none" if shape is None else str(tuple(shape))
                raise ShapeError(f"expected latent '{name}' as a tensor ({wanted}), got {got}")

    def _frames(
        self, latents: Mapping[str, Tensor], mask: Tensor, noise: Noise, sample: bool
    ) -> Tensor:
        stream = noise.of("decoder")
        if not self.decoder.autoregressive:
            likelihood = self._likelihood_of(latents, mask, None)
            return zero_padding(likelihood.rsample(stream) if sample else likelihood.mean, mask)
        drawn = self.decoder.ancestral(
            latents, mask.sum(1), lambda features: self.likelihood(features).rsample(stream)
        )
        frames = drawn.new_zeros(*mask.shape, *drawn.shape[2:])
        frames[:, : drawn.shape[1]] = drawn
        return zero_padding(frames, mask)

    def reconstruct(self, x: Any, *, mask: Tensor | None = None) -> Tensor:
        """Return the mean reconstruction from posterior means, zero in the padding.

        An autoregressive decoder sees the true earlier frames; see `decode` for what it makes of
        the latents alone.
        """
        out = self.output(x, mask=mask)
        return zero_padding(out.likelihood.mean, out.batch.mask)

    @torch.no_grad()
    def generate(
        self,
        n: int,
        lengths: Tensor | int = 1,
        *,
        noise: Noise | None = None,
        given: Mapping[str, Tensor] | None = None,
        sample: bool = False,
    ) -> Tensor:
        """Draw n sequences from the priors and return their means, or the draws of x.

        Args:
            n: how many.
            lengths: of each, (n,) or one for all.
            noise: what to draw from.
            given: latents by name that are not to be drawn, (n, D) or (n, T, D).
            sample: draw x in place of its mean, as an autoregressive decoder does anyway.

        Returns:
            (n, max(lengths), *frame), zero past each length.

        Raises:
            ShapeError: for a given latent that is unknown or of another shape, no sequence, or
                a length below 1.
        """
        noise = noise or Noise(0)
        self._check(given or {})
        if n < 1 or int(torch.as_tensor(lengths).min()) < 1:
            raise ShapeError(f"expected sequences of a frame or more, got {n} of {lengths} frames")
        lengths = torch.as_tensor(lengths, device=self.device).expand(n)
        mask = torch.arange(int(lengths.max()), device=self.device) < lengths[:, None]
        with self.evaluating():
            latents = {name: value.to(self.device) for name, value in (given or {}).items()}
            latents = self._from_prior(n, lengths, noise.of("prior"), latents)
            return self._frames(latents, mask, noise, sample)

    def swap(self, a: Any, b: Any, *names: str, noise: Noise | None = None) -> Tensor:
        """Return a with the latents `names` taken from b, decoded as by `decode`.

        Args:
            a: sequences, as for `encode`.
            b: as many sequences.
            names: latents to exchange; a local one needs equal lengths.
            noise: what an autoregressive decoder draws from.

        Raises:
            ShapeError: for an unknown name, or sequences that do not pair up.
        """
        here, there = self.output(a), self.output(b)
        latents = {name: here.latents[name].sample for name in self.priors}
        for name in names:
            variable = self.shapes.latent(name)
            if len(here.batch) != len(there.batch) or (
                variable.scope == "local" and not here.batch.mask.equal(there.batch.mask)
            ):
                raise ShapeError(f"cannot swap '{name}': the sequences do not pair up")
            latents[name] = there.latents[name].sample
        return self.decode(latents, mask=here.batch.mask, noise=noise)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the parameters, which frames are brought to."""
        return next(self.parameters()).dtype

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put all modules into evaluation mode within the block, then back as they were."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def _extent(latents: Mapping[str, Tensor]) -> tuple[int, int]:
    rows = next(iter(latents.values())).shape[0]
    return rows, max([value.shape[1] for value in latents.values() if value.ndim > 2] or [1])


def as_batch(x: Any, mask: Tensor | None = None) -> Batch:
    """Return what a user passes as sequences as a checked `Batch`."""
    if isinstance(x, Batch):
        return x
    if isinstance(x, Mapping):
        return Batch.of(x["x"], mask=x.get("mask", mask))
    return Batch.of(torch.as_tensor(x, dtype=torch.get_default_dtype()), mask=mask)
