"""Models and data that work in place, hide their weights, or come in unusual arrays."""

import math

import numpy as np
import pytest
import torch
from linear import LOGVAR, decode, encode, inputs
from torch import nn

from seqvae_audit import Options, audit
from seqvae_audit.callables import Callables
from seqvae_audit.material import gather, given
from seqvae_core.errors import ConfigError, DataError, ShapeError
from seqvae_core.loading import collate
from seqvae_core.plugins import Plugins

X = inputs(200)
OUTSIDE = nn.Linear(4, 4)  # which some functions below name


def audited(encode=encode, decode=decode, data=X, **more):
    return audit(encode=encode, decode=decode, data=data, **{"tasks": []} | more)


@pytest.fixture(scope="module")
def plugins():
    return Plugins.load()


# Functions that work in place --------------------------------------------------------------------


def test_functions_that_change_what_they_are_given_change_nothing_else():
    def in_place(x):
        return encode(x.sub_(1.0).mul_(0.5))

    def decoding_in_place(z):
        return decode(z.mul_(2.0))

    data = X.clone()
    found = audited(in_place, decoding_in_place, data)
    same = audited(lambda x: encode((x - 1.0) * 0.5), lambda z: decode(2.0 * z))
    assert torch.equal(data, X)
    for part in ("factors", "reconstruction", "verdict", "warnings"):
        assert found.content[part] == same.content[part]


# Copies that are no copies -----------------------------------------------------------------------


class OfAnother:
    """An object whose methods use a model outside of it."""

    def encode(self, x):
        return OUTSIDE(x), LOGVAR

    def decode(self, z):
        return OUTSIDE(z)


class OfTensors:
    """An object with weights, which no reset reaches."""

    def __init__(self):
        self.weight = torch.eye(4)

    def encode(self, x):
        return x @ self.weight, LOGVAR

    def decode(self, z):
        return z @ self.weight


@pytest.mark.parametrize("made", [OfAnother, OfTensors])
def test_an_untrained_copy_is_refused_where_a_copy_has_the_trained_weights(made):
    labels = (X[:, 0] > 0.0).long()
    found = audit(model=made(), data={"x": X, "y": labels}, tasks=["probe"])
    task = found.content["tasks"]["probe"]
    assert task["state"] == "not applicable"
    assert "cannot be copied with their weights" in task["why"]


def helper(x):
    return OUTSIDE(x)


class Calling:
    """A function in the form of an object, which goes by a method of its own."""

    def __call__(self, x):
        return self.through(x), LOGVAR

    def through(self, x):
        return helper(x)


class Within(nn.Module):
    """A module that names one outside of it."""

    def forward(self, x):
        return helper(x)


@pytest.mark.parametrize("encode", [Calling(), Within(), lambda x: helper(x)])
def test_modules_that_functions_name_by_way_of_methods_are_seen(encode):
    assert OUTSIDE in Callables.of(encode, decode).modules


# What a trial batch tells -------------------------------------------------------------------------


def test_an_encode_that_samples_is_noticed_beside_a_factor_far_off_centre():
    off = torch.tensor([0.0, 0.0, 3e4, 0.0])

    def sampling(x):
        mean, logvar = encode(x)
        return mean + off + torch.randn_like(mean), logvar

    warned = audited(sampling, lambda z: decode(z - off)).content["warnings"]
    assert "encode is random" in warned[0]
    still = audited(lambda x: (encode(x)[0] + off, encode(x)[1]), lambda z: decode(z - off))
    assert still.content["warnings"] == []


def test_functions_of_numpy_are_given_numpy_where_decode_alone_wants_it():
    slopes = np.eye(4, dtype=np.float32)
    found = audited(lambda x: (x @ slopes, LOGVAR.numpy()), lambda z: (z @ slopes).astype("f4"))
    assert found.content["model"]["arrays"] == "numpy"


