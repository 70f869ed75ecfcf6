"""What single codes change: traversals, grids of two dimensions, swaps of one-hot codes."""

from io import BytesIO

import numpy as np
import pytest
import torch
from attrs import evolve
from mirror import mirror, sequences, splits

from seqvae_basics.autoregressive_config import CausalConv
from seqvae_basics.config import GaussianLikelihood
from seqvae_core.errors import ShapeError
from seqvae_core.records import Noise, Splits
from seqvae_core.testing.small import small_model, small_shapes, small_splits
from seqvae_tasks.config_codes import Traverse
from seqvae_tasks.pictures import mosaic
from seqvae_tasks.traverse import Axis, Start


def run(model=None, data=None, seed=0, **settings):
    model = model or mirror()
    return Traverse(**settings).build(model.shapes)(
        model, data or splits(train=6, test=6), Noise(seed)
    )


def picture(png):
    image = pytest.importorskip("matplotlib.image")
    return image.imread(BytesIO(png))


def test_a_code_that_the_decoder_does_not_use_moves_nothing_and_another_does():
    model = mirror()
    with torch.no_grad():
        next(model.decoder.parameters())[:, 1] = 0.0  # the first layer's column of z[1]
    found = run(model).metrics
    assert found["moved/z[1]"] == 0.0
    assert min(found["moved/z[0]"], found["moved/s[0]"]) > 0.1


def test_the_distance_is_the_root_mean_square_of_what_changes_within_each_sequence():
    model, data = mirror(), splits(train=6, test=6)
    out = model.output(data.test[0]["x"][None])
    z, s = (out.latents[name].sample for name in ("z", "s"))
    moved = []
    for value in (-2.0, 0.0, 2.0):
        other = z.clone()
        other[:, 1] = value
        moved.append(model.decode({"z": other, "s": s}) - model.decode({"z": z, "s": s}))
    truth = float(torch.stack(moved).square().mean().sqrt())
    found = run(model, data, codes=("z[1]",), reach=2.0, steps=3, items=1)
    assert found.metrics == {"moved/z[1]": pytest.approx(truth, rel=1e-5)}


def test_codes_are_those_asked_for_and_else_the_dimensions_of_largest_kl():
    assert list(run(codes=("s[1]", "z")).metrics) == ["moved/s[1]", "moved/z[0]", "moved/z[1]"]
    found = run(most=1)
    assert [name[:7] for name in found.metrics] == ["moved/z", "moved/s"]
    assert "largest first" in found.notes[1]


def test_an_unknown_code_is_refused_before_anything_is_decoded():
    with pytest.raises(
        ShapeError, match=r"traverse got index 2 in code 'z\[2\]', out of range for 2"
    ):
        Traverse(codes=("z[2]",)).build(mirror().shapes)


@pytest.mark.parametrize(
    ("code", "dims", "title"),
    [("c", (0, 1, 2, 3), "c"), ("d[1]", (3, 4, 5), "d[1]")],
    ids=["global", "local"],
)
def test_a_categorical_code_starts_at_its_likeliest_value_and_is_swapped_through_all(
    code, dims, title
):
    model, data = small_model(small_shapes(categorical=True)), small_splits()
    start = Start.of(Traverse(codes=(code,), items=2), model, data, Noise(0))
    held, name = start.latents[code[0]], code[0]
    real = held[start.mask] if name == "d" else held
    assert real[..., list(dims)].sum(-1).eq(1.0).all()
    assert set(held.unique().tolist()) == {0.0, 1.0}
    axis = Axis(latent=name, dims=dims, values=tuple(range(len(dims))), title=title)
    others = [dim for dim in range(held.shape[-1]) if dim not in dims]
    for value in axis.values:
        swapped = axis.set(start.latents, value)[name]
        assert swapped[..., dims[value]].eq(1.0).all()
        assert swapped[..., list(dims)].sum(-1).eq(1.0).all()
        assert swapped[..., others].equal(held[..., others])
    assert start.latents[name] is held
    result = run(model, data, codes=(code,), items=2)
    assert list(result.figures) == [f"swaps of {title}"]
    assert result.metrics[f"moved/{title}"] > 0.0


