"""The reference pages say what the settings classes say."""

import importlib.util
import json
import re
from pathlib import Path

import attrs
import pages
import pytest

from seqvae_core import components, errors, experiment, settings
from seqvae_core.config import plain

PAGE = pages.DOCS / "reference" / "experiment.md"
CLASSES = [
    experiment.Experiment, experiment.PluginsConfig, experiment.ModelConfig,
    experiment.LatentConfig, experiment.KLConfig, experiment.TrainConfig,
    components.RegularizerConfig, components.TaskConfig, settings.Schedule,
    settings.OptimizerConfig, settings.CategoricalConfig, settings.Temperature,
]  # fmt: skip


def rows(found):
    """Return the default column by key, of the section that names a class."""
    (text,) = [t for t in pages.sections(PAGE, 2).values() if f"Class `{found.__name__}`" in t]
    table = re.findall(r"^\| `(\w+)` \| .+? \| (.+?) \| ", text, flags=re.MULTILINE)
    return dict(table)


def written(default):
    """Return a default as the page shows it; a table that is all defaults is {}."""
    if default is attrs.NOTHING or default is None:
        return "none" if default is None else "required"
    if isinstance(default, attrs.Factory):
        default = default.factory()
    value = plain(default)
    return f"`{json.dumps({} if isinstance(value, dict) else value)}`"


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_every_key_is_in_the_reference_with_its_default(found):
    assert rows(found) == {field.alias: written(field.default) for field in attrs.fields(found)}


def test_every_settings_class_of_the_core_is_in_the_reference():
    found = {
        value
        for module in (experiment, settings)
        for value in vars(module).values()
        if isinstance(value, type) and attrs.has(value) and value.__module__ == module.__name__
    }
    assert found <= set(CLASSES)


def test_every_error_is_in_the_reference():
    text = (pages.DOCS / "reference" / "errors.md").read_text()

    assert all(f"| `{name}` |" in text for name in errors.__all__)


def test_the_page_of_the_built_in_components_is_up_to_date(plugins):
    spec = importlib.util.spec_from_file_location("docs_generate", pages.DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    assert generate.PAGE.read_text() == generate.page(plugins), "run `make docs`"


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", pages.prose(page)):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
            assert anchor in anchors, target


def test_the_layout_in_the_architecture_is_the_real_one():
    text = (pages.DOCS / "architecture.md").read_text()
    core = pages.ROOT / "seqvae_core"
    modules = {path.name for path in core.glob("*.py") if not path.name.startswith("__")}

    assert set(re.findall(r"^ {6}(\w+\.py) ", text, flags=re.MULTILINE)) == modules
    plugins = {path.name for path in Path(pages.ROOT / "plugins").iterdir() if path.is_dir()}
    assert set(re.findall(r"^ {6}(seqvae_\w+)/ ", text, flags=re.MULTILINE)) == plugins
