"""Commands of plugins, which are found through real metadata: the folders of tests/data/site."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from seqvae_core.errors import DuplicateComponentError, PluginError
from seqvae_core.plugins import Plugins

SITE = Path(__file__).resolve().parent.parent / "data" / "site"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Undo what loading leaves in the interpreter, and start without the user's variables."""
    for name in ("SEQVAE_DISABLE_PLUGINS", "SEQVAE_STRICT_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for path in SITE.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a function that installs the named fake distributions beside the built-in ones."""

    def install(*names):
        for name in names:
            shutil.copy(SITE / f"seqvae_{name}.py", tmp_path)
            (metadata,) = SITE.glob(f"seqvae_{name}-*.dist-info")
            shutil.copytree(metadata, tmp_path / metadata.name)
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_a_plugins_command_is_one_of_seqvae(site):
    site("commander")
    assert tiny.call("acme-hello", "--name", "you").stdout == "hello you\n"
    assert "Greet somebody." in tiny.call("acme-hello", "--help").stdout
    assert "acme-hello" in tiny.call("--help").stdout


def test_the_help_lists_seqvaes_own_commands_and_the_audit_without_a_word_elsewhere():
    done = tiny.call("--help")
    assert "  audit " in done.stdout
    assert "  train " in done.stdout
    assert done.stderr == ""


def test_what_a_plugin_brings_is_asked_of_seqvae_commands_alone():
    plugins = Plugins.load(only=["command"])
    assert plugins.components("command").keys() == {"audit"}
    assert plugins.components("task") == {}


@pytest.mark.parametrize("asked", ["command", "preset"])
def test_what_is_not_asked_for_is_not_collected(site, asked):
    site("commander", "toy")
    provided = {kind for p in Plugins.load(only=[asked]).loaded for kind in p.provides}
    assert provided == {asked}


def test_a_broken_plugin_is_told_and_breaks_no_command(site):
    site("broken", "commander")
    done = tiny.call("--help")
    assert "acme-hello" in done.stdout
    assert "train" in done.stdout
    assert done.stderr.startswith("plugin broken (seqvae-broken 1.0) left out: No module named")
    assert done.stderr.count("\n") == 1
    assert tiny.call("acme-hello").stdout == "hello world\n"


def test_a_plugin_whose_components_fail_still_has_its_place_in_the_help(site):
    """Its encoders are not asked for."""
    site("raising", "commander")
    assert tiny.call("--help").stderr == ""


def test_a_command_that_two_plugins_bring_is_an_error_that_names_both_and_others_work(site):
    site("commander", "competitor")
    line = (
        "command 'acme-hello' is provided by both 'commander' and 'competitor'; "
        "disable one with SEQVAE_DISABLE_PLUGINS\n"
    )
    assert tiny.call("acme-hello", code=2).stderr == line
    assert tiny.call("acme-bye").stdout == "bye\n"
    done = tiny.call("--help")
    assert done.stderr == line
    assert "acme-hello" not in done.stdout
    assert "acme-bye" in done.stdout


def test_one_of_two_rivals_can_be_disabled(site, monkeypatch):
    site("commander", "competitor")
    monkeypatch.setenv("SEQVAE_DISABLE_PLUGINS", "competitor")
    assert tiny.call("acme-hello").stdout == "hello world\n"


def test_a_plugin_that_takes_a_name_of_seqvaes_own_is_left_out_and_that_is_told(site):
    site("usurper")
    with pytest.raises(DuplicateComponentError, match="command 'train' is one of seqvae's own"):
        Plugins.load(strict=True)
    done = tiny.call("--help")
    assert "Train an experiment" in done.stdout
    assert done.stderr == (
        "plugin usurper (seqvae-usurper 1.0) left out: command 'train' is one of seqvae's own\n"
    )


def test_a_function_is_no_command(site):
    site("uncommand")
    with pytest.raises(PluginError, match=r"seqvae_commands returned .*, expected a Command"):
        Plugins.load(strict=True)


def test_an_unknown_command_is_one_line_and_names_what_was_left_out(site):
    site("broken")
    lines = tiny.call("acme-hullo", code=2).stderr.splitlines()
    assert lines[0].startswith("plugin broken (seqvae-broken 1.0) left out")
    assert lines[1].startswith("No such command 'acme-hullo'.")


def test_seqvaes_own_commands_are_found_without_a_look_at_plugins():
    code = (
        "import sys; sys.argv = ['seqvae', 'train', '--help']\n"
        "from seqvae_core.cli import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert 'pluggy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_help_of_a_plugins_command_imports_no_torch():
    code = (
        "import sys; sys.argv = ['seqvae', 'audit', '--help']\n"
        "from seqvae_core.cli import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'seqvae_audit.auditing'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pkg.module:factory" in done.stdout
