"""Windows of series: from a table of steps to one of examples, each with some steps and those after them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from fdl_spark.arguments import check_names, check_whole
from fdl_spark.errors import ArgumentError
from fdl_spark.features.features import local_table, read
from fdl_spark.features.series import Windows


def windows(
    data: Any,
    order: str,
    columns: Sequence[str],
    *,
    past: int,
    future: int = 0,
    stride: int = 1,
    by: Sequence[str] = (),
    block: int = 1024,
) -> Any:
    """Each window of a series as a row: some steps as lists, and the steps that follow them.

    A window is there if all of its steps are: one that a step is missing from is left out, and nulls in a column stay.
    So which windows are there, and what is in them, does not depend on the order of rows or on partitions. On Spark no
    task sees more than a block of a series: a step is sent to the blocks whose windows have it.

    Args:
      data: a DataFrame of Spark; or, without Spark, a pyarrow Table, a pandas DataFrame or a dict of columns.
      order: a column of whole numbers: those of neighbouring steps differ by 1. Of times, take hours since an epoch.
      columns: what windows are made of: columns of any type, lists too.
      past: steps that a window has before its number.
      future: steps from its number on.
      stride: only windows whose number is a multiple of it.
      by: columns that tell several series apart.
      block: windows of a series that a task makes at once; each block also reads `past + future` more steps.

    Returns:
      A DataFrame, or a Table, with the columns `by`, `order` (bigint: the number of the first step after the past), and
      for each column "NAME_past" and, if there is a future, "NAME_future"; its rows in the order of `by` and `order`.

    Raises:
      ArgumentError: an argument is not what it must be.
      ColumnError, MissingColumnError: a column is not there, or `order` has other than whole numbers, a null, or a
        number twice in one series. On Spark the last two are told by the action that comes to them.

    >>> series = {"hour": [7, 8, 9, 10, 12], "load": [1.0, 2.0, 3.0, 4.0, 6.0]}
    >>> windows(series, "hour", ["load"], past=2, future=1).to_pydict()  # none has the hour 11
    {'hour': [9, 10], 'load_past': [[1.0, 2.0], [2.0, 3.0]], 'load_future': [[3.0], [4.0]]}
    """
    for name, value, least in (("past", past, 1), ("future", future, 0), ("stride", stride, 1), ("block", block, 1)):
        check_whole(f"windows: {name}", value, least)
    check_names("windows: columns", columns)
    check_names("windows: by", by or None)
    asked = Windows(order, tuple(columns), tuple(by), past, future, stride)
    if len(set(asked.read)) < len(asked.read) or len(set(asked.written)) < len(asked.written):
        raise ArgumentError(f"windows: order, columns and by must name different columns, not {asked.read}")
    table = local_table(data)
    if table is None:
        from fdl_spark.features.windows_on_spark import windows_of_frame

        return windows_of_frame(data, asked, block)
    found = read(table, asked.read, "windows")
    return pa.concat_tables(
        pa.table(asked.of_series(series), names=asked.written)
        for series in _series(pa.table(list(found.values()), names=asked.read), asked.by)
    )


def _series(table: pa.Table, by: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of each series, by the values that tell them apart."""
    if not by or not len(table):
        yield table
        return
    rows = table.select(by).append_column("", pa.array(np.arange(len(table))))
    groups = rows.group_by(list(by)).aggregate([("", "list")]).sort_by([(name, "ascending") for name in by])
    for group in groups["_list"]:
        yield table.take(group.values)
