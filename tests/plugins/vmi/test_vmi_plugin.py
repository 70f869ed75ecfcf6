"""What the term computes, reaches, refuses and shares within a model."""

import json
import math
import signal
import subprocess

import pytest
import tiny
import torch
from attrs import evolve
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from seqvae_basics.autoregressive_config import CausalConv
from seqvae_basics.codes import parse_code, parse_codes
from seqvae_basics.config import (
    AutoregressiveGaussian,
    DSAEFactorised,
    Framewise,
    GaussianLikelihood,
    StandardNormal,
    UniformCategorical,
)
from seqvae_core.config import structure_component
from seqvae_core.errors import ConfigError, ShapeError
from seqvae_core.experiment import Experiment, LatentConfig
from seqvae_core.loading import collate
from seqvae_core.model import seeded
from seqvae_core.records import Noise, Shapes, Splits, Variable
from seqvae_core.settings import CategoricalConfig, Temperature
from seqvae_core.testing import check_component, small_batch, small_model, small_shapes
from seqvae_core.training import Trainer
from seqvae_vmi.config import VMI, QConfig

SHAPES = small_shapes(categorical=True)
CODES = ("z[:2]", "c", "s[1]", "d")
MLP = QConfig(name="mlp", hidden=8)
# of weights above 1, as published
PAYS = pytest.mark.filterwarnings("ignore:.*a constant code pays:UserWarning")
PRIORS = {
    "z": StandardNormal(), "s": AutoregressiveGaussian(hidden=4),
    "c": UniformCategorical(), "d": UniformCategorical(),
}  # fmt: skip


def made(config, *, shapes=SHAPES, encoder=None, seed=0, rows=5):
    """Return a model with latents of all kinds, a term, and the model's output for it."""
    model = small_model(
        shapes, encoder=encoder or DSAEFactorised(hidden=4), priors=PRIORS,
        decoder=Framewise(hidden=(8,), activation="tanh"), likelihood=GaussianLikelihood(),
        seed=seed,
    ).double()  # fmt: skip
    with seeded(seed, "term"):
        term = config.build(model.shapes).double()
    return model, term, output(model, rows=rows)


def output(model, seed=0, rows=5):
    return model(small_batch(model.shapes, rows=rows), Noise(seed)).term("vmi")


def gradients(model, value):
    """Return the parameters of the model that get a gradient, with it."""
    named = dict(model.named_parameters())
    found = torch.autograd.grad(value, named.values(), allow_unused=True, retain_graph=True)
    return {
        name: gradient for name, gradient in zip(named, found, strict=True)
        if gradient is not None and bool(gradient.any())
    }  # fmt: skip


# Codes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("z", (0, 1, 2)), ("z[:]", (0, 1, 2)), ("z[1]", (1,)), ("z[-1]", (2,)), ("z[:2]", (0, 1)),
        ("z[::2]", (0, 2)), ("z[2, 0]", (2, 0)), ("z[1:, 0]", (1, 2, 0)), (" z [ 1 ] ", (1,)),
        ("c", (0, 1, 2, 3)), ("c[0]", (0, 1, 2, 3)), ("d[0]", (0, 1, 2)), ("d[1]", (3, 4, 5)),
    ],
)  # fmt: skip
def test_a_code_names_numbers_as_python_would_and_groups_of_a_categorical_latent(text, index):
    code = parse_code(text, SHAPES, "vmi")
    assert code.index == index
    latent = SHAPES.latents[code.latent]
    value = Noise(0).normal(torch.empty(4, *(3,) * (latent.scope == "local"), latent.size))
    assert torch.equal(code.of({code.latent: value}), value[..., list(index)])
    assert code.variable.size == len(index)
    assert code.groups == (len(index) // latent.values if latent.values else 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("z[3]", "vmi got index 3 in code 'z[3]', out of range for 3"),
        ("z[:9]", "vmi got bound 9 in code 'z[:9]', out of range for 3"),
        ("d[2]", "vmi got index 2 in code 'd[2]', out of range for 2"),
        ("z[1:1]", "vmi expects at least one number in a code, got 'z[1:1]' of 3"),
        ("z[0, 0]", "vmi expects none twice in a code, got 'z[0, 0]' of 3"),
        ("z[a]", "vmi expects an index or a slice within [ ], got 'a' in code 'z[a]'"),
        ("z[]", "vmi expects an index or a slice within [ ], got '' in code 'z[]'"),
        ("z[::0]", "vmi got a slice of step 0 in code 'z[::0]'"),
        ("z[1", "vmi expects codes such as 'z', 'z[3]' or 'z[:2]', got 'z[1'"),
        ("quux[1]", "vmi expects codes of a latent, 'quux' in 'quux[1]' is unknown; known: "
                 "c, d, s, z"),
    ],
)  # fmt: skip
def test_a_code_that_is_none_is_refused_in_one_line(text, message):
    with pytest.raises(ShapeError) as caught:
        parse_code(text, SHAPES, "vmi")
    assert str(caught.value) == message


