"""What stands beside the information of a factor: norms, labels, and the decoded side."""

import math

import numpy as np
import pytest
import torch
from attrs import evolve
from posteriors import gaussian_channel
from strategies import normal
from torch import nn

from seqvae_basics.config import Framewise, GaussianLikelihood, Identity
from seqvae_basics.distributions import Gaussian
from seqvae_core.components import Encoder
from seqvae_core.functional import masked_mean
from seqvae_core.records import Noise, Splits, Variable
from seqvae_core.testing.small import small_model, small_shapes, small_splits
from seqvae_influence.beside import column_norms, probe_factors
from seqvae_influence.config import Influence
from seqvae_influence.decoded import Decoded, decoded_bound
from seqvae_influence.posteriors import Posteriors
from seqvae_tasks.representations import Encoded, both

COUNT = 2000


def of_prior(seed, *noises):
    """Return factors from N(0, 1), each seen once under its own noise: ½ ln(1 + 1/σ²) nats."""
    value = normal(seed, COUNT, len(noises))
    seen = value + normal(seed + 1, COUNT, len(noises)) * torch.tensor(noises)
    return Decoded(value=value.numpy(), seen=seen.numpy(), posteriors=None, unit=np.arange(COUNT))


# The decoded side -------------------------------------------------------------------------------


@pytest.mark.statistical
def test_the_bound_finds_the_information_of_gaussian_channels_and_no_more():
    """Within four standard errors above, 0.05 nats below; the third is unseen (seed fixed)."""
    found = decoded_bound(of_prior(0, 0.3, 1.0, 1e3), 0)
    truth = [0.5 * math.log(1.0 + 1.0 / noise**2) for noise in (0.3, 1.0, 1e3)]
    assert found.bound == "lower"
    assert len(found.shares) == COUNT // 2
    for value, error, expected in zip(found.value, found.stderr, truth, strict=True):
        assert expected - 0.05 - 4.0 * error < value < expected + 4.0 * error


@pytest.mark.statistical
def test_what_a_curve_hides_from_a_line_is_found_too():
    """z behind a cube, ten times any noise: a line alone would leave 0.9 nats (seed fixed)."""
    plain = of_prior(2, 0.05)
    curved = evolve(plain, seen=np.sinh(1.5 * plain.seen))
    assert decoded_bound(curved, 0).value.item() > 1.7


@pytest.mark.statistical
def test_pairs_of_posteriors_have_the_entropy_of_their_own_mixture():
    """Two clumps, seen with noise: ½ ln 2πe less would be 1.6 nats too much (seed fixed)."""
    mean = torch.where(normal(3, COUNT, 1) > 0.0, 0.995, -0.995).double()
    logvar = torch.full_like(mean, math.log(0.01))
    value = mean + 0.1 * normal(4, COUNT, 1)
    seen = torch.sign(mean) + 0.01 * normal(5, COUNT, 1)  # which clump it is, and no more
    table = Posteriors(name="z", mean=mean, logvar=logvar, standard=True)
    pairs = Decoded(value=value.numpy(), seen=seen.numpy(), posteriors=table, unit=np.arange(COUNT))
    found = decoded_bound(pairs, 0)
    assert found.value.item() == pytest.approx(math.log(2.0), abs=0.05)


@pytest.mark.statistical
def test_a_decoder_that_hands_a_factor_on_lets_through_what_the_encoder_put_there():
    """x̃ is z under the posterior's own noise again: less than I(x; z), and found (seed fixed)."""
    mean, logvar = gaussian_channel(0.3, means=normal(6, COUNT))
    value = mean + torch.exp(0.5 * logvar) * normal(7, COUNT, 1)
    seen = value + math.sqrt(0.3) * normal(8, COUNT, 1)
    table = Posteriors(name="z", mean=mean, logvar=logvar, standard=True)
    pairs = Decoded(value=value.numpy(), seen=seen.numpy(), posteriors=table, unit=np.arange(COUNT))
    found, truth = decoded_bound(pairs, 0), 0.5 * math.log(1.3 / 0.3)
    assert found.value.item() == pytest.approx(truth, abs=4.0 * found.stderr.item() + 0.03)


