"""Local MIG and local modularity: neighbourhoods, known ceilings and floors, the task."""

import math

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from mirror import mirror, splits

from seqvae_core.components import DataRequest
from seqvae_core.loading import data_shapes
from seqvae_core.records import Factors, Noise
from seqvae_core.testing import small_model
from seqvae_data.images.factors_config import ThreeDots
from seqvae_tasks import factor_codes
from seqvae_tasks.config_disentanglement import LocalDisentanglement
from seqvae_tasks.local_disentanglement import centres, neighbours, scores

SEEDS = st.integers(0, 2**31 - 1)
DOTS = Factors(
    sizes=dict.fromkeys(("x0", "y0", "x1", "y1", "x2", "y2"), 64),
    ordered=frozenset(("x0", "y0", "x1", "y1", "x2", "y2")),
    render=None,
)


# Neighbourhoods ----------------------------------------------------------------------------------


@st.composite
def spaces(draw):
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    names = [f"f{i}" for i in range(len(sizes))]
    ordered = frozenset(draw(st.sets(st.sampled_from(names))))
    return Factors(sizes=dict(zip(names, sizes, strict=True)), ordered=ordered, render=None)


@given(factors=spaces(), radius=st.floats(0.01, 1.0), seed=SEEDS)
def test_neighbours_are_as_near_as_the_radius_says(factors, radius, seed):
    [centre] = centres(factors, 1, Noise(seed))
    values = neighbours(factors, centre, radius, 50, Noise(seed))
    assert values.shape == (50, len(factors.sizes))
    for (name, size), middle, column in zip(factors.sizes.items(), centre, values.T, strict=True):
        reach = math.floor(radius * size) if name in factors.ordered and size >= 10 else 0
        assert 0 <= middle < size
        assert (column >= max(0, middle - reach)).all()
        assert (column <= min(size - 1, middle + reach)).all()


@pytest.mark.parametrize(("centre", "radius", "expected"), [
    (30, 0.1, range(24, 37)), (2, 0.1, range(9)), (63, 0.2, range(51, 64)), (5, 1.0, range(64)),
])  # fmt: skip
def test_every_value_within_reach_is_drawn_equally_often(centre, radius, expected):
    """Borders cut the range off, they collect nothing: each share within 5 standard errors."""
    values = neighbours(DOTS, np.full(6, centre), radius, 10_000, Noise(0))
    counts = np.bincount(values.ravel(), minlength=64)
    assert np.flatnonzero(counts).tolist() == [*expected]
    mean = 60_000 / len(expected)
    assert np.abs(counts[[*expected]] - mean).max() < 5 * math.sqrt(mean)


def test_only_ordered_factors_of_ten_values_or_more_have_neighbours():
    factors = Factors(sizes={"nine": 9, "ten": 10, "kind": 10}, ordered=frozenset({"nine", "ten"}),
                      render=None)  # fmt: skip
    values = neighbours(factors, np.array([4, 4, 4]), 1.0, 500, Noise(0))
    assert [len(np.unique(column)) for column in values.T] == [1, 10, 1]


@given(few=st.integers(1, 20), seed=SEEDS)
def test_fewer_clusters_are_the_first_of_more(few, seed):
    assert np.array_equal(centres(DOTS, few, Noise(seed)), centres(DOTS, 20, Noise(seed))[:few])


# Known ceilings and floors -----------------------------------------------------------------------


def oracle(values, noise):
    return np.concatenate([values, noise[:, :4]], 1)


def rotated(values, noise):
    x, y = values[:, ::2], values[:, 1::2]
    return np.concatenate([x + y, x - y, noise[:, :4]], 1)


def nothing(values, noise):
    return noise


def mean_scores(code, radius, clusters=20):
    rng, found = np.random.default_rng(0), []
    for i, centre in enumerate(centres(DOTS, clusters, Noise(0).of("centre"))):
        values = neighbours(DOTS, centre, radius, 10_000, Noise(0).of(str(i)))
        found.append(scores(code(values, rng.normal(size=(10_000, 10))), values, 5))
    return np.mean(found, 0)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("code", "radius", "gap", "modular"),
    [
        (oracle, 0.1, (0.640, 0.020), (0.789, 0.036)),
        (oracle, 0.2, (0.518, 0.024), None),
        (oracle, 0.3, (0.458, 0.021), None),
        (oracle, 0.6, (0.404, 0.012), None),
        (oracle, 1.0, (0.384, 0.002), None),
        (rotated, 0.1, (0.003, 0.001), (0.702, 0.055)),
        (rotated, 1.0, (0.0015, 0.001), None),
        (nothing, 0.1, (0.0001, 0.0001), (0.470, 0.060)),
    ],
)
def test_three_dots_have_the_known_ceilings_and_floors(code, radius, gap, modular):
    """Six perfect codes and four of noise, these turned by 45°, noise alone.

    The tolerances are four standard deviations, over seeds, of a mean over as many clusters, or
    the last known digit. The known numbers are such means themselves: about one seed in a hundred
    would miss.
    """
    found = mean_scores(code, radius, clusters=20 if modular else 10)
    assert found[0] == pytest.approx(gap[0], abs=gap[1])
    if modular is not None:
        assert found[1] == pytest.approx(modular[0], abs=modular[1])


