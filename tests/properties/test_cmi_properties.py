"""What CMI rests on: its identities, its known answer, and what its gradients may touch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

from seqvae_basics import config as basics
from seqvae_basics.distributions import Gaussian
from seqvae_cmi.config import CMI
from seqvae_cmi.losses import cmi_term
from seqvae_cmi.regularizer import AdversarialCritic
from seqvae_core.experiment import KLConfig, LatentConfig, ModelConfig
from seqvae_core.model import build_model, seeded
from seqvae_core.objective import Objective
from seqvae_core.records import Batch, Latent, Noise, Output, Shapes
from seqvae_estimators.config import CriticConfig
from seqvae_estimators.density_ratio import DensityRatioCritic
from seqvae_estimators.losses import logistic_loss
from seqvae_estimators.networks import PairNetwork

seeds = st.integers(0, 2**32)
kinds = st.sampled_from(["conv", "recurrent", "mlp"])


# The analysis, on discrete laws ------------------------------------------------------------------


def law(noise, *shape, over):
    """Draw a table of probabilities that sums to one over the axes `over`."""
    weights = noise.uniform(torch.zeros(shape, dtype=torch.float64)) + 0.05
    return weights / weights.sum(over, keepdim=True)


def entropy(p):
    return torch.special.entr(p).sum()


def information(p):  # a table over (a, b)
    return entropy(p.sum(0)) + entropy(p.sum(1)) - entropy(p)


def conditional_information(p):  # a table over (a, b, c): I(a; b | c)
    return entropy(p.sum(0)) + entropy(p.sum(1)) - entropy(p) - entropy(p.sum((0, 1)))


def analysis(joint, prior):
    """Return the quantities of the analysis for a joint over (x, z, s) and a prior of z."""
    q_zs, q_xz = joint.sum(0), joint.sum(2)
    conditional = q_xz / q_xz.sum(1, keepdim=True)
    rate = torch.special.xlogy(q_xz, conditional / prior).sum()
    false = prior[:, None] * q_zs.sum(0)
    ratio = torch.where(q_zs > 0, q_zs / false, torch.ones_like(false)).log()
    return {
        "I(x;z)": information(q_xz),
        "I(z;s)": information(q_zs),
        "I(x;z|s)": conditional_information(joint),
        "I(z;s|x)": conditional_information(joint.permute(1, 2, 0)),
        "rate": rate,
        "divergence": (q_zs * ratio).sum(),
        "ratio": ratio,
    }


@st.composite
def joints(draw, posterior):
    """Draw q(x) q(z|x) q(s|x), or q(s|x, z) in the last place, and a prior of z."""
    noise = Noise(draw(seeds))
    x, z, s = (draw(st.integers(2, 5)) for _ in range(3))
    q_x, q_z = law(noise, x, 1, 1, over=0), law(noise, x, z, 1, over=1)
    if posterior == "copy":
        q_s = torch.eye(x, dtype=torch.float64)[:, None]
    else:
        q_s = law(noise, x, z if posterior == "full" else 1, s, over=2)
    return q_x * q_z * q_s, law(noise, z, over=0)


@given(joints("factorised"))
def test_what_is_maximised_is_a_conditional_information_when_the_posterior_factorises(drawn):
    found = analysis(*drawn)
    objective = found["I(x;z)"] - found["I(z;s)"]
    torch.testing.assert_close(objective, found["rate"] - found["divergence"])
    torch.testing.assert_close(objective, found["I(x;z|s)"])


@given(joints("full"))
def test_a_full_posterior_exceeds_it_by_what_z_and_s_share_given_x(drawn):
    found = analysis(*drawn)
    objective = found["I(x;z)"] - found["I(z;s)"]
    torch.testing.assert_close(objective, found["rate"] - found["divergence"])
    torch.testing.assert_close(objective, found["I(x;z|s)"] - found["I(z;s|x)"])


@given(joints("copy"))
def test_nothing_is_left_to_maximise_when_s_is_a_copy_of_x(drawn):
    found = analysis(*drawn)
    zero = torch.zeros((), dtype=torch.float64)
    for value in (
        found["I(x;z)"] - found["I(z;s)"],
        found["rate"] - found["divergence"],
        found["I(x;z|s)"],
    ):
        torch.testing.assert_close(value, zero)


@given(joints("factorised"))
def test_the_term_of_a_perfect_critic_is_minus_what_is_maximised(drawn):
    joint, prior = drawn
    found = analysis(joint, prior)
    q_xz = joint.sum(2)
    conditional = q_xz / q_xz.sum(1, keepdim=True)
    kl = (conditional * (conditional / prior).log()).sum(1)  # of each x
    logit = torch.einsum("xzs,zs->x", joint, found["ratio"]) / joint.sum((1, 2))
    mean = (joint.sum((1, 2)) * cmi_term(logit, kl)).sum()
    torch.testing.assert_close(mean, found["I(z;s)"] - found["I(x;z)"])


@given(seeds)
def test_the_term_has_the_gradients_that_it_should(seed):
    like = torch.zeros(4, dtype=torch.float64)
    inputs = [Noise(seed).of(name).normal(like).requires_grad_() for name in ("logit", "kl")]
    assert gradcheck(cmi_term, inputs)


# The known answer --------------------------------------------------------------------------------


class Quadratic(PairNetwork):
    """A logit quadratic in (z, s): it holds the log ratio of any two Gaussian laws."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, dtype=torch.float64))

    def forward(self, a, b):
        z, s = a.sample[:, 0], b.sample[:, 0, 0]
        return torch.stack([torch.ones_like(z), z, s, z * z, s * s, z * s], 1) @ self.weight


