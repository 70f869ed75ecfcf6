"""What chosen codes share with what a fixed model decodes: H(c) + E[ln Q(c|x̃)]."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from seqvae_basics.codes import Code, parse_codes
from seqvae_core.components import Estimate, TaskResult
from seqvae_core.model import SeqVAE, seeded
from seqvae_core.records import Noise, Scope, Shapes, Splits
from seqvae_estimators.errors_of_means import standard_error
from seqvae_estimators.stopping import train_until
from seqvae_tasks.representations import Array, seed_of
from seqvae_tasks.sequences import choose
from seqvae_vmi.bound_entropy import (
    aggregate_entropy,
    categorical_shares,
    is_standard,
    of_code,
)
from seqvae_vmi.bound_linear import linear_scores
from seqvae_vmi.bound_pairs import Law, Pairs, Samples, Source, collect
from seqvae_vmi.config_bound import VMIBound
from seqvae_vmi.losses import prior_entropy
from seqvae_vmi.networks import QNetwork

__all__ = ["Reading", "Rows", "fit", "read_bound", "read_fixed", "vmi_bound"]

_SIZE = 256  # pairs that Q reads at a time where it is not trained


def vmi_bound(config: VMIBound, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Train Q on pairs of a fixed model and read the bound on I(c; x̃) off others.

    Pairs from the posterior are of train sequences where Q is trained and stopped, of test
    sequences where the bound is read. The model itself is not trained.

    Returns:
        In nats, for each single dimension or categorical variable CODE, and "joint" of all of one
        scope: "PAIRS/CODE", the bound, with ".../stderr", and ".../entropy", H(c), which it cannot
        exceed if c is discrete; ".../linear", the bound by a linear Gaussian Q. PAIRS is "prior" or
        "posterior", or with relaxed categorical samples "prior soft" or "posterior soft".
        "PAIRS/converged" is 0 if the validation loss may still have been falling at the last step,
        else 1. Of local codes it is the information in a frame's value.

    References:
        Variational mutual information maximization framework for VAE latent codes (Serdega, Kim,
        2020), section on the evaluation of a fixed model | arXiv:2006.02227
    """
    noise = noise.of("vmi-bound")
    texts = config.codes or tuple(model.priors)
    codes = parse_codes(texts, model.shapes, config.name)
    units = [unit for code in codes for unit in code.units]
    if min(len(splits.train), len(splits.test)) < 2:
        return TaskResult(notes=["not applicable: it takes two train and two test sequences"])
    result = TaskResult(notes=_notes(config))
    rows: list[dict[str, Any]] = []
    for source in config.pairs:
        for samples in _kinds(config, model):
            title = source if samples == "hard" else f"{source} soft"
            drawn = _drawn(config, model, splits, source, samples, noise.of(source).of(samples))
            kept = _kept(units, drawn, source, title, result)
            if kept:
                found = read_fixed(
                    config, model.shapes, kept, drawn, source, samples, noise.of(title)
                )
                rows += _report(found, title, config, result)
    if rows:
        result.tables["lower bounds on I(c; x̃), nats"] = rows
    return result


@frozen(eq=False, kw_only=True)
class Reading:
    """The bounds of one kind of pairs.

    Attributes:
        estimates: by code; "joint" of all.
        entropies: H(c) of the same.
        linear: the bound by a linear Q, where there is one.
        converged: whether the training of Q came to its end.
    """

    estimates: Mapping[str, Estimate]
    entropies: Mapping[str, float]
    linear: Mapping[str, float]
    converged: bool


def _kinds(config: VMIBound, model: SeqVAE) -> list[Samples]:
    """Return how categorical latents are drawn; without any it makes no difference."""
    if any(model.shapes.latent(name).categorical for name in model.priors):
        return list(config.samples)
    return ["hard"]


Parts = tuple[Pairs, Pairs, Pairs]


def _drawn(
    config: VMIBound, model: SeqVAE, splits: Splits, source: Source, samples: Samples, noise: Noise
) -> Parts:
    """Return pairs to train Q on, to stop it by, and to read the bound from.

    No train sequence is in both of the first; where there are too few, each is drawn repeatedly.
    """
    order: Array = noise.of("split").permutation(len(splits.train)).numpy()[: config.count]
    stop = min(max(1, round(config.valid_share * len(order))), len(order) - 1)
    valid = max(1, round(config.valid_share * config.count))
    test = choose(len(splits.test), config.held_out, seed_of(noise, "held out"))
    if source == "prior":  # of a sequence no more than its length is seen
        test = np.resize(test, config.held_out)
    plan = {
        "fit": (splits.train, np.resize(order[stop:], max(1, config.count - valid))),
        "valid": (splits.train, np.resize(order[:stop], valid)),
        "test": (splits.test, test),
    }
    fitted, stopping, held = (
        collect(model, data, rows, source, samples, noise.of(part))
        for part, (data, rows) in plan.items()
    )
    return fitted, stopping, held