def test_a_factor_that_does_not_vary_in_a_cluster_is_left_out():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 12, (500, 2))
    codes = values + 0.1 * rng.normal(size=values.shape)
    more = np.concatenate([values, np.full((500, 1), 3)], 1)
    assert scores(codes, more, 5) == scores(codes, values, 5)
    gap, modular = scores(codes, more[:, [0, 2]], 5)
    assert gap > 0.5
    assert math.isnan(modular)


# The task ----------------------------------------------------------------------------------------


def frames(values):
    """Return frames whose first two channels, which are z, are the first two factors."""
    x = torch.zeros(len(values), 1, 4)
    x[:, 0, :2] = torch.as_tensor(values[:, :2], dtype=torch.float32)
    return x


SMALL = Factors(
    sizes={"a": 20, "b": 30, "kind": 3}, ordered=frozenset({"a", "b"}), render=frames
)  # fmt: skip
QUICK = LocalDisentanglement(radii=(0.2, 1.0), clusters=3, points=200)


def run(config=QUICK, seed=0, factors=SMALL, model=None):
    model = model or mirror()
    data = evolve(splits(train=3, test=3), factors=factors)
    return config.build(model.shapes)(model, data, Noise(seed))


def test_each_radius_has_both_scores_and_their_standard_errors():
    found = run()
    assert set(found.metrics) == {
        f"{name}/{radius}{end}"
        for name in ("mig", "modularity") for radius in ("0.2", "1") for end in ("", "/stderr")
    }  # fmt: skip
    assert [row["radius"] for row in found.tables["fixed clusters"]] == ["0.2", "1"]
    assert found.metrics["mig/0.2"] > 0.5
    assert found.metrics["modularity/0.2"] > 0.9


def test_the_fixed_clusters_are_the_same_for_every_seed_and_the_fresh_ones_are_not():
    one, other = (run(evolve(QUICK, fresh=True), seed) for seed in (1, 2))
    assert run(QUICK, 1).metrics == run(QUICK, 2).metrics
    for name, value in run(QUICK).metrics.items():
        assert one.metrics[name] == other.metrics[name] == value
    fresh = [{n: v for n, v in each.metrics.items() if n.startswith("fresh/")}
             for each in (one, other)]  # fmt: skip
    assert fresh[0].keys() == fresh[1].keys() == {f"fresh/{name}" for name in run().metrics}
    assert fresh[0] != fresh[1]
    assert run(evolve(QUICK, fresh=True), 1).metrics == one.metrics
    assert list(one.tables) == ["fixed clusters", "fresh clusters"]


def test_a_radius_that_is_left_out_changes_no_other():
    alone = run(evolve(QUICK, radii=(1.0,))).metrics
    assert alone == {name: value for name, value in run().metrics.items() if "/1" in name}


def test_how_many_images_are_encoded_at_a_time_changes_nothing(monkeypatch):
    plain = run().metrics
    monkeypatch.setattr(factor_codes, "BATCH", 7)
    assert run().metrics == pytest.approx(plain)


def test_each_image_is_made_once_for_both_scores_and_few_at_a_time():
    made = []

    def counted(values):
        made.append(values)
        return frames(values)

    run(evolve(QUICK, clusters=2, radii=(0.1,)), factors=evolve(SMALL, render=counted))
    assert max(map(len, made)) <= factor_codes.BATCH
    first = {tuple(row) for row in made[0].tolist()}
    assert sum(map(len, made)) <= 2 * 5 * 7  # of 400 points: the values that two clusters have
    assert len(first) == len(made[0])


def test_images_are_encoded_and_never_decoded():
    model, decoded = mirror(), []
    model.decoder.register_forward_hook(lambda *_: decoded.append(1))
    run(model=model)
    assert decoded == []


def test_one_cluster_has_no_standard_error():
    found = run(evolve(QUICK, clusters=1))
    assert not any(name.endswith("stderr") for name in found.metrics)
    assert found.tables["fixed clusters"][0]["mig, standard error"] is None


def test_clusters_in_which_nothing_varies_are_named():
    found = run(factors=evolve(SMALL, ordered=frozenset({"a"})))
    assert {name.split("/")[0] for name in found.metrics} == {"mig"}
    assert "modularity/0.2: too few factors vary in 3 of 3 clusters, which are left out" in (
        found.notes
    )
    assert run(factors=evolve(SMALL, ordered=frozenset())).metrics == {}


def test_data_that_cannot_be_made_anew_get_a_line_that_says_so():
    found = run(factors=None)
    assert found.metrics == {}
    assert found.notes[0].startswith("not applicable: ")


def test_the_model_and_the_global_generator_are_left_alone():
    model = mirror().train()
    model.decoder.eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state = torch.get_rng_state()
    run(model=model)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.decoder.training
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())


def test_three_dots_are_scored_on_an_untrained_model():
    data = ThreeDots(count=2, valid=0, test=2).build(DataRequest())
    model = small_model(data_shapes(data))
    config = LocalDisentanglement(radii=(0.1,), clusters=2, points=100, fresh=True)
    found = config.build(model.shapes)(model, data, Noise(0))
    assert {"mig/0.1", "fresh/modularity/0.1"} <= found.metrics.keys()
    assert all(0 <= value <= 1 for value in found.metrics.values())


@pytest.mark.parametrize("radii", [(), (0.0,), (1.5,), (0.1, 0.1)])
def test_radii_are_different_shares(radii):
    with pytest.raises(ValueError, match=r"'radii' must be different numbers in \(0, 1\]"):
        LocalDisentanglement(radii=radii)
