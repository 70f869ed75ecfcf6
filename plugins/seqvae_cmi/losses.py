"""Pure maths of CMI, in nats: one number a sequence, nothing reduced over the batch."""

from torch import Tensor

__all__ = ["cmi_term", "estimated_cmi_term", "mi_vae_term"]


def cmi_term(
    joint: Tensor,  # (B,)
    kl: Tensor,  # (B,)
    marginal: Tensor | None = None,  # (B,)
    alpha: float = 1.0,
) -> Tensor:  # (B,)
    r"""Return what γ weighs in the loss, α·logit D(z, s) + (1 - α)·logit D(z) - KL(z), nats.

    Added to the negative ELBO with weight γ it gives, at α = 1, minus

    \(E \sum_t \ln p(x_t|z, s_t) - (1-\gamma) KL(z) - KL(s) - \gamma E_{q(z,s)}[\ln D - \ln(1-D)]\)

    As \(E[\operatorname{logit} D(z, s)] \approx KL(q(z,s) \| p(z) q(s))\) and
    \(E[\operatorname{logit} D(z)] \approx KL(q(z) \| p(z))\), its mean over sequences is
    \(\alpha I(z;s) - I(x;z)\) (eqs. 8 and 10). Only true pairs enter, each with its plain logit: no
    non-saturating form, no false pairs.

    Args:
        joint: logit D on (z, s) encoded from the same x, D trained against z' ~ p(z).
        kl: KL(q(z|x)‖p(z)) of the same sequences.
        marginal: logit D on z alone, D trained against z' ~ p(z); only needed for α ≠ 1.
        alpha: how much of I(z;s) is penalised, in [0, 1].

    Returns:
        One number a sequence, of either sign.

    References:
        Information-theoretic regularization for learning global features by sequential VAE
        (Akuzawa, Iwasawa, Matsuo, 2021), eqs. 8, 10 and 13
        | https://doi.org/10.1007/s10994-021-06032-4

    Example:
        >>> import torch
        >>> cmi_term(torch.tensor([0.5]), torch.tensor([3.0]))
        tensor([-2.5000])
    """
    if marginal is None:
        return joint - kl
    return alpha * joint + (1.0 - alpha) * marginal - kl


def mi_vae_term(
    marginal: Tensor,  # (B,)
    kl: Tensor,  # (B,)
) -> Tensor:  # (B,)
    r"""Return what γ weighs in the MI-VAE's loss, logit D(z) - KL(z), nats.

    Its mean over sequences is minus I(x;z): with weight γ, KL(z) is weighed 1 - γ and
    \(KL(q(z) \| p(z))\) stays at weight 1.

    Args:
        marginal: logit D on z encoded from x, D trained against z' ~ p(z).
        kl: KL(q(z|x)‖p(z)) of the same sequences.

    References:
        The baseline of Akuzawa, Iwasawa, Matsuo (2021); its adversarial form is inferred
    """
    return marginal - kl


def estimated_cmi_term(
    information: Tensor,  # (B,)
    marginal: Tensor,  # (B,)
    kl: Tensor,  # (B,)
    alpha: float = 1.0,
) -> Tensor:  # (B,)
    r"""Return α·Î(z;s) + logit D(z) - KL(z), nats: `cmi_term` with I(z;s) estimated on its own.

    Without the second part \(KL(q(z) \| p(z))\) would go unpunished.

    Args:
        information: an estimate of I(z;s), a share for each sequence.
        marginal: logit D on z encoded from x, D trained against z' ~ p(z).
        kl: KL(q(z|x)‖p(z)) of the same sequences.
        alpha: how much of I(z;s) is penalised, in [0, 1].
    """
    return alpha * information + marginal - kl
