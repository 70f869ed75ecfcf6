"""The bound of a fixed model has the values that are known, and never more than there is."""

import math

import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from seqvae_basics.codes import parse_codes
from seqvae_basics.config import GaussianLikelihood, Identity, StandardNormal, UniformCategorical
from seqvae_basics.distributions import Gaussian, GumbelCategorical
from seqvae_core.components import Decoder, Encoder
from seqvae_core.config import structure_component
from seqvae_core.errors import ConfigError
from seqvae_core.model import SeqVAE
from seqvae_core.records import Noise, Shapes, Splits, Variable
from seqvae_core.settings import CategoricalConfig, OptimizerConfig
from seqvae_core.testing.small import small_model, small_shapes, small_splits
from seqvae_vmi.bound import Rows, read_bound, read_fixed
from seqvae_vmi.bound_entropy import aggregate_entropy, categorical_shares
from seqvae_vmi.bound_linear import linear_scores
from seqvae_vmi.bound_pairs import Pairs, collect
from seqvae_vmi.config import QConfig
from seqvae_vmi.config_bound import VMIBound

K = 10
Q = QConfig(name="mlp", hidden=64, depth=2, optimizer=OptimizerConfig(lr=3e-3))
FAST = VMIBound(critic=Q, steps=1500, check_every=50, patience=4)


def shapes_of(frame, **latents):
    return Shapes(frame=frame, latents=latents)


def units_of(shapes, *texts):
    return [unit for code in parse_codes(texts, shapes, "it") for unit in code.units]


def gaussian_pairs(count, d, s, seed):
    noise = Noise(seed)
    z = noise.of("z").normal(torch.empty(count, d))
    x = z + s * noise.of("x").normal(z)
    zero = torch.zeros_like(z)
    return Pairs(
        x=x[:, None], mask=torch.ones(count, 1, dtype=torch.bool), latents={"z": z},
        laws={"z": Gaussian(zero, zero)},
    )  # fmt: skip


def soft_pairs(count, tau, seed):
    """Return relaxed codes of uniform logits, and x̃ = c."""
    noise = Noise(seed)
    zero = torch.zeros(count, K)
    law = GumbelCategorical(zero, 1, tau)
    c = law.rsample(noise.of("c"))
    return Pairs(
        x=c[:, None], mask=torch.ones(count, 1, dtype=torch.bool), latents={"c": c},
        laws={"c": law},
    )  # fmt: skip


# Known answers -----------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(("d", "s"), [(1, 0.3), (4, 1.0)])
def test_the_bound_of_a_gaussian_channel_is_its_capacity(d, s):
    """Fixed seeds; above three standard errors in one of 700, by the linear Q in one of 370.

    The linear Q has standard errors of its own: of H(c) + ln Q summed over dimensions.
    """
    shapes = shapes_of((d,), z=Variable(name="z", scope="global", shape=(d,)))
    truth = 0.5 * d * math.log1p(1.0 / s**2)
    drawn = tuple(
        gaussian_pairs(count, d, s, seed) for seed, count in enumerate((6000, 1500, 4000))
    )
    units = units_of(shapes, "z")
    found = read_fixed(FAST, shapes, units, drawn, "prior", "hard", Noise(0))
    name = "joint" if d > 1 else "z[0]"
    estimate = found.estimates[name]
    assert found.converged
    assert truth - 0.05 * d <= estimate.value <= truth + 3.0 * estimate.stderr
    linear = sum(found.linear[f"z[{j}]"] for j in range(d))
    entropy = 0.5 * d * math.log(2.0 * math.pi * math.e)
    shares = entropy + sum(linear_scores(units, *drawn).values())
    assert linear == pytest.approx(float(shares.mean()), abs=1e-6)
    assert abs(linear - truth) < 3.0 * float(shares.std()) / math.sqrt(len(shares))
    assert found.entropies[name] == pytest.approx(entropy)


CAPS = {1.0: 0.73, 0.7: 1.09, 0.5: 1.41, 0.3: 1.79, 0.1: 2.14}


