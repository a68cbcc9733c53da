"""What encoders learn from a DataFrame of Spark: each task counts in its partition, and Spark adds the counts."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.taskcontext import TaskContext

from fdl_spark.data.load import session_of
from fdl_spark.data.source import numbered, place_of
from fdl_spark.errors import DataError
from fdl_spark.features.column_encoder import ColumnEncoder
from fdl_spark.features.statistics import KEYS, SCHEMA, SPARK_SCHEMA
from fdl_spark.features.summary import summarised
from fdl_spark.spark.classic import is_connect, package_of
from fdl_spark.spark.connect.jobs import own_jobs as connect_jobs
from fdl_spark.spark.failures import settled
from fdl_spark.spark.jobs import own_jobs
from fdl_spark.spark.quiet import no_pandas_warning


def counts_of(frame: Any, learning: Sequence[ColumnEncoder], names: Sequence[str]) -> pa.Table:
    """The counts of all partitions.

    Args:
      frame: a DataFrame.
      learning: the encoders that learn; if there are none, no job is run.
      names: the columns that must be there.
    """
    if not isinstance(frame, DataFrame):
        raise DataError(
            f"the encoders learn from a DataFrame of Spark, a pyarrow Table, a pandas DataFrame or a dict of columns, "
            f"not from {type(frame).__name__}"
        )
    if frame.isStreaming:
        raise DataError("a streaming DataFrame has no end; let the encoders learn from a table or a batch of it")
    with settled("fitting the encoders"):
        places = {name: place_of(frame, name, "the encoders") for name in names}
        if not learning:
            return SCHEMA.empty_table()
        where = session_of(frame)
        if is_connect(where):
            with connect_jobs(where):
                return _counts(frame, learning, places)
        with own_jobs(where):
            where.setJobDescription("fdl: fit the encoders")
            return _counts(frame, learning, places)


def _counts(frame: DataFrame, learning: Sequence[ColumnEncoder], places: dict[str, int]) -> pa.Table:
    functions: Any = import_module(f"{package_of(frame)}.functions")
    names = list(dict.fromkeys(name for encoder in learning for name in encoder.inputs))
    columns = numbered(frame).select(*(str(places[name]) for name in names))
    with no_pandas_warning():
        counts = columns.mapInArrow(partial(_summarised, tuple(learning), names), SPARK_SCHEMA)
        total = counts.groupBy(*KEYS).agg(functions.sum("count").alias("count"))
        return total.toArrow().select(SCHEMA.names).cast(SCHEMA)


def _summarised(
    learning: Sequence[ColumnEncoder], names: list[str], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    context = TaskContext.get()
    assert context is not None
    renamed = (pa.RecordBatch.from_arrays(batch.columns, names) for batch in batches)
    return summarised(learning, context.partitionId(), renamed)
