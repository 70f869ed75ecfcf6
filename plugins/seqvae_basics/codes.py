"""Codes: chosen dimensions of latents, written as "z", "z[3]", "z[:2]" or "z[0,4]"."""

import re
from collections.abc import Sequence

from attrs import frozen
from torch import Tensor

from seqvae_core.errors import ShapeError
from seqvae_core.records import Scope, Shapes, Variable

__all__ = ["Code", "choose_codes"]

_CODE = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?:\[([^\[\]]*)\])?")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::([1-9]\d*))?")
_FORMS = "'z', 'z[3]', 'z[:2]' or 'z[0,4]'"


@frozen(kw_only=True)
class Code:
    """Chosen dimensions of one latent; of a categorical one whole groups.

    Attributes:
        latent: its name.
        dims: which dimensions, counted from 0, in the order in which they were asked for.
        scope: of the latent.
        values: how many values each group of a categorical latent has; 0 of any other latent.
        text: as it was asked for, such as "z[:2]".
    """

    latent: str
    dims: tuple[int, ...]
    scope: Scope
    values: int
    text: str

    @property
    def categorical(self) -> bool:
        """Whether it is variables of `values` values, not a number for each dimension."""
        return self.values > 0

    @property
    def groups(self) -> int:
        """How many categorical variables it is; 0 if it is none."""
        return len(self.dims) // self.values if self.values else 0

    def of(self, value: Tensor) -> Tensor:
        """Return the chosen dimensions of values (..., D) of the latent, (..., d)."""
        return value[..., list(self.dims)]


def choose_codes(texts: Sequence[str], shapes: Shapes, *, asker: str) -> tuple[Code, ...]:
    """Return the codes that a setting names.

    Args:
        texts: such as ["z[:2]", "c"]: a latent's name, alone for all of its dimensions, with an
            index, a slice as in Python, or several of these between commas.
        shapes: of the model.
        asker: whose setting it is, for errors.

    Raises:
        ShapeError: for what is no code, an unknown latent, a dimension that is not there or is
            named twice, and for a part of a group of a categorical latent.
    """
    codes = tuple(_code(text, shapes, asker) for text in texts)
    seen: set[tuple[str, int]] = set()
    for code in codes:
        for dim in code.dims:
            if (code.latent, dim) in seen:
                raise ShapeError(f"{asker} got {code.latent}[{dim}] twice in {list(texts)}")
            seen.add((code.latent, dim))
    return codes


def _code(text: str, shapes: Shapes, asker: str) -> Code:
    match = _CODE.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ShapeError(f"{asker} expects codes such as {_FORMS}, got '{text}'")
    variable = shapes.latent(match[1])
    if len(variable.shape) != 1 or variable.family == "feature":
        raise ShapeError(
            f"{asker} expects codes of latents, got '{text}', a local feature of the decoder"
        )
    dims = tuple(range(variable.size))
    if match[2] is not None:
        dims = tuple(dim for part in match[2].split(",") for dim in _part(part, variable, text))
        if not dims:
            raise ShapeError(f"'{text}' has no dimension: {variable.name} has {variable.size}")
    code = Code(
        latent=variable.name, dims=dims, scope=variable.scope, values=variable.values, text=text
    )
    if code.categorical and not _whole(code):
        size = code.values
        raise ShapeError(
            f"{asker} takes groups of a categorical latent whole, {variable.name}[:{size}] and so "
            f"on by {size}, got '{text}'"
        )
    return code


def _whole(code: Code) -> bool:
    """Tell whether the dimensions are groups one after another, each from its first to its last."""
    starts = code.dims[:: code.values]
    inside = [start + step for start in starts for step in range(code.values)]
    return inside == list(code.dims) and all(start % code.values == 0 for start in starts)


def _part(part: str, variable: Variable, text: str) -> Sequence[int]:
    size = variable.size
    if match := _SLICE.fullmatch(part):
        first, last, step = (None if bound is None else int(bound) for bound in match.groups())
        return range(*slice(first, last, step).indices(size))
    try:
        index = int(part)
    except ValueError:
        raise ShapeError(f"expected an index or a slice in '{text}', got '{part}'") from None
    if not -size <= index < size:
        raise ShapeError(
            f"'{text}' asks for dimension {index}: {variable.name} has {size}, counted from 0"
        )
    return [index % size]
