"""What is made of the most influential factors, on models whose factors are known."""

import math

import numpy as np
import pytest
import torch
from attrs import evolve
from strategies import normal
from torch import nn

from seqvae_basics.config import Framewise, GaussianLikelihood, Identity
from seqvae_basics.distributions import Gaussian
from seqvae_core.components import DataRequest, Encoder
from seqvae_core.errors import ConfigError, DataError, ShapeError
from seqvae_core.experiment import Experiment
from seqvae_core.functional import masked_mean
from seqvae_core.records import Noise, Splits, Variable
from seqvae_core.testing.small import small_model, small_shapes, small_splits
from seqvae_data.config import LinearGaussian
from seqvae_data.gaussian import covariance
from seqvae_influence.closed_form import joint_closed_form
from seqvae_influence.fano import class_information, entropy
from seqvae_influence.readers import SequenceReader, judged
from seqvae_influence.selection import factor_selection
from seqvae_influence.selection_config import FactorSelection, FanoBound, ReconstructionBound
from seqvae_tasks.fitting import share_out
from seqvae_tasks.representations import both

VARIANCES = torch.tensor([0.02, 0.3, 0.9999])  # 1.956, 0.602 and no nats
SHAPES = evolve(
    small_shapes(),
    labels={"half": Variable(name="half", scope="global", family="class"),
            "first": Variable(name="first", scope="global", family="number"),
            "tick": Variable(name="tick", scope="local", family="class")},
    latents={"z": Variable(name="z", scope="global", shape=(3,)),
             "s": Variable(name="s", scope="local", shape=(3,))},
)  # fmt: skip


class Channels(Encoder):
    """Means are the frames, of z over time; variances are those of the channels."""

    def __init__(self):
        super().__init__()
        self.logvar = nn.Parameter(VARIANCES.log())

    def forward(self, features, mask, draw):
        draw("z", Gaussian(masked_mean(features, mask), self.logvar))
        draw("s", Gaussian(features, self.logvar))


def model():
    """Return a model that decodes z + s, so that either alone rebuilds half of a frame."""
    made = small_model(
        SHAPES, backbone=Identity(), decoder=Framewise(hidden=(3,)), likelihood=GaussianLikelihood()
    )
    made.encoder = Channels()
    made.decoder.layers = nn.Sequential(nn.Linear(6, 3))
    with torch.no_grad():
        made.decoder.layers[0].weight.copy_(torch.cat([torch.eye(3), torch.eye(3)], 1) / 2.0)
        made.decoder.layers[0].bias.zero_()
        made.likelihood.mean.layer.weight.copy_(torch.eye(3))
        made.likelihood.mean.layer.bias.zero_()
    return made


def splits(train=400, test=300, frames=2):
    """Return sequences of equal frames, whose first channel says which half they are of."""

    def items(seed, count):
        spread = (1.0 - VARIANCES.double()).sqrt()
        for mean in (normal(seed, count, 3) * spread).float():
            half = int(mean[0] > 0.0)
            x = mean.expand(frames, 3)
            yield {"x": x, "half": half, "first": float(mean[0]), "tick": torch.arange(frames)}

    return Splits(train=list(items(0, train)), valid=[], test=list(items(1, test)))


def run(config, made=None, data=None):
    made = made or model()
    return config.build(made.shapes)(made, data or splits(), Noise(0))


@pytest.fixture(scope="module")
def found():
    return run(
        FactorSelection(labels=("half",), latent="z", keep=(2, 1), draws=8, retrained_draws=8)
    )


# Zeroing and retraining ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["zeroed", "retrained"])
@pytest.mark.parametrize("by", ["mi", "closed-form", "kl", "active-units"])
def test_the_factor_that_holds_the_class_is_all_that_it_takes(found, way, by):
    for count in (1, 2, 3):
        assert found.metrics[f"{way}/z/half/{by}/{count}"] > 0.95
    assert found.metrics[f"{way}/z/half/{by}/0"] < 0.6


def test_a_random_factor_says_it_only_if_it_is_the_one(found):
    assert found.metrics["retrained/z/half/random/1"] < 0.9
    for way in ("zeroed", "retrained"):
        whole = {found.metrics[f"{way}/z/half/{by}/3"] for by in ("mi", "kl", "random")}
        assert len(whole) == 1


