"""The data set on the executors: each task's shards as one block, a file in a local directory of its executor.

Iterations send only file handles through the workers' sockets. The RDD of handles is cached, so Spark prefers the
executor that wrote the files, and it is made again from lineage, files and all, when that executor is lost.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.util import InheritableThread

from fdl_spark.cost import Cluster
from fdl_spark.data.block import KINDS, Block, NewBlock, delete_files
from fdl_spark.data.chunks import Found, Run, nbytes_of, rows_of
from fdl_spark.data.columns import Arrays, Problem
from fdl_spark.data.sharded import Dataset, Network, encrypts_network
from fdl_spark.data.shards import Schedule, owned
from fdl_spark.data.source import Source
from fdl_spark.data.staged import Staged
from fdl_spark.data.survey import Cells, Survey
from fdl_spark.errors import DataError
from fdl_spark.spark.broadcasts import lend
from fdl_spark.spark.classic import RDD, Broadcast, SparkContext
from fdl_spark.spark.cleanup import going_on
from fdl_spark.spark.cores import cores_of_host
from fdl_spark.spark.directories import local_directories, restore_directory
from fdl_spark.spark.executors import everywhere, hosts
from fdl_spark.spark.jobs import own_jobs
from fdl_spark.spark.membership import Membership
from fdl_spark.spark.wire import Payload, clean_shuffle, raw_input, raw_output, raw_shuffle

FirstRows = dict[int, dict[Run, int]]  # by partition and run

PIECE_ROWS, PIECE_BYTES = 65536, 64 << 20  # a payload must fit an array of the JVM, whatever the rows are


class RddDataset(Dataset):
    """Data cut into shards, on the executors: an RDD of handles.

    Args:
      name: begins the names of the data set's files.
      source: the user's data.
      survey: what it consists of.
      schedule: which row is in which shard and which step.
      tasks: into how many tasks the shards are grouped.
      near: the files of each partition's chunks, if all tasks see them.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        survey: Survey,
        schedule: Schedule,
        tasks: int,
        near: Sequence[tuple[int, Staged]] = (),
    ):
        self.template, self.columns, self.schedule, self.tasks = source.template, survey.columns, schedule, tasks
        self.name = name
        self._membership = Membership(source.chunks.ctx)
        first_rows = survey.first_rows()
        self._routed = raw_shuffle(source.chunks, partial(route_rows, schedule, tasks, first_rows), tasks)
        self.context: SparkContext = source.chunks.ctx
        if near:
            parts = [(first_rows.get(partition, {}), staged) for partition, staged in near]
            puller = partial(pull_rows, self.name, schedule, tasks, self.columns, parts)
            tasks_of_blocks = self.context.parallelize(range(tasks), tasks)
            self.blocks = tasks_of_blocks.mapPartitionsWithIndex(puller).persist(StorageLevel.MEMORY_ONLY)
        else:
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
    schedule: Schedule, tasks: int, first_rows: FirstRows, partition: int, chunks: Iterable[Found]
) -> Iterator[tuple[int, bytes]]:
    """Send each row, with its place in the block, to the task that owns its shard."""
    for owners, places, piece in _dealt(schedule, tasks, first_rows.get(partition, {}), chunks):
        order = np.argsort(owners, kind="stable")
        cuts = np.searchsorted(owners[order], np.arange(tasks + 1))
        places = places[order]
        arrays = {name: array[order] for name, array in piece.items()}
        for task in np.flatnonzero(np.diff(cuts)):
            mine = slice(cuts[task], cuts[task + 1])
            content = places[mine], {name: array[mine] for name, array in arrays.items()}
            yield int(task), pickle.dumps(content, protocol=5)


def _dealt(
    schedule: Schedule, tasks: int, first_rows: dict[Run, int], chunks: Iterable[Found]
) -> Iterator[tuple[np.ndarray, np.ndarray, Arrays]]:
    """Which task owns each row of a piece, and the row's place in that task's block; and the piece."""
    runs = [owned(task, tasks, schedule.shards) for task in range(tasks)]
    owners = np.repeat(np.arange(tasks), [len(shards) for shards in runs])
    firsts = np.array([schedule.first_row(shard) for shard in range(schedule.shards)], np.int64)
    starts = firsts - firsts[np.array([shards.start for shards in runs])[owners]]
    next_row = dict(first_rows)
    for run, chunk in chunks:
        if isinstance(chunk, Problem) or next_row.get(run, schedule.rows) + rows_of(chunk) > schedule.rows:
            raise DataError(CHANGED)
        for piece in _pieces(chunk):
            row = next_row[run]
            next_row[run] += rows_of(piece)
            shards, slots = schedule.deal(np.arange(row, next_row[run]))
            yield owners[shards], starts[shards] + slots, piece


def _pieces(chunk: Arrays) -> Iterator[Arrays]:
    rows = rows_of(chunk)
    step = max(1, min(PIECE_ROWS, PIECE_BYTES * rows // max(1, nbytes_of(chunk))))
    for start in range(0, rows, step):
        yield {name: array[start : start + step] for name, array in chunk.items()}


def write_rows(
    dataset: str, schedule: Schedule, tasks: int, columns: Cells, task: int, payloads: Iterable[bytes]
) -> Iterator[Block]:
    """Write each arriving row at its place; nothing is sorted or kept in memory."""
    yield _written(dataset, schedule, tasks, columns, task, map(pickle.loads, payloads))


def pull_rows(
    dataset: str,
    schedule: Schedule,
    tasks: int,
    columns: Cells,
    parts: Sequence[tuple[dict[Run, int], Staged]],
    task: int,
    nothing: Iterable[Any],
) -> Iterator[Block]:
    """Write the rows of a task from the files of all tasks, which are on this host: each deals all rows, and reads them
    once, which is less than a shuffle costs, for Python sends what it shuffles through the JVM twice."""
    for _ in nothing:  # a task that leaves some of its input unread loses its worker
        pass

    def arriving() -> Iterator[tuple[np.ndarray, Arrays]]:
        for first_rows, staged in parts:
            for owners, places, piece in _dealt(schedule, tasks, first_rows, staged.chunks()):
                mine = np.flatnonzero(owners == task)
                yield places[mine], {name: array[mine] for name, array in piece.items()}

    yield _written(dataset, schedule, tasks, columns, task, arriving())


def _written(
    dataset: str,
    schedule: Schedule,
    tasks: int,
    columns: Cells,
    task: int,
    arriving: Iterable[tuple[np.ndarray, Arrays]],
) -> Block:
    shards = owned(task, tasks, schedule.shards)
    with NewBlock(dataset, shards, schedule, columns) as new:
        written = 0
        for places, piece in arriving:
            written += len(places)
            for name, array in new.arrays.items():
                array[places] = piece[name]
        if written != schedule.first_row(shards.stop) - schedule.first_row(shards.start):
            raise DataError(CHANGED)
        return new.written()


CHANGED = (
    "the rows changed between two readings of the data: cache() or checkpoint the DataFrame or RDD, "
    "or make the query that it comes from deterministic"
)


def _paths(task: int, blocks: Iterable[Block]) -> Iterator[bytes]:
    for block in blocks:
        yield block.path.encode()


def delete_rows(dataset: str, gone: str | None, handles: Iterable[Any], kinds: tuple[str, ...] = KINDS) -> None:
    """Delete the files of a data set from this host; make a directory again that is gone, if it was this executor's."""
    for _ in handles:  # a task that leaves some of its input unread loses its worker
        pass
    if gone and any(root.parent == Path(gone).parent for root in local_directories()):
        restore_directory(Path(gone))
    delete_files(dataset, kinds)
