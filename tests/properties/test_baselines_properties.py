"""What the baselines rest on: known answers, exact identities, and what gradients may touch."""

import math
from itertools import combinations, product

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from strategies import normal, seeds
from torch import nn

from seqvae_baselines.config import DIPVAEI, DIPVAEII, AnnealedVAE, BetaTCVAE, FactorVAE
from seqvae_baselines.losses import (
    capacity_gap,
    covariance,
    covariance_penalty,
    log_weights,
    permuted,
    total_correlation,
)
from seqvae_baselines.regularizers import PermutationCritic
from seqvae_basics import config as basics
from seqvae_basics.distributions import Gaussian, sampled_kl
from seqvae_core.experiment import KLConfig, LatentConfig, ModelConfig
from seqvae_core.functional import gaussian_log_prob
from seqvae_core.model import build_model, seeded
from seqvae_core.objective import Objective
from seqvae_core.records import Batch, Latent, Noise, Output, Shapes, Variable
from seqvae_core.settings import CONSTANT, Schedule
from seqvae_estimators.config import CriticConfig
from seqvae_estimators.density_ratio import MarginalCritic

SMALL = CriticConfig(name="mlp", width=6)
TERMS = {
    "factor-vae": FactorVAE(critic=SMALL),
    "beta-tcvae": BetaTCVAE(samples=50),
    "beta-tcvae-stratified": BetaTCVAE(samples=50, sampling="stratified"),
    "dip-vae-i": DIPVAEI(),
    "dip-vae-ii": DIPVAEII(),
    "annealed-vae": AnnealedVAE(weight=1.0, capacity=3.0),
    "annealed-vae-batch": AnnealedVAE(weight=1.0, capacity=3.0, mean_of="batch"),
}
terms = st.sampled_from(sorted(TERMS))
z_shapes = st.tuples(st.integers(2, 6), st.integers(1, 4))


def posteriors(seed, rows, size):
    """Draw Gaussian posteriors and a sample of each."""
    mean, logvar = normal(seed, rows, size), 0.5 * normal(seed + 1, rows, size)
    return mean, logvar, mean + torch.exp(0.5 * logvar) * normal(seed + 2, rows, size)


def output(mean, logvar, z):
    """Return an output that has what the terms read."""
    mask = torch.ones(len(z), 1, dtype=torch.bool)
    standard = Gaussian(torch.zeros_like(z), torch.zeros_like(z))
    latent = Latent(
        name="z", scope="global", sample=z, mask=mask,
        posterior=Gaussian(mean, logvar), prior=standard,
    )  # fmt: skip
    return Output(
        batch=Batch.of(torch.zeros(len(z), 1, 1, dtype=z.dtype), mask=mask), latents={"z": latent},
        likelihood=standard, noise=Noise(1), decoder=None,
    )  # fmt: skip


def shapes(size):
    return Shapes(
        frame=(1,), latents={"z": Variable(name="z", scope="global", shape=(size,))}, decoded=(1,)
    )


def built(name, size):
    with seeded(0, "critic"):
        return TERMS[name].build(shapes(size)).double()


# Total correlation: exact answers ----------------------------------------------------------------


def tables(seed, data, sizes):
    """Draw q(z_d|x_n) on finite alphabets and return ln of it at every z: (Z, N, D)."""
    rows = []
    for place, size in enumerate(sizes):
        raw = normal(seed + place, data, size)
        rows.append(torch.log_softmax(2.0 * raw, 1))
    points = list(product(*(range(size) for size in sizes)))
    return torch.stack(
        [torch.stack([row[:, point[d]] for d, row in enumerate(rows)], 1) for point in points]
    )


def entropy(p):
    return torch.special.entr(p).sum()


def marginal(p, sizes, axis):
    others = tuple(d for d in range(len(sizes)) if d != axis)
    return p.reshape(sizes).sum(others)


def uniform_weights(log_q):
    return torch.full(log_q.shape[:2], -math.log(log_q.shape[1]), dtype=log_q.dtype)


finite_laws = st.tuples(
    seeds, st.integers(2, 4), st.lists(st.integers(2, 3), min_size=2, max_size=3).map(tuple)
)


@given(finite_laws)
def test_over_all_of_the_data_the_mean_is_the_total_correlation(law):
    seed, data, sizes = law
    log_q = tables(seed, data, sizes)
    q = log_q.sum(2).exp().mean(1)  # (Z,)
    found = (q * total_correlation(log_q, uniform_weights(log_q))).sum()
    truth = sum(entropy(marginal(q, sizes, d)) for d in range(len(sizes))) - entropy(q)
    torch.testing.assert_close(found, truth)


