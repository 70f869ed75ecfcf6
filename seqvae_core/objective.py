"""The objective: the negative ELBO and weighted terms, by name, in nats."""

from collections.abc import Mapping
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from seqvae_core.components import Regularizer, RegularizerConfig
from seqvae_core.errors import ConfigError
from seqvae_core.experiment import Experiment, KLConfig
from seqvae_core.functional import masked_sum
from seqvae_core.model import seeded
from seqvae_core.records import Latent, Output, Shapes
from seqvae_core.settings import Schedule

__all__ = ["Losses", "Objective", "build_objective"]


@frozen(eq=False, kw_only=True)
class Losses:
    """One batch's loss, term by term.

    Attributes:
        raw: by name, (B,) nats: `nll`, `kl/<latent>`, and each regularizer's label.
        weighted: the same as they enter the trained loss.
    """

    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """The trained loss of each sequence, (B,) nats."""
        return torch.stack(list(self.weighted.values())).sum(0)

    @property
    def elbo(self) -> Tensor:
        """The true ELBO of each sequence, all KL weights 1, (B,) nats."""
        kls = [value for name, value in self.raw.items() if name.startswith("kl/")]
        return -torch.stack([self.raw["nll"], *kls]).sum(0)

    def scalars(self) -> dict[str, Tensor]:
        """Return batch means by name: loss, elbo, each term, and its weighted form if another."""
        means = {"loss": self.total.mean(), "elbo": self.elbo.mean()}
        for name, value in self.raw.items():
            means[name] = value.mean()
            if self.weighted[name] is not value:
                means[f"{name}/weighted"] = self.weighted[name].mean()
        return {name: value.detach() for name, value in means.items()}


class Objective(nn.Module):
    """nll + Σ kl.weight·KL + Σ weight·term, each (B,), averaged over the batch once.

    Args:
        kls: the KL settings of each latent.
        entries: the regularizers' settings, by label.
        terms: the regularizers, by label.
    """

    def __init__(
        self,
        kls: Mapping[str, KLConfig],
        entries: Mapping[str, RegularizerConfig],
        terms: Mapping[str, Regularizer],
    ):
        super().__init__()
        self.kls = dict(kls)
        self.entries = dict(entries)
        self.terms = nn.ModuleDict(dict(terms))

    def forward(self, out: Output, step: int) -> Losses:
        """Return every term at `step`, counted from 0; a term at weight 0 is not computed."""
        out = evolve(out, step=step)
        mask = out.batch.mask
        nll = -masked_sum(out.likelihood.log_prob(out.batch.x), mask)
        raw, weighted = {"nll": nll}, {"nll": nll}
        for name, kl in self.kls.items():
            value = out.latents[name].kl()
            raw[f"kl/{name}"] = value
            weight = kl.weight * kl.schedule(step)
            floored = _floor(value, out.latents[name], kl.free_nats)
            weighted[f"kl/{name}"] = floored if weight == 1.0 else weight * floored
        for label, entry in self.entries.items():
            weight = entry.weight * entry.schedule(step)
            if entry.weight > 0.0:
                raw[label] = self.terms[label](out.term(label))
                weighted[label] = weight * raw[label]
        return Losses(raw=raw, weighted=weighted)

    def net_kl_weight(self, name: str, step: int) -> float:
        """Return the weight of one latent's KL in the whole loss at `step`."""
        kl = self.kls[name]
        weight = kl.weight * kl.schedule(step)
        for label, entry in self.entries.items():
            coefficient = self._term(label).kl_coefficients.get(name, 0.0)
            weight += entry.weight * entry.schedule(step) * coefficient
        return weight

    def check(self, steps: int) -> None:
        """Raise `ConfigError` if some latent's net KL weight is ≤ 0 at one of `steps` steps.

        Where a term replaces the KL, it must be 0.
        """
        corners = {0, steps - 1} | {t for s in self.schedules for t in s.corners() if t < steps}
        for name in self.kls:
            nets = {step: self.net_kl_weight(name, step) for step in sorted(corners)}
            if replacing := self._replacing(name):
                step, weight = max(nets.items(), key=lambda item: abs(item[1]))
                right, wanted = weight == 0.0, f"be 0, as {replacing} replaces it"
            else:
                step, weight = min(nets.items(), key=lambda item: item[1])
                right, wanted = weight > 0.0, "be > 0 at every step"
            if not right:
                touching = [at for at in self.entries if name in self._term(at).kl_coefficients]
                blame = f" (with {', '.join(touching)})" if touching else ""
                raise ConfigError(
                    f"the net weight of KL({name}){blame} must {wanted}: "
                    f"{weight:.6g} at step {step} @ $.model.latents.{name}.kl"
                )

    def _replacing(self, name: str) -> str | None:
        """Return the label of a term that replaces a latent's KL; at weight 0 it does not."""
        labels = (label for label, entry in self.entries.items() if entry.weight > 0.0)
        return next((at for at in labels if name in self._term(at).replaces_kl), None)

    @property
    def schedules(self) -> list[Schedule]:
        """The schedules of all weights, and those that terms read themselves."""
        kls = [kl.schedule for kl in self.kls.values()]
        weights = [entry.schedule for entry in self.entries.values()]
        return kls + weights + [s for label in self.terms for s in self._term(label).schedules]

    def _term(self, label: str) -> Regularizer:
        term: Any = self.terms[label]
        found: Regularizer = term
        return found


def _floor(value: Tensor, latent: Latent, free_nats: float) -> Tensor:
    if free_nats == 0.0:
        return value
    length = latent.mask.sum(1) if latent.scope == "local" else 1
    return torch.maximum(value, torch.as_tensor(free_nats * length).to(value))


def build_objective(experiment: Experiment, shapes: Shapes) -> Objective:
    """Build the terms of an experiment for a model's shapes, and check the KL weights.

    Raises:
        ConfigError: if a net KL weight falls to ≤ 0.
    """
    entries, terms = {}, {}
    for entry in experiment.regularizers:
        label = entry.label or entry.name
        with seeded(experiment.seed, f"weights/{label}"):
            entries[label] = entry
            terms[label] = entry.build(shapes)
    kls = {name: latent.kl for name, latent in experiment.model.latents.items()}
    objective = Objective(kls, entries, terms)
    objective.check(experiment.train.steps)
    return objective


def final(objective: Objective, steps: int) -> int:
    """Return a step at which every schedule has ended."""
    return max([steps - 1, *(step for s in objective.schedules for step in s.corners())])
