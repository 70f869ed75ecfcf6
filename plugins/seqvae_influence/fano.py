"""Fano's inequality turned round: the least error of telling a class, as a function of I(y; z)."""

import math
from collections.abc import Sequence

import torch
from scipy.optimize import brentq
from torch import Tensor

from seqvae_core.functional import gaussian_log_prob
from seqvae_core.noise import Noise
from seqvae_influence.readings import checked

__all__ = ["class_information", "entropy", "fano_error", "weak_fano_error"]


def entropy(
    label: Tensor,  # (M,) integers
) -> float:
    """Return the entropy in nats of the labels' frequencies."""
    share = torch.unique(label, return_counts=True)[1].double() / len(label)
    return -float((share * share.log()).sum())


def fano_error(conditional: float, classes: int) -> float:
    r"""Return the least error P of telling one of K classes that leaves H(y|z) nats open.

    The smallest root of \(h(P) + P \ln(K - 1) = H(y|z)\), h the binary entropy in nats: whoever
    tells y by z alone errs at least so often. The left side rises from 0 to ln K at P = 1 - 1/K.

    Args:
        conditional: H(y|z) = H(y) - I(y; z) in nats; below 0, which an estimate may be, as 0.
        classes: K, at least 2.

    Returns:
        In [0, 1 - 1/K].

    Example:
        >>> round(fano_error(math.log(10), 10), 6)  # nothing is known
        0.9
        >>> fano_error(0.0, 10)
        0.0
    """
    if classes < 2:
        raise ValueError(f"'classes' must be >= 2: {classes}")
    largest = 1.0 - 1.0 / classes
    if conditional <= 0.0:
        return 0.0
    if conditional >= math.log(classes):
        return largest

    def open_nats(error: float) -> float:
        return _binary(error) + error * math.log(classes - 1) - conditional

    return float(brentq(open_nats, 0.0, largest, xtol=1e-12))


def weak_fano_error(conditional: float, classes: int) -> float | None:
    """Return the weak form, (H(y|z) - ln 2) / ln(K - 1), at least 0; None for two classes.

    It bounds the binary entropy by ln 2: it says nothing below H(y|z) = ln 2, which of ten equal
    classes is all I(y; z) above 1.61 nats, and it has no value at K = 2.
    """
    if classes < 3:
        return None
    return max(0.0, (conditional - math.log(2.0)) / math.log(classes - 1))


def class_information(
    mean: Tensor,  # (M, H)
    logvar: Tensor,  # (M, H)
    label: Tensor,  # (M,) integers >= 0
    counts: Sequence[int],
    noise: Noise,
    *,
    samples: int = 1,
    held: int = 2**22,
) -> Tensor:  # (len(counts), M)
    r"""Return each posterior's share of I(y; z_S) for S the first k factors, k in `counts`, nats.

    \(\ln q(z_S|y_m) - \ln q(z_S)\) at samples of q(z_S|x_m), both by mixtures: of the posteriors
    of its class, and of all. The mean is the information about the class among these M inputs. For
    given labels it is above I(y; z_S) in expectation: it is convex in the laws of z given y, whose
    mixtures are unbiased. It is consistent, and at most H(y), which it reaches where posteriors
    stand alone.

    Args:
        mean: of the posteriors.
        logvar: ln σ² of the posteriors.
        label: the class of each.
        counts: how many factors, ascending; 0 gives 0.
        noise: what the samples are drawn from.
        samples: of each posterior.
        held: numbers held at a time, which bounds the memory and changes no result.

    References:
        Elements of information theory (Cover, Thomas, 2006), theorem 2.7.4: I is convex in the
        channel
    """
    mean, logvar = checked(mean, logvar)
    count = len(mean)
    block = max(1, held // count)
    shares = mean.new_zeros(len(counts), count)
    for number in range(samples):
        drawn = mean + torch.exp(0.5 * logvar) * noise.of(str(number)).normal(mean)
        for start in range(0, count, block):
            rows = slice(start, start + block)
            density = mean.new_zeros(len(drawn[rows]), count)
            mine = label[rows, None] == label
            size = mine.sum(1).double()
            known = 0
            for index, kept in enumerate(counts):
                for h in range(known, kept):
                    density += gaussian_log_prob(drawn[rows, None, h], mean[:, h], logvar[:, h])
                known = kept
                everyone = density.logsumexp(1) - math.log(count)
                class_only = density.masked_fill(~mine, -math.inf).logsumexp(1) - size.log()
                shares[index, rows] += (class_only - everyone) / samples
    return shares


def _binary(error: float) -> float:
    if error in (0.0, 1.0):
        return 0.0
    return -error * math.log(error) - (1.0 - error) * math.log1p(-error)
