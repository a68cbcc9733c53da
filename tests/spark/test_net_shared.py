"""Memory that processes share: others read it, nobody shortens it, and nothing is left of it."""

import mmap
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import fdl_spark
from fdl_spark.net import shared
from fdl_spark.net.connection import Connection, PeerLost
from fdl_spark.net.shared import Segment, SharedMemoryError, receive_segment, send_segment

pytestmark = pytest.mark.skipif(not shared.available(), reason="this system shares no anonymous memory")


def descriptors():
    """Open files of this process; those of earlier tests may go at any time, when what holds them is collected."""
    return {(name, place) for name in os.listdir("/proc/self/fd") if (place := read(f"/proc/self/fd/{name}"))}


def read(link):
    with suppress(FileNotFoundError):  # the listing's own
        return os.readlink(link)
    return None


@pytest.fixture
def ends():
    mine, theirs = (Connection(sock, "here", "rank 1") for sock in socket.socketpair())
    with mine, theirs:
        yield mine, theirs


def test_what_one_writes_the_other_reads(ends, rng):
    mine, theirs = ends
    values = rng.normal(size=1000).astype(np.float32)
    with Segment.create(values.nbytes + 8) as made:
        send_segment(mine, made)
        mine.send_message("and then")
        with receive_segment(theirs) as seen:
            assert theirs.receive_message() == "and then"
            assert seen.nbytes == made.nbytes and made.writable and not seen.writable
            made.array(np.float32, 1000, offset=8)[:] = values
            np.testing.assert_array_equal(seen.array(np.float32, 1000, offset=8), values)
            assert not os.get_inheritable(seen.fd) and not os.get_inheritable(made.fd)


def test_views_keep_the_memory(ends):
    made = Segment.create(4096)
    view = made.array(np.int64, 512)
    made.close()
    made.close()
    view[:] = 7
    assert view.sum() == 7 * 512
    with pytest.raises(SharedMemoryError, match="closed"):
        made.array(np.int64, 1)
    assert made.fd == -1


@pytest.mark.parametrize(("count", "offset"), [(5, 0), (1, 16), (-1, 0), (1, -4), (1 << 60, 0)])
def test_a_view_lies_within_the_memory(count, offset):
    with Segment.create(16) as made, pytest.raises(SharedMemoryError, match="do not fit"):
        made.array(np.float32, count, offset)


def test_a_peer_cannot_write_shorten_or_lengthen(ends):
    mine, theirs = ends
    with Segment.create(8192) as made:
        send_segment(mine, made)
        with receive_segment(theirs) as seen:
            with pytest.raises(ValueError, match="read-only"):
                seen.array(np.uint8, 1)[0] = 1
            for size in (0, 4096, 16384):
                with pytest.raises(PermissionError):
                    os.ftruncate(seen.fd, size)
            with pytest.raises(PermissionError):
                mmap.mmap(seen.fd, 8192)
            with pytest.raises(PermissionError):
                os.pwrite(seen.fd, b"x", 0)
            assert made.array(np.uint8, 8192).sum() == 0


def foreign(kind, tmp_path):
    if kind == "a file":
        path = tmp_path / "file"
        path.write_bytes(bytes(100))
        return os.open(path, os.O_RDWR)
    if kind == "a pipe":
        reading, writing = os.pipe()
        os.close(writing)
        return reading
    fd = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    if kind == "memory that can shrink":
        os.ftruncate(fd, 100)
    return fd


@pytest.mark.parametrize("kind", ["a file", "a pipe", "memory that can shrink", "no memory"])
def test_what_a_peer_could_shorten_is_refused(ends, tmp_path, kind):
    mine, theirs = ends
    fd = foreign(kind, tmp_path)
    before = descriptors()
    mine.send_descriptor(fd)
    with pytest.raises(SharedMemoryError, match="a peer sent a descriptor"):
        receive_segment(theirs)
    assert descriptors() <= before
    os.close(fd)


def test_a_peer_that_sends_no_descriptor_or_several(ends):
    mine, theirs = ends
    mine.send(b"D")
    with pytest.raises(PeerLost, match="rank 1 on here sent something else where it must hand over shared memory"):
        receive_segment(theirs)
    with Segment.create(1) as made:
        before = descriptors()
        socket.send_fds(mine._socket, [b"D"], [made.fd] * 3)
        with pytest.raises(PeerLost, match="something else"):
            receive_segment(theirs)
        assert descriptors() <= before
    mine.close()
    with pytest.raises(PeerLost, match="closed the connection"):
        receive_segment(theirs)


@pytest.mark.parametrize("nbytes", [0, -1])
def test_memory_of_no_size(nbytes):
    with pytest.raises(SharedMemoryError, match="at least 1"):
        Segment.create(nbytes)


@pytest.mark.parametrize("nbytes", [1 << 45, 1 << 62, 1 << 70])
def test_more_memory_than_there_is(nbytes):
    """The kernel would not refuse it, but kill other processes until it is there."""
    before = descriptors()
    with pytest.raises(SharedMemoryError, match=rf"{nbytes} bytes of shared memory cannot be had on .*memoryOverhead"):
        Segment.create(nbytes)
    assert descriptors() <= before


def test_the_limit_of_a_control_group(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{200 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{110 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {7 << 20}\nactive_file {3 << 20}\n")
    monkeypatch.setattr(shared, "_control_groups", lambda: [Path("/nowhere"), tmp_path])
    with pytest.raises(SharedMemoryError, match=f"{36 << 20} bytes are free there"):
        Segment.create(90 << 20)
    with Segment.create(1 << 20):
        pass
    (tmp_path / "memory.max").write_text("max\n")
    assert shared._memory_left() > 100 << 20


def test_memory_that_goes_while_it_is_taken(monkeypatch):
    """As when several tasks of a host take theirs at once: what was taken is given back."""
    left = iter([300 << 20, 300 << 20, 90 << 20])
    monkeypatch.setattr(shared, "_memory_left", lambda: next(left))
    before = descriptors()
    with pytest.raises(SharedMemoryError, match=f"{(26 << 20) + (128 << 20)} bytes are free there"):
        Segment.create(200 << 20)
    assert descriptors() <= before


def test_nothing_is_left_of_a_process_that_is_killed(tmp_path):
    """Its memory is in no folder, and goes when it goes."""
    script = (
        "import os, signal, sys, types, numpy as np\n"
        "package = sys.modules['fdl_spark'] = types.ModuleType('fdl_spark')  # without all of Spark\n"
        f"package.__path__ = {list(fdl_spark.__path__)!r}\n"
        "from fdl_spark.net.shared import Segment\n"
        "made = Segment.create(1 << 20); made.array(np.uint8, 1 << 20)[:] = 1\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -9
    assert not list(tmp_path.iterdir()) and not list(Path("/dev/shm").glob("*fdl*"))


def test_all_of_it_is_there_at_once():
    """Pages are allocated when it is made, not when they are touched, or a full host would kill the process."""
    with Segment.create(1 << 22) as made:
        assert os.fstat(made.fd).st_blocks * 512 >= 1 << 22


def test_a_system_without_it(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    assert not shared.available()
    with pytest.raises(SharedMemoryError, match="memfd_create"):
        Segment.create(1)
