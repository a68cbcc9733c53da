"""The state between steps is whole, of the step asked for, or missing."""

import pickle
import struct

import numpy as np
import pytest

from fdl_spark.engines.cuts import slices
from fdl_spark.engines.kept import Kept, Layout, StateMissing
from fdl_spark.repeated import HEAD, START, STOP

LEAVES = [
    np.arange(10, dtype=np.float32),
    np.float64(3.5) * np.ones(()),
    np.arange(10, 20).astype(np.float32),
    np.int32([7]),
]


def kept(number=0, start=4, stop=10):
    return Kept("run", number, start, stop, 10, Layout.of(LEAVES))


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


def test_a_slice_is_read_as_it_was_written(roots):
    own = kept()
    leaves = own.cut(Layout.of(LEAVES).pack(LEAVES))
    own.write(1, 5, leaves)
    for found, leaf in zip(own.read(1, 5), [LEAVES[0][4:], LEAVES[1], LEAVES[2][4:], LEAVES[3]], strict=True):
        assert found.dtype == leaf.dtype
        np.testing.assert_array_equal(found, leaf)
        assert not found.flags.writeable


def test_a_state_of_nothing():
    """Plain gradient descent has none."""
    own = Kept("run", 0, 0, 10, 10, Layout.of([]))
    own.write(1, 1, [])
    assert own.read(1, 1) == []


def test_a_task_that_is_repeated_finds_what_it_needs(roots):
    own = kept()
    leaves = own.cut(Layout.of(LEAVES).pack(LEAVES))
    for step in (1, 2, 3, 3):
        own.write(1, step, leaves)
    own.read(1, 2)
    own.read(1, 3)
    assert len(files(roots)) == 2
    for branch, step in ((1, 1), (1, 4), (2, 3)):
        with pytest.raises(StateMissing, match=f"state of slice 0 after step {step} is not on this executor"):
            own.read(branch, step)


def test_a_file_that_is_not_whole_is_missing(roots):
    own = kept()
    own.write(1, 1, own.cut(Layout.of(LEAVES).pack(LEAVES)))
    (path,) = [path for root in roots for path in root.iterdir()]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StateMissing):
        own.read(1, 1)


def test_a_write_that_fails_leaves_nothing(roots):
    own = kept()
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        own.write(1, 1, own.cut(Layout.of(LEAVES).pack(LEAVES))[:-1])
    assert files(roots) == []


def test_forgetting_spares_other_slices(roots):
    own, other = kept(), kept(1, 0, 4)
    for one in (own, other):
        one.write(1, 1, one.cut(Layout.of(LEAVES).pack(LEAVES)))
    own.forget()
    other.read(1, 1)
    assert len(files(roots)) == 1


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
