"""Hypothesis strategies: batches, settings of any class, schedules, seeds.

Example:
    A property of an encoder's settings on any batch::

        @given(batches(), components(MyEncoder), seeds())
        def test_rows_do_not_see_one_another(batch, config, seed): ...
"""

import math
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import torch
from attrs import evolve
from hypothesis import assume
from hypothesis import strategies as st

from seqvae_core.components import Component
from seqvae_core.errors import SeqVAEError
from seqvae_core.plugins import Plugins
from seqvae_core.records import Batch, Shapes
from seqvae_core.settings import Schedule
from seqvae_core.testing.small import small_batch, small_shapes

__all__ = ["batches", "components", "schedules", "seeds"]

C = TypeVar("C")
Strategy = st.SearchStrategy[Any]

_NAMES = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)
_SCALARS: dict[Any, Strategy] = {
    bool: st.booleans(),
    int: st.integers(0, 40),
    float: st.floats(0.0, 1.0) | st.floats(1e-4, 1e3) | st.floats(-100.0, 0.0),
    str: _NAMES
    | st.sampled_from(["", " ", "γ = 1", 'say "x"', "a\\b", "line\nline", "[z]", "true"]),
    Path: _NAMES.map(lambda name: Path("/data", name)),
}


def seeds() -> st.SearchStrategy[int]:
    """Return a strategy for seeds."""
    return st.integers(0, 2**32 - 1)


def schedules() -> st.SearchStrategy[Schedule]:
    """Return a strategy for schedules of a weight."""
    return st.builds(
        Schedule,
        name=st.sampled_from(["constant", "linear"]),
        steps=st.integers(1, 50),
        start=st.floats(0.0, 1.0),
    )


@st.composite
def batches(
    draw: st.DrawFn,
    shapes: Shapes | None = None,
    *,
    rows: int = 5,
    frames: int = 7,
    padding: float = math.nan,
) -> Batch:
    """Return a strategy for batches in float64, of any lengths and uniform numbers in [0, 1).

    Args:
        draw: given by Hypothesis.
        shapes: frame and labels; `small_shapes()` if left out.
        rows: most sequences.
        frames: of the longest sequence at most; up to two more columns are padding alone.
        padding: what stands behind each sequence.
    """
    lengths = torch.tensor(draw(st.lists(st.integers(1, frames), min_size=1, max_size=rows)))
    columns = int(lengths.max()) + draw(st.integers(0, 2))
    mask = torch.arange(columns) < lengths[:, None]
    return small_batch(shapes or small_shapes(), mask=mask, seed=draw(seeds()), padding=padding)


@st.composite
def components(draw: st.DrawFn, cls: type[C], plugins: Plugins | None = None) -> C:
    """Return a strategy for settings of an attrs class: a component's, or a table's within one.

    Values are drawn by the fields' types; what a validator refuses stays at its default. A
    required field whose type says too little about what it accepts needs a strategy of your own.

    Args:
        draw: given by Hypothesis.
        cls: the class.
        plugins: where components for slots come from; without them a slot stays as it is.
    """
    fields = {a.alias: a for a in attrs.fields(attrs.resolve_types(cls)) if a.init}  # type: ignore
    known = {}
    for key, attribute in fields.items():
        strategy = _values(attribute.type, plugins)
        if strategy is not None:
            known[key] = strategy
    required = [key for key, a in fields.items() if a.default is attrs.NOTHING]
    if unknown := sorted(set(required) - set(known)):
        raise TypeError(f"cannot draw {', '.join(unknown)} of {cls.__name__} without plugins")
    made = _first(draw, cls, known, required)
    for key in draw(st.lists(st.sampled_from(sorted(known)), unique=True)) if known else ():
        try:
            made = evolve(made, **{key: draw(known[key])})  # type: ignore[misc]
        except (ValueError, SeqVAEError):
            continue
    return made


def _first(draw: st.DrawFn, cls: type[C], known: dict[str, Strategy], required: list[str]) -> C:
    """Draw what is required, and one thing more where a class wants one of several."""
    for more in ([], *([key] for key in sorted(set(known) - set(required)))):
        try:
            return cls(**{key: draw(known[key]) for key in (*required, *more)})
        except (ValueError, SeqVAEError):
            continue
    assume(False)
    raise AssertionError  # not reached


def _values(annotation: Any, plugins: Plugins | None) -> Strategy | None:
    """Return a strategy for a field of that type, None for a slot without plugins."""
    origin, arms = get_origin(annotation), get_args(annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if origin is Literal:
        return st.sampled_from(arms)
    if origin in (tuple, dict) or type(None) in arms:
        return _container(origin, arms, plugins)
    if issubclass(annotation, Component) and not annotation.name:
        found = list(plugins.components(annotation.kind).values()) if plugins else []
        drawable = [cls for cls in found if issubclass(cls, annotation)]
        return st.sampled_from(drawable).flatmap(
            lambda cls: components(cls, plugins)
        ) if drawable else None  # fmt: skip
    return components(annotation, plugins)


def _container(origin: Any, arms: tuple[Any, ...], plugins: Plugins | None) -> Strategy | None:
    inner = [_values(arm, plugins) for arm in arms if arm not in (Ellipsis, type(None))]
    drawable = [strategy for strategy in inner if strategy is not None]
    if len(drawable) < len(inner):
        return None
    if origin is tuple and arms[-1] is Ellipsis:
        return st.lists(drawable[0], max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*drawable)
    if origin is dict:
        return st.dictionaries(_NAMES, drawable[1], max_size=3)
    return st.one_of(drawable)
