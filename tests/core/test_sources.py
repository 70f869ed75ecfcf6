"""Presets, files and overrides: what an experiment is put together from."""

import copy
import tomllib

import pytest
import tomli_w
import toy_parts
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core.errors import ConfigError, UnknownComponentError
from seqvae_core.experiment import Experiment
from seqvae_core.plugins import Plugins
from seqvae_core.sources import merge, override, read

TOYS = Plugins()
TOYS.register(toy_parts, "toy")


def toy():
    return copy.deepcopy(toy_parts.EXPERIMENT)


def write(path, text):
    path.write_text(text)
    return path


# Presets and files ------------------------------------------------------------------------------


def test_a_preset_is_read_by_its_name():
    assert read("toy", TOYS, []) == toy()


def test_a_preset_may_build_on_presets():
    made = Experiment.load("toy-wider", TOYS)
    assert (made.model.encoder.hidden, made.model.encoder.layers) == (64, 3)


def test_reading_a_preset_leaves_it_as_it_is():
    before = toy()
    read("toy", TOYS, ["train.steps=3", "regularizers.first.weight=2", "tasks+=count"])
    assert before == toy_parts.EXPERIMENT


def test_presets_that_name_one_another_are_an_error():
    with pytest.raises(ConfigError, match=r"one another: toy-loop, toy-knot, toy-loop$"):
        read("toy-loop", TOYS, [])


def test_a_file_lies_over_its_preset(tmp_path):
    path = write(tmp_path / "mine.toml", 'preset = "toy"\nseed = 7\n[model.encoder]\nhidden = 3\n')
    made = Experiment.load(path, TOYS)
    assert made.seed == 7
    assert (made.model.encoder.hidden, made.model.encoder.layers) == (3, 2)


def test_a_files_data_lie_beside_it_and_an_overrides_where_one_works(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    path = write(tmp_path / "there" / "mine.toml", 'preset = "toy"\n[data]\nroot = "corpus"\n')
    monkeypatch.chdir(tmp_path)
    assert Experiment.load(path, TOYS).data.root == tmp_path / "there" / "corpus"
    made = Experiment.load(path, TOYS, ["data.root=corpus"])
    assert made.data.root == tmp_path / "corpus"


def test_an_experiment_as_shown_is_the_experiment(tmp_path):
    made = Experiment.load("toy-wider", TOYS, ["train.clip=1"])
    assert Experiment.load(write(tmp_path / "shown.toml", made.to_toml()), TOYS) == made


@pytest.mark.parametrize(
    ("source", "text", "line"),
    [
        ("absent.toml", None, r"no such file: .*absent\.toml$"),
        ("bad.toml", "seed = ", r"cannot read .*bad\.toml: Invalid value \(at end of document\)$"),
        ("bad.toml", "preset = 3", r"expected the name of a preset, got 3 @ \$\.preset$"),
        ("bad.toml", 'preset = "tyo"', r"^unknown preset 'tyo'; did you mean 'toy'\? known: toy, "),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, source, text, line):
    path = tmp_path / source
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=line):
        read(path, TOYS, [])


def test_an_unknown_preset_says_what_is_known():
    with pytest.raises(UnknownComponentError, match=r"unknown preset 'toi'; did you mean 'toy'\?"):
        read("toi", TOYS, [])


# Merging ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "over", "result"),
    [
        ({"name": "a", "x": 1}, {"x": 2}, {"name": "a", "x": 2}),
        ({"name": "a", "x": 1}, {"name": "a", "y": 2}, {"name": "a", "x": 1, "y": 2}),
        ({"name": "a", "x": 1}, {"name": "b", "y": 2}, {"name": "b", "y": 2}),
        ({"name": "a", "x": 1}, "a", {"name": "a", "x": 1}),
        ({"name": "a", "x": 1}, "b", {"name": "b"}),
        ("a", {"y": 2}, {"name": "a", "y": 2}),
        ("a", {"name": "b", "y": 2}, {"name": "b", "y": 2}),
        ("a", "b", "b"),
        ([1, 2], [3], [3]),
        ({"x": {"y": 1, "z": 2}}, {"x": {"y": 3}}, {"x": {"y": 3, "z": 2}}),
        (1, {"x": 1}, {"x": 1}),
        ({"x": 1}, 1, 1),
    ],
)
def test_a_slot_keeps_its_settings_under_the_same_name_and_loses_them_under_another(
    below, over, result
):
    assert merge({"slot": below}, {"slot": over}) == {"slot": result}


tables = st.recursive(
    st.integers(0, 3) | st.sampled_from("ab"),
    lambda inner: st.dictionaries(st.sampled_from(["name", "x", "y"]), inner, max_size=3),
)
roots = st.dictionaries(st.sampled_from(["x", "y", "z"]), tables, max_size=3)


@given(base=roots, data=roots)
def test_merging_twice_is_merging_once_and_changes_neither_side(base, data):
    before = copy.deepcopy((base, data))
    once = merge(base, data)
    assert merge(once, data) == once
    assert merge(base, {}) == base
    assert merge({}, data) == data
    assert (base, data) == before


# Overrides --------------------------------------------------------------------------------------


