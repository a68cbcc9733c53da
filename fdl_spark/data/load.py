"""From a user's data to shards on the executors."""

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from fdl_spark.data.block import STAGED
from fdl_spark.data.chunks import CHUNK_BYTES
from fdl_spark.data.connect_dataset import load as connect_load
from fdl_spark.data.dealing import delete_rows
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.files import are_paths, open_files
from fdl_spark.data.frames import dataframe
from fdl_spark.data.held import Held
from fdl_spark.data.rdd_dataset import RddDataset
from fdl_spark.data.sharded import Dataset
from fdl_spark.data.shards import Schedule
from fdl_spark.data.source import handle_of, open_source, staged_source
from fdl_spark.data.staged import loading
from fdl_spark.data.survey import Summary, merged, survey
from fdl_spark.errors import ClusterError
from fdl_spark.spark.arrow_batches import batches_of
from fdl_spark.spark.classic import RDD, SparkContext, is_connect
from fdl_spark.spark.cleanup import going_on
from fdl_spark.spark.connect.jobs import own_jobs as connect_jobs
from fdl_spark.spark.executors import everywhere
from fdl_spark.spark.failures import STOPPED, about, settled
from fdl_spark.spark.folders import owner
from fdl_spark.spark.jobs import own_jobs
from fdl_spark.spark.session import session, tell_losses

NEAR_TASKS = 256  # a worker that deals rows maps the blocks of all tasks, and each takes a descriptor
LIMIT = "spark.executor.pyspark.memory"  # limits what a worker maps, which may be less than all blocks


def session_of(data: Any) -> SparkContext | SparkSession:
    """What a DataFrame or RDD belongs to, else the active session, or a new one: as the SparkContext of a classic
    session, or as the session itself if it is one of Spark Connect."""
    if isinstance(data, RDD):
        return _running(data.ctx)
    spark: SparkSession = data.sparkSession if isinstance(data, DataFrame) else session()
    if is_connect(spark):
        if spark.is_stopped:
            raise ClusterError(STOPPED)
        return spark
    _running(spark.sparkContext)
    tell_losses(spark)
    return spark.sparkContext


def _running(context: SparkContext) -> SparkContext:
    if context._jsc is None:
        raise ClusterError(STOPPED)
    return context


def load(
    data: Any,
    *,
    batch_size: int,
    seed: int = 0,
    shards: int | None = None,
    tasks: int | None = None,
    columns: Sequence[str] | None = None,
    features: Encoder | None = None,
    argument: str = "",
) -> Dataset:
    """Read data once, deal its rows to shards, and write these on the executors.

    Args:
      data: a DataFrame; an RDD of Rows, dicts, tuples or arrays; paths of files; a table; or a pytree of arrays.
      batch_size: rows of a global batch.
      seed: decides the dealing.
      shards: number of shards; None means one a task.
      tasks: number of tasks; None means what the cluster runs at once, but no more than shards.
      columns: the columns to use as they are; None means all, or none if there are `features`.
      features: encodes other columns of a DataFrame.
      argument: whose data this is, for messages.

    Returns:
      The Dataset.

    Raises:
      ColumnError, MissingColumnError, DataError: the data does not become arrays.
    """
    if isinstance(data, Held):
        return data.dataset(batch_size, seed, shards)
    with about(argument), settled("reading the data"):
        where = session_of(data)
        data = _prepared(data, features)
        if is_connect(where):
            with connect_jobs(where):
                return connect_load(data, where, batch_size, seed, shards, tasks, columns, features)
        with own_jobs(where):
            return _load(data, where, batch_size, seed, shards, tasks, columns, features)


def _prepared(data: Any, features: Encoder | None) -> Any:
    """Paths as Files, and what is in the driver's memory and has to be encoded as a DataFrame."""
    if are_paths(data):
        return open_files(data, session())
    if features is not None and not isinstance(data, DataFrame | RDD):
        return dataframe(data)
    return data


def _load(
    data: Any,
    context: SparkContext,
    batch_size: int,
    seed: int,
    shards: int | None,
    tasks: int | None,
    columns: Sequence[str] | None,
    features: Encoder | None,
) -> Dataset:
    context.setJobDescription("fdl: read the data")
    name = f"{owner(context)}-{uuid.uuid4().hex}"
    source = open_source(data, context, name, columns, features)
    tasks = tasks or min(context.defaultParallelism, shards or context.defaultParallelism)
    near = is_near(context) and tasks <= NEAR_TASKS and context.getConf().get(LIMIT) is None
    found = source.survey or (source.promised if near else None)
    if near and source.staged is None and found is None:
        source = staged_source(source, name)
    try:
        if source.staged is not None:
            with batches_of(context, CHUNK_BYTES):
                found = merged(source.staged.mapPartitionsWithIndex(_summaries).collect())
        elif found is None:
            found = survey(source.chunks)
        schedule = Schedule(found.rows, batch_size, shards or tasks, seed)
        context.setJobDescription("fdl: write the shards")
        with loading(context, name):
            return RddDataset(name, source, found, schedule, min(tasks, schedule.shards), near)
    finally:
        if source.staged is not None:
            with going_on("deleting the rows that were read"):
                context.setJobDescription("fdl: delete the rows that were read")
                everywhere(context).foreachPartition(partial(delete_rows, name, None, kinds=(STAGED,)))
                source.staged.unpersist()


def is_near(context: SparkContext) -> bool:
    """Whether all tasks run in one process, and so see the files of each other."""
    return re.fullmatch(r"local(\[.*\])?", context.master) is not None


def _summaries(partition: int, elements: Iterable[Any]) -> Iterator[tuple[int, Summary]]:
    return ((partition, summary) for element in elements for summary in handle_of(element).summaries)
