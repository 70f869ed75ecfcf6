"""Streams of noise: independent, resumable, and the same whatever the padding."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import names, seeds

from seqvae_core.noise import Noise

DRAWS = {
    "normal": lambda noise: noise.normal(torch.empty(3, 2)),
    "uniform": lambda noise: noise.uniform(torch.empty(4)),
    "permutation": lambda noise: noise.permutation(100),
    "integers": lambda noise: noise.integers(1000, (3,)),
}
draws = st.sampled_from(sorted(DRAWS))
plans = st.lists(st.tuples(st.sampled_from("abc"), draws), max_size=8)


def follow(noise, plan):
    return [DRAWS[kind](noise.of(stream)) for stream, kind in plan]


def equal(one, other):
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


@given(seed=seeds, plan=plans)
def test_a_seed_fixes_every_number(seed, plan):
    assert equal(follow(Noise(seed), plan), follow(Noise(seed), plan))


@given(seed=seeds, plan=plans, other=plans)
def test_a_stream_is_not_moved_by_what_others_draw(seed, plan, other):
    alone = [(stream, kind) for stream, kind in plan if stream == "a"]
    mixed = [*other, *plan]
    strangers = [(stream, kind) for stream, kind in mixed if stream != "a"]
    noise = Noise(seed)
    follow(noise, strangers)
    assert equal(follow(noise, alone), follow(Noise(seed), alone))


@given(seed=seeds, before=plans, after=plans)
def test_a_stored_state_continues_where_it_was_taken(seed, before, after):
    noise = Noise(seed)
    follow(noise, before)
    state = noise.state_dict()
    expected = follow(noise, after)
    fresh, constructed = Noise(seed), Noise(seed, counts=state)
    child = fresh.of("a")
    fresh.load_state_dict(state)
    assert equal(follow(fresh, after), expected)
    assert equal(follow(constructed, after), expected)
    assert child.state_dict() == noise.state_dict()


def test_a_stored_state_is_a_copy():
    noise = Noise(0)
    state = noise.state_dict()
    noise.normal(torch.empty(2))
    assert state == {}


@given(seed=seeds, kind=draws)
def test_streams_seeds_and_successive_draws_differ(seed, kind):
    draw, noise = DRAWS[kind], Noise(seed)
    first = [draw(noise), draw(noise), draw(noise.of("a")), draw(noise.of("a").of("a"))]
    first.append(draw(Noise(seed + 1)))
    assert not any(one.equal(two) for i, one in enumerate(first) for two in first[:i])


@given(seed=seeds, left=names, right=names)
def test_a_stream_below_a_stream_is_its_own(seed, left, right):
    like = torch.empty(5)
    nested = Noise(seed).of(left).of(right).normal(like)
    assert not nested.equal(Noise(seed).of(right).of(left + "x").normal(like))
    assert nested.equal(Noise(seed).of(left).of(right).normal(like))


@given(
    seed=seeds,
    batch=st.integers(1, 5),
    time=st.integers(1, 8),
    more=st.integers(0, 8),
    event=st.sampled_from([(), (3,), (2, 2)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    method=st.sampled_from(["normal", "uniform"]),
)
def test_more_padding_begins_with_the_same_numbers(seed, batch, time, more, event, dtype, method):
    short = getattr(Noise(seed), method)(torch.empty(batch, time, *event, dtype=dtype))
    long = getattr(Noise(seed), method)(torch.empty(batch, time + more, *event, dtype=dtype))
    assert long[:, :time].equal(short)
    assert short.is_contiguous()


@given(
    seed=seeds,
    shape=st.lists(st.integers(1, 4), max_size=4),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
)
def test_a_draw_has_the_shape_and_type_that_was_asked_for(seed, shape, dtype):
    like = torch.empty(shape, dtype=dtype)
    for value in (Noise(seed).normal(like), Noise(seed).uniform(like)):
        assert (value.shape, value.dtype) == (like.shape, dtype)
        assert value.isfinite().all()
    assert Noise(seed).uniform(like).min() >= 0.0


@given(seed=seeds, count=st.integers(1, 50))
def test_a_permutation_holds_every_item_once(seed, count):
    assert sorted(Noise(seed).permutation(count).tolist()) == list(range(count))


@given(seed=seeds, high=st.integers(1, 50))
def test_integers_lie_below_their_bound(seed, high):
    drawn = Noise(seed).integers(high, (20,))
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < high


def test_torchs_generator_is_left_alone():
    before = torch.random.get_rng_state()
    for draw in DRAWS.values():
        draw(Noise(0))
    assert torch.random.get_rng_state().equal(before)


@pytest.mark.statistical
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_noise_has_the_moments_of_a_normal(dtype):
    """Fails for less than one seed in 10^4: each bound is 5 standard errors."""
    n = 200_000
    value = Noise(1).of("moments").normal(torch.empty(n, dtype=dtype)).double()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(value.pow(power).mean() - moment) < 5 * math.sqrt(variance / n)


@pytest.mark.statistical
def test_neighbouring_streams_and_draws_are_uncorrelated():
    """Fails for less than one seed in 10^4: 28 pairs, each bound is 5 standard errors."""
    like = torch.empty(50_000, dtype=torch.float64)
    noise = Noise(1)
    rows = [noise.of(f"s{i}").normal(like) for i in range(4)]
    rows += [noise.of("s0").normal(like) for _ in range(2)]
    rows += [Noise(seed).of("s0").normal(like) for seed in (2, 3)]
    correlation = torch.corrcoef(torch.stack(rows)) - torch.eye(8, dtype=torch.float64)
    assert correlation.abs().max() < 5 / math.sqrt(len(like))
