"""One reading of the data before training: how many rows each partition has, and what its columns hold."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from fdl_spark.data.columns import Arrays, Problem
from fdl_spark.errors import ColumnError, DataError
from fdl_spark.spark.classic import RDD

Cells = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Survey:
    """What the data consists of.

    Attributes:
      rows: number of rows of each partition.
      columns: dtype and shape of one row, by column.
    """

    rows: tuple[int, ...]
    columns: Cells

    def first_row(self, partition: int) -> int:
        """The global number of a partition's first row."""
        return sum(self.rows[:partition])


def survey(chunks: RDD) -> Survey:
    """Count the rows and check that all chunks agree.

    Args:
      chunks: RDD of dicts of arrays, or of Problems.

    Returns:
      The Survey.

    Raises:
      ColumnError: with the column and the global number of the first bad row.
      DataError: there are no rows.
    """
    return merged(chunks.mapPartitionsWithIndex(summaries).collect(), chunks.getNumPartitions())


def merged(found_by_partition: Iterable[tuple[int, Any]], partitions: int) -> Survey:
    """The Survey from the summaries of partitions, those of each in their order; raises as `survey`."""
    rows = [0] * partitions
    columns: Cells = {}
    total = 0
    for partition, found in sorted(found_by_partition, key=itemgetter(0)):
        if isinstance(found, Problem):
            raise ColumnError(found.column, found.text, total + found.row)
        count, cells = found
        columns = _agree(columns, cells, total) if columns else cells
        rows[partition] += count
        total += count
    if not total:
        raise DataError("the data has no rows")
    return Survey(tuple(rows), columns)


def summaries(partition: int, chunks: Iterable[Arrays | Problem]) -> Iterator[tuple[int, Any]]:
    """(partition, number of rows and Cells, or the Problem) of each chunk of a partition."""
    for chunk in chunks:
        if isinstance(chunk, Problem):
            yield partition, chunk
        else:
            cells = {name: (array.dtype.str, array.shape[1:]) for name, array in chunk.items()}
            yield partition, (len(next(iter(chunk.values()))), cells)


def _agree(known: Cells, found: Cells, row: int) -> Cells:
    merged = {}
    for name, (dtype, shape) in known.items():
        other_dtype, other_shape = found[name]
        if shape != other_shape:
            raise ColumnError(name, f"arrays of unequal lengths: {shape} before, {other_shape} here", row)
        common = np.result_type(dtype, other_dtype)
        # As within a chunk: what would need doubles to hold both becomes float32, wherever the partitions are cut.
        narrowed = common == np.float64 and np.dtype(dtype) != np.dtype(other_dtype)
        merged[name] = (np.dtype(np.float32 if narrowed else common).str, shape)
    return merged
