"""Models of the shared parts, in float64, from plain settings."""

import pytest

import seqvae_basics
from seqvae_core.config import converter
from seqvae_core.experiment import ModelConfig
from seqvae_core.model import build_model
from seqvae_core.plugins import Plugins
from seqvae_core.records import Shapes


@pytest.fixture(scope="session")
def basics():
    """Return the plugins with the shared parts alone."""
    plugins = Plugins(strict=True)
    plugins.register(seqvae_basics)
    return plugins


@pytest.fixture(scope="session")
def build(basics):
    """Return a function that builds a model: small parts, changed by keyword."""

    def model(frame=(3,), seed=0, **changes):
        latents = {
            "z": {"scope": "global", "dim": 4, "prior": "standard-normal"},
            "s": {
                "scope": "local",
                "dim": 2,
                "prior": {"name": "autoregressive-gaussian", "hidden": 5},
            },
        }
        data = {
            "latents": latents,
            "backbone": "identity",
            "encoder": {"name": "dsae-factorised", "hidden": 6},
            "decoder": {"name": "framewise", "hidden": [7]},
            "likelihood": "gaussian",
        }
        config = converter(basics).structure(data | changes, ModelConfig)
        return build_model(config, Shapes(frame=frame), seed).double()

    return model
