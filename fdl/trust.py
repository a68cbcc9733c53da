"""Checks that nobody else can have written a folder or file; machine code is loaded from no others (decision 022)."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_MOST_LINKS = 40  # as Linux's path resolution


class UntrustedError(PermissionError):
    """Another user may have written a folder or file; the message names it and the reason."""


def check_folder(path: Path, create: bool = False) -> None:
    """Raise unless this user owns a folder and nobody else (but root) can change it or put another in its place.

    The path is walked from the root down, through symbolic links. Nobody else can rename or replace the contents of a
    folder that passed, so a check stays true while the next component is checked, and afterwards.

    Args:
        path: the folder.
        create: whether to make missing folders, for this user only.

    Raises:
        UntrustedError: another user owns a component or may write to it; a sticky folder, such as /tmp, may be above.
        OSError: the folder is not there, or is no folder, or cannot be made.
    """
    if os.name == "nt":
        _check_profile(path, create)
        return
    here, *rest = path.absolute().parts
    left, links = rest[::-1], 0
    _check(here, os.lstat(here), stat.S_IFDIR, shared=True)
    while left:
        below = os.path.join(here, left.pop())
        state = _state(below, create)
        if stat.S_ISLNK(state.st_mode):
            _check(below, state, stat.S_IFLNK, shared=True)
            target, links = Path(os.readlink(below)), links + 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            here = target.anchor or here
            left += [part for part in reversed(target.parts) if part != target.anchor]
        else:
            _check(below, state, stat.S_IFDIR, shared=True)
            here = below
    _check(here, os.lstat(here), stat.S_IFDIR, shared=False)


@contextmanager
def open_trusted(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for reading if this user owns it and nobody else may write to it.

    The check is of the opened file, not of its path, so that the file cannot be exchanged in between.

    Args:
        path: the file.

    Raises:
        UntrustedError: another user owns the file or may write to it, or it is a symbolic link or no file.
        OSError: it cannot be opened.
    """
    # A pipe must not keep the opening waiting for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UntrustedError(f"{os.fspath(path)} is a symbolic link") from None
        raise
    with os.fdopen(handle, "rb") as file:
        _check(os.fspath(path), os.fstat(handle), stat.S_IFREG, shared=False)
        yield file


def _state(path: str, create: bool) -> os.stat_result:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    return os.lstat(path)


def _check(path: str, state: os.stat_result, kind: int, shared: bool) -> None:
    """Raise unless a file of this kind is safe; a `shared` one may belong to root, or be sticky and open to all."""
    if stat.S_IFMT(state.st_mode) != kind:
        if kind == stat.S_IFDIR:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        raise UntrustedError(f"{path} is not a regular file")
    if os.name == "nt":
        return
    me = os.geteuid()
    if state.st_uid not in ({me, 0} if shared else {me}):
        raise UntrustedError(f"{path} belongs to the user {_name(state.st_uid)}, not to {_name(me)}")
    if kind == stat.S_IFLNK or (shared and state.st_mode & stat.S_ISVTX):
        return  # links have no modes of their own
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = f"{stat.S_IMODE(state.st_mode):04o}"
        raise UntrustedError(f"others than {_name(me)} may write to {path} (mode {mode}; `chmod go-w` closes it)")


def _check_profile(path: Path, create: bool) -> None:
    """On Windows, whose modes do not tell, check that a folder is in the user's profile, closed to others."""
    home = Path.home().resolve()
    if not path.resolve().is_relative_to(home):
        raise UntrustedError(f"{path} is outside of {home}, so others may be able to write to it")
    if create:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    elif not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _name(uid: int) -> str:
    with suppress(ImportError, KeyError):
        import pwd

        return repr(pwd.getpwuid(uid).pw_name)
    return str(uid)