def test_rankings_that_agree_score_the_same_with_the_same_interval(found):
    for end in ("", "/low", "/high"):
        assert len({found.metrics[f"zeroed/z/half/{by}/1{end}"] for by in ("mi", "kl")}) == 1
    low, value, high = (found.metrics[f"zeroed/z/half/mi/1{end}"] for end in ("/low", "", "/high"))
    assert low <= value <= high


def test_a_factor_less_costs_the_variance_that_its_half_of_the_decoder_made(found):
    """Frames are (z + s)/2 with z = s: without factor h a quarter of x_h² is left."""
    x = torch.stack([item["x"][0] for item in splits().test]).double()
    quarter = x.square().mean(0) / 4.0 / 3.0
    errors = [found.metrics[f"mse/z/mi/{count}"] for count in (3, 2, 1, 0)]
    expected = [0.0, quarter[2], quarter[1:].sum(), quarter.sum()]
    assert errors == pytest.approx([float(each) for each in expected], abs=1e-5)


def test_pictures_curves_and_tables_are_there(found):
    assert [title.split(": ")[0] for title in found.figures] == ["z"] * 3
    rows = found.tables["z: half, zeroed: accuracy"]
    assert [row["kept"] for row in rows] == [3, 2, 1, 0]
    assert any(note.startswith("z, half: chance 0.5") for note in found.notes)


def test_a_number_is_told_by_r_squared_or_as_a_class_above_a_threshold():
    plain = FactorSelection(labels=("first",), latent="z", keep=(1,), by=("mi",), items=0)
    number = run(plain)
    assert number.metrics["retrained/z/first/mi/1"] > 0.9
    assert "chance/z/first" not in number.metrics
    above = run(evolve(plain, above=0.0))
    assert above.metrics["retrained/z/first/mi/1"] > 0.95
    assert above.metrics["chance/z/first"] == pytest.approx(0.5, abs=0.1)


def test_what_cannot_be_asked_is_said():
    made = model()
    made.decoder.autoregressive = True
    notes = run(
        FactorSelection(labels=("tick", "hlaf"), by=("kl", "random"), retrain=False), made
    ).notes
    assert "tick: not applicable, a label of frames: whole sequences are told apart" in notes
    assert "hlaf: not applicable, the data have no such label" in notes
    assert any(note.startswith("z: no reconstruction from some factors") for note in notes)
    assert "pooled s: no ranking by KL, as N(0, 1) is not the prior" in notes
    with pytest.raises(ShapeError, match="no latent or local feature 'w'"):
        FactorSelection(latent="w").build(SHAPES)
    with pytest.raises(DataError, match="no global label 'speaker'"):
        run(FactorSelection(unit="speaker"))


def test_without_retraining_and_labels_there_are_errors_alone():
    result = run(FactorSelection(labels=(), retrain=False, keep=(1,), by=("mi",), pictures=0))
    assert result.metrics
    assert all(name.startswith("mse/") for name in result.metrics)


# Over time ---------------------------------------------------------------------------------------


