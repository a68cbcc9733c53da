"""Tables in the driver's memory as DataFrames."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from fdl_spark.data.arrays import arrow_table
from fdl_spark.errors import ArgumentError
from fdl_spark.spark.classic import is_connect
from fdl_spark.spark.quiet import no_pandas_warning
from fdl_spark.spark.session import session

TASK_BYTES = 32 << 20  # of a partition, which travels inside its task: Spark refuses a task of 128 MiB

# Spark holds Arrow data of up to 48 MB as rows, and every job of a cluster sends them as objects of Java: 2,000,000
# rows of two numbers, 32 MB, end a driver that has 1 GiB. Above a megabyte they stay Arrow's; below, Spark knows their
# size, which joins are planned by.
ROWS_BYTES = "spark.sql.execution.arrow.localRelationThreshold"
BATCH_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"  # a partition is made of each batch

_settings = threading.Lock()


def dataframe(data: Any, spark: SparkSession | None = None, *, partitions: int | None = None) -> DataFrame:
    """A table in the driver's memory as a DataFrame, with its rows in order and in partitions of equal size.

    Unlike `SparkSession.createDataFrame`, it makes no partition of each chunk of an Arrow table, and the rows travel to
    the executors as Arrow's bytes. They do so in each job that reads the DataFrame: cache it, or write a table of some
    hundred megabytes to Parquet, which executors read themselves.

    Args:
      data: a table of Arrow, pandas or polars, or a dict of columns.
      spark: the session; None means that of `fdl_spark.session`.
      partitions: how many; None means as many as the cluster runs tasks at once. There are fewer if the rows do not
        fill them, and more if one had more than 32 MiB. A server of Spark Connect chooses itself.

    Returns:
      The DataFrame, which has as many rows as the table.

    Raises:
      DataError: a column has no type of Arrow.
      ArgumentError: partitions is not positive.

    >>> frame = dataframe({"x": [1.0, 2.0, 3.0, 4.0], "name": ["a", "b", "c", "d"]}, partitions=2)
    >>> frame.rdd.glom().map(len).collect()
    [2, 2]
    >>> frame.dtypes
    [('x', 'double'), ('name', 'string')]
    """
    if partitions is not None and partitions < 1:
        raise ArgumentError(f"partitions must be at least 1, got {partitions}")
    table = arrow_table(data).combine_chunks()
    spark = spark or session()
    with no_pandas_warning():
        if is_connect(spark) or not table.num_rows:
            return spark.createDataFrame(table)
        asked = max(partitions or spark.sparkContext.defaultParallelism, -(-table.nbytes // TASK_BYTES))
        wanted = {ROWS_BYTES: "1m" if partitions is None else "0", BATCH_ROWS: str(-(-table.num_rows // asked))}
        with _set(spark, wanted):
            return spark.createDataFrame(table)


@contextmanager
def _set(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[None]:
    """Settings of a session for a moment."""
    with _settings:
        before = {name: spark.conf.get(name) for name in wanted}
        try:
            for name, value in wanted.items():
                spark.conf.set(name, value)
            yield
        finally:
            for name, value in before.items():
                spark.conf.set(name, value)