def test_a_typo_is_met_with_the_latent_that_was_meant():
    shapes = evolve(
        SHAPES, latents={"speaker": Variable(name="speaker", scope="global", shape=(2,))}
    )
    with pytest.raises(
        ShapeError, match="'speeker' in 'speeker' is unknown; did you mean 'speaker'"
    ):
        parse_code("speeker", shapes, "vmi")


def test_a_feature_of_the_decoder_is_no_code():
    feature = Variable(name="h", scope="local", shape=(4,), family="feature")
    with pytest.raises(ShapeError, match=r"'h' in 'h\[0\]' is a feature of the decoder"):
        parse_code("h[0]", evolve(SHAPES, latents={**SHAPES.latents, "h": feature}), "vmi")


def test_two_codes_with_a_common_number_are_refused():
    with pytest.raises(ShapeError, match=r"got z\[1\] in 'z\[:2\]' and in 'z\[1\]'"):
        parse_codes(["z[:2]", "c", "z[1]"], SHAPES, "vmi")


# Settings ----------------------------------------------------------------------------------------


def test_weights_must_be_as_many_as_codes(plugins):
    with pytest.raises(ConfigError, match="'weights' must be as many as 'codes': 1, 2"):
        structure_component("regularizer", {"name": "vmi", "codes": ["z", "c"], "weights": [1.0]},
                            plugins)  # fmt: skip


def test_the_entropy_of_local_codes_cannot_be_kept():
    with pytest.raises(ConfigError, match=r"keeps H\(c\) of global codes alone, 's\[1\]' is local"):
        VMI(codes=("z", "s[1]"), entropy="kept").build(SHAPES)


def test_an_autoregressive_decoder_is_refused():
    decoder = CausalConv(channels=4, dilations=(1,), hidden=(5,), feature="h")
    model = small_model(small_shapes(), decoder=decoder)
    with pytest.raises(ConfigError, match="expects a decoder that is not autoregressive"):
        VMI(codes=("z",)).build(model.shapes)


@pytest.mark.parametrize("frame", [(3,), (1, 3, 3)])
def test_convolutions_refuse_frames_that_are_no_images_or_too_small(frame):
    with pytest.raises(ShapeError, match=r"Q network 'conv2d' (expects|leaves nothing)"):
        VMI(codes=("z",), critic=QConfig(name="conv2d")).build(small_shapes(frame=frame))


@PAYS
@pytest.mark.parametrize("pairs", ["posterior", "prior", "both"])
@pytest.mark.parametrize(("name", "frame"), [("conv2d", (1, 8, 8)), ("mlp", (3,)),
                                             ("conv", (3,)), ("recurrent", (3,))])  # fmt: skip
def test_the_term_keeps_its_contract_with_codes_of_every_kind(name, frame, pairs):
    critic = QConfig(name=name, channels=(3, 4), hidden=6, depth=1)
    config = VMI(codes=CODES, weights=(0.1, 2.0, 1.0, 0.5), pairs=pairs, critic=critic)
    check_component(config, shapes=small_shapes(frame=frame, categorical=True))


