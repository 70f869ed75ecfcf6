"""How well labels can be read off latents by small probes, beside what needs no training."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import frozen

from seqvae_basics.codes import parse_code
from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Splits
from seqvae_tasks.adversary import add_reference
from seqvae_tasks.config import Probe
from seqvae_tasks.fitting import Probing, chance, share_out
from seqvae_tasks.representations import Array, Encoded, coarse_grid, represent, seed_of
from seqvae_tasks.statistics import Score

__all__ = ["Source", "frame_sources", "probe", "sequence_sources"]


@frozen(eq=False)
class Source:
    """What a label is read off: a name, values by row, and how many principal components."""

    name: str
    values: Array  # (R, D)
    components: int | None = None


def probe(config: Probe, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Probe every label on every representation.

    A global label is read off each sequence (global latents, local latents averaged over time)
    and off each frame (local latents); a local label off each frame, where what belongs to the
    sequence is repeated. Beside them stand the frames themselves, their mean and standard
    deviation, as many principal components as the latents have dimensions, an untrained copy of
    the encoder, global latents of sequences whose frames were shuffled, and chance.

    Returns:
        Metrics "<label>/<representation>/linear" and ".../mlp" (or what other classifiers are
        asked for), in [0, 1] for accuracies and at most 1 for R², with 95 % intervals as
        ".../low" and ".../high", and "<label>/chance"; one table a label.

    Raises:
        DataError: if the data have no global label `group` or `average`.
    """
    encoded = represent(model, splits, noise, shuffles=True)
    for text in config.codes:
        encoded = encoded.beside(parse_code(text, model.shapes, config.name))
    for name in (config.group, config.average):
        encoded.check(name)
    seed = seed_of(noise, "probe")
    grid = coarse_grid(model.shapes.frame)
    result = TaskResult(notes=_method(config, grid))
    if config.reference:
        result.notes.extend(add_reference(encoded, config.identity, noise.of("reference")))
    known = encoded.labels.keys() | encoded.frame_labels.keys()
    averaged = encoded.averaged(config.average) if config.average else encoded
    for label in config.labels or sorted(known - set(config.exclude)):
        if label in encoded.labels:
            _Trial(config, averaged, label, seed).run(result)
            _Trial(config, averaged, label, seed, frames=True).run(result)
        elif label in encoded.frame_labels:
            _Trial(config, encoded, label, seed, frames=True).run(result)
        else:
            result.notes.append(f"{label}: not applicable, the data have no such label")
    return result


def sequence_sources(encoded: Encoded) -> Iterator[Source]:
    """Yield every representation of sequences, the principal components among them."""
    for name, value in encoded.vectors.items():
        yield Source(name, value)
    yield from _components("mean of frames", encoded.vectors, encoded.dims("global"))


def frame_sources(encoded: Encoded) -> Iterator[Source]:
    """Yield every representation of single frames, the principal components among them."""
    for name, value in encoded.frames.items():
        yield Source(name, value)
    yield from _components("frames", encoded.frames, encoded.dims("local"))


def _components(name: str, table: dict[str, Array], dims: set[int]) -> Iterator[Source]:
    for dim in sorted({min(dim, table[name].shape[1]) for dim in dims}):
        yield Source(f"{name}, pca {dim}", table[name], dim)


@frozen(eq=False)
class _Trial:
    """One label on sequences or on frames."""

    config: Probe
    encoded: Encoded
    label: str
    seed: int
    frames: bool = False

    @property
    def local(self) -> bool:
        return self.label in self.encoded.frame_labels

    @property
    def row(self) -> Array:
        return self.encoded.row if self.frames else np.arange(len(self.encoded))

    def sources(self) -> Iterator[Source]:
        if not self.frames or self.local:
            for source in sequence_sources(self.encoded):
                average = f" by {self.config.average}" if self._averages else ""
                values = source.values[self.row]
                yield Source(source.name + average, values, source.components)
        if self.frames:
            yield from frame_sources(self.encoded)

    @property
    def _averages(self) -> bool:
        return self.config.average is not None and not self.local

    def probing(self) -> Probing:
        """Share out the rows; the fits on frames see a random choice of them."""
        config = self.config
        return share_out(
            self.encoded, self.label, frames=self.frames, most=config.frames, seed=self.seed,
            resamples=config.resamples, group=config.group, unit=config.average,
        )  # fmt: skip

    def run(self, result: TaskResult) -> None:
        """Add the trial's numbers, rows and notes to the result."""
        per = "frame" if self.frames else "sequence"
        probing = self.probing()
        result.notes.extend(f"{self.label} per {per}: {note}" for note in probing.notes())
        if not probing.applicable:
            return
        measure = "R²" if probing.continuous else "accuracy in %"
        table = result.tables.setdefault(f"{self.label}: {measure}", [])
        scale, digits = (1.0, 3) if probing.continuous else (100.0, 1)
        early = fits = 0
        for source in self.sources():
            dims = source.components or source.values.shape[1]
            line: dict[str, Any] = {"representation": source.name, "per": per, "dimensions": dims}
            for reader in self.config.classifier:
                score, stopped = probing.score(source.values, reader, source.components)
                result.metrics.update(score.metrics(f"{self.label}/{source.name}/{reader}"))
                line[reader] = score.text(scale, digits)
                early, fits = early + stopped, fits + len(probing.folds)
            table.append(line)
        if early:
            note = f"{early} of {fits} fits were stopped before they converged"
            result.notes.append(f"{self.label} per {per}: {note}")
        if not probing.continuous:
            level = Score(chance(probing.target[probing.scored]))
            name = "chance per frame" if self.frames and not self.local else "chance"
            result.metrics.update(level.metrics(f"{self.label}/{name}"))
            text = level.text(scale, digits)
            table.append(
                {"representation": "chance", "per": per, "dimensions": None}
                | dict.fromkeys(self.config.classifier, text)
            )


def _method(config: Probe, grid: tuple[int, int] | None) -> list[str]:
    who = f"groups of equal '{config.group}'" if config.group else "held-out sequences"
    if config.average and not config.group:
        who = f"held-out sequences of equal '{config.average}'"
    readers = {
        "linear": "logistic regression on standardised inputs, its strength C chosen from 0.01 to "
        "100 by 3-fold cross-validation inside the fitted rows, 1 for single frames; ridge "
        "regression for continuous labels",
        "svm": "support vectors with an RBF kernel on standardised inputs, C and γ chosen by "
        "3-fold cross-validation on at most 1000 of the fitted rows; kernel ridge regression for "
        "continuous labels",
        "mlp": "one hidden layer of 64",
    }
    chosen = [f"{name}: {readers[name]}" for name in config.classifier]
    notes = [
        ". ".join([*chosen, "All have fixed seeds"]),
        f"fits on single frames see at most {config.frames} frames; all held-out frames are scored",
        f"in brackets: 95 % bootstrap interval over {who}, the same draws in each row; chance is "
        "the most frequent class of what is scored",
    ]
    if grid is not None:
        notes.append(f"frames are read at {grid[0]} × {grid[1]} pixels, averaged over blocks")
    if config.group:
        notes.append(
            f"train and test part joined, up to 5-fold cross-validation with no '{config.group}' "
            "on both sides; the model itself was trained on the train part, without labels"
        )
    return notes
