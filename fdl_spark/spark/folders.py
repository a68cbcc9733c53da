"""The temporary folder of this process, and the deletion of those whose processes were killed.

A process marks its folder by a lock (`flock`) that it holds until it ends, however it ends. The kernel keeps that
account, so that neither reused process numbers nor containers that share /tmp can make a living process look dead.
Spark's own folders belong to its JVM, which several Python processes may share: they are found dead by the JVM's
process number and start time. What cannot be told for certain, as after a reboot, is left alone.
"""

import atexit
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fdl_spark.spark.classic import SparkContext

try:
    import fcntl
except ImportError:  # Windows: folders are not marked, and none is swept
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("fdl_spark")

PREFIX = "fdl-spark-"
SHORT = "/tmp"  # where folders are made if TMPDIR is too long for them
LONGEST = 60  # a Unix socket's path has 104 bytes at most, of which Spark's names take 42
LOCK = "lock"  # held while the process lives; deleted last, so that what a killed sweep leaves is swept again
JVMS = "jvms"  # a line of JSON for each JVM whose folders hold files of ours
OURS = re.compile(re.escape(PREFIX) + r"([a-z0-9_]{8})")
SPARKS = re.compile(r"spark-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BLOCKS = re.compile(r"blockmgr-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ENDED = "ZX"  # states of a process that has ended and that nobody has asked about yet
FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)

_made: dict[int, Path] = {}  # by process: a forked one makes its own
_held: list[int] = []  # descriptors of locks
_noted: set[str] = set()  # Spark applications whose JVM is noted
_making = threading.RLock()


def private_folder() -> Path:
    """A folder of this process that only this user can enter; it is deleted when the process ends, or by the next
    process that makes one if this one is killed."""
    with _making:
        pid = os.getpid()
        if pid not in _made:
            sweep()
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_roots()[-1]))
            with suppress(OSError):  # a file system without locks: then the folder is never taken for dead
                _mark(folder)
            atexit.register(_end, folder, pid)
            _made[pid] = folder
        return _made[pid]


def owner(context: SparkContext) -> str:
    """A name of this process for the files that its tasks write into Spark's folders.

    Notes, once a Spark application, which folders those are, so that they are deleted if driver and JVM are killed.

    Args:
      context: a SparkContext.
    """
    folder = private_folder()
    with _making:
        if context.applicationId not in _noted:
            _noted.add(context.applicationId)
            with suppress(Exception):  # a JVM that cannot be asked cleans up after itself, unless it is killed
                _note(folder, context)
    return folder.name.removeprefix(PREFIX)


def sweep() -> list[Path]:
    """Delete the folders that killed processes of this user left on this machine, and what their JVMs left.

    Returns:
      The folders that were deleted. Never raises: what cannot be deleted stays for the next time.
    """
    swept: list[Path] = []
    if fcntl is None or not shutil.rmtree.avoids_symlink_attacks:
        return swept
    for root in map(Path, _roots()):
        with suppress(OSError):
            for name in sorted(filter(OURS.fullmatch, os.listdir(root))):
                with suppress(OSError, ValueError, KeyError, TypeError):
                    swept += _sweep(root / name)
    if swept:
        log.info("deleted what processes that were killed had left: %s", ", ".join(map(str, swept)))
    return swept


def process_start(pid: int) -> str | None:
    """When a process of this machine started, in ticks since the machine did; None if it has ended, or never was."""
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return None if state in ENDED else numbers[18]
    except (OSError, IndexError):
        return None


def _roots() -> list[str]:
    """Where folders of ours may be; new ones are made in the last."""
    root = tempfile.gettempdir()
    short = len(os.fsencode(root)) + len(PREFIX) + 9 <= LONGEST
    return [root] if short or not os.access(SHORT, os.W_OK | os.X_OK) else [root, SHORT]


def _mark(folder: Path) -> None:
    """Lock a folder before anybody can see the lock: a file of this name is either locked or dead."""
    unseen = folder / f"{LOCK}.new"
    handle = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(handle, json.dumps({"machine": _machine(), "pid": os.getpid()}).encode())
        os.rename(unseen, folder / LOCK)
    except BaseException:
        os.close(handle)
        os.unlink(unseen)
        raise
    _held.append(handle)


