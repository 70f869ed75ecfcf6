"""Codes are chosen by name and index."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqvae_basics.codes import choose_codes
from seqvae_core.errors import ShapeError
from seqvae_core.records import Shapes, Variable
from seqvae_core.settings import CategoricalConfig

SHAPES = Shapes(
    frame=(3,),
    latents={
        "z": Variable(name="z", scope="global", shape=(5,)),
        "c": Variable(name="c", scope="global", shape=(4,), family="gumbel-categorical"),
        "d": Variable(
            name="d",
            scope="local",
            shape=(6,),
            family="gumbel-categorical",
            categorical=CategoricalConfig(groups=2),
        ),
        "s": Variable(name="s", scope="local", shape=(2,)),
        "h": Variable(name="h", scope="local", shape=(2, 4, 4), family="feature"),
    },
)


def choose(*texts):
    return choose_codes(texts, SHAPES, asker="vmi")


@pytest.mark.parametrize(
    ("text", "dims"),
    [
        ("z", (0, 1, 2, 3, 4)), ("z[3]", (3,)), ("z[-1]", (4,)), ("z[:2]", (0, 1)),
        ("z[3:]", (3, 4)), ("z[::2]", (0, 2, 4)), ("z[0,4]", (0, 4)), ("z[4, :2]", (4, 0, 1)),
        ("z[:-3]", (0, 1)), ("s[1]", (1,)),
    ],
)  # fmt: skip
def test_a_code_is_written_as_python_writes_an_index(text, dims):
    [code] = choose(text)
    assert code.dims == dims
    assert code.text == text
    assert not code.categorical


def test_a_categorical_latent_is_one_code():
    z, c = choose("z[:2]", "c")
    assert (z.latent, z.scope, c.latent, c.categorical) == ("z", "global", "c", True)
    assert c.dims == choose("c[:]")[0].dims == (0, 1, 2, 3)
    assert (c.values, c.groups, z.values, z.groups) == (4, 1, 0, 0)


def test_groups_of_a_categorical_latent_are_chosen_one_by_one():
    assert (choose("d")[0].groups, choose("d[3:]")[0].groups) == (2, 1)
    assert choose("d[3:,:3]")[0].dims == (3, 4, 5, 0, 1, 2)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["z(2)"], r"vmi expects codes such as 'z', 'z\[3\]'"),
        (["zz"], "no latent or local feature 'zz'; the model has: z, c, d, s, h"),
        (["z[5]"], r"'z\[5\]' asks for dimension 5: z has 5, counted from 0"),
        (["z[one]"], r"expected an index or a slice in 'z\[one\]', got 'one'"),
        (["z[]"], r"expected an index or a slice in 'z\[\]', got ''"),
        (["z[7:]"], r"'z\[7:\]' has no dimension: z has 5"),
        (["z[:2]", "z[1]"], r"vmi got z\[1\] twice"),
        (["c[:2]"], r"takes groups of a categorical latent whole, c\[:4\] .* by 4, got 'c\[:2\]'"),
        (["d[1:4]"], r"takes groups of a categorical latent whole, d\[:3\] .* by 3"),
        (["d[2,1,0]"], r"takes groups of a categorical latent whole"),
        (["h"], "vmi expects codes of latents, got 'h', a local feature of the decoder"),
    ],
)
def test_what_is_no_code_is_refused_in_a_line(texts, message):
    with pytest.raises(ShapeError, match=message):
        choose(*texts)


@given(
    size=st.integers(1, 9),
    bounds=st.tuples(*[st.none() | st.integers(-9, 9)] * 2),
    step=st.none() | st.integers(1, 4),
)
def test_a_slice_takes_what_it_takes_of_a_list(size, bounds, step):
    shapes = Shapes(frame=(1,), latents={"z": Variable(name="z", scope="global", shape=(size,))})
    first, last = ("" if bound is None else str(bound) for bound in bounds)
    text = f"z[{first}:{last}{'' if step is None else f':{step}'}]"
    expected = list(range(size))[slice(*bounds, step)]
    if not expected:
        with pytest.raises(ShapeError, match="has no dimension"):
            choose_codes([text], shapes, asker="it")
        return
    [code] = choose_codes([text], shapes, asker="it")
    value = torch.arange(2.0 * size).reshape(2, size)
    assert list(code.dims) == expected
    assert code.of(value).equal(value[:, expected])