def _kept(
    units: Sequence[Code], drawn: Parts, source: Source, title: str, result: TaskResult
) -> list[Code]:
    """Return the codes whose entropy is known; note why others are left out."""
    kept, held = [], drawn[2]
    for unit in units:
        law = held.laws.get(unit.latent)
        why = None
        if law is None:
            why = f"its {source} is neither Gaussian nor categorical"
        elif source == "prior" and not is_standard(law, held.mask):
            why = "its prior is neither N(0, 1) nor uniform, so that H(c) is not known"
        if why is None:
            kept.append(unit)
        else:
            note = f"{title}: not applicable to '{unit.latent}': {why}"
            if note not in result.notes:
                result.notes.append(note)
    return kept


def read_fixed(
    config: VMIBound, shapes: Shapes, units: Sequence[Code], drawn: Parts, source: Source,
    samples: Samples, noise: Noise,
) -> Reading:  # fmt: skip
    """Train Q on pairs and read the bound off others.

    Args:
        config: the settings.
        shapes: of the frames.
        units: single dimensions and categorical variables.
        drawn: pairs to train Q on, to stop it by, and to read the bound from.
        source: where the codes were drawn from.
        samples: whether categorical ones are one-hot.
        noise: of Q's weights and batches, and of the choice of frames.
    """
    fitted, stopping, held = drawn
    with seeded(seed_of(noise, "weights"), "q"):
        network = config.network(shapes.frame).build(shapes, units)
    network = network.to(fitted.x)
    converged = fit(network, fitted, stopping, config, noise)
    linear = linear_scores(units, *drawn) if config.linear else {}
    seed = seed_of(noise, "frames")
    estimates: dict[str, Estimate] = {}
    entropies: dict[str, float] = {}
    by_line: dict[str, float] = {}
    scores = _scores(network, held)
    scopes: list[Scope] = ["global", "local"]
    shared = len({unit.variable.scope for unit in units}) > 1
    for scope in scopes:
        mine = [unit for unit in units if unit.variable.scope == scope]
        if mine:
            name = f"joint {scope}" if shared else "joint"
            rows = Rows.of(held, scope, config.held_out, seed)
            found = read_bound(mine, scores, held, rows, source, samples, name)
            for title, (share, entropy) in found.items():
                estimates[title] = Estimate(
                    value=float(share.mean()), stderr=float(standard_error(share, rows.unit)),
                    bound="lower", n=len(share),
                )  # fmt: skip
                entropies[title] = entropy
            for unit in mine:
                if unit.name in linear:
                    line = rows.take(linear[unit.name]).double()
                    by_line[unit.name] = entropies[unit.name] + float(line.mean())
    return Reading(estimates=estimates, entropies=entropies, linear=by_line, converged=converged)


def fit(network: QNetwork, fitted: Pairs, stopping: Pairs, config: VMIBound, noise: Noise) -> bool:
    """Train Q on pairs, stop it by others; return whether it came to that.

    It begins at N(0, 1) and the uniform, which it stays at where nothing better is found.
    """
    for head in network.heads:
        for parameter in head.parameters():
            torch.nn.init.zeros_(parameter)

    def loss() -> Tensor:
        rows = noise.of("rows").integers(len(fitted), (config.batch_size,))
        return _nll(network, fitted.at(rows)).mean()

    @torch.no_grad()
    def held_out() -> float:
        parts = (slice(at, at + _SIZE) for at in range(0, len(stopping), _SIZE))
        return float(torch.cat([_nll(network, stopping.at(part)) for part in parts]).mean())

    optimizer = config.network(tuple(fitted.x.shape[2:])).optimizer
    return train_until(
        network, loss, held_out, optimizer,
        steps=config.steps, check_every=config.check_every, patience=config.patience,
        first=held_out(),
    )  # fmt: skip


def _nll(network: QNetwork, pairs: Pairs) -> Tensor:
    return torch.stack(list(network.nll(pairs.x, pairs.mask, pairs.latents).values())).sum(0)


@torch.no_grad()
def _scores(network: QNetwork, held: Pairs) -> dict[str, Tensor]:
    """Return ln Q(c|x̃) by code, (N,) or (N, T), in float64."""
    found: dict[str, list[Tensor]] = {code.name: [] for code in network.codes}
    frames = held.mask.shape[1]
    for at in range(0, len(held), _SIZE):
        part = held.at(slice(at, at + _SIZE))
        laws = network(part.x, part.mask)
        for code in network.codes:
            value = laws[code.name].log_prob(code.of(part.latents)).double().sum(-1)
            if value.ndim > 1:
                value = torch.nn.functional.pad(value, (0, frames - value.shape[1]))
            found[code.name].append(value)
    return {name: torch.cat(parts) for name, parts in found.items()}


