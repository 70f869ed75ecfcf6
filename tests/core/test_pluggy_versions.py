"""The plugin-loading tests, once more under the older versions of pluggy that are supported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent / "test_plugin_loading.py"


@pytest.mark.parametrize("version", ["1.5.0", "1.6.0"])
def test_plugins_load_alike_under_pluggy(version, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    got = subprocess.run(
        [*pip, "--no-deps", "--retries=1", f"--target={tmp_path}", f"pluggy=={version}"],
        capture_output=True,
        text=True,
    )
    if got.returncode:
        pytest.skip(f"pip cannot get pluggy {version}: {got.stderr.strip()[-200:]}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", str(TESTS)],
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
            "PYTHONPATH": str(tmp_path),
            "EXPECTED_PLUGGY": version,
        },
        cwd=TESTS.parent.parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
