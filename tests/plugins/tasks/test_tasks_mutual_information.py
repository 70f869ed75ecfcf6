"""I(x; z) by the aggregated posterior, and I(z; s) by critics, units and permutations."""

import math

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from mirror import mirror, relabelled, sequences, splits

from seqvae_basics.distributions import Gaussian
from seqvae_core.components import Estimate, MIEstimator, MIEstimatorConfig
from seqvae_core.errors import DataError, ShapeError
from seqvae_core.records import Latent, Noise, Splits
from seqvae_core.settings import OptimizerConfig
from seqvae_estimators.config import NWJ, CriticConfig, DensityRatio
from seqvae_estimators.pairs import Pairs
from seqvae_tasks.config import MutualInformation
from seqvae_tasks.config_generation import InputInformation
from seqvae_tasks.input_information import aggregated
from seqvae_tasks.mutual_information import permuted, rank


def gaussians(mean, std, batch=64):
    """Return posteriors of float64 means (N, D) and one standard deviation, in batches."""
    mean = torch.as_tensor(mean, dtype=torch.float64)
    logvar = torch.full_like(mean, 2.0 * math.log(std))
    return [Gaussian(*part) for part in zip(mean.split(batch), logvar.split(batch), strict=True)]


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# I(x; z) ----------------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("dims", [1, 2])
def test_linear_gaussian_posteriors_give_the_closed_form(dims):
    """x ~ N(0, I), z = x + σε: I = D/2 ln(1 + 1/σ²).

    Over seeds the deviation is 0.015 and 0.023 nats: 0.1 is missed once in 10 000 seeds at most.
    """
    std = 0.5
    truth = 0.5 * dims * math.log1p(1.0 / std**2)
    shares = aggregated(gaussians(normal(2000, dims), std), 2, Noise(0))
    assert shares.value == pytest.approx(truth, abs=0.1)
    assert float(shares.upper.mean()) == pytest.approx(truth, abs=0.1)
    assert shares.value < float(shares.upper.mean())
    assert not shares.saturated(1.0)


def test_the_truth_beyond_the_ceiling_lies_between_the_two_bounds():
    """D/2 ln(1 + 1/σ²) = 10.6 nats, of 100 sequences, at most ln 100 = 4.6."""
    shares = aggregated(gaussians(normal(100, 4), 0.07), 4, Noise(0))
    truth = 2.0 * math.log1p(1.0 / 0.07**2)
    assert shares.value <= math.log(100) < truth < float(shares.upper.mean())
    assert shares.saturated(1.0)


@given(count=st.integers(2, 20), samples=st.integers(1, 3), seed=st.integers(0, 2**31 - 1))
def test_identical_posteriors_hold_nothing(count, samples, seed):
    mean = normal(1, 3, seed=seed).expand(count, 3)
    shares = aggregated(gaussians(mean, 0.3, batch=7), samples, Noise(seed))
    torch.testing.assert_close(shares.mi, torch.zeros_like(shares.mi))
    torch.testing.assert_close(shares.upper, torch.zeros_like(shares.upper))


@given(count=st.integers(2, 20), seed=st.integers(0, 2**31 - 1))
def test_disjoint_posteriors_hold_ln_n_and_are_saturated(count, seed):
    shares = aggregated(gaussians(100.0 * torch.arange(count)[:, None], 0.1), 2, Noise(seed))
    assert shares.value == pytest.approx(math.log(count))
    assert shares.saturated(0.01)


@given(
    count=st.integers(2, 30), samples=st.integers(1, 3), block=st.integers(1, 40),
    batch=st.integers(1, 30), seed=st.integers(0, 2**31 - 1),
)  # fmt: skip
def test_blocks_equal_one_block(count, samples, block, batch, seed):
    mean = normal(count, 2, seed=seed)
    whole = aggregated(gaussians(mean, 0.5, batch=count), 1, Noise(seed), block=10**6)
    parts = aggregated(gaussians(mean, 0.5, batch=count), 1, Noise(seed), block=block)
    torch.testing.assert_close(parts.mi, whole.mi)
    torch.testing.assert_close(parts.upper, whole.upper)

    class Given(Gaussian):
        """Samples that do not depend on how the posteriors are batched."""

        def rsample(self, noise):
            return self.mean + 0.5 * torch.sin(1000.0 * self.mean)

    def cut(size):
        return [Given(q.mean, q.logvar) for q in gaussians(mean, 0.5, batch=size)]

    one, several = (aggregated(cut(size), samples, Noise(0), block=9) for size in (count, batch))
    torch.testing.assert_close(several.mi, one.mi)
    torch.testing.assert_close(several.upper, one.upper)


