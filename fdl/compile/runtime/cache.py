"""The disk cache of machine code: files named by content, written atomically, bounded in size, checked when read."""

import contextlib
import hashlib
import os
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

from fdl.config import SETTINGS
from fdl.trust import UntrustedError, check_folder, open_trusted

_MAGIC = b"fdl object 1\n"
_CHECKSUM_BYTES = hashlib.sha256().digest_size


class ObjectCache:
    """A directory of object files.

    An entry is a checksum followed by the bytes. What cannot be read, or does not match its checksum, counts as
    missing; what cannot be written (a full or read-only disk) is left out. Processes of one user may share the
    directory. Its content is run, so that a directory or file which others can write is not used, with one warning.

    Args:
        directory: where the files are; made when the first one is written. None keeps nothing.
        limit: bytes that the files may take together; the ones not used for longest are deleted.
    """

    def __init__(self, directory: Path | None, limit: int = 512 * 2**20) -> None:
        self.directory, self.limit = directory, limit
        self._size: int | None = None
        self._told = False

    def get(self, key: str) -> bytes | None:
        """The bytes stored under `key` (hexadecimal), or None."""
        if self.directory is None:
            return None
        path = self._path(key)
        try:
            check_folder(self.directory)
            with open_trusted(path) as file:
                data = file.read()
        except OSError as error:
            self._tell(error)
            return None
        start = len(_MAGIC) + _CHECKSUM_BYTES
        body = data[start:]
        if data[:start] != _header(body):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return body

    def put(self, key: str, body: bytes) -> None:
        """Store `body` under `key`."""
        if self.directory is None:
            return
        path = self._path(key)
        try:
            check_folder(self.directory, create=True)
            handle, temporary = tempfile.mkstemp(dir=self.directory, suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_header(body) + body)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            self._tell(error)
            return
        self._bound(len(body))

    def refusal(self) -> str | None:
        """Why the directory is not used, if others can write it."""
        try:
            if self.directory is not None:
                check_folder(self.directory)
        except UntrustedError as error:
            return str(error)
        except OSError:
            pass
        return None

    def _tell(self, error: OSError) -> None:
        if isinstance(error, UntrustedError) and not self._told:
            self._told = True
            warnings.warn(
                f"no machine code is loaded from {self.directory}, because others could have put it there: {error}. "
                "Set FDL_CACHE_DIR to a folder that only you can write, or leave it empty for no cache",
                RuntimeWarning,
                stacklevel=2,
            )

    def _path(self, key: str) -> Path:
        assert self.directory is not None
        return self.directory / f"{key}.o"

    def _bound(self, added: int) -> None:
        """Delete old entries once the directory is over its limit, down to three quarters of it."""
        assert self.directory is not None
        if self._size is not None and self._size + added <= self.limit:
            self._size += added
            return
        entries = []
        for path in [*self.directory.glob("*.o"), *self.directory.glob("*.part")]:
            with contextlib.suppress(OSError):
                state = path.stat()
                entries.append((state.st_mtime_ns, state.st_size, path))
        self._size = sum(size for _, size, _ in entries)
        if self._size <= self.limit:
            return
        for _, size, path in sorted(entries):
            if self._size <= self.limit * 3 // 4:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            self._size -= size


def _header(body: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(body).digest()


def default_directory() -> Path | None:
    """``FDL_CACHE_DIR`` if it is set, otherwise a folder in the user's cache directory; None if there is to be none."""
    named = SETTINGS["cache_dir"].read()
    try:
        if named is not None:
            return Path(named).expanduser() if named else None
        home = Path.home()
    except RuntimeError:  # a user without a home, as containers have them
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "fdl"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "fdl" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "fdl"


def default_cache() -> ObjectCache:
    """The cache in `default_directory`."""
    return _cache_at(default_directory())


@cache
def _cache_at(directory: Path | None) -> ObjectCache:
    return ObjectCache(directory)
