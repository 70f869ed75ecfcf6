"""What one table of posteriors says of its factors: numbers, tables, a picture, notes."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import frozen

from seqvae_core.components import Estimate, TaskResult
from seqvae_core.pictures import available
from seqvae_core.records import Noise
from seqvae_influence.beside import Beside
from seqvae_influence.closed_form import SUMMED
from seqvae_influence.config import Influence
from seqvae_influence.decomposition import Decomposition, decompose
from seqvae_influence.influence_picture import stems
from seqvae_influence.posteriors import Posteriors
from seqvae_influence.ranking import largest_gap, rank_correlations
from seqvae_influence.sandwich import Sandwich, sandwich
from seqvae_tasks.rates import active
from seqvae_tasks.representations import Array

__all__ = ["Finding"]


@frozen(eq=False, kw_only=True)
class Finding:
    """What is read off one table of posteriors.

    Attributes:
        config: the settings.
        table: the posteriors.
        sandwich: the readings of each factor.
        together: what they make up.
        beside: what else is known of each factor.
    """

    config: Influence
    table: Posteriors
    sandwich: Sandwich
    together: Decomposition
    beside: Beside

    @classmethod
    def of(cls, config: Influence, found: Posteriors, beside: Beside, noise: Noise) -> "Finding":
        """Read a table of posteriors; pairs of them only if they are few enough."""
        paired = len(found.mean) <= config.pairs
        settings: dict[str, Any] = {
            "samples": config.samples, "margin": config.margin, "pairs": paired, "unit": found.unit,
        }  # fmt: skip
        apart = sandwich(
            found.mean, found.logvar, noise.of("pairs"), decoded=beside.decoded, **settings
        )
        settings["mixed"] = apart.mixture
        together = decompose(found.mean, found.logvar, noise.of("together"), **settings)
        return cls(config=config, table=found, sandwich=apart, together=together, beside=beside)

    @property
    def variance(self) -> Array:
        """The variance of each factor's posterior mean, (H,)."""
        return np.asarray(self.table.mean.numpy().var(0))

    @property
    def used(self) -> Array:
        """Which units are active, (H,) bool."""
        return active(self.table.mean.numpy(), self.config.active)

    def report(self, result: TaskResult) -> None:
        """Add numbers, tables, picture and notes."""
        name = self.table.name
        result.metrics.update(self.metrics())
        result.tables[f"{name}: factors"] = self.factors()
        result.tables[f"{name}: all factors together"] = self.sums()
        if ranks := rank_correlations(self.columns()):
            result.tables[f"{name}: rank correlations"] = ranks
        result.metrics.update({
            f"rank correlation/{name}/{row['and']}": row["Spearman"]
            for row in ranks if row["of"] == "I_M"
        })  # fmt: skip
        if available():
            result.figures[f"{name}: factors"] = stems(self.sandwich, name, self.config.threshold)
        result.notes.extend(f"{name}: {note}" for note in self.notes())

    def columns(self) -> dict[str, Array]:
        """Return by name what the factors can be ordered by, (H,) each."""
        found = self.sandwich
        readings = {"I_M": found.mixture, "free mean": found.free_mean}
        readings["zero mean"] = found.zero_mean
        if self.table.standard:
            readings["KL"] = found.kl
        if found.decoded is not None:
            readings["decoded"] = found.decoded
        columns = {name: np.asarray(reading.value.numpy()) for name, reading in readings.items()}
        columns["variance of the mean"] = self.variance
        table = self.table
        columns["√v"] = (table.logvar.exp() + table.mean.square()).mean(0).sqrt().numpy()
        if self.beside.norms is not None:
            columns["column norm"] = self.beside.norms
        return columns | {probed.label: probed.scores for probed in self.beside.probes}

    def metrics(self) -> dict[str, float]:
        """Return the numbers under their names."""
        found, together, name = self.sandwich, self.together, self.table.name
        value = np.asarray(found.mixture.value.numpy())
        count, gap = largest_gap(value)
        published = found.zero_mean.value > self.config.threshold
        metrics = {
            f"influential/{name}": float((value > self.config.threshold).sum()),
            f"influential as published/{name}": float(published.sum()),
            f"influential by gap/{name}": float(count),
            f"gap/{name}": gap,
            f"active units/{name}": float(self.used.sum()),
            f"saturated/{name}": float(found.mixture.saturated.sum()),
            f"ceiling/{name}": found.mixture.ceiling,
            f"mi plus tc/{name}": together.factors.value,
            f"joint mi bound/{name}": together.joint_bound.value,
            f"tc bound/{name}": together.total_correlation_bound.value,
        }
        if together.joint is not None and together.total_correlation is not None:
            metrics[f"joint mi/{name}"] = together.joint.value
            metrics[f"tc/{name}"] = together.total_correlation.value
        if self.table.standard:
            metrics[f"kl/{name}"] = together.rate.value
        for probed in self.beside.probes:
            metrics[f"best factor/{name}/{probed.label}"] = float(probed.scores.max())
            if probed.chance is not None:
                metrics[f"chance/{name}/{probed.label}"] = probed.chance
        factors = {"mi": value}
        if found.decoded is not None:
            factors["decoded"] = np.asarray(found.decoded.value.numpy())
        return metrics | {
            f"{key}/{name}/{h}": float(each)
            for key, values in factors.items() for h, each in enumerate(values)
        }  # fmt: skip

    def factors(self) -> list[dict[str, Any]]:
        """Return one row a factor, the largest I_M first."""
        columns, used = self.columns(), self.used
        chosen = {
            "threshold": columns["I_M"] > self.config.threshold,
            "closed form": columns["zero mean"] > self.config.threshold,
        }
        above, _ = largest_gap(columns["I_M"])
        rows, paired = [], self.sandwich.leave_one_out is not None
        for rank, row in enumerate(self.sandwich.table()):
            h = row["factor"]
            by = [way for way, those in chosen.items() if those[h]] + ["gap"] * (rank < above)
            rows.append({
                "factor": h,
                "I_M": _shown(row["mixture"]),
                "standard error": _shown(row["mixture: standard error"]),
                **({"leave-one-out": _shown(row["leave-one-out"])} if paired else {}),
                **self._beside(h, columns),
                "active": "yes" if used[h] else "no",
                "saturated": row["saturated"],
                "above the next": row["apart"],
                "selected by": ", ".join(by) or "none",
            })  # fmt: skip
        return rows

    def _beside(self, h: int, columns: Mapping[str, Array]) -> dict[str, float | None]:
        """Return one factor's columns but I_M under their titles, which say what is measured."""
        titles = {name: name for name in columns if name != "I_M"}
        if "decoded" in titles:
            titles["decoded"] = "decoded: I(z_h; x̃)"
        for probed in self.beside.probes:
            level = "R²" if probed.chance is None else f"accuracy, chance {probed.chance:.3f}"
            titles[probed.label] = f"{probed.label}: {level}"
        row = {}
        for name, title in titles.items():
            row[title] = _shown(columns[name][h])
            if name == "decoded" and self.sandwich.decoded is not None:
                row["decoded: standard error"] = _shown(float(self.sandwich.decoded.stderr[h]))
        return row

    def sums(self) -> list[dict[str, Any]]:
        """Return what the factors make up together, one row each."""
        found = self.together
        lines: dict[str, Estimate | None] = {
            "Σ I(x; z_h) = I(x; z) + TC": found.factors,
            "I(x; z)": found.joint,
            "TC": found.total_correlation,
            "I(x; z), by one Gaussian": found.joint_bound,
            "TC, by one Gaussian": found.total_correlation_bound,
        }
        if self.table.standard:
            lines |= {"KL(q(z|x)‖N(0, 1))": found.rate, "Σ KL(q(z_h)‖N(0, 1))": found.marginals}
        return [
            {
                "quantity": quantity,
                "nats": _shown(estimate.value),
                "standard error": _shown(estimate.stderr),
                "bound": estimate.bound,
            }
            for quantity, estimate in lines.items()
            if estimate is not None
        ]

    def notes(self) -> list[str]:
        """Return what a reader must know of this table."""
        count, width = self.table.mean.shape
        notes = [*self.sandwich.notes, *self._alike()]
        if self.table.unit is None and count > self.config.pairs:
            notes.append(
                f"{count} posteriors are more than pairs = {self.config.pairs}: no leave-one-out "
                "and no joint mixture"
            )
        elif self.table.unit is None and self.together.note:
            notes.append(self.together.note)
        if self.together.joint_bound.note == SUMMED:
            notes.append(f"by one Gaussian: {SUMMED}")
        elif width * width > 0.1 * count:
            notes.append(
                f"the bound of I(x; z) by one Gaussian is not to be relied on: it takes far more "
                f"than {width}² posteriors, and there are {count}"
            )
        if self.sandwich.decoded is not None:
            below = int((self.sandwich.decoded.value < 0.0).sum())
            also = f"; below 0 on {below} factors, of which it says nothing" if below else ""
            notes.append(f"decoded: {self.sandwich.decoded.note}{also}")
        if not self.table.standard:
            notes.append("no KL to N(0, 1), which is not the prior here; see the task 'rates'")
        return notes

    def _alike(self) -> list[str]:
        """Return what follows from frames of one sequence being alike."""
        if self.table.unit is None:
            return []
        alike = self.sandwich.mixture.alike(int(self.table.unit.max()) + 1)
        return [
            "no leave-one-out and no joint mixture: frames of a sequence may be alike, and then "
            "stand in for the one left out; errors are those of sequences",
            *([alike] if alike else []),
        ]


def _shown(value: float) -> float | None:
    return round(float(value), 4) + 0.0 if math.isfinite(value) else None  # never -0.0
