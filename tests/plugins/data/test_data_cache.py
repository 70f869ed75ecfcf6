"""Features on disk: computed once, and right after kills, damage, full disks and two at once."""

import multiprocessing
import os
import time
import warnings
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

from seqvae_core.errors import DataError
from seqvae_data import cache
from seqvae_data.cache import Features, compute_all
from seqvae_data.config import CacheConfig

resource = pytest.importorskip("resource")  # before a fork, and not on every system


class Reader:
    """Reads text files of numbers, and counts how often."""

    def __init__(self):
        self.read = []

    def __call__(self, path):
        self.read.append(path.name)
        if not path.is_file():
            raise DataError("cannot be read: No such file or directory")
        values = path.read_text().split()
        if values[:1] == ["bad"]:
            raise DataError("expected numbers, got 'bad'")
        x = np.array(values, dtype=np.float64)[:, None]
        return Features(x=x, facts={"sum": float(x.sum()), "pair": (1, 2)})

    def taken(self):
        taken, self.read = sorted(self.read), []
        return taken


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture
def config(tmp_path):
    return CacheConfig(folder=tmp_path / "cache", workers=2)


@pytest.fixture
def write(tmp_path):
    """Write files long ago, each time a second later: such times of change can be relied on."""
    long_ago = count(time.time() - 9999)

    def write(when=None, **contents):
        paths = []
        when = when or next(long_ago)
        for name, content in contents.items():
            path = tmp_path / f"{name}.txt"
            path.write_text(content)
            os.utime(path, (when, when))
            paths.append(path)
        return paths

    return write


def values(found):
    return [each.x[:].ravel().tolist() for each in found]


def entries(config):
    return sorted(config.folder.glob("features/[0-9a-f][0-9a-f]/*"))


def tables(config):
    return sorted(config.folder.glob("features/tables/*.safetensors"))


# Once --------------------------------------------------------------------------------------------


def test_features_come_in_the_order_of_the_files_and_are_computed_once(reader, config, write):
    files = write(a="3 1", b="2 5 4")

    cold = compute_all(files[::-1], reader, "r1", config)
    assert reader.taken() == ["a.txt", "b.txt"]
    warm = compute_all(files[::-1], reader, "r1", config)
    assert reader.taken() == []

    for found in (cold, warm):
        assert values(found) == [[2, 5, 4], [3, 1]]
        assert [each.index for each in found] == [0, 1]
        assert [each.x.shape for each in found] == [(3, 1), (2, 1)]
        assert found[0].x[1:2].tolist() == [[5]]
        assert dict(found[0].facts) == {"sum": 11.0, "pair": [1, 2]}
        assert (found[0].stats.count, found[0].stats.total.tolist()) == (3, [11.0])
        assert found[0].stats.square == pytest.approx(14 / 3)


def test_features_in_memory_are_those_of_the_disk_and_write_nothing(reader, config, write):
    files = write(a="3 1", b="2 5 4")
    disk = compute_all(files, reader, "r1", config)
    free = CacheConfig(keep=False, folder=config.folder / "none")

    memory = compute_all(files, reader, "r1", free)

    assert not free.folder.exists()
    assert len(reader.taken()) == 4
    for one, other in zip(memory, disk, strict=True):
        assert np.array_equal(one.x[:], other.x[:])
        assert (one.index, one.facts, one.x.shape) == (other.index, other.facts, other.x.shape)
        assert np.array_equal(one.stats.total, other.stats.total)
        assert np.array_equal(one.stats.square, other.stats.square)


def test_files_of_the_same_content_are_computed_once(config, write):
    files = write(**{f"copy{i}": "7 8" for i in range(8)})

    class Slow(Reader):
        def __call__(self, path):
            time.sleep(0.05)
            return super().__call__(path)

    reader = Slow()
    found = compute_all(files, reader, "r1", evolve(config, workers=4))

    assert values(found) == [[7, 8]] * 8
    assert len(reader.taken()) == 1
    assert len(entries(config)) == 1


def test_another_place_or_time_of_the_same_bytes_computes_nothing(reader, config, write, tmp_path):
    (path,) = write(a="1 2")
    compute_all([path], reader, "r1", config)
    moved = path.rename(tmp_path / "moved.txt")
    os.utime(moved)
    reader.taken()

    compute_all([moved], reader, "r1", config)

    assert reader.taken() == []


def test_a_changed_byte_or_parameter_computes_anew(reader, config, write):
    compute_all(write(a="1 2", b="5"), reader, ("r", 1), config)
    reader.taken()

    assert values(compute_all(write(a="1 3", b="5"), reader, ("r", 1), config)) == [[1, 3], [5]]
    assert reader.taken() == ["a.txt"]
    compute_all(write(a="1 3", b="5"), reader, ("r", 2), config)
    assert reader.taken() == ["a.txt", "b.txt"]


def test_a_file_that_changes_while_it_is_read_is_refused(config, write):
    def compute(path):
        path.write_text("1 2 3 4 5")
        return Features(x=np.ones((2, 1)))

    with pytest.raises(DataError, match=r"a\.txt: changed while it was read"):
        compute_all(write(a="1 2"), compute, "r1", config)
    assert entries(config) == []


