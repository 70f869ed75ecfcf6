"""Swapped sequences before a judge that knows real ones: whose identity, whose content."""

from collections import defaultdict
from typing import Any

import numpy as np
from attrs import frozen
from torch import Tensor, cat, from_numpy

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Batch, Noise, Splits
from seqvae_tasks.config_generation import SwapJudge
from seqvae_tasks.fitting import chance
from seqvae_tasks.judges import Question
from seqvae_tasks.representations import Array, missing, seed_of
from seqvae_tasks.sequences import choose, global_labels, read, supported, units_of
from seqvae_tasks.statistics import Score, bootstrap, ratio

__all__ = ["partners", "swap_judge"]

_KINDS = {
    "real": "real test sequences a",
    "reconstructed": "a reconstructed",
    "swapped": "a with the globals of b",
}


def swap_judge(config: SwapJudge, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Judge test sequences a: as they are, reconstructed, and decoded with the globals of b.

    Each b is a test sequence of another identity, drawn at random; all global latents are its.
    Latents are posterior means. The judge, a classifier for each label, learns from the real
    train part alone.

    Returns:
        Shares in [0, 1], for each kind "real", "reconstructed" and "swapped", with 95 % bootstrap
        intervals over a as ".../low" and ".../high": "<kind>/identity of a", judged to have a's
        identity; "<kind>/identity of b", b's; with a content label "<kind>/content of a", of
        sequences, or frames, judged to have a's content. "chance/identity" and "chance/content"
        are the shares of the most frequent class.

    Raises:
        DataError: if the data have no global label `unit`.
    """
    result = TaskResult(notes=_method(config))
    names = [name for name in model.priors if model.shapes.latent(name).scope == "global"]
    if not names:
        result.notes.append("not applicable: the model has no global latent")
        return result
    if len(names) == len(model.priors):
        result.notes.append("the model has no local latent: of a nothing but its length is kept")
    noise = noise.of("swap-judge")
    train, test = (
        _Part.of(data, choose(len(data), config.sequences, seed_of(noise, "rows")))
        for data in (splits.train, splits.test)
    )
    asked = {}
    for role, label in (("identity", config.identity), ("content", config.content)):
        if label is not None:
            asked[role] = _Asked.of(label, train, test)
            if asked[role].impossible or (role == "identity" and asked[role].local):
                scope = "global class" if role == "identity" else "class"
                result.notes.append(
                    f"not applicable: it takes two values of a {scope} '{label}' in the train part "
                    "and two of these in the test part"
                )
                return result
    trial = _Trial(config, model, train, test, noise, seed_of(noise, "bootstrap"))
    trial.run(asked, names, result)
    return result


def partners(
    identity: Array,  # (N,), negative where missing
    seed: int,
) -> Array:  # (N,)
    """Return for each sequence one of another identity, drawn at random; -1 if there is none."""
    known = ~missing(identity)
    rng = np.random.default_rng(seed)
    found = np.full(len(identity), -1)
    for row in np.flatnonzero(known):
        others = np.flatnonzero(known & (identity != identity[row]))
        found[row] = rng.choice(others) if len(others) else -1
    return found


@frozen(eq=False)
class _Part:
    batches: list[Batch]
    labels: dict[str, Array]

    @classmethod
    def of(cls, data: Any, rows: Array) -> "_Part":
        batches = list(read(data, rows))
        return cls(batches, global_labels(batches))

    @property
    def lengths(self) -> Array:
        return np.concatenate([batch.lengths.numpy() for batch in self.batches])

    def target(self, label: str) -> Array:
        """Return a class of each sequence, or of each frame; nothing if there is no such class."""
        if label in self.labels:
            found = self.labels[label]
        elif all(label in batch.labels for batch in self.batches):
            found = np.concatenate([b.labels[label][b.mask].numpy() for b in self.batches])
        else:
            found = np.arange(0)
        return found[:0] if np.issubdtype(found.dtype, np.floating) else found


@frozen(eq=False)
class _Asked:
    """A label: of the train part, and of the test part, -1 where the judge cannot know it."""

    learnt: Array
    target: Array
    owner: Array  # the test sequence of each target
    local: bool

    @classmethod
    def of(cls, label: str, train: _Part, test: _Part) -> "_Asked":
        learnt, target = train.target(label), test.target(label)
        known = np.isin(target, learnt) & ~missing(target)
        local = label not in test.labels
        lengths = test.lengths
        owner = np.repeat(np.arange(len(lengths)), lengths if local else 1)
        return cls(learnt, np.where(known, target, -1), owner[: len(target)], local)

    @property
    def impossible(self) -> bool:
        """Whether there are not two values to tell apart."""
        return any(len(np.unique(v[v >= 0])) < 2 for v in (self.learnt, self.target))


@frozen(eq=False)
class _Trial:
    config: SwapJudge
    model: SeqVAE
    train: _Part
    test: _Part
    noise: Noise
    seed: int  # of the bootstrap

    def run(self, asked: dict[str, _Asked], names: list[str], result: TaskResult) -> None:
        """Decode, judge, and add numbers, a table and notes to the result."""
        partner = partners(asked["identity"].target, seed_of(self.noise, "partners"))
        frames, row = self._frames(names, partner)
        table: dict[str, dict[str, Any]] = {
            kind: {"judged": text} for kind, text in [*_KINDS.items(), ("chance", "chance")]
        }
        for role, label in asked.items():
            target = np.where(partner[label.owner] < 0, -1, label.target)
            truth = {f"{role} of a": target}
            if role == "identity":
                truth["identity of b"] = np.where(target < 0, -1, target[partner])
            answers, note = self._answers(label, frames, row, self.noise.of(role))
            result.notes.extend(f"{role}: {text}" for text in [note] if text)
            for kind, answer in answers.items():
                for column, true in truth.items():
                    score = self._share(answer == true, target >= 0, label.owner)
                    result.metrics.update(score.metrics(f"{kind}/{column}"))
                    table[kind][f"{column}, %"] = score.text(100.0)
            level = Score(chance(target[target >= 0]))
            result.metrics[f"chance/{role}"] = level.value
            table["chance"] |= {f"{column}, %": level.text(100.0) for column in truth}
        result.tables["what the judge says"] = list(table.values())

    def _share(self, hit: Array, asked: Array, owner: Array) -> Score:
        unit = units_of(self.test.labels, self.config.unit, len(self.test.lengths))[owner]
        sums = np.stack([hit, np.ones(len(hit))], 1)[asked]
        return bootstrap(sums, unit[asked], ratio, seed=self.seed, resamples=self.config.resamples)

    def _answers(
        self, label: _Asked, frames: Array, row: Array, noise: Noise
    ) -> tuple[dict[str, Array], str]:
        """Return the judge's classes by kind, and what must be said of its training."""
        config, train = self.config, len(self.train.lengths)
        unknown = np.full(len(label.target) * len(_KINDS), -1)
        question = Question(
            frames=frames, row=row, target=np.concatenate([label.learnt, unknown]),
            local=label.local, train=train, unit=units_of(self.train.labels, config.unit, train),
        )  # fmt: skip
        if config.judge == "gru":
            found, ended = question.by_gru(hidden=config.hidden, steps=config.steps, noise=noise)
        else:
            found, ended = question.by_regression(noise)
        note = "" if ended else "the judge's training was stopped before it came to its end"
        answers = np.split(found[len(label.learnt) :], len(_KINDS))
        return dict(zip(_KINDS, answers, strict=True)), note

    def _frames(self, names: list[str], partner: Array) -> tuple[Array, Array]:
        """Return frames of the train part, then of the test part kind by kind; and their rows."""
        model, noise = self.model, self.noise
        found: dict[str, list[Array]] = defaultdict(list)
        for batch in self.train.batches:
            found["train"].append(_real(model, batch, noise.of("support")))
        latents = [model.encode(batch) for batch in self.test.batches]
        others = from_numpy(partner)
        theirs = {name: cat([each[name] for each in latents])[others] for name in names}
        start = 0
        for batch, own in zip(self.test.batches, latents, strict=True):
            rows = slice(start, start + len(batch))
            swapped = own | {name: value[rows] for name, value in theirs.items()}
            found["real"].append(_real(model, batch, noise.of("support")))
            found["reconstructed"].append(self._decode(own, batch.mask, noise.of("own")))
            found["swapped"].append(self._decode(swapped, batch.mask, noise.of("swap")))
            start += len(batch)
        frames = np.concatenate([part for kind in ("train", *_KINDS) for part in found[kind]])
        lengths = np.concatenate([self.train.lengths, *[self.test.lengths] * len(_KINDS)])
        return frames, np.repeat(np.arange(len(lengths)), lengths)

    def _decode(self, latents: dict[str, Tensor], mask: Tensor, noise: Noise) -> Array:
        draw = self.config.draw == "sample"
        x = self.model.decode(latents, mask=mask, noise=noise, sample=draw)
        return _flat(x.cpu(), mask)


def _real(model: SeqVAE, batch: Batch, noise: Noise) -> Array:
    return _flat(supported(model, batch, noise).x.cpu(), batch.mask)


def _flat(x: Tensor, mask: Tensor) -> Array:
    frames: Array = x[mask].flatten(1).double().numpy()
    return frames


def _method(config: SwapJudge) -> list[str]:
    judge = {
        "gru": f"a bidirectional GRU of width {config.hidden} over frames, stopped early on a "
        "fifth of the train part",
        "linear": "logistic regression (C = 1) on mean and standard deviation of frames; for a "
        "local label on single frames",
    }[config.judge]
    decoded = "drawn from" if config.draw == "sample" else "the mean of"
    of = f"a of equal '{config.unit}'" if config.unit else "sequences a"
    return [
        f"judge: {judge}; one for each label, trained on real train sequences",
        f"a and b are test sequences of different '{config.identity}'; decoded x is {decoded} "
        "p(x|latents) at posterior means, or a draw of an autoregressive decoder",
        f"in brackets: 95 % bootstrap interval over {of}, the same draws in each row; what the "
        "judge cannot know, of classes without train sequences, is left out",
    ]