def get(data, path):
    for key in path:
        data = data[key]
    return data


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("train.steps=20", ("train", "steps"), 20),
        ("train.steps = 20", ("train", "steps"), 20),
        ("train.clip=1e-3", ("train", "clip"), 1e-3),
        ("train.clip=.5", ("train", "clip"), 0.5),
        ("train.clip=-.5e1", ("train", "clip"), -5.0),
        ("data.root=/a=b", ("data", "root"), "/a=b"),
        ("data.root='7'", ("data", "root"), "7"),
        ("data.root=2020-01-01", ("data", "root"), "2020-01-01"),
        ("data.root=", ("data", "root"), ""),
        ("data.flag=true", ("data", "flag"), True),
        ("data.flag=True", ("data", "flag"), "True"),
        ("new.table.key=[1, 2]", ("new", "table", "key"), [1, 2]),
        ("model.encoder.hidden=128", ("model", "encoder"),
         {"name": "gru", "hidden": 128, "layers": 2}),
        ("model.encoder=gru", ("model", "encoder"), {"name": "gru", "hidden": 16, "layers": 2}),
        ("model.encoder=cnn", ("model", "encoder"), {"name": "cnn"}),
        ("model.encoder.name=cnn", ("model", "encoder"), {"name": "cnn"}),
        ('model.encoder={name="cnn", kernel=3}', ("model", "encoder"),
         {"name": "cnn", "kernel": 3}),
        ("train.optimizer.lr=0.1", ("train", "optimizer"), {"name": "adam", "lr": 0.1}),
        ("regularizers.first.weight=.5", ("regularizers", 0, "weight"), 0.5),
        ("regularizers.1.weight=0.5", ("regularizers", 1, "weight"), 0.5),
        ('regularizers+={name="penalty", label="third"}', ("regularizers", 2),
         {"name": "penalty", "label": "third"}),
        ("regularizers=[]", ("regularizers",), []),
        ("tasks+=rates", ("tasks",), ["count", "rates"]),
        ("tasks.count.label=mine", ("tasks", 0), {"name": "count", "label": "mine"}),
        ("plugins.require += seqvae-acme", ("plugins", "require"), ["seqvae-acme"]),
    ],
)  # fmt: skip
def test_an_override_sets_one_value(text, path, value):
    assert get(override(toy(), [text]), path) == value


def test_overrides_apply_in_order():
    made = override(toy(), ["model.encoder=cnn", "model.encoder.kernel=3", "seed=1", "seed=2"])
    assert made["model"]["encoder"] == {"name": "cnn", "kernel": 3}
    assert made["seed"] == 2


def test_an_entry_of_a_list_of_numbers_is_set_by_its_place():
    assert override({"widths": [1, 2]}, ["widths.1=5"]) == {"widths": [1, 5]}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("steps", "expected KEY=VALUE, got 'steps'"),
        ("=3", "expected KEY=VALUE, got '=3'"),
        ("a..b=3", "expected KEY=VALUE, got 'a..b=3'"),
        ("train.steps.x=3", "cannot set 'train.steps.x': 10 has no key 'x'"),
        ("train.steps+=3", "'train.steps' is 10: nothing can be appended"),
        ("regularizers.frist.weight=1", "no entry 'frist' for 'regularizers.frist.weight'; "
         "did you mean 'first'? known: first, second"),
        ("regularizers.2.weight=1", "no entry '2' for 'regularizers.2.weight'; "
         "known: first, second"),
    ],
)  # fmt: skip
def test_an_override_that_cannot_be_read_is_one_line(text, line):
    with pytest.raises(ConfigError) as caught:
        override(toy(), [text])
    assert str(caught.value) == line


def test_all_bad_overrides_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        read("toy", TOYS, ["steps", "train.steps=3", "=3"])
    assert str(caught.value).splitlines() == [
        "expected KEY=VALUE, got 'steps'",
        "expected KEY=VALUE, got '=3'",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("modle.encoder.hidden=1", "unknown key 'modle'; did you mean 'model'? known: data, model, "
         "plugins, regularizers, seed, tasks, train @ $"),
        ("train.step=1", "unknown key 'step'; did you mean 'steps'? known: "),
        ("train.steps=1.5", "expected int, got 1.5 @ $.train.steps"),
    ],
)  # fmt: skip
def test_an_override_of_an_unknown_key_is_told_with_its_path(text, line):
    with pytest.raises(ConfigError) as caught:
        Experiment.load("toy", TOYS, [text])
    assert str(caught.value).startswith(line)


@given(
    value=st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.booleans()
    | st.text(st.characters(codec="utf-8"), max_size=8) | st.lists(st.integers(0, 9), max_size=3)
)  # fmt: skip
def test_any_toml_value_can_be_set(value):
    text = tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")
    assert override({}, [f"a.b={text}"]) == {"a": {"b": tomllib.loads(f"x = {text}")["x"]}}
    assert override({}, [f"a.b={text}"])["a"]["b"] == value


def test_paths_of_the_data_are_relative_to_the_file_nested_ones_too(tmp_path, plugins):
    source = tmp_path / "my.toml"
    source.write_text(
        'preset = "fsdd"\n[data]\nroot = "corpus"\ncache = { folder = "kept" }\nfeatures = "mfcc"\n'
    )
    data = read(source, plugins, [])["data"]
    assert (data["root"], data["cache"]["folder"]) == (f"{tmp_path}/corpus", f"{tmp_path}/kept")
    assert data["features"] == "mfcc"
