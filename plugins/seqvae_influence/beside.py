"""What stands beside the information of each factor: the decoder's derivatives, and its labels."""

import numpy as np
import torch
from attrs import Factory, frozen
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_influence.config import Influence
from seqvae_influence.readings import Reading
from seqvae_tasks.derivatives import columns, undifferentiable
from seqvae_tasks.fitting import Probing, chance, share_out
from seqvae_tasks.representations import Array, Encoded, both, seed_of
from seqvae_tasks.sequences import choose, read

__all__ = ["Beside", "Probed", "column_norms", "probe_factors"]

_LEAF = 5  # rows of a leaf at least, or a hundredth of all


@frozen(eq=False, kw_only=True)
class Probed:
    """How well each factor alone tells a label.

    Attributes:
        label: its name.
        scores: accuracy, or R² of a number, on held-out rows, (H,).
        chance: of always answering the most frequent class; None for a number.
    """

    label: str
    scores: Array
    chance: float | None


@frozen(eq=False, kw_only=True)
class Beside:
    """What stands beside the readings of one table of factors; each may be missing.

    Attributes:
        norms: the mean norm of the derivative of the decoded mean by each factor, (H,).
        probes: each label as told by single factors.
        decoded: the bound of I(z_h; x̃).
    """

    norms: Array | None = None
    probes: tuple[Probed, ...] = Factory(tuple)
    decoded: Reading | None = None


# The decoder's derivatives -----------------------------------------------------------------------


def norms_of(
    config: Influence, model: SeqVAE, splits: Splits, names: list[str], noise: Noise,
    result: TaskResult,
) -> dict[str, Array]:  # fmt: skip
    """Return the mean column norms of all latents that allow it, by the table's name."""
    found: dict[str, Array] = {}
    if not config.norms:
        return found
    data = splits.train if config.part == "train" else splits.test
    rows = choose(len(data), config.norms, seed_of(noise, "norms"))
    for name in names:
        why = undifferentiable(model, name)
        if not why and len(model.shapes.latent(name).shape) != 1:
            why = "the latent is a map"
        if why:
            result.notes.append(f"no column norms of '{name}': {why}")
        else:
            found |= column_norms(model, data, rows, name)
    return found


def column_norms(model: SeqVAE, data: object, rows: Array, name: str) -> dict[str, Array]:
    """Return E‖∂E[x]/∂z_h‖₂ at posterior means, in the likelihood's unit over the factor's, (H,).

    The mean is over the sequences `rows`, and a norm over all frames: of a local latent "s per
    frame" has the mean over frames of each frame's own, and "pooled s" the norm as all frames'
    factors move together, by which their mean over time moves.

    Args:
        model: its decoder takes derivatives, see `undifferentiable`.
        data: a part of a data set.
        rows: which of its items.
        name: the latent.
    """
    whole, frames = [], []
    for batch in read(data, rows):
        out = model.output(batch)
        latents = {key: out.latents[key].sample for key in model.priors}
        mask = out.batch.mask
        squares = torch.stack([
            column.double().flatten(2).square().sum(2)
            for column in columns(model, latents, mask, name)
        ], -1).cpu()  # fmt: skip
        whole.append(squares.sum(1).sqrt())
        frames.append(squares[mask.cpu()].sqrt())
    mean: Array = torch.cat(whole).mean(0).numpy()
    if model.shapes.latent(name).scope == "global":
        return {name: mean}
    return {f"{name} per frame": torch.cat(frames).mean(0).numpy(), f"pooled {name}": mean}


# Labels ------------------------------------------------------------------------------------------


def probes_of(
    config: Influence, model: SeqVAE, splits: Splits, noise: Noise, result: TaskResult
) -> dict[str, tuple[Probed, ...]]:
    """Return how single factors tell the labels, by the table's name."""
    if config.labels == () or not (len(splits.train) and len(splits.test)):
        return {}
    encoded = both(model, splits, raw=False)
    known = {*encoded.labels, *encoded.frame_labels}
    for label in config.labels or ():
        if label not in known:
            result.notes.append(f"{label}: not applicable, the data have no such label")
    asked = [
        label for label in config.labels or sorted(known - set(config.exclude)) if label in known
    ]
    seed = seed_of(noise, "probes")
    tables = {**encoded.vectors, **encoded.frames}
    return {
        name: tuple(
            probed for label in asked
            if (probed := probe_factors(encoded, name, label, seed=seed, most=config.frames))
        )
        for name in tables
        if name in model.priors or name.removeprefix("pooled ") in model.priors
        or name.removesuffix(" per frame") in model.priors
    }  # fmt: skip


def probe_factors(
    encoded: Encoded, name: str, label: str, *, seed: int, most: int
) -> Probed | None:
    """Return how well each factor alone tells one label; None where that has no answer.

    A decision tree of one factor's posterior mean is fitted on the train part and scored on the
    test part: it needs no straight line between classes, and of leaves with a hundredth of the
    rows, and 5 at least, it has few.

    Args:
        encoded: both parts.
        name: of one of its vectors or of its frames.
        label: a global label, or for frames any.
        seed: of all that is random.
        most: frames that are fitted at most.
    """
    frames = name in encoded.frames
    if not frames and label in encoded.frame_labels:
        return None
    probing = share_out(encoded, label, frames=frames, most=most, seed=seed, resamples=1)
    if not probing.applicable:
        return None
    values = (encoded.frames if frames else encoded.vectors)[name]
    level = None if probing.continuous else chance(probing.target[probing.scored])
    scores = [_score(probing, values[:, [h]]) for h in range(values.shape[1])]
    return Probed(label=label, scores=np.array(scores), chance=level)


def _score(probing: Probing, value: Array) -> float:
    kind = DecisionTreeRegressor if probing.continuous else DecisionTreeClassifier
    predicted = np.zeros(len(probing.target), dtype=probing.target.dtype)
    for fit, held in probing.folds:
        leaf = max(_LEAF, len(fit) // 100)
        tree = kind(min_samples_leaf=leaf, random_state=probing.seed)
        predicted[held] = tree.fit(value[fit], probing.target[fit]).predict(value[held])
    return probing.judge(predicted).value
