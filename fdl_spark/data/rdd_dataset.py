"""The data set on the executors: each task's shards as one block, a file in a local directory of its executor.

Iterations send only file handles through the workers' sockets. The RDD of handles is cached, so Spark prefers the
executor that wrote the files, and it is made again from lineage, files and all, when that executor is lost.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from threading import Thread
from typing import Any

from pyspark import StorageLevel
from pyspark.util import InheritableThread

from fdl_spark.cost import Cluster
from fdl_spark.data.block import Block
from fdl_spark.data.dealing import CHANGED, delete_rows, new_block, route_rows, scatter_rows, write_rows
from fdl_spark.data.sharded import Dataset, Network, encrypts_network
from fdl_spark.data.shards import Schedule
from fdl_spark.data.source import Source
from fdl_spark.data.survey import Survey, merged
from fdl_spark.errors import DataError
from fdl_spark.spark.broadcasts import lend
from fdl_spark.spark.classic import RDD, Broadcast, SparkContext
from fdl_spark.spark.cleanup import going_on
from fdl_spark.spark.cores import cores_of_host
from fdl_spark.spark.directories import restore_directory
from fdl_spark.spark.executors import everywhere, hosts
from fdl_spark.spark.jobs import own_jobs
from fdl_spark.spark.membership import Membership
from fdl_spark.spark.wire import Payload, clean_shuffle, raw_input, raw_output, raw_shuffle


class RddDataset(Dataset):
    """Data cut into shards, on the executors: an RDD of handles.

    Args:
      name: begins the names of the data set's files.
      source: the user's data.
      survey: what it consists of.
      schedule: which row is in which shard and which step.
      tasks: into how many tasks the shards are grouped.
      near: whether all tasks see the files of each other.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        survey: Survey,
        schedule: Schedule,
        tasks: int,
        near: bool = False,
    ):
        self.template, self.columns, self.schedule, self.tasks = source.template, survey.columns, schedule, tasks
        self.name = name
        self._membership = Membership(source.chunks.ctx)
        self._routed = raw_shuffle(source.chunks, partial(route_rows, schedule, tasks, survey.first_rows()), tasks)
        self.context: SparkContext = source.chunks.ctx
        self.blocks = self.context.parallelize(range(tasks), tasks) if near else self._unwritten()
        self._roots: set[Path] = set()  # local directories that hold blocks
        try:
            with own_jobs(self.context):
                if near:
                    blocks = self._scattered(source.chunks, survey)
                    self.blocks = self.context.parallelize(blocks, tasks)
                    paths = [block.path for block in blocks]
                else:
                    paths = [path.decode() for path in raw_output(self.blocks, _paths).collect()]
            self._roots = {Path(path).parent for path in paths}
        except BaseException:
            self.close()
            raise

    def _scattered(self, chunks: RDD, survey: Survey) -> list[Block]:
        """The blocks, to which the tasks that read the chunks have written."""
        make = partial(new_block, self.name, self.schedule, self.tasks, self.columns)
        blocks = self.blocks.map(make).collect()
        found = chunks.mapPartitionsWithIndex(partial(scatter_rows, blocks, survey.first_rows())).collect()
        if merged(found) != survey:
            raise DataError(CHANGED)
        return self.context.parallelize(blocks, self.tasks).map(Block.finished).collect()

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


def _paths(task: int, blocks: Iterable[Block]) -> Iterator[bytes]:
    for block in blocks:
        yield block.path.encode()
