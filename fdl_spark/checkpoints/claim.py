"""One run at a time in a folder of checkpoints: two would set each other's files aside, and mix their histories.

On this machine's file systems, and on shared ones that have locks (NFS, Lustre, CephFS), a run holds a lock of the
kernel's, which ends with its process, however that ends. It is a POSIX one: processes that are forked do not inherit
it. Where there are no locks (HDFS, object stores) nobody can tell a dead run from a living one: there the folder
belongs to the run that came last, and the one before finds that out before it writes its next checkpoint.
"""

import errno
import json
import logging
import os
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import UTC, datetime

from fdl_spark.checkpoints.files import FAILED, Files, LocalFiles

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("fdl_spark")

NAME = ".lock"
PLACE = 1 << 30  # the byte that is locked; where locks are mandatory, as on SMB, others can read those before it
PATIENCE = 1.0  # seconds for a process that was just killed to end
TAKEN = (errno.EAGAIN, errno.EACCES)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)

_held: dict[tuple[int, int], int] = {}  # device and number of files that are locked, and by which process
_claiming = threading.Lock()


class Taken(Exception):
    """The folder is another run's; says whose."""


class Claim(ABC):
    """A run's hold on a folder."""

    @abstractmethod
    def check(self) -> None:
        """Raise Taken if another run has the folder now."""

    @abstractmethod
    def release(self) -> None:
        """Let others have the folder."""


def claim(files: Files) -> Claim:
    """Make a folder this run's.

    Args:
      files: of the folder, which is there.

    Raises:
      Taken: a run that lives has it.
      what FAILED lists: nothing can be written there.
    """
    content = json.dumps(
        {"host": socket.gethostname(), "pid": os.getpid(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
        | {"run": uuid.uuid4().hex}
    ).encode()
    if isinstance(files, LocalFiles) and fcntl is not None:
        try:
            return Lock(f"{files.path}/{NAME}", content)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
    return Mark(files, content)


class Lock(Claim):
    """A lock of the kernel's on a file that says whose it is; the file is deleted when it is released."""

    def __init__(self, path: str, content: bytes):
        self.path, end = path, time.monotonic() + PATIENCE
        while (handle := self._locked(time.monotonic() > end)) is None:
            time.sleep(0.02)
        self._handle = handle
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, content, 0)
        except BaseException:
            self.release()
            raise

    def _locked(self, last: bool) -> int | None:
        """A descriptor of the locked file; None if that is another's, or was deleted meanwhile."""
        with _claiming:
            # Closing a second descriptor would release what this process has locked: look before it is opened.
            with suppress(FileNotFoundError):
                state = os.stat(self.path)
                if _held.get((state.st_dev, state.st_ino)) == os.getpid():
                    raise Taken(f"another call to train in this process, {os.getpid()} on {socket.gethostname()}")
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, PLACE)
                state = os.fstat(handle)
                if os.path.samestat(state, os.stat(self.path)):
                    _held[state.st_dev, state.st_ino] = os.getpid()
                    return handle
            except FileNotFoundError:  # deleted by who had it
                pass
            except OSError as error:
                if error.errno not in TAKEN:
                    os.close(handle)
                    raise
                if last:
                    text = owner(os.pread(handle, 4096, 0))
                    os.close(handle)
                    raise Taken(text) from None
            os.close(handle)
            return None

    def check(self) -> None:
        pass

    def release(self) -> None:
        with _claiming:
            state = os.fstat(self._handle)
            if _held.pop((state.st_dev, state.st_ino), None) == os.getpid():
                with suppress(OSError):
                    os.unlink(self.path)
            os.close(self._handle)


class Mark(Claim):
    """A file that says whose the folder is, and that the next run writes anew."""

    def __init__(self, files: Files, content: bytes):
        self.files, self.content = files, content
        if NAME in files.names():
            if before := files.read(NAME):
                text = "the checkpoints' folder was last used by %s; if that run goes on, it writes no more of them"
                log.warning(text, owner(before))
            files.delete(NAME)
        files.write(NAME, content)

    def check(self) -> None:
        found = self._read()
        if found != self.content:
            raise Taken(owner(found))

    def release(self) -> None:
        with suppress(*FAILED):
            if self._read() == self.content:
                self.files.delete(NAME)

    def _read(self) -> bytes:
        return self.files.read(NAME) if NAME in self.files.names() else b""


def owner(content: bytes) -> str:
    """Whose a folder is, by what a run wrote into it."""
    try:
        found = json.loads(content)
        return f"process {found['pid']} on {found['host']}, since {found['since']}"
    except (ValueError, KeyError, TypeError):
        return "another run, which does not say whose it is"
