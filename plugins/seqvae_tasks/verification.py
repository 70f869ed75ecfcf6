"""Telling by cosine whether two sequences share an identity: the equal error rate."""

from typing import Any

import numpy as np

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.pictures import available
from seqvae_core.records import Noise, Splits
from seqvae_tasks.adversary import add_reference
from seqvae_tasks.config import Verification
from seqvae_tasks.det import Curve, det
from seqvae_tasks.fitting import Fold, group_folds, principal
from seqvae_tasks.probe import Source, sequence_sources
from seqvae_tasks.representations import Array, Encoded, missing, represent, seed_of
from seqvae_tasks.statistics import jackknife

__all__ = ["folds_of", "pairs_of", "verification"]


def verification(config: Verification, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Score all pairs of sequences by the plain cosine of their vectors, nothing centred.

    The vectors are posterior means, averaged over time for local latents; beside them the mean of
    frames, its mean and standard deviation, principal components, an untrained copy of the
    encoder, and global latents of sequences whose frames were shuffled. Protocol "given" fits the
    components on the train part and pairs test sequences; "open" joins both parts, fits on four
    fifths of the identities and pairs sequences within the fifth that is left, in turn.

    Returns:
        "eer/<representation>", a rate in [0, 1], of single sequences, and where sequences are
        averaged also "eer/<representation> by <average>"; 95 % jackknife intervals over
        identities as ".../low" and ".../high". The figures are curves of misses against false
        alarms, both on normal-deviate axes.

    References:
        Disentangled Sequential Autoencoder (Li, Mandt, 2018), section 4.2
        | https://arxiv.org/abs/1803.02991
        The DET curve in assessment of detection task performance (Martin et al., 1997)
        | https://doi.org/10.21437/Eurospeech.1997-504
    """
    encoded = represent(model, splits, noise, shuffles=True)
    encoded.check(config.average)
    result = TaskResult(
        notes=[
            "plain cosine of all pairs of sequences, nothing centred; in brackets: 95 % "
            f"jackknife interval over '{config.identity}'"
        ]
    )
    if config.identity not in encoded.labels:
        result.notes.append(f"not applicable: the data have no global label '{config.identity}'")
        return result
    result.notes.append(_protocol(config, encoded))
    if not available():
        result.notes.append("no curves: matplotlib is missing; pip install 'seqvae[report]'")
    if config.reference:
        result.notes.extend(add_reference(encoded, config.identity, noise.of("reference")))
    seed = seed_of(noise, "verification")
    for by in [None, config.average] if config.average else [None]:
        chosen = encoded.averaged(by) if by else encoded
        _verify(config, chosen, f" by {by}" if by else "", seed, result)
    return result


def _protocol(config: Verification, encoded: Encoded) -> str:
    name = config.identity
    identity = encoded.labels[name]
    known = ~missing(identity)
    train = np.unique(identity[known & ~encoded.held_out])
    test = np.unique(identity[known & encoded.held_out])
    if config.protocol == "given":
        seen = int(np.isin(test, train).sum())
        kind = {0: "open set", len(test): "closed set"}.get(seen, "neither closed nor open set")
        return f"{kind}: {seen} of {len(test)} values of '{name}' are in the train part too"
    both = len(np.union1d(train, test))
    return (
        f"open set for what is fitted on representations alone: train and test part joined, "
        f"cross-validation over '{name}', pairs within a fold. The model itself was trained, "
        f"without labels, on sequences of {len(train)} of {both} values: an open set in the full "
        f"sense takes data that are split by '{name}', with protocol 'given'"
    )


def _verify(
    config: Verification, encoded: Encoded, suffix: str, seed: int, result: TaskResult
) -> None:
    identity = encoded.labels[config.identity]
    part = "" if config.protocol == "open" else "test "
    rows = np.flatnonzero(~missing(identity) & (encoded.held_out | (config.protocol == "open")))
    if len(rows) > config.sequences:
        note = f"{config.sequences} of {len(rows)} {part}sequences{suffix}, chosen at random"
        result.notes.append(note)
        chosen = np.random.default_rng(seed).choice(rows, config.sequences, replace=False)
        rows = np.sort(chosen)
    folds = folds_of(config.protocol, identity, encoded.held_out, rows)
    pair = pairs_of(folds)
    same = identity[pair[:, 0]] == identity[pair[:, 1]]
    if same.all() or not same.any():
        kind = "different" if len(same) == 0 or same.all() else "equal"
        note = f"not applicable: no {part}pair{suffix} of {kind} '{config.identity}'"
        result.notes.append(note)
        return
    table: list[dict[str, Any]] = []
    curves: list[Curve] = []
    for source in sequence_sources(encoded):
        cosine = np.concatenate([_cosines(source, fit, held, seed) for fit, held in folds])
        score = jackknife(cosine, same, pair, identity)
        result.metrics.update(score.metrics(f"eer/{source.name}{suffix}"))
        curves.append(Curve.of(source.name, cosine, same, score.value))
        table.append(
            {
                "representation": source.name,
                "dimensions": source.components or source.values.shape[1],
                "EER in %": score.text(100.0),
            }
        )
    many = len(np.unique(identity[rows]))
    title = f"{config.identity}: {many} in {len(rows)} sequences{suffix}"
    result.tables[title] = table
    if available():
        result.figures[f"DET of {title}"] = det(curves)


def folds_of(
    protocol: str,
    identity: Array,  # (N,)
    held_out: Array,  # (N,) bool
    rows: Array,
) -> list[Fold]:
    """Return rows to fit on and rows to compare with one another, fold by fold.

    Args:
        protocol: "given": one fold, fitted on what is not held out; "open": up to five, with no
            identity on both sides and about two identities in each at least.
        identity: of each sequence.
        held_out: which sequences are of the test part.
        rows: what is compared.
    """
    if protocol == "given":
        return [(np.flatnonzero(~held_out), rows)]
    return group_folds(rows, identity, min(5, len(np.unique(identity[rows])) // 2))


def pairs_of(folds: list[Fold]) -> Array:
    """Return all pairs of rows that are compared, (P, 2), fold by fold."""
    pairs = [held[np.stack(np.triu_indices(len(held), k=1), 1)] for _, held in folds]
    return np.concatenate([np.zeros((0, 2), dtype=int), *pairs])


def _cosines(source: Source, fit: Array, held: Array, seed: int) -> Array:
    """Return the cosine of each pair of `held`, in the order of `pairs_of`."""
    values = source.values
    if source.components is not None:
        values = principal(values, fit, source.components, seed)
    values = values[held]
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.where(norm > 0.0, norm, 1.0)
    result: Array = (unit @ unit.T)[np.triu_indices(len(values), k=1)]
    return result
