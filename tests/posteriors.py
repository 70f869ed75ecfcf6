"""Posteriors whose mutual information is known, and the plainest way to compute it."""

import math

import torch
from strategies import normal


def quantiles(count):
    """Return `count` numbers spread as N(0, 1) is, without randomness."""
    ranks = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return math.sqrt(2.0) * torch.erfinv(2.0 * ranks - 1.0)


def gaussian_channel(variance, *, count=10_000, centre=0.0, means=None):
    """Return (M, 1) posteriors of one variance whose aggregate is N(centre, 1): -½ ln variance."""
    means = quantiles(count) if means is None else means
    mean = centre + math.sqrt(1.0 - variance) * means[:, None]
    return mean, torch.full_like(mean, math.log(variance))


def random_table(seed, count, factors, *, narrowest=-5.0):
    """Return means from N(0, 4) and ln σ from U(narrowest, 0.5), (M, H)."""
    low = torch.special.ndtr(normal(seed + 1, count, factors))
    return 2.0 * normal(seed, count, factors), 2.0 * (narrowest + (0.5 - narrowest) * low)


def brute_force(mean, logvar, *, step=6.0, reach=9.0, held=4_000_000):
    """Return I_M of one factor, (M,) each: the trapezoid rule on one grid for all components.

    The grid is `step` times finer than the narrowest σ: the rule's error is far below 1e-9.
    """
    sigma = torch.exp(0.5 * logvar)
    spacing = float(sigma.min()) / step
    low, high = float((mean - reach * sigma).min()), float((mean + reach * sigma).max())
    entropy = 0.0
    for z in torch.arange(low, high, spacing, dtype=torch.float64).split(held // len(mean)):
        density = torch.exp(-0.5 * ((z[:, None] - mean) / sigma).square()) @ (1.0 / sigma)
        density /= len(mean) * math.sqrt(2.0 * math.pi)
        entropy -= spacing * float(torch.special.xlogy(density, density).sum())
    return entropy - float(0.5 * (1.0 + math.log(2.0 * math.pi) + logvar).mean())
