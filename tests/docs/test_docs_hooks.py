"""Every hook is documented with exactly its arguments, and its example works."""

import inspect
import json
import sys

import pages
import pytest
import tiny

from seqvae_core import hookspecs
from seqvae_core.components import KINDS
from seqvae_core.plugins import Plugins

PAGE = pages.DOCS / "plugins" / "hooks.md"
SPECS = {
    name: spec
    for name, spec in vars(hookspecs).items()
    if inspect.isfunction(spec) and hasattr(spec, "seqvae_spec")
}
EXAMPLES = {block.name: block for block in pages.blocks("python", PAGE)}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes a block to a file of its own, to be loaded by `-p`."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(block):
        path = tmp_path / f"acme_{block.line}.py"
        path.write_text(block.text)
        return str(path)

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("acme_"):
            del sys.modules[name]


def example(hook):
    (block,) = [block for block in EXAMPLES.values() if f"def {hook}(" in block.text]
    return block


def test_every_hook_is_a_heading_with_exactly_its_arguments_and_nothing_else_is():
    wanted = {f"{name}({', '.join(inspect.signature(s).parameters)})" for name, s in SPECS.items()}

    assert set(pages.sections(PAGE, 3)) == wanted


@pytest.mark.parametrize("hook", SPECS)
def test_every_hooks_example_stands_under_its_heading_and_is_a_plugin(hook, module):
    signature = f"{hook}({', '.join(inspect.signature(SPECS[hook]).parameters)})"
    assert example(hook).text in pages.sections(PAGE, 3)[signature]

    plugin = Plugins.load([module(example(hook))], strict=True).all[-1]

    assert plugin.provides or "run" in signature


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dataset"])
def test_every_example_of_a_component_keeps_its_kinds_contract(kind, module):
    from seqvae_core.testing import check_component

    plugin = Plugins.load([module(example(f"seqvae_{kind}s"))], strict=True).all[-1]

    (config,) = plugin.provides[kind]
    check_component(config())


def test_the_examples_train_together(module, tmp_path):
    """All examples in one run, the data set and the observers among them."""
    modules = [part for hook in SPECS for part in ("-p", module(example(hook)))]
    parts = {
        "seed": 1,
        "data": "acme-sines",
        "model.backbone": "acme-linear",
        "model.encoder": "acme-linear",
        "model.decoder": "acme-additive",
        "model.likelihood": "acme-laplace",
        "model.latents.s.prior": "acme-trained-normal",
        "regularizers": ["acme-slow"],
        "tasks": ["acme-spread", {"name": "mutual-information", "estimator": "acme-gaussian"}],
        "train.steps": 5,
    }
    options = []
    for key, value in parts.items():
        text = "[" + ", ".join(map(_inline, value)) + "]" if key == "tasks" else json.dumps(value)
        options += ["--set", f"{key}={text}"]
    run = tmp_path / "run"

    tiny.run("train", "acme-vowels", *modules, *options, "--out", run)

    metrics = json.loads((run / "evaluation.json").read_text())
    assert metrics.keys() == {"acme-spread", "mutual-information"}
    assert (run / "elbo.csv").read_text().count("\n") == 5
    assert (run / "evaluation.tsv").read_text().startswith("acme-spread\tvariance")
    assert (run / "state.txt").read_text() == "done"


def _inline(value):
    if isinstance(value, str):
        return json.dumps(value)
    return "{" + ", ".join(f"{key} = {json.dumps(item)}" for key, item in value.items()) + "}"