def test_a_warm_start_opens_one_table_and_no_source(reader, config, write, monkeypatch):
    files = write(a="1 2", b="5")
    compute_all(files, reader, "r1", config)
    opened = []
    sources, whole = cache.checksum, cache._opened
    monkeypatch.setattr(cache, "checksum", lambda path: opened.append(path) or sources(path))
    monkeypatch.setattr(cache, "_opened", lambda path: opened.append(path) or whole(path))

    found = compute_all(files, reader, "r1", config)

    assert opened == tables(config)
    assert len(opened) == 1
    assert values(found) == [[1, 2], [5]]


def test_files_that_have_just_changed_are_looked_into_again(reader, config, write):
    """A second change within the clock's tick would leave size and time as they are."""
    now = time.time()
    files = write(when=now, a="1 2")
    compute_all(files, reader, "r1", config)
    write(when=now, a="1 3")

    assert values(compute_all(files, reader, "r1", config)) == [[1, 3]]
    assert tables(config) == []


def test_files_with_other_numbers_of_channels_keep_their_own(config, write):
    def compute(path):
        return Features(x=np.arange(6.0).reshape(-1, int(path.read_text())))

    files = write(a="2", b="3", c="1")
    compute_all(files, compute, "r1", config)
    warm = compute_all(files, compute, "r1", config)

    assert [each.stats.total.tolist() for each in warm] == [[6, 9], [3, 5, 7], [15]]


def test_bytes_of_either_order_and_of_any_kind_of_number_come_back(config, write):
    for name in (">f4", "<f8", "u1", ">i2", "?"):
        x = np.arange(4).astype(name).reshape(2, 2)
        (found,) = compute_all(write(a=name), lambda _, x=x: Features(x=x), name, config)
        assert np.array_equal(found.x[:], x)
        assert found.x[:].dtype == x.dtype.newbyteorder("=")


# Faults of files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [True, False])
def test_a_file_that_cannot_be_used_is_named_and_the_first_counts(reader, config, write, keep):
    files = write(a="1", b="bad", c="bad")
    with pytest.raises(DataError, match=r"/b\.txt: expected numbers, got 'bad'$"):
        compute_all(files, reader, "r1", evolve(config, keep=keep))


@pytest.mark.parametrize("keep", [True, False])
def test_files_that_cannot_be_used_are_left_out_counted_and_listed(reader, config, write, keep):
    files = [*write(a="1", b="bad", c="nan"), Path("/no/d.txt"), *write(e="2")]
    config = evolve(config, keep=keep)

    for _ in range(2):
        with pytest.warns(UserWarning, match="left out 3 files") as caught:
            found = compute_all(files, reader, "r1", config, on_error="skip")
        assert [each.index for each in found] == [0, 4]
        assert values(found) == [[1], [2]]
        (text,) = [str(warning.message) for warning in caught]
        assert "/b.txt: expected numbers, got 'bad'; " in text
        assert "/c.txt: 1 of 1 values are NaN or infinite; " in text
        assert text.endswith("/no/d.txt: cannot be read: No such file or directory")
        assert caught[0].filename == __file__


def test_a_file_left_out_is_tried_again_and_the_others_are_not(reader, config, write):
    files = write(a="1", b="bad")
    with pytest.warns(UserWarning, match="left out 1 files"):
        compute_all(files, reader, "r1", config, on_error="skip")
    reader.taken()
    mended = Reader()
    mended.__class__ = type("Mended", (Reader,), {"__call__": lambda self, path: (
        self.read.append(path.name), Features(x=np.ones((1, 1))))[1]})  # fmt: skip

    found = compute_all(files, mended, "r1", config, on_error="skip")

    assert values(found) == [[1], [1]]
    assert mended.taken() == ["b.txt"]


def test_when_no_file_can_be_used_the_first_reason_is_given(reader, config, write):
    files = write(a="bad", b="bad")
    with (
        pytest.warns(UserWarning, match="left out 2"),
        pytest.raises(DataError, match=r"none of the 2 files can be used, the first: .*a\.txt"),
    ):
        compute_all(files, reader, "r1", config, on_error="skip")
    with pytest.raises(DataError, match="none of the 0 files"):
        compute_all([], reader, "r1", config)


@pytest.mark.parametrize("x", [np.zeros(3), np.zeros((0, 2)), np.zeros((2, 0))])
def test_features_without_frames_are_refused(config, write, x):
    with pytest.raises(DataError, match=r"a\.txt: expected frames \(T, \*frame\), got \("):
        compute_all(write(a="1"), lambda _: Features(x=x), "r1", config)


def test_an_error_that_is_no_data_s_is_not_hidden(config, write):
    def compute(_):
        raise OSError("a bug")

    with pytest.raises(OSError, match="a bug"):
        compute_all(write(a="1"), compute, "r1", config)


# Damage to the cache -----------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def garbage(path):
    path.write_bytes(b"junk" * 40)


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    from safetensors.numpy import save

    path.write_bytes(save({"x": np.ones(3)}))