@pytest.mark.parametrize("after", [True, False])
def test_the_term_keeps_its_contract_wherever_q_steps(after):
    check_component(VMI(codes=("z", "s"), critic=evolve(MLP, after=after, steps=2)))


def test_the_published_q_is_what_the_settings_build():
    shapes = Shapes(frame=(1, 28, 28), latents=SHAPES.latents)
    network = QConfig(name="conv2d").build(shapes, parse_codes(["z[:2]", "c"], shapes, "vmi"))
    found = [tuple(p.shape) for p in network.parameters()]
    written = nn.Sequential(
        nn.Conv2d(1, 64, 4, 2, 1), nn.Conv2d(64, 128, 4, 2, 1), nn.Linear(128 * 49, 128),
        nn.Linear(128, 4), nn.Linear(128, 4),
    )  # fmt: skip
    assert found == [tuple(p.shape) for p in written.parameters()]


# Gradients ---------------------------------------------------------------------------------------


def test_both_paths_reach_the_encoder():
    """Through x̃, and directly through c in ln Q(c|x̃)."""
    model, term, out = made(VMI(codes=CODES, critic=MLP))
    whole = gradients(model, term(out).sum())
    network, frames, mask = term.critic.network, out.likelihood.mean, out.batch.mask
    samples = {name: latent.sample for name, latent in out.latents.items()}
    cut = {name: sample.detach() for name, sample in samples.items()}
    through_frames = gradients(model, sum(network.nll(frames, mask, cut).values()).sum())
    directly = gradients(model, sum(network.nll(frames.detach(), mask, samples).values()).sum())
    encoder = {name for name in whole if name.startswith("encoder")}
    for path in (through_frames, directly):
        assert encoder == {name for name in path if name.startswith("encoder")}
    assert not {name for name in directly if name.startswith("decoder")}
    for name in whole:
        parts = [path[name] for path in (through_frames, directly) if name in path]
        torch.testing.assert_close(whole[name], sum(parts))


def test_pairs_from_the_prior_reach_the_decoder_alone():
    model, term, out = made(VMI(codes=CODES, pairs="prior", critic=MLP))
    reached = {name.split(".")[0] for name in gradients(model, term(out).sum())}
    assert reached == {"decoder", "likelihood"}


def test_of_both_sources_the_drawn_rows_reach_the_decoder_alone():
    _, term, out = made(VMI(codes=CODES, pairs="both", critic=MLP), rows=6)
    rows = term.critic.read(out).pairs.drawn
    assert int(rows.sum()) == 3
    sample = out.latents["z"].sample
    (found,) = torch.autograd.grad(term(out).sum(), sample)
    assert torch.equal(found.abs().sum(1) == 0.0, rows)


@PAYS
@pytest.mark.parametrize("pairs", ["posterior", "prior", "both"])
@pytest.mark.parametrize("weights", [(), (0.1, 2.0, 1.0, 0.5)])
def test_one_run_of_q_gives_the_gradients_that_two_would(pairs, weights):
    found = {}
    for after in (True, False):  # of them the first shares one run
        config = VMI(codes=CODES, weights=weights, pairs=pairs, critic=evolve(MLP, after=after))
        model, term, out = made(config)
        value = term(out)
        model_gradients = gradients(model, value.mean())
        loss = term.critic(out.detach().term("vmi/critic"))
        critic = gradients(term.critic, loss)
        found[after] = value, model_gradients, loss, critic
    torch.testing.assert_close(found[True], found[False])


def test_q_is_run_once_a_step_where_it_follows_the_model_and_steps_once():
    runs = []
    for after in (True, False):
        _, term, out = made(VMI(codes=("z",), critic=evolve(MLP, after=after)))
        count = []
        term.critic.network.register_forward_hook(lambda *_, count=count: count.append(1))
        term(out)
        term.critic(out.detach().term("critic"))
        runs.append(len(count))
    assert runs == [1, 2]


