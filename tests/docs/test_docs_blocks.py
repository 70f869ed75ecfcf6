"""What the documentation tells to type works: Python runs, commands parse, experiments load."""

import runpy
import shlex
import sys
import tomllib
from itertools import pairwise

import click
import pages
import pytest
import tiny
import torch

from seqvae_core import Experiment, Plugins
from seqvae_core.cli import cli
from seqvae_core.config import structure_component
from seqvae_core.runs import train

HOOKS = pages.DOCS / "plugins" / "hooks.md"  # has tests of its own
ONE_FILE = pages.DOCS / "plugins" / "examples" / "one_file.py"


def plain(page):
    """Return a page's blocks that are scripts: neither plugins nor tests of plugins."""
    found = pages.blocks("python", page)
    return [b for b in found if "hookimpl" not in b.text and "def test_" not in b.text]


def by_name(block):
    return block.name


SCRIPTS = [page for page in pages.pages() if page != HOOKS and plain(page)]
MODULES = [
    block for block in pages.blocks("python") if "@hookimpl" in block.text and block.page != HOOKS
]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Work in an empty folder, with torch's generator put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with torch.random.fork_rng():
        yield tmp_path


@pytest.mark.parametrize("page", SCRIPTS, ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_the_python_blocks_of_a_page_run_one_after_another(page, workplace):
    script = workplace / "page.py"
    text = ""
    for block in plain(page):
        text += "\n" * (block.line - text.count("\n") - 1) + block.text
    script.write_text(text)

    runpy.run_path(str(script), run_name=page.stem)


@pytest.mark.parametrize("block", MODULES, ids=by_name)
def test_every_block_with_a_hook_is_a_plugin_of_one_file(block, workplace):
    file = workplace / f"block_{block.page.stem}_{block.line}.py"
    file.write_text(block.text)

    plugin = Plugins.load([str(file)], strict=True).all[-1]

    assert any(plugin.provides.values())


@pytest.mark.parametrize("block", pages.blocks("toml"), ids=by_name)
def test_every_toml_block_parses_and_every_experiment_loads(block, workplace, plugins):
    data = tomllib.loads(block.text)

    if "preset" in data:
        (workplace / "experiment.toml").write_text(block.text)
        Experiment.load(workplace / "experiment.toml", plugins)
    elif "name" in data.get("data", {}):
        structure_component("dataset", data["data"], plugins)


def commands():
    return [
        pytest.param(line.removeprefix("$ "), id=f"{block.name} {line[2:40]}")
        for block in pages.blocks("console")
        for line in block.text.splitlines()
        if line.startswith("$ ")
    ]


@pytest.mark.parametrize("line", commands())
def test_every_command_has_the_options_that_it_is_given(line):
    words = shlex.split(line.split(" > ")[0])
    if words[0] == "torchrun":
        words = ["seqvae", *words[words.index("seqvae_core") + 1 :]]
    if words[0] == "make":
        targets = (pages.ROOT / "Makefile").read_text()
        assert all(f"\n{target}:" in targets for target in words[1:])
    elif words[0] == "seqvae" and words[1] != "--version":
        context = click.Context(cli)
        command = cli.get_command(context, words[1])
        assert command.make_context(words[1], words[2:], parent=context)
    else:
        assert words[0] in {"seqvae", "pip", "pytest", "source", "python"}


def test_the_overrides_in_the_documentation_are_understood(plugins):
    """All `seqvae train PRESET --set ...` lines that need no plugin of the reader's."""
    lines = [
        shlex.split(parameter.values[0])[2:]
        for parameter in commands()
        if parameter.values[0].startswith("seqvae train ") and " --set " in parameter.values[0]
    ]
    tried = 0
    for source, *options in lines:
        if "-p" not in options and "acme" not in str(options):
            texts = [text for flag, text in pairwise(options) if flag == "--set"]
            Experiment.load(source, plugins, texts)
            tried += 1
    assert tried > 5


def test_the_readmes_table_of_contents_names_every_page():
    text = (pages.ROOT / "README.md").read_text()
    for page in pages.DOCS.rglob("*.md"):
        inside = page.relative_to(pages.ROOT)
        if not {"template", "results"} & set(inside.parts):
            assert f"({inside})" in text, inside


def test_the_one_file_example_trains(tmp_path):
    tiny.write_experiment(tmp_path, steps=2)

    tiny.run(
        "train", "toy.toml", "-p", ONE_FILE, "--set", "model.backbone=my-deltas",
        "--set", "tasks=[]", "--out", "run", cwd=tmp_path,
    )  # fmt: skip

    assert tiny.steps_of(tmp_path / "run") == [1, 2]


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_the_precisions_in_the_documentation_train(precision, workplace, plugins):
    page = (pages.DOCS / "how-to" / "devices-and-precision.md").read_text()
    assert f"--precision {precision}" in page
    experiment = Experiment.load(tiny.write_experiment(workplace, steps=2), plugins)

    run = train(
        experiment, workplace / "run", plugins=plugins, precision=precision, accelerator="cpu"
    )

    assert tiny.steps_of(run.path) == [1, 2]
