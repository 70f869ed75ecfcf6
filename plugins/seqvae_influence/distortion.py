"""The least squared error that the information in the latents allows: the function and the task."""

import math
import sys
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from seqvae_core.components import Estimate, TaskResult
from seqvae_core.functional import masked_sum
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Output, Splits
from seqvae_influence.closed_form import SUMMED, free_mean_form, joint_closed_form
from seqvae_influence.orders import orders, trained
from seqvae_influence.posteriors import Posteriors, collect
from seqvae_influence.selection import zeroed
from seqvae_influence.selection_config import ReconstructionBound, kept_counts
from seqvae_tasks.representations import Array, seed_of
from seqvae_tasks.sequences import choose, read
from seqvae_tasks.statistics import bootstrap, ratio

__all__ = ["reconstruction_bound", "reconstruction_floor"]

_LARGEST = math.log(sys.float_info.max)
_ENOUGH = 10  # posteriors for each number of a covariance


def reconstruction_floor(numbers: int, entropy: float, information: float) -> float:
    r"""Return the least \(E\|x - \hat x\|^2\) that so much information about x allows.

    \(\frac{d}{2\pi e} \exp(\frac2d (h(x) - I(x; z)))\): given z, x has an entropy of h(x) - I(x; z)
    on average, and of all laws with that squared error a Gaussian has the most. It is met where x
    given z is white Gaussian noise about x̂. More information than there is gives a floor that is
    too low, and still one.

    Args:
        numbers: d, of x.
        entropy: h(x) in nats, the differential entropy.
        information: I(x; z) in nats, or what it is at most.

    References:
        Elements of information theory (Cover, Thomas, 2006), theorem 8.6.6

    Example:
        >>> gaussian = 2 * 0.5 * math.log(2 * math.pi * math.e)  # two of variance 1
        >>> round(reconstruction_floor(2, gaussian, 0.0), 6)
        2.0
    """
    return numbers / (2.0 * math.pi * math.e) * _exp(2.0 / numbers * (entropy - information))


def _exp(power: float) -> float:
    return math.exp(power) if power < _LARGEST else math.inf


def _times(value: float, whole: float) -> float:
    """Return their ratio; NaN of two that are 0."""
    if whole:
        return value / whole
    return math.inf if value else math.nan


@torch.no_grad()
def reconstruction_bound(
    config: ReconstructionBound, model: SeqVAE, splits: Splits, noise: Noise
) -> TaskResult:
    """Set the squared error of test reconstructions beside the least that I(x; z) allows.

    The reconstruction is what is decoded from *samples* of all latents: of posterior means, which
    are functions of x, the bound does not speak. I(x; z) is what it is at most, the mean KL to the
    prior, which bounds it for any latents and priors; of a single global Gaussian latent also the
    closed form of all factors together.

    Returns:
        "error", the measured E‖x - x̂‖² of a sequence with its 95 % interval; "kl", the mean KL in
        nats. Where h(x) is known and all sequences are of one length "floor/kl" and
        "floor/gaussian", what the error is at least. For each NAME, of a global latent whose
        factors but the k most informative are zero, "factor/NAME/k", by how much the floor rises at
        most, exp(2ΔI/d), and "ratio/NAME/k", by how much the error does. Tables of both.
    """
    noise = noise.of("reconstruction-bound")
    result = TaskResult()
    if model.decoder.autoregressive:
        result.notes.append(
            "not applicable: the decoder is autoregressive; its reconstruction reads the true "
            "earlier frames, not the latents alone"
        )
        return result
    data = splits.test
    rows = choose(len(data), config.posteriors, seed_of(noise, "sequences"))
    outs = [model.output(batch, noise=noise.of("samples")) for batch in read(data, rows)]
    frames = torch.cat([out.batch.lengths for out in outs]).tolist()
    task = _Task(config, model, splits, noise, outs, rows, frames)
    task.absolute(result)
    names = [v.name for v in model.shapes.of("global") if v.name in model.priors]
    if config.latent is not None:
        names = [name for name in names if name == config.latent]
    if not names:
        result.notes.append("no ratios: they are of the factors of a global latent")
    for name in names:
        task.relative(name, result)
    return result


