"""What each dimension of a latent changes in the decoded frames: the Jacobian's columns."""

from typing import Any

import numpy as np
from attrs import frozen

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.pictures import available
from seqvae_core.records import Noise, Output, Splits
from seqvae_jacobian.columns_config import JacobianColumns
from seqvae_jacobian.columns_picture import draw_columns
from seqvae_tasks.derivatives import mean_columns, undifferentiable
from seqvae_tasks.pictures import evenly
from seqvae_tasks.representations import Array, seed_of
from seqvae_tasks.statistics import Score, bootstrap

__all__ = ["Measures", "jacobian_columns", "measure"]


def jacobian_columns(
    config: JacobianColumns, model: SeqVAE, splits: Splits, noise: Noise
) -> TaskResult:
    """Differentiate the mean of p(x|latents) by each dimension of a latent, at posterior means.

    Column j of an item is ∂E[x]/∂z_j over all of its real frames; of a local latent, frame by
    frame, ∂E[x_t]/∂s_tj. The numbers are means over items, and over columns weighted by their
    norm, with a 95 % bootstrap interval over items.

    Returns:
        "l1/<latent>", Σ|J| of a sequence: the value of the penalty `jacobian-l1` at posterior
        means. "hoyer/<latent>", Hoyer's measure, from 0, all numbers of a column of equal size,
        to 1, a single one not 0. "l1 per l2/<latent>", ‖·‖₁/‖·‖₂ of a column. "overlap/<latent>",
        the cosine of the absolute values of two columns, from 0, disjoint supports, to 1. A table
        of each latent's dimensions, and a picture, both with the largest norm first.

    References:
        Non-negative matrix factorization with sparseness constraints (Hoyer, 2004)
        | https://www.jmlr.org/papers/v5/hoyer04a.html
        Local disentanglement in variational auto-encoders using Jacobian L1 regularization
        (Rhodes, Lee, 2021) | https://arxiv.org/abs/2106.02923
    """
    result = TaskResult()
    out = model.output(evenly(splits.test, config.items))
    seed = seed_of(noise, "bootstrap")
    for name in _asked(config, model, result):
        measures, drawn = _measured(config, model, out, name)
        title = f"{name}: columns of the Jacobian"
        result.metrics.update(measures.metrics(name, seed, config.resamples))
        result.tables[title] = measures.table()
        if drawn and available():
            strongest = measures.order()[: config.columns]
            chosen = [(mean, columns[strongest]) for mean, columns in drawn]
            result.figures[title] = draw_columns(chosen, [f"{name}[{dim}]" for dim in strongest])
    if result.tables:
        result.notes.append(_note(len(out.batch)))
    if config.pictures and not available():
        result.notes.append("no picture: matplotlib is missing; pip install 'seqvae[report]'")
    return result


def _asked(config: JacobianColumns, model: SeqVAE, result: TaskResult) -> list[str]:
    """Return the latents to differentiate by; note why the others cannot be."""
    asked = list(model.priors) if config.latent is None else [config.latent]
    if model.decoder.autoregressive:
        result.notes.append(f"not applicable: {undifferentiable(model, asked[0])}")
        return []
    kept = []
    for name in asked:
        if model.shapes.latents[name].categorical is not None:
            result.notes.append(f"not applicable to '{name}': it is categorical, without columns")
        elif why := undifferentiable(model, name):
            result.notes.append(f"not applicable to '{name}': {why}")
        else:
            kept.append(name)
    return kept


def _measured(
    config: JacobianColumns, model: SeqVAE, out: Output, name: str
) -> tuple["Measures", list[tuple[Array, Array]]]:
    """Return the measures of all items, and of those to be drawn mean and columns.

    Items are taken one by one, without their padding: all their columns at once would be many.
    """
    local = out.latents[name].scope == "local"
    sums, drawn = [], []
    for row, length in enumerate(out.batch.lengths.tolist()):
        latents = {key: out.latents[key].sample[row : row + 1] for key in model.priors}
        latents = {
            key: value[:, :length] if out.latents[key].scope == "local" else value
            for key, value in latents.items()
        }
        mask = out.batch.mask[row : row + 1, :length]
        columns = mean_columns(model, latents, mask, name, epsilon=config.epsilon)[:, 0]
        values: Array = columns.cpu().double().numpy()
        flat = values.reshape(*values.shape[:2], -1)  # (D, T, E)
        sums.append(measure(flat.swapaxes(0, 1) if local else flat.reshape(1, len(flat), -1)))
        if row < config.pictures:
            drawn.append((out.likelihood.mean[row, :length].cpu().double().numpy(), values))
    return Measures(*np.stack(sums, 1)), drawn