def gaussian_example(rows=200_000):
    """Return an output with s ~ N(0, 1), z = 0.5 + 1.5(0.8 s + 0.6 ε) and the prior N(0, 1)."""
    noise, like = Noise(0), torch.zeros(rows, 1, dtype=torch.float64)
    s = noise.of("s").normal(like)
    z = 0.5 + 1.5 * (0.8 * s + 0.6 * noise.of("z").normal(like))
    mask = torch.ones(rows, 1, dtype=torch.bool)
    normal = Gaussian(torch.zeros_like(z), torch.zeros_like(z))
    latents = {
        "z": Latent(name="z", scope="global", sample=z, mask=mask, posterior=normal, prior=normal),
        "s": Latent(name="s", scope="local", sample=s[:, None], mask=mask),
    }
    batch = Batch.of(s[:, None], mask=mask)
    return Output(batch=batch, latents=latents, likelihood=normal, noise=Noise(1), decoder=None)


def minimise(network, loss):
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


@pytest.mark.statistical
def test_the_critic_finds_the_divergence_from_the_prior_that_is_known():
    """Within 0.03 of 0.8554; over seeds the standard deviation is 0.009 (seed fixed)."""
    out, network = gaussian_example(), Quadratic()
    critic = AdversarialCritic(
        "z", "s", CriticConfig(name="conv"), pair=DensityRatioCritic(network)
    )

    def loss():
        out.noise.load_state_dict({})  # the same false pairs each time
        return critic(out)

    minimise(network, loss)
    mean = network(out.latents["z"], out.latents["s"]).mean().item()
    assert mean == pytest.approx(0.8554, abs=0.03)


@pytest.mark.statistical
def test_shuffled_false_pairs_would_find_the_mutual_information_alone():
    """Within 0.03 of 0.5108, which is not what CMI needs (seed fixed)."""
    out, network = gaussian_example(), Quadratic()
    z, s = out.latents["z"], out.latents["s"]
    rolled = Latent(name="z", scope="global", sample=z.sample.roll(1, 0), mask=z.mask)
    minimise(network, lambda: logistic_loss(network(z, s), network(rolled, s)))
    assert network(z, s).mean().item() == pytest.approx(-0.5 * math.log(1 - 0.64), abs=0.03)


# Gradients, padding and order, on a real model ---------------------------------------------------


def small_model(seed):
    normal = basics.StandardNormal()
    config = ModelConfig(
        latents={
            "z": LatentConfig(scope="global", dim=3, prior=normal),
            "s": LatentConfig(scope="local", dim=2, prior=basics.AutoregressiveGaussian(hidden=4)),
        },
        backbone=basics.Identity(),
        encoder=basics.DSAEFactorised(hidden=4),
        decoder=basics.Framewise(hidden=(5,)),
        likelihood=basics.GaussianLikelihood(),
    )
    return build_model(config, Shapes(frame=(2,)), seed).double()


def small_term(model, kind="conv", seed=0, **settings):
    critic = CriticConfig(name=kind, width=4, length=8)
    with seeded(seed, "critic"):
        return CMI(critic=critic, **settings).build(model.shapes).double()