@pytest.mark.statistical
@pytest.mark.parametrize(("tau", "cap"), CAPS.items())
def test_relaxed_samples_cap_the_bound_even_of_a_perfect_q(tau, cap):
    """Fixed seed; the cap to its rounding and four standard errors: once in 16,000 outside."""
    shapes = shapes_of((K,), c=Variable(name="c", scope="global", shape=(K,),
                                        family="gumbel-categorical"))  # fmt: skip
    held = soft_pairs(20_000, tau, 0)
    c = held.latents["c"].double()
    perfect = {"c": torch.special.xlogy(c, c).sum(-1)}
    for source in ("prior", "posterior"):
        rows = _whole(held)
        share, entropy = read_bound(
            units_of(shapes, "c"), perfect, held, rows, source, "soft", "joint"
        )["c"]
        error = float(share.std()) / math.sqrt(len(share))
        assert abs(float(share.mean()) - cap) < 0.005 + 4.0 * error
        assert entropy == pytest.approx(math.log(K), abs=1e-3)


@pytest.mark.statistical
def test_a_trained_q_comes_close_to_the_cap_of_relaxed_samples_and_not_above():
    """Fixed seed; three standard errors fail in one of 700."""
    shapes = shapes_of((K,), c=Variable(name="c", scope="global", shape=(K,),
                                        family="gumbel-categorical"))  # fmt: skip
    drawn = tuple(soft_pairs(count, 1.0, seed) for seed, count in enumerate((4000, 1000, 3000)))
    estimate = read_fixed(
        FAST, shapes, units_of(shapes, "c"), drawn, "prior", "soft", Noise(0)
    ).estimates["c"]
    assert CAPS[1.0] - 0.08 <= estimate.value <= CAPS[1.0] + 3.0 * estimate.stderr + 0.01


def _whole(held):
    return Rows.of(held, "global", len(held), 0)


@pytest.mark.parametrize(("s", "low", "high"), [(0.05, 2.25, 2.3026), (30.0, -0.03, 0.05)])
def test_hard_codes_tell_ln_k_where_they_can_be_read_and_nothing_where_they_cannot(s, low, high):
    shapes = shapes_of((K,), c=Variable(name="c", scope="global", shape=(K,),
                                        family="gumbel-categorical"))  # fmt: skip
    drawn = []
    for seed, count in enumerate((2000, 500, 1000)):
        pairs = soft_pairs(count, 1.0, seed)
        c = torch.nn.functional.one_hot(pairs.latents["c"].argmax(-1), K).float()
        x = c + s * Noise(seed).of("noise").normal(c)
        drawn.append(evolve(pairs, x=x[:, None], latents={"c": c}))
    found = read_fixed(FAST, shapes, units_of(shapes, "c"), tuple(drawn), "prior", "hard", Noise(0))
    assert low <= found.estimates["c"].value <= high


def channel_pairs(count, flips, seed):
    """Return one-hot codes, and as x̃ the same or, at a probability of `flips`, another value."""
    noise = Noise(seed)
    value, other = noise.of("c").integers(K, (count,)), noise.of("other").integers(K - 1, (count,))
    flipped = noise.of("flip").uniform(torch.empty(count)) < flips
    seen = torch.where(flipped, (value + 1 + other) % K, value)
    c, x = (torch.nn.functional.one_hot(each, K).float() for each in (value, seen))
    return Pairs(
        x=x[:, None], mask=torch.ones(count, 1, dtype=torch.bool), latents={"c": c},
        laws={"c": GumbelCategorical(torch.zeros(count, K))},
    )  # fmt: skip


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("source", "flips"), [("prior", 0.2), ("posterior", 0.0), ("posterior", 0.6)]
)
def test_the_bound_of_a_symmetric_channel_is_its_capacity_and_never_above_h_of_c(source, flips):
    """ln K - H(p) - p ln(K - 1); fixed seeds, above three standard errors in one of 700."""
    shapes = shapes_of((K,), c=Variable(name="c", scope="global", shape=(K,),
                                        family="gumbel-categorical"))  # fmt: skip
    drawn = tuple(channel_pairs(n, flips, seed) for seed, n in enumerate((6000, 1500, 4000)))
    found = read_fixed(FAST, shapes, units_of(shapes, "c"), drawn, source, "hard", Noise(0))
    estimate, entropy = found.estimates["c"], found.entropies["c"]
    p = torch.tensor([flips, 1.0 - flips], dtype=torch.float64)
    truth = math.log(K) - float(torch.special.entr(p).sum()) - flips * math.log(K - 1)
    assert truth - 0.05 <= estimate.value <= truth + 3.0 * estimate.stderr + 1e-9
    assert entropy == pytest.approx(math.log(K), abs=1e-6)
    assert estimate.value <= entropy + 3.0 * estimate.stderr


