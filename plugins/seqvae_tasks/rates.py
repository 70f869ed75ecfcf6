"""How many nats each latent carries, and how many of its dimensions are in use."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqvae_core.components import TaskResult
from seqvae_core.functional import masked_sum, zero_padding
from seqvae_core.loading import iterate
from seqvae_core.model import SeqVAE
from seqvae_core.records import Latent, Noise, Splits
from seqvae_tasks.config import Rates
from seqvae_tasks.representations import Array, encode, seed_of
from seqvae_tasks.statistics import bootstrap, ratio

__all__ = ["active", "rates"]


def rates(config: Rates, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Measure the test part under one posterior sample of each sequence.

    Returns:
        In nats, each with a 95 % bootstrap interval over sequences: "kl/<latent>" a sequence,
        "kl/<latent> per frame" for a local one, "elbo" a sequence and "elbo per frame" with all
        KL weights 1. "active units/<latent>" counts; "ln N" is of the N training
        sequences. A table of all latents, and one of the dimensions of each, the largest KL
        first.
    """
    found = _measure(model, splits, noise.of("rates"))
    encoded = encode(model, splits.test, "test")
    seed = seed_of(noise, "bootstrap")
    rows = np.arange(len(encoded))
    ceiling = math.log(len(splits.train))
    result = TaskResult(metrics={"ln N": ceiling}, notes=[_note(config, ceiling)])

    def put(name: str, value: Array, over: Array) -> str:
        sums = np.stack([value, over], 1)
        score = bootstrap(sums, rows, ratio, seed=seed, resamples=config.resamples)
        result.metrics.update(score.metrics(name))
        return score.text(digits=3)

    once, frames = np.ones(len(rows)), found["frames"][:, 0]
    overview: list[dict[str, Any]] = []
    dimensions: dict[str, list[dict[str, Any]]] = {}
    for name in model.priors:
        local = encoded.scopes[name] == "local"
        mean = encoded.frames[f"{name} per frame"] if local else encoded.vectors[name]
        used = active(mean, config.threshold)
        kl = found[name]
        result.metrics[f"active units/{name}"] = float(used.sum())
        overview.append(
            {
                "latent": name,
                "KL, nats a sequence": put(f"kl/{name}", kl.sum(1), once),
                "nats a frame": (put(f"kl/{name} per frame", kl.sum(1), frames) if local else None),
                "active units": f"{used.sum()} of {len(used)}",
            }
        )
        dimensions[f"{name}: dimensions"] = _dimensions(kl.mean(0), mean.var(0), used)
    elbo = found["elbo"][:, 0]
    overview.append(
        {
            "latent": "ELBO",
            "KL, nats a sequence": put("elbo", elbo, once),
            "nats a frame": put("elbo per frame", elbo, frames),
        }
    )
    result.tables.update({"rates": overview, **dimensions})
    return result


def active(
    mean: Array,  # (R, D)
    threshold: float = 0.01,
) -> Array:  # (D,) bool
    """Tell which units are in use: the variance of the posterior mean exceeds `threshold`.

    References:
        Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2016), section 5.2
        | https://arxiv.org/abs/1509.00519
    """
    result: Array = mean.var(0) > threshold
    return result


@torch.no_grad()
def _measure(model: SeqVAE, splits: Splits, noise: Noise) -> dict[str, Array]:
    """Return by name, one row a sequence: KL by dimension, "elbo", and "frames", their number."""
    rows: dict[str, list[Tensor]] = {name: [] for name in [*model.priors, "elbo", "frames"]}
    for batch in iterate(splits.test, part="test"):
        out = model.output(batch, noise=noise)
        elbo = masked_sum(out.likelihood.log_prob(out.batch.x), out.batch.mask)
        for name in model.priors:
            elbo = elbo - out.latents[name].kl()
            rows[name].append(_by_dimension(out.latents[name]))
        rows["elbo"].append(elbo[:, None])
        rows["frames"].append(batch.lengths[:, None])
    return {
        name: np.concatenate([value.cpu().double().numpy() for value in values])
        for name, values in rows.items()
    }


def _by_dimension(latent: Latent) -> Tensor:  # (B, D)
    value = latent.elementwise_kl()
    if latent.scope == "local":
        value = zero_padding(value, latent.mask).sum(1)
    return value.flatten(1)


def _dimensions(kl: Array, variance: Array, used: Array) -> list[dict[str, Any]]:
    return [
        {
            "dimension": int(dim),
            "KL, nats a sequence": round(float(kl[dim]), 4),
            "variance of the mean": round(float(variance[dim]), 4),
            "active": "yes" if used[dim] else "no",
        }
        for dim in np.argsort(-kl, kind="stable")
    ]


def _note(config: Rates, ceiling: float) -> str:
    return (
        "one posterior sample of each test sequence; all KL weights are 1 in the ELBO; a unit is "
        f"active if its posterior mean varies by more than {config.threshold:g} over the test "
        "part (over all frames for a local latent); in brackets: 95 % bootstrap interval over "
        f"sequences; ln N of the training sequences is {ceiling:.3g} nats: a regularizer's "
        "'rate_gap' above it shows how much its critic misses"
    )
