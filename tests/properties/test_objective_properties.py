"""The objective: named terms in nats, their weights, the true ELBO, and what is refused."""

import math
from typing import ClassVar

import pytest
import torch
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks, normal, seeds
from toy_model import make_output

from seqvae_core.components import Regularizer, RegularizerConfig
from seqvae_core.errors import ConfigError
from seqvae_core.experiment import KLConfig
from seqvae_core.functional import masked_sum
from seqvae_core.objective import Objective, final
from seqvae_core.settings import Schedule

MASK = torch.arange(5) < torch.tensor([5, 2, 1])[:, None]


@frozen(kw_only=True)
class Entry(RegularizerConfig):
    name = "entry"

    def build(self, shapes):
        raise NotImplementedError


class Spread(Regularizer):
    """The square of z, moved by noise of the term's own."""

    def forward(self, out):
        z = out.latents["z"].sample
        return (z + out.noise.normal(z)).square().sum(1)


class Bound(Regularizer):
    """KL(z) with the opposite sign, as CMI has it."""

    kl_coefficients: ClassVar = {"z": -1.0}

    def forward(self, out):
        return -out.latents["z"].kl()


class Held(Regularizer):
    """Something that stands in the place of KL(z) and reads the step."""

    replaces_kl: ClassVar = ("z",)
    schedules: ClassVar = (Schedule(name="linear", steps=50),)

    def forward(self, out):
        return out.latents["z"].kl() * self.schedules[0](out.step)


def objective(z=None, s=None, **terms):
    """Make an objective from the KL settings of z and s, and label=(entry, term)."""
    return Objective(
        {"z": z or KLConfig(), "s": s or KLConfig()},
        {label: entry for label, (entry, _) in terms.items()},
        {label: term for label, (_, term) in terms.items()},
    )


weights = st.floats(0.01, 10.0)
schedules = st.builds(
    Schedule,
    name=st.sampled_from(["constant", "linear"]),
    steps=st.integers(1, 9),
    start=st.floats(0.0, 1.0),
)
kls = st.builds(KLConfig, weight=weights, schedule=schedules, free_nats=st.floats(0.0, 5.0))
entries = st.builds(Entry, weight=weights, schedule=schedules)


@given(seed=seeds, mask=masks(), z=kls, s=kls, entry=entries, step=st.integers(0, 12))
def test_each_term_is_a_vector_and_enters_by_its_weight_and_schedule(seed, mask, z, s, entry, step):
    out, _ = make_output(seed, mask)
    losses = objective(z, s, spread=(entry, Spread()))(out, step)
    again, _ = make_output(seed, mask)
    length = mask.sum(1)
    raw = {
        "nll": -masked_sum(out.likelihood.log_prob(out.batch.x), mask),
        "kl/z": out.latents["z"].kl(),
        "kl/s": out.latents["s"].kl(),
        "spread": Spread()(again.term("spread")),
    }
    weighted = {
        "nll": raw["nll"],
        "kl/z": z.weight * z.schedule(step) * raw["kl/z"].clamp(min=z.free_nats),
        "kl/s": s.weight * s.schedule(step) * torch.maximum(raw["kl/s"], s.free_nats * length),
        "spread": entry.weight * entry.schedule(step) * raw["spread"],
    }
    assert {value.shape for value in losses.raw.values()} == {(len(mask),)}
    for name, value in raw.items():
        torch.testing.assert_close(losses.raw[name], value)
        torch.testing.assert_close(losses.weighted[name], weighted[name])
    torch.testing.assert_close(losses.total, sum(weighted.values()))


@given(seed=seeds, mask=masks(), z=kls, s=kls, entry=entries, step=st.integers(0, 12))
def test_the_elbo_is_the_true_one_whatever_is_trained(seed, mask, z, s, entry, step):
    out, _ = make_output(seed, mask)
    losses = objective(z, s, spread=(entry, Spread()))(out, step)
    true = -(losses.raw["nll"] + losses.raw["kl/z"] + losses.raw["kl/s"])
    torch.testing.assert_close(losses.elbo, true)
    scalars = losses.scalars()
    torch.testing.assert_close(scalars["elbo"], true.mean())
    torch.testing.assert_close(scalars["loss"], losses.total.mean())
    assert not any(value.requires_grad for value in scalars.values())


