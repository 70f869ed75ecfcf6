"""What a latent tells and should not: the identity from local ones, content from global ones."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import frozen

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_tasks.adversary import add_reference, without
from seqvae_tasks.config import Classifier
from seqvae_tasks.config_leakage import Leakage
from seqvae_tasks.fitting import Probing, chance, principal, share_out
from seqvae_tasks.ragged import Ragged
from seqvae_tasks.recurrent import classify
from seqvae_tasks.representations import Array, Encoded, represent, seed_of, time_mean
from seqvae_tasks.statistics import Score

__all__ = ["leakage"]


def leakage(config: Leakage, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Read the identity off local latents, and local content off global ones.

    The identity is read off the mean over time and off single frames by a linear probe, and off
    the whole sequence by a small GRU, which also finds what lies in the order of frames. Content
    is read by a linear probe and an MLP off what belongs to the sequence, repeated for each of
    its frames, and for comparison off single frames. Beside each latent stand the raw frames, as
    many of their principal components as it has dimensions, and an untrained copy of the encoder.
    All probes are fitted on the train part.

    Returns:
        "<label>/<representation>/<probe>", accuracies in [0, 1] (R² of content that is a number,
        at most 1), with 95 % intervals as ".../low" and ".../high", "<label>/chance" and
        "<label>/chance per frame"; one table a label. What a GRU reads is called "s", "frames".

    Raises:
        DataError: if the data have no global label `utterance`.
    """
    noise = noise.of("leakage")
    encoded = represent(model, splits, noise, shuffles=True)
    encoded.check(config.utterance)
    result = TaskResult(notes=_method(config))
    if config.reference:
        result.notes.extend(add_reference(encoded, config.identity, noise.of("reference")))
    seed = seed_of(noise, "probes")
    _add_components(encoded, seed)
    _identity(config, encoded, seed, noise.of("recurrent"), result)
    _content(config, encoded, seed, result)
    return result


def _identity(
    config: Leakage, encoded: Encoded, seed: int, noise: Noise, result: TaskResult
) -> None:
    """Ask every local latent who it is."""
    label = config.identity
    value = encoded.labels.get(label)
    if value is None or np.issubdtype(value.dtype, np.floating):
        result.notes.append(f"not applicable: the data have no global class '{label}'")
        return
    whole = _Question.of(config, encoded, label, seed, result)
    single = _Question.of(config, encoded, label, seed, result, frames=True)
    if not whole.probing.applicable or not single.probing.applicable:
        return
    for name, pooled, per_frame in _local(encoded, label):
        frames = encoded.frames[per_frame]
        whole.read(encoded.vectors[pooled], "linear", pooled, (name, "mean over time"))
        single.read(frames, "linear", per_frame, (name, "single frames"))
        whole.listen(frames, encoded.row, config.steps, name, noise.of(name))
    for question in (whole, single):
        question.result.metrics[f"{label}/{question.chance}"] = question.level


def _content(config: Leakage, encoded: Encoded, seed: int, result: TaskResult) -> None:
    """Ask every global latent what is said."""
    asked = [config.content] if config.content else sorted(encoded.frame_labels)
    if not asked or asked[0] not in encoded.frame_labels:
        which = f" '{asked[0]}'" if asked else ""
        result.notes.append(f"not applicable: the data have no local label{which}")
        return
    readers: tuple[Classifier, ...] = ("linear", "mlp")
    for label in asked:
        question = _Question.of(config, encoded, label, seed, result, frames=True)
        if not question.probing.applicable:
            continue
        for reader in readers:
            for name in _global(encoded):
                values = encoded.vectors[name][encoded.row]
                question.read(values, reader, name, (name, "whole sequence"))
            for name, _, per_frame in _local(encoded, config.identity):
                values = encoded.frames[per_frame]
                question.read(values, reader, per_frame, (name, "single frames"))
        if not question.probing.continuous:
            result.metrics[f"{label}/chance"] = question.level


def _local(encoded: Encoded, identity: str) -> Iterator[tuple[str, str, str]]:
    """Yield what is local, and the names of its mean over time and of its single frames."""
    for name in encoded.of("local"):
        yield name, f"pooled {name}", f"{name} per frame"
        reference = without(name, identity)
        if f"{reference} per frame" in encoded.frames:
            yield reference, f"pooled {reference}", f"{reference} per frame"
        yield f"untrained {name}", f"untrained pooled {name}", f"untrained {name} per frame"
    for name in encoded.frames:
        if name.startswith("frames, pca"):
            yield name, f"pooled {name}", name
    yield "frames", "mean of frames", "frames"


