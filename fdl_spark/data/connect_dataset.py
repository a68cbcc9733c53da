"""The data set on the executors of a session of Spark Connect: a DataFrame of handles of block files.

The DataFrame is cached, so Spark prefers the executor that wrote the files, and makes them again from lineage when that
executor is lost. A temporary view stands for its plan, which each operation would otherwise send again. Where a session
cannot cache (serverless compute), each operation reads the data and writes the files anew, and deletes them at its end.
"""

import logging
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from itertools import groupby
from operator import itemgetter
from threading import Thread
from typing import Any
from weakref import WeakSet

import cloudpickle
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.util import InheritableThread

from fdl_spark.cost import Cluster
from fdl_spark.data import connect_tasks as on_worker
from fdl_spark.data.block import KINDS, STAGED, Block
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.files import Files
from fdl_spark.data.sharded import Dataset, Network, encrypts_network
from fdl_spark.data.shards import Schedule
from fdl_spark.data.source import known, memory_chunks, selected
from fdl_spark.data.staged import loading
from fdl_spark.data.survey import Summary, Survey, merged
from fdl_spark.spark.connect.jobs import asking, own_jobs, reachable
from fdl_spark.spark.connect.share import Share, dumps
from fdl_spark.spark.connect.upload import Upload, new_view, union
from fdl_spark.spark.quiet import no_pandas_warning
from fdl_spark.spark.wire import Payload

log = logging.getLogger("fdl_spark")

MOST_SLOTS = 1 << 16
UNSET = str((1 << 31) - 1)  # in place of a setting that nobody has made: Spark checks that it could be one