def test_with_weights_of_one_the_loss_is_the_negative_elbo_bit_for_bit():
    losses = objective()(make_output(0, MASK)[0], 0)
    assert losses.total.equal(-losses.elbo)
    assert set(losses.scalars()) == {"loss", "elbo", "nll", "kl/z", "kl/s"}


def test_what_is_weighted_is_also_logged_as_weighted():
    made = objective(z=KLConfig(weight=0.5), spread=(Entry(weight=2.0), Spread()))
    scalars = made(make_output(0, MASK)[0], 0).scalars()
    assert set(scalars) == {
        "loss", "elbo", "nll", "kl/z", "kl/s", "spread", "kl/z/weighted", "spread/weighted",
    }  # fmt: skip
    torch.testing.assert_close(scalars["kl/z/weighted"], 0.5 * scalars["kl/z"])


def gradients(made, seed, mask, padding=0.0):
    out, parameters = make_output(seed, mask, padding)
    return torch.autograd.grad(made(out, 0).total.mean(), parameters)


@given(seed=seeds, mask=masks())
def test_a_term_at_weight_zero_changes_no_loss_no_gradient_and_no_other_terms_noise(seed, mask):
    spread = (Entry(weight=0.3), Spread())
    without = objective(spread=spread)
    with_ = objective(nothing=(Entry(weight=0.0), Spread()), spread=spread)
    outs = [make_output(seed, mask)[0] for _ in range(2)]
    assert with_(outs[0], 0).total.equal(without(outs[1], 0).total)
    for one, other in zip(
        gradients(with_, seed, mask), gradients(without, seed, mask), strict=True
    ):
        assert one.equal(other)


@given(seed=seeds, mask=masks(), padding=st.sampled_from([math.nan, math.inf, -1e300]))
def test_the_padding_changes_no_term_and_no_gradient_bit_for_bit(seed, mask, padding):
    made = objective(s=KLConfig(free_nats=0.1), spread=(Entry(), Spread()))
    clean, dirty = (made(make_output(seed, mask, fill)[0], 0) for fill in (0.0, padding))
    for name in clean.raw:
        assert clean.raw[name].equal(dirty.raw[name])
    for one, other in zip(
        gradients(made, seed, mask), gradients(made, seed, mask, padding), strict=True
    ):
        assert one.equal(other)


@given(seed=seeds, mask=masks(), more=st.integers(1, 6))
def test_how_much_padding_there_is_changes_no_term(seed, mask, more):
    made = objective(s=KLConfig(free_nats=0.1), spread=(Entry(), Spread()))
    wide = torch.cat([mask, torch.zeros(len(mask), more, dtype=torch.bool)], 1)
    short, long = (made(make_output(seed, each)[0], 0) for each in (mask, wide))
    for name in short.raw:
        torch.testing.assert_close(long.raw[name], short.raw[name], rtol=1e-9, atol=1e-9)


@given(seed=seeds)
def test_below_the_free_nats_a_kl_has_no_gradient(seed):
    out, (theta, _) = make_output(seed, MASK)
    losses = objective(z=KLConfig(free_nats=1e9))(out, 0)
    (gradient,) = torch.autograd.grad(losses.weighted["kl/z"].sum(), theta)
    assert gradient.eq(0.0).all()


# Refused ----------------------------------------------------------------------------------------


def warmup(steps, start=0.0, weight=1.0):
    return KLConfig(weight=weight, schedule=Schedule(name="linear", steps=steps, start=start))


@pytest.mark.parametrize(
    ("kl", "entry", "line"),
    [
        (KLConfig(), Entry(weight=1.0), "0 at step 0"),
        (KLConfig(weight=0.5), Entry(weight=0.75), "-0.25 at step 0"),
        (warmup(10), Entry(weight=0.5), "-0.4 at step 0"),
        (KLConfig(weight=0.5), Entry(weight=0.75, schedule=Schedule(name="linear", steps=4)),
         "-0.25 at step 3"),
        (KLConfig(weight=0.5), Entry(weight=1.0, schedule=Schedule(name="linear", steps=40)),
         "-0.25 at step 29"),
    ],
)  # fmt: skip
def test_a_net_kl_weight_of_zero_or_less_is_refused_with_latent_term_and_step(kl, entry, line):
    with pytest.raises(ConfigError) as caught:
        objective(kl, spread=(Entry(), Spread()), cmi=(entry, Bound())).check(30)
    start = "the net weight of KL(z) (with cmi) must be > 0 at every step"
    assert str(caught.value) == f"{start}: {line} @ $.model.latents.z.kl"