def test_q_is_run_anew_once_its_parameters_have_moved():
    _, term, out = made(VMI(codes=("z",), critic=MLP))
    first = term.critic(out.detach().term("critic"))
    with torch.no_grad():
        for parameter in term.critic.parameters():
            parameter.mul_(2.0)
    assert not torch.equal(term.critic(out.detach().term("critic")), first)


def test_the_posteriors_pairs_are_decoded_by_the_reconstruction_and_the_priors_once():
    decodes = {}
    for pairs in ("posterior", "prior", "both"):
        model, term, out = made(VMI(codes=CODES, pairs=pairs, critic=MLP), rows=6)
        rows = []
        model.decoder.register_forward_hook(
            lambda _, __, made, rows=rows: rows.append(len(made[0]))
        )
        term(out)
        term.critic(out.detach().term("vmi/critic"))
        decodes[pairs] = rows
    assert decodes == {"posterior": [], "prior": [6], "both": [3]}


def test_without_gradients_the_values_are_the_same():
    model, term, out = made(VMI(codes=CODES, pairs="both", critic=MLP))
    with torch.no_grad():
        quiet = term(output(model))
    assert torch.equal(quiet, term(out))


def test_a_prior_pair_of_a_categorical_code_is_one_hot_and_of_a_posterior_is_not():
    for pairs, hard in (("prior", True), ("posterior", False)):
        _, term, out = made(VMI(codes=("c", "d"), pairs=pairs, critic=MLP))
        value = term.critic.read(out).pairs.latents["c"]
        assert (set(value.detach().unique().tolist()) == {0.0, 1.0}) == hard


# Entropy -----------------------------------------------------------------------------------------


def test_kept_entropy_takes_that_of_the_prior_from_its_pairs():
    found = {}
    for entropy in ("kept", "dropped"):
        config = VMI(codes=("z[:2]", "c"), pairs="prior", entropy=entropy, critic=MLP)
        _, term, out = made(config)
        found[entropy] = term(out)
    expected = math.log(2.0 * math.pi * math.e) + math.log(4.0)
    torch.testing.assert_close(
        found["dropped"] - found["kept"], torch.full((5,), expected).double()
    )


