"""Whether the values of categorical latents are classes: assignments fitted, and scored on test."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen

from seqvae_basics.codes import Code, parse_codes
from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config_codes import UnsupervisedClassification
from seqvae_tasks.fitting import chance
from seqvae_tasks.representations import Array, Encoded, encode, missing, seed_of
from seqvae_tasks.statistics import Score, accuracy, bootstrap

__all__ = ["assign", "unsupervised_classification"]

WAYS = ("majority", "hungarian")
Source = tuple[str, Array, Array]  # a name, and the values of the fitted part and of test


def unsupervised_classification(
    config: UnsupervisedClassification, model: SeqVAE, splits: Splits, noise: Noise
) -> TaskResult:
    """Map the likeliest value of each categorical latent to a class, and score it on test.

    Values are those of largest posterior probability, in evaluation mode. "majority" maps each to
    the class that most of its rows of the fitted part have, so that several may be one class;
    "hungarian" maps values and classes one to one so that most rows are right, and what has no
    partner is wrong. A local latent is read frame by frame.

    Returns:
        Accuracies on the test part in [0, 1] with 95 % bootstrap intervals, of each label and
        categorical variable CODE: "LABEL/CODE/majority" and ".../hungarian"; "LABEL/CODE/
        transductive majority" and "... hungarian" are fitted on the very test part, as published
        figures mostly are. "LABEL/K-means of z/..." are the same of k-means on a Gaussian latent,
        "LABEL/chance" the share of the most frequent class. A table of values and classes.

    Raises:
        DataError: if the data have no global label `unit`.
    """
    seed = seed_of(noise, "unsupervised-classification")
    codes = [
        unit
        for code in parse_codes(list(model.priors), model.shapes, config.name)
        if code.groups
        for unit in code.units
    ]
    if not codes:
        return TaskResult(notes=["not applicable: the model has no categorical latent"])
    gaussian = [name for name in model.priors if not model.shapes.latent(name).categorical]
    fitting = splits.train if config.fit == "train" else splits.valid
    if not len(fitting):
        return TaskResult(notes=[f"not applicable: the {config.fit} part is empty"])
    parts = _Parts(encode(model, fitting, config.fit), encode(model, splits.test, "test"))
    parts.test.check(config.unit)
    result = TaskResult(notes=_notes(config))
    known = parts.test.labels.keys() | parts.test.frame_labels.keys()
    for label in config.labels or sorted(known - set(config.exclude)):
        for code in codes:
            if why := _unfit(parts, label, code):
                if config.labels or "no such" not in why:
                    result.notes.append(f"{label}: not applicable to '{code.name}', {why}")
            else:
                trial = _Trial(config, parts, label, code, gaussian, seed)
                trial.run(result, splits.classes.get(label, ()))
    if not result.tables:
        result.notes.append(
            "not applicable: the data have no class that a code could be compared to"
        )
    return result


@frozen(eq=False)
class _Parts:
    """The part that mappings are fitted on, and the test part."""

    fitted: Encoded
    test: Encoded


def _unfit(parts: _Parts, label: str, code: Code) -> str | None:
    """Say why a label cannot be compared with a code, if it cannot."""
    test, local = parts.test, code.variable.scope == "local"
    value = test.labels.get(label, test.frame_labels.get(label))
    if value is None or np.issubdtype(value.dtype, np.floating):
        return "the data have no such class"
    if label in test.frame_labels and not local:
        return "which has one value a sequence, and the label one a frame"
    if all(missing(value)):
        return "no test sequence has the label"
    return None


@frozen(eq=False)
class _Rows:
    """Rows of one part that have the label: the label, and which sequence each is of."""

    encoded: Encoded
    kept: Array
    target: Array
    local: bool

    @classmethod
    def of(cls, encoded: Encoded, label: str, local: bool) -> "_Rows":
        target = encoded.frame_labels.get(label)
        if target is None:
            target = encoded.labels[label][encoded.row] if local else encoded.labels[label]
        kept = ~missing(target)
        return cls(encoded, kept, target[kept], local)

    def read(self, latent: str) -> Array:
        """Return posterior means of a latent of the rows' scope."""
        encoded = self.encoded
        value = encoded.frames[f"{latent} per frame"] if self.local else encoded.vectors[latent]
        return value[self.kept]

    def unit(self, label: str | None) -> Array:
        units = self.encoded.units(label)
        return (units[self.encoded.row] if self.local else units)[self.kept]


