"""The rules of the repository itself: its hooks, its sizes, its layers, its imports."""

import ast
import inspect
import io
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from seqvae_core import hookspecs
from seqvae_core.components import KINDS
from seqvae_core.plugins import Plugins

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "seqvae_core").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
HOOKS = [name for name in vars(hookspecs) if name.startswith("seqvae_")]
BUILT_IN = Plugins.load(strict=True)


def relative(path):
    return str(path.relative_to(ROOT))


# Hooks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_user_among_the_built_ins(hook):
    assert getattr(BUILT_IN._manager.hook, hook).get_hookimpls()


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_named_in_a_test(hook):
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    assert any(hook in path.read_text(encoding="utf-8") for path in files)


def test_there_is_a_hook_for_each_kind_and_a_method_for_each_observer():
    observers = {"before_run", "after_step", "after_evaluation", "after_run"}
    kinds = {f"{kind}s" for kind in [*KINDS, "preset", "command"]} | {"studies"}
    assert {hook.removeprefix("seqvae_") for hook in HOOKS} == kinds | observers
    for name in observers:
        spec = inspect.signature(getattr(hookspecs, f"seqvae_{name}"))
        method = inspect.signature(getattr(Plugins, name))
        assert list(method.parameters) == ["self", *spec.parameters]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_described(hook):
    assert inspect.getdoc(getattr(hookspecs, hook))


# Sizes ------------------------------------------------------------------------------------------


def lines_of_code(path):
    """Count the lines that hold more than blanks, comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    documented = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    blank = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    }  # fmt: skip
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in blank:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - documented)


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=relative)
def test_no_file_is_above_250_lines_of_code(path):
    assert lines_of_code(path) <= 250


@pytest.mark.parametrize(
    "path", [path for path in PLUGINS if path.name == "__init__.py"], ids=relative
)
def test_a_plugins_init_holds_its_hooks_and_no_more(path):
    assert lines_of_code(path) <= 40


# Imports ----------------------------------------------------------------------------------------


def test_imports_keep_to_the_layers():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as main; main()",
            "--no-cache",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import seqvae_core", {"torch", "numpy", "attrs", "pluggy", "cattrs"}),
        ("import seqvae_core.cli", {"torch", "numpy", "lightning_fabric", "sklearn"}),
        (
            "from seqvae_core.plugins import Plugins; Plugins.load(strict=True)",
            {"lightning_fabric", "sklearn", "matplotlib", "tensorboard", "aeon", "soundfile",
             "scipy", "pandas", "rich", "jinja2", "torch.utils.tensorboard", "hypothesis"},
        ),
        (
            "from seqvae_core.plugins import Plugins; Plugins.load(only=['command'], strict=True)",
            {"torch", "numpy", "lightning_fabric", "sklearn", "scipy", "rich", "jinja2"},
        ),
        ("import seqvae_core.model, seqvae_core.objective", {"lightning_fabric", "sklearn"}),
    ],
)  # fmt: skip
def test_importing_stays_cheap(statement, absent):
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert absent & set(done.stdout.split()) == set()


@pytest.mark.parametrize("path", [*CORE, *PLUGINS], ids=relative)
def test_no_module_registers_anything_or_switches_torch_at_import(path):
    """Calls at module level make constants; none stands alone for its effect."""
    alone = [
        node.lineno
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert path.name == "__main__.py" or alone == []


def test_the_names_that_plugins_cannot_take_are_those_of_the_command_line():
    from seqvae_core.cli import cli

    assert set(cli.commands) == hookspecs.COMMANDS


def test_every_public_name_can_be_imported_from_the_package():
    import seqvae_core

    assert dir(seqvae_core) == seqvae_core.__all__
    for name in seqvae_core.__all__:
        assert getattr(seqvae_core, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = seqvae_core.nothing


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_the_core_names_no_plugin_package(path):
    packages = "|".join(each.name for each in (ROOT / "plugins").iterdir() if each.is_dir())
    named = set(re.findall(rf"\b({packages})\b", path.read_text(encoding="utf-8")))
    assert named <= set(HOOKS)


def test_no_test_is_named_by_packed_bytes_which_hold_the_time(request):
    """Workers that name a test differently refuse to run any."""
    names = [item.nodeid for item in request.session.items]
    assert not [name for name in names if "\\x1f\\x8b" in name]
