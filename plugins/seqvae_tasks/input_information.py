"""How much a latent tells of the sequence that it encodes: I(x; z) by the aggregated posterior."""

import math
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from seqvae_core.components import TaskResult
from seqvae_core.loading import iterate
from seqvae_core.model import SeqVAE
from seqvae_core.records import Distribution, Noise, Splits
from seqvae_tasks.config_generation import InputInformation

__all__ = ["Shares", "aggregated", "input_information"]


@frozen(eq=False)
class Shares:
    """Each sequence's share of I(x; z) among N sequences, (N,) float64, in nats.

    Attributes:
        mi: against the mixture of all N posteriors; the mean is at most ln N in expectation.
        upper: against the mixture of the N - 1 others.
    """

    mi: Tensor
    upper: Tensor

    @property
    def value(self) -> float:
        """The mean of the shares."""
        return float(self.mi.mean())

    @property
    def stderr(self) -> float:
        """The standard error of the mean over sequences."""
        return float(self.mi.std()) / math.sqrt(len(self.mi))

    def saturated(self, margin: float) -> bool:
        """Whether the mean is within a margin of ln N."""
        return self.value > math.log(len(self.mi)) - margin


def input_information(
    config: InputInformation, model: SeqVAE, splits: Splits, noise: Noise
) -> TaskResult:
    """Estimate I(x; z) of each global latent over the whole test part.

    Returns:
        For each latent, in nats: "mi/<latent>", a lower bound in expectation and at most the
        "ceiling" ln N; "upper/<latent>", an upper bound in expectation; "stderr/<latent>", the
        standard error of the first over sequences; "saturated/<latent>", 1 if it is within
        `margin` of the ceiling, else 0.
    """
    noise = noise.of("input-information")
    count = len(splits.test)
    posteriors: dict[str, list[Distribution]] = {}
    for batch in iterate(splits.test, part="test"):
        for name, latent in model.output(batch).latents.items():
            if latent.scope == "global" and latent.posterior is not None:
                posteriors.setdefault(name, []).append(latent.posterior)
    if not posteriors or count < 2:
        return TaskResult(notes=["not applicable: it takes a global latent and two sequences"])
    result = TaskResult(metrics={"ceiling": math.log(count)}, notes=_notes(config, count))
    rows: list[dict[str, Any]] = []
    for name, found in posteriors.items():
        shares = aggregated(found, config.samples, noise.of(name), block=config.block)
        saturated = shares.saturated(config.margin)
        upper = float(shares.upper.mean())
        result.metrics.update({
            f"mi/{name}": shares.value, f"stderr/{name}": shares.stderr,
            f"upper/{name}": upper, f"saturated/{name}": float(saturated),
        })  # fmt: skip
        rows.append({
            "latent": name, "nats": round(shares.value, 4),
            "standard error": round(shares.stderr, 4), "upper bound": round(upper, 4),
            "ceiling": round(math.log(count), 4), "saturated": "yes" if saturated else "no",
        })  # fmt: skip
        if saturated:
            result.notes.append(
                f"{name}: saturated, within {config.margin:g} of ln {count}: it may carry any "
                "amount from there on; not to be used to match models"
            )
    result.tables["I(x; latent)"] = rows
    return result


@torch.no_grad()
def aggregated(
    posteriors: list[Distribution],  # (n, *event) each, N rows in all
    samples: int,
    noise: Noise,
    *,
    block: int = 1024,
) -> Shares:
    r"""Return each sequence's share of I(x; z) under the aggregated posterior, in nats.

    \(\ln q(z_i|x_i) - \ln \frac1N \sum_j q(z_i|x_j)\) with z_i ~ q(z|x_i), averaged over samples
    of z_i. It is unbiased for the information of z about *which of the N sequences* it was, hence
    at most ln N in expectation, and below I(x; z). Leaving j = i out of the mixture, 1/(N - 1) in
    place of 1/N, gives a mean above I(x; z) in expectation.

    Args:
        posteriors: q(z|x) of all sequences, batch by batch; their log densities must pass vmap.
        samples: drawn from each posterior.
        noise: what they are drawn from.
        block: samples whose densities under one batch of posteriors are held at once.

    Returns:
        Shares of both estimates.

    References:
        On variational bounds of mutual information (Poole et al., 2019), the bounds for a known
        conditional density | https://arxiv.org/abs/1905.06922
    """
    sizes = [len(posterior.mean) for posterior in posteriors]
    count = sum(sizes)
    drawn = torch.cat([_draw(each, noise) for _ in range(samples) for each in posteriors])
    owner = torch.arange(count, device=drawn.device).repeat(samples)
    own, others = (
        torch.cat(parts)
        for parts in zip(
            *(
                _log_densities(posteriors, drawn[at : at + block], owner[at : at + block])
                for at in range(0, len(drawn), block)
            ),
            strict=True,
        )
    )
    everyone = torch.logaddexp(own, others) - math.log(count)
    return Shares(
        mi=(own - everyone).reshape(samples, count).mean(0),
        upper=(own - others + math.log(count - 1)).reshape(samples, count).mean(0),
    )


def _draw(posterior: Distribution, noise: Noise) -> Tensor:
    """Draw from the law whose density is asked: of categorical laws not a relaxed sample."""
    draw = getattr(posterior, "one_hot", posterior.rsample)
    drawn: Tensor = draw(noise)
    return drawn


def _log_densities(
    posteriors: list[Distribution],
    drawn: Tensor,  # (M, *event)
    owner: Tensor,  # (M,)
) -> tuple[Tensor, Tensor]:  # (M,), (M,)
    """Return ln q(z|x_owner), and ln of the sum of q(z|x_j) over all other j, in float64."""
    own = drawn.new_zeros(len(drawn), dtype=torch.float64)
    others = torch.full_like(own, -math.inf)
    start = 0
    for posterior in posteriors:
        size = len(posterior.mean)
        repeated = drawn[:, None].expand(-1, size, *drawn.shape[1:])
        density = torch.vmap(posterior.log_prob)(repeated).double().flatten(2).sum(2)  # (M, size)
        mine = owner[:, None] == torch.arange(start, start + size, device=owner.device)
        own += torch.where(mine, density, 0.0).sum(1)
        others = torch.logaddexp(others, density.masked_fill(mine, -math.inf).logsumexp(1))
        start += size
    return own, others


def _notes(config: InputInformation, count: int) -> list[str]:
    short = -math.log(-math.expm1(-config.margin)) if config.margin > 0.0 else math.inf
    return [
        f"I(x; z) of {count} test sequences, {config.samples} posterior samples each, against the "
        "mixture of all their posteriors: a lower bound in expectation that cannot exceed "
        f"ln {count}; the upper bound leaves a sequence's own posterior out of the mixture. The "
        "standard error is that of the lower one over sequences",
        f"saturated: within {config.margin:g} nats of ln {count}. Were the log ratio equal for all "
        f"sequences, the estimate would there be short by {short:.2g} nats or more",
    ]
