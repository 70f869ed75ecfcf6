"""The entropies in the bound, as shares of the rows that they are estimated from."""

import math
from collections.abc import Callable, Sequence

import torch
from attrs import evolve
from torch import Tensor

from seqvae_basics.codes import Code
from seqvae_basics.distributions import Gaussian
from seqvae_vmi.bound_pairs import Law

__all__ = ["aggregate_entropy", "categorical_shares", "is_standard", "of_code"]

_HELD = 2**22  # numbers held at a time, which bounds the memory and changes no result


def categorical_shares(
    value: Tensor,  # (R, K)
) -> Tensor:  # (R,)
    r"""Return \(-\sum_k w_{ik} \ln \bar w_k\) of each row, in nats; the mean is \(H(\bar w)\).

    w are probabilities π(x_i) for one-hot draws from them, whose law is their mean; relaxed draws
    themselves for these, as no constant Q has a lower cross-entropy than H(E c).
    """
    value = value.double()
    shares: Tensor = torch.special.xlogy(value, value.mean(0))
    return -shares.sum(-1)


def aggregate_entropy(
    laws: Sequence[Law],  # of M rows each
    values: Sequence[Tensor],  # (R, d) each
) -> Tensor:  # (R,)
    r"""Return \(-\ln \tfrac1M \sum_m \prod_j q_j(c_{ij}|x_m)\) of each row, in nats.

    Its mean over draws c_i ~ q(c|x_i), i = 1..M, is the entropy of the mixture of the M posteriors,
    by Monte Carlo; several codes are independent given x_m alone.
    """
    count = len(laws[0].mean)
    width = sum(value.shape[-1] for value in values)
    block = max(1, _HELD // (count * width))
    found = []
    for at in range(0, len(values[0]), block):
        density: Tensor | None = None
        for law, value in zip(laws, values, strict=True):
            own = law.log_prob(value[at : at + block, None]).sum(-1)  # (block, M)
            density = own if density is None else density + own
        assert density is not None
        found.append(math.log(count) - torch.logsumexp(density, 1))
    return torch.cat(found)


def of_code(law: Law, code: Code, rows: Callable[[Tensor], Tensor]) -> Law:
    """Return the law of a code alone, one categorical variable at most, at some rows, float64."""

    def taken(value: Tensor) -> Tensor:
        return rows(value)[..., list(code.index)].double()

    if isinstance(law, Gaussian):
        return Gaussian(taken(law.mean), taken(law.logvar))
    return evolve(law, logits=taken(law.logits), groups=1)


def is_standard(law: Law, mask: Tensor) -> bool:
    """Tell whether a prior is N(0, 1), or uniform, within the mask."""

    def real(value: Tensor) -> Tensor:
        return value[mask] if value.ndim > 2 else value

    if isinstance(law, Gaussian):
        return not bool(real(law.mean).any()) and not bool(real(law.logvar).any())
    values = law.logits.shape[-1] / law.groups
    return bool((real(law.log_probabilities) + math.log(values)).abs().max() < 1e-5)