def _end(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked process that ends as this one would have ended
        with suppress(OSError), _opened(folder) as handle:
            _remove(folder, handle)


def _note(folder: Path, context: SparkContext) -> None:
    """Write down the JVM of a context and its folders, if it runs where this process sees it."""
    pid = int(context._jvm.java.lang.ProcessHandle.current().pid())
    start = process_start(pid)
    files = context._jvm.org.apache.spark.SparkFiles.getRootDirectory()
    folders = {os.path.dirname(path) for path in (context._temp_dir, files)}
    roots = os.environ.get("SPARK_LOCAL_DIRS") or context.getConf().get("spark.local.dir") or ""
    note = {
        "pid": pid,
        "start": start,
        "namespace": _namespace("self"),
        "folders": sorted(path for path in folders if SPARKS.fullmatch(os.path.basename(path))),
        "roots": sorted({os.path.dirname(path) for path in folders} | set(filter(None, roots.split(",")))),
    }
    if start is not None and _namespace(str(pid)) == note["namespace"]:
        with open(folder / JVMS, "a") as file:
            file.write(json.dumps(note) + "\n")


def _namespace(pid: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def _machine() -> str:
    """A name of this machine since its start; where there is none, the locks of its /tmp are this machine's anyway."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _sweep(folder: Path) -> list[Path]:
    with _opened(folder) as handle, _dead(handle):
        jvms = []
        with suppress(FileNotFoundError):
            jvms = [json.loads(line) for line in _read(handle, JVMS).splitlines()]
        if any(_lives(jvm) for jvm in jvms):
            return []
        mark = folder.name.removeprefix(PREFIX)
        theirs = [path for jvm in jvms for path in _spark_folders(jvm, mark)]
        gone = [path for path in theirs if _removed(path)]
        if any(path.exists() for path in theirs):
            return gone
        return [*gone, folder] if _remove(folder, handle) else gone


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor of a folder, not of a link to one; what is done by it happens in this folder and no other."""
    handle = os.open(folder, FOLDER)
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to another user")
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _dead(folder: int) -> Iterator[None]:
    """Hold the lock of a folder whose process is dead, against other sweeps.

    Raises:
      OSError: it lives, or that cannot be told.
    """
    handle = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW, dir_fd=folder)
    try:
        state = os.fstat(handle)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen = os.stat(LOCK, dir_fd=folder, follow_symlinks=False)
        mark = json.loads(os.read(handle, 1 << 16))
        if not os.path.samestat(state, seen) or not stat.S_ISREG(state.st_mode) or mark["machine"] != _machine():
            raise OSError("another process or machine may be at work here")
        yield
    finally:
        os.close(handle)


def _read(folder: int, name: str) -> str:
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)) as file:
        return file.read()


def _lives(jvm: dict[str, Any]) -> bool:
    """Whether a JVM runs, as far as this process can tell."""
    if jvm["namespace"] != _namespace("self"):
        return True
    return process_start(jvm["pid"]) == jvm["start"]


def _spark_folders(jvm: dict[str, Any], mark: str) -> Iterator[Path]:
    """The folders of a dead JVM: those noted, and its block manager's, which hold block files with the mark."""
    for path in map(Path, jvm["folders"]):
        if SPARKS.fullmatch(path.name) and path.is_absolute() and _is_mine(path):
            yield path
    for root in map(Path, jvm["roots"]):
        with suppress(OSError):
            for name in filter(BLOCKS.fullmatch, os.listdir(root)):
                if _is_mine(root / name) and any(entry.startswith(f"fdl-{mark}-") for entry in os.listdir(root / name)):
                    yield root / name


def _is_mine(path: Path) -> bool:
    """Whether a path is a folder of this user, not a link to one."""
    with suppress(OSError):
        state = os.lstat(path)
        return stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()
    return False


def _removed(path: Path) -> bool:
    """Delete a folder; whether it is gone by this."""
    with suppress(OSError), _opened(path) as handle:
        return _remove(path, handle)
    return False


def _remove(path: Path, handle: int) -> bool:
    """Delete what is in an opened folder, the lock last, and the folder; links are deleted, not followed."""
    for name in os.listdir(handle):
        if name != LOCK:
            if stat.S_ISDIR(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=handle, ignore_errors=True)
            else:
                os.unlink(name, dir_fd=handle)
    if set(os.listdir(handle)) - {LOCK}:
        return False
    with suppress(FileNotFoundError):
        os.unlink(LOCK, dir_fd=handle)
    os.rmdir(path)
    return True