@given(count=st.integers(2, 12), seed=st.integers(0, 2**31 - 1))
def test_the_aggregated_posterior_is_the_mixture_of_all(count, seed):
    mean = normal(count, 2, seed=seed)
    [posterior] = gaussians(mean, 0.4, batch=count)
    z = posterior.rsample(Noise(seed))
    density = torch.stack([posterior.log_prob(one.expand_as(mean)).sum(1) for one in z])
    shares = aggregated([posterior], 1, Noise(seed))
    mixture = density.logsumexp(1) - math.log(count)
    torch.testing.assert_close(shares.mi, density.diagonal() - mixture)
    others = density.masked_fill(torch.eye(count, dtype=torch.bool), -math.inf)
    mixture = others.logsumexp(1) - math.log(count - 1)
    torch.testing.assert_close(shares.upper, density.diagonal() - mixture)


def information(data, **settings):
    model = mirror()
    return InputInformation(**settings).build(model.shapes)(model, data, Noise(0))


def test_each_global_latent_has_its_information_and_says_where_it_is_saturated():
    far = information(splits(train=6, test=30, spread=3.0))
    assert far.metrics["ceiling"] == pytest.approx(math.log(30))
    assert {"mi/z", "stderr/z", "upper/z", "saturated/z", "ceiling"} == far.metrics.keys()
    assert far.metrics["saturated/z"] == 1.0
    assert any(note.startswith("z: saturated, within 1 of ln 30") for note in far.notes)
    near = information(splits(train=6, test=90, spread=0.01, spacing=0.02))
    assert near.metrics["mi/z"] < 0.5
    assert near.metrics["saturated/z"] == 0.0
    assert not any("z: saturated" in note for note in near.notes)


def test_the_memory_of_a_block_does_not_change_the_information():
    data = splits(train=6, test=30)
    one, several = information(data), information(data, block=7)
    assert several.metrics == pytest.approx(one.metrics)


def test_one_sequence_has_no_information_to_speak_of():
    result = information(Splits(train=sequences(1), valid=[], test=sequences(1)))
    assert result.metrics == {}
    assert result.notes[0].startswith("not applicable")


# I(z; s): units, permutations, what stands beside -----------------------------------------------


CRITIC = CriticConfig(name="conv", width=8, optimizer=OptimizerConfig(lr=1e-2))
FITTED = DensityRatio(critic=CRITIC, steps=30, check_every=10, batch_size=32)


class Cosine(MIEstimator):
    """No information: the mean product of the first dimensions, for its sign."""

    def estimate(self, a, b, noise):
        first = b.sample[:, 0, 0] if b.scope == "local" else b.sample[:, 0]
        value = float((a.sample[:, 0] * first).mean())
        return Estimate(value=value, stderr=0.1, bound="none", n=len(a.sample))


class CosineConfig(MIEstimatorConfig):
    name = "test-cosine"

    def build(self, shapes):
        return Cosine()


def run(config, data, seed=0):
    model = mirror()
    return config.build(model.shapes)(model, data, Noise(seed))


