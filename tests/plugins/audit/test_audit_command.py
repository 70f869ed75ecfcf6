"""The command `seqvae audit`, and the data that it is given."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from html_page import Page
from linear import SLOPES, decode, encode, inputs

from seqvae_audit import audit
from seqvae_audit.material import gather, given
from seqvae_core.errors import ConfigError, DataError, PluginError
from seqvae_core.plugins import Plugins
from seqvae_core.records import Splits

LINEAR = Path(__file__).with_name("linear.py")
DIGITS = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "digits_vae.py"
REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "audit.md"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Work in a folder with a model, `linear.py`, and data, `x.npz`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    x = inputs(200).numpy()
    np.savez(tmp_path / "x.npz", x=x, sign=(x[:, 0] > 0).astype(int))
    return tmp_path


def call(*arguments, code=0, model="linear:factory", data="x.npz"):
    return tiny.call("audit", "--model", model, "--data", data, *arguments, code=code)


# End to end -------------------------------------------------------------------------------------


def test_an_audit_prints_its_verdict_and_writes_a_record_and_a_page(workplace):
    done = call("--out", "found", "--task", "rates")
    assert {path.name for path in (workplace / "found").iterdir()} == {"audit.json", "audit.html"}
    record = json.loads((workplace / "found" / "audit.json").read_text())
    assert record["verdict"]["matters"] == [0, 1]
    assert record["data"] == {
        "source": "x.npz", "part": "all", "sequences": 200, "available": 200, "decoded": 200,
        "frame": [4], "frames": None, "seed": 0,
    }  # fmt: skip
    assert "2 of 4 factors matter" in done.stdout
    assert done.stdout.splitlines()[-1] == "audit: found/audit.html"
    assert "encoding 200 sequences" in done.stderr

    page = Page((workplace / "found" / "audit.html").read_text())
    for sentence in record["verdict"]["sentences"]:
        assert sentence in page.text
    assert "script" not in page.tags
    assert all(value.startswith(("data:", "#")) for value in page.values("src", "href"))
    for heading in ("Which factors matter", "What can be left out", "Not applicable"):
        assert heading in page.text


def test_json_is_all_that_json_prints_and_is_what_is_written(workplace):
    done = call("--json", "--task", "none")
    written = (workplace / "runs" / "audit-factory" / "audit.json").read_text()
    assert done.stdout == written
    assert json.loads(done.stdout)["tasks"] == {}


def test_what_a_model_prints_is_not_among_the_results(workplace):
    done = call("--json", "--task", "none", model="linear:talking")
    assert json.loads(done.stdout)["verdict"]["matters"] == [0, 1]
    assert "loading weights" in done.stderr


def test_a_warning_is_told_on_stderr(workplace):
    np.save("far.npy", 300.0 + inputs(100).numpy())
    done = call("--task", "none", data="far.npy")
    assert "warning: decode(encode(x)) is further from x" in done.stderr


def test_a_file_s_model_may_be_named_by_its_path(workplace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(LINEAR, folder / "my_linear_model.py")
    done = call("--json", "--task", "none", model=f"{folder / 'my_linear_model.py'}:pair")
    assert json.loads(done.stdout)["verdict"]["matters"] == [0, 1]


@pytest.mark.parametrize("name", ["factory", "pair", "Linear", "model"])
def test_a_model_may_be_a_factory_a_class_or_itself(workplace, name):
    done = call("--json", "--task", "none", "--decoded", 20, model=f"linear:{name}")
    assert json.loads(done.stdout)["verdict"]["matters"] == [0, 1]


def test_the_settings_of_tasks_and_data_can_be_overridden(workplace):
    done = call(
        "--json", "--set", "tasks=[{name='influence', threshold=1.2}]", "--set", "seed=5",
        "--set", "data.split.test=0.25", "--part", "test",
    )  # fmt: skip
    record = json.loads(done.stdout)
    assert record["tasks"]["influence"]["metrics"]["influential/z"] == 1.0
    assert (record["data"]["sequences"], record["data"]["seed"]) == (50, 5)


def test_the_example_of_the_documentation_finds_what_it_says(workplace):
    shutil.copy(DIGITS, workplace)
    subprocess.run(
        [sys.executable, "digits_vae.py"], check=True, capture_output=True, cwd=workplace,
        env=tiny.environment(),
    )  # fmt: skip
    done = tiny.run(
        "audit", "--model", "digits_vae:factory", "--data", "digits.npz", "--out", "audit",
        cwd=workplace,
    )  # fmt: skip
    record = json.loads((workplace / "audit" / "audit.json").read_text())
    states = {name: task["state"] for name, task in record["tasks"].items()}
    assert "failed" not in states.values(), record["not_applicable"]
    assert states["influence"] == states["jacobian-columns"] == states["probe"] == "done"
    assert record["warnings"] == []
    assert record["data"]["sequences"] == 1797
    assert 5 <= len(record["verdict"]["matters"]) <= 11
    assert record["reconstruction"]["explained"] > 0.7
    assert "warning" not in done.stderr


def keys_of(text):
    """Return the keys in the first column of a page's table."""
    rows = re.findall(r"^\| (`.+?`) \| .*[^-] \|$", text, flags=re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def test_the_record_has_the_keys_that_the_reference_names_and_no_others(workplace):
    top, verdict, factors = re.split(r"^## .+$", REFERENCE.read_text(), flags=re.MULTILINE)
    record = json.loads(call("--json", "--task", "rates").stdout)
    assert record.keys() == keys_of(top)
    assert record["verdict"].keys() == keys_of(verdict)
    for row in record["factors"]:
        assert row.keys() == keys_of(factors)
    for part in ("model", "data", "reconstruction", "aggregate", "saturation"):
        assert all(f"`{key}`" in top for key in record[part]), part
    assert all(f"`{key}`" in top for key in record["tasks"]["rates"])
    assert all(f"`{key}`" in top for key in record["reconstruction"]["top"][0].keys() - {"mse"})


# Errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("linear", "expected a model as pkg.module:factory, got 'linear'"),
        ("no_such_package.models:vae",
         "cannot import 'no_such_package.models' for the model: ModuleNotFoundError: No module"),
        ("linear:factori", "'linear' has no 'factori'; did you mean 'factory'? known: "),
        ("linear:failing", "'linear:failing' failed: RuntimeError: no weights here"),
        ("linear:nothing", "linear:nothing gave int without encode and decode; expected an object"),
        ("nowhere.py:vae", "no such file: "),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_had_is_one_line(workplace, model, line):
    done = call(model=model, code=2)
    assert done.stderr.startswith(line), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--data", "nowhere.npz"], "no such file: nowhere.npz"),
        (["--data", "no-such-preset"], "unknown preset 'no-such-preset'"),
        (["--set", "train.steps=3"], "an audit has no 'train'"),
        (["--set", "data.pathh=3"], "unknown key 'pathh'; did you mean 'path'?"),
        (["--task", "influenz"], "unknown task 'influenz'; did you mean 'influence'?"),
        (["--task", "rates", "--task", "rates"], "task 'rates' is asked for twice; a 'label'"),
        (["--threshold", "nan"], "'threshold' must be >= 0.0: nan"),
        (["--tolerance", "nan"], "'tolerance' must be >= 0.0: nan"),
        (["--out", "x.npz"], "cannot write x.npz: x.npz is a file"),
        (["--out", "x.npz/deep/down"], "cannot write x.npz/deep/down: x.npz is a file"),
        (["--device", "nowhere"], "cannot use device 'nowhere': RuntimeError: "),
        (["--time"], "encode(x) returned a mean of shape (64, 4, 4) and a log variance of"),
    ],
)
def test_what_an_audit_cannot_use_is_one_line_and_writes_nothing(workplace, arguments, line):
    done = call(*arguments, code=2)
    assert done.stderr.startswith(line), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (workplace / "runs").exists()


