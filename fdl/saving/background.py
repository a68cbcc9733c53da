"""Files that are written while the program goes on."""

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

from fdl.core.markup import heading
from fdl.saving.atomic import write_atomically


class Saving:
    """A file that is being written, which `fdl.save(..., wait=False)` returns.

    An interpreter that ends waits for it. If the file cannot be written and nobody calls `wait`, there is a warning.
    """

    def __init__(self, path: str, future: "Future[None]") -> None:
        self.path, self._future, self._told = path, future, False

    def wait(self, timeout: float | None = None) -> None:
        """Return when the file is on the disk.

        Args:
            timeout: the most seconds to wait; for ever by default.

        Raises:
            OSError: it cannot be written; what was there stays.
            TimeoutError: it is not written yet.
        """
        try:
            self._future.result(timeout)
        finally:
            self._told = self._future.done()

    def done(self) -> bool:
        """Whether it is written, or cannot be."""
        return self._future.done()

    def _state(self) -> str:
        return "being written" if not self.done() else "failed" if self._future.exception() else "written"

    def __repr__(self) -> str:
        return f"Saving({self.path!r}, {self._state()})"

    def _repr_html_(self) -> str:
        return heading("Saving", self.path, self._state())

    def __del__(self) -> None:
        if not self._told and self._future.done() and (error := self._future.exception()):
            warnings.warn(f"{self.path} was not written: {error}", RuntimeWarning, stacklevel=2)


def in_background(path: str | os.PathLike[str], pieces: Iterable[bytes | memoryview]) -> Saving:
    """Write a file atomically on another thread, after those that were begun before."""
    future = _writer(os.getpid()).submit(write_atomically, os.fspath(path), pieces)
    return Saving(os.fspath(path), future)


@cache
def _writer(process: int) -> ThreadPoolExecutor:
    """The thread that writes, of this process: a child that was forked has none of its parent's."""
    return ThreadPoolExecutor(1, thread_name_prefix="fdl.save")
