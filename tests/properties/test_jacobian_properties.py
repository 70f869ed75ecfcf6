"""What the penalty on the decoder's Jacobian is, by known answers, dense Jacobians, enumeration."""

from itertools import permutations, product
from typing import ClassVar

import pytest
import torch
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks, normal, seeds
from torch import nn

from seqvae_basics.config import BernoulliLikelihood, Framewise, GaussianLikelihood
from seqvae_core.components import Decoder, DecoderConfig, Likelihood, LikelihoodConfig
from seqvae_core.experiment import KLConfig
from seqvae_core.functional import masked_sum
from seqvae_core.objective import Objective
from seqvae_core.records import Noise, Shapes, Variable
from seqvae_core.testing import small_batch, small_model
from seqvae_core.testing.standins import Gaussian
from seqvae_jacobian.config import JacobianL1, JacobianL2
from seqvae_jacobian.drawing import draw

FORWARD = "forward"
TANH = Framewise(hidden=(4, 5), activation="tanh")
ALL = JacobianL1(columns=0)


class LinearDecoder(Decoder):
    """Frame t is W z, the same for every t."""

    decoded = (4,)

    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(size, 4, bias=False)

    def forward(self, latents, x=None):
        """Return one frame for all."""
        return self.layer(latents["z"])[:, None], {}


class Recurrent(Decoder):
    """Frame t depends on the local latents up to step t: not framewise."""

    decoded = (4,)

    def __init__(self, shapes):
        super().__init__()
        self.layer = nn.Linear(sum(v.size for v in shapes.latents.values()), 4)
        self.globals = [v.name for v in shapes.of("global")]
        self.locals = [v.name for v in shapes.of("local")]

    def forward(self, latents, x=None):
        """Return tanh of a running sum."""
        steps = torch.cat([latents[name] for name in self.locals], 2).cumsum(1)
        spread = [latents[n][:, None].expand(-1, steps.shape[1], -1) for n in self.globals]
        return torch.tanh(self.layer(torch.cat([*spread, steps], 2))), {}


class Same(Likelihood):
    """A Gaussian around the decoder's features."""

    def forward(self, features):
        """Return N(features, 1)."""
        return Gaussian(features, torch.zeros_like(features))


@frozen(kw_only=True)
class LinearConfig(DecoderConfig):
    """W z."""

    name: ClassVar[str] = "linear"

    def build(self, shapes):
        """Build the module."""
        return LinearDecoder(shapes.latents["z"].size)


@frozen(kw_only=True)
class RecurrentConfig(DecoderConfig):
    """A running sum."""

    name: ClassVar[str] = "running-sum"

    def build(self, shapes):
        """Build the module."""
        return Recurrent(shapes)


@frozen(kw_only=True)
class SameConfig(LikelihoodConfig):
    """N(features, 1)."""

    name: ClassVar[str] = "same"

    def build(self, shapes):
        """Build the module."""
        return Same()


Z = {"z": Variable(name="z", scope="global", shape=(3,))}
S = {"s": Variable(name="s", scope="local", shape=(2,))}


def hosted(decoder=TANH, likelihood=None, latents=None, seed=0):
    """Return a model of stand-in parts and this decoder, in float64."""
    shapes = Shapes(frame=(4,), latents=latents or Z | S)
    likelihood = likelihood or BernoulliLikelihood()
    return small_model(shapes, decoder=decoder, likelihood=likelihood, seed=seed % 2**31).double()


def output(model, mask=None, seed=0, padding=float("nan")):
    """Return the model's output of random frames, with graph."""
    batch = small_batch(model.shapes, rows=3, frames=3, mask=mask, seed=seed, padding=padding)
    return model(batch, Noise(seed)).term("jacobian")


def penalty(config, model, out):
    """Return the term, (B,)."""
    return config.build(model.shapes)(out)


def dense(out, latent, *, power=1, live=False):
    """Return the term by one reverse pass for each number of a frame, with its graph."""
    names = ("z", "s")
    values = {n: out.latents[n].sample for n in names if n in out.latents}
    if not live:
        values = {name: value.detach().requires_grad_() for name, value in values.items()}
    mean = out.decode(values, out.batch.x).mean
    total = 0.0
    for t, i in product(range(mean.shape[1]), range(mean.shape[2])):
        at = torch.where(out.batch.mask[:, t], mean[:, t, i], 0.0).sum()
        (slope,) = torch.autograd.grad(at, values[latent], create_graph=True)
        total = total + slope.abs().pow(power).flatten(1).sum(1)
    return total


