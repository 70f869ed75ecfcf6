"""The least error of telling classes by the most informative factors, beside a classifier's."""

import math
from typing import Any

import numpy as np
import torch

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_estimators.errors_of_means import standard_error
from seqvae_influence.closed_form import kl_to_prior
from seqvae_influence.fano import class_information, entropy, fano_error, weak_fano_error
from seqvae_influence.orders import orders
from seqvae_influence.posteriors import Posteriors, collect
from seqvae_influence.readers import fitted
from seqvae_influence.selection_config import FanoBound, kept_counts
from seqvae_tasks.representations import Array, Encoded, both, seed_of
from seqvae_tasks.sequences import choose
from seqvae_tasks.statistics import Score, bootstrap, ratio

__all__ = ["fano_bound"]

_NOTHING = 1e-3  # an error below which a floor says nothing


def fano_bound(config: FanoBound, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Bound the error of any classifier of z_S from below, S the k most informative factors.

    H(y|z_S) ≤ h(P) + P ln(K - 1), solved for the error P. A floor of P takes what I(y; z_S) is *at
    most*: a classifier's cross-entropy bounds it from below, and would overstate the floor. Here
    it is estimated by the mixtures of the test part's posteriors, above I(y; z_S) in expectation
    and consistent. z_S is a sample of the posterior: a posterior's mean says more.

    Returns:
        For each NAME ("z", or "pooled s" for a local s), label and k: "information/NAME/LABEL/k",
        I(y; z_S) in nats, "floor/NAME/LABEL/k", the least error, and "error/NAME/LABEL/k", that of
        a classifier, with its 95 % interval. "entropy/NAME/LABEL", H(y) in nats. A table of each.

    References:
        Elements of information theory (Cover, Thomas, 2006), theorem 2.10.1
    """
    noise = noise.of("fano-bound")
    result = TaskResult()
    names = list(model.priors) if config.latent is None else [config.latent]
    parts: dict[str, tuple[Array, dict[str, Posteriors]]] = {}
    for part, data in (("train", splits.train), ("test", splits.test)):
        rows = choose(len(data), config.posteriors, seed_of(noise, part))
        parts[part] = rows, collect(model, data, rows, names) if len(rows) > 1 else {}
    encoded = both(model, splits, raw=False)
    encoded.check(config.unit)
    for name in names:
        if not all(name in found for _, found in parts.values()):
            result.notes.append(
                f"not applicable to '{name}': it takes Gaussian posteriors of two sequences"
            )
            continue
        read, scored = (
            (rows, table if table.unit is None else table.pooled(name))
            for rows, table in ((rows, found[name]) for rows, found in parts.values())
        )
        for label in _labels(config, encoded, result):
            one = _Bound(config, encoded, label, read, scored, noise.of(scored[1].name))
            one.run(result)
    if result.tables:
        result.notes[:0] = _method(config)
    return result


def _labels(config: FanoBound, encoded: Encoded, result: TaskResult) -> list[str]:
    known = sorted(encoded.labels.keys() - set(config.exclude))
    found = []
    for label in known if config.labels is None else config.labels:
        if label not in encoded.labels:
            said = f"{label}: not applicable, the data have no such label of sequences"
        elif np.issubdtype(encoded.labels[label].dtype, np.floating):
            said = f"{label}: not applicable, a number and no class"
        else:
            found.append(label)
            continue
        if said not in result.notes:
            result.notes.append(said)
    return found


class _Bound:
    """One latent and one label."""

    def __init__(
        self, config: FanoBound, encoded: Encoded, label: str, read: tuple[Array, Posteriors],
        scored: tuple[Array, Posteriors], noise: Noise,
    ):  # fmt: skip
        self.config, self.label, self.noise = config, label, noise
        self.name = scored[1].name
        target = encoded.labels[label]
        held = np.flatnonzero(encoded.held_out)[scored[0]]
        fit = np.flatnonzero(~encoded.held_out)[read[0]]
        self.known = target[held] >= 0
        self.fitted = target[fit] >= 0
        self.target, self.given = target[held][self.known], target[fit][self.fitted]
        self.unit = encoded.units(config.unit)[held][self.known]
        self.scored, self.read = scored[1], read[1]

    def run(self, result: TaskResult) -> None:
        """Add numbers and the table, or the note that says why there are none."""
        classes = len(np.unique(self.target))
        if classes < 2 or len(np.unique(self.given)) < 2:
            result.notes.append(f"{self.name}, {self.label}: not applicable, one class alone")
            return
        order = orders(self.read, ["mi"], 1, 0)["mi"][0]
        counts = kept_counts(self.config.keep, len(order))
        mean, logvar = (
            value[torch.from_numpy(self.known)][:, order]
            for value in (self.scored.mean, self.scored.logvar)
        )
        label = torch.from_numpy(self.target)
        shares = class_information(
            mean, logvar, label, counts, self.noise.of("mixtures"), samples=self.config.samples
        )
        rate = kl_to_prior(mean, logvar).value if self.scored.standard else None
        unit = torch.from_numpy(np.unique(self.unit, return_inverse=True)[1].reshape(-1))
        whole, rows = entropy(label), []
        key = f"{self.name}/{self.label}"
        result.metrics[f"entropy/{key}"] = whole
        for count, share in zip(counts, shares, strict=True):
            found, error = float(share.mean()), float(standard_error(share, unit))
            floor = fano_error(whole - found, classes)
            # of a single unit there is no error, and then nothing that is safe
            safe = 0.0 if math.isnan(error) else fano_error(whole - found - 2.0 * error, classes)
            measured = self._error(order[:count])
            named = {f"information/{key}/{count}": found, f"floor/{key}/{count}": floor}
            result.metrics.update(named)
            result.metrics.update(measured.metrics(f"error/{key}/{count}"))
            row: dict[str, Any] = {
                "kept": count, "I(y; z_S)": round(found, 4), "standard error": _shown(error),
                "least error": round(floor, 4), "less two standard errors": round(safe, 4),
                "weak form": _shown(weak_fano_error(whole - found, classes)),
            }  # fmt: skip
            if rate is not None:
                total = float(rate[:count].sum())
                row["by the KL alone"] = round(fano_error(whole - total, classes), 4)
            row["classifier's error"] = measured.text(digits=4)
            row["says"] = "nothing" if safe < _NOTHING else "a floor"
            rows.append(row)
        result.tables[f"{self.name}: error of telling {self.label}"] = rows
        common = 1.0 - float(np.unique(self.target, return_counts=True)[1].max()) / len(self.target)
        result.notes.append(
            f"{self.name}, {self.label}: H(y) = {whole:.3f} nats of {classes} classes, "
            f"{len(self.target)} sequences; always the most frequent errs at {common:.3f}"
        )

    def _error(self, kept: Array) -> Score:
        """Return the error of a network on samples of some factors, fitted on such samples."""
        left = np.sort(kept)
        fit, held = (
            self._drawn(table, purpose)[torch.from_numpy(known)].numpy()[:, left]
            for table, purpose, known in (
                (self.read, "train", self.fitted), (self.scored, "test", self.known)
            )
        )  # fmt: skip
        said = fitted(fit, self.given, seed_of(self.noise, "network")).predict(held)
        sums = np.stack([said != self.target, np.ones(len(held))], 1)
        seed = seed_of(self.noise, "bootstrap")
        return bootstrap(sums, self.unit, ratio, seed=seed, resamples=self.config.resamples)

    def _drawn(self, table: Posteriors, purpose: str) -> torch.Tensor:
        stream = self.noise.of(purpose).of("samples")
        return table.mean + torch.exp(0.5 * table.logvar) * stream.normal(table.mean)


def _shown(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 4)


def _method(config: FanoBound) -> list[str]:
    return [
        "the least error of any classifier of y from z_S, S the k factors of the largest I_M on "
        "the train part and z_S a sample of their posterior: H(y|z_S) ≤ h(P) + P ln(K - 1), "
        "solved for P",
        "a floor takes an upper bound or a consistent estimate of I(y; z_S), never a classifier's "
        "lower bound, and not Σ I(x; z_h): here E ln q(z_S|y)/q(z_S) by the mixtures of the "
        f"posteriors of a class and of all, {config.samples} samples of each: above I(y; z_S) in "
        "expectation given the labels, consistent, at most H(y), where the floor is 0 and says "
        "nothing. It is no guarantee for one sample: less two standard errors is safer, which are "
        + (f"of units of equal '{config.unit}'" if config.unit else "of sequences"),
        "weak form: h(P) put at ln 2, undefined for two classes; by the KL alone: with I(y; z_S) ≤ "
        "I(x; z_S) ≤ KL(q(z_S|x)‖N(0, 1)), which nothing but the labels' frequencies stands "
        "behind",
        "classifier: a network with one hidden layer of 256, fitted on samples of z_S of the train "
        "part; in brackets a 95 % bootstrap interval",
    ]