def test_a_map_has_the_mean_over_places_of_each_places_variance():
    off = torch.linspace(-5.0, 5.0, 16).reshape(1, 1, 4, 4)
    x = torch.randn(400, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    logvar = torch.full_like(x, math.log(1.0 - 0.64))
    found = audited(lambda x: (0.8 * x + off, logvar[: len(x)]), lambda z: 0.8 * (z - off), x)
    [row] = found.content["factors"]
    assert row["aggregate_variance"] == pytest.approx(1.0, abs=0.05)
    assert row["aggregate_mean"] == pytest.approx(0.0, abs=0.05)


def test_of_frames_the_sequences_are_counted_that_were_drawn():
    x = inputs(40)[:, None].expand(40, 6, 4)
    found = audited(lambda x: (encode(x)[0], LOGVAR), decode, x, options=Options(posteriors=50))
    alike = found.content["saturation"]["ceiling_if_alike"]
    assert f"frames of {round(math.exp(alike))} sequences" in " ".join(found.content["notes"])


# Arguments and arrays that are refused ------------------------------------------------------------


def exits(x):
    raise SystemExit(3)


REFUSED = {
    "a part": ({"part": "foo"}, ConfigError, "expected part as one of train, valid, test, all"),
    "a seed": ({"seed": -1}, ConfigError, "expected seed as a whole number, 0 or more, got -1"),
    "half a seed": ({"seed": 3.5}, ConfigError, "expected seed as a whole number"),
    "a module": ({"module": [3]}, ConfigError, r"expected module as modules, got \[3\]"),
    "no module": ({"module": 3}, ConfigError, "expected module as modules"),
    "options": ({"options": {}}, ConfigError, "expected options as Options, got {}"),
    "a task": ({"tasks": "rates"}, ConfigError, "expected tasks as a list of names or settings"),
    "complex x": ({"data": X + 1j}, DataError, "expected x of real numbers, got torch.complex64"),
    "complex labels": ({"data": {"x": X, "y": np.full(200, 1j)}}, DataError, "numbers or text"),
    "an exit": ({"encode": exits}, ShapeError, r"encode\(x\) failed for x .*SystemExit: 3"),
    "complex means": ({"encode": lambda x: (x + 1j, LOGVAR)}, ShapeError, "a tuple of 2"),
    "no device": ({"device": "nowhere"}, ConfigError, "cannot use device 'nowhere'"),
    "no numbers": ({"device": "meta"}, ConfigError, "cannot use device 'meta'"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind", "line"), REFUSED.values(), ids=REFUSED)
def test_what_an_audit_is_called_with_wrongly_is_told_in_one_line(arguments, kind, line):
    with pytest.raises(kind, match=line) as error:
        audited(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["5", "probe", '{name="rates"}'])
def test_tasks_that_are_no_list_are_refused(plugins, tmp_path, value):
    np.save(tmp_path / "x.npy", X.numpy())
    material = gather(tmp_path / "x.npy", plugins, overrides=[f"tasks={value}"])
    with pytest.raises(ConfigError, match=r"expected tasks as a list .* @ \$\.tasks"):
        audited(data=X, tasks=material.tasks)


def test_a_truncated_file_is_one_line(plugins, tmp_path):
    np.savez(tmp_path / "x.npz", x=X.numpy())
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:300])
    with pytest.raises(DataError, match=r"cut\.npz: damaged, or not a NumPy file"):
        gather(tmp_path / "cut.npz", plugins)


# Arrays that are taken ---------------------------------------------------------------------------


ARRAYS = {
    "turned round": X.numpy()[:, ::-1],
    "bfloat16": X.bfloat16(),
    "with a gradient": X.clone().requires_grad_(),
    "sparse": X.to_sparse(),
}


@pytest.mark.parametrize("data", ARRAYS.values(), ids=ARRAYS)
def test_unusual_arrays_are_taken(data):
    assert audited(data=data).content["data"]["sequences"] == 200


def test_numpy_answers_may_be_turned_round():
    def turned(x):
        return np.asarray(x, np.float64)[:, ::-1], LOGVAR.double().numpy()

    assert audited(turned, lambda z: np.asarray(z)[:, ::-1]).content["model"]["factors"] == 4


def test_columns_of_text_become_classes():
    text = np.where(X[:, 0].numpy() > 0.0, "high", "low").astype(object)
    assert given({"x": X, "sign": text}).splits.classes == {"sign": ("high", "low")}


def test_images_without_channels_get_one_at_hand_as_in_a_file(plugins, tmp_path):
    images = np.random.default_rng(0).normal(size=(6, 5, 4)).astype("f4")
    np.save(tmp_path / "x.npy", images)
    stored = gather(tmp_path / "x.npy", plugins, time=False)
    for material in (stored, given(images, time=False)):
        assert tuple(collate([material.rows[0]]).x.shape) == (1, 1, 1, 5, 4)


def test_an_array_of_another_name_is_read_by_its_own_axes(plugins, tmp_path):
    images = np.zeros((6, 3, 4, 4), "f4")
    np.savez(tmp_path / "x.npz", images=images)
    material = gather(tmp_path / "x.npz", plugins, overrides=["data.key=images"])
    assert material.time is False
    assert tuple(collate([material.rows[0]]).x.shape) == (1, 1, 3, 4, 4)


# Tasks at the edge -------------------------------------------------------------------------------


def test_a_perfect_reconstruction_has_no_rise_of_its_error_and_no_failure():
    def exact(x):
        return x, torch.full_like(x, -60.0)

    found = audited(exact, lambda z: z, tasks=["reconstruction-bound"])
    task = found.content["tasks"]["reconstruction-bound"]
    assert task["state"] == "done", task["why"]


def test_a_subclass_of_a_refused_model_is_refused_too():
    kind = type("VAE_IAF", (nn.Module,), {"__module__": "pythae.models"})
    own = type("Mine", (kind,), {"__module__": "mine"})
    with pytest.raises(ShapeError, match="pythae's VAE_IAF has a posterior that a flow makes"):
        audit(model=own(), data=X, tasks=[])