@given(finite_laws)
def test_the_kl_falls_apart_into_information_total_correlation_and_dimensions(law):
    seed, data, sizes = law
    log_q = tables(seed, data, sizes)
    priors = [torch.softmax(normal(seed + 9 + d, size), 0) for d, size in enumerate(sizes)]
    p = torch.stack([torch.stack(point).prod() for point in product(*priors)])
    conditional = log_q.sum(2).exp()  # (Z, N), of each x_n
    q = conditional.mean(1)
    kl = (conditional * (conditional / p[:, None]).log()).sum(0).mean()
    information = entropy(q) - entropy(conditional / data) + math.log(data)
    tc = (q * total_correlation(log_q, uniform_weights(log_q))).sum()
    dimensions = sum(
        torch.special.xlogy(m := marginal(q, sizes, d), m / priors[d]).sum()
        for d in range(len(sizes))
    )
    torch.testing.assert_close(kl, information + tc + dimensions)


@given(seeds, st.integers(2, 4), st.integers(2, 4), st.floats(0.1, 2.0))
def test_codes_on_a_product_grid_have_no_total_correlation(seed, first, second, sigma):
    grid = torch.cartesian_prod(normal(seed, first), normal(seed + 1, second))
    z = 3.0 * normal(seed + 2, 7, 2)
    logvar = torch.full((), 2.0 * math.log(sigma), dtype=z.dtype)
    log_q = gaussian_log_prob(z[:, None], grid, logvar)
    found = total_correlation(log_q, uniform_weights(log_q))
    torch.testing.assert_close(found, torch.zeros_like(found))


@given(seeds, st.integers(3, 5), st.data())
def test_stratified_weights_are_unbiased_for_the_density_over_all_batches(seed, data, draw):
    rows = draw.draw(st.integers(2, data))
    q = normal(seed, data).exp()  # q(z|x_n) at some z that was drawn from x_0
    weights = log_weights(rows, data, stratified=True, like=q).exp()
    found = [
        (weights[0] * q[[0, *others]]).sum() for others in combinations(range(1, data), rows - 1)
    ]
    torch.testing.assert_close(torch.stack(found).mean(), q.mean())


@given(seeds, z_shapes, st.integers(6, 10**6), st.integers(6, 10**6))
def test_weighted_sampling_is_the_mean_over_the_batch_moved_by_a_constant(seed, shape, n, other):
    (rows, size), (mean, logvar, z) = shape, posteriors(seed, *shape)
    log_q = gaussian_log_prob(z[:, None], mean, logvar).requires_grad_()
    plain = total_correlation(log_q, uniform_weights(log_q))
    for samples in (n, other):
        weights = log_weights(rows, samples, stratified=False, like=log_q)
        found = total_correlation(log_q, weights)
        torch.testing.assert_close(found, plain + (size - 1) * math.log(samples))
        ours, theirs = (torch.autograd.grad(v.sum(), log_q, retain_graph=True)[0]
                        for v in (found, plain))  # fmt: skip
        torch.testing.assert_close(ours, theirs)


@given(seeds, z_shapes)
def test_with_all_of_the_data_in_the_batch_stratified_weights_are_equal(seed, shape):
    (rows, size), (mean, logvar, z) = shape, posteriors(seed, *shape)
    term = BetaTCVAE(samples=rows, sampling="stratified").build(shapes(size))
    log_q = gaussian_log_prob(z[:, None], mean, logvar)
    expected = total_correlation(log_q, uniform_weights(log_q))
    torch.testing.assert_close(term(output(mean, logvar, z)), expected)


@given(seeds, z_shapes, st.sampled_from(["weighted", "stratified"]), st.integers(6, 1000))
def test_the_published_loss_weighs_the_total_correlation_beta(seed, shape, sampling, samples):
    """Each part of the decomposition by its own estimate, with β = 4."""
    (rows, size), (mean, logvar, z) = shape, posteriors(seed, *shape)
    out = output(mean, logvar, z)
    term = BetaTCVAE(weight=3.0, samples=samples, sampling=sampling)
    latent = out.latents["z"]
    weights = log_weights(rows, samples, stratified=sampling == "stratified", like=z)
    log_q = gaussian_log_prob(z[:, None], mean, logvar)
    joint = torch.logsumexp(weights + log_q.sum(2), 1)
    marginals = torch.logsumexp(weights[:, :, None] + log_q, 1).sum(1)
    information = latent.posterior.log_prob(z).sum(1) - joint
    dimensions = marginals - latent.prior.log_prob(z).sum(1)
    published = information + 4.0 * (joint - marginals) + dimensions
    sampled = sampled_kl(latent.posterior, latent.prior, z).sum(1)  # the KL at the same sample
    torch.testing.assert_close(sampled + term.weight * term.build(shapes(size))(out), published)


