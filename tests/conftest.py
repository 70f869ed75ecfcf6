"""Shared set-up: hypothesis profiles, one torch thread a worker, the data folder, plugins."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

_QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fast", max_examples=15, **_QUIET)
settings.register_profile("ci", max_examples=25, derandomize=True, **_QUIET)
settings.register_profile("deep", max_examples=300, **_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "fast"))

torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep computed features out of the user's cache folder."""
    before = os.environ.get("SEQVAE_CACHE")
    os.environ["SEQVAE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("SEQVAE_CACHE")
    if before is not None:
        os.environ["SEQVAE_CACHE"] = before


@pytest.fixture
def double():
    """Make float64 the default type for the test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def shared_data():
    """Return the folder of real data sets, or skip where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not on this machine")
    return folder


@pytest.fixture(scope="session")
def plugins():
    """Return the built-in plugins, loaded through their entry points."""
    from seqvae_core import Plugins

    return Plugins.load(strict=True)
