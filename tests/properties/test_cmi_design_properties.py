"""What the four objectives of the 2×2 design are, and how their terms fit together."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_cmi_properties import (
    Quadratic,
    analysis,
    assert_each_moves_its_own,
    batches,
    gaussian_example,
    gradients,
    joints,
    minimise,
    seeds,
    small_model,
)
from torch import nn

from seqvae_cmi.config import CMI, MIVAE
from seqvae_cmi.losses import cmi_term, estimated_cmi_term, mi_vae_term
from seqvae_cmi.regularizer import AdversarialCritic
from seqvae_core.errors import ConfigError
from seqvae_core.records import Noise
from seqvae_estimators.config import CriticConfig, DensityRatio
from seqvae_estimators.density_ratio import DensityRatioCritic, MarginalCritic

GAMMA = st.floats(0.0, 0.99)
MLP = CriticConfig(name="mlp", width=4)
CONV = CriticConfig(name="conv", width=4)


def exactly(joint, prior):
    """Return I(x;z), I(z;s), KL(q(z)‖p(z)), and each x's KL(z) and perfect mean logits."""
    found = analysis(joint, prior)
    q_zs, q_xz, q_x = joint.sum(0), joint.sum(2), joint.sum((1, 2))
    q_z = q_zs.sum(1)
    conditional = q_xz / q_x[:, None]
    pairs = joint / q_x[:, None, None]
    of_x = {
        "kl": (conditional * (conditional / prior).log()).sum(1),
        "joint": torch.einsum("xzs,zs->x", pairs, found["ratio"]),
        "marginal": conditional @ (q_z / prior).log(),
        "shuffled": torch.einsum("xzs,zs->x", pairs, (q_zs / q_z[:, None] / q_zs.sum(0)).log()),
    }
    k0 = (q_z * (q_z / prior).log()).sum()
    return found["I(x;z)"], found["I(z;s)"], k0, of_x, q_x


@given(joints("factorised"), GAMMA)
def test_each_arm_of_the_design_is_the_sum_of_informations_that_it_is_said_to_be(drawn, gamma):
    i_xz, i_zs, k0, of_x, q_x = exactly(*drawn)
    rate = i_xz + k0
    terms = {
        "beta": -of_x["kl"],
        "mi-vae": mi_vae_term(of_x["marginal"], of_x["kl"]),
        "shuffled": cmi_term(of_x["shuffled"], of_x["kl"]),
        "cmi": cmi_term(of_x["joint"], of_x["kl"]),
    }
    expected = {
        "beta": (1 - gamma) * i_xz + (1 - gamma) * k0,
        "mi-vae": (1 - gamma) * i_xz + k0,
        "shuffled": (1 - gamma) * i_xz + (1 - gamma) * k0 + gamma * i_zs,
        "cmi": (1 - gamma) * i_xz + k0 + gamma * i_zs,
    }
    for arm, term in terms.items():
        torch.testing.assert_close(rate + gamma * (q_x * term).sum(), expected[arm], msg=arm)


@given(joints("full"), st.floats(0.0, 1.0))
def test_alpha_weighs_what_z_and_s_share_and_nothing_else(drawn, alpha):
    i_xz, i_zs, _, of_x, q_x = exactly(*drawn)
    direct = cmi_term(of_x["joint"], of_x["kl"], of_x["marginal"], alpha)
    estimated = estimated_cmi_term(of_x["shuffled"], of_x["marginal"], of_x["kl"], alpha)
    for term in (direct, estimated):
        torch.testing.assert_close((q_x * term).sum(), alpha * i_zs - i_xz)


@given(seeds, batches())
def test_the_mi_vae_is_cmi_at_alpha_zero(seed, batch):
    model = small_model(seed)
    ours, theirs = (
        config.build(model.shapes).double()
        for config in (CMI(alpha=0.0, critic=CONV), MIVAE(critic=MLP))
    )
    theirs.critic.marginal.load_state_dict(ours.critic.marginal.state_dict())
    one = gradients(model, {"a": CMI(alpha=0.0)}, {"a": ours}, batch)
    other = gradients(model, {"a": MIVAE()}, {"a": theirs}, batch)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


@given(seeds, batches())
def test_the_mi_vae_at_weight_zero_has_the_gradients_of_the_plain_vae_exactly(seed, batch):
    model = small_model(seed)
    term = MIVAE(weight=0.0, critic=MLP).build(model.shapes).double()
    with_term = gradients(model, {"a": MIVAE(weight=0.0)}, {"a": term}, batch)
    assert all(a.equal(b) for a, b in zip(with_term, gradients(model, {}, {}, batch), strict=True))


@given(seeds, batches(), st.sampled_from(["mi-vae", "alpha", "shuffled", "estimator"]))
def test_no_critic_moves_the_model_and_no_term_its_critic(seed, batch, kind):
    settings = {
        "alpha": {"alpha": 0.5},
        "shuffled": {"negatives": "shuffled"},
        "estimator": {"estimator": DensityRatio(critic=CONV)},
    }
    config = MIVAE(critic=MLP) if kind == "mi-vae" else CMI(critic=CONV, **settings[kind])
    model = small_model(seed)
    term = config.build(model.shapes).double()
    if kind in ("shuffled", "estimator") and len(batch) == 1:
        batch = batch.rows(torch.tensor([0, 0]))
    assert_each_moves_its_own(term, model, model(batch, Noise(3)))


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("arm", "expected"), [("prior", 0.8554), ("shuffled", 0.5108), ("marginal", 0.3445)]
)
def test_each_critic_finds_the_divergence_that_is_its_own(arm, expected):
    """Within 0.03 of the known answer; over seeds the deviation is about 0.009 (seed fixed)."""
    out, network = gaussian_example(), Quadratic()
    pair = None if arm == "marginal" else DensityRatioCritic(network)
    marginal = MarginalCritic(_OfZ(network)) if arm == "marginal" else None
    config = CriticConfig(name="conv")
    critic = AdversarialCritic(
        "z", "s", config, pair=pair, marginal=marginal, shuffled=arm == "shuffled"
    )

    def loss():
        out.noise.load_state_dict({})
        return critic(out)

    minimise(network, loss)
    z, s = out.latents["z"], out.latents["s"]
    value = pair(z, s) if marginal is None else marginal(z)
    assert value.mean().item() == pytest.approx(expected, abs=0.03)


class _OfZ(nn.Module):
    """The quadratic logit, blind to s."""

    def __init__(self, quadratic):
        super().__init__()
        self.quadratic = quadratic

    def forward(self, a):
        z = a.sample[:, 0]
        return torch.stack([torch.ones_like(z), z, z * z], 1) @ self.quadratic.weight[[0, 1, 3]]


def test_settings_that_contradict_one_another_are_refused():
    with pytest.raises(ValueError, match="must not be given with 'alpha' or 'estimator'"):
        CMI(negatives="shuffled", alpha=0.5)
    with pytest.raises(ConfigError, match="offers no critic"):
        CMI(estimator=_NoCritic())


class _NoCritic:
    name, offers_critic = "closed-form", False