# Total correlation: the Gaussian answer ----------------------------------------------------------

CORRELATION = 0.8
SIGMA = 0.4
AGGREGATE = torch.tensor([[1.0, CORRELATION], [CORRELATION, 1.0]]).double()
GAUSSIAN_TC = -0.5 * math.log(1.0 - CORRELATION**2)


def gaussian_example(rows, seed=0):
    """Return posteriors N(μ, 0.4²) with samples whose law is N(0, AGGREGATE), stretched."""
    scale = torch.tensor([0.5, 3.0], dtype=torch.float64)
    inner = AGGREGATE - SIGMA**2 * torch.eye(2, dtype=torch.float64)
    mean = normal(seed, rows, 2) @ torch.linalg.cholesky(inner).T
    z = mean + SIGMA * normal(seed + 1, rows, 2)
    logvar = torch.full_like(mean, 2.0 * math.log(SIGMA)) + 2.0 * scale.log()
    return scale * mean, logvar, scale * z


@pytest.mark.statistical
@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
def test_both_samplings_find_the_total_correlation_of_a_gaussian(sampling):
    """Within 0.07 of 0.5108, 4 standard deviations over seeds: fails for 1 in 10^4 (fixed)."""
    mean, logvar, z = gaussian_example(1500)
    term = BetaTCVAE(samples=60_000, sampling=sampling).build(shapes(2))
    found = term(output(mean, logvar, z)).mean().item()
    shift = math.log(60_000) if sampling == "weighted" else 0.0
    assert found - shift == pytest.approx(GAUSSIAN_TC, abs=0.07)