@pytest.mark.parametrize(
    ("kl", "entry"),
    [
        (KLConfig(), Entry(weight=0.99)),
        (warmup(10, start=0.5), Entry(weight=0.5)),
        (warmup(10), Entry(weight=0.9, schedule=Schedule(name="linear", steps=10))),
        (KLConfig(weight=0.5), Entry(weight=0.9, schedule=Schedule(name="linear", steps=100))),
    ],
)
def test_a_net_kl_weight_above_zero_at_every_step_is_accepted(kl, entry):
    objective(kl, cmi=(entry, Bound())).check(30)


@given(
    kl=kls, entry=entries, other=entries, steps=st.integers(1, 15), coefficient=st.floats(-1.0, 0.0)
)
def test_what_is_refused_is_what_falls_to_zero_at_some_step(kl, entry, other, steps, coefficient):
    bound = Bound()
    bound.kl_coefficients = {"z": coefficient}
    made = objective(kl, one=(entry, bound), two=(other, bound))
    worst = min(made.net_kl_weight("z", step) for step in range(steps))
    if worst > 1e-9:
        made.check(steps)
    elif worst < -1e-9:
        with pytest.raises(ConfigError, match=r"KL\(z\) \(with one, two\)"):
            made.check(steps)


@pytest.mark.parametrize(
    ("kl", "held", "line"),
    [
        (KLConfig(), 2.0, "must be 0, as held replaces it: 1 at step 0"),
        (warmup(10, weight=4.0), 2.0, "must be 0, as held replaces it: 4 at step 9"),
        (KLConfig(weight=0.0), 0.0, "must be > 0 at every step: 0 at step 0"),
    ],
)
def test_where_a_term_replaces_a_kl_its_net_weight_must_be_zero(kl, held, line):
    with pytest.raises(ConfigError) as caught:
        objective(kl, held=(Entry(weight=held), Held())).check(30)
    assert str(caught.value) == f"the net weight of KL(z) {line} @ $.model.latents.z.kl"


def test_a_replaced_kl_is_told_but_not_trained_and_takes_no_other_terms_part_of_it():
    none = KLConfig(weight=0.0)
    made = objective(none, held=(Entry(), Held()))
    made.check(30)
    losses = made(make_output(0, MASK)[0], 0)
    assert losses.weighted["kl/z"].eq(0.0).all()
    torch.testing.assert_close(
        losses.elbo, -(losses.raw["nll"] + losses.raw["kl/z"] + losses.raw["kl/s"])
    )
    with pytest.raises(ConfigError, match=r"KL\(z\) \(with cmi\) must be 0, as held replaces it"):
        objective(none, held=(Entry(), Held()), cmi=(Entry(weight=0.5), Bound())).check(30)


@given(seed=seeds, mask=masks(), step=st.integers(0, 99))
def test_a_term_is_told_the_step_and_validation_its_schedules_end(seed, mask, step):
    made = objective(KLConfig(weight=0.0), held=(Entry(), Held()))
    losses = made(make_output(seed, mask)[0], step)
    share = min(1.0, (step + 1) / 50)
    torch.testing.assert_close(losses.raw["held"], share * losses.raw["kl/z"])
    assert final(made, 10) == 49


@given(z=kls, entry=entries, steps=st.integers(1, 15))
def test_at_the_final_step_every_schedule_has_ended(z, entry, steps):
    made = objective(z, spread=(entry, Spread()))
    last = final(made, steps)
    assert last >= steps - 1
    assert z.schedule(last) == pytest.approx(1.0)
    assert entry.schedule(last) == pytest.approx(1.0)


def test_rows_of_a_batch_do_not_touch_one_another():
    out, _ = make_output(0, MASK)
    losses = objective()(out, 0)
    x = out.batch.x + 0.0
    x[1] += normal(1, *x.shape[1:])
    out.batch.x.copy_(x)
    changed = objective()(out, 0)
    same = torch.tensor([0, 2])
    assert changed.total[same].equal(losses.total[same])
    assert not changed.total[1].equal(losses.total[1])