def gradients(value, model, *parts):
    """Return the gradient of the mean of a term for all parameters of the named parts."""
    found = {name: p for name, p in model.named_parameters() if not parts or name.startswith(parts)}
    grads = torch.autograd.grad(
        value.mean(), list(found.values()), allow_unused=True, retain_graph=True
    )
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(found.items(), grads, strict=True)
    }


def assert_like(got, expected, rtol):
    """Compare gradients by their largest number."""
    scale = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0.0, atol=rtol * scale, msg=name)


# Known answers -----------------------------------------------------------------------------------

methods = st.sampled_from(["finite-difference", FORWARD])


@given(seeds, masks(), methods, st.floats(1e-3, 2.0))
def test_the_penalty_of_a_linear_decoder_is_the_sum_of_its_weights_wherever_z_is(
    seed, mask, method, epsilon
):
    model = hosted(LinearConfig(), SameConfig(), Z, seed)
    weights = model.decoder.layer.weight
    for kind, expected in ((JacobianL1, weights.abs().sum()), (JacobianL2, weights.square().sum())):
        config = kind(columns=0, method=method, epsilon=epsilon)
        found = penalty(config, model, output(model, mask, seed))
        torch.testing.assert_close(found, mask.sum(1) * expected, rtol=1e-9, atol=1e-9)


@given(seeds, st.floats(-3.0, 3.0), st.permutations(range(3)), st.permutations(range(4)))
def test_scaling_the_decoder_scales_the_penalty_and_permuting_latents_or_pixels_changes_nothing(
    seed, factor, latents, pixels
):
    model = hosted(LinearConfig(), SameConfig(), Z, seed)
    before = penalty(ALL, model, output(model, seed=seed)).detach()
    with torch.no_grad():
        model.decoder.layer.weight.copy_(factor * model.decoder.layer.weight[pixels][:, latents])
    after = penalty(ALL, model, output(model, seed=seed))
    torch.testing.assert_close(after, abs(factor) * before, rtol=1e-9, atol=1e-9)


def test_rotating_the_latents_changes_l1_and_leaves_l2():
    model = hosted(LinearConfig(), SameConfig(), Z)
    turn = torch.linalg.qr(normal(1, 3, 3))[0]
    values = []
    for weights in (torch.eye(4, 3, dtype=torch.float64), torch.eye(4, 3).double() @ turn):
        with torch.no_grad():
            model.decoder.layer.weight.copy_(weights)
        out = output(model)
        values.append([penalty(c, model, out) for c in (ALL, JacobianL2(columns=0))])
    (one, two), (turned_one, turned_two) = values
    assert bool((turned_one > 1.2 * one).all())
    torch.testing.assert_close(turned_two, two)


# Dense Jacobians ---------------------------------------------------------------------------------

likelihoods = st.sampled_from([BernoulliLikelihood(), GaussianLikelihood()])
powers = st.sampled_from([1, 2])
KINDS = {1: JacobianL1, 2: JacobianL2}
decoders = st.sampled_from([TANH, RecurrentConfig()])


@given(seeds, masks(), likelihoods, powers, decoders, st.sampled_from(["z", "s"]))
def test_forward_mode_is_the_dense_jacobian_and_its_gradient_is_double_backward(
    seed, mask, likelihood, power, decoder, latent
):
    model = hosted(decoder, likelihood, seed=seed)
    out = output(model, mask, seed)
    config = KINDS[power](columns=0, method=FORWARD, latent=latent)
    found, expected = penalty(config, model, out), dense(out, latent, power=power)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    grads = gradients(expected, model, "decoder", "likelihood")
    assert_like(gradients(found, model, "decoder", "likelihood"), grads, 1e-10)


@given(seeds, masks(), powers, decoders, st.sampled_from(["z", "s"]))
def test_finite_differences_are_the_dense_jacobian_up_to_a_multiple_of_epsilon(
    seed, mask, power, decoder, latent
):
    model = hosted(decoder, seed=seed)
    out = output(model, mask, seed)
    exact = dense(out, latent, power=power)
    grads = gradients(exact, model, "decoder", "likelihood")
    for epsilon in (1e-3, 1e-5):
        config = KINDS[power](columns=0, epsilon=epsilon, latent=latent)
        found = penalty(config, model, out)
        torch.testing.assert_close(found, exact, rtol=10.0 * epsilon, atol=10.0 * epsilon)
    # |J| has a corner where an entry changes its sign: the gradients of the squares alone are near
    if power == 2:
        assert_like(gradients(found, model, "decoder", "likelihood"), grads, 1e-3)


