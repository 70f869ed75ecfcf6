"""Whether a decoder uses its global latents: a classifier that learns from what it draws."""

from collections import defaultdict

import numpy as np
from attrs import evolve, frozen

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Batch, Noise, Splits
from seqvae_tasks.config_generation import MCAS
from seqvae_tasks.fitting import Probing, arrange, chance
from seqvae_tasks.representations import Array, missing, seed_of
from seqvae_tasks.sequences import choose, global_labels, moments, read, supported, units_of
from seqvae_tasks.statistics import Score

__all__ = ["mcas"]


def mcas(config: MCAS, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Score logistic regressions fitted on drawn sequences, on real test sequences.

    For each labelled train sequence, z ~ q(z|x) of all global latents, local latents from their
    priors running free, as many frames as x has, and x̂ ~ p(x|·), drawn frame by frame where the
    decoder is autoregressive: nothing but z knows of x. A logistic regression reads the label off
    mean and standard deviation over time of each number of a frame, off the numbers themselves
    where all sequences are single frames.

    Returns:
        Accuracies in [0, 1] of the same regression fitted on x̂, "<label>/mcas", and on the real
        train sequences, "<label>/real", each with a 95 % bootstrap interval as ".../low" and
        ".../high"; the mean of those fitted on what is drawn given z of the prior, with permuted
        labels, "<label>/floor", with the least and the greatest. "<label>/chance" is the share of
        the most frequent class.

    Raises:
        DataError: if the data have no global label `unit`.

    References:
        Information-theoretic regularization for learning global features by sequential VAE
        (Akuzawa, Iwasawa, Matsuo, 2021), where it is called mCAS; the definition is inferred
        | https://doi.org/10.1007/s10994-021-06032-4
    """
    result = TaskResult(notes=_method(config))
    names = [name for name in model.priors if model.shapes.latent(name).scope == "global"]
    if not names:
        result.notes.append("not applicable: the model has no global latent")
        return result
    noise = noise.of("mcas")
    rows = choose(len(splits.train), config.sequences, seed_of(noise, "rows"))
    if len(rows) < len(splits.train):
        result.notes.append(f"{len(rows)} of {len(splits.train)} train sequences, at random")
    data = _collect(config, model, splits, noise, names, rows)
    for label in config.labels or sorted(data.labels.keys() - set(config.exclude)):
        value = data.labels.get(label)
        if value is None or np.issubdtype(value.dtype, np.floating):
            if config.labels:
                result.notes.append(f"{label}: not applicable, the data have no such global class")
        else:
            _score(config, data, label, noise.of(label), result)
    return result


@frozen(eq=False, kw_only=True)
class _Data:
    """Train sequences, real and drawn, above real test sequences; all have the same labels."""

    features: dict[str, Array]
    labels: dict[str, Array]
    held_out: Array
    unit: Array


def _collect(
    config: MCAS, model: SeqVAE, splits: Splits, noise: Noise, names: list[str], rows: Array
) -> _Data:
    train: dict[str, list[Array]] = defaultdict(list)
    test: list[Array] = []
    batches: list[Batch] = []
    for batch in read(splits.train, rows):
        batches.append(batch)
        z = model.encode(batch, noise=noise.of("encode"))
        given = {name: z[name] for name in names}
        real = supported(model, batch, noise.of("support"))
        train["real"].append(moments(real.x, real.mask))
        for kind, latents in (("mcas", given), ("floor", {})):
            drawn = model.generate(
                len(batch), batch.lengths, noise=noise.of(kind), given=latents,
                sample=config.draw == "sample",
            )  # fmt: skip
            train[kind].append(moments(drawn, real.mask))
    for batch in read(splits.test, np.arange(len(splits.test))):
        batches.append(batch)
        real = supported(model, batch, noise.of("support"))
        test.append(moments(real.x, real.mask))
    held_out = np.repeat([False, True], [len(rows), len(splits.test)])
    labels = global_labels(batches)
    features = {kind: _flat(np.concatenate([*parts, *test])) for kind, parts in train.items()}
    unit = units_of(labels, config.unit, len(held_out))
    return _Data(features=features, labels=labels, held_out=held_out, unit=unit)


def _flat(moments: Array) -> Array:  # (N, 2, F) → (N, 2F), or (N, F) for single frames
    return (moments if moments[:, 1].any() else moments[:, :1]).reshape(len(moments), -1)


def _score(config: MCAS, data: _Data, label: str, noise: Noise, result: TaskResult) -> None:
    target = data.labels[label]
    folds, unseen = arrange(target, data.held_out)
    probing = Probing(
        target=target, unit=data.unit, folds=folds, unseen=unseen, tuned=False,
        seed=seed_of(noise, "bootstrap"), resamples=config.resamples,
    )  # fmt: skip
    result.notes.extend(f"{label}: {note}" for note in probing.notes())
    if not probing.applicable:
        return
    found, early = {}, 0
    for kind in ("mcas", "real"):
        found[kind], stopped = probing.score(data.features[kind], "linear")
        early += stopped
    found["floor"], stopped = _floor(config, probing, data, noise.of("floor"))
    found["chance"] = Score(chance(target[probing.scored]))
    for kind, score in found.items():
        result.metrics.update(score.metrics(f"{label}/{kind}"))
    texts = {
        "mcas": "drawn given z of real sequences (mCAS)",
        "real": "real sequences (ceiling)",
        "floor": "drawn given z of the prior, labels permuted (floor)",
        "chance": "chance",
    }
    result.tables[f"{label}: accuracy in %"] = [
        {"fitted on": text, "real test sequences": found[kind].text(100.0)}
        for kind, text in texts.items()
    ]
    if early + stopped:
        fits = 2 + config.permutations
        note = f"{early + stopped} of {fits} fits were stopped before they converged"
        result.notes.append(f"{label}: {note}")


def _floor(config: MCAS, probing: Probing, data: _Data, noise: Noise) -> tuple[Score, int]:
    """Return the mean of fits with permuted labels, its range, and how many did not converge."""
    rows = np.flatnonzero(~data.held_out & ~missing(probing.target))
    values, early = [], 0
    for _ in range(config.permutations):
        target = probing.target.copy()
        target[rows] = target[rows[noise.permutation(len(rows)).numpy()]]
        permuted = evolve(probing, target=target, resamples=1)
        score, stopped = permuted.score(data.features["floor"], "linear")
        values.append(score.value)
        early += stopped
    return Score(float(np.mean(values)), min(values), max(values)), early


def _method(config: MCAS) -> list[str]:
    mean = "the mean of p(x|z, s), or a draw of an autoregressive decoder"
    of = f"test sequences of equal '{config.unit}'" if config.unit else "test sequences"
    return [
        "a logistic regression (standardised inputs, C = 1) is fitted on drawn train sequences and "
        "scored on real test sequences; the definition of mCAS is inferred, the paper's is not "
        "known in full",
        "drawn: z ~ q(z|x), local latents from their priors, the length of x, then "
        f"{'x ~ p(x|z, s)' if config.draw == 'sample' else mean}",
        f"in brackets: 95 % bootstrap interval over {of}, the same draws in each row; of the floor "
        f"the range of {config.permutations} permutations. Chance is the most frequent class of "
        "what is scored",
    ]