def kept_and_dropped(*, rows=5, shapes=SHAPES, spread=1.0, **settings):
    """Return the term with H(c) and without, and the output that both are of.

    Means of z are `spread` times as far apart as a fresh encoder has them.
    """
    terms = {}
    for entropy in ("kept", "dropped"):
        config = VMI(codes=("z[:2]", "c"), entropy=entropy, critic=MLP, **settings)
        model, terms[entropy], _ = made(config, shapes=shapes)
    with torch.no_grad():
        for name, parameter in model.encoder.global_heads["z"].named_parameters():
            parameter[: len(parameter) // 2].mul_(spread if "weight" in name else 1.0)
    out = output(model, rows=rows)
    return terms["kept"](out), terms["dropped"](out), out


def density(out):
    """Return ln q̂ of each row's z[:2], of the mixture of all rows' posteriors, by torch."""
    law = out.latents["z"].posterior
    each = Independent(Normal(law.mean[:, :2], (0.5 * law.logvar[:, :2]).exp()), 1)
    mixture = MixtureSameFamily(Categorical(logits=torch.zeros(len(law.mean)).double()), each)
    return mixture.log_prob(out.latents["z"].sample[:, :2])


def entropy_of_mean(value, groups):
    return Categorical(probs=value.mean(0).reshape(groups, -1)).entropy().sum()


@pytest.mark.parametrize("groups", [1, 2])
def test_of_pairs_from_the_posterior_the_entropy_kept_is_that_of_the_batchs_aggregate(groups):
    c = evolve(SHAPES.latents["c"], categorical=CategoricalConfig(groups=groups))
    shapes = evolve(SHAPES, latents={**SHAPES.latents, "c": c})
    kept, dropped, out = kept_and_dropped(shapes=shapes, weights=(0.5, 0.7))
    value = out.latents["c"].sample
    expected = -0.5 * density(out) + 0.7 * entropy_of_mean(value, groups)
    torch.testing.assert_close(dropped - kept, expected)


def test_of_pairs_from_both_drawn_rows_keep_the_priors_entropy_and_others_their_aggregates():
    kept, dropped, out = kept_and_dropped(rows=6, pairs="both", weights=(0.5, 0.7))
    drawn = out.once("vmi/both", None)[0]
    rest = [row for row in range(6) if row not in drawn.tolist()]
    assert len(rest) == 3
    found = dropped - kept
    prior = 0.5 * math.log(2.0 * math.pi * math.e) + 0.7 * math.log(4.0)
    torch.testing.assert_close(found[drawn], torch.full((3,), prior).double())
    aggregate = entropy_of_mean(out.latents["c"].sample[rest], 1)
    torch.testing.assert_close(found[rest], -0.5 * density(out)[rest] + 0.7 * aggregate)


def test_kept_entropy_pushes_the_encoder_to_spread_its_codes():
    """The derivative to a common scale of all means of z: H(c) grows as they are drawn apart."""
    kept, dropped, out = kept_and_dropped(rows=64, spread=20.0, weights=(1.0, 0.0))
    mean = out.latents["z"].posterior.mean
    slopes = [
        float((torch.autograd.grad(term.mean(), mean, retain_graph=True)[0] * mean.detach()).sum())
        for term in (kept, dropped)
    ]
    assert slopes[0] < slopes[1]
    (apart,) = torch.autograd.grad((dropped - kept).sum(), out.latents["z"].sample)
    assert bool(apart[:, :2].any())
    assert not apart[:, 2].any()


def test_a_constant_code_that_would_pay_is_warned_of_once_when_the_term_is_built():
    with pytest.warns(UserWarning, match="a constant code pays") as caught:
        VMI(codes=("z", "c"), weights=(5.0, 4.0), weight=0.5, critic=MLP).build(SHAPES)
    [line] = [str(each.message) for each in caught]
    assert line == (
        "vmi drops H(c) and weighs 'c' by 2, more than 1: a constant code pays, as it saves more "
        'of -ln Q than its KL costs; entropy = "kept" does not reward it'
    )
    with pytest.warns(UserWarning, match='by 3, more.* pairs = "prior" does not') as caught:
        VMI(codes=("c", "d"), weight=3.0, critic=MLP).build(SHAPES)
    assert len(caught) == 1


@pytest.mark.parametrize("settings", [
    {"weight": 2.0, "entropy": "kept"}, {"weight": 2.0, "pairs": "prior"}, {"weight": 1.0},
    {"weight": 2.0, "weights": (0.5,)},
])  # fmt: skip
def test_where_a_constant_code_does_not_pay_nothing_is_said(settings):
    VMI(codes=("c",), critic=MLP, **settings).build(SHAPES)


def test_the_variance_of_each_code_is_logged_and_falls_with_its_spread():
    _, term, out = made(VMI(codes=("z[:2]", "s"), critic=MLP))
    term(out)
    values = out.scalars
    z = out.latents["z"].sample[:, :2]
    torch.testing.assert_close(
        values["vmi/log_var/z[:2]"], z.var(0, correction=0).log().mean().detach()
    )
    s = out.latents["s"].sample[out.batch.mask]
    torch.testing.assert_close(
        values["vmi/log_var/s"], s.var(0, correction=0).log().mean().detach()
    )


# Training ----------------------------------------------------------------------------------------


def joint(plugins, *changes):
    """Return an experiment with a Gaussian and an annealed categorical code, and data for it."""
    data = {
        "seed": 1,
        "data": {"name": "arrays", "path": "unused.npz"},
        "model": {
            "backbone": {"name": "conv2d", "channels": [3], "hidden": 8, "norm": "batch"},
            "encoder": "feedforward",
            "decoder": {"name": "framewise", "hidden": [8], "network": "deconv", "channels": [3],
                        "output": "frame"},
            "likelihood": {"name": "gaussian", "scale": "fixed", "head": "none",
                           "support": "symmetric"},
            "latents": {
                "z": {"scope": "global", "dim": 3, "prior": "standard-normal"},
                "c": {"scope": "global", "dim": 4, "family": "gumbel-categorical",
                      "prior": "uniform-categorical",
                      "categorical": {"temperature": {"name": "annealed", "rate": 0.1}}},
            },
        },
        "regularizers": [{"name": "vmi", "codes": ["z[:2]", "c"], "weights": [0.1, 2.0],
                          "pairs": "both", "critic": {"name": "conv2d", "channels": [3],
                                                      "hidden": 8}}],
        "train": {"steps": 6, "batch_size": 6, "optimizer": "adam"},
    }  # fmt: skip
    for change in changes:
        data = {**data, **change}
    items = [Noise(i).uniform(torch.empty(1, 1, 8, 8)) for i in range(12)]
    return Experiment.of(data, plugins), Splits(train=items, valid=items[:4], test=items)


def test_the_models_loss_never_moves_q_and_q_moves_nothing_else(plugins):
    experiment, splits = joint(plugins)
    trainer = Trainer(experiment, splits)
    model, critic = (player for player in trainer.players)
    assert (model.name, critic.name, critic.after) == ("model", "vmi/critic", True)
    before = [parameter.clone() for parameter in critic.parameters]
    critic.optimizer.step = lambda: None
    trainer.advance([collate(splits.train[:6])])
    assert all(torch.equal(a, b) for a, b in zip(before, critic.parameters, strict=True))
    assert not set(map(id, critic.parameters)) & set(map(id, model.parameters))


def test_the_temperature_of_a_step_is_the_same_for_all_and_kept_with_the_weights(plugins):
    experiment, splits = joint(plugins)
    trainer = Trainer(experiment, splits)
    schedule = Temperature(name="annealed", rate=0.1)
    batch = collate(splits.train[:6])
    for step in range(4):
        metrics = trainer.advance([batch])
        assert metrics["vmi/temperature/c"] == pytest.approx(schedule(step))
    state = trainer.model.state_dict()
    kept = [value for name, value in state.items() if name.endswith("temperature")]
    assert len(kept) == 2  # of the encoder's head and of the prior
    torch.testing.assert_close(torch.stack(kept), torch.full((2,), schedule(4)))
    fresh = Trainer(experiment, splits).model
    fresh.load_state_dict(state)
    assert fresh.output(batch).latents["c"].posterior.temperature == kept[0]


def test_pairs_from_the_prior_teach_the_decoder_to_show_its_codes(plugins):
    critic = {"name": "mlp", "hidden": 32, "optimizer": {"lr": 1e-2}}
    experiment, splits = joint(
        plugins,
        {"train": {"steps": 150, "batch_size": 12, "optimizer": {"name": "adam", "lr": 1e-2}}},
        {"regularizers": [{"name": "vmi", "codes": ["c"], "weight": 50.0, "pairs": "prior",
                           "critic": critic}]},
    )  # fmt: skip
    trainer = Trainer(experiment, splits)
    batch = collate(splits.train)
    found = [trainer.advance([batch])["vmi/critic"] for _ in range(150)]
    assert sum(found[:3]) / 3 > 0.8 * math.log(4.0)
    assert sum(found[-10:]) / 10 < 0.2 * math.log(4.0)


@pytest.mark.slow
def test_a_run_with_an_annealed_temperature_resumes_to_the_same_end(tmp_path):
    source = tiny.write_experiment(tmp_path, steps=30)
    cmi = 'name = "cmi"\nweight = 0.5\ncritic = { name = "conv", width = 8 }'
    vmi = (
        'name = "vmi"\nweight = 0.5\ncodes = ["z[:2]", "c", "k"]\npairs = "both"\n'
        'critic = { name = "conv", hidden = 8 }'
    )
    text = source.read_text().replace(cmi, vmi)
    latents = "".join(
        f'[model.latents.{name}]\nscope = "{scope}"\ndim = 6\nfamily = "gumbel-categorical"\n'
        'prior = "uniform-categorical"\n'
        f'categorical = {{ groups = 2, temperature = {{ name = "annealed", rate = 0.02 }}, '
        f"straight_through = {straight} }}\n"
        for name, scope, straight in (("c", "global", "false"), ("k", "local", "true"))
    )
    source.write_text(text.replace("[[regularizers]]", latents + "[[regularizers]]"))
    tiny.run("train", source, "--out", tmp_path / "whole")
    run = tmp_path / "run"
    process = subprocess.Popen(
        tiny.command("train", source, "--out", run), env=tiny.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    metrics = run / "metrics.jsonl"
    while process.poll() is None:
        if metrics.is_file() and metrics.read_text().count("\n") >= 12:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    tiny.run("resume", run)
    for name in ("metrics.jsonl", "evaluation.json", "best/weights.safetensors",
                 "checkpoints/step-00000030/weights.safetensors"):  # fmt: skip
        assert (tmp_path / "whole" / name).read_bytes() == (run / name).read_bytes(), name
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    schedule = Temperature(name="annealed", rate=0.02)
    for line in lines:
        expected = schedule(line["step"] - 1)
        assert line["vmi/temperature/c"] == pytest.approx(expected)
        if "valid/loss" in line:
            assert math.isfinite(line["valid/vmi"])


# Presets -----------------------------------------------------------------------------------------


@PAYS
@pytest.mark.parametrize("preset", [
    "mnist-vmi", "mnist-joint-vmi", "fashion-mnist-joint-vmi", "mnist-joint-vmi-prior",
    "mnist-joint-vmi-capacity",
])  # fmt: skip
def test_a_preset_of_images_takes_a_step(preset, plugins):
    experiment = Experiment.load(preset, plugins, ["train.batch_size=4"])
    items = [Noise(i).uniform(torch.empty(1, 1, 28, 28)) for i in range(4)]
    trainer = Trainer(experiment, Splits(train=items, valid=items, test=items))
    metrics = trainer.advance([collate(items)])
    assert math.isfinite(metrics["vmi/critic"])
    assert trainer.validate()["valid/vmi"] > 0.0


def test_the_preset_of_speech_takes_a_step(plugins):
    experiment = Experiment.load("sequence-vmi", plugins, ["data.root=.", "train.batch_size=4"])
    items = [Noise(i).normal(torch.empty(9 + i, 40)) for i in range(4)]
    trainer = Trainer(experiment, Splits(train=items, valid=items, test=items))
    assert math.isfinite(trainer.advance([collate(items)])["vmi/critic"])


@pytest.mark.parametrize(("preset", "tasks"), [
    ("mnist-vmi", {"vmi-bound": ("z[:2]",), "traverse": ("z[:2]",)}),
    *((preset, {"bound-c": ("c",), "bound-z": ("z[:2]",), "traverse": ("z[:2]", "c"),
                "unsupervised-classification": None})
      for preset in ("mnist-joint-vmi", "fashion-mnist-joint-vmi", "mnist-joint-vmi-prior",
                     "mnist-joint-vmi-capacity")),
    ("sequence-vmi", {"vmi-bound": ("z[:2]",), "probe": ("z[:2]", "z[2:]")}),
])  # fmt: skip
def test_a_preset_reads_what_the_paper_measures_off_its_codes(preset, tasks, plugins):
    experiment = Experiment.load(preset, plugins, ["data.root=."])
    found = {task.label or task.name: task for task in experiment.tasks}
    for name, codes in tasks.items():
        assert getattr(found[name], "codes", None) == codes
    below = "fsdd" if preset == "sequence-vmi" else "mnist-vmi"
    names = {task.name for task in experiment.tasks}
    assert {task.name for task in Experiment.load(below, plugins, ["data.root=."]).tasks} <= names


def test_capacities_are_those_of_jointvae(plugins):
    """|C - KL| of the batch's mean; C of c rises by 5 nats in 25,000 steps, and stops at ln 10."""
    _, z, c = Experiment.load("mnist-joint-vmi-capacity", plugins).regularizers
    assert (z.global_latent, c.global_latent) == ("z", "c")
    assert z.mean_of == c.mean_of == "batch"
    assert z.weight == c.weight == 30.0
    for step in (0, 999, 11_512, 11_513, 24_999, 80_000):
        rises = 5.0 * (step + 1) / 25_000
        assert z.capacity * z.rise(step) == pytest.approx(min(rises, 5.0))
        assert c.capacity * c.rise(step) == pytest.approx(min(rises, math.log(10.0)), rel=1e-4)


@PAYS
def test_the_presets_networks_are_the_published_ones(plugins):
    model = Trainer(
        Experiment.load("mnist-joint-vmi", plugins, ["train.batch_size=2"]),
        Splits(train=[torch.zeros(1, 1, 28, 28)] * 2, valid=[], test=[]),
    ).model
    encoder = nn.Sequential(
        nn.Conv2d(1, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.Linear(128 * 49, 512),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(26, 512), nn.Linear(512, 64 * 49),
        nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ConvTranspose2d(32, 1, 4, 2, 1),
    )  # fmt: skip
    heads = nn.Sequential(nn.Linear(512, 32), nn.Linear(512, 10))
    for found, written in ((model.backbone, encoder), (model.decoder, decoder),
                           (model.encoder, heads)):  # fmt: skip
        assert [tuple(p.shape) for p in found.parameters()] == [
            tuple(p.shape) for p in written.parameters()
        ]
    slopes = {m.negative_slope for m in model.backbone.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}


@PAYS
def test_the_loss_is_the_published_one_divided_by_its_kl_weight(plugins):
    """Mean squared error of pixels in [-1, 1] + 0.005·KL, over 0.005, but for a constant."""
    experiment = Experiment.load("mnist-joint-vmi", plugins, ["train.batch_size=4"])
    items = [Noise(i).uniform(torch.empty(1, 1, 28, 28)) for i in range(4)]
    trainer = Trainer(experiment, Splits(train=items, valid=items, test=items))
    trainer.model.eval()
    batch = collate(items)
    out = trainer.model(batch, Noise(0))
    losses = trainer.objective(out, 0)
    mse = (out.likelihood.mean - (2.0 * batch.x - 1.0)).square().flatten(1).mean(1)
    kl = out.latents["z"].kl() + out.latents["c"].kl()
    codes = 0.0005 * losses.raw["vmi"] / 0.1  # weights of 0.1 and 2: 0.0005 and 0.01
    published = mse + 0.005 * kl + codes
    constant = 392.0 * math.log(2.0 * math.pi * 1.96)
    torch.testing.assert_close(losses.total - constant, published / 0.005, rtol=1e-4, atol=1e-2)


def test_a_latent_of_another_family_takes_no_categorical_settings():
    with pytest.raises(ValueError, match="'categorical' must be left out for family 'gaussian'"):
        LatentConfig(scope="global", dim=4, prior=StandardNormal(), categorical=CategoricalConfig())
    with pytest.raises(ValueError, match="must be a multiple of 'groups', with 2 values each"):
        LatentConfig(scope="global", dim=4, prior=UniformCategorical(), family="gumbel-categorical",
                     categorical=CategoricalConfig(groups=3))  # fmt: skip


@pytest.mark.parametrize(("prior", "name", "message"), [
    (StandardNormal(), "c", "prior 'standard-normal' is for gaussian latents, 'c' is gumbel-cat"),
    (AutoregressiveGaussian(), "d", "'autoregressive-gaussian' is for gaussian latents, 'd' is gu"),
    (UniformCategorical(), "z", "'uniform-categorical' is for gumbel-categorical latents, 'z' is"),
])  # fmt: skip
def test_a_prior_of_another_family_is_refused(prior, name, message):
    with pytest.raises(ConfigError, match=message):
        prior.build(evolve(SHAPES, target=name))
