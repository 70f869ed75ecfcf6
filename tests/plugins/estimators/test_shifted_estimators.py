"""InfoNCE, NWJ and CLUB: known answers, sides, ceilings; R1 and spectral norms of critics."""

import math
import warnings

import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from torch.autograd import gradcheck

from seqvae_cmi.config import CMI
from seqvae_core.functional import gaussian_log_prob
from seqvae_core.model import seeded
from seqvae_core.records import Latent, Noise, Shapes, Variable
from seqvae_core.settings import OptimizerConfig
from seqvae_estimators.config import CLUB, NWJ, CriticConfig, DensityRatio, InfoNCE
from seqvae_estimators.density_ratio import DensityRatioCritic, MarginalCritic
from seqvae_estimators.losses import club, info_nce, nwj

RHO = 0.8
TRUTH = -0.5 * math.log(1 - RHO**2)
SMALL = CriticConfig(name="conv", width=16, optimizer=OptimizerConfig(lr=2e-3))
GRID = Variable(name="s", scope="local", shape=(3, 4, 4))
Z = Variable(name="z", scope="global", shape=(2,))
S = Variable(name="s", scope="local", shape=(3,))


def gaussians(rows, rho=RHO, seed=0):
    like = torch.empty(rows, dtype=torch.float64)
    a, e = (Noise(seed).of(name).normal(like) for name in "ae")
    return a, rho * a + math.sqrt(1 - rho**2) * e


def scored(score, rows=20_000, shifts=64):
    """Return scores of Gaussian pairs, (N,), and of their shifts, (K, N)."""
    a, b = gaussians(rows)
    return score(a, b), torch.stack([score(a, b.roll(-k)) for k in range(1, shifts + 1)])


def log_ratio(a, b):
    given = gaussian_log_prob(b, RHO * a, torch.tensor(math.log(1 - RHO**2)))
    return given - gaussian_log_prob(b, torch.zeros(()), torch.zeros(()))


# The formulas, at the true log ratio -------------------------------------------------------------


