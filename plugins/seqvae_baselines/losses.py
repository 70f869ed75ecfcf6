"""Pure maths of the regularizers of disentangled VAEs, in nats where they are information."""

import math

import torch
from torch import Tensor

from seqvae_core.records import Noise

__all__ = [
    "capacity_gap",
    "covariance",
    "covariance_penalty",
    "log_weights",
    "permuted",
    "total_correlation",
]


def permuted(
    z: Tensor,  # (B, D)
    noise: Noise,
) -> Tensor:  # (B, D)
    """Return z with each dimension permuted across the batch by an order of its own.

    Rows of q(z) become rows of the product of its marginals, but that two dimensions still stem
    from one row with probability 1/B.

    References:
        Disentangling by factorising (Kim, Mnih, 2018), algorithm 1
        | https://arxiv.org/abs/1802.05983
    """
    return z.gather(0, noise.uniform(z.detach()).argsort(stable=True, dim=0))


def log_weights(
    rows: int,
    samples: int,
    *,
    stratified: bool,
    like: Tensor,
) -> Tensor:  # (B, B)
    r"""Return ln w_ij, by which Σ_j w_ij q(z_i|x_j) over a batch stands for q(z_i) of the data.

    Weighted: \(w_{ij} = 1/(NB)\) for all j. They sum to 1/N: a density is the mean over the batch
    divided by N, and the total correlation of D dimensions that of the mean plus (D - 1) ln N.
    Stratified: a sequence's own posterior has its true share, \(1/N\), and the other B - 1 have
    the rest, \((N-1)/(N(B-1))\) each, which is unbiased for q(z).

    Args:
        rows: B.
        samples: N, the number of sequences of the data.
        stratified: which of the two.
        like: gives the type and the device.

    References:
        Isolating sources of disentanglement in variational autoencoders (Chen, Li, Grosse,
        Duvenaud, 2018), minibatch-weighted and -stratified sampling
        | https://arxiv.org/abs/1802.04942
    """
    if not stratified:
        return like.new_full((rows, rows), -math.log(samples * rows))
    # Differs from the paper, which weighs one other row (N - B + 1)/(N(B - 1)) and the rest
    # 1/(B - 1): the mean is the same, and here no row is told from another by its place.
    others = (samples - 1) / (samples * max(1, rows - 1))
    return like.new_full((rows, rows), math.log(others)).fill_diagonal_(-math.log(samples))


def total_correlation(
    log_q: Tensor,  # (I, J, D)
    log_weights: Tensor,  # (I, J)
) -> Tensor:  # (I,)
    r"""Return each sample's ln q(z) - Σ_d ln q(z_d), nats, whose mean over q(z) is the TC.

    \(q(z_i) \approx \sum_j w_{ij} \prod_d q(z_{id}|x_j)\) and
    \(q(z_{id}) \approx \sum_j w_{ij} q(z_{id}|x_j)\). It is exact for weights 1/N and a j that
    runs over all of the data.

    Args:
        log_q: ln q(z_id|x_j), of samples i under the posteriors of sequences j.
        log_weights: ln w_ij.

    Returns:
        One number a sample, of either sign.

    References:
        Isolating sources of disentanglement in variational autoencoders (Chen, Li, Grosse,
        Duvenaud, 2018) | https://arxiv.org/abs/1802.04942

    Example:
        >>> import torch
        >>> log_q = torch.tensor([[[0.9, 0.9], [0.1, 0.1]]]).log()  # z_1 and z_2 go together
        >>> total_correlation(log_q, torch.full((1, 2), 0.5).log())
        tensor([0.4947])
    """
    joint = torch.logsumexp(log_weights + log_q.sum(2), 1)
    marginals = torch.logsumexp(log_weights[:, :, None] + log_q, 1)
    return joint - marginals.sum(1)


def covariance(
    mean: Tensor,  # (B, D)
) -> Tensor:  # (D, D)
    """Return the covariance of the rows over the batch, divided by B."""
    centred = mean - mean.mean(0)
    with torch.autocast(mean.device.type, enabled=False):  # a product would be of 16 bits
        return centred.T @ centred / len(mean)


def covariance_penalty(
    matrix: Tensor,  # (D, D)
    ratio: float,
) -> Tensor:  # ()
    r"""Return Σ_{i≠j} C_ij² + ratio·Σ_i (C_ii - 1)², ≥ 0 and 0 for the identity alone; no nats.

    Args:
        matrix: a covariance.
        ratio: λ_d / λ_od > 0; λ_od is the weight of the whole.

    References:
        Variational inference of disentangled latent concepts from unlabeled observations (Kumar,
        Sattigeri, Balakrishnan, 2018), eqs. 6 and 7 | https://arxiv.org/abs/1711.00848

    Example:
        >>> import torch
        >>> covariance_penalty(torch.tensor([[2.0, 0.5], [0.5, 1.0]]), 10.0)
        tensor(10.5000)
    """
    diagonal = matrix.diagonal()
    off = matrix - torch.diag(diagonal)
    return off.square().sum() + ratio * (diagonal - 1.0).square().sum()


def capacity_gap(
    kl: Tensor,  # (B,)
    capacity: float,
) -> Tensor:  # (B,)
    """Return |KL - C|, nats, ≥ 0.

    Args:
        kl: KL(q(z|x)‖p(z)).
        capacity: C, in nats.

    References:
        Understanding disentangling in β-VAE (Burgess et al., 2018), eq. 8
        | https://arxiv.org/abs/1804.03599
    """
    return (kl - capacity).abs()
