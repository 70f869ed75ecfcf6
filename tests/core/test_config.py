"""Plain data to settings and back: strict, and every fault in one line with its path."""

import copy
import pickle
import tomllib
from pathlib import Path

import attrs
import pytest
import strategies
import toy_parts
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core import config
from seqvae_core.components import KINDS, EncoderConfig
from seqvae_core.errors import ConfigError
from seqvae_core.experiment import Experiment
from seqvae_core.plugins import Plugins
from seqvae_core.sources import read
from seqvae_core.testing.strategies import components

TOYS = Plugins()
TOYS.register(toy_parts, "toy")
BUILT_IN = Plugins.load(strict=True)
BUILT_IN_CLASSES = [
    found for kind in KINDS for found in BUILT_IN.components(kind).values()
]  # fmt: skip


def toy(**changes):
    """Return the toy experiment's data; keys such as model__encoder__hidden change it."""
    data = copy.deepcopy(toy_parts.EXPERIMENT)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = data
        for key in parents:
            node = node[int(key) if key.isdigit() else key]
        node[last] = value
    return data


def faults(data, plugins=TOYS):
    with pytest.raises(ConfigError) as caught:
        Experiment.of(data, plugins)
    return str(caught.value).splitlines()


def encoder_faults(**settings):
    with pytest.raises(ConfigError) as caught:
        config.structure_component("encoder", {"name": "gru", **settings}, TOYS)
    return str(caught.value).splitlines()


# Strict values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"hidden": "8"}, "expected int, got '8' @ $.hidden"),
        ({"hidden": 3.7}, "expected int, got 3.7 @ $.hidden"),
        ({"hidden": 3.0}, "expected int, got 3.0 @ $.hidden"),
        ({"hidden": True}, "expected int, got True @ $.hidden"),
        ({"hidden": None}, "expected int, got None @ $.hidden"),
        ({"hidden": [8]}, "expected int, got [8] @ $.hidden"),
        ({"hidden": 0}, "'hidden' must be >= 1: 0 @ $"),
        ({"bidirectional": "false"}, "expected bool, got 'false' @ $.bidirectional"),
        ({"bidirectional": 0}, "expected bool, got 0 @ $.bidirectional"),
        ({"dropout": "0.1"}, "expected float, got '0.1' @ $.dropout"),
        ({"dropout": False}, "expected float, got False @ $.dropout"),
        ({"cell": "gur"}, "expected one of gru, lstm, got 'gur' @ $.cell"),
        ({"cell": 3}, "expected one of gru, lstm, got 3 @ $.cell"),
        ({"widths": "64"}, "expected a list, got '64' @ $.widths"),
        ({"widths": 64}, "expected a list, got 64 @ $.widths"),
        ({"widths": [64, "32"]}, "expected int, got '32' @ $.widths[1]"),
        ({"betas": [0.9]}, "expected a list of 2, got [0.9] @ $.betas"),
        ({"betas": [0.9, "x"]}, "expected float, got 'x' @ $.betas[1]"),
        ({"scales": [1.0]}, "expected a table, got [1.0] @ $.scales"),
        ({"scales": {"a": "x"}}, "expected float, got 'x' @ $.scales.a"),
        ({"cache": 3}, "expected a path, got 3 @ $.cache"),
        ({"cache": ""}, "expected a path, got '' @ $.cache"),
        ({"cache": "~nobody-of-that-name/x"}, "expected a path, got '~nobody-of-that-name/x' of "
         "an unknown user @ $.cache"),
        ({"optimizer": 3}, "expected a table, got 3 @ $.optimizer"),
        ({"optimizer": "adma"}, "expected one of adam, adamw, sgd, rmsprop, got 'adma' "
         "@ $.optimizer.name"),
        ({"optimizer": {"lr": -1}}, "'lr' must be > 0.0: -1.0 @ $.optimizer"),
        ({"optimizer": {"betas": [0.5, 1]}}, "'betas' must be in [0, 1): [0.5, 1.0] @ $.optimizer"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_or_range_is_one_clear_line(settings, line):
    assert encoder_faults(**settings) == [line]


def test_an_int_is_taken_for_a_float_and_becomes_one():
    made = config.structure_component("encoder", {"name": "gru", "dropout": 1}, TOYS)
    assert type(made.dropout) is float


def test_what_is_left_out_or_none_is_the_default():
    made = config.structure_component("encoder", {"name": "gru", "dropout": None}, TOYS)
    assert made == toy_parts.GRU()


def test_a_bare_name_stands_for_a_table_with_that_name():
    data = {"name": "gru", "optimizer": "sgd"}
    made = config.structure_component("encoder", data, TOYS)
    assert made.optimizer.name == "sgd"
    assert config.structure_component("encoder", "gru", TOYS) == toy_parts.GRU()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (3, "expected a name or a table with one, got 3 @ $"),
        ({}, "expected a table with the 'name' of a component (encoder) @ $"),
        ({"name": 3}, "expected a table with the 'name' of a component (encoder) @ $"),
        ("gruu", "unknown encoder 'gruu'; did you mean 'gru'? known: cnn, gru @ $"),
        ("zzz", "unknown encoder 'zzz'; known: cnn, gru @ $"),
    ],
)
def test_a_slot_says_what_it_expected(value, line):
    with pytest.raises(ConfigError) as caught:
        config.structure_component("encoder", value, TOYS)
    assert str(caught.value) == line