def speech(test, takes=4):
    """Return data whose test sequences are segments of utterances."""
    data = splits(train=6, test=test)
    utterance = [index // takes for index in range(test)]
    items = relabelled(
        data.test, speaker=[item["speaker"] for item in data.test], utterance=utterance
    )
    train = relabelled(data.train, speaker=[0] * 6, utterance=[*range(6)])
    return Splits(train=train, valid=[], test=items)


def test_nwj_stands_beside_the_mean_logit():
    result = run(MutualInformation(estimator=FITTED), splits(train=6, test=60))
    assert set(result.metrics) == {"mi", "stderr", "nwj"}
    assert any(f"NWJ lower bound {result.metrics['nwj']:.4g}" in note for note in result.notes)
    plain = run(MutualInformation(estimator=NWJ(critic=CRITIC, steps=20)), splits(6, 60))
    assert set(plain.metrics) == {"mi", "stderr"}


def test_a_null_gives_a_p_value_by_rank():
    config = MutualInformation(estimator=CosineConfig(), null=19)
    result = run(config, splits(train=6, test=60))
    assert set(result.metrics) == {"mi", "stderr", "null", "p"}
    assert result.metrics["p"] * 20 == pytest.approx(round(result.metrics["p"] * 20))
    assert any(note.startswith("null: 19 estimates by fresh critics") for note in result.notes)


def test_latents_that_share_something_rank_first_and_others_may_not():
    config = MutualInformation(estimator=CosineConfig(), null=19)
    data = splits(train=6, test=60)
    shared = [
        {**item, "x": torch.cat([item["x"][:, :2], item["x"][:, :2]], 1)} for item in data.test
    ]
    found = run(config, Splits(train=data.train, valid=[], test=shared)).metrics
    assert found["p"] == 0.05
    assert found["mi"] > found["null"]
    assert run(config, data).metrics["p"] > 0.05


def test_a_null_changes_nothing_of_the_estimate():
    data = splits(train=6, test=60)
    plain, tested = (
        run(MutualInformation(estimator=CosineConfig(), null=n), data) for n in (0, 19)
    )
    assert tested.metrics["mi"] == plain.metrics["mi"]


@pytest.mark.parametrize("null", [-1, 1, 18])
def test_a_null_too_small_for_the_five_percent_is_refused(null):
    with pytest.raises(ValueError, match="'null' must be 0 or >= 19"):
        MutualInformation(estimator=FITTED, null=null)


def test_the_rank_counts_the_estimate_itself():
    assert rank(1.0, [0.0] * 19) == 0.05
    assert rank(0.0, [0.0] * 19) == 1.0
    assert rank(0.5, [0.0, 1.0, 2.0]) == 0.75


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8), seed=st.integers(0, 2**31 - 1))
def test_permuted_rows_of_a_unit_stem_from_one_unit(sizes, seed):
    unit = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(seed)
    unit = unit[rng.permutation(len(unit))]
    rows = permuted(unit, Noise(seed)).numpy()
    found = {value: {*unit[rows[unit == value]].tolist()} for value in np.unique(unit)}
    assert all(len(others) == 1 for others in found.values())
    assert len(set.union(*found.values())) == len(sizes)
    if len({*sizes}) == 1:
        assert sorted(rows.tolist()) == [*range(len(unit))]


def test_sequences_of_one_utterance_stay_on_one_side_of_the_split():
    unit = torch.arange(60) // 4
    mask = torch.ones(60, 1, dtype=torch.bool)
    a, b = (Latent(name=name, scope="global", sample=normal(60, 2, seed=seed), mask=mask, unit=unit)
            for seed, name in enumerate("ab"))  # fmt: skip
    parts = FITTED.build(None)._split(Pairs.of(a, b).ordered(), Noise(0))
    units = [{*part.a.unit.tolist()} for part in parts]
    assert sum(map(len, units)) == len(set.union(*units)) == 15
    assert sum(map(len, parts)) == 60


def test_a_split_by_rows_is_that_of_units_of_one_row():
    data = speech(40, takes=1)
    by_row, by_unit = (
        run(MutualInformation(estimator=FITTED, unit=unit), data) for unit in (None, "utterance")
    )
    assert by_unit.metrics == by_row.metrics


def test_too_few_utterances_are_an_error():
    config = MutualInformation(estimator=FITTED, unit="utterance")
    with pytest.raises(ShapeError, match="rows of at least 10 units, got 9"):
        run(config, speech(36))


def test_an_unknown_unit_is_an_error_and_an_ignored_utterance_a_note():
    config = MutualInformation(estimator=CosineConfig())
    with pytest.raises(DataError, match=r"no global label 'take'; known: speaker, utterance"):
        run(evolve(config, unit="take"), speech(40))
    for data, said in ((speech(40), True), (speech(40, takes=1), False)):
        assert any("unit = 'utterance'" in note for note in run(config, data).notes) is said
    kept = run(evolve(config, unit="utterance"), speech(40))
    assert not any("unit = 'utterance'" in note for note in kept.notes)
