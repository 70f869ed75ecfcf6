"""What a user does with a model: encode, decode, reconstruct, generate, swap, load."""

import copy

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks, normal, seeds

from seqvae_core import load
from seqvae_core.config import structure
from seqvae_core.errors import CheckpointError, ShapeError
from seqvae_core.experiment import KLConfig, ModelConfig
from seqvae_core.model import build_model
from seqvae_core.objective import Objective
from seqvae_core.records import Batch, Noise, Shapes

NORMAL = "standard-normal"
Z = {"scope": "global", "dim": 3, "prior": NORMAL}
S = {"scope": "local", "dim": 2, "prior": {"name": "autoregressive-gaussian", "hidden": 4}}
BASE = {
    "backbone": "identity",
    "encoder": {"name": "dsae-full", "hidden": 5},
    "decoder": {"name": "framewise", "hidden": [6], "activation": "elu"},
    "likelihood": "gaussian",
}
MODELS = {
    "one of each": BASE | {"latents": {"z": Z, "s": S}},
    "two of each": BASE | {"latents": {
        "who": Z, "mood": Z | {"dim": 1}, "pitch": S, "word": S | {"prior": NORMAL}}},
    "global only": BASE | {"latents": {"z": Z}},
    "local only": BASE | {"latents": {"s": S}},
    "images": BASE | {
        "latents": {"z": Z},
        "backbone": {"name": "conv2d", "channels": [3], "hidden": 5},
        "decoder": {"name": "framewise", "hidden": [6], "network": "deconv", "channels": [3, 2],
                    "activation": "elu"},
        "likelihood": {"name": "bernoulli", "binarize": "dynamic"}},
}  # fmt: skip
FRAMES = {"images": (1, 6, 5)}
each_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def build(plugins):
    """Return a function that builds a model by name, in float64."""

    def make(name, **changes):
        config = structure(MODELS[name] | changes, ModelConfig, plugins)
        return build_model(config, Shapes(frame=FRAMES.get(name, (4,))), seed=1).double()

    return make


def draw(name, seed, mask):
    """Return frames in the support of a model's likelihood, (B, T, *frame)."""
    return torch.sigmoid(normal(seed, *mask.shape, *FRAMES.get(name, (4,))))


def fill(x, mask, value):
    return torch.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, value)


_KL = KLConfig()
MASK = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]


# Encode, decode, reconstruct ---------------------------------------------------------------------


@each_model
@given(seed=seeds, mask=masks())
def test_encode_gives_posterior_means_of_the_stated_shapes_zero_in_the_padding(
    build, name, seed, mask
):
    model, batch = build(name), Batch.of(draw(name, seed, mask), mask=mask)
    latents, out = model.encode(batch), model.output(batch)
    assert list(latents) == list(model.priors)
    for key, value in latents.items():
        variable = model.shapes.latent(key)
        local = variable.scope == "local"
        assert value.shape == (*mask.shape[: 1 + local], *variable.shape)
        assert value.dtype == torch.float64
        assert not value.requires_grad
        mean = out.latents[key].posterior.mean
        assert value.equal(fill(mean, mask, 0.0) if local else mean)
        if local:
            assert not value[~mask].any()


@each_model
def test_encode_is_deterministic_and_draws_samples_only_from_a_given_noise(build, name):
    model = build(name, likelihood="gaussian")
    x = draw(name, 5, MASK)
    once, again = (model.encode(x, mask=MASK) for _ in range(2))
    drawn, other = (model.encode(x, mask=MASK, noise=Noise(seed)) for seed in (3, 4))
    same = model.encode(x, mask=MASK, noise=Noise(3))
    for key in once:
        assert once[key].equal(again[key])
        assert drawn[key].equal(same[key])
        assert not drawn[key].equal(once[key])
        assert not drawn[key].equal(other[key])