@frozen(eq=False, kw_only=True)
class Rows:
    """Which rows a bound is the mean over: sequences, or some of their frames.

    Attributes:
        at: the frames' places among all, (R,); None for sequences.
        unit: the sequence of each frame, numbered from 0; None for sequences.
    """

    at: Tensor | None = None
    unit: Tensor | None = None

    @classmethod
    def of(cls, pairs: Pairs, scope: Scope, most: int, seed: int) -> "Rows":
        """Return all sequences, or at most that many of all real frames, at random."""
        if scope == "global":
            return cls()
        real = pairs.mask.flatten().nonzero()[:, 0]
        real = real[torch.from_numpy(choose(len(real), most, seed)).to(real.device)]
        unit = torch.unique(real // pairs.mask.shape[1], return_inverse=True)[1]
        return cls(at=real, unit=unit)

    def take(self, value: Tensor) -> Tensor:
        """Return (N, ...) as it is, or (N, T, ...) at the rows' frames, (R, ...)."""
        return value if self.at is None else value.flatten(0, 1)[self.at]


def read_bound(
    units: Sequence[Code], scores: Mapping[str, Tensor], held: Pairs, rows: "Rows",
    source: Source, samples: Samples, joint: str,
) -> dict[str, tuple[Tensor, float]]:  # fmt: skip
    """Return each row's share of the bound, (R,), and H(c), of each code and of all together.

    A share's mean is the bound; where H(c) is estimated from the same rows the share is its
    influence function, so that its deviation is the delta method's.
    """
    found: dict[str, tuple[Tensor, float]] = {}
    laws: list[Law] = []
    values: list[Tensor] = []
    total: Tensor | None = None
    for unit in units:
        score = rows.take(scores[unit.name])
        value = rows.take(unit.of(held.latents)).double()
        law = of_code(held.laws[unit.latent], unit, rows.take)
        if source == "prior":
            entropy = torch.full_like(score, prior_entropy(unit.variable.size, unit.groups))
        elif unit.groups:
            entropy = categorical_shares(law.mean if samples == "hard" else value)
        else:
            entropy = aggregate_entropy([law], [value])
        found[unit.name] = entropy + score, float(entropy.mean())
        laws.append(law)
        values.append(value)
        total = score if total is None else total + score
    relaxed = samples == "soft" and any(unit.groups for unit in units)
    if len(units) > 1 and total is not None:
        if source == "prior":  # independent
            sums = torch.stack([share for share, _ in found.values()]).sum(0)
            found[joint] = sums, sum(entropy for _, entropy in found.values())
        elif not relaxed:
            entropy = aggregate_entropy(laws, values)
            found[joint] = entropy + total, float(entropy.mean())
    return found


# What a reader sees ------------------------------------------------------------------------------


def _report(
    found: Reading, title: str, config: VMIBound, result: TaskResult
) -> list[dict[str, Any]]:
    result.metrics[f"{title}/converged"] = float(found.converged)
    if not found.converged:
        result.notes.append(
            f"{title}: not converged after {config.steps} steps: the validation loss may still "
            "have been falling, and the bound be too low"
        )
    rows = []
    for code, estimate in found.estimates.items():
        name, line = f"{title}/{code}", found.linear.get(code)
        result.metrics[name] = estimate.value
        if np.isfinite(estimate.stderr):
            result.metrics[f"{name}/stderr"] = estimate.stderr
        result.metrics[f"{name}/entropy"] = found.entropies[code]
        if line is not None:
            result.metrics[f"{name}/linear"] = line
        rows.append({
            "pairs": title, "code": code, "bound": round(estimate.value, 4),
            "standard error": _rounded(estimate.stderr), "H(c)": round(found.entropies[code], 4),
            "linear Q": _rounded(line), "n": estimate.n,
        })  # fmt: skip
    return rows


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 4)


def _notes(config: VMIBound) -> list[str]:
    return [
        "H(c) + E[ln Q(c|x̃)], x̃ the decoded mean, not I(x; c): of pairs from the prior what the "
        "decoder shows of c, of pairs from the posterior what c and the reconstruction share, "
        "possibly by way of other latents; the gap is E KL(p(c|x̃)‖Q). Of continuous c it measures "
        "Q's resolution: only models read by the same Q, budget and data are to be compared",
        "standard errors are over test pairs, with Q as it is; H(c) of pairs from the prior is "
        "exact, from the posterior that of the mixture of the same test posteriors; relaxed "
        "categorical samples have H(E c), and cap the bound below ln K even for a perfect Q",
    ]
