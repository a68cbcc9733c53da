"""From a user's data to shards on the executors."""

from collections.abc import Sequence
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession

from fdl_spark.data.connect_dataset import load as connect_load
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.held import Held
from fdl_spark.data.rdd_dataset import RddDataset
from fdl_spark.data.sharded import Dataset
from fdl_spark.data.shards import Schedule
from fdl_spark.data.source import open_source
from fdl_spark.data.survey import survey
from fdl_spark.errors import ClusterError
from fdl_spark.spark.classic import RDD, SparkContext, is_connect
from fdl_spark.spark.cleanup import going_on
from fdl_spark.spark.connect.jobs import own_jobs as connect_jobs
from fdl_spark.spark.failures import STOPPED, about, settled
from fdl_spark.spark.jobs import own_jobs
from fdl_spark.spark.session import session, tell_losses


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
      data: a DataFrame; an RDD of Rows, dicts, tuples or arrays; or a pytree of arrays.
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
        if is_connect(where):
            with connect_jobs(where):
                return connect_load(data, where, batch_size, seed, shards, tasks, columns, features)
        with own_jobs(where):
            return _load(data, where, batch_size, seed, shards, tasks, columns, features)


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
    source = open_source(data, context, columns, features)
    try:
        # The survey and the dealing must see the same rows, and computing them twice may be dear.
        if source.costly is not None:
            source.costly.persist(StorageLevel.MEMORY_AND_DISK)
        found = source.survey or survey(source.chunks)
        tasks = tasks or min(context.defaultParallelism, shards or context.defaultParallelism)
        schedule = Schedule(sum(found.rows), batch_size, shards or tasks, seed)
        context.setJobDescription("fdl: write the shards")
        return RddDataset(source, found, schedule, min(tasks, schedule.shards))
    finally:
        if source.costly is not None:
            with going_on("freeing the rows that were read"):
                source.costly.unpersist()
