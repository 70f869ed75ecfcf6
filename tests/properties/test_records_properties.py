"""Batches, latents and outputs: what is checked, summed, shared and cut off."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks, normal, seeds
from toy_model import Gaussian, make_output

from seqvae_core.errors import ShapeError
from seqvae_core.functional import gaussian_kl
from seqvae_core.records import Batch, Latent, Shapes, Variable

FULL = torch.ones(2, 3, dtype=torch.bool)


# Batch ------------------------------------------------------------------------------------------


@given(seed=seeds, mask=masks())
def test_a_batch_knows_its_lengths_and_its_rows(seed, mask):
    x = normal(seed, *mask.shape, 2)
    batch = Batch.of(x, mask=mask, labels={"speaker": torch.arange(len(mask))})
    assert batch.lengths.equal(mask.sum(1))
    assert len(batch) == len(mask)
    rows = batch.rows(torch.tensor([0]))
    assert rows.x.equal(x[:1])
    assert rows.labels["speaker"].tolist() == [0]
    assert batch.zeroed().x[~mask].eq(0.0).all()
    assert batch.zeroed().x[mask].equal(x[mask])


def test_a_batch_without_a_mask_is_all_real():
    assert Batch.of(torch.zeros(2, 3, 4)).mask.equal(FULL)


@pytest.mark.parametrize(
    ("x", "mask", "line"),
    [
        (torch.zeros(2, 3), None, r"expected x of shape \(B, T, \*frame\), got \(2, 3\)$"),
        (torch.zeros(2, 3, 1), FULL[:, :2], r"mask of shape \(2, 3\), got torch.bool \(2, 2\)$"),
        (torch.zeros(2, 3, 1), FULL.float(), r"expected a bool mask .* got torch.float32 \(2, 3\)"),
        (torch.zeros(2, 3, 1), FULL & torch.tensor([[1], [0]]).bool(), "True up to its length"),
        (torch.zeros(2, 3, 1), FULL & torch.tensor([1, 0, 1]).bool(), "True up to its length"),
        (torch.zeros(2, 3, 1), FULL & torch.tensor([0, 1, 1]).bool(), "True up to its length"),
    ],
)
def test_a_batch_of_another_shape_is_one_clear_line(x, mask, line):
    with pytest.raises(ShapeError, match=line) as caught:
        Batch.of(x, mask=mask)
    assert "\n" not in str(caught.value)


# Shapes -----------------------------------------------------------------------------------------


def test_shapes_find_latents_by_name_and_scope():
    z = Variable(name="z", scope="global", shape=(4,))
    s = Variable(name="s", scope="local", shape=(2, 3, 3))
    shapes = Shapes(frame=(5,), latents={"z": z, "s": s})
    assert shapes.latent("z") is z
    assert shapes.of("local") == [s]
    assert (z.size, s.size) == (4, 18)
    with pytest.raises(ShapeError, match=r"no latent or local feature 'y'; the model has: z, s$"):
        shapes.latent("y")


# Latent -----------------------------------------------------------------------------------------


def local_latent(mask, posterior, prior):
    return Latent(
        name="s", scope="local", sample=posterior.mean, mask=mask, posterior=posterior, prior=prior
    )


@given(seed=seeds, mask=masks())
def test_the_kl_of_a_latent_is_summed_over_time_and_dimensions(seed, mask):
    q = Gaussian(normal(seed, *mask.shape, 2), normal(seed + 1, *mask.shape, 2))
    p = Gaussian(normal(seed + 2, *mask.shape, 2), normal(seed + 3, *mask.shape, 2))
    kl = local_latent(mask, q, p).kl()
    for row, length in enumerate(mask.sum(1)):
        alone = gaussian_kl(q.mean, q.logvar, p.mean, p.logvar)[row, :length].sum()
        torch.testing.assert_close(kl[row], alone)
    z = Gaussian(q.mean[:, 0], q.logvar[:, 0])
    standard = Gaussian(torch.zeros_like(z.mean), torch.zeros_like(z.mean))
    latent = Latent(
        name="z", scope="global", sample=z.mean, mask=mask, posterior=z, prior=standard
    )  # fmt: skip
    torch.testing.assert_close(latent.kl(), z.kl(standard, z.mean).sum(1))


@given(seed=seeds, mask=masks(), padding=st.sampled_from([math.nan, math.inf, 1e300]))
def test_the_padding_changes_no_kl_no_pooled_mean_and_no_gradient(seed, mask, padding):
    results = []
    for fill in (0.0, padding):
        out, parameters = make_output(seed, mask, fill)
        kls = [latent.kl() for latent in out.latents.values()]
        gradients = torch.autograd.grad(sum(kl.sum() for kl in kls), parameters)
        results.append([*kls, *gradients, out.latents["s"].pooled()])
    assert all(a.equal(b) for a, b in zip(*results, strict=True))


@given(seed=seeds, mask=masks())
def test_a_pooled_latent_is_the_mean_over_time_and_grid(seed, mask):
    sample = normal(seed, *mask.shape, 3, 2, 2)
    grid = Latent(name="s", scope="local", sample=sample, mask=mask)
    for row, length in enumerate(mask.sum(1)):
        torch.testing.assert_close(
            grid.pooled()[row], sample[row, :length].mean((0, 2, 3)), check_stride=False
        )


def test_a_deterministic_feature_is_its_own_mean_and_has_no_kl():
    sample = torch.zeros(2, 3, 4)
    feature = Latent(name="h", scope="local", sample=sample, mask=FULL)
    assert feature.mean is sample
    assert feature.detach().sample.equal(sample)
    with pytest.raises(ShapeError, match="'h' is a deterministic feature: it has no KL"):
        feature.kl()


# Output -----------------------------------------------------------------------------------------


def test_what_is_made_once_is_shared_with_the_detached_output_and_the_terms():
    out, (theta, _) = make_output(0, FULL)
    calls = []

    def make(given):
        calls.append(given)
        return {"a": (theta * 1.0, [theta * 2.0]), "b": 3}

    critic = out.detach().term("mine").once("key", make)
    live = out.term("other").once("key", make)
    assert len(calls) == 1
    assert live["a"][0].requires_grad
    assert live["a"][1][0].requires_grad
    assert not critic["a"][0].requires_grad
    assert not critic["a"][1][0].requires_grad
    assert critic["a"][0].equal(live["a"][0])
    assert critic["b"] == 3


def test_what_is_made_once_keeps_its_graph_even_if_a_critic_asks_first_without_one():
    out, (theta, _) = make_output(0, FULL)
    with torch.no_grad():
        out.detach().once("key", lambda given: given.latents["z"].sample * theta[:, 0])
    out.once("key", lambda _: pytest.fail("made twice")).sum().backward()
    assert theta.grad is not None


@given(seed=seeds)
def test_what_is_made_once_draws_the_same_noise_whichever_term_asks_first(seed):
    drawn = []
    for label in ("first", "second"):
        out, _ = make_output(seed, FULL)
        out.term("first").noise.normal(torch.empty(2))
        drawn.append(out.term(label).once("key", lambda given: given.noise.normal(torch.empty(4))))
    assert drawn[0].equal(drawn[1])


@given(seed=seeds)
def test_each_terms_noise_is_its_own(seed):
    like = torch.empty(4)
    out, _ = make_output(seed, FULL)
    undisturbed = out.term("b").noise.normal(like)
    out, _ = make_output(seed, FULL)
    other = out.term("a").noise.normal(like)
    assert out.term("b").noise.normal(like).equal(undisturbed)
    assert not other.equal(undisturbed)


@given(seed=seeds, mask=masks())
def test_a_detached_output_lets_no_gradient_through(seed, mask):
    out, parameters = make_output(seed, mask)
    cut = out.detach().term("critic")
    samples = {name: latent.sample for name, latent in cut.latents.items()}
    values = [
        *samples.values(),
        *(latent.mean for latent in cut.latents.values()),
        *(latent.kl() for latent in cut.latents.values()),
        cut.likelihood.log_prob(cut.batch.x),
        cut.decode(samples).mean,
        cut.decode({name: value.requires_grad_() for name, value in samples.items()}).mean,
    ]
    assert not any(value.grad_fn for value in values)
    assert all(value.equal(out.latents[name].sample) for name, value in samples.items())
    grads = torch.autograd.grad(
        out.decode({k: v.sample for k, v in out.latents.items()}).mean.sum(), parameters
    )
    assert all(grad.isfinite().all() for grad in grads)


def test_a_terms_numbers_are_logged_under_its_label():
    out, (theta, _) = make_output(0, FULL)
    out.log("norm", theta.square().sum())
    out.detach().term("cmi").log("accuracy", torch.tensor([0.0, 1.0]))
    assert set(out.scalars) == {"norm", "cmi/accuracy"}
    assert out.scalars["cmi/accuracy"] == 0.5
    assert not out.scalars["norm"].requires_grad