def test_a_page_that_cannot_be_made_is_said_before_the_work_and_leaves_a_record(
    workplace, monkeypatch
):
    called = []

    def counted(x):
        called.append(len(x))
        return encode(x)

    settings = {"encode": counted, "decode": decode, "data": inputs(50), "tasks": []}
    found = audit(**settings)
    called.clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(PluginError, match="pages need jinja2"):
        audit(**settings, out="found")
    assert called == []
    with pytest.raises(PluginError, match="pages need jinja2"):
        found.write("found")
    assert json.loads((workplace / "found" / "audit.json").read_text()) == found.content


def test_a_page_that_cannot_be_written_leaves_the_old_record(workplace):
    call("--out", "found", "--task", "none")
    before = (workplace / "found" / "audit.json").read_text()
    (workplace / "found" / "audit.html").unlink()
    (workplace / "found" / "audit.html").mkdir()
    done = call("--out", "found", "--task", "none", "--decoded", 10, code=2)
    assert "cannot write found/audit.html" in done.stderr
    assert (workplace / "found" / "audit.json").read_text() == before


# Data -------------------------------------------------------------------------------------------


def test_arrays_that_are_no_labels_of_x_are_said_to_be_left_out(workplace):
    x = inputs(200).numpy()
    np.savez("more.npz", x=x, sign=(x[:, 0] > 0).astype(int), odd=np.zeros((150, 2)))
    done = call("--json", "--task", "none", data="more.npz")
    line = "array 'odd' of more.npz is left out: of shape (150, 2), it has other rows than x"
    assert json.loads(done.stdout)["warnings"] == [line]
    assert f"warning: {line}" in done.stderr
    np.savez("parts.npz", x_train=x, x_test=x[:50], y_train=x[:, 0], y_test=x[:50, 0], z_test=x)
    record = json.loads(call("--json", "--task", "none", data="parts.npz").stdout)
    assert [line.split(" is left out")[0] for line in record["warnings"]] == [
        "array 'z_test' of parts.npz"
    ]


