"""Blocks on disk: written whole or not at all, refused when they are not as they were written."""

import errno
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from fdl_spark.data import block as module
from fdl_spark.data.block import BlockMissing, NewBlock, delete_files
from fdl_spark.data.dealing import delete_rows, route_rows, write_rows
from fdl_spark.data.shards import Schedule
from fdl_spark.spark.directories import free_bytes, local_directories
from fdl_spark.spark.disks import DiskFull, allocate

SCHEDULE = Schedule(rows=50, batch_size=10, shards=3, seed=4)
COLUMNS = {"x": ("<f4", (3,)), "n": ("|b1", ()), "none": ("<f8", (0,))}
ROWS = {"x": np.arange(150, dtype=np.float32).reshape(50, 3), "n": np.arange(50) % 3 == 0, "none": np.zeros((50, 0))}


@pytest.fixture
def disks(tmp_path, monkeypatch):
    """Two local directories of an executor."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", ",".join(map(str, folders)))
    return folders


def write(name="name", schedule=SCHEDULE, columns=COLUMNS, rows=ROWS, tasks=1):
    """The blocks of all tasks, routed and written as Spark's tasks do."""
    sent = list(route_rows(schedule, tasks, {0: {(): 0}}, 0, [((), rows)]))
    return [
        block
        for task in range(tasks)
        for block in write_rows(name, schedule, tasks, columns, task, [p for to, p in sent if to == task])
    ]


@pytest.fixture
def block(disks):
    return write()[0]


def everything(block):
    """All rows of a block, sorted by the column that numbers them."""
    parts = [block.batch(s, np.arange(block.schedule.shard_rows(s)), {"x": "x", "n": "n"}) for s in block.shards]
    x, n = (np.concatenate([part[name] for part in parts]) for name in ("x", "n"))
    order = np.argsort(x[:, 0])
    return x[order], n[order]


def files(disks):
    return [path for disk in disks for path in disk.rglob("*") if path.is_file()]


def test_batches_are_the_rows_of_the_shards(block):
    for shard in block.shards:
        rows = np.arange(50)
        shards, slots = SCHEDULE.deal(rows)
        mine = rows[shards == shard][np.argsort(slots[shards == shard])]
        chosen = np.array([4, 0, 0, 11])
        batch = block.batch(shard, chosen, {"a": ("x", "n"), "b": "none"})
        np.testing.assert_array_equal(batch["a"][0], ROWS["x"][mine[chosen]])
        np.testing.assert_array_equal(batch["a"][1], ROWS["n"][mine[chosen]])
        assert batch["b"].shape == (4, 0)
        run = block.batch(shard, slice(2, 7), "x")
        np.testing.assert_array_equal(run, ROWS["x"][mine[2:7]])


def test_a_handle_travels_without_its_map(block):
    before = len(pickle.dumps(block))
    assert block.arrays["x"].shape == (50, 3)
    again = pickle.loads(pickle.dumps(block))
    assert again == block
    assert len(pickle.dumps(block)) == before
    np.testing.assert_array_equal(again.arrays["x"], block.arrays["x"])


def test_handles_of_many_shards_are_small(disks):
    schedule = Schedule(30_000, 64, 10_000, 0)
    blocks = write(schedule=schedule, columns={"n": ("<i8", ())}, rows={"n": np.arange(30_000)}, tasks=2)
    assert [len(block.shards) for block in blocks] == [5000, 5000]
    assert max(len(pickle.dumps(block)) for block in blocks) < 600
    found = [block.batch(shard, slice(0, 3), "n") for block in blocks for shard in block.shards]
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(30_000))


def test_shards_without_rows(disks):
    schedule = Schedule(2, 2, 5, 0)
    blocks = write(schedule=schedule, rows={name: array[:2] for name, array in ROWS.items()}, tasks=5)
    sizes = [len(block.batch(block.shards[0], slice(0, schedule.shard_rows(n)), "x")) for n, block in enumerate(blocks)]
    assert sizes == [1, 1, 0, 0, 0]
    assert blocks[4].batch(4, schedule.slots(0, 4), "x").shape == (0, 3)


