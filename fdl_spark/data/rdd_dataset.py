"""The data set on the executors: each task's shards as one block, a file in a local directory of its executor.

Iterations send only file handles through the workers' sockets. The RDD of handles is cached, so Spark prefers the
executor that wrote the files, and it is made again from lineage, files and all, when that executor is lost.
"""

import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.util import InheritableThread

from fdl_spark.cost import Cluster
from fdl_spark.data.block import Block, NewBlock, delete_blocks
from fdl_spark.data.columns import Arrays, Problem
from fdl_spark.data.sharded import Dataset, Network, encrypts_network
from fdl_spark.data.shards import Schedule, owned
from fdl_spark.data.source import Source
from fdl_spark.data.survey import Cells, Survey
from fdl_spark.errors import DataError
from fdl_spark.spark.broadcasts import lend
from fdl_spark.spark.classic import RDD, Broadcast, SparkContext
from fdl_spark.spark.cleanup import going_on
from fdl_spark.spark.cores import cores_of_host
from fdl_spark.spark.directories import local_directories, restore_directory
from fdl_spark.spark.executors import everywhere, hosts
from fdl_spark.spark.folders import owner
from fdl_spark.spark.jobs import own_jobs
from fdl_spark.spark.membership import Membership
from fdl_spark.spark.wire import Payload, clean_shuffle, raw_input, raw_output, raw_shuffle