def test_all_three_ways_give_one_gradient_where_no_entry_is_near_zero():
    model = hosted(seed=5)
    out = output(model, seed=5)
    exact = gradients(dense(out, "z"), model, "decoder", "likelihood")
    for config in (evolve(ALL, method=FORWARD), evolve(ALL, epsilon=1e-6)):
        assert_like(
            gradients(penalty(config, model, out), model, "decoder", "likelihood"), exact, 1e-5
        )


def at_once(out, epsilon):
    """Return the published computation: one decode of all columns and their base, (L+1)·B rows."""
    z = out.latents["z"].sample.detach()
    moves = epsilon * torch.eye(4, 3, dtype=z.dtype).roll(1, 0)
    stacked = (z + moves[:, None]).flatten(0, 1)
    values = {"z": stacked, "s": out.latents["s"].sample.detach().repeat(4, 1, 1)}
    mean = out.decode(values).mean.unflatten(0, (4, len(z)))
    slopes = ((mean[1:] - mean[:1]) / epsilon).abs().sum(0)
    return masked_sum(slopes, out.batch.mask)


@given(seeds, masks(), st.sampled_from(["relu", "tanh"]), st.integers(1, 4))
def test_with_all_columns_it_is_the_published_computation(seed, mask, activation, chunk):
    model = hosted(evolve(TANH, activation=activation), seed=seed)
    out = output(model, mask, seed)
    found = penalty(evolve(ALL, epsilon=1e-3, chunk=chunk), model, out)
    expected = at_once(out, 1e-3)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    grads = gradients(expected, model, "decoder", "likelihood")
    assert_like(gradients(found, model, "decoder", "likelihood"), grads, 1e-9)


@given(seeds, methods, st.integers(2, 7), st.sampled_from(["z", "s"]))
def test_how_many_columns_are_computed_at_a_time_changes_nothing(seed, method, chunk, latent):
    model = hosted(RecurrentConfig(), seed=seed)
    out = output(model, seed=seed)
    config = evolve(ALL, method=method, latent=latent)
    values = [penalty(evolve(config, chunk=size), model, out) for size in (1, chunk)]
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=1e-12)
    assert_like(gradients(values[0], model), gradients(values[1], model), 1e-12)


@given(seeds, masks(), methods)
def test_moving_all_steps_at_once_gives_what_moving_each_alone_does(seed, mask, method):
    model = hosted(seed=seed)
    out = output(model, mask, seed)
    config = evolve(ALL, method=method, latent="s")
    at_once = penalty(config, model, out)
    model.decoder.framewise = False
    alone = penalty(config, model, out)
    torch.testing.assert_close(at_once, alone, rtol=1e-10, atol=1e-10)
    assert_like(gradients(at_once, model), gradients(alone, model), 1e-9)


# Whom it trains ----------------------------------------------------------------------------------


@given(seeds, methods, st.integers(0, 3), st.integers(0, 3))
def test_the_term_leaves_the_encoders_gradient_as_it_is_bit_for_bit(seed, method, columns, rows):
    model = hosted(seed=seed)
    entry = evolve(ALL, method=method, columns=columns, rows=rows)
    kls = {name: KLConfig() for name in model.priors}
    found = []
    for entries in ({}, {"j": entry}):
        terms = {"j": entry.build(model.shapes)} if entries else {}
        out = model(small_batch(model.shapes, rows=3, frames=3, seed=seed), Noise(seed))
        loss = Objective(kls, entries, terms)(out, 0).total
        found.append(gradients(loss, model))
    plain, with_term = found
    for name, gradient in plain.items():
        decoded = name.startswith(("decoder", "likelihood"))
        assert decoded or torch.equal(with_term[name], gradient), name
    assert any(not torch.equal(with_term[name], gradient) for name, gradient in plain.items())


@given(seeds, masks())
def test_through_the_encoder_it_is_the_graph_of_the_dense_jacobian(seed, mask):
    model = hosted(seed=seed)
    out = output(model, mask, seed)
    config = evolve(ALL, method=FORWARD, through_encoder=True)
    grads = gradients(dense(out, "z", live=True), model)
    assert any(bool(grads[name].any()) for name in grads if name.startswith("encoder"))
    assert_like(gradients(penalty(config, model, out), model), grads, 1e-10)


@given(seeds, st.integers(0, 2))
def test_through_the_encoder_or_not_value_and_decoder_gradient_are_the_same(seed, rows):
    model = hosted(seed=seed)
    config = evolve(ALL, rows=rows)
    found = []
    for through in (False, True):
        value = penalty(evolve(config, through_encoder=through), model, output(model, seed=seed))
        found.append((value, gradients(value, model, "decoder", "likelihood")))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=0.0)
    assert_like(found[0][1], found[1][1], 1e-12)


# Padding -----------------------------------------------------------------------------------------


