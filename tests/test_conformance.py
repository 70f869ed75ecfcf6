"""Every registered component keeps the contract of its kind, in all of its variants."""

from pathlib import Path

import numpy as np
import pytest

from seqvae_core.components import KINDS
from seqvae_core.config import structure_component
from seqvae_core.plugins import Plugins
from seqvae_core.testing import check_component, small_shapes

PLUGINS = Plugins.load(strict=True)
RNNS = ("gru", "lstm", "conv")
SMALL_CRITIC = {"name": "conv", "width": 16, "optimizer": {"lr": 1e-3}}

# Settings by kind and name: every variant of a network, all of them small. What is not listed is
# checked by its defaults.
VARIANTS = {
    ("backbone", "mlp"): [{"hidden": [8, 6]}],
    ("backbone", "conv1d"): [{"channels": [6, 5], "kernel": 3}],
    ("backbone", "conv2d"): [
        {"channels": [4], "hidden": 6},
        {"channels": [4], "kernel": 4, "padding": 0, "hidden": 6},
        {"channels": [4], "hidden": 6, "norm": "batch", "activation": "leaky-relu", "slope": 0.2},
    ],
    ("encoder", "dsae-factorised"): [{"rnn": rnn, "hidden": 4, "layers": 2} for rnn in RNNS],
    ("encoder", "dsae-full"): [{"rnn": rnn, "hidden": 4} for rnn in RNNS],
    ("prior", "autoregressive-gaussian"): [{"rnn": rnn, "hidden": 4} for rnn in ("gru", "lstm")],
    ("decoder", "framewise"): [
        {"hidden": [7]},
        {"hidden": [7], "network": "deconv", "channels": [3, 2]},
        {"hidden": [7], "network": "deconv", "channels": [3], "kernel": 3, "strides": [2, 1],
         "output": "frame"},
        {"hidden": [7], "network": "deconv", "channels": [3], "start": 4, "output": "frame",
         "activation": "leaky-relu", "slope": 0.2},
    ],
    ("decoder", "pixelcnn"): [
        {"channels": 4, "blocks": 2, "first_kernel": 3, "feature": "h", "hidden": [5]},
        {"channels": 4, "blocks": 1, "feature": "h", "feature_channels": 2, "hidden": [6, 5]},
        {"channels": 4, "blocks": 1, "feature": "h", "feature_levels": 3, "hidden": [5]},
    ],
    ("decoder", "causal-conv"): [
        {"channels": 4, "dilations": [1, 2], "feature": "h", "hidden": [5]},
        {"channels": 4, "kernel": 3, "feature": "h", "feature_channels": 2, "hidden": [6, 5]},
        {"channels": 4, "feature": "h", "feature_levels": 2, "hidden": [5]},
    ],
    ("likelihood", "gaussian"): [
        *({"scale": scale} for scale in ("learned", "scalar", "network", "fixed")),
        {"support": "symmetric"},
    ],
    ("likelihood", "bernoulli"): [{"binarize": binarize} for binarize in ("none", "dynamic")],
    ("likelihood", "categorical"): [{"levels": levels} for levels in (2, 256)],
    ("likelihood", "discretised-logistic-mixture"): [{}, {"components": 1, "levels": 5}],
    ("regularizer", "cmi"): [
        *({"critic": {"name": name, "width": 6, "length": 7}}
          for name in ("mlp", "recurrent", "conv", "location")),
        {"alpha": 0.5, "critic": {"name": "conv", "width": 6, "r1": 0.1}},
        *({"estimator": {"name": "density-ratio",
                         "critic": {"name": name, "width": 6, "length": 7}}}
          for name in ("mlp", "recurrent", "conv")),
    ],
    **{("mi_estimator", name): [{"critic": SMALL_CRITIC, "steps": 800}]
       for name in ("density-ratio", "club")},
    **{("mi_estimator", name): [{"critic": SMALL_CRITIC, "steps": 800, "negatives": 5}]
       for name in ("infonce", "nwj")},
    ("regularizer", "factor-vae"): [{"critic": {"name": "mlp", "width": 6, "r1": r1}}
                                    for r1 in (0.0, 0.1)],
    ("regularizer", "beta-tcvae"): [{"samples": 50, "sampling": sampling}
                                    for sampling in ("weighted", "stratified")],
    ("regularizer", "annealed-vae"): [
        {}, {"mean_of": "batch", "capacity": 1.0, "rise": "constant"},
    ],
    ("regularizer", "mi-vae"): [{"critic": {"name": "mlp", "width": 6, "r1": 0.1}}],
    ("regularizer", "jacobian-l1"): [
        {}, {"columns": 0}, {"columns": 0, "method": "forward"}, {"rows": 3, "columns": 2},
        {"columns": 0, "through_encoder": True}, {"columns": 0, "latent": "s", "chunk": 3},
        {"columns": 2, "rows": 2, "latent": "s", "method": "forward"},
    ],
    ("regularizer", "jacobian-l2"): [{}, {"columns": 0, "chunk": 1}],
    ("regularizer", "vmi"): [
        *({"codes": ["z[:2]", "s[1]"], "critic": {"name": name, "hidden": 6}, "pairs": pairs}
          for name, pairs in (("mlp", "posterior"), ("conv", "both"), ("recurrent", "prior"))),
        {"codes": ["z"], "weights": [0.5], "critic": {"name": "mlp", "hidden": 6},
         "entropy": "kept", "pairs": "both"},
    ],
    ("task", "probe"): [{"labels": ["speaker"], "resamples": 20},
                        {"labels": ["phone", "pitch"], "frames": 40, "resamples": 20},
                        {"labels": ["speaker"], "classifier": ["svm"], "resamples": 20}],
    ("task", "leakage"): [{"steps": 20, "frames": 40, "resamples": 20}],
    ("task", "verification"): [{}, {"protocol": "open"}],
    ("task", "mutual-information"): [
        {"estimator": {"name": "density-ratio", "steps": 20, "critic": SMALL_CRITIC}},
        {"estimator": {"name": "nwj", "steps": 2, "critic": SMALL_CRITIC}, "null": 19},
    ],
    ("task", "input-information"): [{}, {"samples": 1, "block": 4, "margin": 0.0}],
    ("task", "mcas"): [{"permutations": 2, "resamples": 20, "draw": draw}
                       for draw in ("sample", "mean")],
    ("task", "influence"): [
        {}, {"part": "train", "latent": "s", "posteriors": 40, "pairs": 30, "decoded": "prior"},
    ],
    ("task", "factor-selection"): [
        {"resamples": 5, "draws": 2, "keep": [1]},
        {"resamples": 5, "reader": "recurrent", "steps": 2, "pictures": 0, "unit": "speaker"},
    ],
    ("task", "fano-bound"): [{"resamples": 5, "keep": [1]}],
    ("task", "reconstruction-bound"): [{"resamples": 5}, {"entropy": 3.0, "keep": []}],
    ("task", "jacobian-columns"): [{"resamples": 20},
                                   {"latent": "z", "pictures": 0, "resamples": 20}],
    ("task", "mig"): [{}, {"latent": "s", "labels": ["speaker"], "points": 10, "bins": 3}],
    ("task", "modularity"): [{"points": 10}],
    ("task", "dci"): [{"trees": 3}, {"latent": "s", "trees": 1, "points": 12}],
    ("task", "local-disentanglement"): [{"clusters": 2, "points": 20}],
    ("task", "recovery"): [{"sequences": 6, "places": 40, "resamples": 20}],
    ("task", "swap-judge"): [
        {"content": content, "judge": judge, "steps": 3, "hidden": 3, "resamples": 20}
        for content, judge in (("phone", "gru"), ("phone", "linear"), ("speaker", "linear"))
    ],
    ("task", "vmi-bound"): [
        {"count": 40, "held_out": 20, "steps": 4, "check_every": 2},
        {"codes": ["z[:2]"], "pairs": ["prior"], "count": 20, "steps": 2, "linear": False},
    ],
    ("task", "unsupervised-classification"): [{"resamples": 20}, {"fit": "valid"}],
    ("task", "traverse"): [{}, {"codes": ["s[1]", "z"], "start": "prior", "plane_steps": 2}],
    ("dataset", "linear-gaussian"): [{"count": 40}, {"count": 30, "size": 2, "factors": 2}],
    ("dataset", "three-dots"): [{"count": 6, "valid": 2, "test": 3}],
}  # fmt: skip
# Data sets that need files, and the test module that checks them on files of its own.
FILES = {
    "arrays": "test_conformance", "audio-folder": "test_conformance",
    "audio-strings": "test_data_strings", "clips": "test_data_images_clips",
    "deap": "test_data_eeg_deap", "dsprites": "test_data_factors_files", "eeg": "test_data_eeg",
    "eeg-smni": "test_data_eeg_smni", "frame-folders": "test_data_images_clips",
    "huggingface": "test_data_foreign", "idx": "test_data_images_idx",
    "mpi3d": "test_data_factors_files", "mpi3d-multi": "test_data_factors_files",
    "olshausen": "test_data_olshausen", "omniglot-images": "test_data_images_omniglot",
    "omniglot-strokes": "test_data_images_omniglot", "shapes3d": "test_data_factors_files",
    "sprites": "test_data_images_sprites", "table": "test_data_table", "timit": "test_data_timit",
    "ts": "test_data_ts", "videos": "test_data_images_clips",
}  # fmt: skip
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


