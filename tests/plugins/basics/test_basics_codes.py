"""Codes are chosen by name and index."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqvae_basics.codes import parse_code, parse_codes
from seqvae_core.errors import ShapeError
from seqvae_core.records import Shapes, Variable
from seqvae_core.settings import CategoricalConfig

SHAPES = Shapes(
    frame=(3,),
    latents={
        "z": Variable(name="z", scope="global", shape=(5,)),
        "c": Variable(name="c", scope="global", shape=(4,), family="gumbel-categorical"),
        "d": Variable(
            name="d", scope="local", shape=(6,), family="gumbel-categorical",
            categorical=CategoricalConfig(groups=2),
        ),
        "s": Variable(name="s", scope="local", shape=(2,)),
        "h": Variable(name="h", scope="local", shape=(2, 4, 4), family="feature"),
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("z", (0, 1, 2, 3, 4)), ("z[3]", (3,)), ("z[-1]", (4,)), ("z[:2]", (0, 1)),
        ("z[3:]", (3, 4)), ("z[::2]", (0, 2, 4)), ("z[0,4]", (0, 4)), ("z[4, :2]", (4, 0, 1)),
        ("z[:-3]", (0, 1)), (" s[1] ", (1,)),
    ],
)  # fmt: skip
def test_a_code_is_written_as_python_writes_an_index(text, index):
    code = parse_code(text, SHAPES, "it")
    assert code.index == index
    assert code.name == text.strip()
    assert code.variable.shape == (len(index),)
    assert code.groups == 0
    assert code.whole == (text == "z")


def test_an_index_of_a_categorical_latent_counts_its_groups():
    c, d, second, turned = (parse_code(text, SHAPES, "it") for text in ("c", "d", "d[1]", "d[1,0]"))
    assert (c.groups, c.index, c.variable.values) == (1, (0, 1, 2, 3), 4)
    assert (d.groups, d.index, d.variable.values) == (2, (0, 1, 2, 3, 4, 5), 3)
    assert (second.groups, second.index, second.variable.values) == (1, (3, 4, 5), 3)
    assert (turned.groups, turned.index) == (2, (3, 4, 5, 0, 1, 2))
    assert d.variable.scope == "local"


def test_a_code_is_cut_into_numbers_and_into_single_categorical_variables():
    units = [unit for code in parse_codes(["z[3:]", "c", "d"], SHAPES, "it") for unit in code.units]
    assert [unit.name for unit in units] == ["z[3]", "z[4]", "c", "d[0]", "d[1]"]
    assert [unit.index for unit in units] == [(3,), (4,), (0, 1, 2, 3), (0, 1, 2), (3, 4, 5)]
    assert [unit.groups for unit in units] == [0, 0, 1, 1, 1]
    again = parse_codes([unit.name for unit in units], SHAPES, "it")
    assert [code.index for code in again] == [unit.index for unit in units]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["z(2)"], r"it expects codes such as 'z', 'z\[3\]' or 'z\[:2\]', got 'z\(2\)'"),
        (["cc"], r"'cc' in 'cc' is unknown; did you mean 'c'\? known: c, d, s, z$"),
        (["z[5]"], r"it got index 5 in code 'z\[5\]', out of range for 5"),
        (["z[one]"], r"an index or a slice within \[ \], got 'one' in code 'z\[one\]'"),
        (["z[]"], r"an index or a slice within \[ \], got '' in code 'z\[\]'"),
        (["z[:7]"], r"got bound 7 in code 'z\[:7\]', out of range for 5"),
        (["z[::0]"], r"a slice of step 0 in code"),
        (["z[2:1]"], r"at least one number in a code, got 'z\[2:1\]' of 5"),
        (["z[0,0]"], r"none twice in a code"),
        (["z[:2]", "z[1]"], r"without a common number, got z\[1\] in 'z\[:2\]' and in 'z\[1\]'"),
        (["d[2]"], r"index 2 in code 'd\[2\]', out of range for 2"),
        (["h"], "'h' in 'h' is a feature of the decoder"),
    ],
)
def test_what_is_no_code_is_refused_in_a_line(texts, message):
    with pytest.raises(ShapeError, match=message):
        parse_codes(texts, SHAPES, "it")


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
    if not expected or any(bound is not None and abs(bound) > size for bound in bounds):
        with pytest.raises(ShapeError, match=r"at least one|out of range"):
            parse_code(text, shapes, "it")
        return
    code = parse_code(text, shapes, "it")
    value = torch.arange(2.0 * size).reshape(2, size)
    assert list(code.index) == expected
    assert code.of({"z": value}).equal(value[:, expected])
