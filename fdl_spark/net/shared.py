"""Memory that processes of one host share: anonymous, so that nothing is left of it when they are killed.

The maker writes, everybody else reads: the kernel refuses to others what could write to it or shorten it (seals), so
that reading it is as safe as reading a message. The descriptor travels over a Unix socket, and no name leads to it.
"""

import mmap
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fdl_spark.net.connection import Connection

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

F_SEAL_FUTURE_WRITE = 0x0010  # of Linux 5.1; Python names it from 3.13 on
PIECE = 64 << 20  # bytes that are allocated at once
RESERVE = 64 << 20  # bytes that are left to others
# Files of a control group of version 2 and 1: the limit, what is used, and what of that is a cache that can go.
LIMITS = (
    ("memory.max", "memory.current", ("active_file", "inactive_file")),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")),
)


class SharedMemoryError(Exception):
    """Shared memory cannot be had, or is not what a peer must send: use sockets, or make room for it."""


def available() -> bool:
    """Whether this system has shared memory of this kind (Linux)."""
    return hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS") and hasattr(socket, "SCM_RIGHTS")


class Segment:
    """A piece of memory that the processes of one host share.

    Attributes:
      nbytes: its size.
      fd: the descriptor to send; closed with the segment.
      writable: whether this process made it.

    >>> with Segment.create(64) as mine, Segment.attach(os.dup(mine.fd)) as theirs:
    ...     mine.array(np.float32, 4)[:] = 2.5
    ...     theirs.array(np.float32, 2, offset=8)
    array([2.5, 2.5], dtype=float32)
    """

    def __init__(self, fd: int, memory: mmap.mmap, writable: bool):
        self.fd, self.nbytes, self.writable = fd, len(memory), writable
        self._memory: mmap.mmap | None = memory

    @classmethod
    def create(cls, nbytes: int) -> "Segment":
        """New memory, all zeros, that is there for good: no later use of it can fail for want of memory.

        Args:
          nbytes: its size, at least 1.

        Raises:
          SharedMemoryError: there is not so much memory, or this system has none of this kind.
        """
        if not available():
            raise SharedMemoryError("this system has no memfd_create: processes cannot share anonymous memory")
        if nbytes < 1:
            raise SharedMemoryError(f"shared memory of {nbytes} bytes: it must have at least 1")
        fd = os.memfd_create("fdl", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            _allocate(fd, nbytes)
            memory = mmap.mmap(fd, nbytes)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
            with suppress(OSError):  # before Linux 5.1 others could write; they are processes of this run
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals | fcntl.F_SEAL_SEAL)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError | MemoryError | OverflowError):
                raise _no_room(nbytes, getattr(error, "strerror", None) or str(error)) from error
            raise
        return cls(fd, memory, True)

    @classmethod
    def attach(cls, fd: int) -> "Segment":
        """The memory of another process, to be read.

        Args:
          fd: its descriptor in this process, which belongs to the segment from now on, or is closed on an error.

        Raises:
          SharedMemoryError: it is no memory that stays as long as it is.
        """
        try:
            if not available() or fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK == 0:
                raise SharedMemoryError("a peer sent a descriptor of memory that it could shorten while it is read")
            return cls(fd, mmap.mmap(fd, os.fstat(fd).st_size, access=mmap.ACCESS_READ), False)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError | ValueError):
                raise SharedMemoryError(f"a peer sent a descriptor that is not shared memory ({error})") from error
            raise

    def array(self, dtype: Any, count: int, offset: int = 0) -> np.ndarray:
        """A view of the memory, which stays mapped for as long as any view of it lives.

        Args:
          dtype: of the elements.
          count: how many.
          offset: bytes before the first.

        Returns:
          An array (count,), read-only unless this process made the memory.
        """
        if self._memory is None:
            raise SharedMemoryError("the shared memory is closed")
        needed = offset + count * np.dtype(dtype).itemsize
        if offset < 0 or count < 0 or needed > self.nbytes:
            raise SharedMemoryError(f"{count} elements of {dtype} from byte {offset} on do not fit in {self.nbytes}")
        return np.frombuffer(self._memory, np.uint8)[offset:needed].view(dtype)

    def close(self) -> None:
        """Close the descriptor and give the memory up, once the last view of it is gone. Closing twice does nothing."""
        if self._memory is not None:
            os.close(self.fd)
            self.fd, memory, self._memory = -1, self._memory, None
            with suppress(BufferError):  # views keep the map; it goes with the last of them
                memory.close()

    def __enter__(self) -> "Segment":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def send_segment(connection: Connection, segment: Segment) -> None:
    """Hand a segment to the peer at the other end of a Unix socket.

    Raises:
      PeerLost: the connection is broken.
    """
    connection.send_descriptor(segment.fd)


def receive_segment(connection: Connection) -> Segment:
    """The segment that the peer hands over by `send_segment`.

    Raises:
      PeerLost: the connection is broken, or the peer sent something else.
      SharedMemoryError: the descriptor is of something else.
    """
    return Segment.attach(connection.receive_descriptor())


def _no_room(nbytes: int, reason: str) -> SharedMemoryError:
    return SharedMemoryError(
        f"{nbytes} bytes of shared memory cannot be had on {socket.gethostname()} ({reason}); raise the executors' "
        f"memory limit (spark.executor.memoryOverhead), or run fewer tasks on a host"
    )


def _allocate(fd: int, nbytes: int) -> None:
    """Take the memory of a descriptor for good, piece by piece as long as there is enough.

    The kernel does not refuse it when there is none left: it kills processes, and others first, because memory of this
    kind is no process's own.
    """
    for start in range(0, nbytes, PIECE):
        size = min(PIECE, nbytes - start)
        left = _memory_left() - RESERVE
        if nbytes - start > left:
            raise _no_room(nbytes, f"{max(left, 0) + start} bytes are free there, without {RESERVE} left to others")
        os.posix_fallocate(fd, start, size)


def _memory_left() -> int:
    """Bytes that this process may still take, by what the host and the control groups it is in say."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, ValueError, KeyError):
        found.append(_numbers(Path("/proc/meminfo"))["MemAvailable:"] << 10)
    for folder in _control_groups():
        for limit, usage, caches in LIMITS:
            with suppress(OSError, ValueError):
                most, used = (int((folder / name).read_text()) for name in (limit, usage))
                statistics = _numbers(folder / "memory.stat")
                found.append(most - used + sum(statistics.get(name, 0) for name in caches))
    return min(found)


def _numbers(path: Path) -> dict[str, int]:
    """The numbers of a file of lines "name number"."""
    return {line.split()[0]: int(line.split()[1]) for line in path.read_text().splitlines()}


def _control_groups() -> list[Path]:
    """The folders that may hold limits of this process: its own control group's, and all above up to what it sees."""
    folders: list[Path] = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                root = Path("/sys/fs/cgroup", controllers)
                own = root / path.lstrip("/")
                folders += [own, *(folder for folder in own.parents if folder.is_relative_to(root))]
    return folders