def test_each_group_of_a_categorical_latent_is_swapped_by_itself():
    model = small_model(small_shapes(categorical=True))
    found = run(model, small_splits(), codes=("d",))
    assert list(found.metrics) == ["moved/d[0]", "moved/d[1]"]


def test_the_start_may_be_the_mean_of_the_prior():
    config = Traverse(start="prior", codes=("z",))
    start = Start.of(config, mirror(), splits(train=6, test=6), Noise(0))
    assert start.titles == ["the prior's mean"]
    assert start.latents["z"].eq(0.0).all()
    assert start.latents["s"].eq(0.0).all()
    assert len(run(start="prior").figures) == 2


def test_images_get_a_row_for_each_code_and_sequences_a_row_for_each_value(tmp_path):
    images = small_shapes(frame=(1, 8, 8))
    model, data = small_model(images), small_splits(images)
    data = Splits(**{
        part: [{**item, "x": item["x"][:1], "phone": item["phone"][:1]} for item in items]
        for part, items in (("train", data.train), ("valid", data.valid), ("test", data.test))
    })  # fmt: skip
    wide = picture(run(model, data, codes=("z[:2]",)).figures["traversals from test item 1"])
    tall = picture(run(codes=("z[:2]",)).figures["traversals from test item 1"])
    assert wide.shape[1] > 2 * wide.shape[0]
    assert tall.shape[0] > 2 * tall.shape[1]


def test_what_can_be_heard_is_heard_from_as_many_starts_as_asked_for():
    data = evolve(splits(train=6, test=6), sound=lambda frames: b"RIFF" + bytes([len(frames)]))
    assert not run(data=data, codes=("z[0]",), sounds=0).sounds
    found = run(data=data, codes=("z[0]",), steps=3, items=2, sounds=1).sounds
    assert list(found) == [
        f"traversals from test item 1, {value}: z[0]" for value in ("start", "-5", "0", "5")
    ]


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("sounds", [0, 1, 2])
def test_swaps_too_are_heard_from_as_many_starts_as_asked_for(sounds, length):
    model, data = small_model(small_shapes(categorical=True)), small_splits()
    cut = [{**item, "x": item["x"][:1].expand(length, 3)} for item in data.test]
    test = [{name: item[name] for name in ("x", "speaker")} for item in cut]
    heard = []
    data = evolve(data, test=test, sound=lambda frames: heard.append(frames) or b"RIFF")
    found = run(model, data, codes=("c",), items=3, sounds=sounds).sounds
    values = ("start", *(f"c = {value}" for value in range(4)))
    assert len(heard) == len(values) * sounds
    expected = {frozenset((f"test item {i + 1}", v)) for i in range(sounds) for v in values}
    titles = [title.removeprefix("swaps of c, ").split(": ") for title in found]
    assert {frozenset(title) for title in titles} == expected


def test_one_sequence_is_enough():
    data = Splits(train=sequences(1, seed=1), valid=[], test=sequences(1, seed=2))
    assert len(run(data=data).figures) == 2


@pytest.mark.parametrize("frame", [(2,), (20,), (3, 6, 4)], ids=["lines", "spectra", "pictures"])
def test_a_mosaic_takes_sequences_of_different_lengths(frame):
    rng = np.random.default_rng(0)
    cells = [[rng.normal(size=(frames, *frame)) for frames in (3, 5)] for _ in range(3)]
    assert mosaic(cells, ["a", "b", "c"], ["first", "second"]).startswith(b"\x89PNG")


def test_an_autoregressive_decoder_draws_each_with_the_same_noise():
    shapes = small_shapes()
    z_alone = evolve(shapes, latents={"z": shapes.latents["z"]})
    decoder = CausalConv(channels=4, dilations=(1,), feature="h", hidden=(5,))
    model = small_model(z_alone, decoder=decoder, likelihood=GaussianLikelihood())
    data = small_splits()
    start = Start.of(Traverse(items=1), model, data, Noise(0))
    assert start.at(start.latents).equal(start.decoded)
    found = run(model, data, codes=("z[0]",), items=1, steps=2)
    assert found.metrics["moved/z[0]"] > 0.0
    assert any("is a draw" in note for note in found.notes)
