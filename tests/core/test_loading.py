"""From a data set's items to padded batches, in an order that seed and step fix."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from torch.utils.data import Dataset, TensorDataset

from seqvae_core.errors import DataError
from seqvae_core.loading import (
    Order,
    check_splits,
    collate,
    data_shapes,
    item_lengths,
    iterate,
    padding_share,
    train_batches,
)
from seqvae_core.records import Splits


class Sequences(Dataset):
    """Items as a user's own data set gives them, without a base class of ours."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def sequences(*lengths):
    return Sequences(
        [
            {"x": torch.full((length, 2), float(i + 1)), "speaker": i}
            for i, length in enumerate(lengths)
        ]
    )


# Order ------------------------------------------------------------------------------------------


@st.composite
def orders(draw):
    """Draw the settings of an order whose batch can be shared."""
    world, accumulate = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    batch_size = world * accumulate * draw(st.integers(1, 3))
    count = batch_size + draw(st.integers(0, 20))
    shape = {"count": count, "batch_size": batch_size, "seed": draw(seeds)}
    return shape, {"world": world, "accumulate": accumulate}


def flat(batches):
    return [index for batch in batches for index in batch]


@given(shape=orders().map(lambda drawn: drawn[0]), epochs=st.integers(1, 3))
def test_each_epoch_holds_every_item_once_in_an_order_of_its_own(shape, epochs):
    count, steps = shape["count"], -(-epochs * shape["count"] // shape["batch_size"])
    order = Order(**shape)
    items = [index for step in range(steps) for index in flat(order.step(step))]
    passes = [tuple(items[epoch * count : (epoch + 1) * count]) for epoch in range(epochs)]
    assert all(sorted(each) == list(range(count)) for each in passes)
    if count > 12:
        assert len(set(passes)) == epochs


@given(drawn=orders(), step=st.integers(0, 50))
def test_the_ranks_and_micro_batches_of_a_step_are_its_single_batch(drawn, step):
    shape, shares = drawn
    whole = flat(Order(**shape).step(step))
    parts = [Order(**shape, **shares, rank=rank).step(step) for rank in range(shares["world"])]
    assert [index for part in parts for index in flat(part)] == whole
    sizes = {len(batch) for part in parts for batch in part}
    assert sizes == {shape["batch_size"] // (shares["world"] * shares["accumulate"])}
    assert {len(part) for part in parts} == {shares["accumulate"]}


@st.composite
def bucketed(draw):
    """Draw the settings of an order with buckets, and lengths."""
    shape, shares = draw(orders())
    lengths = draw(st.lists(st.integers(1, 50), min_size=shape["count"], max_size=shape["count"]))
    return shape | {"bucket": draw(st.integers(2, 5)), "lengths": lengths}, shares


@given(drawn=bucketed(), window=st.integers(0, 3))
def test_buckets_hold_what_the_same_steps_hold_without_them(drawn, window):
    shape, _ = drawn
    steps = range(window * shape["bucket"], (window + 1) * shape["bucket"])
    plain = Order(**{**shape, "bucket": 1})
    taken, wanted = (
        sorted(flat(flat(order.step(step)) for step in steps)) for order in (Order(**shape), plain)
    )
    assert taken == wanted


@given(drawn=bucketed(), step=st.integers(0, 20))
def test_a_bucketed_batch_lies_between_its_neighbours_in_length(drawn, step):
    shape, _ = drawn
    order, lengths = Order(**shape), shape["lengths"]
    window = step // shape["bucket"] * shape["bucket"]
    batches = [flat(order.step(window + i)) for i in range(shape["bucket"])]
    spans = sorted((min(lengths[i] for i in b), max(lengths[i] for i in b)) for b in batches)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


@given(drawn=bucketed(), step=st.integers(0, 50))
def test_the_ranks_of_a_bucketed_step_are_its_single_batch(drawn, step):
    shape, shares = drawn
    parts = [Order(**shape, **shares, rank=rank).step(step) for rank in range(shares["world"])]
    assert [index for part in parts for index in flat(part)] == flat(Order(**shape).step(step))


@given(drawn=bucketed(), steps=st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_a_bucketed_order_depends_on_the_step_alone_not_on_what_was_asked_before(drawn, steps):
    shape, _ = drawn
    order = Order(**shape)
    assert [order.step(step) for step in steps] == [Order(**shape).step(step) for step in steps]


def test_buckets_lower_the_padding_share():
    lengths = [1 + (7 * i) % 100 for i in range(100)]
    shape = {"count": 100, "batch_size": 10, "seed": 0, "lengths": lengths}
    shares = [padding_share(Order(**shape, bucket=bucket)) for bucket in (1, 10)]
    assert shares[0] > 0.35
    assert shares[1] < 0.1
    assert padding_share(Order(**shape | {"lengths": [5] * 100})) == 0.0


def test_lengths_are_taken_from_the_data_or_read_once():
    data = sequences(3, 1, 2)
    assert item_lengths(data) == [3, 1, 2]
    data.lengths = torch.tensor([4, 5, 6])
    assert item_lengths(data) == [4, 5, 6]


@given(seed=seeds)
def test_another_seed_is_another_order(seed):
    steps = [flat(Order(count=20, batch_size=20, seed=each).step(0)) for each in (seed, seed + 1)]
    assert steps[0] != steps[1]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"count": 3, "batch_size": 4},
         "the train part has 3 sequences, fewer than train.batch_size = 4"),
        ({"count": 9, "batch_size": 4, "world": 2, "accumulate": 4},
         "train.batch_size = 4 cannot be shared equally by 2 devices and 4 micro-batches"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_made_is_one_line(settings, line):
    with pytest.raises(DataError) as caught:
        Order(seed=0, **settings)
    assert str(caught.value) == line


def equal(one, other):
    return (
        one.x.equal(other.x)
        and one.mask.equal(other.mask)
        and all(one.labels[name].equal(other.labels[name]) for name in one.labels)
    )


@given(drawn=orders(), start=st.integers(0, 9))
def test_training_that_starts_later_gets_the_batches_of_training_from_the_start(drawn, start):
    shape, shares = drawn
    data = sequences(*(1 + i % 4 for i in range(shape["count"])))
    order = Order(**shape, **shares)
    everything = list(train_batches(data, order, start=0, steps=10))
    rest = list(train_batches(data, order, start=start, steps=10))
    assert len(everything) == 10 * shares["accumulate"]
    tail = everything[start * shares["accumulate"] :]
    assert all(equal(one, other) for one, other in zip(tail, rest, strict=True))


def test_worker_processes_give_the_batches_of_a_single_one():
    data = sequences(*(1 + i % 4 for i in range(10)))
    order = Order(count=10, batch_size=4, seed=1)
    single = list(train_batches(data, order, start=2, steps=7))
    shared = list(train_batches(data, order, start=2, steps=7, workers=2))
    assert all(equal(one, other) for one, other in zip(single, shared, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_item_is_told_in_the_same_line_with_and_without_workers(workers):
    data = Sequences([torch.zeros(3, 2), torch.full((3, 2), math.nan)])
    order = Order(count=2, batch_size=2, seed=0)
    with pytest.raises(DataError) as caught:
        list(train_batches(data, order, start=0, steps=1, workers=workers))
    assert str(caught.value) == "item 1 of the train part: 6 of 6 values are NaN or infinite"


# Batches ----------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_batch_is_padded_to_its_longest_and_says_what_is_real(lengths):
    items = [
        {
            "x": np.full((length, 2, 3), i + 1.0),
            "digit": i,
            "pitch": float(i),
            "phone": torch.full((length,), i),
            "energy": torch.full((length,), float(i)),
        }
        for i, length in enumerate(lengths)
    ]
    batch = collate(items)
    rows = torch.arange(len(lengths))
    assert batch.x.shape == (len(lengths), max(lengths), 2, 3)
    assert batch.lengths.tolist() == lengths
    assert batch.x[~batch.mask].eq(0.0).all()
    assert batch.x[batch.mask].eq(rows.repeat_interleave(torch.tensor(lengths)).reshape(-1, 1, 1)
                                  + 1.0).all()  # fmt: skip
    assert batch.labels["digit"].equal(rows)
    assert batch.labels["pitch"].equal(rows.float())
    assert batch.labels["phone"][~batch.mask].eq(-1).all()
    assert batch.labels["energy"][~batch.mask].isnan().all()
    assert batch.labels["phone"][batch.mask].equal(rows.repeat_interleave(torch.tensor(lengths)))
    assert list(batch.labels) == ["digit", "pitch", "phone", "energy"]


@pytest.mark.parametrize(
    "extra",
    [
        {"length": 3},
        {"length": torch.tensor(3)},
        {"mask": torch.tensor([True, True, True, False, False])},
        {"mask": np.array([1, 1, 1, 0, 0])},
    ],
)
def test_an_items_length_or_mask_cuts_off_what_stands_behind_it(extra):
    x = torch.full((5, 2), math.nan)
    x[:3] = 1.0
    batch = collate([{"x": x, "phone": [1, 2, 3, 4, 5], **extra}, {"x": x[:3], "phone": [1, 2, 3]}])
    assert batch.x.equal(torch.ones(2, 3, 2))
    assert batch.labels["phone"].tolist() == [[1, 2, 3]] * 2


@pytest.mark.parametrize(
    "x",
    [
        torch.ones(3, 2),
        torch.ones(3, 2, dtype=torch.int16),
        torch.ones(3, 2, dtype=torch.float64),
        np.ones((3, 2)),
        [[1.0, 1.0]] * 3,
    ],
    ids=["float", "int16", "float64", "numpy", "lists"],
)
def test_frames_of_any_numbers_become_the_default_type(x):
    assert collate([x]).x.equal(torch.ones(1, 3, 2))
    assert collate([{"x": x}]).x.dtype == torch.float32


@given(
    st.lists(
        st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 3e38, -3e38]),
        min_size=1,
        max_size=6,
    )
)
def test_frames_are_refused_if_a_value_is_not_finite_and_not_if_their_sum_is_not(values):
    x = torch.tensor(values)[:, None]
    if bad := int((~x.isfinite()).sum()):
        with pytest.raises(DataError, match=f": {bad} of {len(values)} values are NaN or infinite"):
            collate([x])
    else:
        assert collate([x]).x[0].equal(x)


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (torch.full((2, 1), math.inf), "item 0 of the batch: 2 of 2 values are NaN or infinite"),
        (torch.zeros(3), "expected x of shape (T, *frame), T >= 1, got (3,)"),
        (torch.zeros(0, 3), "expected x of shape (T, *frame), T >= 1, got (0, 3)"),
        ({"y": 1}, "expected a tensor or a dict with 'x', got a dict with ['y']"),
        ("text", "expected x as numbers (T, *frame), got str"),
        ({"x": None}, "expected x as numbers (T, *frame), got NoneType"),
        ({"x": [["a"]]}, "expected x as numbers (T, *frame), got list"),
        ((torch.zeros(3, 2), 1), "expected a tensor or a dict with 'x', got tuple"),
        ({"x": torch.zeros(3, 2), "length": 4}, "expected a length in 1..3, got 4"),
        ({"x": torch.zeros(3, 2), "length": 0}, "expected a length in 1..3, got 0"),
        ({"x": torch.zeros(3, 2), "length": "all"}, "expected a length, got 'all'"),
        ({"x": torch.zeros(3, 2), "mask": [True, False, True]},
         "expected a mask (3,) that is True up to a length"),
        ({"x": torch.zeros(3, 2), "mask": [True]},
         "expected a mask (3,) that is True up to a length"),
        ({"x": torch.zeros(3, 2), "speaker": "anna"},
         "expected label 'speaker' as a number or one a frame, got 'anna'"),
        ({"x": torch.zeros(3, 2), "phone": [1, 2]},
         "expected label 'phone' of shape () or (3,), got (2,)"),
        ({"x": torch.zeros(3, 2), "phone": torch.zeros(3, 2)},
         "expected label 'phone' of shape () or (3,), got (3, 2)"),
    ],
)  # fmt: skip
def test_an_item_that_cannot_be_used_is_one_line(item, line):
    with pytest.raises(DataError) as caught:
        collate([item])
    assert str(caught.value).endswith(line)
    assert str(caught.value).startswith("item 0 of the batch: ")


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        ({"x": torch.zeros(3, 2)}, {"x": torch.zeros(3, 4)},
         "frames (2,) with no labels; frames (4,) with no labels"),
        ({"x": torch.zeros(3, 2), "a": 1}, {"x": torch.zeros(3, 2), "b": 1},
         "frames (2,) with global class 'a'; frames (2,) with global class 'b'"),
        ({"x": torch.zeros(3, 2), "a": 1}, {"x": torch.zeros(3, 2), "a": 1.5},
         "frames (2,) with global class 'a'; frames (2,) with global number 'a'"),
        ({"x": torch.zeros(3, 2), "a": 1}, {"x": torch.zeros(3, 2), "a": [1, 1, 1]},
         "frames (2,) with global class 'a'; frames (2,) with local class 'a'"),
    ],
)  # fmt: skip
def test_items_that_do_not_fit_together_are_one_line(one, other, line):
    with pytest.raises(DataError) as caught:
        collate([one, other])
    assert str(caught.value) == f"items 0 and 1 of the batch differ: {line}"


