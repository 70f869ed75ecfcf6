"""Hypothesis strategies: settings of any class, whole experiments, tensors with drawn seeds."""

from pathlib import Path
from typing import Literal, get_args, get_origin

import attrs
import torch
from attrs import evolve
from hypothesis import assume
from hypothesis import strategies as st

from seqvae_core.components import Component
from seqvae_core.errors import SeqVAEError
from seqvae_core.experiment import Experiment, PluginsConfig

names = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
seeds = st.integers(0, 2**32 - 1)
scalars = {
    bool: st.booleans(),
    int: st.integers(0, 40),
    float: st.floats(0.0, 1.0) | st.floats(1e-4, 1e3) | st.floats(-100.0, 0.0),
    str: names | st.text(st.characters(codec="utf-8"), max_size=8),
    Path: names.map(lambda name: Path("/data", name)),
}


def values(annotation, plugins):
    """Return a strategy for a field of that type."""
    origin, arms = get_origin(annotation), get_args(annotation)
    if annotation in scalars:
        return scalars[annotation]
    if origin is Literal:
        return st.sampled_from(arms)
    if origin is tuple and arms[-1] is not Ellipsis:
        return st.tuples(*(values(arm, plugins) for arm in arms))
    if origin is tuple:
        return st.lists(values(arms[0], plugins), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(names, values(arms[1], plugins), min_size=1, max_size=3)
    if type(None) in arms:
        return st.one_of(values(arm, plugins) for arm in arms if arm is not type(None))
    if issubclass(annotation, Component) and not annotation.name:
        return st.sampled_from(list(plugins.components(annotation.kind).values())).flatmap(
            lambda found: settings_of(found, plugins)
        )
    return settings_of(annotation, plugins)


@st.composite
def settings_of(draw, target, plugins):
    """Draw settings of an attrs class: what its validators refuse stays at its default."""
    fields = {a.alias: a for a in attrs.fields(attrs.resolve_types(target))}
    required = [key for key, a in fields.items() if a.default is attrs.NOTHING]
    try:
        made = target(**{key: draw(values(fields[key].type, plugins)) for key in required})
    except (ValueError, SeqVAEError):
        assume(False)
    for key in draw(st.lists(st.sampled_from(sorted(fields)), unique=True)) if fields else ():
        try:
            made = evolve(made, **{key: draw(values(fields[key].type, plugins))})
        except (ValueError, SeqVAEError):
            continue
    return made


def experiments(plugins):
    """Return a strategy for whole experiments of a set of plugins."""
    return settings_of(Experiment, plugins).map(
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