class ConnectDataset(Dataset):
    """Data cut into shards, on the executors: a DataFrame of handles.

    Args:
      name: begins the names of the data set's files.
      spark: a session of Spark Connect.
      chunks: DataFrame of HANDLES, those of files of chunks, or chunks.
      template: the pytree of a batch.
      survey: what the data consists of.
      schedule: which row is in which shard and which step.
      tasks: into how many tasks the shards are grouped.
      slots: how many tasks the cluster runs at once, as far as it can be found out.
    """

    def __init__(
        self,
        name: str,
        spark: SparkSession,
        chunks: DataFrame,
        template: Any,
        survey: Survey,
        schedule: Schedule,
        tasks: int,
        slots: int,
    ):
        self.spark, self.template, self.columns = spark, template, survey.columns
        self.schedule, self.tasks, self.name = schedule, tasks, name
        keep = spark not in _cannot_cache
        sent = _mapped(chunks, partial(on_worker.route, survey, schedule, tasks, keep), on_worker.SENT)
        write = partial(on_worker.write, self.name, schedule, tasks, survey.columns)
        handles = _mapped(sent.repartitionById(tasks, "task"), write, on_worker.HANDLES)
        self._view, self._written, self._slots, self.cached = new_view(handles), False, slots, False
        try:
            self._handles = spark.table(self._view)
            self.cached = cache(self._handles)
            if self.cached:
                self._handles.count()
            self._written = True
        except BaseException:
            self.close()
            raise

    def map(self, function: Callable[[int, Iterator[Block]], Iterable[Payload]], barrier: bool = False) -> list[bytes]:
        return collected(self.spark, self._run(partial(_to_driver, function), barrier))

    def scatter(self, function: Callable[[int, Iterator], Iterable[Payload]], inputs: list[bytes]) -> list[bytes]:
        upload = Upload(self.spark, inputs)
        try:
            pieces = upload.frame.repartitionById(len(inputs), "number")
            pieces = pieces.selectExpr("number as task", "piece as part", "content as handle")
            return collected(self.spark, self._on(pieces, on_worker.run_on_input, partial(_to_driver, function)))
        finally:
            upload.drop()

    def exchange(
        self,
        emit: Callable[[int, Iterator[Block]], Iterable[tuple[int, Payload]]],
        gather: Callable[[int, Iterator[Payload]], Iterable[Payload]],
        destinations: int,
    ) -> list[bytes]:
        """What a second function yields of what a first one sends to each destination.

        Args:
          emit: (task, iterator over the one block) -> (destination, payload) pairs.
          gather: (destination, iterator of payloads) -> payloads; it refers to no shared value.
          destinations: number of destinations; each must be sent something.
        """
        routed = self._run(emit).repartitionById(destinations, "task")
        function = partial(on_worker.gather, cloudpickle.dumps(gather, protocol=5))
        return collected(self.spark, _mapped(routed, function, on_worker.ANSWERS))

    def share(self, value: Any) -> Share:
        return Share(self.spark, value)

    def own_jobs(self) -> AbstractContextManager[None]:
        return own_jobs(self.spark)

    def network(self) -> Network:
        return Network(None, encrypts_network(self._setting))

    def encrypts_files(self) -> bool:
        return self._setting("spark.io.encryption.enabled", "false") == "true"

    def _setting(self, name: str, otherwise: str) -> str:
        """A setting of the session; as if nobody had made it if the session may not see it."""
        with suppress(Exception):
            return self.spark.conf.get(name, otherwise)
        return otherwise

    @property
    def returns(self) -> bool:  # type: ignore[override]
        return self.cached

    def slots(self) -> int | None:
        """As when the data was loaded; None if a setting hides it."""
        with suppress(PySparkException):  # a setting that a session may not be allowed to see
            if self.spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
                return 0  # Spark refuses jobs with barriers then
            hiding = ("spark.default.parallelism", "spark.sql.leafNodeDefaultParallelism")
            if all(self.spark.conf.get(name, UNSET) == UNSET for name in hiding):
                return self._slots // int(self.spark.conf.get("spark.task.cpus", "1"))
        return None

    def cluster(self) -> Cluster:
        """As far as it is known: a session of Spark Connect does not say on which hosts its tasks run."""
        return Cluster(1, self.slots() or self.tasks)

    def thread(self, target: Callable[[], None]) -> Thread:
        return InheritableThread(target=target, session=self.spark)

    def describe(self, text: str) -> None:
        """Spark Connect has no place for it: the name of an operation is what it does."""

    def rebuild(self, folder: str | None = None) -> None:
        if self.cached:
            self._handles.unpersist(blocking=True)
            self._handles.cache()

    def close(self) -> None:
        """Delete the blocks' files, those of failed attempts too; never raises."""
        if not reachable(self.spark):
            return
        try:
            # Where handles are cached, tasks on them run where the files are.
            everywhere = self._handles if self._written and self.cached else spread(self.spark)
            collected(self.spark, _mapped(everywhere, partial(on_worker.delete, self.name, KINDS), on_worker.ANSWERS))
        except Exception as error:
            log.warning("the files of a data set could not be deleted: %s", str(error)[:300])
        finally:
            with suppress(Exception):
                if self.cached:
                    self._handles.unpersist()
            with suppress(Exception):
                self.spark.catalog.dropTempView(self._view)

    def _run(self, function: Callable[..., Iterable[tuple[int, Payload]]], barrier: bool = False) -> DataFrame:
        """The DataFrame of what a function yields on each handle."""
        return self._on(self._handles, partial(on_worker.run, keep=self.cached), function, barrier)

    def _on(
        self,
        frame: DataFrame,
        runner: Callable[..., Any],
        function: Callable[..., Iterable[tuple[int, Payload]]],
        barrier: bool = False,
    ) -> DataFrame:
        """What runs on the rows of a DataFrame, to which the large values that the function refers to are joined."""
        content, shares = dumps(function)
        places = {share.key: (number, share.pieces) for number, share in enumerate(shares)}
        if shares:
            rows = [share.numbered(number) for number, share in enumerate(shares)]
            frame = frame.crossJoin(union(rows).hint("broadcast"))
        return _mapped(frame, partial(runner, content, places), on_worker.ANSWERS, barrier)


