"""Frames that need not be in memory: rows, cuts, sums."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seqvae_core.errors import DataError
from seqvae_data import normalise
from seqvae_data.frames import Cut, Rows, Stats, check_finite

NUMBERS = st.floats(-1e3, 1e3, width=32)


@st.composite
def frames(draw, channels=None):
    channels = channels or draw(st.integers(1, 3))
    shape = (draw(st.integers(1, 8)), channels, *draw(st.sampled_from([(), (2, 3)])))
    return draw(hnp.arrays(np.float32, shape, elements=NUMBERS))


@st.composite
def within(draw, length):
    """Draw the bounds of a stretch that is not empty."""
    start = draw(st.integers(0, length - 1))
    return start, draw(st.integers(start + 1, length))


# Cut ---------------------------------------------------------------------------------------------


@given(st.data())
def test_a_cut_is_what_a_slice_of_the_array_is(data):
    whole = data.draw(frames())
    start, stop = data.draw(within(len(whole)))
    cut = Cut(whole, start, stop)
    piece = slice(*data.draw(st.tuples(*[st.none() | st.integers(-10, 10)] * 2)))

    assert cut.shape == whole[start:stop].shape
    assert np.array_equal(cut[:], whole[start:stop])
    assert np.array_equal(cut[piece], whole[start:stop][piece])


@given(st.data())
def test_a_cut_of_a_cut_is_one_cut(data):
    whole = data.draw(frames())
    start, stop = data.draw(within(len(whole)))
    first, last = data.draw(within(stop - start))

    twice = Cut(Cut(whole, start, stop), first, last)

    once = Cut(whole, start + first, start + last)
    assert twice.shape == once.shape
    assert np.array_equal(twice[:], once[:])


# Stats -------------------------------------------------------------------------------------------


def close(one, other):
    assert one.count == other.count
    np.testing.assert_allclose(one.total, other.total, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(one.square, other.square, rtol=1e-9, atol=1e-3)


@given(st.lists(frames(channels=2).filter(lambda x: x.ndim == 2), min_size=1, max_size=5))
def test_merged_sums_are_the_sums_of_all_frames_together(parts):
    together = Stats.of(np.concatenate(parts))

    close(Stats.merged([Stats.of(part) for part in parts]), together)
    close(Stats.merged([Stats.of(part) for part in parts[::-1]]), together)


@given(frames())
def test_sums_are_those_of_each_channel_over_frames_and_grid(x):
    stats = Stats.of(x)

    flat = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1).astype(np.float64)
    assert stats.count == flat.shape[1]
    np.testing.assert_allclose(stats.total, flat.sum(1), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(stats.square / stats.count, flat.var(1), rtol=1e-6, atol=1e-3)


def test_a_large_mean_does_not_drown_a_small_deviation():
    x = 1e6 + np.random.default_rng(0).normal(size=(1000, 1))
    parts = [Stats.of(piece) for piece in np.split(x, 10)]

    assert np.sqrt(Stats.merged(parts).square / 1000) == pytest.approx(x.std(), rel=1e-9)


def test_thousands_of_sums_may_come_one_after_another():
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(10_000, 2, 1))

    fitted = normalise.fit(Stats.of(row) for row in x)

    assert fitted["mean"] == pytest.approx([x.mean()])
    assert fitted["std"] == pytest.approx([x.std()])


# Rows --------------------------------------------------------------------------------------------

X = np.arange(5 * 4 * 3).reshape(5, 4, 3).astype(np.float32)
LENGTHS = np.array([4, 1, 3, 2, 4])
LABELS = {"speaker": np.array(list("abcab")), "phone": np.arange(20).reshape(5, 4)}
ROWS = Rows(X, LABELS, "x.npz", LENGTHS)


def same(one, other):
    assert one.name == other.name
    assert one.source == other.source
    assert np.array_equal(one.x[:], other.x[:])
    assert all(np.array_equal(one.labels[name], other.labels[name]) for name in LABELS)


def test_a_row_has_its_real_frames_and_its_labels():
    example = ROWS[3]

    assert example.x.shape == (2, 3)
    assert np.array_equal(example.x[:], X[3, :2])
    assert example.labels["speaker"] == "a"
    assert example.labels["phone"].tolist() == [12, 13]
    assert (example.source, example.name) == ("x.npz, row 3", "row 3")


@given(st.lists(st.integers(-5, 4), max_size=6), st.data())
def test_taken_rows_are_rows_of_the_whole(positions, data):
    taken = ROWS.take(positions)

    assert len(taken) == len(positions)
    for example, position in zip(taken, positions, strict=True):
        same(example, ROWS[position])
    if positions:
        again = data.draw(st.lists(st.integers(0, len(positions) - 1), max_size=6))
        for example, position in zip(taken.take(again), again, strict=True):
            same(example, ROWS[positions[position]])


@given(st.slices(5))
def test_a_slice_of_rows_is_rows(piece):
    chosen = ROWS[piece]

    assert isinstance(chosen, Rows)
    assert [example.name for example in chosen] == [f"row {i}" for i in range(5)[piece]]


def test_a_row_that_is_not_there_ends_the_rows():
    with pytest.raises(IndexError):
        ROWS[5]
    with pytest.raises(IndexError):
        ROWS.take([0])[1]
    assert len(list(ROWS)) == 5


def test_rows_of_a_map_are_copies_whose_pages_are_let_go(tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 100, 160)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = Rows(mapped, {}, "x.npy")

    assert all(np.array_equal(row.x[:], own) for row, own in zip(rows, x, strict=True))

    assert rows[0].x[:].flags.writeable
    assert resident(tmp_path / "x.npy") <= 1 << 20


def resident(path):
    """Return how many bytes of a mapped file count as this process's memory."""
    if not Path("/proc/self/smaps").is_file():
        pytest.skip("only Linux tells what is resident")
    lines = Path("/proc/self/smaps").read_text().splitlines()
    kept = [i for i, line in enumerate(lines) if line.endswith(str(path))]
    return sum(
        1024 * int(next(line for line in lines[i:] if line.startswith("Rss:")).split()[1])
        for i in kept
    )


# Finite ------------------------------------------------------------------------------------------


def test_values_that_are_not_finite_are_counted():
    check_finite(np.array([1, 2]))
    check_finite(np.array([1.0, 2.0]))
    with pytest.raises(DataError, match="2 of 3 values are NaN or infinite"):
        check_finite(np.array([1.0, np.nan, -np.inf]))


def test_rows_say_lengths_and_names_as_their_examples_do():
    x, lengths = np.zeros((7, 5, 2)), np.array([1, 5, 2, 3, 4, 5, 1])
    for real in (None, lengths):
        rows = Rows(x, {}, "x.npy", real).take([6, 2, 2, 0])
        assert rows.frames == [example.x.shape[0] for example in rows]
        assert rows.names == [example.name for example in rows]
