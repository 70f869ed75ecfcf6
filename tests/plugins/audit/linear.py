"""Linear-Gaussian VAEs whose information, effects and costs are known by hand."""

import math

import torch
from posteriors import quantiles
from torch import nn

# Posterior variances; their aggregates are N(0, 1), so that I(x; z_h) is -½ ln of them.
STRONG, MIDDLE, DEAD, IGNORED = 0.05, 0.3, 1.0, 0.1
VARIANCES = (STRONG, MIDDLE, DEAD, IGNORED)
TRUTH = [-0.5 * math.log(variance) for variance in VARIANCES]
SLOPES = torch.tensor([math.sqrt(1.0 - variance) for variance in VARIANCES])
LOGVAR = torch.tensor([math.log(variance) for variance in VARIANCES])
USED = torch.tensor([1.0, 1.0, 1.0, 0.0])  # factor 3 is encoded, and the decoder ignores it


def inputs(count=600, width=4):
    """Return x (N, width) whose columns are spread as N(0, 1) is, in an order of their own."""
    generator = torch.Generator().manual_seed(0)
    columns = [quantiles(count)[torch.randperm(count, generator=generator)] for _ in range(width)]
    return torch.stack(columns, 1).float()


def encode(x):
    return SLOPES * x, LOGVAR.expand(len(x), 4)


def decode(z):
    return USED * SLOPES * z


class Linear(nn.Module):
    """The same as a module with dropout, which only its evaluation mode leaves off."""

    def __init__(self):
        super().__init__()
        self.slopes = nn.Parameter(SLOPES.clone())
        self.dropout = nn.Dropout(0.5)

    def encode(self, x):
        return self.dropout(self.slopes * x), LOGVAR.expand(len(x), 4)

    def decode(self, z):
        return self.dropout(USED * self.slopes * z)


def factory():
    return Linear()


def talking():
    print("loading weights")  # noqa: T201 (as models do)
    return Linear()


def pair():
    return encode, decode


def nothing():
    return 7


def failing():
    raise RuntimeError("no weights\nhere")


model = Linear()
