"""Telling by cosine whether two sequences share an identity: the equal error rate."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config import Verification
from seqvae_tasks.fitting import principal
from seqvae_tasks.probe import Source, sequence_sources
from seqvae_tasks.representations import Array, Encoded, missing, represent, seed_of
from seqvae_tasks.statistics import jackknife

__all__ = ["verification"]


def verification(config: Verification, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Score all pairs of test sequences by the plain cosine of their vectors, nothing centred.

    The vectors are posterior means, averaged over time for local latents; beside them the mean of
    frames, its mean and standard deviation, principal components fitted on the train part, and an
    untrained copy of the encoder.

    Returns:
        "eer/<representation>", a rate in [0, 1], of single sequences, and where sequences are
        averaged also "eer/<representation> by <average>"; 95 % jackknife intervals over
        identities as ".../low" and ".../high".

    References:
        Disentangled Sequential Autoencoder (Li, Mandt, 2018), section 4.2
        | https://arxiv.org/abs/1803.02991
    """
    encoded = represent(model, splits, noise)
    encoded.check(config.average)
    result = TaskResult(
        notes=[
            "plain cosine of all pairs of test sequences, nothing centred; in brackets: 95 % "
            f"jackknife interval over '{config.identity}'"
        ]
    )
    if config.identity not in encoded.labels:
        result.notes.append(f"not applicable: the data have no global label '{config.identity}'")
        return result
    result.notes.append(_protocol(encoded, config.identity))
    seed = seed_of(noise, "verification")
    for by in [None, config.average] if config.average else [None]:
        chosen = encoded.averaged(by) if by else encoded
        _verify(config, chosen, f" by {by}" if by else "", seed, result)
    return result


def _protocol(encoded: Encoded, name: str) -> str:
    identity = encoded.labels[name]
    known = ~missing(identity)
    test = np.unique(identity[known & encoded.held_out])
    seen = int(np.isin(test, identity[known & ~encoded.held_out]).sum())
    kind = {0: "open set", len(test): "closed set"}.get(seen, "neither closed nor open set")
    return f"{kind}: {seen} of {len(test)} values of '{name}' are in the train part too"


def _verify(
    config: Verification, encoded: Encoded, suffix: str, seed: int, result: TaskResult
) -> None:
    identity = encoded.labels[config.identity]
    rows = np.flatnonzero(encoded.held_out & ~missing(identity))
    if len(rows) > config.sequences:
        note = f"{config.sequences} of {len(rows)} test sequences{suffix}, chosen at random"
        result.notes.append(note)
        chosen = np.random.default_rng(seed).choice(rows, config.sequences, replace=False)
        rows = np.sort(chosen)
    identity = identity[rows]
    pair = np.stack(np.triu_indices(len(rows), k=1), 1)
    same = identity[pair[:, 0]] == identity[pair[:, 1]]
    if same.all() or not same.any():
        kind = "different" if len(same) == 0 or same.all() else "equal"
        result.notes.append(f"not applicable: no test pair{suffix} of {kind} '{config.identity}'")
        return
    table: list[dict[str, Any]] = []
    for source in _projected(encoded, seed):
        score = jackknife(_cosines(source.values[rows], pair), same, pair, identity)
        result.metrics.update(score.metrics(f"eer/{source.name}{suffix}"))
        table.append(
            {
                "representation": source.name,
                "dimensions": source.values.shape[1],
                "EER in %": score.text(100.0),
            }
        )
    title = f"{config.identity}: {len(np.unique(identity))} in {len(rows)} sequences{suffix}"
    result.tables[title] = table


def _projected(encoded: Encoded, seed: int) -> Iterator[Source]:
    fit = np.flatnonzero(~encoded.held_out)
    for source in sequence_sources(encoded):
        if source.components is None:
            yield source
        else:
            values = principal(source.values, fit, source.components, seed)
            yield Source(source.name, values)


def _cosines(values: Array, pair: Array) -> Array:
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.where(norm > 0.0, norm, 1.0)
    result: Array = (unit @ unit.T)[pair[:, 0], pair[:, 1]]
    return result
