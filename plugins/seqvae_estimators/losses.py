"""Pure maths of density ratios, in nats: logits on pairs from P and from Q, to scalars.

A discriminator's logit is ln D/(1 - D). At its optimum it is the log ratio ln dP/dQ, whose mean
over P is KL(P‖Q).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["accuracy", "club", "info_nce", "logistic_loss", "nwj", "nwj_bound"]


def logistic_loss(
    positive: Tensor,  # (N,)
    negative: Tensor,  # (M,)
) -> Tensor:  # ()
    r"""Return the discriminator's binary cross-entropy, both laws weighing one half, in nats.

    \(-\tfrac12 E_P \ln D - \tfrac12 E_Q \ln(1 - D)\), with ln D = -softplus(-logit), which neither
    overflows nor loses a small D. At logit 0 it is ln 2; its minimum, at the true log ratio, is
    ln 2 - JSD(P, Q).

    Args:
        positive: logits on pairs from P.
        negative: logits on pairs from Q, of any number.

    Returns:
        A scalar, ≥ 0.

    Example:
        >>> import torch
        >>> logistic_loss(torch.zeros(4), torch.zeros(9))  # ln 2: nothing is told apart
        tensor(0.6931)
    """
    # Torch's own threshold, 20, is a step of 2e-9 that float64 sees.
    on_p, on_q = F.softplus(-positive, threshold=40.0), F.softplus(negative, threshold=40.0)
    return 0.5 * (on_p.mean() + on_q.mean())


def nwj_bound(
    positive: Tensor,  # (N,)
    negative: Tensor,  # (M,)
) -> Tensor:  # ()
    r"""Return the lower bound of Nguyen, Wainwright and Jordan on KL(P‖Q), in nats.

    \(E_P[\ell] + 1 - E_Q[e^{\ell}]\) for log ratios ℓ; tight at ℓ = ln dP/dQ. Both means are over
    the given pairs; it bounds in expectation when ℓ was not fitted on these pairs.

    Args:
        positive: log ratios on pairs from P.
        negative: log ratios on pairs from Q, of any number.

    Returns:
        A scalar; -inf where e^ℓ overflows.

    References:
        Estimating divergence functionals and the likelihood ratio by convex risk minimization
        (Nguyen, Wainwright, Jordan, 2010) | https://doi.org/10.1109/TIT.2010.2068870

    Example:
        >>> import torch
        >>> p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
        >>> ratio = (p / q).log()
        >>> nwj_bound(ratio, ratio[[0, 1, 1, 1]])  # tight: KL(p‖q)
        tensor(0.1438)
    """
    log_mean = torch.logsumexp(negative, 0) - math.log(len(negative))
    return positive.mean() + 1.0 - log_mean.exp()


def accuracy(
    positive: Tensor,  # (N,)
    negative: Tensor,  # (M,)
) -> Tensor:  # ()
    """Return the mean of the two shares of pairs told apart at logit 0, in [0, 1]."""
    return 0.5 * ((positive > 0).to(positive).mean() + (negative < 0).to(negative).mean())


def info_nce(
    positive: Tensor,  # (N,)
    negative: Tensor,  # (K, N)
) -> Tensor:  # (N,)
    r"""Return each row's share of the InfoNCE lower bound on I(a; b), nats.

    \(f_{ii} - \ln \frac{1}{K+1}(e^{f_{ii}} + \sum_k e^{f_{ik}})\), at most ln(K + 1).

    Args:
        positive: scores of true pairs.
        negative: scores of K false pairs of each row.

    References:
        Representation learning with contrastive predictive coding (van den Oord, Li, Vinyals,
        2018), eq. 4, as a bound | https://arxiv.org/abs/1807.03748

    Example:
        >>> import torch
        >>> info_nce(torch.tensor([2.0]), torch.tensor([[2.0], [2.0]]))  # nothing is told apart
        tensor([0.])
    """
    scores = torch.cat([positive[None], negative])
    return positive - (torch.logsumexp(scores, 0) - math.log(len(scores)))


def nwj(
    positive: Tensor,  # (N,)
    negative: Tensor,  # (K, N)
) -> Tensor:  # (N,)
    r"""Return each row's share of `nwj_bound`, nats.

    \(\ell_{ii} + 1 - \frac1K \sum_k e^{\ell_{ik}}\), of K false pairs of each row.
    """
    return positive + 1.0 - negative.exp().mean(0)


def club(
    positive: Tensor,  # (N,)
    negative: Tensor,  # (K, N)
) -> Tensor:  # (N,)
    r"""Return each row's share of the CLUB estimate of I(a; b), nats.

    \(\ln q(a_i|b_i) - \frac1K \sum_k \ln q(a_k|b_i)\), an upper bound in expectation for the true
    conditional law and for a q that is close to it, and none else.

    Args:
        positive: ln q of true pairs.
        negative: ln q of K false pairs of each row.

    References:
        CLUB: a contrastive log-ratio upper bound of mutual information (Cheng et al., 2020),
        eqs. 7 and 12 | https://arxiv.org/abs/2006.12013

    Example:
        >>> import torch
        >>> club(torch.tensor([-1.0]), torch.tensor([[-3.0], [-5.0]]))
        tensor([3.])
    """
    return positive - negative.mean(0)
