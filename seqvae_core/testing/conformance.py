"""`check_component`: everything that the contract asks of one component."""

import inspect
import pickle
import re
import tomllib
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from attrs.exceptions import FrozenInstanceError

from seqvae_core.components import KINDS, Component
from seqvae_core.config import dump, plain, structure_component
from seqvae_core.errors import ConfigError, ShapeError
from seqvae_core.model import seeded
from seqvae_core.plugins import Plugins, label
from seqvae_core.records import Shapes
from seqvae_core.testing.claims import Subject, require
from seqvae_core.testing.estimators import check_mi_estimator
from seqvae_core.testing.evaluations import check_dataset, check_task
from seqvae_core.testing.generative import check_decoder, check_likelihood
from seqvae_core.testing.inference import check_backbone, check_encoder, check_prior
from seqvae_core.testing.small import completed, small_shapes
from seqvae_core.testing.terms import check_regularizer
from seqvae_core.testing.throwaway import plugins_with

__all__ = ["check_component", "check_plugin"]

_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_CHECKS: dict[str, Callable[[Subject, Shapes], None]] = {
    "backbone": check_backbone,
    "encoder": check_encoder,
    "prior": check_prior,
    "decoder": check_decoder,
    "likelihood": check_likelihood,
    "regularizer": check_regularizer,
    "mi_estimator": check_mi_estimator,
    "task": check_task,
}


def check_component(config: Component, *, shapes: Shapes | None = None) -> None:
    """Check a component, registered or not, against the contract of its kind.

    Of every kind: settings that are frozen, hashable, picklable and survive the way through TOML;
    no random number from a global generator; no switch of the process moved. Of every module:
    equal weights from equal seeds; float64; T = 1, 2, 7 and B = 1, 2, 5 from `min_batch` on; rows
    apart unless `couples_batch`; the padding without influence, NaN bit for bit, its amount up to
    1e-6; a state_dict that holds all state; a gradient for every parameter. Beyond that, what the
    kind asks for; docs/plugins/testing.md lists it.

    Modules are built by the config itself, in a model whose other parts are linear stand-ins.

    Args:
        config: the component's settings; small ones make a fast check.
        shapes: what it is built for; what is empty in it is filled in. If left out, frames of
            shape (3,), and (2, 6, 5) for a component that refuses those by a `ShapeError`.

    Raises:
        AssertionError: "<kind> '<name>' must <claim>: <got, expected>", for the first claim that
            does not hold.
    """
    subject = Subject(config)
    _settings(subject)
    if config.kind == "dataset":
        check_dataset(subject)
    else:
        given = completed(shapes) if shapes else _fitting(subject)
        _CHECKS[config.kind](subject, given)


def check_plugin(
    module: Any,
    configs: Iterable[Component] = (),
    *,
    shapes: Shapes | None = None,
    base: Plugins | None = None,
) -> None:
    """Check that a plugin loads, and every component that it provides.

    Args:
        module: the plugin: a module, or an object, with hooks.
        configs: settings to check in place of a class's defaults; several of one class are all
            checked, and a class with required fields needs some.
        shapes: as for `check_component`.
        base: plugins that it is loaded beside.

    Raises:
        PluginError: if it cannot be loaded.
        AssertionError: for the first component that does not keep its contract.
    """
    plugins = plugins_with(module, base=base)
    provided = plugins.all[-1].provides
    given = list(configs)
    for kind in KINDS:
        for component in provided.get(kind, ()):
            chosen = [config for config in given if type(config) is component]
            for config in chosen or [_default(component)]:
                check_component(config, shapes=shapes)


def _default(component: type[Component]) -> Component:
    required = [a.alias for a in attrs.fields(component) if a.default is attrs.NOTHING]
    assert not required, (
        f"{label(component.kind)} '{component.name}' has required fields "
        f"({', '.join(required)}): pass settings of it in `configs`"
    )
    return component()


def _fitting(subject: Subject) -> Shapes:
    """Return the first small shapes that the component can be built for."""
    config: Any = subject.config
    refusals = []
    with subject.must(
        "build for frames of shape (3,) or (2, 6, 5), or be checked with `shapes`", first=True
    ):
        for shapes in (
            small_shapes(),
            small_shapes(frame=(2, 6, 5)),
            small_shapes(categorical=True),
        ):
            targets = shapes.latents if config.kind == "prior" else ("",)
            for target in targets:
                try:
                    with seeded(0, "testing"):
                        config.build(attrs.evolve(shapes, target=target))
                except (ShapeError, ConfigError) as error:
                    refusals.append(str(error))
                else:
                    return shapes
        require(False, f"all were refused: {'; '.join(dict.fromkeys(refusals))}")
    raise AssertionError


# Settings ----------------------------------------------------------------------------------------


def _settings(subject: Subject) -> None:
    config, kind = subject.config, type(subject.config)
    must = subject.must
    with must("be a subclass of a kind's base, with a build() of its own"):
        base = KINDS.get(config.kind)
        require(base is not None and issubclass(kind, base), f"got the kind '{config.kind}'")
        require(not inspect.isabstract(kind), "build() is missing")
    with must("have a name in kebab-case and a docstring"):
        require(bool(_KEBAB.fullmatch(config.name)), f"got the name {config.name!r}")
        require(bool((kind.__dict__.get("__doc__") or "").strip()), "got no docstring")
        require(config.min_batch >= 1, f"got min_batch = {config.min_batch}")
    with must("be a frozen attrs class, each annotated field of it a setting"):
        _frozen(config)
    with must("be hashable, and equal to and hashed as its copy"):
        twin = attrs.evolve(config)
        require(twin == config and hash(twin) == hash(config), "its copy is another")
    with must("survive pickling"):
        copy = pickle.loads(pickle.dumps(config))
        require(copy == config and type(copy) is kind, f"got {copy!r} back")
    plugins = plugins_with(*_classes(config))
    with must("survive the way through plain data and through TOML"):
        for data in (plain(config), tomllib.loads(dump(config))):
            found = structure_component(config.kind, data, plugins)
            require(found == config, f"got {found!r}, expected {config!r}")
    with must("refuse an unknown key"):
        try:
            structure_component(config.kind, {**plain(config), "no-such-key": 1}, plugins)
        except ConfigError as error:
            require("no-such-key" in str(error), f"the error does not name it: {error}")
        else:
            require(False, "'no-such-key' was accepted")


def _frozen(config: Component) -> None:
    known = {a.name for a in attrs.fields(type(config))}
    for owner in type(config).__mro__:
        for name, annotation in inspect.get_annotations(owner).items():
            field = "ClassVar" not in str(annotation)
            require(not field or name in known, f"'{name}' is none: decorate it with @frozen")
    for name in [*known, "name"]:
        try:
            setattr(config, name, getattr(config, name))
        except FrozenInstanceError:
            continue
        require(False, f"'{name}' can be set")


def _classes(value: Any) -> list[type[Component]]:
    """Return the classes of a component and of those in its slots, each once."""
    found: dict[type[Component], None] = {}
    if isinstance(value, Component):
        found[type(value)] = None
    if attrs.has(type(value)):
        children = [getattr(value, a.name) for a in attrs.fields(type(value))]
    else:
        children = list(value) if isinstance(value, (tuple, list)) else []
    for child in children:
        found |= dict.fromkeys(_classes(child))
    return list(found)
