"""The CMI term, its critic and their settings."""

import pickle
from typing import ClassVar

import pytest
import torch
from attrs import evolve, frozen

from seqvae_basics import config as basics
from seqvae_basics.distributions import Gaussian
from seqvae_cmi.config import CMI
from seqvae_cmi.regularizer import AdversarialCritic
from seqvae_core.components import MIEstimatorConfig
from seqvae_core.config import plain, structure_component
from seqvae_core.devices import make_fabric
from seqvae_core.errors import ConfigError, ShapeError
from seqvae_core.experiment import Experiment, KLConfig, LatentConfig, ModelConfig, TrainConfig
from seqvae_core.model import build_model
from seqvae_core.objective import Objective
from seqvae_core.records import Batch, Latent, Noise, Output, Shapes, Splits, Variable
from seqvae_core.settings import OptimizerConfig, Schedule
from seqvae_core.training import Trainer
from seqvae_estimators.config import CriticConfig, DensityRatio

SMALL = CriticConfig(name="conv", width=8)
SHAPES = Shapes(
    frame=(3,),
    latents={
        "z": Variable(name="z", scope="global", shape=(4,)),
        "s": Variable(name="s", scope="local", shape=(2,)),
    },
)


def with_latents(**scopes):
    variables = {
        name: Variable(name=name, scope=scope, shape=(2,)) for name, scope in scopes.items()
    }
    return Shapes(frame=(3,), latents=variables)


def model_config(encoder=basics.DSAEFactorised(hidden=6)):  # noqa: B008 (frozen)
    normal = basics.StandardNormal()
    return ModelConfig(
        latents={
            "z": LatentConfig(scope="global", dim=4, prior=normal),
            "s": LatentConfig(scope="local", dim=2, prior=normal),
        },
        backbone=basics.Identity(),
        encoder=encoder,
        decoder=basics.Framewise(hidden=(6,)),
        likelihood=basics.GaussianLikelihood(),
    )


def out_of(z, s, mask, *, prior=None, seed=0):
    """Return an output that has what the term and the critic read."""
    zero = torch.zeros_like(z)
    prior = prior or Gaussian(zero, zero)
    latents = {
        "z": Latent(name="z", scope="global", sample=z, mask=mask,
                    posterior=Gaussian(z, zero), prior=prior),
        "s": Latent(name="s", scope="local", sample=s, mask=mask),
    }  # fmt: skip
    batch = Batch.of(torch.zeros(*mask.shape, 3), mask=mask)
    return Output(batch=batch, latents=latents, likelihood=prior, noise=Noise(seed), decoder=None)


def drawn(rows=5, frames=6):
    noise = Noise(1)
    z = noise.of("z").normal(torch.zeros(rows, 4))
    s = noise.of("s").normal(torch.zeros(rows, frames, 2))
    return z, s, torch.arange(frames) < (2 + torch.arange(rows))[:, None]


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "message"), [(1.0, "'weight' must be < 1.0: 1.0"), (-0.1, "'weight' must be >= 0.0")]
)
def test_a_weight_outside_zero_to_one_is_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        CMI(weight=weight)


def test_settings_survive_pickling_hashing_and_plain_data(plugins):
    table = {
        "name": "cmi", "label": "apart", "weight": 0.5, "local": "s",
        "critic": {"name": "conv", "width": 16, "optimizer": {"lr": 1e-4, "betas": [0.5, 0.9]}},
        "estimator": {"name": "density-ratio", "critic": "recurrent"},
    }  # fmt: skip
    config = structure_component("regularizer", table, plugins)
    assert isinstance(config, CMI)
    assert config.critic.optimizer.betas == (0.5, 0.9)
    assert structure_component("regularizer", plain(config), plugins) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(evolve(config))


def test_a_bare_name_gives_the_adversarial_settings(plugins):
    config = structure_component("regularizer", "cmi", plugins)
    assert config.critic == CriticConfig(name="conv")
    assert (config.critic.optimizer.lr, config.critic.optimizer.betas) == (1e-4, (0.5, 0.9))


def test_an_estimator_without_a_critic_is_refused():
    @frozen(kw_only=True)
    class Nearest(MIEstimatorConfig):
        name: ClassVar[str] = "nearest"

        def build(self, shapes):
            raise NotImplementedError

    with pytest.raises(ConfigError, match="estimator 'nearest' offers no critic"):
        CMI(estimator=Nearest())


# Which variables ---------------------------------------------------------------------------------


def test_the_only_variable_of_each_scope_is_taken():
    term = CMI(critic=SMALL).build(with_latents(z="global", s="local"))
    assert (term.z, term.s) == ("z", "s")
    assert term.kl_coefficients == {"z": -1.0}


def test_variables_can_be_named_among_several():
    shapes = with_latents(z="global", y="global", s="local", h="local")
    term = CMI(critic=SMALL, global_latent="y", local="h").build(shapes)
    assert (term.z, term.s) == ("y", "h")
    assert term.kl_coefficients == {"y": -1.0}


@pytest.mark.parametrize(
    ("shapes", "settings", "message"),
    [
        (with_latents(z="global", y="global", s="local"), {},
         "cmi expects one global latent, or 'global_latent'; the model has: z, y"),
        (with_latents(z="global", s="local", h="local"), {},
         "cmi expects one local variable, or 'local'; the model has: s, h"),
        (with_latents(z="global"), {},
         "cmi expects one local variable, or 'local'; the model has: none"),
        (with_latents(z="global", s="local"), {"global_latent": "s"},
         "cmi expects a global latent in 'global_latent', got 's'; the model has: z"),
    ],
)  # fmt: skip
def test_missing_or_ambiguous_variables_are_refused_with_the_choices(shapes, settings, message):
    with pytest.raises(ShapeError) as caught:
        CMI(**settings).build(shapes)
    assert str(caught.value) == message