def _global(encoded: Encoded) -> Iterator[str]:
    for name in encoded.of("global"):
        yield from (name, f"{name} of shuffled frames", f"untrained {name}")
    yield from (name for name in encoded.vectors if name.startswith("mean of frames"))


def _add_components(encoded: Encoded, seed: int) -> None:
    """Add principal components of the train part, of frames and of their means."""
    frames, vectors = encoded.frames, encoded.vectors
    most = frames["frames"].shape[1]
    fit = np.flatnonzero(~encoded.held_out)
    for dim in sorted({min(dim, most) for dim in encoded.dims("global")}):
        name = f"mean of frames, pca {dim}"
        vectors[name] = principal(vectors["mean of frames"], fit, dim, seed)
    fit = np.flatnonzero(~encoded.held_out[encoded.row])
    for dim in sorted({min(dim, most) for dim in encoded.dims("local")}):
        name = f"frames, pca {dim}"
        frames[name] = principal(frames["frames"], fit, dim, seed)
        vectors[f"pooled {name}"] = time_mean(frames[name], encoded.row)


@frozen(eq=False)
class _Question:
    """One label, asked of sequences or of frames; the answers are added to `result`."""

    label: str
    chance: str
    probing: Probing
    seed: int
    result: TaskResult

    @classmethod
    def of(
        cls, config: Leakage, encoded: Encoded, label: str, seed: int, result: TaskResult,
        *, frames: bool = False,
    ) -> "_Question":  # fmt: skip
        probing = share_out(
            encoded, label, frames=frames, most=config.frames, seed=seed,
            resamples=config.resamples, unit=config.utterance,
        )  # fmt: skip
        per = "frame" if frames else "sequence"
        result.notes.extend(f"{label} per {per}: {note}" for note in probing.notes())
        local = label in encoded.frame_labels
        name = "chance per frame" if frames and not local else "chance"
        return cls(label, name, probing, seed, result)

    @property
    def level(self) -> float:
        """The accuracy of always giving the most frequent answer."""
        return chance(self.probing.target[self.probing.scored])

    def read(self, values: Array, reader: Classifier, name: str, line: tuple[str, str]) -> None:
        """Let a linear probe or an MLP answer from single rows."""
        score, early = self.probing.score(values, reader)
        self._add(score, reader, name, line)
        if early:
            self._note(f"the {reader} probe of {name} was stopped before it converged")

    def listen(self, frames: Array, row: Array, steps: int, name: str, noise: Noise) -> None:
        """Let a recurrent probe answer from whole sequences."""
        probing = self.probing
        predicted = np.zeros_like(probing.target)
        for fit, held in probing.folds:
            sequences = Ragged.of(frames, row, fit)
            predicted[held], ended = classify(
                sequences, probing.target, fit, held, probing.unit, steps=steps, noise=noise
            )
            if not ended:
                self._note(f"the recurrent probe of {name} was still learning after {steps} steps")
        self._add(probing.judge(predicted), "gru", name, (name, "whole sequence"))

    def _add(self, score: Score, reader: str, name: str, line: tuple[str, str]) -> None:
        number = self.probing.continuous
        scale, digits = (1.0, 3) if number else (100.0, 1)
        row: dict[str, Any] = {"variable": line[0], "reads": line[1], "probe": reader}
        row["R²" if number else "accuracy in %"] = score.text(scale, digits)
        if not number:
            row["chance"] = Score(self.level).text(scale, digits)
        self.result.metrics.update(score.metrics(f"{self.label}/{name}/{reader}"))
        self.result.tables.setdefault(self.label, []).append(row)

    def _note(self, text: str) -> None:
        self.result.notes.append(f"{self.label}: {text}")


def _method(config: Leakage) -> list[str]:
    who = f"held-out sequences of equal '{config.utterance}'" if config.utterance else (
        "held-out sequences"
    )  # fmt: skip
    return [
        "linear: logistic regression on standardised inputs (ridge regression for numbers); mlp: "
        "one hidden layer of 64; gru: a GRU of 32 units whose states are averaged over time, "
        "stopped early on a fifth of the fitted sequences. All are fitted on the train part",
        f"fits on single frames see at most {config.frames} frames; all held-out frames are scored",
        f"in brackets: 95 % bootstrap interval over {who}, the same draws in each row; it does not "
        "know how a probe would vary with its training. Chance is the most frequent class of what "
        "is scored",
    ]
