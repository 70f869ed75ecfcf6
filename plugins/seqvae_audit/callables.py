"""The two functions of a VAE, and where they come from: objects, pairs, adapters, import paths."""

import functools
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import nn

from seqvae_audit.adapters import adapted
from seqvae_core import discovery
from seqvae_core.errors import ConfigError, SeqVAEError, ShapeError
from seqvae_core.plugins import did_you_mean

__all__ = ["Callables", "callables_of", "imported", "told"]

_DEPTH = 5  # of objects in objects that are looked into for modules
_LIBRARIES = ("builtins", "torch")  # whose classes name no module of the model's
_OPAQUE = (type, types.ModuleType, torch.Tensor, np.ndarray, str, bytes, int, float, type(None))


@frozen(eq=False, kw_only=True)
class Callables:
    """A VAE as an audit sees it.

    Attributes:
        name: what it is called.
        encode: from x to posteriors, see `seqvae_audit.protocol`.
        decode: from z to the mean of x.
        modules: what is set to evaluation mode meanwhile, and then put back.
        device: where it is to run; where it is if None.
    """

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    modules: tuple[nn.Module, ...] = ()
    device: str | None = None

    @classmethod
    def of(
        cls,
        encode: Callable[[Any], Any],
        decode: Callable[[Any], Any],
        *,
        modules: Iterable[nn.Module] = (),
        name: str = "model",
    ) -> "Callables":
        """Return two functions with the modules given and those that they are seen to use.

        Raises:
            ShapeError: if one of them cannot be called.
        """
        for which, function in (("encode", encode), ("decode", decode)):
            if not callable(function):
                raise ShapeError(f"expected a function for {which}, got {type(function).__name__}")
        used = [*modules, *_used(encode), *_used(decode)]
        return cls(
            name=name,
            encode=encode,
            decode=decode,
            modules=tuple({id(module): module for module in used}.values()),
        )

    def apart_from(self, other: "Callables") -> bool:
        """Return whether both functions have modules, and none of them is of the other's."""
        mine = [_used(self.encode), _used(self.decode)]
        theirs = {id(module) for module in other.modules}
        return all(mine) and not any(id(module) in theirs for used in mine for module in used)

    @property
    def like(self) -> torch.Tensor:
        """An empty tensor of the type and device that x and z are given in."""
        for value in self._weights():
            return value.new_empty(0)
        return torch.empty(0, device=self.device)

    def _weights(self) -> Iterator[torch.Tensor]:
        for module in self.modules:
            for value in (*module.parameters(), *module.buffers()):
                if value.is_floating_point():
                    yield value

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Set the modules to evaluation mode on the device asked for; put all back afterwards.

        Raises:
            ConfigError: if there is no such device.
        """
        modes = {part: part.training for module in self.modules for part in module.modules()}
        home = next((value.device for value in self._weights()), None)
        try:
            self._move(self.device)
            for module in self.modules:
                module.eval()
            with torch.no_grad():
                yield
        finally:
            self._move(self.device and home)
            for part, mode in modes.items():
                part.training = mode

    def _move(self, device: str | torch.device | None) -> None:
        if device is None:
            return
        try:
            if torch.empty(0, device=device).is_meta:
                raise RuntimeError("it computes nothing")
            for module in self.modules:
                module.to(device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"cannot use device '{device}': {told(error)}") from None


def _used(function: Any) -> list[nn.Module]:
    """Return the modules that a function belongs to, names, or holds, in its objects too."""
    seen: dict[int, Any] = {}  # which also keeps them, and so their ids, alive
    level = [function]
    for _ in range(_DEPTH):
        fresh = {id(value): value for value in level if not isinstance(value, _OPAQUE)}
        fresh = {key: value for key, value in fresh.items() if key not in seen}
        seen |= fresh
        level = [each for value in fresh.values() for each in _held(value)]
    return [value for value in seen.values() if isinstance(value, nn.Module)]


def _held(value: Any) -> list[Any]:
    """Return what a value is made of, so far as modules may be among it."""
    if isinstance(value, nn.Module):  # its own are a part of it; those in a list, say, are not
        parts = [vars(part).items() for part in value.modules()]
        held = [each for part in parts for name, each in part if not name.startswith("_")]
        kinds = dict.fromkeys(type(part) for part in value.modules())  # in their order
        return held + [each for kind in kinds for each in _methods(kind)]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if inspect.ismethod(value):
        return [value.__self__, value.__func__]
    held = list(getattr(value, "__dict__", {}).values())
    if not inspect.isfunction(value):
        held += _methods(type(value))
    else:
        held += [value.__defaults__, value.__kwdefaults__]
        with suppress(ValueError):  # a name that is not bound yet
            named = inspect.getclosurevars(value)
            held += [*named.nonlocals.values(), *named.globals.values()]
    return held


def _methods(kind: type) -> list[Any]:
    """Return the functions of a class, since what they name is used by its objects."""
    kinds = [each for each in kind.__mro__ if each.__module__.partition(".")[0] not in _LIBRARIES]
    return [each for base in kinds for each in vars(base).values() if inspect.isfunction(each)]


def callables_of(found: Any, name: str) -> Callables:
    """Return what a factory gave as two functions.

    Args:
        found: a model of pythae or diffusers; an object or dict with `encode` and `decode`; or
            the two as a pair.
        name: of the factory, for messages.

    Raises:
        ShapeError: if it is none of these.
    """
    found = adapted(found)
    if isinstance(found, (tuple, list)) and len(found) == 2:
        return Callables.of(*found, name=name)
    given = found if isinstance(found, Mapping) else None
    encode, decode = (
        given.get(part) if given is not None else getattr(found, part, None)
        for part in ("encode", "decode")
    )
    lacking = [part for part, each in (("encode", encode), ("decode", decode)) if each is None]
    if lacking or encode is None or decode is None:
        raise ShapeError(
            f"{name} gave {type(found).__name__} without {' and '.join(lacking)}; expected an "
            "object with encode and decode, the two as a pair, or a model of pythae or diffusers"
        )
    modules = [found] if isinstance(found, nn.Module) else []
    return Callables.of(encode, decode, modules=modules, name=name)


def imported(text: str) -> Callables:
    """Return the model of an import path, "package.module:factory" or "file.py:factory".

    The factory is called without arguments; what is no class and has `encode` and `decode`
    itself is taken as it is.

    Raises:
        ConfigError: if there is no such module or name, or the factory fails.
        ShapeError: if it gives no model.
    """
    place, colon, path = text.partition(":")
    if not place or not colon or not path:
        raise ConfigError(f"expected a model as pkg.module:factory, got '{text}'")
    try:
        module = discovery.single(place)[1]()
    except SeqVAEError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"cannot import '{place}' for the model: {told(error)}") from error
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            known = [each for each in dir(found) if not each.startswith("_")]
            hint = did_you_mean(part, known)
            file = f", in {module.__file__}" if getattr(module, "__file__", None) else ""
            raise ConfigError(f"'{place}' has no '{path}'{hint}{file}")
        found = getattr(found, part)
    faced = hasattr(found, "encode") and hasattr(found, "decode")
    if callable(found) and (inspect.isclass(found) or not (faced or isinstance(found, nn.Module))):
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise ConfigError(f"'{text}' failed: {told(error)}") from error
    return callables_of(found, text)


def told(error: BaseException) -> str:
    """Return an error of somebody else's code in one line, with its kind."""
    first = " ".join(str(error).split())
    return f"{type(error).__name__}: {first[:300]}" if first else type(error).__name__