class _Sure(Encoder):
    """z is the frame, with a little noise, and c its class: each holds all of x."""

    def forward(self, features, mask, draw):
        draw("z", Gaussian(features[:, 0], torch.full((K,), -4.0)))
        draw("c", GumbelCategorical(10.0 * features[:, 0]))


class _OfZ(Decoder):
    """The frame is z: c is not used."""

    framewise = True
    decoded = (K,)

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, latents, x=None):
        return self.scale * latents["z"][:, None], {}


@pytest.mark.statistical
def test_of_a_decoder_that_ignores_c_pairs_from_the_prior_find_nothing_and_the_posteriors_all():
    """x̃ is z alone. From the prior c is independent of z; from the posterior z is x, and so is c.

    Fixed seed; above three standard errors in one of 700.
    """
    shapes = shapes_of(
        (K,), z=Variable(name="z", scope="global", shape=(K,)),
        c=Variable(name="c", scope="global", shape=(K,), family="gumbel-categorical"),
    )  # fmt: skip
    shapes = evolve(shapes, features=K, decoded=(K,))
    priors = {
        name: config.build(evolve(shapes, target=name))
        for name, config in (("z", StandardNormal()), ("c", UniformCategorical()))
    }
    likelihood = GaussianLikelihood(head="none", scale="fixed").build(shapes)
    model = SeqVAE(Identity().build(shapes), _Sure(), priors, _OfZ(), likelihood, shapes)
    items = [{"x": 3.0 * torch.eye(K)[index % K][None]} for index in range(1000)]
    config = evolve(FAST, codes=("c",), samples=("hard",), count=2000, held_out=1000)
    found = config.build(shapes)(model, Splits(train=items, valid=[], test=items), Noise(0)).metrics
    assert -0.02 <= found["prior/c"] <= 3.0 * found.get("prior/c/stderr", 0.0) + 1e-6
    assert found["posterior/c/entropy"] == pytest.approx(math.log(K), abs=1e-6)
    assert math.log(K) - 0.02 <= found["posterior/c"] <= math.log(K) + 1e-6


# Entropies ---------------------------------------------------------------------------------------


def test_the_entropy_of_an_aggregated_posterior_is_that_of_the_mixture():
    """Three thousand posteriors whose mixture is N(0, 1), and two far apart."""
    generator = torch.Generator().manual_seed(0)
    mean = math.sqrt(0.7) * torch.randn(3000, 1, generator=generator, dtype=torch.float64)
    law = Gaussian(mean, torch.full_like(mean, math.log(0.3)))
    value = mean + math.sqrt(0.3) * torch.randn(3000, 1, generator=generator, dtype=torch.float64)
    found = aggregate_entropy([law], [value])
    normal = 0.5 * math.log(2.0 * math.pi * math.e)
    assert float(found.mean()) == pytest.approx(normal, abs=0.05)
    far = torch.tensor([[-50.0], [50.0]], dtype=torch.float64).repeat(2000, 1)
    draws = far + torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    two = aggregate_entropy([Gaussian(far, torch.zeros_like(far))], [draws])
    assert float(two.mean()) == pytest.approx(normal + math.log(2.0), abs=0.05)


@given(
    seed=st.integers(0, 2**31 - 1),
    rows=st.integers(1, 30),
    values=st.integers(2, 12),
    scale=st.floats(0.0, 30.0),
)
def test_a_categorical_entropy_is_exactly_that_of_the_mean(seed, rows, values, scale):
    logits = scale * Noise(seed).normal(torch.empty(rows, values, dtype=torch.float64))
    probabilities = logits.softmax(-1)
    shares = categorical_shares(probabilities)
    mean = probabilities.mean(0)
    assert float(shares.mean()) == pytest.approx(float(torch.special.entr(mean).sum()), abs=1e-9)
    assert -1e-9 <= float(shares.mean()) <= math.log(values) + 1e-9


def test_the_joint_entropy_of_codes_that_follow_one_another_is_less_than_their_sum():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(1500, 1, generator=generator, dtype=torch.float64)
    logits = torch.cat([5.0 * mean, -5.0 * mean], 1)
    gaussian, categorical = Gaussian(mean, torch.full_like(mean, -4.0)), GumbelCategorical(logits)
    z = gaussian.rsample(Noise(0))
    c = categorical.one_hot(Noise(1))
    joint = float(aggregate_entropy([gaussian, categorical], [z, c]).mean())
    apart = sum(
        float(aggregate_entropy([law], [v]).mean()) for law, v in ((gaussian, z), (categorical, c))
    )
    assert joint < apart - 0.3