PIECE_ROWS, PIECE_BYTES = 65536, 64 << 20  # a payload must fit an array of the JVM, whatever the rows are


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
        self._membership = Membership(source.chunks.ctx)
        first_rows = [survey.first_row(partition) for partition in range(len(survey.rows))]
        self._routed = raw_shuffle(source.chunks, partial(route_rows, schedule, tasks, first_rows), tasks)
        self.context: SparkContext = source.chunks.ctx
        self.blocks = self._unwritten()
        self._roots: set[Path] = set()  # local directories that hold blocks
        try:
            with own_jobs(self.context):
                paths = raw_output(self.blocks, _paths).collect()
            self._roots = {Path(path.decode()).parent for path in paths}
        except BaseException:
            self.close()
            raise

    def map(self, function: Callable[[int, Iterator[Block]], Iterable[Payload]], barrier: bool = False) -> list[bytes]:
        blocks: Any = self.blocks.barrier() if barrier else self.blocks
        return raw_output(blocks, function).collect()

    def scatter(self, function: Callable[[int, Iterator], Iterable[Payload]], inputs: list[bytes]) -> list[bytes]:
        return raw_output(self.context.parallelize(inputs, len(inputs)), function).collect()

    def share(self, value: Any) -> Broadcast:
        return lend(self.context, value)

    def own_jobs(self) -> AbstractContextManager[None]:
        return own_jobs(self.context)

    def network(self) -> Network:
        conf = self.context.getConf()
        near = self.context.master.startswith("local")  # local-cluster too has all its processes on this host
        return Network("unix" if near else conf.get("spark.driver.host"), encrypts_network(conf.get))

    def encrypts_files(self) -> bool:
        return bool(self.context._encryption_enabled)

    def slots(self) -> int | None:
        return 0 if self._growing else self._concurrent()  # Spark refuses jobs with barriers if executors come and go

    @cached_property
    def _growing(self) -> bool:
        """Whether Spark adds and ends executors as it likes; asked once, as a context's settings take 200 calls."""
        return self.context.getConf().get("spark.dynamicAllocation.enabled", "false") == "true"

    def cluster(self) -> Cluster:
        slots, places = self._concurrent(), hosts(self.context)
        if self.context.master.startswith("local"):  # one may ask for more tasks than this host has cores
            slots = min(slots, cores_of_host())
        return Cluster(places, max(1, slots // places))

    def _concurrent(self) -> int:
        """How many tasks the executors that are there run at once."""
        spark = self.context._jsc.sc()
        return int(spark.maxNumConcurrentTasks(spark.resourceProfileManager().defaultResourceProfile()))

    def thread(self, target: Callable[[], None]) -> Thread:
        return InheritableThread(target=target)

    def describe(self, text: str) -> None:
        self.context.setJobDescription(text)

    def changes(self) -> list[str]:
        return self._membership.changes()

    def rebuild(self, folder: str | None = None) -> None:
        """Forget the blocks and delete their files; the next job makes them again from lineage.

        The handles are another RDD then: an executor that Spark has counted out for a while, as it does when it cannot
        fetch from it, keeps those of the old one, whatever it is told.
        """
        self._delete_files(folder)
        with going_on("forgetting the data's blocks"):
            self.blocks.unpersist()
        self.blocks = self._unwritten()

    def _unwritten(self) -> RDD:
        writer = partial(write_rows, self.name, self.schedule, self.tasks, self.columns)
        return raw_input(self._routed, self.context).mapPartitionsWithIndex(writer).persist(StorageLevel.MEMORY_ONLY)

    def close(self) -> None:
        """Delete the blocks' files, those of failed attempts too; a host that cannot be reached loses them later, with
        its executor's local directory. Never raises, as that would hide why the run ended."""
        self._delete_files()
        with going_on("forgetting the data's blocks"):
            self.blocks.unpersist()
        with going_on("deleting the data's shuffle files"):
            clean_shuffle(self._routed, self.context)

    def _delete_files(self, gone: str | None = None) -> None:
        """Delete the blocks' files, and make local directories again that somebody deleted."""
        for root in {*self._roots, *([Path(gone)] if gone else [])}:
            restore_directory(root)
        with going_on("deleting the data's blocks"), own_jobs(self.context):
            self.describe("fdl: delete the data's blocks")
            everywhere(self.context).foreachPartition(partial(delete_rows, self.name, gone))


def route_rows(
    schedule: Schedule, tasks: int, first_rows: list[int], partition: int, chunks: Iterable[Arrays]
) -> Iterator[tuple[int, bytes]]:
    """Send each row, with its shard and slot, to the task that owns its shard."""
    owner = np.array([task for task in range(tasks) for _ in owned(task, tasks, schedule.shards)])
    row = first_rows[partition]
    for chunk in chunks:
        if isinstance(chunk, Problem) or row + len(next(iter(chunk.values()))) > schedule.rows:
            raise DataError(CHANGED)
        for piece in _pieces(chunk):
            count = len(next(iter(piece.values())))
            shards, slots = schedule.deal(np.arange(row, row + count))
            row += count
            for task in np.unique(owner[shards]):
                mine = owner[shards] == task
                arrays = {name: array[mine] for name, array in piece.items()}
                yield int(task), pickle.dumps((shards[mine], slots[mine], arrays), protocol=5)


def _pieces(chunk: Arrays) -> Iterator[Arrays]:
    rows = len(next(iter(chunk.values())))
    size = sum(array.nbytes for array in chunk.values())
    step = max(1, min(PIECE_ROWS, PIECE_BYTES * rows // max(1, size)))
    for start in range(0, rows, step):
        yield {name: array[start : start + step] for name, array in chunk.items()}


def write_rows(
    dataset: str, schedule: Schedule, tasks: int, columns: Cells, task: int, payloads: Iterable[bytes]
) -> Iterator[Block]:
    """Write each arriving row at its place; nothing is sorted or kept in memory."""
    shards = owned(task, tasks, schedule.shards)
    first = schedule.first_row(shards.start)
    starts = np.array([schedule.first_row(shard) - first for shard in shards], np.int64)
    with NewBlock(dataset, shards, schedule, columns) as new:
        written = 0
        for payload in payloads:
            piece_shards, slots, piece = pickle.loads(payload)
            places = starts[piece_shards - shards.start] + slots
            written += len(places)
            for name, array in new.arrays.items():
                array[places] = piece[name]
        if written != schedule.first_row(shards.stop) - first:
            raise DataError(CHANGED)
        block = new.written()
    yield block


CHANGED = (
    "the rows changed between two readings of the data: cache() or checkpoint the DataFrame or RDD, "
    "or make the query that it comes from deterministic"
)


def _paths(task: int, blocks: Iterable[Block]) -> Iterator[bytes]:
    for block in blocks:
        yield block.path.encode()


def delete_rows(dataset: str, gone: str | None, handles: Iterable[Any]) -> None:
    """Delete the files of a data set from this host; make a directory again that is gone, if it was this executor's."""
    for _ in handles:  # a task that leaves some of its input unread loses its worker
        pass
    if gone and any(root.parent == Path(gone).parent for root in local_directories()):
        restore_directory(Path(gone))
    delete_blocks(dataset)
