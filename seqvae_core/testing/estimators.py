"""What an estimator of mutual information must hold, and the critic that it may offer."""

import math
from typing import Any, cast

import torch
from attrs import evolve
from torch import Tensor, nn

from seqvae_core.components import Estimate, MIEstimator, MIEstimatorConfig, PairCritic
from seqvae_core.errors import SeqVAEError
from seqvae_core.functional import zero_padding
from seqvae_core.model import seeded
from seqvae_core.records import Batch, Latent, Noise, Scope, Shapes, Variable
from seqvae_core.testing.claims import Subject, finite, require, shaped
from seqvae_core.testing.parts import Part, check_part

__all__ = ["check_mi_estimator"]

CORRELATION = 0.8
TRUTH = -0.5 * math.log(1.0 - CORRELATION**2)  # 0.5108 nats
PAIRS = 2000
MARGIN = 0.12
A = Variable(name="a", scope="global", shape=(1,))
B = Variable(name="b", scope="global", shape=(1,))
S = Variable(name="b", scope="local", shape=(2,))


def check_mi_estimator(subject: Subject, shapes: Shapes) -> None:
    """Check known answers on Gaussians, then the critic, offered exactly where it is declared.

    The margin of 0.12 nats is four standard errors of the mean log ratio over a third of the 2000
    pairs, whose deviation is the correlation itself: an estimator that reads as many fails by
    chance less than once in 10 000 seeds, and seeds are fixed.
    """
    config = cast(MIEstimatorConfig, subject.config)

    def estimator() -> MIEstimator:
        with seeded(0, "testing"):
            return config.build(_pair(shapes, A, B))

    known = f"find I = {TRUTH:.4f} nats of Gaussians with correlation {CORRELATION}"
    with subject.must(known, first=True):
        _near(estimator().estimate(*_gaussians(CORRELATION), Noise(0)), TRUTH, loose=config.loose)
    with subject.must("find I = 0 nats of independent Gaussians"):
        a, b = _gaussians(0.0)
        first = estimator().estimate(a, b, Noise(0))
        _near(first, 0.0)
    with subject.must("give the same estimate from the same noise"):
        second = estimator().estimate(a, b, Noise(0)).value
        require(second == first.value, f"got {second} after {first.value}")
    if config.offers_critic:
        _critic(subject, config, shapes)
    else:
        with subject.must("offer no critic, or declare offers_critic = True"):
            try:
                critic = estimator().critic(_pair(shapes, A, B))
            except TypeError:
                return
            require(False, f"got {type(critic).__name__}, expected a TypeError")


def _pair(shapes: Shapes, a: Variable, b: Variable) -> Shapes:
    return evolve(shapes, latents={a.name: a, b.name: b})


def _gaussians(correlation: float) -> tuple[Latent, Latent]:
    like = torch.empty(PAIRS, 1, dtype=torch.float64)
    a, other = (Noise(1).of(name).normal(like) for name in ("a", "b"))
    b = correlation * a + math.sqrt(1.0 - correlation**2) * other
    mask = torch.ones(PAIRS, 1, dtype=torch.bool)
    return tuple(  # type: ignore[return-value]
        Latent(name=name, scope="global", sample=value, mask=mask)
        for name, value in (("a", a), ("b", b))
    )


def _near(got: Estimate, truth: float, *, loose: bool = False) -> None:
    """Require an estimate near the truth, and not beyond it on a side that it declares.

    Of a loose bound only the side is asked.
    """
    require(isinstance(got, Estimate), f"got {type(got).__name__}, expected an Estimate")
    require(got.bound in ("lower", "upper", "none"), f"got the bound '{got.bound}'")
    require(got.n >= 1, f"got n = {got.n}")
    require(not got.stderr < 0.0, f"got a standard error of {got.stderr}")
    error = 0.0 if math.isnan(got.stderr) else got.stderr
    margin = max(MARGIN, 4.0 * error)
    low, high = truth - margin, truth + margin
    if got.bound == "lower":
        low, high = -math.inf if loose else low, truth + 4.0 * error + 0.02
    elif got.bound == "upper":
        low, high = truth - 4.0 * error - 0.02, math.inf if loose else high
    bound = "no bound" if got.bound == "none" else f"{got.bound} bound"
    require(
        math.isfinite(got.value) and low <= got.value <= high,
        f"got {got.value:.4f} ± {error:.4f} ({bound}), expected {low:.4f} to {high:.4f}",
    )


# The critic --------------------------------------------------------------------------------------


def _critic(subject: Subject, config: MIEstimatorConfig, shapes: Shapes) -> None:
    accepted, refusals = [], []
    with subject.must("offer a critic for some pair of variables, and refuse by a SeqVAEError"):
        for second in (S, B):
            try:
                with seeded(0, "testing"):
                    config.build(_pair(shapes, A, second)).critic(_pair(shapes, A, second))
            except SeqVAEError as error:
                refusals.append(str(error))
            else:
                accepted.append(second)
        require(bool(accepted), f"all were refused: {'; '.join(refusals)}")
    for second in accepted:
        _critic_of(subject, config, shapes, second)


def _critic_of(
    subject: Subject, config: MIEstimatorConfig, shapes: Shapes, second: Variable
) -> None:
    pair = _pair(shapes, A, second)

    def make() -> nn.Module:
        return config.build(pair).critic(pair)

    def latents(batch: Batch, scope: Scope = second.scope) -> tuple[Latent, Latent]:
        """Cut a and b out of the batch's frames."""
        a, b = 4.0 * batch.x[:, 0, :1] - 2.0, 4.0 * batch.x[..., 1 : 1 + second.size] - 2.0
        sample = b if scope == "local" else b[:, 0]
        return (
            Latent(name="a", scope="global", sample=a, mask=batch.mask),
            Latent(name="b", scope=scope, sample=sample, mask=batch.mask),
        )

    def ratios(critic: Any, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        value = critic(*latents(batch))
        shaped("the critic's output", value, (len(batch),))
        return {"the critic's output": value}

    def losses(critic: Any, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        a, b = latents(batch)
        other = Latent(name="a", scope="global", sample=a.sample.flip(0), mask=a.mask)
        loss, logged = critic.loss((a, b), (other, b))
        shaped("the critic's loss", loss, ())
        finite({name: torch.as_tensor(value) for name, value in logged.items()})
        return {"the critic's loss": loss}

    carrier = evolve(shapes, frame=(1 + second.size,), labels={})
    of_term = Part(subject=subject, make=make, shapes=carrier, outputs=ratios)
    with subject.must("offer a PairCritic through which gradients reach both variables"):
        critic: Any = of_term.module()
        require(isinstance(critic, PairCritic), f"got {type(critic).__name__}")
        batch = of_term.batch()
        batch.x.requires_grad_()
        a, b = latents(evolve(batch, x=zero_padding(batch.x, batch.mask)))
        slopes = torch.autograd.grad(critic(a, b).sum(), batch.x)[0]
        for name, slope in (("a", slopes[:, 0, :1]), ("b", slopes[..., 1:])):
            require(bool(slope.any()), f"got none to {name}")
            finite({f"the gradient to {name}": slope})
    check_part(evolve(of_term, trained=False))
    check_part(evolve(of_term, outputs=losses, scalar=True))