def test_a_slot_of_one_class_takes_that_component_alone():
    made = config.converter(TOYS)
    assert made.structure({"name": "gru", "hidden": 3}, toy_parts.GRU) == toy_parts.GRU(hidden=3)
    with pytest.raises(ConfigError, match="expected encoder 'gru', got 'cnn'"):
        made.structure("cnn", toy_parts.GRU)


def test_a_component_that_comes_late_is_seen():
    plugins = Plugins()
    made = config.converter(plugins)
    plugins.register(toy_parts, "toy")
    assert made.structure("gru", EncoderConfig) == toy_parts.GRU()


# All faults, each with its path -----------------------------------------------------------------


def test_all_faults_are_told_at_once_each_with_its_path():
    data = toy(
        seed="1",
        sede=3,
        data__root=4,
        model__encoder={"name": "gru", "hidden": 0, "layers": 9, "hiddn": 3, "cell": "x"},
        model__decoder="flta",
        model__latents__z={"scope": "global"},
        regularizers=[{"name": "penalty", "weight": -1}, {"name": "penalty", "wieght": 1}],
        train__optimizer={"lr": "fast"},
        plugins={"require": ["seqvae-acme>=0.3", "?"]},
    )
    del data["train"]["steps"]
    assert sorted(faults(data)) == sorted(
        [
            "plugin 'seqvae-acme>=0.3' is required but not loaded @ $.plugins.require",
            "expected a requirement such as 'seqvae-acme>=0.3', got '?' @ $.plugins.require",
            "unknown key 'sede'; did you mean 'seed'? known: data, model, plugins, regularizers, "
            "seed, tasks, train @ $",
            "expected int, got '1' @ $.seed",
            "expected a path, got 4 @ $.data.root",
            "unknown key 'hiddn'; did you mean 'hidden'? known: betas, bidirectional, cache, cell, "
            "dropout, hidden, layers, optimizer, scales, widths @ $.model.encoder",
            "'hidden' must be >= 1: 0 @ $.model.encoder",
            "'layers' must be <= 4: 9 @ $.model.encoder",
            "expected one of gru, lstm, got 'x' @ $.model.encoder.cell",
            "unknown decoder 'flta'; did you mean 'flat'? known: flat @ $.model.decoder",
            "required key 'dim' is missing @ $.model.latents.z",
            "required key 'prior' is missing @ $.model.latents.z",
            "'weight' must be >= 0.0: -1.0 @ $.regularizers[0]",
            "unknown key 'wieght'; did you mean 'weight'? known: estimator, label, schedule, "
            "weight @ $.regularizers[1]",
            "required key 'steps' is missing @ $.train",
            "expected float, got 'fast' @ $.train.optimizer.lr",
        ]
    )