# Data sets --------------------------------------------------------------------------------------


@given(count=st.integers(1, 12), size=st.integers(1, 5))
def test_iterating_yields_every_item_once_in_order(count, size):
    batches = list(iterate(sequences(*([2] * count)), size))
    assert torch.cat([batch.labels["speaker"] for batch in batches]).tolist() == list(range(count))
    assert Counter(map(len, batches))[size] >= count // size


def test_a_data_set_of_bare_tensors_or_a_list_will_do():
    tensors = [torch.zeros(length, 2) for length in (1, 4, 2)]
    for data in (Sequences(tensors), tensors):
        (batch,) = iterate(data)
        assert batch.lengths.tolist() == [1, 4, 2]


def test_a_data_set_of_tuples_is_refused_in_one_line():
    data = TensorDataset(torch.zeros(3, 4, 2), torch.arange(3))
    line = "item 0 of the given part: expected a tensor or a dict with 'x', got tuple"
    with pytest.raises(DataError) as caught:
        list(iterate(data))
    assert str(caught.value) == line


def test_the_first_item_shows_the_shapes():
    item = {"x": torch.zeros(3, 1, 4), "speaker": 1, "phone": [1, 2, 3], "age": 30.0}
    shapes = data_shapes(Splits(train=[item], valid=[], test=[item]))
    assert shapes.frame == (1, 4)
    found = {name: (label.scope, label.family) for name, label in shapes.labels.items()}
    assert found == {
        "speaker": ("global", "class"),
        "phone": ("local", "class"),
        "age": ("global", "number"),
    }


@pytest.mark.parametrize(
    ("part", "data", "line"),
    [
        ("train", [], "the train part is empty"),
        ("test", [], "the test part is empty"),
        ("valid", iter([]), "the valid part: expected a map-style data set with a length, got "
         "list_iterator"),
        ("train", None, "the train part: expected a map-style data set with a length, got "
         "NoneType"),
    ],
)  # fmt: skip
def test_parts_that_cannot_be_trained_on_are_one_line(part, data, line):
    parts = {key: [torch.zeros(2, 1)] for key in ("train", "valid", "test")} | {part: data}
    with pytest.raises(DataError) as caught:
        check_splits(Splits(**parts))
    assert str(caught.value) == line


def test_a_valid_part_may_be_empty():
    splits = Splits(train=[torch.zeros(2, 1)], valid=[], test=[torch.zeros(2, 1)])
    assert check_splits(splits) is splits
