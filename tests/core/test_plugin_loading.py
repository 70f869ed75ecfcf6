"""Plugins are found through real metadata on the path: the folders of tests/data/site."""

import importlib
import os
import shutil
import sys
from itertools import combinations
from pathlib import Path

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core.components import KINDS
from seqvae_core.config import structure_component
from seqvae_core.errors import ConfigError, DuplicateComponentError, PluginError
from seqvae_core.hookspecs import hookimpl
from seqvae_core.plugins import Plugins

SITE = Path(__file__).resolve().parent.parent / "data" / "site"

FAULTS = {
    "broken": "No module named 'no_such_library'",
    "quitter": "SystemExit(3)",
    "typo": "unknown hook 'seqvae_encodrs' in plugin",
    "unmarked": "function 'seqvae_encoders' is not marked with @hookimpl",
    "arguments": "Argument(s) {'metric'} are declared in the hookimpl but can not be found",
    "defaults": "'seqvae_after_step' must take plain arguments without defaults, got 'metrics=N",
    "wrapper": "hook 'seqvae_encoders' must not be a wrapper",
    "raising": "cannot read the settings",
    "nonclass": "seqvae_encoders returned 'gru', expected a subclass of EncoderConfig",
    "unnamed": "seqvae_encoders returned the name 'WideGRU', expected kebab-case",
    "unbuilt": "Half from seqvae_encoders does not define build()",
    "newer": "it needs seqvae>=99, and seqvae ",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Undo what loading leaves in the interpreter, and start without the user's variables."""
    for name in ("SEQVAE_DISABLE_PLUGINS", "SEQVAE_STRICT_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [*(path.stem for path in SITE.glob("*.py")), "my_parts", "borrower", "here_parts"]:
        sys.modules.pop(name, None)


@pytest.fixture
def site(tmp_path_factory, monkeypatch):
    """Return a function that installs the named fake distributions into a new folder."""

    def install(*names, builtins=False):
        folder = tmp_path_factory.mktemp("site")
        for name in names:
            shutil.copy(SITE / f"seqvae_{name}.py", folder)
            (metadata,) = SITE.glob(f"seqvae_{name}-*.dist-info")
            shutil.copytree(metadata, folder / metadata.name)
        monkeypatch.syspath_prepend(folder)
        if not builtins:
            monkeypatch.setenv("SEQVAE_DISABLE_PLUGINS", "seqvae")
        return folder

    return install


def names(plugins):
    return [plugin.name for plugin in plugins.all]


def registered(plugins):
    """Return the names of all that pluggy holds, whole or in part."""
    return {name for name, module in plugins._manager.list_name_plugin() if module is not None} | {
        implementation.plugin_name
        for hook in vars(plugins._manager.hook).values()
        if isinstance(hook, pluggy.HookCaller)
        for implementation in hook.get_hookimpls()
    }


def test_the_tests_run_under_the_pluggy_that_was_asked_for():
    assert pluggy.__version__ == os.environ.get("EXPECTED_PLUGGY", pluggy.__version__)


# Found and recorded -----------------------------------------------------------------------------


def test_a_plugin_is_recorded_with_its_distribution_version_and_components(site):
    site("toy")
    (plugin,) = Plugins.load().all
    assert plugin.origin == "toy (seqvae-toy 1.2)"
    assert plugin.describe() == {
        "name": "toy",
        "distribution": "seqvae-toy",
        "version": "1.2",
        "source": "entry point",
        "status": "loaded",
        "error": None,
        "provides": {"encoder": ["gru"], "preset": ["toy-preset"]},
    }


def test_the_built_ins_come_in_by_the_same_entry_points(site):
    site(builtins=True)
    plugins = Plugins.load(strict=True)
    assert {plugin.distribution for plugin in plugins.all} == {"seqvae"}
    assert names(plugins) == sorted(names(plugins))


def test_the_provider_of_a_component_is_known(site):
    site("toy")
    assert Plugins.load().provider("encoder", "gru").distribution == "seqvae-toy"


def test_metadata_that_lie_on_the_path_twice_count_once(site):
    first, second = site("toy"), site("toy")
    stale = second / "seqvae-toy-1.2.dist-info"
    (second / "seqvae_toy-1.2.dist-info").rename(stale)
    assert {str(first), str(second)} <= set(sys.path)
    assert names(Plugins.load(strict=True)) == ["toy"]


def test_a_requirement_of_an_extra_or_of_another_project_is_not_ours_to_judge(site):
    folder = site("toy")
    text = (folder / "seqvae_toy-1.2.dist-info" / "METADATA").read_text()
    assert "seqvae>=99; extra" in text
    assert "numpy>=99" in text
    assert names(Plugins.load(strict=True)) == ["toy"]


# Left out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULTS)
def test_a_failing_plugin_is_left_out_with_its_reason_and_nothing_of_it_stays(site, name):
    site(name, "toy")
    plugins = Plugins.load()
    (failure,) = plugins.failures
    assert failure.failure.startswith(f"plugin {name} (seqvae-{name} ")
    assert FAULTS[name] in failure.failure
    assert "\n" not in failure.failure
    assert failure.exception is not None
    assert failure.describe()["status"] == "left out"
    assert registered(plugins) == {"toy"}


def test_a_broken_plugin_is_told_in_one_exact_line(site):
    site("broken")
    (failure,) = Plugins.load().failures
    assert (
        failure.failure
        == "plugin broken (seqvae-broken 1.0) left out: No module named 'no_such_library'"
    )


@pytest.mark.parametrize("name", FAULTS)
def test_components_with_a_failing_plugin_are_the_components_without_it(site, name):
    site("toy", builtins=True)
    without = Plugins.load()
    site(name, builtins=True)
    plugins = Plugins.load()
    assert name in {plugin.name for plugin in plugins.failures}
    for kind in [*KINDS, "preset", "study"]:
        assert plugins.components(kind) == without.components(kind)


def test_every_plugin_may_fail_and_the_rest_can_still_be_described(site):
    site(*FAULTS)
    described = [plugin.describe() for plugin in Plugins.load().all]
    assert [each["status"] for each in described] == ["left out"] * len(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("how", ["argument", "variable"])
def test_strict_loading_raises_at_the_first_failure(site, monkeypatch, name, how):
    site(name)
    if how == "variable":
        monkeypatch.setenv("SEQVAE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError) as caught:
        Plugins.load(strict=how == "argument")
    assert FAULTS[name] in str(caught.value)
    assert caught.value.__cause__ is not None


def test_an_unknown_name_says_what_is_close_known_and_left_out(site):
    site("toy", "broken", "typo")
    with pytest.raises(ConfigError) as caught:
        structure_component("encoder", {"name": "gruu"}, Plugins.load())
    assert str(caught.value) == (
        "unknown encoder 'gruu'; did you mean 'gru'? known: gru; left out: broken, typo @ $"
    )


# Disabled ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["broken", "seqvae-broken", "Seqvae_Broken"])
def test_a_plugin_can_be_disabled_by_its_own_name_or_its_distributions(site, monkeypatch, name):
    site("toy", "broken")
    monkeypatch.setenv("SEQVAE_DISABLE_PLUGINS", f"seqvae, {name}")
    assert names(Plugins.load(strict=True)) == ["toy"]


# Clashes ----------------------------------------------------------------------------------------


def test_one_name_from_two_plugins_is_an_error_that_names_both(site):
    site("toy", "other")
    plugins = Plugins.load(strict=True)
    text = "encoder 'gru' is provided by both 'other' and 'toy'; disable one with SEQVAE_DISABLE"
    for ask in (
        lambda: plugins.get("encoder", "gru"),
        lambda: plugins.components("encoder"),
        lambda: plugins.provider("encoder", "gru"),
        lambda: structure_component("encoder", "gru", plugins),
    ):
        with pytest.raises((DuplicateComponentError, ConfigError), match=text):
            ask()


def test_disabling_one_of_two_rivals_mends_a_clash(site, monkeypatch):
    site("toy", "other")
    monkeypatch.setenv("SEQVAE_DISABLE_PLUGINS", "seqvae other")
    assert Plugins.load().provider("encoder", "gru").name == "toy"


def test_one_entry_point_from_two_distributions_leaves_both_out_and_names_them(site):
    site("twin_a", "twin_b")
    failures = Plugins.load().failures
    assert [plugin.distribution for plugin in failures] == ["seqvae-twin-a", "seqvae-twin-b"]
    assert {plugin.error for plugin in failures} == {
        "entry point 'twin' is provided by both 'seqvae-twin-a' and 'seqvae-twin-b'; "
        "disable one with SEQVAE_DISABLE_PLUGINS"
    }


def test_disabling_one_distribution_mends_the_clash_of_entry_points(site, monkeypatch):
    site("twin_a", "twin_b")
    monkeypatch.setenv("SEQVAE_DISABLE_PLUGINS", "seqvae,seqvae-twin-a")
    (plugin,) = Plugins.load(strict=True).all
    assert plugin.origin == "twin (seqvae-twin-b 2.0)"


def test_one_object_from_two_plugins_is_no_conflict(site, tmp_path):
    site("toy")
    (tmp_path / "borrower.py").write_text(
        "from seqvae_toy import GRU\n"
        "from seqvae_core.hookspecs import hookimpl\n"
        "@hookimpl\n"
        "def seqvae_encoders():\n"
        "    return [GRU]\n"
    )
    plugins = Plugins.load([str(tmp_path / "borrower.py")], strict=True)
    assert plugins.get("encoder", "gru").__module__ == "seqvae_toy"


def test_equal_presets_from_two_plugins_are_no_conflict(site):
    site("toy")
    plugins = Plugins.load(strict=True)
    plugins.register(MODULES["toy"], "other-toy")
    assert MODULES["toy"].seqvae_presets() is not MODULES["toy"].seqvae_presets()
    assert plugins.get("preset", "toy-preset") == MODULES["toy"].seqvae_presets()[0]


def test_one_module_by_entry_point_and_by_name_is_no_conflict_and_watches_once(site):
    site("toy")
    plugins = Plugins.load(["seqvae_toy"], strict=True)
    assert names(plugins) == ["toy", "seqvae_toy"]
    assert list(plugins.components("encoder")) == ["gru"]
    plugins.after_step(None, {"loss": 1.0})
    assert sys.modules["seqvae_toy"].SEEN == [{"loss": 1.0}]


def test_one_name_twice_within_a_plugin_is_refused(site):
    site("toy")
    toy = Plugins.load().get("encoder", "gru")

    class Twice:
        __name__ = "twice"

        @staticmethod
        @hookimpl
        def seqvae_encoders():
            return [toy, type("Other", (toy,), {})]

    with pytest.raises(DuplicateComponentError, match="seqvae_encoders returned 'gru' twice"):
        Plugins().register(Twice())


def test_a_second_plugin_of_one_name_is_refused_and_the_first_stays(site):
    site("toy", "other")
    for name in ("toy", "other"):
        importlib.import_module(f"seqvae_{name}")
    plugins = Plugins()
    plugins.register(sys.modules["seqvae_toy"], "same")
    with pytest.raises(DuplicateComponentError, match="plugin same has the same name"):
        plugins.register(sys.modules["seqvae_other"], "same")
    assert plugins.get("encoder", "gru").__module__ == "seqvae_toy"
    assert registered(plugins) == {"same"}


@given(order=st.permutations(["toy", "other", "observer", "borrower"]))
def test_the_order_of_registration_changes_nothing(order):
    plugins = Plugins()
    for name in order:
        plugins.register(MODULES[name], name)
    assert [plugin.name for plugin in plugins.loaded] == sorted(order)
    assert plugins.components("preset") == {"toy-preset": MODULES["toy"].seqvae_presets()[0]}
    with pytest.raises(DuplicateComponentError, match="both 'borrower' and 'other' and 'toy'"):
        plugins.get("encoder", "gru")


def _module(name):
    spec = importlib.util.spec_from_file_location(f"order_{name}", SITE / f"seqvae_{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = {name: _module(name) for name in ("toy", "other", "observer")}
MODULES["borrower"] = _module("other")


@pytest.mark.parametrize("pair", list(combinations(["toy", "other", "borrower"], 2)))
def test_two_providers_of_one_name_always_raise(pair):
    plugins = Plugins()
    for name in pair:
        plugins.register(MODULES[name], name)
    with pytest.raises(DuplicateComponentError):
        plugins.get("encoder", "gru")


# Single modules ---------------------------------------------------------------------------------


def test_a_single_file_is_a_plugin_without_packaging(tmp_path, site):
    site()
    shutil.copy(SITE / "seqvae_toy.py", tmp_path / "my_parts.py")
    plugins = Plugins.load([str(tmp_path / "my_parts.py")])
    (plugin,) = plugins.all
    assert (plugin.name, plugin.distribution, plugin.version) == ("my_parts", None, None)
    assert plugin.source == f"-p {tmp_path / 'my_parts.py'}"
    assert list(plugins.components("encoder")) == ["gru"]


def test_a_single_module_is_found_in_the_working_directory(tmp_path, site, monkeypatch):
    site()
    shutil.copy(SITE / "seqvae_toy.py", tmp_path / "here_parts.py")
    monkeypatch.chdir(tmp_path)
    assert names(Plugins.load(["here_parts"])) == ["here_parts"]


def test_a_file_of_a_name_that_is_taken_is_refused(tmp_path, site):
    site()
    (tmp_path / "json.py").write_text("")
    with pytest.raises(PluginError, match=r"the name 'json' belongs to .*; rename"):
        Plugins.load([str(tmp_path / "json.py")])


@pytest.mark.parametrize(
    ("text", "reason"),
    [("absent.py", "no such file: "), ("absent_module", "No module named 'absent_module'")],
)
def test_a_single_module_that_fails_is_an_error_even_when_not_strict(site, text, reason):
    site()
    with pytest.raises(PluginError, match=f"plugin {text.removesuffix('.py')} left out: {reason}"):
        Plugins.load([text])


def test_registering_what_breaks_the_contract_raises_and_leaves_nothing(site):
    site("typo")
    plugins = Plugins()
    with pytest.raises(PluginError, match="seqvae_encodrs"):
        plugins.register(importlib.import_module("seqvae_typo"))
    assert registered(plugins) == set()
    assert plugins.all == []


# Requirements of an experiment ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("seqvae-toy", None),
        ("Seqvae_Toy>=1.2,<2", None),
        ("seqvae-toy>=1.3", "plugin 'seqvae-toy>=1.3' is required, 1.2 is loaded"),
        ("seqvae-acme>=0.3", "plugin 'seqvae-acme>=0.3' is required but not loaded"),
        ("seqvae-broken", "plugin 'seqvae-broken' is required but not loaded"),
        ("seqvae acme", "expected a requirement such as 'seqvae-acme>=0.3', got 'seqvae acme'"),
    ],
)
def test_an_experiment_may_require_plugins(site, text, fault):
    site("toy", "broken")
    plugins = Plugins.load()
    if fault is None:
        plugins.require([text])
        return
    with pytest.raises(ConfigError) as caught:
        plugins.require(["seqvae-toy", text])
    assert str(caught.value) == f"{fault} @ $.plugins.require"


# Observers --------------------------------------------------------------------------------------


def test_an_observer_may_take_fewer_arguments_than_its_hook(site):
    site("toy")
    plugins = Plugins.load()
    plugins.after_step("a run", {"loss": 2.0})
    assert sys.modules["seqvae_toy"].SEEN == [{"loss": 2.0}]


def test_every_observer_gets_its_hooks_arguments():
    seen = {}

    class Watcher:
        @hookimpl
        def seqvae_before_run(self, run):
            seen["before_run"] = run

        @hookimpl
        def seqvae_after_step(self, metrics, run):
            seen["after_step"] = run, metrics

        @hookimpl
        def seqvae_after_evaluation(self, run, metrics):
            seen["after_evaluation"] = run, metrics

        @hookimpl
        def seqvae_after_run(self, error):
            seen["after_run"] = error

    plugins = Plugins()
    plugins.register(Watcher(), "watcher")
    plugins.before_run("run")
    plugins.after_step("run", {"loss": 1.0})
    plugins.after_evaluation("run", {"probe": {"accuracy": 0.5}})
    plugins.after_run("run", error := ValueError())
    assert seen == {
        "before_run": "run",
        "after_step": ("run", {"loss": 1.0}),
        "after_evaluation": ("run", {"probe": {"accuracy": 0.5}}),
        "after_run": error,
    }


def test_an_observer_that_fails_is_warned_of_once_and_disturbs_nobody(site):
    site("observer", "toy")
    plugins = Plugins.load()
    with pytest.warns(RuntimeWarning, match="'observer' failed in seqvae_after_step .*disk full"):
        plugins.after_step(None, {"loss": 1.0})
    plugins.after_step(None, {"loss": 2.0})
    assert [line["loss"] for line in sys.modules["seqvae_toy"].SEEN] == [1.0, 2.0]
    plugins.before_run(None)
    plugins.after_evaluation(None, {})
    plugins.after_run(None, None)
    assert sys.modules["seqvae_observer"].CALLS == ["step", "before"]


def test_an_observer_that_fails_ends_a_strict_run(site):
    site("observer")
    plugins = Plugins.load(strict=True)
    with pytest.raises(PluginError, match="plugin 'observer' failed in seqvae_after_step: disk"):
        plugins.after_step(None, {})
