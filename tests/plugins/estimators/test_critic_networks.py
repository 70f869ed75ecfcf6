"""The networks over a pair of variables."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core.config import plain, structure_component
from seqvae_core.errors import ConfigError, ShapeError
from seqvae_core.records import Latent, Noise, Shapes, Variable
from seqvae_estimators.config import CriticConfig, DensityRatio
from seqvae_estimators.density_ratio import DensityRatioCritic

KINDS = ("conv", "recurrent", "mlp")
Z = Variable(name="z", scope="global", shape=(3,))
S = Variable(name="s", scope="local", shape=(2,))
GRID = Variable(name="g", scope="local", shape=(2, 3, 3), family="feature")


def critic(kind, a=Z, b=S, **settings):
    config = CriticConfig(name=kind, width=5, length=9, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DensityRatioCritic(config.build(a, b)).double()


def latent(variable, lengths, seed=0, extra=0):
    """Return a latent of drawn values whose padding is `extra` frames longer than it need be."""
    frames = max(lengths) + extra
    mask = torch.arange(frames) < torch.tensor(lengths)[:, None]
    shape = (len(lengths), *((frames,) if variable.scope == "local" else ()), *variable.shape)
    sample = Noise(seed).of(variable.name).normal(torch.zeros(shape, dtype=torch.float64))
    return Latent(name=variable.name, scope=variable.scope, sample=sample, mask=mask)


def filled(value, content):
    """Return the local latent with `content` in its padding."""
    sample = value.sample.clone()
    sample[~value.mask] = content
    return Latent(name=value.name, scope=value.scope, sample=sample, mask=value.mask)


some_lengths = st.lists(st.integers(1, 7), min_size=1, max_size=5)


@pytest.mark.parametrize("b", [S, GRID, Variable(name="y", scope="global", shape=(4,))])
@pytest.mark.parametrize("a", [Z, Variable(name="r", scope="local", shape=(1,))])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_one_logit_a_row_for_any_pair_of_scopes(kind, a, b):
    network, lengths = critic(kind, a, b), [4, 1, 6]
    assert network(latent(a, lengths), latent(b, lengths)).shape == (3,)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient_and_so_do_both_variables(kind):
    network, z, s = critic(kind), latent(Z, [7] * 5), latent(S, [7] * 5)
    z.sample.requires_grad_()
    s.sample.requires_grad_()
    network(z, s).sum().backward()
    for value in (*network.parameters(), z.sample, s.sample):
        assert value.grad.abs().sum() > 0


@given(some_lengths, st.sampled_from(KINDS), st.sampled_from([float("nan"), 1e30]))
def test_what_the_padding_holds_changes_no_bit(lengths, kind, content):
    network, z, s = critic(kind), latent(Z, lengths, extra=2), latent(S, lengths, extra=2)
    assert network(z, s).equal(network(z, filled(s, content)))


@given(some_lengths, st.sampled_from(KINDS), st.integers(1, 6))
def test_how_much_padding_there_is_changes_next_to_nothing(lengths, kind, extra):
    network, z = critic(kind), latent(Z, lengths)
    less, more = (network(z, latent(S, lengths, extra=n)) for n in (0, extra))
    torch.testing.assert_close(more, less, rtol=1e-6, atol=1e-12)


@given(some_lengths, st.sampled_from(KINDS), st.data())
def test_permuting_the_batch_permutes_the_logits(lengths, kind, data):
    order = torch.tensor(data.draw(st.permutations(range(len(lengths)))))
    network, z, s = critic(kind), latent(Z, lengths), latent(S, lengths)
    moved = [
        Latent(name=v.name, scope=v.scope, sample=v.sample[order], mask=v.mask[order])
        for v in (z, s)
    ]
    torch.testing.assert_close(network(*moved), network(z, s)[order])


@given(some_lengths)
def test_two_local_variables_count_where_both_are_real(lengths):
    r = Variable(name="r", scope="local", shape=(1,))
    network = critic("conv", r, S)
    long, short = latent(r, [7] * len(lengths)), latent(S, lengths, extra=7 - max(lengths))
    cut = Latent(name="r", scope="local", sample=long.sample, mask=short.mask)
    assert network(long, short).equal(network(cut, short))


def test_the_mlp_refuses_what_is_longer_than_its_length():
    network = critic("mlp")
    with pytest.raises(ShapeError, match=r"expected at most 9 frames of 's', got 11$"):
        network(latent(Z, [11, 3]), latent(S, [11, 3]))


def test_the_mlp_over_a_local_variable_needs_a_length():
    with pytest.raises(ShapeError, match=r"'mlp' needs 'length', .* for local 's'$"):
        CriticConfig(name="mlp").build(Z, S)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="'kernel' must be odd: 4"):
        CriticConfig(name="conv", kernel=4)


def test_logits_are_of_full_precision_under_autocast():
    network = critic("conv").float()
    z, s = (
        Latent(name=v.name, scope=v.scope, sample=v.sample.float(), mask=v.mask)
        for v in (latent(Z, [4, 2]), latent(S, [4, 2]))
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert network(z, s).dtype == torch.float32


def test_the_critic_of_an_estimator_reads_the_two_variables_in_their_order():
    estimator = DensityRatio(critic=CriticConfig(name="conv", width=4)).build(Shapes(frame=(1,)))
    pair = estimator.critic(Shapes(frame=(1,), latents={"z": Z, "s": S}))
    z, s = (latent(v, [3, 2]) for v in (Z, S))
    loss, scalars = pair.double().loss((z, s), (latent(Z, [3, 2], seed=1), s))
    assert loss.shape == ()
    assert scalars.keys() == {"accuracy", "mean_logit", "mean_logit_negative"}
    assert pair.network.convolutions[0].in_channels == Z.size + S.size


def test_settings_survive_the_way_through_plain_data(plugins):
    table = {
        "name": "density-ratio",
        "critic": {"name": "conv", "width": 16, "optimizer": {"lr": 1e-4, "betas": [0.5, 0.9]}},
    }
    config = structure_component("mi_estimator", table, plugins)
    assert config.critic.optimizer.betas == (0.5, 0.9)
    assert structure_component("mi_estimator", plain(config), plugins) == config
    with pytest.raises(
        ConfigError, match=r"expected one of mlp, recurrent, conv, location, got 'cnn'"
    ):
        structure_component("mi_estimator", {"name": "density-ratio", "critic": "cnn"}, plugins)
