"""Learning classes from what a decoder draws."""

import pytest
import torch
from attrs import evolve
from factors import copying
from hypothesis import given
from hypothesis import strategies as st
from mirror import Mirror, padded, relabelled, sequences, splits

from seqvae_basics.autoregressive_config import CausalConv
from seqvae_basics.config import GaussianLikelihood
from seqvae_core.errors import DataError
from seqvae_core.records import Noise, Splits
from seqvae_tasks.config_generation import MCAS, SwapJudge
from seqvae_tasks.sequences import choose, moments

FAST = MCAS(labels=("speaker",), permutations=1, resamples=5)


class GlobalOnly(Mirror):
    def forward(self, features, mask, draw):
        super().forward(features, mask, lambda name, q: draw(name, q) if name == "z" else None)


def run(config=FAST, data=None, model=None, seed=0):
    model = model or copying()
    return config.build(model.shapes)(model, data or splits(train=60, test=60), Noise(seed))


def test_a_decoder_whose_z_is_the_class_reaches_the_ceiling():
    metrics = run().metrics
    assert metrics["speaker/mcas"] == metrics["speaker/real"] == 1.0


@pytest.mark.statistical
def test_a_decoder_that_ignores_z_stays_at_the_floor():
    """Means of ten seeds within 0.35 of chance: 3.3 standard errors, missed once in 1000.

    A single fit that knows nothing gives each of three clusters to a class at will: it is right
    for none, one, two or all of them.
    """
    model = copying(blind=True)
    found = [run(FAST, model=model, seed=seed).metrics for seed in range(10)]
    for name in ("mcas", "floor"):
        mean = sum(metrics[f"speaker/{name}"] for metrics in found) / len(found)
        assert mean == pytest.approx(1 / 3, abs=0.35)
    assert all(metrics["speaker/chance"] == pytest.approx(1 / 3) for metrics in found)
    assert all(metrics["speaker/real"] == 1.0 for metrics in found)


@pytest.mark.statistical
def test_the_floor_knows_no_classes_where_the_decoder_does():
    """Twenty permutations within 0.25 of chance, over seven standard errors."""
    metrics = run(MCAS(labels=("speaker",), permutations=20, resamples=5)).metrics
    assert metrics["speaker/floor"] == pytest.approx(1 / 3, abs=0.25)
    low, high = metrics["speaker/floor/low"], metrics["speaker/floor/high"]
    assert 0.0 <= low <= metrics["speaker/floor"] <= high <= 1.0


@pytest.mark.statistical
def test_x_itself_cannot_leak_past_z():
    """s carries the frames whole, but it is drawn from its prior, not encoded.

    The mean of six seeds is 0.34 ± 0.07.
    """
    found = [run(model=copying(whole=True), seed=seed).metrics for seed in range(6)]
    assert sum(metrics["speaker/mcas"] for metrics in found) / len(found) < 0.8
    assert all(metrics["speaker/real"] == 1.0 for metrics in found)


def test_a_mean_is_judged_where_asked_for():
    drawn, mean = (run(evolve(FAST, draw=draw)) for draw in ("sample", "mean"))
    assert drawn.metrics["speaker/mcas"] == mean.metrics["speaker/mcas"] == 1.0
    assert any("x ~ p(x|z, s)" in note for note in drawn.notes)
    assert any("the mean of p(x|z, s)" in note for note in mean.notes)


def test_the_inferred_definition_is_said():
    assert any("definition of mCAS is inferred" in note for note in run().notes)


def test_every_global_class_has_a_table_and_numbers_have_none():
    result = run(evolve(FAST, labels=None))
    assert list(result.tables) == ["speaker: accuracy in %"]
    assert len(result.tables["speaker: accuracy in %"]) == 4


