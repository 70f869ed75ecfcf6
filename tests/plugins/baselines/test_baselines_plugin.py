"""The settings of the baselines, which latent they take, and how they train."""

import pytest
import torch
from hypothesis import given
from strategies import normal, seeds

from seqvae_baselines.config import DIPVAEI, DIPVAEII, AnnealedVAE, BetaTCVAE, FactorVAE
from seqvae_baselines.losses import covariance
from seqvae_baselines.regularizers import PermutationCritic
from seqvae_basics import config as basics
from seqvae_basics.distributions import Gaussian
from seqvae_core.config import structure_component
from seqvae_core.devices import make_fabric
from seqvae_core.errors import ConfigError, ShapeError
from seqvae_core.experiment import (
    Experiment,
    KLConfig,
    LatentConfig,
    ModelConfig,
    TrainConfig,
)
from seqvae_core.loading import collate
from seqvae_core.records import Batch, Latent, Noise, Output, Shapes, Splits, Variable
from seqvae_core.settings import OptimizerConfig, Schedule
from seqvae_core.training import Trainer
from seqvae_estimators.config import CriticConfig

SMALL = CriticConfig(name="mlp", width=6)
RISE = Schedule(name="linear", steps=4)
TERMS = [
    FactorVAE(critic=SMALL),
    BetaTCVAE(samples=32),
    DIPVAEI(),
    DIPVAEII(),
    AnnealedVAE(capacity=8.0, rise=RISE, weight=10.0),
]
each_term = pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)


def with_latents(family="gaussian", **scopes):
    variables = {
        name: Variable(name=name, scope=scope, shape=(2,), family=family)
        for name, scope in scopes.items()
    }
    return Shapes(frame=(3,), latents=variables)


