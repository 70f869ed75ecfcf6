"""A third-party plugin of seqvae: the regularizer `acme-hsic`."""

from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from seqvae_core.components import Regularizer, RegularizerConfig
from seqvae_core.functional import masked_mean
from seqvae_core.hookspecs import hookimpl
from seqvae_core.records import Latent, Output, Shapes

__all__ = ["HSIC", "hsic"]


@frozen(kw_only=True)
class HSIC(RegularizerConfig):
    """Dependence of a global latent on a local one's mean over time, by HSIC.

    HSIC is no number of nats: `weight` gives it its scale.

    Attributes:
        global_latent: z.
        local: s.
    """

    name: ClassVar[str] = "acme-hsic"
    couples_batch: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2

    global_latent: str = "z"
    local: str = "s"

    def build(self, shapes: Shapes) -> Regularizer:
        """Build the term; raise `ShapeError` if the model has no such latents."""
        return HSICRegularizer(
            shapes.latent(self.global_latent).name, shapes.latent(self.local).name
        )


class HSICRegularizer(Regularizer):
    """HSIC of the batch's samples of z and pooled s, the same number in every row.

    Args:
        z: the global latent's name.
        s: the local one's.
    """

    def __init__(self, z: str, s: str):
        super().__init__()
        self.z, self.s = z, s

    def forward(self, out: Output) -> Tensor:
        """Return the unweighted term of each sequence, (B,)."""
        z, s = out.latents[self.z], out.latents[self.s]
        return hsic(z.sample.flatten(1), _pooled(s)).expand(len(out.batch))


def _pooled(s: Latent) -> Tensor:
    return masked_mean(s.sample, s.mask).flatten(1)


def hsic(
    a: Tensor,  # (B, D)
    b: Tensor,  # (B, E)
) -> Tensor:  # ()
    r"""Return the biased estimate of HSIC with Gaussian kernels, a number in [0, 1].

    \(\operatorname{tr}(K H L H) / B^2\) with \(H = I - 1/B\); each kernel's width is the median
    distance of the batch, through which no gradient flows. Of independent variables it is not 0
    but of the order of 1 / B.

    Args:
        a: paired rows.
        b: paired rows.

    References:
        Measuring statistical dependence with Hilbert-Schmidt norms (Gretton, Bousquet, Smola,
        Schölkopf, 2005), definition 2, divided by B² here in place of (B - 1)²
        | https://doi.org/10.1007/11564089_7
    """
    first, second = _kernel(a), _kernel(b)
    centred = first - first.mean(0) - first.mean(1, keepdim=True) + first.mean()
    return (centred * second).mean()


def _kernel(value: Tensor) -> Tensor:
    squared = (value[:, None] - value[None]).square().sum(2)
    rows, columns = torch.triu_indices(len(value), len(value), 1)
    width = squared.detach()[rows, columns].median().clamp_min(1e-12)
    return torch.exp(-squared / (2.0 * width))


@hookimpl
def seqvae_regularizers() -> list[type[RegularizerConfig]]:
    """Return `acme-hsic`."""
    return [HSIC]
