"""Codes: chosen numbers of latents, named as in `z[:2]`."""

import re
from collections.abc import Mapping, Sequence

from attrs import evolve, frozen
from torch import Tensor

from seqvae_core.errors import ShapeError
from seqvae_core.plugins import did_you_mean
from seqvae_core.records import Shapes, Variable
from seqvae_core.settings import CategoricalConfig

__all__ = ["Code", "parse_code", "parse_codes"]

_CODE = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]*)\s*(?:\[(.*)\])?\s*")
_INDEX = re.compile(r"[+-]?\d+")
_SLICE = re.compile(r"([+-]?\d+)?\s*:\s*([+-]?\d+)?\s*(?::\s*([+-]?\d+)?)?")


@frozen(kw_only=True)
class Code:
    """Some numbers of one latent.

    Attributes:
        variable: the code as a variable of its own: its name as it was given, its latent's scope
            and family, as many numbers as it has.
        latent: the latent's name.
        index: which numbers of the latent, in order.
        whole: whether they are all of them, as they stand.
    """

    variable: Variable
    latent: str
    index: tuple[int, ...]
    whole: bool = False

    @property
    def name(self) -> str:
        """The code as it was given, such as `z[:2]`."""
        return self.variable.name

    @property
    def groups(self) -> int:
        """How many categorical variables the code is; 0 if it is Gaussian."""
        return self.variable.categorical.groups if self.variable.categorical else 0

    @property
    def units(self) -> tuple["Code", ...]:
        """The code cut into single numbers, or categorical variables: "z[0]", "z[1]", "c"."""
        size = self.variable.values or 1
        alone = self.whole and len(self.index) == size
        if alone and self.groups:
            return (self,)
        runs = [self.index[at : at + size] for at in range(0, len(self.index), size)]
        categorical = self.variable.categorical and CategoricalConfig()
        return tuple(
            Code(
                variable=evolve(
                    self.variable, name=f"{self.latent}[{run[0] // size}]", shape=(size,),
                    categorical=categorical,
                ),
                latent=self.latent,
                index=run,
            )
            for run in runs
        )  # fmt: skip

    def of(self, latents: Mapping[str, Tensor]) -> Tensor:  # (B, [T,] d)
        """Return the code's numbers, given the latents by name, (B, D) or (B, T, D)."""
        value = latents[self.latent]
        return value if self.whole else value[..., list(self.index)]


def parse_codes(texts: Sequence[str], shapes: Shapes, asker: str) -> tuple[Code, ...]:
    """Return the codes of a list, in order.

    Args:
        texts: as for `parse_code`.
        shapes: of the model.
        asker: whose setting it is, for error messages.

    Raises:
        ShapeError: as `parse_code`, and where two codes share a number.
    """
    codes = tuple(parse_code(text, shapes, asker) for text in texts)
    seen: dict[tuple[str, int], str] = {}
    for code in codes:
        for number in code.index:
            if other := seen.get((code.latent, number)):
                raise ShapeError(
                    f"{asker} expects codes without a common number, got {code.latent}[{number}] "
                    f"in '{other}' and in '{code.name}'"
                )
            seen[code.latent, number] = code.name
    return codes


def parse_code(text: str, shapes: Shapes, asker: str) -> Code:
    """Return the code that a text such as `z`, `z[3]`, `z[:2]`, `z[0, 4:8]`, `c` names.

    Indices and slices are those of Python, but a slice that goes beyond the end is refused. Of a
    categorical latent they count its groups: `c[0]` is all of the first one.

    Args:
        text: the name of a latent, and which of its numbers.
        shapes: of the model.
        asker: whose setting it is, for error messages.

    Raises:
        ShapeError: one line, for a text that does not parse, an unknown latent, a feature of the
            decoder, or an index out of range.
    """
    found = _CODE.fullmatch(text)
    if found is None:
        raise ShapeError(f"{asker} expects codes such as 'z', 'z[3]' or 'z[:2]', got '{text}'")
    name, inside = found.groups()
    latents = {n: v for n, v in shapes.latents.items() if v.family != "feature"}
    if name not in latents:
        what = "a feature of the decoder" if name in shapes.latents else "unknown"
        raise ShapeError(
            f"{asker} expects codes of a latent, '{name}' in '{text}' is {what}"
            f"{did_you_mean(name, latents)}"
        )
    latent = latents[name]
    run = latent.values or 1  # numbers that stand or fall together
    chosen = _chosen(inside, latent.size // run, text, asker)
    index = tuple(run * unit + offset for unit in chosen for offset in range(run))
    categorical = latent.categorical and CategoricalConfig(groups=len(chosen))
    variable = evolve(latent, name=text.strip(), shape=(len(index),), categorical=categorical)
    whole = index == tuple(range(latent.size))
    return Code(variable=variable, latent=name, index=index, whole=whole)


def _chosen(inside: str | None, count: int, text: str, asker: str) -> list[int]:
    if inside is None:
        return list(range(count))
    chosen: list[int] = []
    for part in (piece.strip() for piece in inside.split(",")):
        chosen += _range(part, count, text, asker)
    if not chosen or len(set(chosen)) < len(chosen):
        what = "none twice" if chosen else "at least one number"
        raise ShapeError(f"{asker} expects {what} in a code, got '{text}' of {count}")
    return chosen


def _range(part: str, count: int, text: str, asker: str) -> list[int]:
    if _INDEX.fullmatch(part):
        index = int(part)
        if not -count <= index < count:
            raise ShapeError(
                f"{asker} got index {index} in code '{text}', out of range for {count}"
            )
        return [index % count]
    found = _SLICE.fullmatch(part)
    if found is None:
        raise ShapeError(
            f"{asker} expects an index or a slice within [ ], got '{part}' in code '{text}'"
        )
    start, stop, step = (None if bound is None else int(bound) for bound in found.groups())
    if step == 0:
        raise ShapeError(f"{asker} got a slice of step 0 in code '{text}'")
    for bound in (start, stop):
        if bound is not None and not -count <= bound <= count:
            raise ShapeError(
                f"{asker} got bound {bound} in code '{text}', out of range for {count}"
            )
    return list(range(count))[start:stop:step]