@pytest.mark.statistical
def test_info_nce_at_the_true_ratio_nears_the_truth_from_below():
    """Within 0.03: the standard error is 0.006 (seed fixed)."""
    values = [info_nce(*scored(log_ratio, shifts=k)).mean().item() for k in (1, 8, 64)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(TRUTH, abs=0.03)
    assert values[-1] < TRUTH + 0.02


@pytest.mark.statistical
def test_nwj_at_the_true_ratio_is_the_truth():
    """Within 0.03: the standard error is 0.006 (seed fixed)."""
    assert nwj(*scored(log_ratio)).mean().item() == pytest.approx(TRUTH, abs=0.03)


@pytest.mark.statistical
def test_club_of_the_true_conditional_law_is_its_own_known_answer_above_the_truth():
    """ρ²/(1 - ρ²), within 0.08: the standard error is 0.02 (seed fixed)."""
    logvar = torch.tensor(math.log(1 - RHO**2))
    value = club(*scored(lambda a, b: gaussian_log_prob(b, RHO * a, logvar))).mean().item()
    assert value == pytest.approx(RHO**2 / (1 - RHO**2), abs=0.08)
    assert value > TRUTH


@given(seeds, st.integers(1, 6), st.integers(1, 9), st.floats(0.1, 50.0))
def test_info_nce_never_exceeds_its_ceiling(seed, rows, shifts, scale):
    noise = Noise(seed)
    positive = scale * noise.of("p").normal(torch.zeros(rows, dtype=torch.float64))
    negative = scale * noise.of("q").normal(torch.zeros(shifts, rows, dtype=torch.float64))
    assert (info_nce(positive, negative) <= math.log(shifts + 1) + 1e-9).all()


@given(seeds, st.sampled_from([info_nce, nwj, club]))
def test_the_shares_have_the_gradients_that_they_should(seed, share):
    noise = Noise(seed)
    inputs = [noise.of(n).normal(torch.zeros(shape, dtype=torch.float64)).requires_grad_()
              for n, shape in (("p", (3,)), ("q", (2, 3)))]  # fmt: skip
    assert gradcheck(share, inputs)


@given(seeds, st.sampled_from([info_nce, club]), st.floats(-5.0, 5.0))
def test_adding_a_constant_to_all_scores_changes_nothing(seed, share, constant):
    noise = Noise(seed)
    positive = noise.of("p").normal(torch.zeros(4, dtype=torch.float64))
    negative = noise.of("q").normal(torch.zeros(3, 4, dtype=torch.float64))
    torch.testing.assert_close(
        share(positive + constant, negative + constant), share(positive, negative)
    )


# Trained critics ---------------------------------------------------------------------------------


def latent(value, name, scope="global"):
    mask = torch.ones(len(value), value.shape[1] if scope == "local" else 1, dtype=torch.bool)
    return Latent(name=name, scope=scope, sample=value, mask=mask)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("config", "low", "high"),
    [
        (InfoNCE(critic=SMALL, steps=600), TRUTH - 0.15, TRUTH + 0.12),
        (NWJ(critic=SMALL, steps=600), TRUTH - 0.2, TRUTH + 0.12),
        (CLUB(critic=SMALL, steps=600), TRUTH, 2.2),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_global_variable_in_every_frame_is_found_on_its_side(config, low, high):
    """The standard error over 300 test rows is about 0.04 (seed fixed)."""
    a, b = gaussians(1000)
    s = b[:, None, None] + 0.0 * Noise(3).normal(torch.zeros(1000, 4, 1, dtype=torch.float64))
    found = config.build(Shapes(frame=(1,))).estimate(
        latent(a[:, None], "z"), latent(s, "s", "local"), Noise(0)
    )
    assert low < found.value < high
    assert found.bound == config.bound


def test_the_note_of_info_nce_says_where_it_saturates():
    a, b = gaussians(60)
    config = InfoNCE(critic=SMALL, steps=3, shuffles=7)
    found = config.build(Shapes(frame=(1,))).estimate(
        latent(a[:, None], "a"), latent(b[:, None], "b"), Noise(0)
    )
    assert "cannot exceed ln 8 = 2.079" in found.note


def test_one_row_tells_nothing():
    critic = InfoNCE(critic=SMALL).build(Shapes(frame=(1,))).make(Z, S)
    value = critic(latent(torch.ones(1, 2), "z"), latent(torch.ones(1, 4, 3), "s", "local"))
    assert value.tolist() == [0.0]


def test_minimising_a_lower_bound_warns_and_other_estimates_do_not():
    shapes = Shapes(frame=(3,), latents={"z": Z, "s": S})
    for config in (InfoNCE(critic=SMALL), NWJ(critic=SMALL)):
        with pytest.warns(UserWarning, match="a lower bound of I"):
            CMI(estimator=config).build(shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for config in (CLUB(critic=SMALL), DensityRatio(critic=SMALL)):
            CMI(estimator=config).build(shapes)


# Networks of critics -----------------------------------------------------------------------------


def pair_on(variable, rows=4, frames=3, seed=0):
    noise = Noise(seed)
    s = noise.of("s").normal(torch.zeros(rows, frames, *variable.shape))
    mask = torch.arange(frames) < (1 + torch.arange(rows) % frames)[:, None]
    return (
        Latent(name="z", scope="global", sample=noise.of("z").normal(torch.zeros(rows, 2)),
               mask=mask),
        Latent(name="s", scope="local", sample=s, mask=mask),
    )  # fmt: skip


@pytest.mark.parametrize("variable", [S, GRID], ids=["vector", "grid"])
@pytest.mark.parametrize("kind", ["conv", "location"])
def test_critics_take_frames_and_grids_and_ignore_the_padding(kind, variable):
    z, s = pair_on(variable)
    network = CriticConfig(name=kind, width=6, kernel=3).build(Z, variable)
    filled = s.sample.clone()
    filled[~s.mask] = float("nan")
    assert network(z, s).shape == (4,)
    assert network(z, s).equal(network(z, evolve(s, sample=filled)))
    assert len(network.places(z, s)) == (4 if kind == "conv" else
                                         int(s.mask.sum()) * variable.size // 3)  # fmt: skip


def test_a_location_sees_its_own_place_alone():
    z, s = pair_on(GRID, rows=1, frames=1)
    network = CriticConfig(name="location", width=6).build(Z, GRID)
    changed = s.sample.clone()
    changed[..., 2, 1] += 1.0
    before, after = network.places(z, s), network.places(z, evolve(s, sample=changed))
    assert (before != after).nonzero().flatten().tolist() == [2 * 4 + 1]


def test_the_spectral_norm_of_each_layer_is_one():
    with seeded(0, "critic"):
        network = CriticConfig(name="mlp", width=32, depth=2, spectral_norm=True, length=3).build(
            Z, S
        )
    z, s = pair_on(S)
    for _ in range(30):
        network(z, s)
    weights = [m.weight for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert len(weights) == 3
    for weight in weights:
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1.0, abs=1e-3)


def test_spectral_norms_of_a_recurrent_critic_are_refused():
    with pytest.raises(ValueError, match="'spectral_norm' must be false for critic 'recurrent'"):
        CriticConfig(name="recurrent", spectral_norm=True)


class Linear(torch.nn.Module):
    """A logit whose squared gradient is known: |w|² on z, |v|² in every frame of s."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        self.v = torch.nn.Parameter(torch.tensor([1.0, 2.0, 2.0]))

    def places(self, a, b):
        return a.sample @ self.w + (b.sample @ self.v).sum(1)

    forward = places


def test_r1_adds_half_the_squared_gradient_on_true_pairs_with_respect_to_both():
    z, s = pair_on(S, frames=5)
    plain, _ = DensityRatioCritic(Linear()).loss((z, s), (z, s))
    punished, logged = DensityRatioCritic(Linear(), r1=0.1).loss((z, s), (z, s))
    assert logged["squared_gradient"].item() == pytest.approx(25.0 + 5 * 9.0)
    assert (punished - plain).item() == pytest.approx(0.5 * 0.1 * 70.0)


@pytest.mark.parametrize("kind", ["mlp", "recurrent", "conv", "location"])
def test_r1_reaches_every_network_and_moves_nothing_else(kind):
    config = CriticConfig(name=kind, width=5, length=3, r1=1.0)
    z, s = pair_on(S)
    z.sample.requires_grad_()
    critic = DensityRatioCritic(config.build(Z, S), config.r1)
    critic.loss((z.detach(), s), (z.detach(), s))[0].backward()
    assert z.sample.grad is None
    assert all(p.grad is not None for p in critic.parameters() if p.ndim > 1)
    alone = MarginalCritic(config.build_marginal(Z), 1.0)
    assert "squared_gradient" in alone.loss(z.detach(), z.detach())[1]
