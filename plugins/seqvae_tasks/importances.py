"""Disentanglement, completeness and informativeness by the importances of random forests."""

from typing import Any

import numpy as np
from attrs import frozen
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, KFold

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config_disentanglement import DCI
from seqvae_tasks.factor_codes import labelled
from seqvae_tasks.factor_scores import completeness, disentanglement
from seqvae_tasks.fitting import arrange, chance
from seqvae_tasks.representations import Array, seed_of

__all__ = ["dci"]

_DEPTHS = [4, 8, 16]


@frozen(eq=False, kw_only=True)
class _Reading:
    """What the forest of one label found: importances (L,), accuracy, and that of guessing."""

    importance: Array
    accuracy: float
    chance: float
    unseen: int


def dci(config: DCI, latent: str, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    r"""Fit a forest for each label on the dimensions of a latent, and see which it looks at.

    With \(R_{ij}\) the importance of dimension i for label j: disentanglement is the mean of
    \(1 - H_K(R_{i·})\) weighted by \(\sum_j R_{ij}\), completeness the plain mean of
    \(1 - H_L(R_{·j})\), informativeness the mean accuracy on the test part.

    Returns:
        "disentanglement", "completeness", "informativeness" and its "chance", in [0, 1];
        "informativeness/<label>" and "chance/<label>". Disentanglement takes two labels,
        completeness two dimensions; else they are left out.

    Raises:
        DataError: for a label that is asked for and that is no global class.

    References:
        A framework for the quantitative evaluation of disentangled representations (Eastwood,
        Williams, 2018) | https://openreview.net/forum?id=By-7dz-AZ
    """
    noise = noise.of("dci")
    train, test = (
        labelled(config, latent, model, data, part, noise.of("rows"))
        for part, data in (("train", splits.train), ("test", splits.test))
    )
    codes = np.concatenate([train.codes, test.codes])
    held_out = np.arange(len(codes)) >= len(train.codes)
    seed = seed_of(noise, "forest")
    result = TaskResult(notes=_notes(config, train.origin, test.origin))
    found: dict[str, _Reading] = {}
    for name in (name for name in train.factors if name in test.factors):
        target = np.concatenate([train.factors[name], test.factors[name]])
        reading = _read(codes, target, held_out, config.trees, seed)
        if reading is None:
            result.notes.append(
                f"{name}: left out, nothing to score: at least two classes must be fitted"
            )
            continue
        found[name] = reading
        if reading.unseen:
            result.notes.append(
                f"{name}: {reading.unseen} test sequences not scored, as their class is not among "
                "those fitted"
            )
    if not found:
        return TaskResult(notes=["not applicable: no global label has two classes"])
    _report(result, latent, found)
    return result


def _read(codes: Array, target: Array, held_out: Array, trees: int, seed: int) -> _Reading | None:
    folds, unseen = arrange(target, held_out)
    if not folds:
        return None
    [(fit, held)] = folds
    # a split that may not look at every dimension gives importance to those that tell nothing
    forest = RandomForestClassifier(
        trees, max_depth=_DEPTHS[-1], max_features=None, random_state=seed
    )
    if len(fit) >= 3:
        inner = KFold(3, shuffle=True, random_state=seed)
        forest = GridSearchCV(forest, {"max_depth": _DEPTHS}, cv=inner)
    forest.fit(codes[fit], target[fit])
    best = getattr(forest, "best_estimator_", forest)
    return _Reading(
        importance=best.feature_importances_,
        accuracy=float((best.predict(codes[held]) == target[held]).mean()),
        chance=chance(target[held]),
        unseen=unseen,
    )


def _report(result: TaskResult, latent: str, found: dict[str, _Reading]) -> None:
    names, readings = list(found), list(found.values())
    importance = np.stack([reading.importance for reading in readings], 1)  # (L, K)
    weight = importance.sum(1) / max(importance.sum(), 1e-300)
    labels: list[dict[str, Any]] = [
        {"label": name, "accuracy in %": round(100.0 * one.accuracy, 1),
         "chance": round(100.0 * one.chance, 1), **_leaders(one.importance, latent)}
        for name, one in found.items()
    ]  # fmt: skip
    dimensions: list[dict[str, Any]] = [
        {"dimension": f"{latent}[{i}]", "weight": round(float(weight[i]), 4),
         "first": names[int(row.argmax())], "importance": round(float(row.max()), 4)}
        for i, row in enumerate(importance)
    ]  # fmt: skip
    if len(importance) > 1:
        complete = completeness(importance)
        result.metrics["completeness"] = float(complete.mean())
        _column(labels, "completeness", complete)
    if len(names) > 1:
        apart = disentanglement(importance)
        result.metrics["disentanglement"] = float((weight * apart).sum())
        _column(dimensions, "disentanglement", apart)
    result.metrics["informativeness"] = float(np.mean([one.accuracy for one in readings]))
    result.metrics["chance"] = float(np.mean([one.chance for one in readings]))
    for name, one in found.items():
        result.metrics[f"informativeness/{name}"] = one.accuracy
        result.metrics[f"chance/{name}"] = one.chance
    result.tables.update({"each label": labels, "each dimension": dimensions})


def _leaders(importance: Array, latent: str) -> dict[str, Any]:
    first, second = [*np.argsort(-importance, kind="stable"), None][:2]
    return {
        "first": f"{latent}[{first}]", "importance": round(float(importance[first]), 4),
        "second": None if second is None else f"{latent}[{second}]",
        "importance of second": None if second is None else round(float(importance[second]), 4),
    }  # fmt: skip


def _column(rows: list[dict[str, Any]], name: str, values: Array) -> None:
    for row, value in zip(rows, values.tolist(), strict=True):
        row[name] = round(value, 4)


def _notes(config: DCI, *origins: str) -> list[str]:
    depths = ", ".join(map(str, _DEPTHS[:-1]))
    return [
        f"fitted on {origins[0]}; scored on {origins[1]}",
        f"random forests of {config.trees} trees, their depth {depths} or {_DEPTHS[-1]} by 3-fold "
        "cross-validation; importances are mean decreases of Gini impurity",
    ]