@pytest.mark.parametrize("name", PLUGINS.components("encoder"))
def test_every_encoder_draws_categorical_latents_too(name):
    [*_, settings] = VARIANTS.get(("encoder", name), [{}])
    config = structure_component("encoder", {"name": name, **settings}, PLUGINS)
    check_component(config, shapes=small_shapes(categorical=True))


FAMILIAR = ("influence", "input-information", "rates", "traverse", "unsupervised-classification",
            "vmi-bound")  # fmt: skip


@pytest.mark.parametrize("name", FAMILIAR)
def test_tasks_that_look_at_a_latents_law_take_categorical_ones(name):
    settings = VARIANTS.get(("task", name), [{}])[0]
    config = structure_component("task", {"name": name, **settings}, PLUGINS)
    check_component(config, shapes=small_shapes(categorical=True))


def test_no_variant_is_of_a_component_that_does_not_exist():
    known = {(kind, name) for kind in KINDS for name in PLUGINS.components(kind)}
    assert VARIANTS.keys() <= known
    assert {("dataset", name) for name in FILES} <= known


@pytest.mark.parametrize(("name", "module"), FILES.items())
def test_a_data_set_that_needs_files_is_checked_where_it_is_said_to_be(name, module):
    [path] = Path(__file__).parent.rglob(f"{module}.py")
    text = path.read_text(encoding="utf-8")
    assert "check_component(" in text
    assert f'"{name}"' in text or PLUGINS.get("dataset", name).__name__ in text


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
