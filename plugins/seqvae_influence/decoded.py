"""What the decoder lets through: a lower bound of I(z_h; x̃) by regression on decoded frames."""

import math
import warnings
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Batch, Latent, Noise, Splits
from seqvae_influence.config import Influence
from seqvae_influence.mixture import mixture
from seqvae_influence.posteriors import Posteriors, part_of
from seqvae_influence.readings import Reading
from seqvae_tasks.representations import Array, coarse, seed_of
from seqvae_tasks.sequences import choose, moments, read

__all__ = ["Decoded", "decoded_bound", "decoded_of"]

_COMPONENTS = 64
_ENTROPY = 0.5 * (1.0 + math.log(2.0 * math.pi))  # of N(0, 1)
_FEWEST = 20  # sequences
_FOLDS = 3


@frozen(eq=False, kw_only=True)
class Decoded:
    """N pairs of factors and of what is decoded from them.

    Attributes:
        value: the factors, (N, H), samples.
        seen: numbers of the decoded frames, (N, F).
        posteriors: what the factors were drawn from; None for the prior N(0, 1).
        unit: the sequence of each pair, (N,).
    """

    value: Array
    seen: Array
    posteriors: Posteriors | None
    unit: Array


def decoded_bound(pairs: Decoded, seed: int) -> Reading:
    r"""Return a lower bound of I(z_h; x̃) of each factor and what is decoded, x̃, in nats.

    \(H(z_h) + E \ln Q(z_h|x̃)\), Q a Gaussian around a regression on x̃ with one σ for each factor:
    a ridge regression, a small MLP, both on the principal components of x̃, or a constant. Half of
    the sequences fit all three; cross-validation among them gives σ and chooses. The other half is
    what the expectation is over, and H(z_h) is that of these pairs' own law: of the mixture of
    their posteriors by quadrature, or of N(0, 1). It may fall below 0, where Q tells nothing. Of
    decoded means, functions of the latents, I(z_h; x̃) may be infinite: the bound then says how
    finely Q can read the factor, however little the decoder makes of it.

    x̃ tells z_h also by way of other factors that go with it: of pairs from the posteriors a factor
    that the decoder ignores has what another one says of it. Factors that are drawn from the prior
    are independent, and each has what the decoder itself makes of it.

    Args:
        pairs: of twenty sequences or more.
        seed: of the halves and of the MLP.

    References:
        Variational mutual information maximization framework for VAE latent codes (Serdega, Kim,
        2020) | https://arxiv.org/abs/2006.02227
    """
    unit = np.unique(pairs.unit, return_inverse=True)[1].reshape(-1)
    order = np.random.default_rng(seed).permutation(int(unit.max()) + 1)
    fit = np.isin(unit, order[: len(order) // 2])
    held = ~fit
    guess, spread = _regression(pairs, unit, fit, seed)
    squares = np.square(pairs.value[held] - guess) / spread
    density = -0.5 * (math.log(2.0 * math.pi) + np.log(spread) + squares)
    entropy: Any = _ENTROPY
    if pairs.posteriors is not None:
        rows = torch.from_numpy(np.flatnonzero(held))
        logvar = pairs.posteriors.logvar[rows]
        entropy = mixture(pairs.posteriors.mean[rows], logvar).shares + _ENTROPY + 0.5 * logvar
    return Reading(
        shares=torch.from_numpy(density) + entropy,
        bound="lower",
        unit=torch.from_numpy(np.unique(unit[held], return_inverse=True)[1].reshape(-1)),
        note="a lower bound of I(z_h; x̃), another quantity, by regression on what is decoded, read "
        f"from {int(held.sum())} held-out pairs, {_which(pairs)}",
    )


def _which(pairs: Decoded) -> str:
    if pairs.posteriors is None:
        return "of the prior: factors are independent, so that it is what is made of each alone"
    return (
        "of the posteriors: x̃ may tell a factor by way of others that go with it, also one that "
        "the decoder ignores; 'decoded = \"prior\"' draws factors that are independent"
    )


def _regression(pairs: Decoded, unit: Array, fit: Array, seed: int) -> tuple[Array, Array]:
    """Return the best regression's values for the rows not fitted, and its variance by factor."""
    components = min(_COMPONENTS, pairs.seen.shape[1], int(fit.sum()) // 2)
    reduce = make_pipeline(StandardScaler(), PCA(components, random_state=seed), StandardScaler())
    with np.errstate(divide="ignore", invalid="ignore"):  # shares of a variance that is zero
        seen = reduce.fit(pairs.seen[fit]).transform(pairs.seen)
    network = MLPRegressor(
        hidden_layer_sizes=(128,), early_stopping=bool(fit.sum() >= 100), max_iter=100,
        random_state=seed,
    )  # fmt: skip
    shape, value = pairs.value.shape, pairs.value[fit]
    target = value[:, 0] if shape[1] == 1 else value  # scikit-learn wants one column flat
    folds = GroupKFold(_FOLDS)
    guesses, spreads = [], []
    for kind in (DummyRegressor(), RidgeCV(np.logspace(-2, 4, 7)), network):
        machine = TransformedTargetRegressor(kind, transformer=StandardScaler())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # σ is measured, not assumed
            found = cross_val_predict(machine, seen[fit], target, groups=unit[fit], cv=folds)
            machine.fit(seen[fit], target)
        guesses.append(machine.predict(seen[~fit]).reshape(-1, shape[1]))
        spreads.append(np.square(value - found.reshape(value.shape)).mean(0).clip(1e-12))
    best, every = np.argmin(spreads, 0), np.arange(shape[1])
    return np.stack(guesses)[best, :, every].T, np.stack(spreads)[best, every]


# Of a model --------------------------------------------------------------------------------------


def decoded_of(
    config: Influence, model: SeqVAE, splits: Splits, names: list[str], noise: Noise,
    result: TaskResult,
) -> dict[str, Reading]:  # fmt: skip
    """Return the bound for all tables of factors that have one, by the table's name."""
    if config.decoded == "none":
        return {}
    if model.decoder.autoregressive:
        result.notes.append(
            "no bound of the decoded side: the decoder is autoregressive, and what it gives here "
            "has seen the true earlier frames"
        )
        return {}
    data = splits.train if config.part == "train" else splits.test
    rows = choose(len(data), config.decoded_pairs, seed_of(noise, "sequences"))
    if len(rows) < _FEWEST:
        result.notes.append(f"no bound of the decoded side: it takes {_FEWEST} sequences")
        return {}
    seed, found = seed_of(noise, "halves"), dict[str, list[Decoded]]()
    for number, batch in enumerate(read(data, rows)):
        most = math.ceil(config.decoded_pairs * len(batch) / len(rows))
        for name, pairs in _pairs(config, model, batch, names, noise).items():
            shifted = evolve(pairs, unit=pairs.unit + number * len(data))
            found.setdefault(name, []).append(_thinned(shifted, most, seed))
    for name in names:
        if not any(name in table.split() for table in found):
            what = "posteriors are" if config.decoded == "posterior" else "prior is"
            law = "Gaussian" if config.decoded == "posterior" else "N(0, 1)"
            result.notes.append(f"no bound of the decoded side of '{name}': its {what} not {law}")
    return {name: decoded_bound(_join(parts), seed) for name, parts in found.items()}


def _pairs(
    config: Influence, model: SeqVAE, batch: Batch, names: list[str], noise: Noise
) -> dict[str, Decoded]:
    out = model.output(batch, noise=noise.of("draw"))
    mask, latents = out.batch.mask, out.latents
    sampled = config.decoded_as == "sample"
    decoded = out.likelihood.rsample(noise.of("frames")) if sampled else out.likelihood.mean
    if config.decoded == "prior":
        stream, priors = noise.of("prior"), dict[str, Any](model.priors.items())
        drawn = {
            name: prior.sample(len(mask), mask.sum(1), stream.of(name))
            for name, prior in priors.items()
        }
        latents = {name: evolve(latents[name], sample=drawn[name]) for name in drawn}
        decoded = model.decode(drawn, mask=mask, noise=noise.of("frames"), sample=sampled)
    found: dict[str, Decoded] = {}
    for name in names:
        part = part_of(latents[name])
        if part is not None and (config.decoded == "posterior" or part.standard):
            found |= _tables(latents[name], part, coarse(decoded.double()), config.decoded)
    return found


def _tables(latent: Latent, part: Posteriors, decoded: Tensor, kind: str) -> dict[str, Decoded]:
    mask = latent.mask
    count = torch.arange(len(mask)).numpy()
    sample = latent.sample.detach().cpu().double()
    whole = decoded.flatten(2).cpu()
    seen = moments(decoded, mask).reshape(len(mask), -1) if mask.shape[1] > 1 else whole[:, 0]
    seen = np.asarray(seen)
    posterior = kind == "posterior"
    if latent.scope == "global":
        value = sample.flatten(1).numpy()
        return {
            latent.name: Decoded(
                value=value, seen=seen, posteriors=part if posterior else None, unit=count
            )
        }
    real = mask.cpu()
    frames = Decoded(
        value=sample[real].flatten(1).numpy(), seen=whole[real].numpy(),
        posteriors=part if posterior else None, unit=real.nonzero()[:, 0].numpy(),
    )  # fmt: skip
    tables = {part.name: frames}
    if posterior:
        mean = (sample.flatten(2) * real[..., None]).sum(1) / real.sum(1)[:, None]
        tables[f"pooled {latent.name}"] = Decoded(
            value=mean.numpy(), seen=seen, posteriors=part.pooled(latent.name), unit=count
        )
    return tables


def _join(parts: list[Decoded]) -> Decoded:
    tables = [part.posteriors for part in parts if part.posteriors is not None]
    joined = None
    if tables:
        joined = evolve(
            tables[0],
            mean=torch.cat([table.mean for table in tables]),
            logvar=torch.cat([table.logvar for table in tables]),
            unit=None,
        )
    return Decoded(
        value=np.concatenate([part.value for part in parts]),
        seen=np.concatenate([part.seen for part in parts]),
        posteriors=joined,
        unit=np.concatenate([part.unit for part in parts]),
    )


def _thinned(pairs: Decoded, most: int, seed: int) -> Decoded:
    rows = choose(len(pairs.value), most, seed)
    table = pairs.posteriors
    if table is not None:
        at = torch.from_numpy(rows)
        table = evolve(table, mean=table.mean[at], logvar=table.logvar[at])
    return Decoded(
        value=pairs.value[rows], seen=pairs.seen[rows], posteriors=table, unit=pairs.unit[rows]
    )