@pytest.mark.statistical
def test_samples_have_the_mean_and_the_variance_of_the_posterior(build):
    """Fixed seeds; of 3 means of 2000 samples each is off by 5 standard errors with p < 1e-6."""
    model = build("one of each")
    x = draw("one of each", 1, torch.ones(1, 4, dtype=torch.bool))
    posterior = model.output(x).latents["z"].posterior
    samples = model.encode(x.expand(2000, -1, -1), noise=Noise(0))["z"]
    scale = torch.exp(0.5 * posterior.logvar[0])
    assert ((samples.mean(0) - posterior.mean[0]).abs() < 5.0 * scale / 2000**0.5).all()
    assert ((samples.std(0) / scale - 1.0).abs() < 0.1).all()


@each_model
@given(seed=seeds, mask=masks())
def test_a_reconstruction_is_the_decoded_code_zero_in_the_padding(build, name, seed, mask):
    model, x = build(name, likelihood=_deterministic(name)), draw(name, seed, mask)
    found = model.reconstruct(x, mask=mask)
    assert found.shape == x.shape
    assert torch.isfinite(found).all()
    assert not found[~mask].any()
    assert found.equal(model.decode(model.encode(x, mask=mask), mask=mask))


def _deterministic(name):
    """Return a likelihood whose support takes x as it is, so that two passes see the same x."""
    return "bernoulli" if name == "images" else "gaussian"


def test_decode_without_a_mask_takes_the_frames_of_the_local_latents(build):
    model = build("two of each")
    latents = model.encode(draw("two of each", 2, MASK), mask=MASK)
    assert model.decode(latents).shape == (3, 7, 4)
    only = build("global only")
    assert only.decode({"z": normal(0, 3, 3)}).shape == (3, 1, 4)
    assert only.decode({"z": normal(0, 3, 3)}, mask=MASK).shape == (3, 7, 4)


def test_tensors_dicts_batches_and_lists_are_the_same_sequences(build):
    model, x = build("one of each").float(), draw("one of each", 3, MASK).float()
    expected = model.encode(x, mask=MASK)["s"]
    for given_ in ({"x": x, "mask": MASK}, Batch.of(x, mask=MASK)):
        assert model.encode(given_)["s"].equal(expected)
    alone = model.encode(x[:1].tolist())["s"]
    assert alone.equal(model.encode(x[:1])["s"])
    torch.testing.assert_close(alone, expected[:1])  # a batch of another size rounds otherwise


@pytest.mark.parametrize(
    ("x", "line"),
    [
        (torch.zeros(2, 3), "expected x of shape (B, T, *frame), got (2, 3)"),
        (torch.zeros(2, 3, 9), "expected frames of shape (4,), got (9,)"),
    ],
)
def test_sequences_that_do_not_fit_the_model_are_told(build, x, line):
    with pytest.raises(ShapeError) as raised:
        build("one of each").encode(x)
    assert str(raised.value) == line


# Padding -----------------------------------------------------------------------------------------


def losses(model, batch, seed):
    """Return every term of the loss and the gradient of each parameter."""
    kls = dict.fromkeys(model.priors, _KL)
    model.zero_grad()
    found = Objective(kls, {}, {})(model(batch, Noise(seed)), 0)
    found.total.mean().backward()
    return found.raw | {name: p.grad.clone() for name, p in model.named_parameters()}


@each_model
@given(seed=seeds, mask=masks(), value=st.sampled_from([float("nan"), float("-inf"), 1e300]))
def test_what_stands_in_the_padding_changes_no_bit_of_anything(build, name, seed, mask, value):
    model, x = build(name), draw(name, seed, mask)
    clean, spoilt = (Batch.of(v, mask=mask) for v in (x, fill(x, mask, value)))
    for one, other in (
        (model.encode(clean), model.encode(spoilt)),
        ({"x": model.reconstruct(clean)}, {"x": model.reconstruct(spoilt)}),
        (losses(model, clean, seed), losses(model, spoilt, seed)),
    ):
        for key in one:
            assert one[key].equal(other[key]), key


