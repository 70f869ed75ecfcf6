"""What is left when all but the most influential factors are zeroed: the task."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from seqvae_core.components import TaskResult
from seqvae_core.functional import masked_sum
from seqvae_core.model import SeqVAE
from seqvae_core.pictures import available
from seqvae_core.records import Noise, Output, Splits
from seqvae_influence.orders import orders, trained
from seqvae_influence.posteriors import Posteriors
from seqvae_influence.readers import MLPReader, Reader, SequenceReader, judged
from seqvae_influence.selection_config import FactorSelection, Ranking, kept_counts
from seqvae_influence.selection_picture import curves, decoded
from seqvae_tasks.fitting import Probing, chance, share_out
from seqvae_tasks.representations import Array, Encoded, both, missing, seed_of
from seqvae_tasks.sequences import choose, read, units_of
from seqvae_tasks.statistics import Score, bootstrap, ratio

__all__ = ["factor_selection", "zeroed"]

Orders = dict[Ranking, list[Array]]
Curves = dict[str, dict[str, dict[int, Score]]]


def factor_selection(
    config: FactorSelection, model: SeqVAE, splits: Splits, noise: Noise
) -> TaskResult:
    """Keep the k best factors of a latent, zero the others, and reconstruct and classify.

    Factors are ranked on the train part, where readers are fitted too; the test part is scored.
    Other latents are left as they are. NAME is that of a global latent z, "pooled s" of a local
    one whose mean over time is read, or "s per frame" where a recurrent reader reads its frames:
    its factors are zeroed in all frames, and ranked by the posteriors of what is read.

    Returns:
        For each NAME, each ranking and each k, all with 95 % intervals over test sequences as
        ".../low" and ".../high": "zeroed/NAME/LABEL/RANKING/k" and "retrained/NAME/LABEL/
        RANKING/k", accuracy in [0, 1] or R², by a reader of all factors whose input is zeroed, as
        published, and by one that is fitted on those kept; "mse/NAME/RANKING/k", a number's squared
        error in the likelihood's unit. "random" is the mean over draws. "chance/NAME/LABEL". A
        table of each, curves, reconstructions and draws from the prior by the best k alone.

    References:
        Discovering influential factors in variational autoencoders (Liu et al., 2020)
        | https://arxiv.org/abs/1809.01804
    """
    noise = noise.of("factor-selection")
    result = TaskResult()
    names = list(model.priors) if config.latent is None else [config.latent]
    found = trained(model, splits, names, config.posteriors, noise, result)
    encoded = _parted(both(model, splits, raw=False), config.above) if found else None
    for name, frames in found.items():
        table = _read(config, name, frames, result)
        if table is not None and encoded is not None:
            one = _Selection(config, model, splits, encoded, name, table, noise.of(name))
            one.run(result)
    if result.tables:
        result.notes[:0] = _method(config)
        if not available():
            result.notes.append("no picture: matplotlib is missing; pip install 'seqvae[report]'")
    return result


def _read(
    config: FactorSelection, name: str, table: Posteriors, result: TaskResult
) -> Posteriors | None:
    """Return the posteriors of what a reader reads of a latent; None if it cannot."""
    if config.reader == "mlp":
        return table if table.unit is None else table.pooled(name)
    if table.unit is None:
        result.notes.append(f"not applicable to '{name}': a recurrent reader reads local latents")
        return None
    return table


def _parted(encoded: Encoded, above: float | None) -> Encoded:
    """Return the data with numbers among the labels made classes: above a threshold or not."""
    if above is None:
        return encoded
    labels = {
        name: np.where(missing(value), -1, value > above) if _is_number(value) else value
        for name, value in encoded.labels.items()
    }
    return evolve(encoded, labels=labels)


def _is_number(label: Array) -> bool:
    return bool(np.issubdtype(label.dtype, np.floating))


def zeroed(value: Tensor, kept: Array) -> Tensor:
    """Return a latent, (..., H), in which all factors but those of these numbers are zero."""
    left = torch.zeros(value.shape[-1], dtype=torch.bool, device=value.device)
    left[torch.from_numpy(np.ascontiguousarray(kept))] = True
    return torch.where(left, value, 0.0)


@frozen(eq=False)
class _Selection:
    """One latent's factors, and what is made of some of them."""

    config: FactorSelection
    model: SeqVAE
    splits: Splits
    encoded: Encoded
    latent: str
    table: Posteriors
    noise: Noise

    @property
    def counts(self) -> list[int]:
        return kept_counts(self.config.keep, self.table.mean.shape[1])[::-1]

    def run(self, result: TaskResult) -> None:
        """Add numbers, tables, pictures and notes."""
        config, name = self.config, self.table.name
        ranked = orders(self.table, config.by, config.draws, seed_of(self.noise, "orders"))
        if "kl" in config.by and "kl" not in ranked:
            result.notes.append(f"{name}: no ranking by KL, as N(0, 1) is not the prior")
        if not ranked:
            result.notes.append(f"{name}: not applicable, nothing ranks the factors")
            return
        drawn: Curves = {}
        for label in self._labels(result):
            drawn |= self._classified(label, ranked, result)
        if error := self._reconstructed(ranked, result):
            drawn["squared error"] = error
        for title, lines in drawn.items():
            result.tables[f"{name}: {title}"] = self._rows(lines)
        if drawn and available():
            result.figures[f"{name}: by the factors kept"] = curves(drawn)
        if config.pictures and available() and not self._undecoded():
            best = next(iter(ranked.values()))[0]
            self._draw(best, next(iter(ranked)), result)

    # Classes ---------------------------------------------------------------------------------

    def _labels(self, result: TaskResult) -> Iterator[str]:
        known = self.encoded.labels
        asked = self.config.labels
        chosen = sorted(known.keys() - set(self.config.exclude)) if asked is None else asked
        for label in chosen:
            if label in known:
                yield label
            elif label in self.encoded.frame_labels:
                result.notes.append(f"{label}: not applicable, a label of frames: whole sequences "
                                    "are told apart")  # fmt: skip
            else:
                result.notes.append(f"{label}: not applicable, the data have no such label")

    def _classified(self, label: str, ranked: Orders, result: TaskResult) -> Curves:
        name, config = self.table.name, self.config
        self.encoded.check(config.unit)
        probing = share_out(
            self.encoded, label, frames=False, most=len(self.encoded), unit=config.unit,
            seed=seed_of(self.noise, "readers"), resamples=config.resamples,
        )  # fmt: skip
        if config.reader == "recurrent" and probing.continuous:
            result.notes.append(f"{label}: not applicable, a recurrent reader tells classes")
            return {}
        result.notes.extend(f"{label}: {note}" for note in probing.notes())
        if not probing.applicable:
            return {}
        reader = self._reader(probing)
        ways: dict[str, tuple[Callable[[Array], Array], int]] = {
            "zeroed": (reader.zeroed, config.draws)
        }
        if config.retrain:
            ways["retrained"] = (reader.retrained, config.retrained_draws)
        measure = "R²" if probing.continuous else "accuracy"
        if not probing.continuous:
            level = chance(probing.target[probing.scored])
            result.metrics[f"chance/{name}/{label}"] = level
            result.notes.append(f"{name}, {label}: chance {level:.3f}, the most frequent class")
        return {
            f"{label}, {way}: {measure}": self._curve(
                ranked, draws, lambda answers: judged(answers, probing), said,
                f"{way}/{name}/{label}", result,
            )
            for way, (said, draws) in ways.items()
        }  # fmt: skip

    def _reader(self, probing: Probing) -> Reader:
        if self.config.reader == "mlp":
            return MLPReader(self.encoded.vectors[self.table.name], probing)
        frames = self.encoded.frames[self.table.name]
        noise = self.noise.of("recurrent")
        return SequenceReader(frames, self.encoded.row, probing, self.config.steps, noise)

    def _curve(
        self, ranked: Orders, draws: int, score: Callable[[list[Array]], Score],
        answer: Callable[[Array], Array], key: str, result: TaskResult,
    ) -> dict[str, dict[int, Score]]:  # fmt: skip
        """Return and record the score of each ranking at each k; equal choices are made once."""
        known: dict[tuple[int, ...], Array] = {}

        def cached(kept: Array) -> Array:
            chosen = tuple(np.sort(kept).tolist())
            if chosen not in known:
                known[chosen] = answer(kept)
            return known[chosen]

        lines: dict[str, dict[int, Score]] = {}
        for name, each in ranked.items():
            for count in self.counts:
                found = score([cached(order[:count]) for order in each[:draws]])
                lines.setdefault(name, {})[count] = found
                result.metrics.update(found.metrics(f"{key}/{name}/{count}"))
        return lines

    def _rows(self, lines: dict[str, dict[int, Score]]) -> list[dict[str, Any]]:
        return [
            {"kept": count, **{name: line[count].text(digits=3) for name, line in lines.items()}}
            for count in self.counts
        ]

    # Frames ----------------------------------------------------------------------------------

    def _undecoded(self) -> str:
        if self.model.decoder.autoregressive:
            return "the decoder is autoregressive, and reads the true earlier frames beside it"
        if len(self.model.shapes.latent(self.latent).shape) != 1:
            return "the latent is a map"
        return ""

    def _reconstructed(self, ranked: Orders, result: TaskResult) -> dict[str, dict[int, Score]]:
        name, config = self.table.name, self.config
        if not config.items:
            return {}
        if why := self._undecoded():
            result.notes.append(f"{name}: no reconstruction from some factors: {why}")
            return {}
        data = self.splits.test
        rows = choose(len(data), config.items, seed_of(self.noise, "items"))
        outs = [self.model.output(batch) for batch in read(data, rows)]
        labels = {
            label: np.concatenate([out.batch.labels[label].cpu().numpy() for out in outs])
            for label in self.encoded.labels
            if all(label in out.batch.labels for out in outs)
        }
        unit = units_of(labels, config.unit, len(rows))
        size = int(np.prod(self.model.shapes.frame))
        numbers = torch.cat([out.batch.lengths for out in outs]).cpu().numpy() * float(size)
        seed = seed_of(self.noise, "bootstrap")

        def errors(kept: Array) -> Array:
            return np.concatenate([self._errors(out, kept) for out in outs])

        def score(found: list[Array]) -> Score:
            sums = np.stack([np.mean(found, 0), numbers], 1)
            return bootstrap(sums, unit, ratio, seed=seed, resamples=config.resamples)

        return self._curve(ranked, config.draws, score, errors, f"mse/{name}", result)

    def _errors(self, out: Output, kept: Array) -> Array:
        found = masked_sum((out.batch.x - self._decode(out, kept)).square(), out.batch.mask)
        errors: Array = found.cpu().double().numpy()
        return errors

    def _decode(self, out: Output, kept: Array) -> Tensor:
        latents = {key: out.latents[key].sample for key in self.model.priors}
        latents[self.latent] = zeroed(latents[self.latent], kept)
        return self.model.decode(latents, mask=out.batch.mask)

    def _draw(self, order: Array, ranking: str, result: TaskResult) -> None:
        config, name = self.config, self.table.name
        counts = self.counts
        result.figures[f"{name}: reconstructions from the best factors by {ranking}"] = decoded(
            self.model, self.splits, self.latent, [order[:count] for count in counts],
            count=config.pictures,
        )  # fmt: skip
        result.figures[f"{name}: generated by the best factors by {ranking} alone"] = decoded(
            self.model, self.splits, self.latent, [order[:count] for count in counts],
            count=config.pictures, noise=self.noise.of("prior"),
        )  # fmt: skip


def _method(config: FactorSelection) -> list[str]:
    readers = {
        "mlp": "a network with one hidden layer of 256 on posterior means, as published",
        "recurrent": f"a small GRU on the posterior means of all frames, {config.steps} steps at "
        "most",
    }
    notes = [
        "factors are ranked by the posteriors of the train part, on which readers are fitted too; "
        "scored on the test part; in brackets 95 % bootstrap intervals over "
        + (f"units of equal '{config.unit}'" if config.unit else "sequences"),
        f"reader: {readers[config.reader]}; zeroed: of one reader of all factors all inputs but "
        "the k best are zero, as published, which it has never seen, so that it may lose more than "
        "they hold; retrained: a reader of the k best alone",
        f"random: the mean of {config.draws} orders, retrained of {config.retrained_draws}; "
        "variance: of the aggregated posterior, mean σ² + Var μ, which an unused factor has too; "
        "active-units: Var μ",
    ]
    return notes if config.retrain else [*notes[:2], notes[2].replace(
        f", retrained of {config.retrained_draws}", "")]  # fmt: skip