def test_a_thousand_columns(disks):
    columns = {f"c{n}": ("<i4", ()) for n in range(1000)}
    rows = {name: np.arange(50, dtype=np.int32) + n for n, name in enumerate(columns)}
    (block,) = write(columns=columns, rows=rows)
    batch = block.batch(1, np.arange(5), {name: name for name in columns})
    for n, name in enumerate(columns):
        np.testing.assert_array_equal(batch[name], batch["c0"] + n)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def link(path):
    moved = path.rename(f"{path}.moved")
    path.symlink_to(moved)


def folder(path):
    path.unlink()
    path.mkdir()


def other_file(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"x")
    path.chmod(0o600)


CHANGES = {
    "gone": lambda path: path.unlink(),
    "its folder gone": lambda path: [path.unlink(), path.parent.rmdir()],
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: os.truncate(path, 100),
    "one byte short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "first bit": lambda path: flip(path, 0),
    "a bit inside": lambda path: flip(path, 333),
    "last bit": lambda path: flip(path, -1),
    "a link": link,
    "a folder": folder,
    "a pipe": lambda path: [path.unlink(), os.mkfifo(path)],
    "another file": other_file,
    "open to others": lambda path: path.chmod(0o666),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("seen", [False, True])
def test_a_changed_file_is_no_block(block, kind, seen):
    """Whether or not this process has found it good before."""
    if seen:
        assert everything(block)[0].shape == (50, 3)
    os.utime(block.path, (1, 1))  # the times of files are coarse: this change could come in the same tick
    if seen:
        assert everything(block)[0].shape == (50, 3)
    CHANGES[kind](Path(block.path))
    with pytest.raises(BlockMissing):
        _ = pickle.loads(pickle.dumps(block)).arrays  # as the next task does


@pytest.mark.parametrize("kind", ["cut off", "zeros", "a bit inside", "another file", "longer"])
def test_a_file_that_changes_under_a_task_is_noticed_by_the_next_batch(block, kind):
    everything(block)
    os.utime(block.path, (1, 1))
    CHANGES[kind](Path(block.path))
    with pytest.raises(BlockMissing, match=r"bytes in place of|does not hold what was written"):
        block.batch(0, np.arange(3), "x")


def test_a_file_that_is_deleted_under_a_task_is_read_to_its_end(block):
    expected = everything(block)
    os.unlink(block.path)
    for one, other in zip(everything(block), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_no_block(block):
    Path(block.path).chmod(0)
    with pytest.raises(BlockMissing):
        _ = block.arrays


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_a_block_of_another_user_is_none(block):
    """As when two users' executors share a host: the task goes elsewhere, or the block is made again."""
    os.chown(block.path, 54321, -1)
    with pytest.raises(BlockMissing, match="belongs to the user"):
        _ = block.arrays


def test_content_is_read_once_a_process(block, monkeypatch):
    read = []
    monkeypatch.setattr(zlib, "crc32", lambda buffer: read.append(len(buffer)) or 0)
    monkeypatch.setattr(module, "_checksums", {})
    for _ in range(3):
        with pytest.raises(BlockMissing):  # 0 is not its checksum
            _ = pickle.loads(pickle.dumps(block)).arrays
    assert len(read) == 1


def test_what_is_remembered_of_files_is_bounded(block, monkeypatch):
    monkeypatch.setattr(module, "KEPT_CHECKSUMS", 3)
    monkeypatch.setattr(module, "_checksums", {})
    for second in range(7):
        os.utime(block.path, (second, second))
        _ = block.arrays
    assert len(module._checksums) == 3


def test_a_process_keeps_nothing_of_a_deleted_file(block):
    path = block.path
    everything(block)
    assert path in Path("/proc/self/maps").read_text()
    os.unlink(path)
    block.__dict__.clear()  # as at the end of a task
    assert path not in Path("/proc/self/maps").read_text()


def refuse(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_is_passed_over_for_another(disks, monkeypatch):
    real = os.posix_fallocate
    full = max(disks, key=free_bytes)

    def allocate_elsewhere(handle, start, size):
        if os.readlink(f"/proc/self/fd/{handle}").startswith(str(full)):
            refuse()
        real(handle, start, size)

    monkeypatch.setattr(os, "posix_fallocate", allocate_elsewhere)
    (block,) = write()
    assert Path(block.path).parent in set(disks) - {full}
    assert len(files(disks)) == 1
    np.testing.assert_array_equal(everything(block)[0], ROWS["x"])


def test_full_disks_are_named_with_their_bytes_and_keep_nothing(disks, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(DiskFull) as told:
        write()
    for disk in disks:
        assert f"{disk} on " in str(told.value)
    assert str(told.value).count("No space left on device (704 bytes needed, ") == 2
    assert str(told.value).count(" bytes free)") == 2
    assert files(disks) == []


def test_a_failure_while_writing_keeps_nothing(disks):
    with pytest.raises(pickle.UnpicklingError):
        list(write_rows("name", SCHEDULE, 1, COLUMNS, 0, [b"nonsense"]))
    assert files(disks) == []


SMALL = """
import os, resource, signal, sys
from fdl_spark.data.block import NewBlock
from fdl_spark.data.shards import Schedule
from fdl_spark.spark.disks import DiskFull
if sys.argv[1] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
if sys.argv[2] == "write":
    del os.posix_fallocate
schedule = Schedule(1 << 20, 1, 1, 0)
try:
    NewBlock("name", range(1), schedule, {"x": ("<f8", ())})
except DiskFull as full:
    print(full)
"""


def small(folder, *words):
    """What a process says that needs 8 MiB where there is room for 1."""
    env = {**os.environ, "SPARK_LOCAL_DIRS": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SMALL, *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("by", ["allocate", "write"])
def test_a_limit_of_file_sizes_is_a_full_disk(tmp_path, by):
    assert "File too large (8388608 bytes needed, " in small(tmp_path, "limit", by)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", ["allocate", "write"])
def test_a_small_file_system_is_a_full_disk(tmp_path, by):
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small file system, and not everywhere")
    try:
        assert "No space left on device (8388608 bytes needed, 1048576 bytes free)" in small(tmp_path, "disk", by)
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_file_systems_that_cannot_allocate_are_written_to(tmp_path, monkeypatch):
    def cannot(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", cannot, raising=False)
    with open(tmp_path / "file", "w+b") as file:
        allocate(file.fileno(), 3_000_001)
        assert os.fstat(file.fileno()).st_size == 3_000_001
        assert os.fstat(file.fileno()).st_blocks * 512 >= 3_000_001


def test_deleted_folders_are_made_again_for_blocks_and_for_spark(disks):
    for disk in disks:
        disk.rmdir()
    (block,) = write()
    np.testing.assert_array_equal(everything(block)[0], ROWS["x"])
    assert [len(list(disk.glob("[0-3][0-9a-f]"))) for disk in disks] == [64, 64]
    assert all(disk.stat().st_mode & 0o077 == 0 for disk in disks)


def test_all_files_of_one_data_set_are_deleted(disks):
    write()
    write()
    (other,) = write("another")
    disks[0].joinpath("fdl-name-folder.block").mkdir()  # what cannot be deleted does not keep the rest
    delete_rows("name", None, iter([b"handle"]))
    assert [str(path) for path in files(disks)] == [other.path]
    disks[1].joinpath("fdl-name-folder.block").mkdir()
    for disk in disks:
        disk.chmod(0o500)
    delete_files("another")  # never raises
    for disk in disks:
        disk.chmod(0o700)


def test_deleted_local_directories_are_made_again_in_a_task(monkeypatch, tmp_path):
    """With the executor's own folder around them, and the one beside them that the driver was told is gone."""
    root, beside, others = (tmp_path / path for path in ("executor/blockmgr-1", "executor/spark-1", "other/spark-1"))
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(root))
    delete_rows("name", str(others), [])
    assert root.stat().st_mode & 0o777 == 0o700 and len(list(root.iterdir())) == 64
    assert not beside.exists() and not others.exists()
    delete_rows("name", str(beside), [])
    assert beside.is_dir() and not list(beside.iterdir())


def test_no_folder_can_be_had(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path / "file" / "below"))
    assert local_directories() == [tmp_path / "file" / "below"]
    with pytest.raises(DiskFull, match=r"no local directory of Spark takes a block: .*/file/below on .*: Not a direct"):
        NewBlock("name", range(3), SCHEDULE, COLUMNS)