@frozen(eq=False)
class Measures:
    """What `measure` finds of each item, (items, D) each.

    Attributes:
        l1: Σ|a|.
        l2: the norm.
        hoyer: Hoyer's measure times the norm.
        overlap: the scalar product of |a| with every other |b|.
        pairs: the product of their norms.
    """

    l1: Array
    l2: Array
    hoyer: Array
    overlap: Array
    pairs: Array

    def order(self) -> Array:
        """Return the dimensions, the largest mean norm first."""
        order: Array = np.argsort(-self.l2.sum(0), kind="stable")
        return order

    def metrics(self, name: str, seed: int, resamples: int) -> dict[str, float]:
        """Return the numbers of a latent with their intervals; none that is 0 / 0."""
        pairs = {
            "l1": (self.l1, np.ones((len(self.l1), 1))),
            "hoyer": (self.hoyer, self.l2),
            "l1 per l2": (self.l1, self.l2),
            "overlap": (self.overlap, self.pairs),
        }
        metrics: dict[str, float] = {}
        for key, (value, over) in pairs.items():
            sums = np.stack([value.sum(1), over.sum(1)], 1)
            rows = np.arange(len(sums))
            score: Score = bootstrap(sums, rows, _ratio, seed=seed, resamples=resamples)
            metrics.update(score.metrics(f"{key}/{name}"))
        return metrics

    def table(self) -> list[dict[str, Any]]:
        """Return one row a dimension; what is 0 / 0 is left empty."""
        total = {
            "L1/L2": (self.l1, self.l2),
            "Hoyer": (self.hoyer, self.l2),
            "overlap": (self.overlap, self.pairs),
        }
        return [
            {
                "dimension": int(dim),
                "norm": float(f"{self.l2[:, dim].mean():.4g}"),
                "L1": float(f"{self.l1[:, dim].mean():.4g}"),
                **{
                    key: _shown(_ratio(np.array([value[:, dim].sum(), over[:, dim].sum()])))
                    for key, (value, over) in total.items()
                },
            }
            for dim in self.order()
        ]


def measure(
    columns: Array,  # (R, D, E)
) -> Array:  # (5, D)
    """Return l1, l2, hoyer, overlap and pairs of D columns of E numbers, summed over R rows.

    Hoyer's measure of a column is (√E - ‖·‖₁/‖·‖₂) / (√E - 1), and NaN for E = 1. Column j's
    overlap with column k is |a_j|·|a_k| / ‖a_j‖‖a_k‖. Both are kept as sums weighted by norms, in
    which a column of zeros counts for nothing.
    """
    size = np.abs(columns)
    l1, l2 = size.sum(2), np.sqrt(np.square(size).sum(2))
    root = np.sqrt(columns.shape[2])
    hoyer = (root * l2 - l1) / (root - 1.0) if root > 1.0 else np.full_like(l1, np.nan)
    others = 1.0 - np.eye(columns.shape[1])
    overlap = (size @ size.swapaxes(1, 2) * others).sum(2)
    pairs = (l2[:, :, None] * l2[:, None] * others).sum(2)
    sums: Array = np.stack([l1, l2, hoyer, overlap, pairs]).sum(1)
    return sums


def _ratio(sums: Array) -> float:
    return float(sums[0] / sums[1]) if sums[1] > 0.0 else np.nan


def _shown(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _note(items: int) -> str:
    return (
        f"at the posterior means of {items} test sequences, evenly spaced, in the likelihood's "
        "scale; norm and L1 are sums over frames; means over columns are weighted by their norm; "
        "(L1/L2)² is about how many numbers a column moves; overlap is the cosine of absolute "
        "values; columns of independent Gaussian numbers would have an overlap of 0.64 and, if "
        "long, a Hoyer measure of 0.2"
    )
