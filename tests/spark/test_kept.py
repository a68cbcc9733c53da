"""The state between steps is whole, of the step asked for, or missing."""

import pickle
import struct

import numpy as np
import pytest

from fdl_spark.data.layout import Layout
from fdl_spark.engines.between import Between
from fdl_spark.engines.common.cuts import slices
from fdl_spark.engines.common.kept import Kept, Slice, StateMissing
from fdl_spark.engines.common.sealed import read_sealed, sealed_size, write_sealed
from fdl_spark.net.cipher import RECORD
from fdl_spark.spark.repeated import HEAD, START, STOP

LEAVES = [
    np.arange(10, dtype=np.float32),
    np.float64(3.5) * np.ones(()),
    np.arange(10, 20).astype(np.float32),
    np.int32([7]),
]


def part(number=0, start=4, stop=10):
    """A slice and what is kept of it."""
    own = Slice(number, start, stop, 10, Layout.of(LEAVES))
    return own.cut(Layout.of(LEAVES).pack(LEAVES)), own.layout


def kept(key=None, **which):
    leaves, layout = part(**which)
    return leaves, Kept("run", f"slice {which.get('number', 0)}", layout, key)


KEYS = [None, bytes(range(32))]


@pytest.fixture(autouse=True)
def roots(tmp_path, monkeypatch):
    """Two local directories, as an executor has on two disks."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", ",".join(map(str, folders)))
    return folders


def files(roots):
    return sorted(path.name for root in roots for path in root.iterdir())


@pytest.mark.parametrize("key", KEYS, ids=["clear", "encrypted"])
def test_a_slice_is_read_as_it_was_written(roots, key):
    leaves, own = kept(key)
    own.write(1, 5, leaves, 4)
    for found, leaf in zip(own.read(1, 5), [LEAVES[0][4:], LEAVES[1], LEAVES[2][4:], LEAVES[3]], strict=True):
        assert found.dtype == leaf.dtype
        np.testing.assert_array_equal(found, leaf)
        assert not found.flags.writeable
    (path,) = [path for root in roots for path in root.iterdir()]
    assert (LEAVES[0][4:].tobytes() in path.read_bytes()) == (key is None)


@pytest.mark.parametrize("key", KEYS, ids=["clear", "encrypted"])
def test_a_state_of_nothing(key):
    """Plain gradient descent has none."""
    own = Kept("run", "slice 0", Layout.of([]), key)
    own.write(1, 1, [], 0)
    assert own.read(1, 1) == []


@pytest.mark.parametrize("key", KEYS, ids=["clear", "encrypted"])
@pytest.mark.parametrize("cuts", [(), (0, 4, 10)], ids=["whole", "slices"])
def test_what_ranks_leave_between_groups(roots, key, cuts):
    """Each rank finds the parameters and its own slice of the state, after the step asked for only."""
    weights = np.linspace(0, 1, 10, dtype=np.float32)
    between = Between("run", 2, Layout.of([weights]), Layout.of(LEAVES), cuts, key)
    slices = [(0, 4), (4, 10)] if cuts else [(0, 10)] * 3

    def own(rank):
        return [leaf[slice(*slices[rank])] if leaf.size == 10 else leaf for leaf in LEAVES]

    for rank in range(3):
        assert between.write(rank, 7, weights, own(rank) if rank < len(slices) else [], 4)
    for rank in range(3):
        found, leaves = between.read(rank, 7)
        found[0] += 1  # it is the rank's own
        np.testing.assert_array_equal(between.read(rank, 7)[0], weights)
        expected = own(rank) if rank < len(slices) else []
        assert len(leaves) == len(expected)
        for leaf, other in zip(leaves, expected, strict=True):
            np.testing.assert_array_equal(leaf, other)
    assert between.read(0, 4) is between.read(3, 7) is None
    assert all(name.startswith("fdl-run-rank") for name in files(roots))


def test_ranks_that_can_leave_nothing(tmp_path, monkeypatch):
    """The next group starts from what the driver has."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path / "file"))
    between = Between("run", 1, Layout.of(LEAVES[:1]), Layout.of([]), (), None)
    assert not between.write(0, 1, LEAVES[0], [], 0)
    assert between.read(0, 1) is None


