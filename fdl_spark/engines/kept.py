"""The optimizer's state of a slice between two steps: a file in the local directory of the executor that updates it.

A file holds numbers only, and its name says of which step they are: a task that is repeated, or that wakes up long
after the cluster went on without it, finds and writes the numbers of its own step. What a file holds is lost with its
executor; the driver then goes back to its snapshot.
"""

import mmap
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fdl.trust import open_trusted
from fdl_spark.data.block import local_directories
from fdl_spark.disks import DiskFull, told_of_disk
from fdl_spark.update import Leaves, cut
from fdl_spark.wire import dtype_name

ALIGNMENT = 64  # bytes: leaves start at whole cache lines
SUFFIX = ".block"  # as the files of data sets, which are deleted together with these


class StateMissing(Exception):
    """A task runs where the state it needs is not; the driver goes back to its snapshot."""


@dataclass(frozen=True)
class Layout:
    """Where the leaves of a state are in one run of bytes.

    Attributes:
      leaves: dtype and shape of each.
    """

    leaves: tuple[tuple[str, tuple[int, ...]], ...]

    @staticmethod
    def of(leaves: Leaves) -> "Layout":
        """The layout of leaves as they are."""
        return Layout(tuple((dtype_name(leaf.dtype), leaf.shape) for leaf in leaves))

    def slice(self, size: int, start: int, stop: int) -> "Layout":
        """The layout of a slice of the state of `size` parameters."""
        whole = [np.broadcast_to(np.zeros((), dtype), shape) for dtype, shape in self.leaves]
        return Layout.of(cut(whole, size, start, stop))

    @property
    def size(self) -> int:
        """Number of bytes."""
        return max(1, sum(length for _, length in self._places()))

    def views(self, buffer: mmap.mmap | np.ndarray) -> Leaves:
        """The leaves in a buffer."""
        places = zip(self.leaves, self._places(), strict=True)
        return [np.ndarray(shape, dtype, buffer, start) for (dtype, shape), (start, _) in places]

    def pack(self, leaves: Leaves) -> np.ndarray:
        """The leaves as one array of bytes."""
        packed = np.zeros(self.size, np.uint8)
        for view, leaf in zip(self.views(packed), leaves, strict=True):
            view[...] = leaf
        return packed

    def write(self, file: BinaryIO, leaves: Leaves) -> None:
        """Write the leaves to a new file."""
        for (start, _), leaf in zip(self._places(), leaves, strict=True):
            file.seek(start)
            file.write(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
        file.truncate(self.size)

    def _places(self) -> Iterator[tuple[int, int]]:
        start = 0
        for dtype, shape in self.leaves:
            length = -(-int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
            yield start, length
            start += length


@dataclass(frozen=True)
class Kept:
    """The states of one slice on the executor of the task that asks.

    Attributes:
      run: names the data set, which deletes these files at its end.
      number: of the slice.
      start: the first element of the flat parameters that the slice is of.
      stop: the one behind the last.
      size: number of the flat parameters.
      whole: layout of the state of all of them.
    """

    run: str
    number: int
    start: int
    stop: int
    size: int
    whole: Layout

    @property
    def layout(self) -> Layout:
        """Of the slice's leaves."""
        return self.whole.slice(self.size, self.start, self.stop)

    def cut(self, packed: np.ndarray) -> Leaves:
        """The slice's leaves of the whole state, packed."""
        return cut(self.whole.views(packed), self.size, self.start, self.stop)

    def read(self, branch: int, step: int) -> Leaves:
        """The leaves after a step, read-only.

        Args:
          branch: counts the states that the driver has sent; others follow from them.
          step: number of steps that are done.

        Raises:
          StateMissing: they are not on this executor, or not whole.
        """
        layout = self.layout
        for root in local_directories():
            with suppress(OSError), open_trusted(root / self._name(branch, step)) as file:
                if os.fstat(file.fileno()).st_size == layout.size:
                    return layout.views(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        raise StateMissing(f"the optimizer's state of slice {self.number} after step {step} is not on this executor")

    def write(self, branch: int, step: int, leaves: Leaves) -> None:
        """Keep the leaves after a step, and no longer those that its task, if it is repeated, does not need.

        Raises:
          DiskFull: no local directory of this executor takes them.
        """
        layout, refused = self.layout, []
        for root in sorted(local_directories(), key=_free, reverse=True):
            hidden = root / self._name(branch, step, f"-{uuid.uuid4().hex}")
            try:
                with open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    layout.write(file, leaves)
                os.replace(hidden, root / self._name(branch, step))
                break
            except OSError as error:
                refused.append(told_of_disk(str(root), layout.size, error))
            finally:
                hidden.unlink(missing_ok=True)
        else:
            raise DiskFull(f"no local directory of Spark takes the optimizer's state: {'; '.join(refused)}")
        for root in local_directories():
            (root / self._name(branch, step - 2)).unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete the slice's files, of all branches."""
        for root in local_directories():
            for path in root.glob(f"fdl-{self.run}-slice{self.number}-*{SUFFIX}"):
                path.unlink(missing_ok=True)

    def _name(self, branch: int, step: int, more: str = "") -> str:
        return f"fdl-{self.run}-slice{self.number}-{branch}-{step}{more}{SUFFIX}"


def _free(root: Path) -> int:
    try:
        return shutil.disk_usage(root).free
    except OSError:
        return 0