def test_sequences_stay_on_one_side_and_their_number_makes_the_error():
    pairs = of_prior(0, 0.3)
    rows = np.repeat(np.arange(100), 5)
    alike = Decoded(value=pairs.value[rows], seen=pairs.seen[rows], posteriors=None, unit=rows)
    found = decoded_bound(alike, 1)
    assert len(found.shares) == 250
    assert len(torch.unique(found.unit)) == 50
    alone = found.shares.std(0) / math.sqrt(250)
    assert found.stderr.item() == pytest.approx(math.sqrt(5.0) * alone.item(), rel=0.03)


class Twins(Encoder):
    """Both factors have the mean frame for their mean, and independent noise."""

    def __init__(self):
        super().__init__()
        self.logvar = nn.Parameter(torch.full((2,), math.log(0.05)))

    def forward(self, features, mask, draw):
        draw("z", Gaussian(masked_mean(features, mask).expand(-1, 2), self.logvar))


def twins():
    """Return a model that decodes the first of two factors with equal means, and its data."""
    latents = {"z": Variable(name="z", scope="global", shape=(2,))}
    shapes = evolve(small_shapes(frame=(1,)), labels={}, latents=latents)
    model = small_model(
        shapes, backbone=Identity(), decoder=Framewise(hidden=(1,)), likelihood=GaussianLikelihood()
    )
    model.encoder = Twins()
    model.decoder.layers = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model.decoder.layers[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
        model.likelihood.mean.layer.weight.fill_(1.0)
    items = [{"x": row[None]} for row in (math.sqrt(0.95) * normal(0, 1000, 1)).float()]
    return model, Splits(train=items[:10], valid=[], test=items)


@pytest.mark.statistical
def test_what_is_decoded_tells_an_ignored_factor_by_its_twin_unless_both_are_drawn_apart():
    """Samples of the twins correlate with 0.95: -½ ln(1 - 0.95²) nats, within 0.1 (seed fixed)."""
    model, data = twins()
    plain = {"norms": 0, "labels": (), "pairs": 0, "decoded_as": "mean"}
    alike, apart = (run(model, data, decoded=kind, **plain) for kind in ("posterior", "prior"))
    truth = -0.5 * math.log(1.0 - 0.95**2)
    assert alike.metrics["decoded/z/1"] == pytest.approx(truth, abs=0.1)
    assert apart.metrics["decoded/z/1"] == pytest.approx(0.0, abs=0.1)
    for found in (alike, apart):
        assert found.metrics["decoded/z/0"] > 2.0
    assert any("one that the decoder ignores" in note for note in alike.notes)
    assert any("of the prior: factors are independent" in note for note in apart.notes)


# The decoder's derivatives and labels ------------------------------------------------------------


def linear():
    """Return a model whose decoded mean is linear in all latents."""
    shapes = small_shapes()
    model = small_model(shapes, decoder=Framewise(hidden=(8,)), likelihood=GaussianLikelihood())
    model.decoder.layers = nn.Sequential(model.decoder.layers[0])
    return model


def test_column_norms_of_a_linear_decoder_are_those_of_its_matrix():
    model, splits = linear(), small_splits()
    matrix = model.likelihood.mean.layer.weight @ model.decoder.layers[0].weight
    norms = matrix.detach().double().norm(dim=0).numpy()
    rows = np.arange(4)
    lengths = np.sqrt([len(splits.test[row]["x"]) for row in rows]).mean()
    found = column_norms(model, splits.test, rows, "z") | column_norms(
        model, splits.test, rows, "s"
    )
    np.testing.assert_allclose(found["z"], lengths * norms[:3], rtol=1e-5)
    np.testing.assert_allclose(found["s per frame"], norms[3:], rtol=1e-5)
    np.testing.assert_allclose(found["pooled s"], lengths * norms[3:], rtol=1e-5)


def test_latents_are_encoded_alike_without_the_frames_that_they_are_of():
    model, splits = linear(), small_splits()
    whole, alone = both(model, splits), both(model, splits, raw=False)
    assert set(alone.vectors) == {"z", "pooled s"}
    assert set(alone.frames) == {"s per frame"}
    for name, value in {**alone.vectors, **alone.frames}.items():
        np.testing.assert_array_equal(value, {**whole.vectors, **whole.frames}[name])
    np.testing.assert_array_equal(alone.row, whole.row)
    assert alone.labels.keys() == whole.labels.keys()


def encoded(values, label):
    held = np.arange(len(values)) % 2 == 1
    return Encoded(
        vectors={"z": values}, frames={}, row=np.arange(0), labels={"y": label},
        frame_labels={}, held_out=held, scopes={"z": "global"},
    )  # fmt: skip


def test_a_factor_tells_the_label_that_is_cut_from_it_and_another_does_not():
    values = normal(0, 800, 2).numpy()
    label = (np.abs(values[:, 0]) > 0.7).astype(int)  # no straight line would
    found = probe_factors(encoded(values, label), "z", "y", seed=0, most=100)
    assert found.scores[0] > 0.95
    assert found.scores[1] < found.chance + 0.1
    assert found.chance == pytest.approx(np.bincount(label[1::2]).max() / 400)


def test_a_number_is_told_by_its_r_squared_and_has_no_chance():
    values = normal(1, 800, 2).numpy()
    found = probe_factors(encoded(values, values[:, 0] ** 2), "z", "y", seed=0, most=100)
    assert found.scores[0] > 0.8
    assert found.scores[1] < 0.2
    assert found.chance is None


def run(model=None, splits=None, **settings):
    model = model or small_model()
    splits = splits or small_splits(train=30, test=30)
    return Influence(**settings).build(model.shapes)(model, splits, Noise(0))


def test_the_columns_beside_are_named_and_may_be_left_out():
    full = run(linear()).tables["z: factors"][0]
    assert "column norm" in full
    assert "decoded: I(z_h; x̃)" in full
    assert any(name.startswith("speaker: accuracy, chance 0.3") for name in full)
    assert "pitch: R²" in full
    bare = run(linear(), norms=0, labels=(), decoded="none")
    known = {"column norm", "decoded: I(z_h; x̃)", "speaker", "pitch"}
    assert not [name for row in bare.tables["z: factors"] for name in row
                if name.split(":")[0] in {each.split(":")[0] for each in known}]  # fmt: skip
    assert not [name for name in bare.metrics if name.startswith(("decoded", "best", "chance"))]


def test_labels_and_a_decoded_side_that_cannot_be_had_are_said_to_be_missing():
    model = linear()
    model.decoder.autoregressive = True
    notes = run(model, labels=("speaker", "pich")).notes
    assert "pich: not applicable, the data have no such label" in notes
    assert any(note.startswith("no column norms of 'z': the decoder is auto") for note in notes)
    assert any(note.startswith("no bound of the decoded side: the decoder is") for note in notes)
    few = run(linear(), small_splits(test=19)).notes
    assert "no bound of the decoded side: it takes 20 sequences" in few


@pytest.mark.parametrize("kind", ["posterior", "prior"])
@pytest.mark.parametrize("shown", ["sample", "mean"])
def test_the_decoded_side_can_be_read_from_either_pairs_and_either_frames(kind, shown):
    found = run(linear(), decoded=kind, decoded_as=shown, latent="z")
    assert len([name for name in found.metrics if name.startswith("decoded/z/")]) == 3
    assert all(math.isfinite(value) for value in found.metrics.values())
    assert any(f"x̃ a {shown} of p(x|z)" in note for note in found.notes)