@each_model
@given(seed=seeds, mask=masks(), more=st.integers(1, 9))
def test_how_much_padding_there_is_changes_next_to_nothing(build, name, seed, mask, more):
    model, x = build(name), draw(name, seed, mask)
    short = Batch.of(x, mask=mask)
    long = Batch.of(
        torch.cat([x, x.new_full((len(x), more, *x.shape[2:]), float("nan"))], 1),
        mask=torch.cat([mask, mask.new_zeros(len(mask), more)], 1),
    )
    pairs = [(model.reconstruct(short), model.reconstruct(long)[:, : mask.shape[1]])]
    for key, value in model.encode(short).items():
        other = model.encode(long)[key]
        local = model.shapes.latent(key).scope == "local"
        pairs.append((value, other[:, : mask.shape[1]] if local else other))
    one, two = losses(model, short, seed), losses(model, long, seed)
    pairs += [(one[key], two[key]) for key in one]
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


# Generate ----------------------------------------------------------------------------------------


@each_model
@given(seed=seeds, lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_generated_sequences_have_their_lengths_and_depend_on_the_noise_alone(
    build, name, seed, lengths
):
    model, count = build(name), torch.tensor(lengths)
    found = model.generate(len(lengths), count, noise=Noise(seed))
    mask = torch.arange(max(lengths)) < count[:, None]
    assert found.shape == (*mask.shape, *model.shapes.frame)
    assert torch.isfinite(found).all()
    assert not found[~mask].any()
    assert found[mask].any()
    assert found.equal(model.generate(len(lengths), count, noise=Noise(seed)))
    assert not found.equal(model.generate(len(lengths), count, noise=Noise(seed + 1)))
    if name == "images":
        assert (found >= 0.0).all()
        assert (found <= 1.0).all()


def test_one_length_serves_all_and_shorter_sequences_are_beginnings_of_longer_ones(build):
    model = build("two of each")
    short, long = (model.generate(3, t, noise=Noise(2)) for t in (4, 9))
    assert short.shape == (3, 4, 4)
    torch.testing.assert_close(short, long[:, :4])


def test_given_latents_are_not_drawn_and_the_others_are_as_without_them(build):
    model = build("one of each")
    lengths = torch.tensor([4, 2, 6])
    drawn = {
        name: model.priors[name].sample(3, lengths, Noise(5).of("prior").of(name)).detach()
        for name in ("z", "s")
    }
    whole = model.generate(3, lengths, noise=Noise(5))
    for names in (["z"], ["s"], ["z", "s"]):
        given = {name: drawn[name] for name in names}
        assert model.generate(3, lengths, noise=Noise(5), given=given).equal(whole)
    other = model.generate(3, lengths, noise=Noise(5), given={"z": drawn["z"] + 1.0})
    assert not other.equal(whole)
    with pytest.raises(ShapeError, match="no latent or local feature 'y'"):
        model.generate(3, lengths, given={"y": drawn["z"]})


def test_a_drawn_x_scatters_about_its_mean_as_the_likelihood_says(build):
    model = build("one of each", likelihood={"name": "gaussian", "scale": "fixed", "sigma": 0.5})
    latents = {"z": normal(1, 400, 3), "s": normal(2, 400, 7, 2)}
    mask = torch.arange(7).expand(400, 7) < 5
    mean, drawn = (
        model.decode(latents, mask=mask, noise=Noise(3), sample=s) for s in (False, True)
    )
    assert not drawn[~mask].any()
    assert (drawn - mean)[mask].std() == pytest.approx(0.5, rel=0.05)
    assert drawn.equal(model.decode(latents, mask=mask, noise=Noise(3), sample=True))


# Swap --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"who": None}, r"expected latent 'who' as a tensor \(B, 3\), got none"),
        ({"who": torch.zeros(3, 4)}, r"expected latent 'who' as a tensor \(B, 3\), got \(3, 4\)"),
        ({"other": torch.zeros(3, 4)}, "no latent or local feature 'other'; the model has: "),
    ],
)
def test_latents_that_do_not_fit_are_refused_in_one_line(build, change, said):
    model = build("two of each")
    latents = model.encode(normal(0, 3, 7, 4)) | change
    latents = {name: value for name, value in latents.items() if value is not None}
    with pytest.raises(ShapeError, match=said):
        model.decode(latents)


@pytest.mark.parametrize(("n", "lengths"), [(0, 5), (3, 0), (2, torch.tensor([4, 0]))])
def test_nothing_cannot_be_generated(build, n, lengths):
    with pytest.raises(ShapeError, match="expected sequences of a frame or more, got"):
        build("global only").generate(n, lengths)