@frozen(eq=False)
class _Task:
    """Test sequences, their latents sampled, and what is asked of them."""

    config: ReconstructionBound
    model: SeqVAE
    splits: Splits
    noise: Noise
    outs: list[Output]
    rows: Array
    frames: list[int]

    @property
    def size(self) -> int:
        return int(np.prod(self.model.shapes.frame))

    def absolute(self, result: TaskResult) -> None:
        """Add the floor of the error, if the entropy of x is known."""
        errors = self._errors(lambda latents: latents)
        kls = np.concatenate([
            torch.stack([out.latents[name].kl() for name in self.model.priors]).sum(0).cpu().numpy()
            for out in self.outs
        ])  # fmt: skip
        measured = self._mean(errors)
        rate = float(kls.mean())
        result.metrics.update({**measured.metrics("error"), "kl": rate})
        entropy = self.splits.entropy if self.config.entropy is None else self.config.entropy
        if entropy is None:
            result.notes.append(
                "no absolute floor: h(x) is not known (of discrete values it is -∞); 'entropy' "
                "sets it, and the data set 'linear-gaussian' declares one"
            )
            return
        if len(set(self.frames)) > 1:
            result.notes.append("no absolute floor: h(x) is of sequences of one length")
            return
        numbers = self.frames[0] * self.size
        bounds = {"kl": ("the mean KL to the prior", rate)}
        if (joint := self._joint()) is not None:
            bounds["gaussian"] = ("one Gaussian of all factors", joint.value)
        table: list[dict[str, Any]] = []
        for key, (title, information) in bounds.items():
            floor = reconstruction_floor(numbers, entropy, information)
            result.metrics[f"floor/{key}"] = floor
            table.append({
                "I(x; z) at most, by": title, "nats": round(information, 4),
                "least error": float(f"{floor:.5g}"), "measured": measured.text(digits=4),
                "times the least": round(_times(measured.value, floor), 3),
            })  # fmt: skip
        result.tables["the least squared error of a sequence"] = table
        result.notes.append(
            f"E‖x - x̂‖² ≥ d/(2πe) exp(2/d (h(x) - I(x; z))), d = {numbers}, h(x) = {entropy:.4g} "
            f"nats, of {len(self.rows)} test sequences; x̂ is decoded from samples of the latents; "
            "x is as the likelihood sees it, and has a density"
        )

    def _joint(self) -> Estimate | None:
        """Return the Gaussian bound of I(x; z), where z is all that is decoded and M far larger."""
        names = list(self.model.priors)
        table = collect(self.model, self.splits.test, self.rows, names).get(names[0])
        if len(names) > 1 or table is None or table.unit is not None:
            return None
        count, width = table.mean.shape
        return joint_closed_form(table.mean, table.logvar) if count >= _ENOUGH * width**2 else None

    def relative(self, name: str, result: TaskResult) -> None:
        """Add by how much floor and error rise as factors are dropped."""
        found = trained(
            self.model, self.splits, [name], self.config.posteriors, self.noise, result
        ).get(name)
        here = collect(self.model, self.splits.test, self.rows, [name]).get(name)
        if found is None or here is None or len(here.mean) < 2:
            return
        order = orders(found, ["mi"], 1, 0)["mi"][0]
        lost, how = _losses(here, order)
        numbers = float(np.mean(self.frames)) * self.size
        whole, table = self._mean(self._errors(lambda latents: latents)).value, []
        counts = kept_counts(self.config.keep, len(order))[::-1]
        for count in counts:
            kept = order[:count]
            errors = self._errors(
                lambda latents, kept=kept: {**latents, name: zeroed(latents[name], kept)}
            )
            factor = _exp(2.0 * float(lost[count]) / numbers)
            rise = _times(float(errors.mean()), whole)
            named = {f"factor/{name}/{count}": factor, f"ratio/{name}/{count}": rise}
            result.metrics.update(named)
            table.append({
                "kept": count, "information lost at most": round(float(lost[count]), 4),
                "the floor rises by at most": round(factor, 4),
                "the error rises by": round(rise, 4),
            })  # fmt: skip
        result.tables[f"{name}: what dropping factors costs"] = table
        result.notes.append(
            f"{name}: factors of the largest I_M on the train part are kept, the others zero; the "
            f"floor rises by at most exp(2ΔI/d), whatever h(x) is, d = {numbers:g}: ΔI, {how}, is "
            "above I(x; z) - I(x; z_S), so that the floor may rise by less; the error may rise by "
            "far more, as the decoder has never seen zeros"
        )

    def _errors(self, change: Any) -> Array:
        """Return ‖x - x̂‖² of each sequence, decoded from changed samples of the latents."""
        found = []
        for out in self.outs:
            latents = {name: out.latents[name].sample for name in self.model.priors}
            decoded: Tensor = self.model.decode(change(latents), mask=out.batch.mask)
            found.append(masked_sum((out.batch.x - decoded).square(), out.batch.mask))
        errors: Array = torch.cat(found).cpu().double().numpy()
        return errors

    def _mean(self, errors: Array) -> Any:
        sums = np.stack([errors, np.ones(len(errors))], 1)
        seed = seed_of(self.noise, "bootstrap")
        resamples = self.config.resamples
        return bootstrap(sums, np.arange(len(errors)), ratio, seed=seed, resamples=resamples)


def _losses(table: Posteriors, order: Array) -> tuple[Array, str]:
    """Return what leaving out all but the first k factors loses at most, (H + 1,), and by what.

    With factors independent given x, I(x; z) - I(x; z_S) = h(z_D|z_S) - h(z_D|x), D those left
    out. A Gaussian of the same covariance has a larger h(z_D|z_S), which is the difference of two
    joint closed forms; without them it is at most Σ_D h(z_h), which leaves Σ_D I(x; z_h).
    """
    mean, logvar = table.mean[:, order], table.logvar[:, order]
    count, width = mean.shape
    if count >= _ENOUGH * width**2:
        steps = [joint_closed_form(mean[:, :k], logvar[:, :k]) for k in range(1, width + 1)]
        if all(step.note != SUMMED for step in steps):
            whole = np.array([0.0, *(step.value for step in steps)])
            return whole[-1] - whole, "of one Gaussian of all factors less one of those kept"
    single = free_mean_form(mean, logvar).value.numpy()
    how = "Σ I(x; z_h) of those dropped, against the best Gaussian of each"
    return np.append(single[::-1].cumsum()[::-1], 0.0), how
