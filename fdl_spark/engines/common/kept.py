"""What a task keeps between two steps: files in the local directory of its executor.

A slice's task keeps the optimizer's state of the slice, and a shard's what was lost when its gradients were rounded.
A file holds numbers only, and its name says of which step they are: a task that is repeated, or that wakes up long
after the cluster went on without it, finds and writes the numbers of its own step. What a file holds is lost with its
executor; the driver then goes back to its snapshot. Where Spark encrypts what it writes, these files are encrypted too.
"""

import mmap
import os
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fdl.trust import open_trusted
from fdl_spark.compute.update import Leaves, cut
from fdl_spark.data.layout import Layout
from fdl_spark.engines.common.sealed import read_sealed, sealed_size, write_sealed
from fdl_spark.spark.directories import local_directories, made_locally

SUFFIX = ".block"  # as the files of data sets, which are deleted together with these


class StateMissing(Exception):
    """A task runs where the state it needs is not; the driver goes back to its snapshot."""


def of_slice(layout: Layout, size: int, start: int, stop: int) -> Layout:
    """The layout of a slice of the state of `size` parameters, whose own is given."""
    whole = [np.broadcast_to(np.zeros((), dtype), shape) for dtype, shape in layout.arrays]
    return Layout.of(cut(whole, size, start, stop))


@dataclass(frozen=True)
class Slice:
    """A slice of the flat parameters, and of the optimizer's state.

    Attributes:
      number: of the slice.
      start: its first element.
      stop: the one behind its last.
      size: number of the flat parameters.
      whole: layout of the state of all of them.
    """

    number: int
    start: int
    stop: int
    size: int
    whole: Layout

    @property
    def layout(self) -> Layout:
        """Of the slice's leaves."""
        return of_slice(self.whole, self.size, self.start, self.stop)

    def cut(self, packed: np.ndarray) -> Leaves:
        """The slice's leaves of the whole state, packed."""
        return cut(self.whole.views(packed), self.size, self.start, self.stop)


@dataclass(frozen=True)
class Kept:
    """What a task keeps on its executor, seen by the task.

    Attributes:
      run: names the data set, which deletes these files at its end.
      place: says whose state it is, as "slice 0".
      layout: of the leaves.
      key: 32 bytes that the files are encrypted with; None if Spark does not encrypt its own.
    """

    run: str
    place: str
    layout: Layout
    key: bytes | None = None

    def read(self, branch: int, step: int) -> Leaves:
        """The leaves after a step, read-only.

        Args:
          branch: counts the states that the driver has sent; others follow from them.
          step: number of steps that are done.

        Raises:
          StateMissing: they are not on this executor, or not whole.
        """
        name, size = self._name(branch, step), self.layout.size
        expected = size if self.key is None else sealed_size(size)
        for root in local_directories():
            with suppress(OSError), open_trusted(root / name) as file:
                if os.fstat(file.fileno()).st_size != expected:
                    continue
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                if self.key is None:
                    return self.layout.views(mapped)
                content = read_sealed(memoryview(mapped), self.key, name, size)
                if content is not None:
                    content.flags.writeable = False
                    return self.layout.views(content)
        raise StateMissing(f"the state of {self.place} after step {step} is not on this executor")

    def write(self, branch: int, step: int, leaves: Leaves, since: int) -> None:
        """Keep the leaves after a step, and of earlier ones only those that the task, if it is repeated, needs again.

        Args:
          branch: as for `read`.
          step: number of steps that are done.
          leaves: what to keep.
          since: after how many steps the leaves are that these follow from.

        Raises:
          DiskFull: no local directory of this executor takes them.
        """
        write = partial(self._write, self._name(branch, step), leaves)
        made_locally(write, self.layout.size, f"the state of {self.place}")
        self._forget_before(branch, step, since)

    def _write(self, name: str, leaves: Leaves, root: Path) -> None:
        hidden = root / f"{name.removesuffix(SUFFIX)}-{uuid.uuid4().hex}{SUFFIX}"
        try:
            with open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                if self.key is None:
                    self.layout.write(file, leaves)
                else:
                    write_sealed(file, self.key, name, self.layout.pack(leaves))
            os.replace(hidden, root / name)
        finally:
            with suppress(OSError):  # there is none if all went well, or if there is no such directory
                hidden.unlink()

    def _forget_before(self, branch: int, step: int, since: int) -> None:
        """Delete the files of earlier steps but one; those of later ones are not a late task's to delete."""
        mine = re.compile(rf"{re.escape(self._prefix)}(\d+)-(\d+){re.escape(SUFFIX)}")
        for root in local_directories():
            with suppress(OSError):  # what cannot be deleted goes with the data set
                for name in filter(None, map(mine.fullmatch, os.listdir(root))):
                    number = int(name[1]), int(name[2])
                    if number < (branch, step) and number != (branch, since):
                        (root / name[0]).unlink(missing_ok=True)

    @property
    def _prefix(self) -> str:
        return f"fdl-{self.run}-{self.place.replace(' ', '')}-"

    def _name(self, branch: int, step: int) -> str:
        return f"{self._prefix}{branch}-{step}{SUFFIX}"
