"""Mutual information gap, modularity and DCI: the scores, and the tasks over all factors."""

import math

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from mirror import mirror, padded, relabelled, sequences, splits
from sklearn.metrics import mutual_info_score

from seqvae_core.components import DataRequest
from seqvae_core.errors import ConfigError, DataError, SeqVAEError, ShapeError
from seqvae_core.loading import data_shapes
from seqvae_core.records import Factors, Noise, Splits
from seqvae_core.testing import small_model
from seqvae_data.images.config import Sprites
from seqvae_data.images.factors_config import Digits
from seqvae_tasks.config_disentanglement import DCI, MIG, LocalDisentanglement, Modularity
from seqvae_tasks.factor_scores import (
    binned,
    completeness,
    disentanglement,
    entropies,
    gaps,
    information,
    mig,
    modularities,
    modularity,
)

SEEDS = st.integers(0, 2**31 - 1)
ALL = (MIG, Modularity, DCI)


def table(seed, *, rows=60, codes=3, factors=2, sizes=4, missing=False):
    """Return codes (N, L) and factors (N, K) that share something."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, sizes, (rows, factors))
    mixed = values @ rng.integers(0, 2, (factors, codes)) + rng.integers(0, 3, (rows, codes))
    return mixed, np.where(rng.random(values.shape) < 0.2, -1, values) if missing else values


# Information -------------------------------------------------------------------------------------


@given(seed=SEEDS, rows=st.integers(1, 60))
def test_information_is_that_of_scikit_learn(seed, rows):
    codes, values = table(seed, rows=rows)
    expected = [[mutual_info_score(code, value) for value in values.T] for code in codes.T]
    np.testing.assert_allclose(information(codes, values), expected, atol=1e-12)


@given(seed=SEEDS, rows=st.integers(1, 60))
def test_information_is_at_least_zero_and_at_most_either_entropy(seed, rows):
    codes, values = table(seed, rows=rows)
    mi = information(codes, values)
    assert (mi >= 0).all()
    assert (mi <= np.minimum(entropies(codes)[:, None], entropies(values)) + 1e-12).all()


@given(seed=SEEDS)
def test_the_information_that_a_factor_has_of_itself_is_its_entropy(seed):
    _, values = table(seed)
    np.testing.assert_allclose(np.diag(information(values, values)), entropies(values))


@given(seed=SEEDS, by=st.randoms(use_true_random=False))
def test_the_order_of_codes_factors_and_rows_does_not_matter(seed, by):
    codes, values = table(seed, codes=4, factors=3, missing=True)
    rows, first, second = (by.sample(range(n), n) for n in (len(codes), 4, 3))
    mi, entropy = information(codes, values), entropies(values)
    other = information(codes[rows][:, first], values[rows][:, second])
    np.testing.assert_allclose(other, mi[first][:, second])
    assert mig(other, entropy[second]) == pytest.approx(mig(mi, entropy))
    assert modularity(other, entropy[second]) == pytest.approx(modularity(mi, entropy))


@given(seed=SEEDS)
def test_points_without_a_factor_count_for_the_others_alone(seed):
    codes, values = table(seed, missing=True)
    mi, entropy = information(codes, values), entropies(values)
    for k, value in enumerate(values.T):
        known = value >= 0
        alone = value[known][:, None]
        np.testing.assert_allclose(mi[:, k], information(codes[known], alone)[:, 0])
        assert entropy[k] == pytest.approx(entropies(alone)[0])


@given(seed=SEEDS)
def test_what_never_changes_shares_exactly_nothing(seed):
    codes, values = table(seed)
    same = np.full_like(values, 3)
    assert (information(codes, same) == 0).all()
    assert (information(np.full_like(codes, 2), values) == 0).all()
    assert (entropies(same) == 0).all()
    assert (information(codes, np.full_like(values, -1)) == 0).all()


@given(seed=SEEDS, bins=st.integers(2, 9), constant=st.booleans())
def test_bins_are_those_of_a_histogram_of_each_column_s_own_range(seed, bins, constant):
    codes = np.random.default_rng(seed).normal(size=(40, 3)) * [0.1, 1.0, 100.0]
    codes[:, 1] = 7.0 if constant else codes[:, 1]
    found = binned(codes, bins)
    for column, code in zip(found.T, codes.T, strict=True):
        counts, edges = np.histogram(code, bins)
        assert sorted(np.bincount(column)[np.bincount(column) > 0]) == sorted(counts[counts > 0])
        if code.min() < code.max():
            assert np.array_equal(column + 1, np.digitize(code, edges[:-1]))


# Scores ------------------------------------------------------------------------------------------


@given(seed=SEEDS, codes=st.integers(1, 4))
def test_all_scores_lie_between_zero_and_one(seed, codes):
    code, values = table(seed, codes=codes)
    mi, entropy = information(code, values), entropies(values)
    assert 0 <= mig(mi, entropy) <= 1
    assert 0 <= modularity(mi, entropy) <= 1
    for score in (disentanglement(mi), completeness(np.vstack([mi, mi]))):
        assert ((score >= 0) & (score <= 1)).all()


def test_known_scores():
    entropy = np.array([2.0, 4.0])
    mi = np.array([[1.0, 0.0], [0.4, 3.0], [0.0, 1.0]])
    assert gaps(mi, entropy) == pytest.approx([0.3, 0.5])
    assert mig(mi, entropy) == pytest.approx(0.4)
    assert modularities(mi) == pytest.approx([1.0, 1.0 - (0.4 / 3.0) ** 2, 1.0])
    assert gaps(mi[:1], entropy) == pytest.approx([0.5, 0.0])  # nothing comes second
    assert modularities(np.ones((1, 5))) == pytest.approx([0.0])
    assert modularities(np.zeros((1, 5))) == pytest.approx([0.0])
    assert modularities(np.array([[1e-200, 0.0]])) == pytest.approx([1.0])


def test_known_importances():
    assert disentanglement(np.eye(3)) == pytest.approx([1.0] * 3)
    assert disentanglement(np.ones((2, 4))) == pytest.approx([0.0] * 2)
    assert disentanglement(np.zeros((1, 2))) == pytest.approx([0.0])
    half = np.array([[0.5, 0.5, 0.0]])
    assert disentanglement(half) == pytest.approx([1 - math.log(2) / math.log(3)])
    assert completeness(half.T) == pytest.approx(disentanglement(half))


@given(seed=SEEDS)
def test_a_factor_that_does_not_vary_changes_no_score(seed):
    codes, values = table(seed)
    more = np.concatenate([values, np.full((len(values), 1), 2)], 1)
    for score in (mig, modularity):
        plain = score(information(codes, values), entropies(values))
        assert score(information(codes, more), entropies(more)) == plain


def test_scores_of_too_few_factors_are_no_numbers():
    mi = np.ones((2, 2))
    assert math.isnan(mig(mi, np.zeros(2)))
    assert math.isnan(modularity(mi, np.array([1.0, 0.0])))
    assert mig(np.array([[1.0, 1.0], [0.5, 1.0]]), np.array([1.0, 0.0])) == 0.5


# Tasks -------------------------------------------------------------------------------------------


def frames(values):
    """Return frames whose first two channels, which are z, are the factors."""
    x = torch.zeros(len(values), 1, 4)
    x[:, 0, :2] = torch.as_tensor(values, dtype=torch.float32)
    return x


FACTORS = Factors(sizes={"a": 6, "b": 12}, ordered=frozenset({"a", "b"}), render=frames)


def made(count=40):
    """Return data that can be made from two factors, with these as labels."""
    values = np.random.default_rng(0).integers(0, [6, 12], (2, count, 2))
    train, test = (
        [{"x": x, "a": int(a), "b": int(b)} for x, (a, b) in zip(frames(v), v, strict=True)]
        for v in values
    )
    return Splits(train=train, valid=[], test=test, factors=FACTORS)


def turned():
    """Return a model whose z is the factors turned by 45°."""
    model = mirror()
    with torch.no_grad():
        model.encoder.map.weight[:2, :2] = torch.tensor([[1.0, 0.5], [1.0, -0.5]])
    return model


def run(config, data, model=None, seed=0):
    model = model or mirror()
    return config.build(model.shapes)(model, data, Noise(seed))


def test_perfect_codes_reach_the_scores_of_perfect_codes():
    found = run(MIG(points=1000), made())
    assert found.metrics["mig"] > 0.95
    assert found.metrics["floor"] < 0.03
    rows = found.tables["gap of each factor"]
    assert [(row["factor"], row["first"], row["second"]) for row in rows] == [
        ("a", "z[0]", "z[1]"), ("b", "z[1]", "z[0]"),
    ]  # fmt: skip
    for row, size in zip(rows, (6, 12), strict=True):
        assert row["m_1"] == row["H"] == pytest.approx(math.log(size), abs=0.02)
        assert row["m_2"] < 0.1
        assert row["points"] == 1000
        assert found.metrics[f"mig/{row['factor']}"] == pytest.approx(row["gap"], abs=1e-4)
    modular = run(Modularity(points=1000), made())
    assert modular.metrics["modularity"] > 0.99
    assert modular.metrics["floor"] < modular.metrics["modularity"]
    assert [row["first"] for row in modular.tables["modularity of each dimension"]] == ["a", "b"]


def test_turned_codes_do_not():
    assert run(MIG(points=1000), made(), turned()).metrics["mig"] < 0.2
    assert run(Modularity(points=1000), made(), turned()).metrics["modularity"] < 0.9


def test_without_factors_the_test_part_s_labels_are_taken_and_a_note_says_so():
    data = made(300)
    drawn, read = (run(MIG(points=500), evolve(data, factors=f)) for f in (FACTORS, None))
    assert drawn.notes[0].startswith("500 points drawn uniformly from all factors")
    assert read.notes[0].startswith("300 of 300 sequences of the test part, by their labels")
    assert read.metrics["mig"] == pytest.approx(drawn.metrics["mig"], abs=0.1)
    fewer = run(MIG(points=50), evolve(data, factors=None))
    assert fewer.notes[0].startswith("50 of 300 sequences")


def test_the_factors_of_sequences_are_global_labels_that_are_classes():
    for config in (MIG(), Modularity(labels=("speaker", "colour")), DCI()):
        data = splits(train=30, test=24)
        parts = {
            part: [{**item, "colour": i % 2} for i, item in enumerate(getattr(data, part))]
            for part in ("train", "test")
        }
        found = run(config, evolve(data, **parts))
        named = {row.get("factor", row.get("label", row.get("first")))
                 for rows in found.tables.values() for row in rows}  # fmt: skip
        assert {"speaker"} <= named <= {"speaker", "colour"}
        assert found.metrics


@pytest.mark.parametrize("config", [kind() for kind in ALL])
def test_missing_labels_are_left_out_and_padding_has_no_say(config):
    data = splits(train=30, test=24)
    unknown = [{**item, "speaker": -1} for item in sequences(6, seed=9)]
    colour = {part: [{**item, "colour": (i // 3) % 2} for i, item in enumerate(items)]
              for part, items in (("train", data.train + unknown), ("test", data.test + unknown))
              }  # fmt: skip
    plain = run(config, evolve(data, **colour))
    junk = {part: padded(items, frames=5) for part, items in colour.items()}
    assert run(config, evolve(data, **junk)).metrics == pytest.approx(plain.metrics, rel=1e-6)
    if isinstance(config, MIG):
        rows = plain.tables["gap of each factor"]
        assert {row["factor"]: row["points"] for row in rows} == {"speaker": 24, "colour": 30}


@pytest.mark.parametrize("kind", ALL)
def test_a_label_that_is_no_factor_is_refused(kind):
    known = r"no factor or global class '\w+'; known: speaker"
    for label in ("nothing", "phone", "pitch"):
        with pytest.raises(DataError, match=known):
            run(kind(labels=(label,)), splits(train=6, test=6))
    if kind is not DCI:
        with pytest.raises(DataError, match="global class 'nothing'; known: a, b"):
            run(kind(labels=("nothing",)), made())


@pytest.mark.parametrize("kind", ALL)
def test_data_without_factors_get_a_line_that_says_so(kind):
    bare = [{"x": item["x"]} for item in sequences(6)]
    found = run(kind(), Splits(train=bare, valid=[], test=bare))
    assert found.metrics == {}
    assert found.notes[-1].startswith("not applicable: ")


def test_factors_of_one_value_are_left_out_and_none_is_not_applicable():
    items = relabelled(sequences(12), same=[4] * 12, other=[0, 1] * 6)
    data = Splits(train=items, valid=[], test=items)
    gap = run(MIG(), data)
    assert "left out, as they have one value: same" in gap.notes
    assert set(gap.metrics) == {"mig", "floor", "mig/other"}
    assert run(Modularity(), data).notes[-1].startswith("not applicable: fewer than two factors")
    unknown = [{**item, "same": -1} for item in items]
    for config in (MIG(labels=("same",)), DCI(labels=("same",))):
        assert run(config, evolve(data, train=unknown, test=unknown)).metrics == {}
        found = run(config, data)
        assert found.metrics == {}
        assert found.notes[-1].startswith("not applicable: ")


def test_forests_find_which_dimension_holds_which_label():
    """Twelve classes in 400 points: codes of single factors, then turned ones."""
    data = made(400)
    straight, mixed = (run(DCI(trees=10), data, model) for model in (mirror(), turned()))
    for name in ("disentanglement", "completeness"):
        assert straight.metrics[name] > 0.8
        assert mixed.metrics[name] < straight.metrics[name] - 0.3
    assert straight.metrics["informativeness"] > 0.95 > 0.3 > straight.metrics["chance"]
    rows = straight.tables["each label"]
    assert [(row["label"], row["first"]) for row in rows] == [("a", "z[0]"), ("b", "z[1]")]
    dimensions = straight.tables["each dimension"]
    assert sum(row["weight"] for row in dimensions) == pytest.approx(1, abs=1e-3)
    one = run(DCI(labels=("a",), trees=2), data).metrics
    assert "disentanglement" not in one
    assert one["informativeness"] == one["informativeness/a"]


def test_labels_that_codes_know_nothing_of_are_read_no_better_than_by_chance():
    rng = np.random.default_rng(0)
    items = sequences(400)
    items = relabelled(items, one=rng.integers(0, 2, 400).tolist(), two=[0, 1] * 200)
    data = Splits(train=items[:200], valid=[], test=items[200:])
    found = run(DCI(labels=("one",)), data).metrics
    assert abs(found["informativeness"] - 0.5) < 0.15


def test_classes_that_were_never_fitted_are_not_scored():
    items = relabelled(sequences(30), who=[0, 1] * 10 + [0, 1, 2] * 3 + [0])
    found = run(DCI(trees=2), Splits(train=items[:20], valid=[], test=items[20:]))
    assert any("3 test sequences not scored" in note for note in found.notes)


def test_a_local_latent_is_scored_by_its_mean_over_time():
    data = splits(train=30, test=24)
    both = [{**item, "kind": int(item["phone"].float().mean() > 0.5)} for item in data.test]
    found = run(MIG(latent="s", labels=("kind",)), evolve(data, test=both))
    assert found.tables["gap of each factor"][0]["first"].startswith("s[")
    assert found.tables["gap of each factor"][0]["m_1"] > 0.4


@pytest.mark.parametrize("kind", [*ALL, LocalDisentanglement])
def test_the_latent_is_the_only_global_one_or_is_named(kind):
    shapes = mirror().shapes
    with pytest.raises(ShapeError, match="no latent or local feature 'w'; the model has: z, s"):
        kind(latent="w").build(shapes)
    local = evolve(shapes, latents={"s": shapes.latents["s"]})
    with pytest.raises(ConfigError, match="expected 'latent' to name a latent, as the model has"):
        kind().build(local)
    h = evolve(shapes.latents["s"], name="h", family="feature")
    with pytest.raises(ConfigError, match="got the decoder's feature 'h'"):
        kind(latent="h").build(evolve(shapes, latents={**shapes.latents, "h": h}))


def test_codes_that_are_not_finite_are_refused():
    model = mirror()
    with torch.no_grad():
        model.encoder.map.bias[0] = torch.nan
    with pytest.raises(SeqVAEError, match="cannot score 'z': posterior means are NaN"):
        run(MIG(points=20), made(), model)


@pytest.mark.parametrize("settings", [{"points": 1}, {"bins": 1}])
def test_too_few_points_or_bins_are_refused(settings):
    for kind in (MIG, Modularity, LocalDisentanglement):
        with pytest.raises(ValueError, match="must be >= 2"):
            kind(**settings)


# Real data ---------------------------------------------------------------------------------------


def test_digits_are_scored_by_their_single_label():
    data = Digits().build(DataRequest())
    model = small_model(data_shapes(data))
    gap, read = (config.build(model.shapes)(model, data, Noise(0)) for config in (MIG(), DCI()))
    assert 0 < gap.metrics["mig"] < 0.5
    assert read.metrics["informativeness"] > 2 * read.metrics["chance"]
    assert "disentanglement" not in read.metrics


def test_the_attributes_of_sprites_are_factors_of_sequences(shared_data):
    data = Sprites(root=shared_data / "sprites_lpc").build(DataRequest())
    model = small_model(data_shapes(data))
    names = ("body", "bottom", "top", "hair")
    for config in (MIG(labels=names, points=60), DCI(labels=names, points=60, trees=3)):
        found = config.build(model.shapes)(model, data, Noise(0))
        assert {name.split("/")[1] for name in found.metrics if "/" in name} <= set(names)
        assert all(0 <= value <= 1 for value in found.metrics.values())
