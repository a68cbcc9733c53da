"""The data set on the executors: a task's shards as one file of columns, memory-mapped by the workers of the host.

Iterations send only file handles through the workers' sockets. The RDD of handles is cached, so Spark prefers the
executor that wrote the files, and it is made again from lineage, files and all, when that executor is lost.

A file holds numbers only: its layout comes with the handle, and opening it runs no code. It is this user's alone, and
it is mapped for as long as a task lives: a worker that outlives the run keeps nothing of a deleted file.
"""

import logging
import mmap
import os
import pickle
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.util import InheritableThread

import fdl
from fdl.trust import open_trusted
from fdl_spark.broadcasts import lend
from fdl_spark.classic import RDD, Broadcast, SparkContext
from fdl_spark.cleanup import going_on
from fdl_spark.data.columns import Arrays, Problem
from fdl_spark.data.sharded import Dataset, Network
from fdl_spark.data.shards import Schedule, owned
from fdl_spark.data.source import Source
from fdl_spark.data.survey import Cells, Survey
from fdl_spark.errors import DataError
from fdl_spark.folders import owner
from fdl_spark.jobs import own_jobs
from fdl_spark.wire import Payload, raw_input, raw_output, raw_shuffle

log = logging.getLogger("fdl_spark")

SLICE_ROWS = 65536
ALIGNMENT = 64  # bytes: columns start at whole cache lines


class BlockMissing(Exception):
    """A task ran where its block is not; Spark tries it elsewhere, or the driver makes the blocks again."""


@dataclass(frozen=True)
class Block:
    """The shards of one task in the local directory of one executor.

    Attributes:
      path: the file.
      shards: the run of shards, in the file's order.
      starts: the first row of each of these shards.
      rows: number of rows of all of them.
      columns: what the columns hold, in the file's order.
    """

    path: str
    shards: range
    starts: tuple[int, ...]
    rows: int
    columns: Cells

    def batch(self, shard: int, slots: np.ndarray | slice, template: Any) -> Any:
        """A batch of a shard's rows as the pytree that the template describes."""
        start = self.starts[shard - self.shards.start]
        index = slice(slots.start + start, slots.stop + start) if isinstance(slots, slice) else slots + start
        return fdl.tree.map(lambda name: self.arrays[name][index], template)

    @cached_property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The columns, read-only.

        Raises:
          BlockMissing: the file is not on this host, not whole, or another user's.
        """
        try:
            with open_trusted(self.path) as file:
                return _views(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), self.rows, self.columns)
        except (OSError, ValueError, TypeError) as missing:  # the latter two if it is too short
            raise BlockMissing(str(missing)) from missing


class RddDataset(Dataset):
    """Data cut into shards, on the executors: an RDD of handles.

    Args:
      source: the user's data.
      survey: what it consists of.
      schedule: which row is in which shard and which step.
      tasks: into how many tasks the shards are grouped.
    """

    def __init__(self, source: Source, survey: Survey, schedule: Schedule, tasks: int):
        self.template, self.columns, self.schedule, self.tasks = source.template, survey.columns, schedule, tasks
        self.name = f"{owner(source.chunks.ctx)}-{uuid.uuid4().hex}"
        first_rows = [survey.first_row(partition) for partition in range(len(survey.rows))]
        self._routed = raw_shuffle(source.chunks, partial(_route, schedule, tasks, first_rows), tasks)
        writer = partial(_write, self.name, schedule, tasks, survey.columns)
        self.blocks: RDD = raw_input(self._routed, source.chunks.ctx).mapPartitionsWithIndex(writer)
        self.blocks.persist(StorageLevel.MEMORY_ONLY)
        try:
            with own_jobs(self.context):
                self.blocks.count()
        except BaseException:
            with going_on("deleting the data's blocks"):
                self.close()
            raise

    @property
    def context(self) -> SparkContext:
        """Where the blocks are."""
        return self.blocks.ctx

    def map(self, function: Callable[[int, Iterator[Block]], Iterable[Payload]], barrier: bool = False) -> list[bytes]:
        blocks: Any = self.blocks.barrier() if barrier else self.blocks
        return raw_output(blocks, function).collect()

    def share(self, value: Any) -> Broadcast:
        return lend(self.context, value)

    def own_jobs(self) -> AbstractContextManager[None]:
        return own_jobs(self.context)

    def network(self) -> Network:
        conf = self.context.getConf()
        near = self.context.master.startswith("local")  # local-cluster too has all its processes on this host
        encrypted = conf.get("spark.network.crypto.enabled", "false") == "true"
        return Network("unix" if near else conf.get("spark.driver.host"), encrypted)

    def slots(self) -> int | None:
        if self.context.getConf().get("spark.dynamicAllocation.enabled", "false") == "true":
            return 0  # Spark refuses jobs with barriers then
        spark = self.context._jsc.sc()
        return int(spark.maxNumConcurrentTasks(spark.resourceProfileManager().defaultResourceProfile()))

    def thread(self, target: Callable[[], None]) -> Thread:
        return InheritableThread(target=target)

    def describe(self, text: str) -> None:
        self.context.setJobDescription(text)

    def rebuild(self) -> None:
        """Forget the blocks; the next job makes them again from lineage."""
        self.blocks.unpersist(blocking=True)
        self.blocks.persist(StorageLevel.MEMORY_ONLY)

    def close(self) -> None:
        """Delete the blocks' files, those of failed attempts too; a host that cannot be reached loses them later, with
        its executor's local directory. Never raises, as that would hide why the run ended."""
        cores = self.context.defaultParallelism
        try:
            # Tasks on the cached handles run where the files are; what is not cached must not be made again for this.
            everywhere = self.blocks if self._cached() else self.context.parallelize(range(cores), cores)
            everywhere.foreachPartition(partial(_delete, self.name))
        except Exception as error:
            log.warning("the files of a data set could not be deleted: %s", str(error)[:300])
        finally:
            with suppress(Exception):
                self.blocks.unpersist()
                self._routed.rdd().cleanShuffleDependencies(False)

    def _cached(self) -> bool:
        infos = self.context._jsc.sc().getRDDStorageInfo()
        return any(info.id() == self.blocks.id() and info.numCachedPartitions() == self.tasks for info in infos)