def load(
    data: Any,
    spark: SparkSession,
    batch_size: int,
    seed: int,
    shards: int | None,
    tasks: int | None,
    columns: Sequence[str] | None,
    features: Encoder | None,
) -> ConnectDataset:
    """As `fdl_spark.data.load.load`, of a DataFrame or arrays, on a session of Spark Connect."""
    name = uuid.uuid4().hex
    with ExitStack() as cleanup:
        cleanup.enter_context(loading(spark, name))
        if isinstance(data, DataFrame | Files):
            by_run = isinstance(data, Files)
            frame, selection = selected(data.frame if by_run else data, columns, features, by_run)
            chunks = _mapped(frame, partial(on_worker.stage_rows, name, selection, by_run), on_worker.HANDLES)
            chunks = _viewed(chunks, cleanup)
            # Reading the rows twice may be dear, and not give the same ones.
            if cache(chunks):
                cleanup.callback(chunks.unpersist)
                cleanup.callback(_delete_staged, name, chunks)
            template: Any = selection.template
            survey = merged(_summaries(chunks))
        else:
            arrays, template = memory_chunks(data, columns)
            upload = Upload(spark, (pickle.dumps(chunk, protocol=5) for chunk in arrays))
            cleanup.callback(upload.drop)
            whole = upload.frame.repartitionById(len(arrays), "number")
            chunks = _viewed(_mapped(whole, on_worker.assembled, on_worker.HANDLES), cleanup)
            survey = known(arrays)
        slots = parallelism(spark)
        tasks = tasks or min(slots, shards or slots)
        schedule = Schedule(survey.rows, batch_size, shards or tasks, seed)
        return ConnectDataset(name, spark, chunks, template, survey, schedule, min(tasks, schedule.shards), slots)


def _viewed(frame: DataFrame, cleanup: ExitStack) -> DataFrame:
    """A DataFrame that stands for the plan of another one."""
    view = new_view(frame)
    cleanup.callback(frame.sparkSession.catalog.dropTempView, view)
    return frame.sparkSession.table(view)


def _summaries(handles: DataFrame) -> Iterator[tuple[int, Summary]]:
    """(partition, summary) of the chunks of all files."""
    with no_pandas_warning(), asking(handles.sparkSession):
        rows = handles.toArrow().to_pylist()
    return ((row["task"], summary) for row in rows for summary in pickle.loads(row["handle"]).summaries)


def _delete_staged(name: str, handles: DataFrame) -> None:
    with suppress(Exception):  # they are deleted with the blocks, then
        deleting = _mapped(handles, partial(on_worker.delete, name, (STAGED,)), on_worker.ANSWERS)
        collected(handles.sparkSession, deleting)


def parallelism(spark: SparkSession) -> int:
    """How many tasks the cluster runs at once: into so many Spark cuts what has no cut of its own."""
    return len(spread(spark).collect())


def spread(spark: SparkSession) -> DataFrame:
    """A DataFrame with a row in each of so many partitions."""
    return spark.range(MOST_SLOTS).selectExpr("spark_partition_id() as task").distinct()


_cannot_cache: WeakSet[SparkSession] = WeakSet()  # sessions that have refused to


def cache(frame: DataFrame) -> bool:
    """Cache a DataFrame, if the session can."""
    spark = frame.sparkSession
    if spark in _cannot_cache:
        return False
    try:
        with asking(spark):
            frame.cache()
    except PySparkException as error:
        if not reachable(spark):
            raise
        _cannot_cache.add(spark)
        log.warning("this session cannot cache, so each operation reads the data anew: %s", str(error)[:300])
        return False
    return True


def collected(spark: SparkSession, answers: DataFrame) -> list[bytes]:
    """The payloads of the rows of ANSWERS, in the order of the tasks and, within a task, of its payloads."""
    with no_pandas_warning(), asking(spark):
        table = answers.toArrow()
    columns = [table.column(name).to_pylist() for name in on_worker.ANSWERS_SCHEMA.names]
    rows = sorted(zip(*columns, strict=True), key=itemgetter(1, 2, 3))
    return [b"".join(row[4] for row in group) for _, group in groupby(rows, itemgetter(1, 2))]


def _to_driver(
    function: Callable[[int, Iterator], Iterable[Payload]], task: int, blocks: Iterator
) -> Iterator[tuple[int, Payload]]:
    return ((task, payload) for payload in function(task, blocks))


def _mapped(frame: DataFrame, function: Callable[..., Any], schema: str, barrier: bool = False) -> DataFrame:
    with no_pandas_warning():
        return frame.mapInArrow(function, schema, barrier)