def test_an_estimator_brings_its_own_network_and_the_critic_sets_the_player_and_d_of_z():
    estimator = DensityRatio(critic=CriticConfig(name="conv", width=3))
    player = CriticConfig(name="conv", width=8, steps=2, after=True)
    critic = CMI(estimator=estimator, critic=player).build(SHAPES).critic
    assert critic.pair.network.convolutions[0].out_channels == 3
    assert critic.marginal.network.layers[0].out_features == 8
    assert (critic.steps, critic.after, critic.optimizer) == (2, True, player.optimizer)


# The critic --------------------------------------------------------------------------------------


class Recorder(torch.nn.Module):
    """A network that keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, a, b):
        self.seen.append((a.sample, b.sample))
        return self.scale * a.sample.sum(1)

    def loss(self, positive, negative):
        return self(*positive).mean() - self(*negative).mean(), {}


def test_false_pairs_hold_draws_from_the_prior_beside_s_of_the_data():
    z, s, mask = drawn()
    prior = Gaussian(torch.full_like(z, 7.0), torch.full_like(z, -20.0))
    recorder = Recorder()
    AdversarialCritic("z", "s", SMALL, pair=recorder)(out_of(z, s, mask, prior=prior))
    (true_z, true_s), (false_z, false_s) = recorder.seen
    assert true_z.equal(z)
    assert true_s.equal(s)
    assert false_s.equal(s)
    assert (false_z - 7.0).abs().max() < 0.01


def test_each_step_of_the_critic_draws_new_false_pairs():
    z, s, mask = drawn()
    recorder, out = Recorder(), out_of(z, s, mask)
    critic = AdversarialCritic("z", "s", SMALL, pair=recorder)
    critic(out)
    critic(out)
    assert not recorder.seen[1][0].equal(recorder.seen[3][0])


def test_term_and_critic_share_one_network_that_is_stored_once():
    term = CMI(critic=SMALL).build(SHAPES)
    assert all(name.startswith("critic.pair.network.") for name in term.state_dict())
    out = out_of(*drawn())
    before = term(out)
    with torch.no_grad():
        for parameter in term.critic.parameters():
            parameter.mul_(0.5)
    assert not term(out).equal(before)


def test_term_and_critic_log_what_shows_whether_the_critic_keeps_up():
    term, out = CMI(critic=SMALL).build(SHAPES), out_of(*drawn())
    value = term(out.term("cmi"))
    term.critic(out.detach().term("cmi/critic"))
    assert out.scalars.keys() == {
        "cmi/mean_logit", "cmi/rate_gap", "cmi/critic/accuracy",
        "cmi/critic/mean_logit", "cmi/critic/mean_logit_negative",
    }  # fmt: skip
    torch.testing.assert_close(out.scalars["cmi/rate_gap"], -value.mean().detach())


# With the whole objective ------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [basics.DSAEFactorised(hidden=6), basics.DSAEFull(hidden=6)])
def test_the_term_reaches_the_encoders_of_both_z_and_s(encoder):
    model = build_model(model_config(encoder), Shapes(frame=(3,)), seed=0)
    term = CMI(critic=SMALL).build(model.shapes)
    out = model(Batch.of(Noise(1).normal(torch.zeros(5, 6, 3))), Noise(0))
    term(out).mean().backward(inputs=list(model.parameters()))
    assert all(p.grad.any() for p in model.encoder.parameters())
    assert all(p.grad is None for p in term.critic.parameters())


def test_a_kl_warm_up_needs_the_same_warm_up_of_cmi():
    warm = Schedule(name="linear", steps=200)

    def objective(**settings):
        entry = CMI(weight=0.5, critic=SMALL, **settings)
        kls = {"z": KLConfig(schedule=warm), "s": KLConfig()}
        return Objective(kls, {"cmi": entry}, {"cmi": entry.build(SHAPES)})

    with pytest.raises(ConfigError, match=r"net weight of KL\(z\) \(with cmi\) must be > 0"):
        objective().check(steps=400)
    objective(schedule=warm).check(steps=400)
    assert objective(schedule=warm).net_kl_weight("z", 399) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["conv", "recurrent", "mlp"])
def test_a_few_steps_of_training_move_the_critic_and_log_it(kind):
    data = [Noise(i).normal(torch.zeros(4 + i % 5, 3)) for i in range(32)]
    critic = CriticConfig(name=kind, width=8, length=8, steps=2)
    experiment = Experiment(
        data=None, model=model_config(), regularizers=(CMI(critic=critic),),
        train=TrainConfig(steps=3, batch_size=8, optimizer=OptimizerConfig()),
    )  # fmt: skip
    splits = Splits(train=data, valid=[], test=data)
    trainer = Trainer(experiment, splits, fabric=make_fabric(accelerator="cpu"))
    network = trainer.objective.terms["cmi"].critic
    before = [parameter.clone() for parameter in network.parameters()]
    logged = []
    trainer.fit(log=lambda step, metrics: logged.append(metrics))
    assert {"cmi", "cmi/critic", "cmi/critic/accuracy", "cmi/rate_gap"} <= logged[-1].keys()
    assert all(not a.equal(b) for a, b in zip(before, network.parameters(), strict=True))