@st.composite
def batches(draw, extra=0):
    """Draw a batch of one to four sequences of one to five frames, `extra` of padding."""
    lengths = torch.tensor(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    like = torch.zeros(len(lengths), int(lengths.max()) + extra, 2, dtype=torch.float64)
    mask = torch.arange(like.shape[1]) < lengths[:, None]
    return Batch.of(Noise(draw(seeds)).normal(like), mask=mask)


def gradients(model, entries, terms, batch):
    kls = {"z": KLConfig(), "s": KLConfig()}
    objective = Objective(kls, entries, terms)
    loss = objective(model(batch, Noise(3)), 0).total.mean()
    return torch.autograd.grad(loss, list(model.parameters()))


@given(seeds, batches(), kinds)
def test_weight_zero_gives_the_gradients_of_the_plain_vae_exactly(seed, batch, kind):
    model = small_model(seed)
    term = small_term(model, kind, weight=0.0)
    with_term = gradients(model, {"cmi": CMI(weight=0.0)}, {"cmi": term}, batch)
    for a, b in zip(with_term, gradients(model, {}, {}, batch), strict=True):
        assert a.equal(b)


@given(seeds, batches(), kinds, st.floats(0.01, 0.99))
def test_the_weight_scales_what_the_term_adds_to_the_gradients(seed, batch, kind, weight):
    model = small_model(seed)
    term = small_term(model, kind)
    whole = gradients(model, {"cmi": CMI(weight=weight)}, {"cmi": term}, batch)
    alone = torch.autograd.grad(
        term(model(batch, Noise(3))).mean(), list(model.parameters()), allow_unused=True
    )
    for total, plain, own in zip(whole, gradients(model, {}, {}, batch), alone, strict=True):
        torch.testing.assert_close(total, plain if own is None else plain + weight * own)


def assert_each_moves_its_own(term, model, out):
    term.critic(out).backward()  # even on an output with its graph
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in term.critic.parameters())
    for parameter in term.critic.parameters():
        parameter.grad = None
    term(out).mean().backward(inputs=list(model.parameters()))
    assert all(p.grad is None for p in term.critic.parameters())


@given(seeds, batches(), kinds)
def test_the_critic_moves_nothing_of_the_model_and_the_term_nothing_of_the_critic(
    seed, batch, kind
):
    model = small_model(seed)
    term = small_term(model, kind)
    assert_each_moves_its_own(term, model, model(batch, Noise(3)))


@given(seeds, batches(extra=2), kinds)
def test_the_term_reaches_z_and_s_in_every_real_frame(seed, batch, kind):
    model = small_model(seed)
    out = model(batch, Noise(3))
    z, s = out.latents["z"].sample, out.latents["s"].sample
    logit = small_term(model, kind).critic.pair(out.latents["z"], out.latents["s"])
    to_z, to_s = torch.autograd.grad(logit.sum(), [z, s])
    assert to_z.any(1).all()
    assert to_s.any(2).equal(batch.mask)


@given(seeds, batches(extra=2), kinds, st.sampled_from([float("nan"), 1e20]))
def test_what_the_padding_holds_changes_no_bit_of_term_and_critic(seed, batch, kind, content):
    model = small_model(seed)
    term = small_term(model, kind)
    x = batch.x.clone()
    x[~batch.mask] = content
    outs = [model(b, Noise(3)) for b in (batch, Batch.of(x, mask=batch.mask))]
    assert term(outs[0]).equal(term(outs[1]))
    assert term.critic(outs[0]).equal(term.critic(outs[1]))


@given(seeds, batches(), kinds, st.integers(1, 3))
def test_how_much_padding_there_is_changes_next_to_nothing(seed, batch, kind, extra):
    model = small_model(seed)
    term = small_term(model, kind)
    longer = Batch.of(
        nn.functional.pad(batch.x, (0, 0, 0, extra)),
        mask=nn.functional.pad(batch.mask, (0, extra)),
    )
    outs = [model(b, Noise(3)) for b in (batch, longer)]
    torch.testing.assert_close(term(outs[1]), term(outs[0]), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(term.critic(outs[1]), term.critic(outs[0]), rtol=1e-6, atol=1e-12)


@given(seeds, batches(), kinds, st.data())
def test_permuting_the_batch_permutes_the_rows_of_the_term(seed, batch, kind, data):
    order = torch.tensor(data.draw(st.permutations(range(len(batch)))))
    model = small_model(seed)
    term = small_term(model, kind)
    ours, theirs = (
        term(model(b, Noise(3), deterministic=True)) for b in (batch, batch.rows(order))
    )
    torch.testing.assert_close(theirs, ours[order])
