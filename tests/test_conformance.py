"""Every registered component keeps the contract of its kind, in all of its variants."""

import numpy as np
import pytest

from seqvae_core.config import structure_component
from seqvae_core.plugins import KINDS, Plugins
from seqvae_core.testing import check_component

PLUGINS = Plugins.load(strict=True)
RNNS = ("gru", "lstm", "conv")
SMALL_CRITIC = {"name": "conv", "width": 16, "optimizer": {"lr": 1e-3}}

# Settings by kind and name: every variant of a network, all of them small. What is not listed is
# checked by its defaults.
VARIANTS = {
    ("backbone", "mlp"): [{"hidden": [8, 6]}],
    ("backbone", "conv1d"): [{"channels": [6, 5], "kernel": 3}],
    ("backbone", "conv2d"): [{"channels": [4], "hidden": 6}],
    ("encoder", "dsae-factorised"): [{"rnn": rnn, "hidden": 4, "layers": 2} for rnn in RNNS],
    ("encoder", "dsae-full"): [{"rnn": rnn, "hidden": 4} for rnn in RNNS],
    ("prior", "autoregressive-gaussian"): [{"rnn": rnn, "hidden": 4} for rnn in ("gru", "lstm")],
    ("decoder", "framewise"): [
        {"hidden": [7]},
        {"hidden": [7], "network": "deconv", "channels": [3, 2]},
    ],
    ("likelihood", "gaussian"): [{"scale": scale} for scale in ("learned", "network", "fixed")],
    ("likelihood", "bernoulli"): [{"binarize": binarize} for binarize in ("none", "dynamic")],
    ("regularizer", "cmi"): [
        *({"critic": {"name": name, "width": 6, "length": 7}}
          for name in ("mlp", "recurrent", "conv")),
        *({"estimator": {"name": "density-ratio",
                         "critic": {"name": name, "width": 6, "length": 7}}}
          for name in ("mlp", "recurrent", "conv")),
    ],
    ("mi_estimator", "density-ratio"): [{"critic": SMALL_CRITIC}],
    ("task", "probe"): [{"labels": ["speaker"], "resamples": 20},
                        {"labels": ["phone", "pitch"], "frames": 40, "resamples": 20}],
    ("task", "mutual-information"): [
        {"estimator": {"name": "density-ratio", "steps": 20, "critic": SMALL_CRITIC}}
    ],
}  # fmt: skip
FILES = {"arrays", "audio-folder"}  # data sets that are checked below, on files of their own
CASES = [
    (kind, name, settings)
    for kind in KINDS
    for name in PLUGINS.components(kind)
    if name not in FILES
    for settings in VARIANTS.get((kind, name), [{}])
]


def identifier(case):
    kind, name, settings = case
    return f"{kind}-{name}-{settings}" if settings else f"{kind}-{name}"


@pytest.mark.parametrize("case", CASES, ids=identifier)
def test_every_registered_component_keeps_its_contract(case):
    kind, name, settings = case
    check_component(structure_component(kind, {"name": name, **settings}, PLUGINS))


def test_no_variant_is_of_a_component_that_does_not_exist():
    known = {(kind, name) for kind in KINDS for name in PLUGINS.components(kind)}
    assert VARIANTS.keys() <= known
    assert {("dataset", name) for name in FILES} <= known


def test_arrays_keep_their_contract(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "toy.npz"
    speaker = np.repeat(list("abcd"), 5)
    x = rng.normal(size=(20, 6, 3))
    np.savez(path, x=x, length=rng.integers(2, 7, size=20), speaker=speaker)
    for settings in ({}, {"normalise": False}, {"split": {"group": "speaker"}}):
        data = {"name": "arrays", "path": str(path), **settings}
        check_component(structure_component("dataset", data, PLUGINS))


def test_audio_folders_keep_their_contract(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    rng = np.random.default_rng(0)
    for speaker in ("ann", "bob", "cleo"):
        for take in range(4):
            sound = 0.1 * rng.normal(size=2000 + 400 * take)
            soundfile.write(tmp_path / f"{speaker}_{take}.wav", sound, 8000)
    pattern = r"(?P<speaker>\w+)_(?P<take>\d)\.wav"
    for settings in (
        {"features": "log-mel", "spectrum": {"mels": 8}},
        {"features": "log-magnitude", "segment": 5, "normalise": False},
    ):
        data = {"name": "audio-folder", "root": str(tmp_path), "pattern": pattern, **settings}
        check_component(structure_component("dataset", data, PLUGINS))