@frozen(eq=False)
class _Trial:
    """One label, and one categorical variable with what stands beside it."""

    config: UnsupervisedClassification
    parts: _Parts
    label: str
    code: Code
    gaussian: Sequence[str]
    seed: int

    def run(self, result: TaskResult, names: Sequence[str]) -> None:
        """Add the trial's numbers and tables to the result."""
        local = self.code.variable.scope == "local"
        fitted, test = (
            _Rows.of(part, self.label, local) for part in (self.parts.fitted, self.parts.test)
        )
        if not len(fitted.target):
            result.notes.append(
                f"{self.label}: not applicable, no sequence of the {self.config.fit} part has it"
            )
            return
        per = "frame" if local else "sequence"
        title = f"{self.label} per {per}: accuracy in %"
        if title not in result.tables:
            level = Score(chance(test.target))
            frames = local and self.label in test.encoded.labels
            name = "chance per frame" if frames else "chance"
            result.metrics.update(level.metrics(f"{self.label}/{name}"))
            result.tables[title] = [
                {"values of": "most frequent class", "per": per, "values": None,
                 **dict.fromkeys(_columns(), level.text(100.0))}
            ]  # fmt: skip
        size = self.code.variable.size
        own: Source = (self.code.name, self._values(fitted), self._values(test))
        sources = [own]
        sources += self._control(fitted, test, size) if self.config.control else []
        for name, before, after in sources:
            if f"{self.label}/{name}/majority" in result.metrics:
                continue
            line: dict[str, Any] = {"values of": name, "per": per, "values": size}
            fits = {"": (before, fitted.target), "transductive ": (after, test.target)}
            for kind, (values, target) in fits.items():
                for way in WAYS:
                    mapping = assign(values, target, size, one_to_one=way == "hungarian")
                    score = self._score(test, mapping[after])
                    result.metrics.update(score.metrics(f"{self.label}/{name}/{kind}{way}"))
                    line[kind + way] = score.text(100.0)
            result.tables[title].append(line)
        table = _confusion(own[2], test.target, size, names)
        result.tables[f"{self.label}: test {per}s by value of {self.code.name}"] = table

    def _values(self, rows: _Rows) -> Array:
        likeliest: Array = rows.read(self.code.latent)[:, list(self.code.index)].argmax(1)
        return likeliest

    def _score(self, test: _Rows, predicted: Array) -> Score:
        sums, statistic = accuracy(test.target, predicted)
        return bootstrap(
            sums, test.unit(self.config.unit), statistic, seed=self.seed,
            resamples=self.config.resamples,
        )  # fmt: skip

    def _control(self, fitted: _Rows, test: _Rows, size: int) -> list[Source]:
        return [
            (f"{size}-means of {name}", *self._clusters(fitted.read(name), test.read(name), size))
            for name in fitted.encoded.of(self.code.variable.scope)
            if name in self.gaussian and len(fitted.target) >= size
        ]

    def _clusters(self, fitted: Array, test: Array, size: int) -> tuple[Array, Array]:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        rows = np.arange(len(fitted))
        if len(rows) > self.config.frames and self.code.variable.scope == "local":
            rows = np.random.default_rng(self.seed).choice(rows, self.config.frames, replace=False)
        clusters = KMeans(size, n_init=10, random_state=self.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # where few points differ
            clusters.fit(fitted[rows])
        return clusters.predict(fitted), clusters.predict(test)


def assign(
    values: Array,  # (R,)
    target: Array,  # (R,)
    size: int,
    *,
    one_to_one: bool,
) -> Array:  # (size,)
    """Return the class of each of `size` values: by majority, or one to one; -1 without any.

    A value that no row has is, by majority, the most frequent class of all.
    """
    classes, column = np.unique(target, return_inverse=True)
    counts = np.zeros((size, len(classes)), dtype=np.int64)
    np.add.at(counts, (values, column.reshape(-1)), 1)
    mapping: Array
    if one_to_one:
        from scipy.optimize import linear_sum_assignment

        mapping = np.full(size, -1, dtype=classes.dtype)
        rows, columns = linear_sum_assignment(counts, maximize=True)
        mapping[rows] = classes[columns]
        return mapping
    mapping = classes[counts.argmax(1)]
    mapping[counts.sum(1) == 0] = classes[counts.sum(0).argmax()]
    return mapping


def _columns() -> list[str]:
    return [*WAYS, *(f"transductive {way}" for way in WAYS)]


def _confusion(
    values: Array, target: Array, size: int, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row for each value, and a column for each class that the test part has."""
    classes = np.unique(target)
    titles = [names[c] if c < len(names) else str(c) for c in classes]
    return [
        {"value": value}
        | {
            title: int(((values == value) & (target == each)).sum())
            for title, each in zip(titles, classes, strict=True)
        }
        for value in range(size)
    ]


def _notes(config: UnsupervisedClassification) -> list[str]:
    return [
        f"values are mapped to classes on the {config.fit} part and scored on the test part, in "
        "evaluation mode; transductive: mapped on the very test part, as published figures mostly "
        "are. The labels of the part that a mapping is fitted on are all that it sees",
        "majority: each value is the class that most of its rows have; hungarian: values and "
        "classes one to one, those without a partner are wrong. Chance is the most frequent class "
        "of the test part; k-means has as many clusters as the code has values",
        "in brackets: 95 % bootstrap interval over test sequences, the same draws in each row",
    ]