def out_of(z):
    """Return an output that has what the terms read of z."""
    mask = torch.ones(len(z), 1, dtype=torch.bool)
    law = Gaussian(z, torch.zeros_like(z))
    latent = Latent(name="z", scope="global", sample=z, mask=mask, posterior=law, prior=law)
    batch = Batch.of(torch.zeros(len(z), 1, 3), mask=mask)
    return Output(
        batch=batch, latents={"z": latent}, likelihood=law, noise=Noise(0), decoder=None
    )  # fmt: skip


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (BetaTCVAE, {"samples": 1}, "'samples' must be >= 2: 1"),
        (DIPVAEI, {"ratio": -1.0}, "'ratio' must be >= 0.0: -1.0"),
        (AnnealedVAE, {"capacity": -1.0}, "'capacity' must be >= 0.0: -1.0"),
        (FactorVAE, {"weight": -1.0}, "'weight' must be >= 0.0: -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls(**settings)


def test_defaults_are_the_published_ones():
    critic = FactorVAE().critic
    assert (critic.depth, critic.width, critic.steps, critic.after) == (6, 1000, 1, True)
    assert (critic.optimizer.lr, critic.optimizer.betas) == (1e-4, (0.5, 0.9))
    assert (DIPVAEI().ratio, DIPVAEII().ratio) == (10.0, 1.0)
    annealed = AnnealedVAE()
    assert (annealed.weight, annealed.capacity, annealed.rise.steps) == (1000.0, 25.0, 100_000)
    assert BetaTCVAE(samples=10).sampling == "weighted"


@pytest.mark.parametrize("mean_of", ["sequence", "batch"])
def test_a_capacity_couples_the_batch_where_its_mean_is_held(mean_of):
    assert AnnealedVAE(mean_of=mean_of).couples_batch is (mean_of == "batch")


# Which latent ------------------------------------------------------------------------------------


@each_term
def test_the_only_global_latent_is_taken_or_one_by_its_name(term):
    assert term.build(with_latents(z="global", s="local")).z == "z"
    named = type(term)(**{**settings_of(term), "global_latent": "y"})
    assert named.build(with_latents(z="global", y="global")).z == "y"


def settings_of(term):
    return {"samples": term.samples} if isinstance(term, BetaTCVAE) else {}


@each_term
@pytest.mark.parametrize(
    ("scopes", "given", "message"),
    [
        ({"z": "global", "y": "global"}, None,
         "expects one global latent, or 'global_latent'; the model has: z, y"),
        ({"s": "local"}, None,
         "expects one global latent, or 'global_latent'; the model has: none"),
        ({"z": "global", "s": "local"}, "s",
         "expects a global latent in 'global_latent', got 's'; the model has: z"),
    ],
)  # fmt: skip
def test_local_missing_and_ambiguous_latents_are_refused_with_the_choices(
    term, scopes, given, message
):
    config = type(term)(**{**settings_of(term), "global_latent": given})
    with pytest.raises(ShapeError) as caught:
        config.build(with_latents(**scopes))
    assert str(caught.value) == f"{term.name} {message}"


def test_posterior_variances_are_asked_of_gaussians_alone():
    shapes = with_latents(family="gumbel", z="global")
    with pytest.raises(ShapeError, match="expected a gaussian latent, got 'z' of gumbel"):
        DIPVAEII().build(shapes)
    assert DIPVAEI().build(shapes).z == "z"


@pytest.mark.parametrize("term", [FactorVAE(), BetaTCVAE(samples=9), DIPVAEI(), DIPVAEII()])
def test_what_wants_independent_numbers_refuses_a_categorical_latent(term):
    with pytest.raises(ShapeError) as caught:
        term.build(with_latents(family="gumbel-categorical", z="global"))
    assert str(caught.value) == (
        f"{term.name} asks a latent's numbers to be independent, those of categorical 'z' cannot "
        "be; choose another by 'global_latent'"
    )


# Batches -----------------------------------------------------------------------------------------


def test_a_batch_larger_than_the_data_are_said_to_be_is_refused():
    term = BetaTCVAE(samples=4).build(with_latents(z="global"))
    with pytest.raises(ShapeError, match="expected batches of at most samples = 4, got 5"):
        term(out_of(normal(0, 5, 2)))


def test_a_discriminator_without_anything_to_permute_is_refused():
    term = FactorVAE(critic=SMALL).build(with_latents(z="global")).double()
    with pytest.raises(ShapeError, match="needs batches of at least 2 sequences, got 1"):
        term.critic(out_of(normal(0, 1, 2)))


@each_term
def test_a_last_batch_of_one_sequence_still_has_a_finite_value(term):
    value = term.build(with_latents(z="global")).double()(out_of(normal(0, 1, 2)))
    assert value.shape == (1,)
    assert value.isfinite().all()


class Recorder(torch.nn.Module):
    """A discriminator that keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def loss(self, positive, negative):
        self.seen.append((positive.sample, negative.sample))
        return torch.zeros(()), {}


@given(seeds)
def test_the_discriminator_sees_the_sample_and_a_new_permutation_of_it_each_time(seed):
    recorder, z = Recorder(), normal(seed, 40, 3)
    critic, out = PermutationCritic("z", recorder, SMALL), out_of(z)
    for _ in range(2):
        critic(out)
    (true, first), (_, second) = recorder.seen
    assert true.equal(z)
    assert not first.equal(second)
    assert first.sort(0).values.equal(z.sort(0).values)


# Training ----------------------------------------------------------------------------------------


def trainer(term, kl=1.0, **train):
    prior = basics.StandardNormal()
    latent = LatentConfig(scope="global", dim=4, prior=prior, kl=KLConfig(weight=kl))
    model = ModelConfig(
        latents={"z": latent}, backbone=basics.Identity(),
        encoder=basics.DSAEFactorised(hidden=6), decoder=basics.Framewise(hidden=(6,)),
        likelihood=basics.GaussianLikelihood(),
    )  # fmt: skip
    data = [Noise(i).normal(torch.zeros(4 + i % 5, 3)) for i in range(32)]
    experiment = Experiment(
        data=None, model=model, regularizers=(term,),
        train=TrainConfig(**{"steps": 5, "batch_size": 8, "optimizer": OptimizerConfig(), **train}),
    )  # fmt: skip
    splits = Splits(train=data, valid=data[:9], test=data)
    return Trainer(experiment, splits, fabric=make_fabric(accelerator="cpu"))


@each_term
def test_a_few_steps_of_training_log_the_term_and_move_its_critic(term):
    made = trainer(term, kl=0.0 if isinstance(term, AnnealedVAE) else 1.0)
    before = [p.clone() for p in made.objective.parameters()]
    logged = []
    made.fit(log=lambda step, metrics: logged.append(metrics))
    assert {term.name, f"valid/{term.name}"} <= logged[-1].keys()
    assert all(not a.equal(b) for a, b in zip(before, made.objective.parameters(), strict=True))
    if isinstance(term, FactorVAE):
        assert "factor-vae/critic/accuracy" in logged[-1]


def test_the_models_step_leaves_no_gradient_in_the_critic():
    made = trainer(FactorVAE(weight=100.0))
    critic = [*made.objective.parameters()]
    before = [p.detach().clone() for p in critic]
    made.advance([collate(made.splits.train[:8])])
    assert all(not p.equal(q) for p, q in zip(critic, before, strict=True))
    assert all(p.grad is None for p in critic)


@pytest.mark.parametrize("term", [FactorVAE(), BetaTCVAE(samples=9), DIPVAEI(), DIPVAEII()])
@pytest.mark.parametrize("train", [{"batch_size": 1}, {"batch_size": 4, "accumulate": 4}])
def test_a_micro_batch_in_which_a_term_would_do_nothing_is_refused(term, train):
    with pytest.raises(ConfigError, match=f"'{term.name}' needs 2 sequences at a time, a micro-b"):
        trainer(term, **train)


def test_a_discriminator_is_the_published_one_but_for_what_is_said(plugins):
    plain = {"name": "factor-vae", "critic": {"width": 50, "optimizer": {"lr": 2e-4}}}
    critic = structure_component("regularizer", plain, plugins).critic
    assert (critic.name, critic.width, critic.depth, critic.after) == ("mlp", 50, 6, True)
    assert critic.optimizer.lr == 2e-4


def test_a_covariance_is_of_full_precision_under_autocast():
    mean = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    whole = covariance(mean)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(covariance(mean), whole)


def test_the_capacity_rises_with_the_steps_and_validation_takes_its_end():
    made = trainer(AnnealedVAE(capacity=8.0, rise=RISE, weight=10.0), kl=0.0)
    logged = []
    made.fit(log=lambda step, metrics: logged.append(metrics))
    assert [m["annealed-vae/capacity"] for m in logged] == [2.0, 4.0, 6.0, 8.0, 8.0]
    assert logged[-1]["kl/z/weighted"] == 0.0


def test_a_kl_that_a_capacity_replaces_must_not_be_weighed_itself():
    with pytest.raises(ConfigError, match=r"KL\(z\) must be 0, as annealed-vae replaces it: 1 at"):
        trainer(AnnealedVAE())
    with pytest.raises(ConfigError, match=r"KL\(z\) must be > 0 at every step: 0 at step 0"):
        trainer(AnnealedVAE(weight=0.0), kl=0.0)


PRESETS = ("annealed-vae", "beta-tcvae", "dip-vae-i", "dip-vae-ii", "factor-vae")


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_changes_the_objective_of_its_control_and_nothing_else(name, plugins):
    control = Experiment.load("three-dots-beta-vae", plugins)
    found = Experiment.load(f"three-dots-{name}", plugins)
    [term] = found.regularizers
    assert term.name == name
    kl = found.model.latents["z"].kl
    assert kl == KLConfig(weight=0.0 if name == "annealed-vae" else 1.0)
    assert (found.data, found.train, found.tasks) == (control.data, control.train, control.tasks)
    assert found.model.decoder == control.model.decoder
    if name == "beta-tcvae":
        assert term.samples == found.data.count