def test_an_empty_experiment_names_what_is_missing():
    assert faults({}) == [
        "required key 'data' is missing @ $",
        "required key 'model' is missing @ $",
        "required key 'train' is missing @ $",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train__accumulate": 3}, "'batch_size' must be a multiple of 'accumulate': 4, 3 "
         "@ $.train"),
        ({"model__latents": {}}, "expected at least one latent, got none @ $.model"),
        ({"model__latents": {"a.b": toy()["model"]["latents"]["z"]}},
         "'latents' must have names of letters, digits, _ or -: 'a.b' @ $.model"),
        ({"regularizers__0__label": "second"},
         "'regularizers' must have unique labels: second twice @ $"),
        ({"regularizers__0__label": "nll"},
         "'regularizers' must not be labelled nll: these are logged @ $"),
        ({"regularizers__0__label": "a/b"},
         "'regularizers' must have names of letters, digits, _ or -: 'a/b' @ $"),
        ({"tasks": ["count", "count"]}, "'tasks' must have unique labels: count twice @ $"),
        ({"plugins": {"require": "seqvae"}}, "expected a list, got 'seqvae' @ $.plugins.require"),
    ],
)  # fmt: skip
def test_rules_between_settings_are_told_alike(changes, line):
    assert faults(toy(**changes)) == [line]


@given(data=st.data())
def test_an_unknown_key_anywhere_is_an_error_with_its_path(data):
    plain = config.plain(data.draw(strategies.experiments(TOYS)))
    tables = []

    def walk(node, path):
        if isinstance(node, dict):
            if not path.endswith((".latents", ".scales")):
                tables.append((node, path))
            for key, item in node.items():
                walk(item, f"{path}.{key}")
        elif isinstance(node, list):
            for index, item in enumerate(node):
                walk(item, f"{path}[{index}]")

    walk(plain, "$")
    node, path = data.draw(st.sampled_from(tables))
    node["not-a-key"] = 1
    (line,) = faults(plain)
    assert line.startswith("unknown key 'not-a-key'; known: ")
    assert line.endswith(f" @ {path}")


@given(noise=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["name", "model", "data", "latents", "z", "train"]), inner, max_size=4
    ),
))  # fmt: skip
def test_any_data_at_all_make_an_experiment_or_single_lines(noise):
    for data in ({"model": noise}, {**toy(), "train": noise}, toy(model__latents=noise)):
        for line in faults(data):
            assert line.isprintable() or "'" in line
            assert " @ $" in line
            assert "structuring" not in line.lower()
            assert "<class" not in line


# Round trips ------------------------------------------------------------------------------------


def same(made, again):
    assert again == made
    assert hash(again) == hash(made)
    assert pickle.loads(pickle.dumps(made)) == made


@given(made=strategies.experiments(TOYS))
def test_an_experiment_survives_plain_data_and_toml(made):
    same(made, Experiment.of(config.plain(made), TOYS))
    same(made, Experiment.of(tomllib.loads(made.to_toml()), TOYS))


@given(made=strategies.experiments(BUILT_IN))
def test_an_experiment_of_built_in_parts_survives_toml(made):
    same(made, Experiment.of(tomllib.loads(made.to_toml()), BUILT_IN))


@pytest.mark.parametrize("found", BUILT_IN_CLASSES, ids=lambda found: found.name)
@given(data=st.data())
def test_every_registered_component_survives_plain_data(found, data):
    made = data.draw(components(found, BUILT_IN))
    same(made, config.structure_component(found.kind, config.plain(made), BUILT_IN))


@pytest.mark.parametrize("found", BUILT_IN_CLASSES, ids=lambda found: found.name)
@given(data=st.data())
def test_every_registered_component_is_frozen(found, data):
    made = data.draw(components(found, BUILT_IN))
    for key in [*config.plain(made), "new"]:
        with pytest.raises((FrozenInstanceError, AttributeError)):
            setattr(made, key, 1)


@pytest.mark.parametrize("name", sorted(BUILT_IN.components("preset")))
def test_every_preset_is_an_experiment_and_shows_as_one(name):
    data = read(name, BUILT_IN, [])
    fields = attrs.fields_dict(BUILT_IN.get("dataset", data["data"]["name"]))
    places = [f"data.{key}=/data" for key in ("root", "path") if key in fields]
    made = Experiment.load(name, BUILT_IN, places)
    assert Experiment.of(tomllib.loads(made.to_toml()), BUILT_IN) == made


def test_what_is_none_is_left_out():
    assert "dropout" not in config.plain(toy_parts.GRU())
    assert config.plain(toy_parts.GRU(dropout=0.1))["dropout"] == 0.1


def test_a_relative_path_is_stored_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = config.structure_component("dataset", {"name": "folder", "root": "corpus"}, TOYS)
    assert made.root == tmp_path / "corpus"
    home = config.structure_component("dataset", {"name": "folder", "root": "~/corpus"}, TOYS)
    assert home.root == Path.home() / "corpus"
