"""Pure maths of CMI, in nats: one number a sequence, nothing reduced over the batch."""

from torch import Tensor

__all__ = ["cmi_term"]


def cmi_term(
    logit: Tensor,  # (B,)
    kl: Tensor,  # (B,)
) -> Tensor:  # (B,)
    r"""Return the term that γ weights in the loss, \(\operatorname{logit} D(z, s) - KL(z)\), nats.

    Added to the negative ELBO with weight γ it gives minus

    \(E \sum_t \ln p(x_t|z, s_t) - (1-\gamma) KL(z) - KL(s) - \gamma E_{q(z,s)}[\ln D - \ln(1-D)]\)

    and, as \(E[\operatorname{logit} D] \approx KL(q(z,s) \| p(z) q(s))\), its mean over sequences
    is \(I(z;s) - I(x;z)\) (eq. 10). Only true pairs enter, each with its plain logit: no
    non-saturating form, no false pairs.

    Args:
        logit: logit D on (z, s) encoded from the same x, D trained against z' ~ p(z).
        kl: KL(q(z|x)‖p(z)) of the same sequences.

    Returns:
        One number a sequence, of either sign.

    References:
        Information-theoretic regularization for learning global features by sequential VAE
        (Akuzawa, Iwasawa, Matsuo, 2021), eqs. 10 and 13
        | https://doi.org/10.1007/s10994-021-06032-4

    Example:
        >>> import torch
        >>> cmi_term(torch.tensor([0.5]), torch.tensor([3.0]))
        tensor([-2.5000])
    """
    return logit - kl