def _route(
    schedule: Schedule, tasks: int, first_rows: list[int], partition: int, chunks: Iterable[Arrays]
) -> Iterator[tuple[int, bytes]]:
    """Send each row, with its shard and slot, to the task that owns its shard."""
    owner = np.array([task for task in range(tasks) for _ in owned(task, tasks, schedule.shards)])
    row = first_rows[partition]
    for chunk in chunks:
        if isinstance(chunk, Problem) or row + len(next(iter(chunk.values()))) > schedule.rows:
            raise DataError(_CHANGED)
        for piece in _pieces(chunk):
            count = len(next(iter(piece.values())))
            shards, slots = schedule.deal(np.arange(row, row + count))
            row += count
            for task in np.unique(owner[shards]):
                mine = owner[shards] == task
                arrays = {name: array[mine] for name, array in piece.items()}
                yield int(task), pickle.dumps((shards[mine], slots[mine], arrays), protocol=5)


def _pieces(chunk: Arrays) -> Iterator[Arrays]:
    for start in range(0, len(next(iter(chunk.values()))), SLICE_ROWS):
        yield {name: array[start : start + SLICE_ROWS] for name, array in chunk.items()}


def _write(
    dataset: str, schedule: Schedule, tasks: int, columns: Cells, task: int, payloads: Iterable[bytes]
) -> Iterator[Block]:
    """Write each arriving row at its place; nothing is sorted or kept in memory."""
    shards = owned(task, tasks, schedule.shards)
    ends = np.cumsum([schedule.shard_rows(shard) for shard in shards], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(shards)]
    rows = int(ends[-1]) if len(shards) else 0
    path = _new_path(dataset)
    try:
        arrays = _create(path, rows, columns)
        written = 0
        for payload in payloads:
            piece_shards, slots, piece = pickle.loads(payload)
            places = starts[piece_shards - shards.start] + slots
            written += len(places)
            for name, array in arrays.items():
                array[places] = piece[name]
        if written != rows:
            raise DataError(_CHANGED)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    yield Block(str(path), shards, tuple(int(start) for start in starts), rows, columns)


_CHANGED = (
    "the rows changed between two readings of the data: cache() or checkpoint the DataFrame or RDD, "
    "or make the query that it comes from deterministic"
)


def _new_path(dataset: str) -> Path:
    """A new name in the executor's local directories: in the emptiest of those that can be written."""
    roots = [root for root in _local_directories() if os.access(root, os.W_OK)]
    if not roots:
        raise OSError(f"none of Spark's local directories can be written: {os.environ['SPARK_LOCAL_DIRS']}")
    root = max(roots, key=lambda root: shutil.disk_usage(root).free)
    return root / f"fdl-{dataset}-{uuid.uuid4().hex}.block"


def _local_directories() -> list[Path]:
    return [Path(root) for root in os.environ["SPARK_LOCAL_DIRS"].split(",")]


def _create(path: Path, rows: int, columns: Cells) -> dict[str, np.ndarray]:
    """A new file, which nobody else can read or write, and its columns to write to."""
    size = max(1, sum(length for _, length in _places(rows, columns).values()))
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)  # a disk that is full says so here; later it would kill the worker
        else:
            os.truncate(handle, size)
        return _views(mmap.mmap(handle, size), rows, columns)
    finally:
        os.close(handle)


def _places(rows: int, columns: Cells) -> dict[str, tuple[int, int]]:
    """Where each column starts in the file, and how many bytes it takes up to the next one."""
    places, start = {}, 0
    for name, (dtype, shape) in columns.items():
        length = -(-rows * int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
        places[name] = start, length
        start += length
    return places


def _views(buffer: mmap.mmap, rows: int, columns: Cells) -> dict[str, np.ndarray]:
    places = _places(rows, columns)
    return {
        name: np.ndarray((rows, *shape), dtype, buffer, places[name][0]) for name, (dtype, shape) in columns.items()
    }


def _delete(dataset: str, handles: Iterable[Any]) -> None:
    for _ in handles:  # a task that leaves some of its input unread loses its worker
        pass
    for root in _local_directories():
        for path in root.glob(f"fdl-{dataset}-*.block"):
            path.unlink(missing_ok=True)
