"""A block: the shards of one task as one file of columns, memory-mapped by the workers of the host.

A file holds numbers only: its layout and its checksum come with the handle, and opening it runs no code. It is this
user's alone. A worker maps it for as long as a task lives, so that it keeps nothing of a file that is deleted, and
compares its content with the checksum when it first maps it and whenever the file has changed since.
"""

import mmap
import os
import uuid
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fdl
from fdl.trust import open_trusted
from fdl_spark.data.layout import Layout
from fdl_spark.data.shards import Schedule
from fdl_spark.data.survey import Cells
from fdl_spark.spark.directories import local_directories, made_locally
from fdl_spark.spark.disks import allocate

KEPT_CHECKSUMS = 1000
BLOCK, STAGED = KINDS = "block", "staged"  # endings of the files of a data set

Identity = tuple[int, int, int, int]  # device, inode, size, time of the last change: of a file with one content

_checksums: dict[Identity, int] = {}  # of files that this process has read


class BlockMissing(Exception):
    """A task ran where its block is not; Spark tries it elsewhere, or the driver makes the blocks again."""


@dataclass(frozen=True)
class Block:
    """The shards of one task in the local directory of one executor.

    Attributes:
      path: the file.
      shards: the run of shards, in the file's order.
      schedule: how many rows each of them has.
      columns: what the columns hold, in the file's order.
      checksum: CRC-32 of the file.
    """

    path: str
    shards: range
    schedule: Schedule
    columns: Cells
    checksum: int = 0

    @property
    def rows(self) -> int:
        """Number of rows of all shards."""
        return self.schedule.first_row(self.shards.stop) - self.schedule.first_row(self.shards.start)

    @property
    def layout(self) -> Layout:
        """Where the columns are in the file."""
        return Layout(tuple((dtype, (self.rows, *shape)) for dtype, shape in self.columns.values()))

    def views(self, buffer: mmap.mmap) -> dict[str, np.ndarray]:
        """The columns in the file, which is mapped."""
        return dict(zip(self.columns, self.layout.views(buffer), strict=True))

    def batch(self, shard: int, slots: np.ndarray | slice, template: Any) -> Any:
        """A batch of a shard's rows as the pytree that the template describes.

        Raises:
          BlockMissing: as `arrays`.
        """
        arrays = self.arrays
        start = self.schedule.first_row(shard) - self.schedule.first_row(self.shards.start)
        if isinstance(slots, slice):
            index = slice(slots.start + start, slots.stop + start)
            return fdl.tree.map(lambda name: arrays[name][index], template)
        places = slots + start
        return fdl.tree.map(lambda name: arrays[name].take(places, axis=0), template)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The columns, read-only.

        Raises:
          BlockMissing: the file is not on this host, not as it was written, or another user's.
        """
        mapped: tuple[Identity, dict[str, np.ndarray]] | None = self.__dict__.get("_mapped")
        if mapped is None or _changed(self.path, mapped[0]):
            mapped = self.__dict__["_mapped"] = self._map()
        return mapped[1]

    def writable(self) -> dict[str, np.ndarray]:
        """The columns of a file that has not been `finished` yet, to write to."""
        handle = os.open(self.path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            return self.views(mmap.mmap(handle, self.layout.size))
        finally:
            os.close(handle)

    def finished(self) -> "Block":
        """The block with the checksum of its file, when all rows have been written."""
        with open_trusted(self.path) as file:
            checksum = zlib.crc32(mmap.mmap(file.fileno(), self.layout.size, access=mmap.ACCESS_READ))
            _remember(_identity(os.fstat(file.fileno())), checksum)
        return replace(self, checksum=checksum)

    def _map(self) -> tuple[Identity, dict[str, np.ndarray]]:
        try:
            with open_trusted(self.path) as file:
                identity, size = _identity(os.fstat(file.fileno())), self.layout.size
                if identity[2] != size:
                    raise BlockMissing(f"{self.path} has {identity[2]} bytes in place of {size}")
                buffer = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except OSError as missing:
            raise BlockMissing(str(missing)) from missing
        if identity not in _checksums:
            _remember(identity, zlib.crc32(buffer))
        if _checksums[identity] != self.checksum:
            raise BlockMissing(f"{self.path} does not hold what was written to it (its checksum is another one)")
        return identity, self.views(buffer)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_mapped"}


class NewBlock:
    """A block that is being written; as a context, it deletes its file if something is raised.

    Args:
      dataset: name of the data set.
      shards, schedule, columns: as of the Block.

    Attributes:
      block: the handle, without a checksum.
      arrays: the columns, to write to.

    Raises:
      DiskFull: no local directory of this executor takes the file.
    """

    def __init__(self, dataset: str, shards: range, schedule: Schedule, columns: Cells):
        self.block = Block("", shards, schedule, columns)
        size = self.block.layout.size
        path, self._buffer = made_locally(partial(_create_in, dataset, size), size, "a block")
        self.block = replace(self.block, path=str(path))
        self.arrays = self.block.views(self._buffer)

    def __enter__(self) -> "NewBlock":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):
                os.unlink(self.block.path)

    def written(self) -> Block:
        """The block, when all rows have been written."""
        return self.block.finished()


def delete_files(dataset: str, kinds: Sequence[str] = KINDS) -> None:
    """Delete the files of a data set in this executor's local directories, and in those beside them: executors of this
    application that were killed may have left some, as one worker gives all of them one folder."""
    for root in local_directories():
        with suppress(OSError):
            for name in [f"fdl-{dataset}-*.{kind}" for kind in kinds]:
                for path in [*root.glob(name), *root.parent.glob(f"blockmgr-*/{name}")]:
                    with suppress(OSError):
                        path.unlink()


def _create_in(dataset: str, size: int, root: Path) -> tuple[Path, mmap.mmap]:
    path = root / f"fdl-{dataset}-{uuid.uuid4().hex}.{BLOCK}"
    try:
        return path, _create(path, size)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _create(path: Path, size: int) -> mmap.mmap:
    """Map a new file, which nobody else can read or write."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        allocate(handle, size)
        return mmap.mmap(handle, size)
    finally:
        os.close(handle)


def _identity(state: os.stat_result) -> Identity:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _changed(path: str, identity: Identity) -> bool:
    """Whether another content may stand at a path; that of a deleted file stays with whoever has mapped it."""
    try:
        return _identity(os.lstat(path)) != identity
    except OSError:
        return False


def _remember(identity: Identity, checksum: int) -> None:
    while len(_checksums) >= KEPT_CHECKSUMS:
        _checksums.pop(next(iter(_checksums)))
    _checksums[identity] = checksum
