"""Windows of series in a DataFrame of Spark: each block of a series is cut by one task."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, IntegralType, LongType, StructField, StructType

from fdl_spark.data.source import numbered, place_of
from fdl_spark.errors import ColumnError, DataError
from fdl_spark.features.series import Windows
from fdl_spark.spark.classic import package_of
from fdl_spark.spark.quiet import no_pandas_warning


def windows_of_frame(frame: Any, asked: Windows, block: int) -> DataFrame:
    """What `windows` gives for a DataFrame.

    Args:
      frame: the steps of all series.
      asked: the windows.
      block: how many windows of a series a task makes at once.
    """
    if not isinstance(frame, DataFrame):
        raise DataError(
            f"windows are made of a DataFrame of Spark, a pyarrow Table, a pandas DataFrame or a dict of columns, "
            f"not of {type(frame).__name__}"
        )
    if frame.isStreaming:
        raise DataError("windows need all steps of a series; a streaming DataFrame has no end")
    places = [place_of(frame, name, "windows") for name in asked.read]
    fields = [frame.schema.fields[place] for place in places]
    kind = fields[len(asked.by)].dataType
    if not isinstance(kind, IntegralType):
        raise ColumnError(asked.order, f"windows need whole numbers that count steps, not {kind.simpleString()}")
    functions: Any = import_module(f"{package_of(frame)}.functions")
    steps = numbered(frame).select(*(functions.col(str(place)).alias(str(n)) for n, place in enumerate(places)))
    step = functions.col(str(len(asked.by))).cast("bigint")
    first, last = (functions.floor((step + shift) / block) for shift in (1 - asked.future, asked.past))
    # A null must come to a task, which tells of it.
    blocks = functions.explode(functions.coalesce(functions.sequence(first, last), functions.array(functions.lit(0))))
    groups = [*map(str, range(len(asked.by))), "block"]
    # Ranges, not hashes, so that the windows are in the order of series and steps, whatever the cluster.
    dealt = steps.withColumn("block", blocks).repartitionByRange(*groups)
    with no_pandas_warning():
        cut = dealt.groupBy(*groups).applyInArrow(_cutting(asked, block), _schema(asked, fields))
    return cut.toDF(*asked.written)


def _schema(asked: Windows, fields: list[Any]) -> StructType:
    """Of the result, with numbers for names."""
    series, columns = fields[: len(asked.by)], fields[len(asked.by) + 1 :]
    lists = [ArrayType(field.dataType, True) for field in columns for _ in range(2 if asked.future else 1)]
    types = [*(field.dataType for field in series), LongType(), *lists]
    return StructType([StructField(str(place), kind, True) for place, kind in enumerate(types)])


def _cutting(asked: Windows, block: int) -> Callable[[pa.Table], pa.Table]:
    """The function of a block's steps."""

    def cut(steps: pa.Table) -> pa.Table:
        first = block * steps["block"][0].as_py()
        columns = asked.of_series(steps.drop_columns("block"), first, block)
        return pa.table(columns, names=[str(place) for place in range(len(columns))])

    return cut