# The task ----------------------------------------------------------------------------------------

QUICK = {"count": 60, "held_out": 30, "steps": 4, "check_every": 2, "patience": 9}


def run(model, data=None, seed=0, **settings):
    config = VMIBound(**{**QUICK, **settings})
    return config.build(model.shapes)(model, data or small_splits(), Noise(seed))


def test_every_kind_of_pairs_and_samples_is_read_for_global_and_local_codes():
    found = run(small_model(small_shapes(categorical=True)))
    for title in ("prior", "posterior", "prior soft", "posterior soft"):
        for code in ("z[0]", "z[2]", "c", "s[1]", "d[0]", "d[1]"):
            assert f"{title}/{code}" in found.metrics
    for title in ("prior", "posterior", "prior soft"):
        assert {f"{title}/joint global", f"{title}/joint local"} <= found.metrics.keys()
    assert "posterior soft/joint global" not in found.metrics
    assert "prior/z[0]/linear" in found.metrics
    assert "prior/c/linear" not in found.metrics
    for title in ("prior", "prior soft"):
        assert found.metrics[f"{title}/c/entropy"] == pytest.approx(math.log(4))
    assert any("not converged after 4 steps" in note for note in found.notes)
    assert found.metrics["prior/converged"] == 0.0


def test_without_categorical_latents_there_is_nothing_soft():
    found = run(small_model(), pairs=("prior",), codes=("z[:2]",))
    assert {name.split("/")[0] for name in found.metrics} == {"prior"}
    assert "prior/joint" in found.metrics


def test_hard_pairs_are_decoded_from_one_hot_codes_and_soft_ones_from_relaxed_codes():
    model, data = small_model(small_shapes(categorical=True)), small_splits()
    for source in ("prior", "posterior"):
        for samples in ("hard", "soft"):
            pairs = collect(model, data.test, list(range(8)), source, samples, Noise(0), size=3)
            c = pairs.latents["c"]
            assert c.sum(-1).allclose(torch.ones(8))
            assert bool((c.max(-1).values == 1.0).all()) == (samples == "hard")
            again = model.decode(pairs.latents, mask=pairs.mask)
            assert torch.allclose(pairs.x, again, atol=1e-6)
            assert pairs.latents["d"][~pairs.mask].eq(0.0).all()


def test_straight_through_samples_are_relaxed_again_for_soft_pairs():
    shapes = small_shapes(categorical=True)
    c = evolve(shapes.latents["c"], categorical=CategoricalConfig(straight_through=True))
    from seqvae_basics.config import FeedForward, UniformCategorical

    model = small_model(
        evolve(shapes, latents={"c": c}),
        encoder=FeedForward(),
        priors={"c": UniformCategorical()},
    )
    for source in ("prior", "posterior"):
        pairs = collect(model, small_splits().test, [0, 1, 2], source, "soft", Noise(0))
        assert bool((pairs.latents["c"].max(-1).values < 1.0).all())


def test_a_prior_without_a_known_entropy_is_left_out_with_a_note():
    from seqvae_basics.config import AutoregressiveGaussian

    model = small_model(priors={"s": AutoregressiveGaussian(hidden=4)})
    found = run(model, linear=False)
    assert not [name for name in found.metrics if name.startswith("prior/s")]
    assert "posterior/s[0]" in found.metrics
    assert any("prior: not applicable to 's'" in note for note in found.notes)


def test_one_sequence_is_too_few():
    data = small_splits()
    found = run(small_model(), Splits(train=data.train[:1], valid=[], test=data.test))
    assert found.notes == ["not applicable: it takes two train and two test sequences"]


@pytest.mark.parametrize(("setting", "values"), [
    ("pairs", ["prior", "prior"]), ("samples", ["hard", "hard"]),
])  # fmt: skip
def test_what_is_named_twice_is_refused_in_one_line(setting, values, plugins):
    with pytest.raises(ConfigError) as caught:
        structure_component("task", {"name": "vmi-bound", setting: values}, plugins)
    assert "\n" not in str(caught.value)
    assert f"'{setting}' must not name '{values[0]}' twice" in str(caught.value)