@each_model
@given(seed=seeds, mask=masks())
def test_swapping_everything_gives_the_other_and_swapping_nothing_the_same(build, name, seed, mask):
    model = build(name, likelihood=_deterministic(name))
    a, b = (Batch.of(draw(name, seed + i, mask), mask=mask) for i in (0, 1))
    assert model.swap(a, b, *model.priors).equal(model.reconstruct(b))
    assert model.swap(a, b).equal(model.reconstruct(a))
    assert model.swap(a, a, *model.priors).equal(model.reconstruct(a))


def test_a_swap_takes_just_the_named_latents_from_the_other_and_back_again_is_the_first(build):
    model = build("two of each")
    a, b = (Batch.of(draw("two of each", i, MASK), mask=MASK) for i in (0, 1))
    here, there = model.encode(a), model.encode(b)
    mixed = here | {"who": there["who"]}
    assert model.swap(a, b, "who").equal(model.decode(mixed, mask=MASK))
    assert not model.swap(a, b, "who").equal(model.reconstruct(a))
    assert model.decode(mixed | {"who": here["who"]}, mask=MASK).equal(model.reconstruct(a))


def test_sequences_of_other_lengths_swap_global_latents_and_keep_their_own_length(build):
    model = build("one of each")
    a = Batch.of(draw("one of each", 0, MASK), mask=MASK)
    b = Batch.of(draw("one of each", 1, MASK[:, :5]))
    assert model.swap(a, b, "z").shape == (3, 7, 4)
    with pytest.raises(ShapeError, match="cannot swap 's': the sequences do not pair up"):
        model.swap(a, b, "s")
    with pytest.raises(ShapeError, match="cannot swap 'z': the sequences do not pair up"):
        model.swap(a, a.rows(slice(2)), "z")


def test_an_unknown_latent_to_swap_is_told_with_the_known_ones(build):
    x = draw("two of each", 0, MASK)
    line = "no latent or local feature 'y'; the model has: who, mood, pitch, word"
    with pytest.raises(ShapeError, match=line):
        build("two of each").swap(x, x, "y")


# What a user's call leaves alone -----------------------------------------------------------------


@each_model
def test_modes_gradients_weights_and_torchs_generator_are_left_alone(build, name):
    model, batch = build(name), Batch.of(draw(name, 0, MASK), mask=MASK)
    losses(model, batch, 0)
    model.train()
    model.decoder.eval()
    modes = [module.training for module in model.modules()]
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    weights = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()

    model.encode(batch, noise=Noise(1))
    model.reconstruct(batch)
    model.generate(2, 3)
    model.swap(batch, batch, *model.priors)

    assert [module.training for module in model.modules()] == modes
    assert all(p.grad.equal(g) for p, g in zip(model.parameters(), grads, strict=True))
    assert all(value.equal(weights[key]) for key, value in model.state_dict().items())
    assert torch.get_rng_state().equal(state)


def test_a_mode_is_put_back_after_an_error_too(build):
    model = build("one of each").train()
    with pytest.raises(ShapeError):
        model.encode(torch.zeros(2, 3, 9))
    assert all(module.training for module in model.modules())


def test_the_initial_weights_depend_on_the_seed_alone(build):
    torch.manual_seed(1)
    one = build("one of each").state_dict()
    torch.manual_seed(2)
    two = build("one of each").state_dict()
    assert all(value.equal(two[key]) for key, value in one.items())


# Load --------------------------------------------------------------------------------------------


def test_a_run_is_loaded_without_its_data(tmp_path):
    source = tiny.write_experiment(tmp_path, steps=4, every=2)
    run = tmp_path / "run"
    tiny.call("train", source, "--out", run)
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    before = load(run).encode(x)
    (tmp_path / "toy.npz").unlink()
    source.unlink()

    model = load(str(run))

    assert not model.training
    assert all(value.equal(before[key]) for key, value in model.encode(x).items())
    assert model.generate(2, 5).shape == (2, 5, 4)
    with pytest.raises(CheckpointError, match="no run at"):
        load(tmp_path / "nowhere")
