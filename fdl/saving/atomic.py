"""Files that are whole or not there."""

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file, which replaces one that is there when all of it is on the disk.

    Args:
        path: of the file.
        pieces: its content.

    Raises:
        OSError: it cannot be written; what was there stays.
    """

    def fill(unfinished: Path) -> None:
        with open(unfinished, "xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())

    make_atomically(path, fill)


def make_atomically(path: str | os.PathLike[str], make: Callable[[Path], object]) -> None:
    """Have a file made under another name beside `path`, and renamed when it is whole.

    Raises:
        OSError: there is no such folder, or the file cannot be written; what was there stays.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.unfinished")
    try:
        make(unfinished)
        with suppress(FileNotFoundError):
            unfinished.chmod(stat.S_IMODE(path.stat().st_mode))  # what was private stays so
        os.replace(unfinished, path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    if os.name == "nt":
        return  # folders cannot be opened
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems have no such thing for folders
            os.fsync(handle)
    finally:
        os.close(handle)