def rising(count=120, frames=12):
    """Return sequences whose first channel rises or falls: no frame alone says which."""
    time = torch.linspace(-1.0, 1.0, frames)
    slope = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0)
    noise = normal(0, count, frames, 2).float()
    items = [
        {"x": torch.cat([(each * time)[:, None], other], 1), "half": int(each > 0.0)}
        for each, other in zip(slope, noise, strict=True)
    ]
    return Splits(train=items[: count // 2], valid=[], test=items[count // 2 :])


def test_a_recurrent_reader_tells_what_only_the_order_of_frames_says():
    encoded = both(model(), rising())
    probing = share_out(encoded, "half", frames=False, most=1000, seed=0, resamples=10)
    frames = encoded.frames["s per frame"]
    reader = SequenceReader(frames, encoded.row, probing, 200, Noise(0))
    every, none = np.arange(3), np.arange(0)
    assert judged([reader.zeroed(every)], probing).value > 0.9
    assert judged([reader.zeroed(np.array([0]))], probing).value > 0.8
    assert judged([reader.retrained(np.array([0]))], probing).value > 0.9
    assert judged([reader.retrained(np.array([2, 1]))], probing).value < 0.75
    for said in (reader.zeroed(none), reader.retrained(none)):
        assert len(np.unique(said[probing.scored])) == 1


def test_a_zero_that_a_recurrent_reader_sees_is_the_zero_of_the_latent():
    """Zeroing a factor that is zero throughout changes no answer."""
    data = rising()
    for item in (*data.train, *data.test):
        item["x"] = item["x"] * torch.tensor([1.0, 0.0, 1.0]) + torch.tensor([3.0, 0.0, 0.0])
    encoded = both(model(), data)
    probing = share_out(encoded, "half", frames=False, most=1000, seed=0, resamples=10)
    frames = encoded.frames["s per frame"]
    reader = SequenceReader(frames, encoded.row, probing, 20, Noise(0))
    assert (reader.zeroed(np.array([0, 2])) == reader.zeroed(np.arange(3))).all()


def test_a_recurrent_reader_of_a_global_latent_is_not_applicable():
    config = FactorSelection(reader="recurrent", steps=3, labels=("half", "first"), by=("mi",))
    result = run(config, data=rising())
    assert "not applicable to 'z': a recurrent reader reads local latents" in result.notes
    assert "first: not applicable, the data have no such label" in result.notes
    assert any(name.startswith("retrained/s per frame/half/mi/") for name in result.metrics)


# Fano --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fano():
    return run(FanoBound(labels=("half",), latent="z", keep=(1,))).metrics


def test_fanos_floor_is_below_the_error_of_a_classifier_of_the_same_samples(fano):
    for count in (0, 1, 3):
        assert fano[f"floor/z/half/{count}"] <= fano[f"error/z/half/{count}/high"]
    assert fano["floor/z/half/0"] == pytest.approx(0.5, abs=0.1)
    assert fano["floor/z/half/1"] < 0.2


def test_the_class_information_of_a_sign_is_that_of_the_channel(fano):
    """z = μ + noise, y the sign of μ: by numerical integration over z, of variances .98 and .02."""
    correlation = math.sqrt(0.98)
    z = torch.linspace(-8.0, 8.0, 20_001, dtype=torch.float64)
    density = torch.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    up = torch.special.ndtr(correlation * z / math.sqrt(1.0 - correlation**2))
    left = -(torch.special.xlogy(up, up) + torch.special.xlogy(1.0 - up, 1.0 - up))
    truth = math.log(2.0) - float((density * left).sum() * (z[1] - z[0]))
    assert fano["information/z/half/1"] == pytest.approx(truth, abs=0.08)


@pytest.mark.statistical
def test_the_class_information_of_few_posteriors_is_too_large_rather_than_too_small():
    """Means of 100 samples of 30: four standard errors below the large sample's (seed fixed)."""
    mean = normal(0, 3000, 2)
    label = (mean[:, 0] + normal(1, 3000) > 0.0).long()
    logvar = torch.full_like(mean, -1.0)
    truth = float(class_information(mean, logvar, label, [2], Noise(0)).mean())
    parts = torch.stack([
        class_information(*(v[part] for v in (mean, logvar, label)), [2], Noise(2)).mean()
        for part in torch.arange(3000).split(30)
    ])  # fmt: skip
    assert parts.mean() > truth - 4.0 * parts.std() / 10.0
    assert entropy(label) == pytest.approx(math.log(2.0), abs=0.01)


def test_numbers_frames_and_single_classes_have_no_floor():
    result = run(FanoBound(keep=(1,), latent="z"))
    assert "first: not applicable, a number and no class" in result.notes
    data = splits(40, 40)
    for item in (*data.train, *data.test):
        item["half"] = 1
    notes = run(FanoBound(labels=("half", "tick"), latent="z"), data=data).notes
    assert "z, half: not applicable, one class alone" in notes
    assert "tick: not applicable, the data have no such label of sequences" in notes


def test_the_error_of_the_class_information_is_that_of_units():
    """Four takes of each sequence: an error of sequences would be half of that of the units."""
    data = splits(100, 75)
    for part in (data.train, data.test):
        part[:] = [{**item, "who": number} for number, item in enumerate(part) for _ in range(4)]
    errors = {}
    for unit in (None, "who"):
        result = run(FanoBound(labels=("half",), latent="z", keep=(2,), unit=unit), data=data)
        rows = result.tables["z: error of telling half"]
        errors[unit] = next(row["standard error"] for row in rows if row["kept"] == 2)
    assert errors["who"] == pytest.approx(2.0 * errors[None], rel=0.35)
    assert any("of units of equal 'who'" in note for note in result.notes)


def test_a_single_unit_has_no_error_and_no_floor_that_is_safe():
    data = splits(60, 40)
    for item in (*data.train, *data.test):
        item["who"] = 0
    result = run(FanoBound(labels=("half",), latent="z", keep=(2,), unit="who"), data=data)
    for row in result.tables["z: error of telling half"]:
        assert row["standard error"] is None
        assert row["says"] == "nothing"


# Reconstruction --------------------------------------------------------------------------------


def build(**settings):
    return LinearGaussian(**settings).build(DataRequest(seed=0))


def test_linear_gaussian_data_have_the_covariance_and_the_entropy_that_they_declare():
    from scipy.stats import multivariate_normal

    config = LinearGaussian(size=4, factors=2, count=40_000)
    data = config.build(DataRequest(seed=0))
    x = torch.stack([item["x"][0] for item in data.train]).double()
    np.testing.assert_allclose(torch.cov(x.T).numpy(), covariance(config), atol=0.08)
    expected = multivariate_normal(cov=covariance(config)).entropy()
    assert data.entropy == pytest.approx(float(expected))
    assert sorted(np.linalg.eigvalsh(covariance(config)).round(6)) == pytest.approx(
        [0.25, 0.25, 0.25 + 1.96, 0.25 + 4.0]
    )
    with pytest.raises(ValueError, match="'factors' must be <= 'size', 2: 3"):
        LinearGaussian(size=2, factors=3)


class Best(Encoder):
    """The posterior of z given x = A z + e, in the order of the columns of A."""

    def __init__(self, config):
        super().__init__()
        values, vectors = np.linalg.eigh(covariance(config))
        top = np.argsort(-values)[: config.factors]
        lengths = np.sqrt(values[top] - config.noise**2)
        self.weight = nn.Parameter(
            torch.from_numpy(vectors[:, top] * lengths / values[top]).float()
        )
        self.logvar = nn.Parameter(torch.from_numpy(np.log(config.noise**2 / values[top])).float())
        self.matrix = torch.from_numpy(vectors[:, top] * lengths).float()

    def forward(self, features, mask, draw):
        draw("z", Gaussian(masked_mean(features, mask) @ self.weight, self.logvar))


def best(config):
    """Return the model of linear-Gaussian data whose posteriors and decoder are the true ones."""
    latents = {"z": Variable(name="z", scope="global", shape=(config.factors,))}
    shapes = evolve(small_shapes(frame=(config.size,)), labels={}, latents=latents)
    made = small_model(
        shapes, backbone=Identity(), decoder=Framewise(hidden=(config.size,)),
        likelihood=GaussianLikelihood(),
    )  # fmt: skip
    made.encoder = Best(config)
    made.decoder.layers = nn.Sequential(nn.Linear(config.factors, config.size, bias=False))
    with torch.no_grad():
        made.decoder.layers[0].weight.copy_(made.encoder.matrix)
        made.likelihood.mean.layer.weight.copy_(torch.eye(config.size))
        made.likelihood.mean.layer.bias.zero_()
    return made


def test_the_error_of_the_true_model_of_white_data_is_twice_the_floor_of_its_information():
    """All factors alike: x̂ of a sample errs by 2σ² a number, of which the floor has σ²·v/(v+σ²)."""
    config = LinearGaussian(size=3, factors=3, decay=1.0, noise=0.5, count=8000)
    result = run(ReconstructionBound(keep=(2, 1)), best(config), build(
        size=3, factors=3, decay=1.0, noise=0.5, count=8000))  # fmt: skip
    shrunk = 0.25 * 4.0 / 4.25
    # the decoder adds its own sample's noise, 4 · 0.25 / 4.25 again, to what x leaves open
    assert result.metrics["floor/gaussian"] == pytest.approx(3 * 0.25, rel=0.03)
    assert result.metrics["floor/kl"] == pytest.approx(3 * 0.25, rel=0.03)
    left = 3 * (shrunk + 0.25 * 0.25 / 4.25)
    assert result.metrics["error"] == pytest.approx(left, rel=0.05)
    assert result.metrics["floor/kl"] <= result.metrics["error/high"]


def test_dropping_factors_raises_floor_and_error_from_one():
    config = LinearGaussian(count=4000)
    result = run(ReconstructionBound(keep=(2, 1)), best(config), config.build(DataRequest()))
    for name in ("factor", "ratio"):
        line = [result.metrics[f"{name}/z/{count}"] for count in (3, 2, 1, 0)]
        assert line[0] == pytest.approx(1.0)
        assert line == sorted(line)
    assert all(
        result.metrics[f"factor/z/{count}"] <= result.metrics[f"ratio/z/{count}"] + 1e-9
        for count in (3, 2, 1, 0)
    )


class OffCentre(Channels):
    """Moves the means of z by 2, which tells nothing and is far from the prior."""

    def forward(self, features, mask, draw):
        super().forward(features, mask, lambda name, law: draw(
            name, Gaussian(law.mean + 2.0, self.logvar) if name == "z" else law
        ))  # fmt: skip


@pytest.mark.parametrize("posteriors", [50, 300])
def test_the_floor_rises_at_most_by_what_the_dropped_factors_hold_however_far_from_the_prior(
    posteriors,
):
    """Of 6 numbers of x; their KLs to the prior would be 2 nats more each."""
    made = model()
    made.encoder = OffCentre()
    result = run(ReconstructionBound(latent="z", keep=(2, 1), posteriors=posteriors), made)
    truth = [-0.5 * math.log(variance) for variance in VARIANCES.tolist()]
    for kept in range(4):
        expected = math.exp(2.0 * sum(truth[kept:]) / 6.0)
        assert result.metrics[f"factor/z/{kept}"] == pytest.approx(expected, rel=0.1)
    [table] = [rows for title, rows in result.tables.items() if "what dropping factors" in title]
    assert "the floor rises by at most" in table[0]
    assert any("floor rises by at most exp(2ΔI/d)" in note for note in result.notes)


def test_where_the_entropy_or_one_length_is_missing_there_is_no_absolute_floor():
    unknown = run(ReconstructionBound())
    assert any(note.startswith("no absolute floor: h(x) is not known") for note in unknown.notes)
    uneven = run(ReconstructionBound(entropy=1.0), small_model(), small_splits())
    assert "no absolute floor: h(x) is of sequences of one length" in uneven.notes
    assert not [name for name in (*unknown.metrics, *uneven.metrics) if name.startswith("floor")]
    made = model()
    made.decoder.autoregressive = True
    [note] = run(ReconstructionBound(), made).notes
    assert note.startswith("not applicable: the decoder is autoregressive")


def test_the_gaussian_bound_stands_beside_the_kl_only_for_one_latent_of_few_factors():
    known = run(ReconstructionBound(entropy=1.0, keep=()))
    assert "floor/kl" in known.metrics
    assert "floor/gaussian" not in known.metrics  # there is s beside z
    table = build(count=2000)
    alone = run(ReconstructionBound(keep=()), best(LinearGaussian(count=2000)), table)
    assert alone.metrics["floor/gaussian"] >= alone.metrics["floor/kl"] * 0.99


# Presets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["mnist-influence", "eeg-smni-influence", "edf-influence", "deap-influence"]
)
def test_the_presets_are_experiments(name, plugins):
    found = Experiment.load(name, plugins, ["data.root=data"])
    assert {task.name for task in found.tasks} >= {"influence", "reconstruction"}
    assert found.model.likelihood.scale == "scalar"


def test_the_published_networks_have_the_published_sizes(plugins):
    found = Experiment.load("mnist-influence", plugins, ["data.root=data"])
    assert found.model.latents["z"].dim == 128
    assert found.model.latents["z"].kl.weight == 6.0
    assert found.train.steps == 100 * 50_000 // found.train.batch_size
    short = Experiment.load("mnist-influence-short", plugins, ["data.root=data"])
    assert short.model == evolve(found.model, likelihood=evolve(found.model.likelihood, sigma=0.3))
    with pytest.raises(ConfigError, match="'keep' must be different"):
        Experiment.load(
            "mnist-influence", plugins,
            ["data.root=data", 'tasks=[{name="factor-selection", keep=[1, 1]}]'],
        )  # fmt: skip


def test_settings_are_the_tasks_own():
    assert FactorSelection().build(SHAPES).func is factor_selection
    assert joint_closed_form(normal(0, 10, 2), normal(1, 10, 2)).bound == "upper"
