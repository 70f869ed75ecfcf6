"""Hypothesis strategies beside the kit's own: whole experiments, tensors with drawn seeds."""

import torch
from attrs import evolve
from hypothesis import strategies as st

from seqvae_core.experiment import Experiment, PluginsConfig
from seqvae_core.testing.strategies import components

names = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
seeds = st.integers(0, 2**32 - 1)


def experiments(plugins):
    """Return a strategy for whole experiments of a set of plugins."""
    return components(Experiment, plugins).map(
        lambda experiment: evolve(experiment, plugins=PluginsConfig())
    )


def normal(seed, *shape):
    """Return standard normal numbers in float64, a pure function of the seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def masks():
    """Return a strategy for masks (B, T): each row True up to a length of at least 1."""

    def mask(lengths):
        return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    return st.lists(st.integers(1, 7), min_size=1, max_size=5).map(mask)
