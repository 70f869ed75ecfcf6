"""Probes: what is fitted on which rows, and scored on which."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import frozen
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from seqvae_tasks.config import Classifier
from seqvae_tasks.representations import Array, Encoded, missing
from seqvae_tasks.statistics import Score, accuracy, bootstrap, r_squared

__all__ = [
    "Fold",
    "Probing",
    "arrange",
    "chance",
    "group_folds",
    "principal",
    "share_out",
]

Fold = tuple[Array, Array]

_MLP = {"hidden_layer_sizes": (64,), "alpha": 0.1, "learning_rate_init": 0.005, "tol": 1e-3,
        "max_iter": 300}  # fmt: skip
_STRENGTHS = [0.01, 0.1, 1.0, 10.0, 100.0]
_KERNEL_STRENGTHS = [0.1, 1.0, 10.0, 100.0]
_KERNEL_SCALES = [0.1, 0.3, 1.0, 3.0]  # times one over the number of inputs
_KERNEL_ROWS = 1000
_ITERATIONS = 2000


@frozen(eq=False, kw_only=True)
class Probing:
    """One label, and how its rows are shared out.

    Attributes:
        target: the label of each row, (R,).
        unit: rows of one unit are resampled, and held out within a fit, together, (R,).
        folds: rows to fit and rows to score, pair by pair.
        unseen: rows left out, as their class was not among those fitted.
        tuned: choose the strength of a logistic regression by cross-validation inside the
            fitted rows; else it is 1.
        seed: of all that is random.
        resamples: of the bootstrap.
    """

    target: Array
    unit: Array
    folds: list[Fold]
    unseen: int
    tuned: bool
    seed: int
    resamples: int

    @property
    def continuous(self) -> bool:
        """Whether the label is a number, not a class."""
        return bool(np.issubdtype(self.target.dtype, np.floating))

    @property
    def scored(self) -> Array:
        """The rows that some fold scores."""
        return np.concatenate([held for _, held in self.folds] or [np.arange(0)])

    @property
    def applicable(self) -> bool:
        """Whether there is something to score."""
        scored = self.target[self.scored]
        return len(scored) > 0 and not (self.continuous and np.ptp(scored) == 0.0)

    def notes(self) -> Iterator[str]:
        """Yield what a reader must know of the rows that are not scored."""
        if self.unseen:
            yield (
                f"{self.unseen} of {self.unseen + len(self.scored)} held-out rows not scored, "
                "as their class is not among those fitted"
            )
        if not self.applicable:
            yield "not applicable, nothing to score: at least two values must be fitted"
        elif len(np.unique(self.unit[self.scored])) < 2:
            yield "one held-out unit alone, so no interval"

    def score(
        self,
        values: Array,  # (R, D)
        reader: Classifier,
        components: int | None = None,
    ) -> tuple[Score, int]:
        """Fit and score a probe.

        Args:
            values: what the label is read off.
            reader: a linear probe, an RBF-SVM (of a continuous label kernel ridge regression) or a
                small MLP.
            components: principal components, of the fitted rows, to read instead.

        Returns:
            Accuracy, or R² of a continuous label, on the scored rows of all folds, and how many
            fits ended before they converged.
        """
        predicted = np.zeros(len(self.target), dtype=self.target.dtype)
        early = 0
        for fit, held in self.folds:
            seen = values if components is None else principal(values, fit, components, self.seed)
            probe = make_pipeline(StandardScaler(), self._reader(reader, fit, seen.shape[1]))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # counted below instead
                probe.fit(seen[fit], self.target[fit])
            early += _stopped_early(probe[-1])
            predicted[held] = probe.predict(seen[held])
        return self.judge(predicted), early

    def judge(
        self,
        predicted: Array,  # (R,)
    ) -> Score:
        """Return accuracy, or R² of a continuous label, of predictions for the scored rows."""
        held = self.scored
        measure = r_squared if self.continuous else accuracy
        sums, statistic = measure(self.target[held], predicted[held])
        unit = self.unit[held]
        return bootstrap(sums, unit, statistic, seed=self.seed, resamples=self.resamples)

    def _reader(self, reader: Classifier, fit: Array, inputs: int) -> Any:
        if reader == "svm":
            return self._kernel(fit, inputs)
        if reader == "mlp":
            if not self.continuous:
                return MLPClassifier(**_MLP, random_state=self.seed)
            regressor = MLPRegressor(**_MLP, random_state=self.seed)
            return TransformedTargetRegressor(regressor, transformer=StandardScaler())
        if self.continuous:
            return RidgeCV(alphas=np.logspace(-3, 3, 13))
        logistic = LogisticRegression(max_iter=_ITERATIONS)
        rows = np.arange(len(fit))
        inner = _inner_folds(self.target[fit], self.unit[fit], rows) if self.tuned else []
        return GridSearchCV(logistic, {"C": _STRENGTHS}, cv=inner) if inner else logistic

    def _kernel(self, fit: Array, inputs: int) -> Any:
        """Return a machine whose strength and γ are chosen on some of the fitted rows."""
        rows = np.arange(len(fit))
        if len(fit) > _KERNEL_ROWS:
            rows = np.random.default_rng(self.seed).choice(len(fit), _KERNEL_ROWS, replace=False)
        inner = _inner_folds(self.target[fit], self.unit[fit], rows)
        grid: dict[str, list[float]] = {"gamma": [scale / inputs for scale in _KERNEL_SCALES]}
        if self.continuous:
            grid["alpha"] = [1.0 / strength for strength in _KERNEL_STRENGTHS]
            machine = KernelRidge(kernel="rbf")
        else:
            grid["C"] = _KERNEL_STRENGTHS
            machine = SVC(random_state=self.seed)
        chosen = GridSearchCV(machine, grid, cv=inner) if inner else machine
        if self.continuous:
            return TransformedTargetRegressor(chosen, transformer=StandardScaler())
        return chosen


def share_out(
    encoded: Encoded,
    label: str,
    *,
    frames: bool,
    most: int,
    seed: int,
    resamples: int,
    group: str | None = None,
    unit: str | None = None,
) -> Probing:
    """Share out the sequences of one label, or their frames, of whose fits `most` are seen.

    Args:
        encoded: the data.
        label: a global label, or a local one if `frames`.
        frames: whether a row is a frame; the label of a sequence is then that of all of them.
        most: frames of one fit, chosen at random.
        seed: of all that is random.
        resamples: of the bootstrap.
        group: a global label whose values must not be on both sides.
        unit: a global label whose sequences are resampled together, if there is no group.
    """
    row = encoded.row if frames else np.arange(len(encoded))
    local = label in encoded.frame_labels
    target = encoded.frame_labels[label] if local else encoded.labels[label][row]
    groups = encoded.labels[group][row] if group else None
    folds, unseen = arrange(
        target, encoded.held_out[row], groups, most=most if frames else None, seed=seed
    )
    units = encoded.units(unit)[row] if groups is None else groups
    return Probing(
        target=target, unit=units, folds=folds, unseen=unseen, tuned=not frames,
        seed=seed, resamples=resamples,
    )  # fmt: skip


def arrange(
    target: Array,  # (R,)
    held_out: Array,  # (R,) bool
    group: Array | None = None,  # (R,)
    *,
    most: int | None = None,
    seed: int = 0,
) -> tuple[list[Fold], int]:
    """Share out the rows of one label.

    Without groups there is one fold, fitted on what is not held out. With groups there are up to
    5 over all rows, and no group is on both sides of any. Rows without the label or group, and
    rows whose class is not among those fitted, are in no fold. Of more than `most` rows that
    could be fitted a random choice is.

    Returns:
        The folds that can be fitted and scored, and how many rows have an unseen class.
    """
    known = ~missing(target) & (True if group is None else ~missing(group))
    rows = np.flatnonzero(known)
    if group is None:
        sides = [(np.flatnonzero(known & ~held_out), np.flatnonzero(known & held_out))]
    else:
        sides = group_folds(rows, group, 5)
    folds, unseen = [], 0
    for fit, held in sides:
        if most is not None and len(fit) > most:
            fit = np.sort(np.random.default_rng(seed).choice(fit, most, replace=False))
        if not np.issubdtype(target.dtype, np.floating):
            seen = np.isin(target[held], target[fit])
            unseen += int((~seen).sum())
            held = held[seen]
        if len(held) and len(np.unique(target[fit])) > 1:
            folds.append((fit, held))
    return folds, unseen


def chance(target: Array) -> float:
    """Return the accuracy of always answering the most frequent class of the scored rows."""
    return float(np.unique(target, return_counts=True)[1].max() / len(target))


def principal(values: Array, fit: Array, count: int, seed: int) -> Array:
    """Return the first principal components of some rows, of all rows, (R, count) or fewer."""
    with np.errstate(divide="ignore", invalid="ignore"):  # shares of a variance that is zero
        pca = PCA(min(count, len(fit)), random_state=seed).fit(values[fit])
    components: Array = pca.transform(values)
    return components


def group_folds(rows: Array, group: Array, count: int) -> list[Fold]:
    """Return up to `count` folds of rows with no group on both sides; none for a single group."""
    count = min(count, len(np.unique(group[rows])))
    if count < 2:
        return []
    return [
        (rows[fit], rows[held]) for fit, held in GroupKFold(count).split(rows, groups=group[rows])
    ]


def _inner_folds(target: Array, unit: Array, rows: Array) -> list[Fold]:
    folds = group_folds(rows, unit, 3)
    return [(fit, held) for fit, held in folds if len(np.unique(target[fit])) > 1]


def _stopped_early(probe: Any) -> bool:
    probe = getattr(probe, "best_estimator_", getattr(probe, "regressor_", probe))
    limit = getattr(probe, "max_iter", None)
    return limit is not None and 0 < limit <= int(np.max(probe.n_iter_))