@pytest.fixture(scope="module")
def plugins():
    return Plugins.load()


@pytest.mark.parametrize(
    ("shape", "time", "item"),
    [((30, 5), False, (1, 5)), ((30, 1, 4, 4), False, (1, 1, 4, 4)), ((30, 6, 3), True, (6, 3)),
     ((30, 6, 1, 4, 4), True, (6, 1, 4, 4))],
)  # fmt: skip
def test_an_arrays_axes_say_whether_it_has_time(plugins, tmp_path, shape, time, item):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    for found in (gather(tmp_path / "x.npy", plugins), given(x)):
        assert found.time is time
        assert tuple(_x(found.rows[0]).shape) == item
        assert (len(found.rows), found.part) == (30, "all")
        assert len(found.splits.test) == 15


def test_grey_images_without_channels_can_be_told_from_sequences(plugins, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((30, 8, 8), np.float32))
    found = gather(tmp_path / "x.npy", plugins, time=False)
    assert tuple(_x(found.rows[0]).shape) == (1, 1, 8, 8)


def test_an_array_file_is_taken_as_it_is(plugins, tmp_path):
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(30, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    found = np.sort(np.stack([_x(item)[0] for item in gather(tmp_path / "x.npy", plugins).rows]), 0)
    assert found == pytest.approx(np.sort(x, 0))
    scaled = gather(tmp_path / "x.npy", plugins, overrides=["data.normalise=true"])
    assert abs(np.mean([_x(item).mean() for item in scaled.splits.train])) < 1e-5


def test_an_experiment_lends_its_data_and_nothing_else(plugins, tmp_path):
    source = tiny.write_experiment(tmp_path)
    found = gather(source, plugins)
    assert (found.part, found.seed, found.tasks, found.time) == ("test", 3, None, None)
    assert len(found.rows) == len(found.splits.test)
    assert len(gather(source, plugins, part="all").rows) == 60
    (tmp_path / "data.toml").write_text('[data]\nname = "arrays"\npath = "toy.npz"\n')
    assert gather(tmp_path / "data.toml", plugins).seed == 0
    (tmp_path / "empty.toml").write_text("seed = 2\n")
    with pytest.raises(ConfigError, match=r"has no section \[data\]"):
        gather(tmp_path / "empty.toml", plugins)


def test_a_preset_lends_its_data(plugins):
    found = gather("three-dots", plugins, overrides=["data.count=30", "data.test=8", "seed=4"])
    assert (found.source, found.part, found.seed) == ("three-dots", "test", 4)
    assert tuple(_x(found.rows[0]).shape) == (1, 1, 64, 64)


def test_a_file_that_is_no_array_is_said(plugins, tmp_path):
    (tmp_path / "x.npy").write_text("words")
    with pytest.raises(DataError, match="damaged, or not a NumPy file"):
        gather(tmp_path / "x.npy", plugins)


def test_splits_are_taken_as_they_are():
    items = list(torch.zeros(6, 1, 2))
    splits = Splits(train=items[:2], valid=items[2:3], test=items[3:])
    assert len(given(splits).rows) == 3
    assert len(given(splits, part="all").rows) == 6
    with pytest.raises(IndexError):
        given(splits, part="all").rows[6]


def test_text_labels_become_classes():
    found = given({"x": SLOPES.expand(4, 4), "name": ["b", "a", "b", "c"]})
    assert found.splits.classes == {"name": ("a", "b", "c")}
    assert sorted(int(item["name"]) for item in found.rows) == [0, 1, 1, 2]


def _x(item):
    return np.asarray(item["x"])