@pytest.mark.parametrize("label", ["pitch", "phone", "nothing"])
def test_a_label_that_is_no_global_class_is_said_to_be_none(label):
    result = run(MCAS(labels=(label,)))
    assert result.metrics == {}
    assert f"{label}: not applicable, the data have no such global class" in result.notes


def test_classes_without_train_sequences_are_left_out_and_said():
    data = splits(train=12, test=12)
    moved = relabelled(data.test, speaker=[item["speaker"] + 1 for item in data.test])
    train = relabelled(data.train, speaker=[item["speaker"] for item in data.train])
    result = run(data=Splits(train=train, valid=[], test=moved))
    assert any("4 of 12 held-out rows not scored" in note for note in result.notes)


def test_train_sequences_beyond_the_most_are_left_out_and_said():
    result = run(evolve(FAST, sequences=20))
    assert "20 of 60 train sequences, at random" in result.notes


def test_an_unknown_unit_is_an_error_with_the_known_labels():
    with pytest.raises(DataError, match=r"no global label 'take'; known: pitch, speaker"):
        run(MCAS(unit="take"))


def test_sequences_of_one_unit_are_resampled_together():
    data = splits(train=30, test=30, spread=8.0)
    items = relabelled(data.test, speaker=[item["speaker"] for item in data.test], take=[0] * 30)
    train = relabelled(data.train, speaker=[item["speaker"] for item in data.train], take=[0] * 30)
    metrics = run(evolve(FAST, unit="take"), Splits(train=train, valid=[], test=items)).metrics
    assert "speaker/mcas" in metrics
    assert "speaker/mcas/low" not in metrics


def test_what_stands_in_the_padding_changes_nothing():
    data = splits(train=12, test=12, spread=1.0)
    other = Splits(train=padded(data.train), valid=[], test=padded(data.test))
    assert run(data=data).metrics == run(data=other).metrics


def test_an_autoregressive_decoder_is_fed_with_its_own_frames_alone():
    model = copying()
    shapes = evolve(model.shapes, latents={"z": model.shapes.latents["z"]})
    config = CausalConv(channels=4, dilations=(1,), hidden=(6,), feature="h")
    model.shapes, model.decoder = shapes, config.build(shapes)
    model.priors = torch.nn.ModuleDict({"z": model.priors["z"]})
    model.likelihood = GaussianLikelihood().build(evolve(shapes, decoded=(6,)))
    model.encoder = GlobalOnly()
    fed = []
    model.decoder.register_forward_hook(lambda module, inputs, _: fed.append(len(inputs)))
    metrics = run(model=model).metrics
    assert fed == []  # neither encoding nor drawing reads features of the real frames
    assert 0.0 <= metrics["speaker/mcas"] <= 1.0
    result = SwapJudge(judge="linear", resamples=5).build(shapes)(
        model, splits(train=12, test=12), Noise(0)
    )
    assert any("no local latent" in note for note in result.notes)
    assert "swapped/identity of b" in result.metrics


def test_single_frames_are_read_by_their_numbers():
    items = [{"x": item["x"][:1], "speaker": item["speaker"]} for item in sequences(30, seed=1)]
    data = Splits(train=items, valid=[], test=items[:12])
    assert run(data=data).metrics["speaker/mcas"] == 1.0


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 2**31 - 1))
def test_moments_are_those_of_the_real_frames(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), 6, 2, 3, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    x[~mask] = float("nan")
    found = torch.from_numpy(moments(x, mask))
    for row, length in enumerate(lengths):
        frames = x[row, :length].flatten(1)
        torch.testing.assert_close(found[row, 0], frames.mean(0))
        torch.testing.assert_close(found[row, 1], frames.std(0, correction=0))


@given(count=st.integers(1, 50), most=st.integers(1, 50), seed=st.integers(0, 2**31 - 1))
def test_chosen_rows_are_different_and_in_order(count, most, seed):
    rows = choose(count, most, seed)
    assert len(rows) == min(count, most)
    assert sorted({*rows.tolist()}) == rows.tolist()