def test_a_task_that_is_repeated_finds_what_it_needs(roots):
    leaves, own = kept()
    for step in (1, 2, 3, 3):
        own.write(1, step, leaves, step - 1)
    own.read(1, 2)
    own.read(1, 3)
    assert len(files(roots)) == 2
    for branch, step in ((1, 1), (1, 4), (2, 3)):
        with pytest.raises(StateMissing, match=f"state of slice 0 after step {step} is not on this executor"):
            own.read(branch, step)


def test_what_steps_that_are_left_out_need_stays(roots):
    leaves, own = kept()
    own.write(1, 5, leaves, 4)
    for step in (6, 7, 8):
        own.write(1, step, leaves, 5)
        own.read(1, 5)
        assert len(files(roots)) == 2


def test_a_late_task_deletes_nothing_that_is_needed(roots):
    leaves, own = kept()
    for branch, step in ((1, 7), (1, 8), (1, 3), (2, 4), (1, 9)):
        own.write(branch, step, leaves, step - 1)
    own.read(2, 4)
    own.write(2, 5, leaves, 4)
    own.read(2, 4)
    assert len(files(roots)) == 2


@pytest.mark.parametrize("key", KEYS, ids=["clear", "encrypted"])
def test_a_file_that_is_not_whole_is_missing(roots, key):
    leaves, own = kept(key)
    own.write(1, 1, leaves, 0)
    (path,) = [path for root in roots for path in root.iterdir()]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StateMissing):
        own.read(1, 1)


def test_an_encrypted_file_opens_only_as_what_it_was_written(roots):
    leaves, own = kept(KEYS[1])
    own.write(1, 1, leaves, 0)
    (path,) = [path for root in roots for path in root.iterdir()]
    content = path.read_bytes()
    path.write_bytes(content[:30] + bytes([content[30] ^ 1]) + content[31:])
    with pytest.raises(StateMissing):
        own.read(1, 1)
    path.with_name(path.name.replace("-1-1.", "-1-2.")).write_bytes(content)  # of another step
    with pytest.raises(StateMissing):
        own.read(1, 2)
    path.write_bytes(content)
    own.read(1, 1)
    with pytest.raises(StateMissing):
        Kept("run", "slice 0", own.layout, bytes(32)).read(1, 1)


@pytest.mark.parametrize("size", [0, 1, RECORD - 1, RECORD, 2 * RECORD + 5])
def test_sealed_files_of_all_lengths(tmp_path, rng, size):
    content = rng.integers(0, 256, size, np.uint8)
    with open(tmp_path / "file", "wb") as file:
        write_sealed(file, KEYS[1], "name", content)
    written = (tmp_path / "file").read_bytes()
    assert len(written) == sealed_size(size)
    np.testing.assert_array_equal(read_sealed(memoryview(written), KEYS[1], "name", size), content)
    if size > RECORD:  # records that have changed places
        first, second = (slice(at, at + RECORD + 20) for at in (16, 16 + RECORD + 20))
        swapped = bytearray(written)
        swapped[first], swapped[second] = written[second], written[first]
        assert read_sealed(memoryview(swapped), KEYS[1], "name", size) is None


def test_a_write_that_fails_leaves_nothing(roots):
    leaves, own = kept()
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        own.write(1, 1, leaves[:-1], 0)
    assert files(roots) == []


def test_forgetting_spares_other_slices(roots):
    leaves, own = kept()
    others, other = kept(number=1, start=0, stop=4)
    other.write(1, 1, others, 0)
    for step in (1, 2, 3):
        own.write(1, step, leaves, step - 1)
    other.read(1, 1)
    assert len(files(roots)) == 3


def test_slices_cover_the_parameters():
    for size in (0, 1, 1023, 1024, 5000, 1_000_000):
        for most in (1, 2, 3, 16):
            cuts = slices(size, most)
            assert cuts[0] == 0
            assert cuts[-1] == size
            assert len(cuts) - 1 <= max(1, most)
            assert cuts == sorted(cuts)


def test_what_is_broadcast_is_a_pickle_whose_bytes_start_at_a_cache_line():
    data = np.arange(1000, dtype=np.float32).tobytes()
    content = HEAD + struct.pack("<Q", len(data)) + data + STOP
    assert pickle.loads(content) == data
    assert content[START : -len(STOP)] == data
    assert START % 64 == 0
