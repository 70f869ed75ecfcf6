"""The template of a third-party plugin: found through its metadata, tested, and trained with."""

import shutil
import subprocess
import sys
import tomllib

import pages
import pytest
import tiny

TEMPLATE = pages.DOCS / "plugins" / "template"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return a folder with the template as an installer would lay it out."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
    shutil.copy(TEMPLATE / "seqvae_acme.py", folder)
    metadata = folder / f"seqvae_acme-{project['version']}.dist-info"
    metadata.mkdir()
    needs = "".join(f"Requires-Dist: {text}\n" for text in project["dependencies"])
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{needs}"
    )
    entries = project["entry-points"]["seqvae"].items()
    (metadata / "entry_points.txt").write_text(
        "[seqvae]\n" + "".join(f"{name} = {target}\n" for name, target in entries)
    )
    return folder


def test_the_template_passes_its_own_tests(site):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TEMPLATE / "tests",
         "--rootdir", TEMPLATE],
        capture_output=True, text=True, env=tiny.environment(PYTHONPATH=str(site)),
        cwd=site,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_training_with_the_template_logs_its_term(site, tmp_path):
    tiny.write_experiment(tmp_path, steps=3)

    tiny.run(
        "train", "toy.toml", "--out", "run", "--set", "tasks=[]",
        "--set", 'regularizers+={name="acme-hsic", weight=100.0}',
        "--set", 'plugins.require=["seqvae-acme>=0.1"]',
        cwd=tmp_path, PYTHONPATH=str(site),
    )  # fmt: skip

    assert '"acme-hsic/weighted"' in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"seqvae-acme"' in (tmp_path / "run" / "plugins.json").read_text()