@given(seeds, masks(), st.sampled_from(["z", "s"]), decoders)
def test_a_sequence_has_the_penalty_that_it_has_without_its_padding(seed, mask, latent, decoder):
    model = hosted(decoder, seed=seed)
    out = output(model, mask, seed)
    config = evolve(ALL, latent=latent)
    for row, (value, length) in enumerate(
        zip(penalty(config, model, out), mask.sum(1).tolist(), strict=True)
    ):
        batch = evolve(out.batch.rows(slice(row, row + 1)))
        cut = evolve(batch, x=batch.x[:, :length], mask=batch.mask[:, :length])
        latents = {
            name: evolve(
                latent_,
                mask=cut.mask,
                sample=latent_.sample[
                    row : row + 1, : length if latent_.scope == "local" else None
                ],
            )
            for name, latent_ in out.latents.items()
        }
        samples = {name: each.sample for name, each in latents.items()}
        alone = evolve(
            out, batch=cut, latents=latents,
            likelihood=model._likelihood_of(samples, cut.mask, cut.x),
            decoder=lambda given, _, x, mask=cut.mask: model._likelihood_of(given, mask, x),
        )  # fmt: skip
        [expected] = penalty(config, model, alone)
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)


# What is drawn -----------------------------------------------------------------------------------


class Scripted(Noise):
    """Orders as told, by how many there are to order and whose stream it is."""

    def __init__(self, orders):
        super().__init__(0)
        self.orders = orders

    def permutation(self, count):
        """Return the order of the stream's name."""
        return torch.tensor(self.orders[self._path.rsplit("/", 1)[1]])


def every_draw(config, model, out, columns, rows):
    """Return the term and its gradient for each of the equally likely pairs of orders."""
    for column_order, row_order in product(permutations(range(columns)), permutations(range(rows))):
        scripted = evolve(out, noise=Scripted({"columns": column_order, "rows": row_order}))
        value = penalty(config, model, scripted)
        yield value.detach(), gradients(value, model, "decoder", "likelihood")


@pytest.mark.parametrize("method", ["finite-difference", FORWARD])
@pytest.mark.parametrize(
    ("columns", "rows"), [(1, 0), (2, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
)
def test_the_mean_over_all_equally_likely_draws_is_the_whole_penalty(columns, rows, method):
    model = hosted()
    out = output(model)
    exact = penalty(evolve(ALL, method=method), model, out)
    config = evolve(ALL, method=method, columns=columns, rows=rows)
    draws = list(every_draw(config, model, out, 3, 3))
    torch.testing.assert_close(torch.stack([value for value, _ in draws]).mean(0), exact.detach())
    mean = {n: torch.stack([found[n] for _, found in draws]).mean(0) for n in draws[0][1]}
    assert_like(mean, gradients(exact, model, "decoder", "likelihood"), 1e-10)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_the_same_holds_where_sequences_have_columns_of_different_number(columns):
    model = hosted(RecurrentConfig())
    out = output(model, torch.tensor([[1, 1], [1, 0], [1, 1]]).bool())
    config = evolve(ALL, latent="s", columns=columns)
    draws = [value for value, _ in every_draw(config, model, out, 4, 1)]
    exact = penalty(evolve(config, columns=0), model, out)
    torch.testing.assert_close(torch.stack(draws).mean(0), exact.detach())


@given(seeds, st.integers(1, 12), st.integers(1, 9), st.integers(0, 10), st.integers(0, 13))
def test_columns_are_balanced_over_the_batch_and_never_drawn_twice_for_a_sequence(
    seed, batch, size, columns, rows
):
    drawn = draw(torch.full((batch,), size), Noise(seed), columns=columns, rows=rows)
    taken, chosen = min(columns or size, size), min(rows or batch, batch)
    assert drawn.columns.shape == drawn.scale.shape == (taken, chosen)
    assert all(len(set(column)) == taken for column in drawn.columns.T.tolist())
    used = torch.bincount(drawn.columns.flatten(), minlength=size)
    assert int(used.max() - used.min()) <= 1
    torch.testing.assert_close(
        drawn.scale, torch.full_like(drawn.scale, batch * size / chosen / taken)
    )


@given(seeds, st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 7))
def test_a_sequence_with_few_columns_has_them_all_once(seed, counts, columns):
    drawn = draw(torch.tensor(counts), Noise(seed), columns=columns)
    for row, count in enumerate(counts):
        real = drawn.columns[drawn.scale[:, row] > 0.0, row].tolist()
        taken = min(columns or count, count)
        assert len(set(real)) == len(real) == taken
        assert max(real) < count
        torch.testing.assert_close(float(drawn.scale[:, row].sum()), float(count))