DAMAGE = [cut, garbage, empty, foreign]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_computed_anew_with_a_warning_that_names_it(
    reader, config, write, damage
):
    files = write(a="1 2", b="5")
    compute_all(files, reader, "r1", config)
    reader.taken()
    entry = entries(config)[0]
    damage(entry)

    with pytest.warns(UserWarning, match=f"the cache file {entry} is damaged; it was computed"):
        found = compute_all(files, reader, "r1", config)

    assert values(found) == [[1, 2], [5]]
    assert len(reader.taken()) == 1
    assert values(compute_all(files, reader, "r1", config)) == [[1, 2], [5]]
    assert reader.taken() == []


@pytest.mark.parametrize("damage", [*DAMAGE, os.unlink])
def test_a_damaged_table_is_written_anew(reader, config, write, damage):
    files = write(a="1 2", b="5")
    compute_all(files, reader, "r1", config)
    reader.taken()
    (table,) = tables(config)
    good = table.read_bytes()
    damage(table)

    assert values(compute_all(files, reader, "r1", config)) == [[1, 2], [5]]
    assert reader.taken() == []
    assert table.read_bytes() == good


def test_a_deleted_entry_is_computed_anew(reader, config, write):
    files = write(a="1 2", b="5")
    compute_all(files, reader, "r1", config)
    reader.taken()
    entries(config)[0].unlink()

    assert values(compute_all(files, reader, "r1", config)) == [[1, 2], [5]]
    assert len(reader.taken()) == 1


def test_an_entry_that_is_damaged_while_in_use_is_named(reader, config, write):
    (found,) = compute_all(write(a="1 2"), reader, "r1", config)
    garbage(entries(config)[0])
    with pytest.raises(DataError, match=f"the cache file {entries(config)[0]} is damaged"):
        found.x[:]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_cache_that_cannot_be_written_is_no_fault_of_the_files(reader, config, write, on_error):
    config.folder.write_text("in the way")
    said = r"the cache .*/features/tables: .*; set data\.cache\.folder, or data\.cache\.keep = f"
    with pytest.raises(DataError, match=said):
        compute_all(write(a="1"), reader, "r1", config, on_error=on_error)


# Other processes ---------------------------------------------------------------------------------

MEANS = [float(i) for i in range(8)]


def child(folder, *, slow=0.0, limit=0):
    """Begin to compute the mean of every file in another process; its answer is in `pipe`."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("processes cannot be forked here")
    context = multiprocessing.get_context("fork")
    pipe, other = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(other, folder, slow, limit))
    process.start()
    other.close()
    return process, pipe


def _child(pipe, folder, slow, limit):
    def compute(path):
        with (folder / "log").open("a") as log:
            log.write(f"{path.name}\n")
        time.sleep(slow)
        return Features(x=np.full((500, 4), float(path.read_text())))

    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    config = CacheConfig(folder=folder / "cache", workers=2)
    try:
        found = compute_all(sorted(folder.glob("*.txt")), compute, "r1", config, on_error="skip")
    except DataError as error:
        pipe.send(str(error))
    else:
        pipe.send([float(each.x[:].mean()) for each in found])


def answer(started):
    process, pipe = started
    with pipe:
        said = pipe.recv()
    process.join()
    process.close()
    return said


@pytest.fixture
def numbers(write):
    return write(**{f"n{i}": str(i) for i in range(8)})


def test_after_a_kill_no_half_entry_is_read_and_the_rest_is_computed(tmp_path, config, numbers):
    log = tmp_path / "log"
    killed, pipe = child(tmp_path, slow=0.1)
    with pipe:
        while not (log.is_file() and len(log.read_text().split()) >= 4):
            time.sleep(0.01)
        killed.kill()
        killed.join()
    before = entries(config)
    assert 1 <= len(before) < 8
    assert tables(config) == []
    half = before[0].with_name(f".{'0' * 40}.safetensors.{killed.pid}.tmp")
    half.write_bytes(b"half")  # as a kill in the middle of writing would leave it
    log.unlink()

    assert answer(child(tmp_path)) == MEANS
    assert len(log.read_text().split()) == 8 - len([p for p in before if p.name[0] != "."])
    assert len(tables(config)) == 1


def test_two_processes_at_once_compute_each_file_once_and_agree(tmp_path, config, numbers):
    children = [child(tmp_path, slow=0.02) for _ in range(2)]

    assert [answer(started) for started in children] == [MEANS, MEANS]
    assert sorted((tmp_path / "log").read_text().split()) == [path.name for path in numbers]
    assert len(entries(config)) == 8


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, config, numbers):
    said = answer(child(tmp_path, limit=1000))

    assert "\n" not in said
    assert said.startswith(f"the cache {config.folder / 'features'}")
    assert "File too large" in said
    assert said.endswith("data.cache.keep = false for features in memory")
    assert entries(config) == []


def test_a_run_without_faults_warns_of_nothing(reader, config, write):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_all(write(a="1"), reader, "r1", config)