class Quadratic(nn.Module):
    """A logit quadratic in z: it holds the log ratio of any two Gaussian laws."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, dtype=torch.float64))

    def forward(self, a):
        x, y = a.sample.unbind(1)
        return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], 1) @ self.weight


@pytest.mark.statistical
def test_the_discriminator_finds_the_total_correlation_of_a_gaussian():
    """Within 0.03 of 0.5108, 6 standard deviations over seeds: fails for 1 in 10^8 (fixed)."""
    out, network = output(*gaussian_example(40_000)), Quadratic()
    critic = PermutationCritic("z", MarginalCritic(network), SMALL)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=80, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        out.noise.load_state_dict({})  # the same permutation each time
        loss = critic(out)
        loss.backward()
        return loss

    optimizer.step(closure)
    found = network(out.latents["z"]).mean().item()
    assert found == pytest.approx(GAUSSIAN_TC, abs=0.03)


# Permuted dimensions -----------------------------------------------------------------------------


@given(seeds, z_shapes)
def test_permuting_keeps_the_values_of_each_dimension(seed, shape):
    z = normal(seed, *shape)
    found = permuted(z, Noise(seed))
    assert found.sort(0).values.equal(z.sort(0).values)


@pytest.mark.statistical
def test_permuting_gives_the_product_of_the_marginals():
    """Pairs of 3 rows are uniform: each count within 5 σ, failing in 5e-6 of seeds (fixed)."""
    z = torch.arange(3.0, dtype=torch.float64)[:, None].expand(3, 2)
    noise, draws = Noise(0), 4000
    counts = torch.zeros(3, 3)
    for _ in range(draws):
        first = permuted(z, noise)[0].long()
        counts[first[0], first[1]] += 1
    sigma = math.sqrt(draws * (1 / 9) * (8 / 9))
    assert (counts - draws / 9).abs().max() < 5 * sigma


# Covariance --------------------------------------------------------------------------------------


@given(seeds, z_shapes, st.floats(0.0, 20.0))
def test_the_penalties_are_those_of_numpys_covariance(seed, shape, ratio):
    mean, logvar, z = posteriors(seed, *shape)
    between = np.cov(mean.numpy().T, bias=True).reshape(shape[1], shape[1])
    of_samples = between + np.diag(np.exp(logvar.numpy()).mean(0))
    for config, matrix in ((DIPVAEI(ratio=ratio), between), (DIPVAEII(ratio=ratio), of_samples)):
        diagonal = np.diag(matrix)
        off = (matrix**2).sum() - (diagonal**2).sum()
        expected = off + ratio * ((diagonal - 1.0) ** 2).sum()
        found = config.build(shapes(shape[1]))(output(mean, logvar, z))
        np.testing.assert_allclose(found.numpy(), np.full(shape[0], expected), atol=1e-10)


@given(seeds, st.integers(1, 4), st.floats(0.5, 2.0), st.floats(0.1, 20.0))
def test_the_penalty_vanishes_for_the_identity_alone(seed, size, scale, ratio):
    mean = normal(seed, 4 * size, size)
    white = (mean - mean.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(covariance(mean))).T
    torch.testing.assert_close(covariance(white), torch.eye(size, dtype=torch.float64))
    zero = torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(covariance_penalty(covariance(white), ratio), zero)
    stretched = covariance_penalty(covariance(scale * white), ratio)
    torch.testing.assert_close(stretched, zero + ratio * size * (scale**2 - 1.0) ** 2)
    bump = torch.eye(size, dtype=torch.float64)
    bump[0, -1] += 0.5
    assert covariance_penalty(bump, ratio) > 0.0


@given(seeds, st.integers(2, 6), st.floats(0.1, 0.9))
def test_means_alone_and_samples_differ_by_the_mean_posterior_variance(seed, rows, variance):
    """White means plus a posterior variance v: nothing for one, ratio·D·v² for the other."""
    mean = normal(seed, 4 * rows, 2)
    white = (mean - mean.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(covariance(mean))).T
    out = output(white, torch.full_like(white, math.log(variance)), white)
    first, second = (config.build(shapes(2))(out)[0] for config in (DIPVAEI(), DIPVAEII(ratio=3.0)))
    assert first.item() == pytest.approx(0.0, abs=1e-12)
    assert second.item() == pytest.approx(6.0 * variance**2)


# Capacity ----------------------------------------------------------------------------------------


@given(st.floats(0.0, 50.0), st.floats(0.01, 20.0))
def test_the_gap_is_zero_at_the_capacity_and_pulls_from_both_sides(capacity, away):
    kl = torch.tensor([capacity - away, capacity, capacity + away], dtype=torch.float64)
    kl.requires_grad_()
    gap = capacity_gap(kl, capacity)
    torch.testing.assert_close(gap, torch.tensor([away, 0.0, away], dtype=torch.float64))
    (slope,) = torch.autograd.grad(gap.sum(), kl)
    assert slope.tolist() == [-1.0, 0.0, 1.0]


@given(seeds, z_shapes, st.integers(0, 20))
def test_the_capacity_rises_with_the_step_and_stays(seed, shape, step):
    config = AnnealedVAE(capacity=8.0, rise=Schedule(name="linear", steps=10))
    out = output(*posteriors(seed, *shape))
    out.step = step
    expected = (out.latents["z"].kl() - 8.0 * min(1.0, (step + 1) / 10)).abs()
    torch.testing.assert_close(config.build(shapes(shape[1]))(out), expected)


@given(seeds, z_shapes)
def test_the_batch_is_held_at_the_capacity_by_its_mean(seed, shape):
    out = output(*posteriors(seed, *shape))
    expected = (out.latents["z"].kl().mean() - 3.0).abs()
    config = AnnealedVAE(capacity=3.0, mean_of="batch", rise=CONSTANT)
    torch.testing.assert_close(config.build(shapes(shape[1]))(out), expected.expand(shape[0]))


# Order and scale ---------------------------------------------------------------------------------


@given(seeds, z_shapes, terms, st.data())
def test_permuting_rows_permutes_the_terms_and_permuting_dimensions_changes_nothing(
    seed, shape, name, data
):
    rows, size = shape
    drawn = posteriors(seed, rows, size)
    term = built(name, size)
    straight = term(output(*drawn))
    order = torch.tensor(data.draw(st.permutations(range(rows))))
    torch.testing.assert_close(term(output(*(v[order] for v in drawn))), straight[order])
    if name != "factor-vae":  # a discriminator's weights belong to dimensions
        turn = torch.tensor(data.draw(st.permutations(range(size))))
        torch.testing.assert_close(term(output(*(v[:, turn] for v in drawn))), straight)


@given(seeds, z_shapes, st.sampled_from(["beta-tcvae", "beta-tcvae-stratified"]))
def test_total_correlation_knows_no_scale_and_no_origin(seed, shape, name):
    mean, logvar, z = posteriors(seed, *shape)
    scale, shift = normal(seed + 3, shape[1]).exp(), normal(seed + 4, shape[1])
    term = built(name, shape[1])
    moved = output(scale * mean + shift, logvar + 2.0 * scale.log(), scale * z + shift)
    torch.testing.assert_close(term(moved), term(output(mean, logvar, z)))


@given(seeds, st.integers(2, 6), st.sampled_from(["beta-tcvae", "beta-tcvae-stratified"]))
def test_one_dimension_alone_has_no_total_correlation(seed, rows, name):
    found = built(name, 1)(output(*posteriors(seed, rows, 1)))
    torch.testing.assert_close(found, torch.zeros_like(found))


# Gradients, on a real model ----------------------------------------------------------------------


def small_model(seed):
    config = ModelConfig(
        latents={"z": LatentConfig(scope="global", dim=3, prior=basics.StandardNormal())},
        backbone=basics.Identity(),
        encoder=basics.DSAEFactorised(hidden=4),
        decoder=basics.Framewise(hidden=(5,)),
        likelihood=basics.GaussianLikelihood(),
    )
    return build_model(config, Shapes(frame=(2,)), seed).double()


def model_term(model, name):
    with seeded(0, "critic"):
        return TERMS[name].build(model.shapes).double()


@st.composite
def batches(draw):
    """Draw a batch of two to four sequences of one to four frames."""
    lengths = torch.tensor(draw(st.lists(st.integers(1, 4), min_size=2, max_size=4)))
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return Batch.of(normal(draw(seeds), *mask.shape, 2), mask=mask)


def gradients(model, entries, made, batch, kl=1.0):
    objective = Objective({"z": KLConfig(weight=kl)}, entries, made)
    loss = objective(model(batch, Noise(3)), 0).total.mean()
    return torch.autograd.grad(loss, list(model.parameters()))


@given(seeds, batches(), terms)
def test_weight_zero_gives_the_gradients_of_the_plain_vae_exactly(seed, batch, name):
    model = small_model(seed)
    entry = {"term": evolve(TERMS[name], weight=0.0)}
    with_term = gradients(model, entry, {"term": model_term(model, name)}, batch)
    for a, b in zip(with_term, gradients(model, {}, {}, batch), strict=True):
        assert a.equal(b)


@given(seeds, batches(), st.floats(0.5, 5.0))
def test_a_capacity_below_or_above_the_kl_acts_as_a_kl_weight_of_either_sign(seed, batch, weight):
    model = small_model(seed)
    out = model(batch, Noise(3))
    nll, kl = (torch.autograd.grad(v.mean(), list(model.parameters()), allow_unused=True,
                                   retain_graph=True, materialize_grads=True)
               for v in (Objective({}, {}, {})(out, 0).total, out.latents["z"].kl()))  # fmt: skip
    for capacity, sign in ((0.0, 1.0), (1e4, -1.0)):
        entry = AnnealedVAE(weight=weight, capacity=capacity, rise=CONSTANT)
        made = {"annealed-vae": entry.build(model.shapes)}
        found = gradients(model, {"annealed-vae": entry}, made, batch, kl=0.0)
        for total, a, b in zip(found, nll, kl, strict=True):
            torch.testing.assert_close(total, a + sign * weight * b)


@given(seeds, batches())
def test_the_critic_moves_nothing_of_the_model_and_the_term_its_encoder(seed, batch):
    model = small_model(seed)
    term = model_term(model, "factor-vae")
    out = model(batch, Noise(3))
    term.critic(out).backward()  # even on an output with its graph
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in term.critic.parameters())
    term(out).mean().backward(inputs=list(model.parameters()))
    assert any(p.grad is not None and p.grad.any() for p in model.encoder.parameters())


@given(seeds, batches(), terms)
def test_no_term_reaches_the_decoder(seed, batch, name):
    model = small_model(seed)
    term = model_term(model, name)
    loss = term(model(batch, Noise(3))).mean()
    decoder = [*model.decoder.parameters(), *model.likelihood.parameters()]
    found = torch.autograd.grad(loss, decoder, allow_unused=True)
    assert found == (None,) * len(decoder)
