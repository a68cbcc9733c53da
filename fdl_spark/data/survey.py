"""What the data consists of, found out before training: how many rows each partition has, and what its columns hold."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fdl_spark.data.chunks import Found, Run, rows_of
from fdl_spark.data.columns import Problem, unequal
from fdl_spark.errors import ColumnError, DataError
from fdl_spark.spark.classic import RDD
from fdl_spark.spark.wire import dtype_name

Cells = dict[str, tuple[str, tuple[int, ...]]]


class Summary(NamedTuple):
    """What a chunk holds, or what is wrong with it."""

    run: Run
    rows: int
    cells: Cells
    problem: Problem | None = None


@dataclass(frozen=True)
class Survey:
    """What the data consists of.

    Attributes:
      parts: (partition, run, number of rows) in the order of the data.
      columns: dtype and shape of one row, by column.
    """

    parts: tuple[tuple[int, Run, int], ...]
    columns: Cells

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(rows for _, _, rows in self.parts)

    def first_rows(self) -> dict[int, dict[Run, int]]:
        """The global number of the first row of each run in each partition."""
        found: dict[int, dict[Run, int]] = {}
        row = 0
        for partition, run, rows in self.parts:
            found.setdefault(partition, {})[run] = row
            row += rows
        return found


def survey(chunks: RDD) -> Survey:
    """Count the rows and check that all chunks agree.

    Args:
      chunks: RDD of runs and dicts of arrays, or Problems.

    Returns:
      The Survey.

    Raises:
      ColumnError: with the column and the global number of the first bad row.
      DataError: there are no rows.
    """
    return merged(chunks.mapPartitionsWithIndex(_numbered).collect())


def merged(found_by_partition: Iterable[tuple[int, Summary]]) -> Survey:
    """The Survey from (partition, summary of a chunk), those of each partition in their order; raises as `survey`."""
    rows: dict[tuple[Run, int], int] = {}
    columns: Cells = {}
    total = 0
    for partition, found in sorted(found_by_partition, key=lambda one: (one[1].run, one[0])):
        if found.problem is not None:
            raise ColumnError(found.problem.column, found.problem.text, total + found.problem.row)
        columns = _agree(columns, found.cells, total) if columns else found.cells
        rows[found.run, partition] = rows.get((found.run, partition), 0) + found.rows
        total += found.rows
    if not total:
        raise DataError("the data has no rows")
    return Survey(tuple((partition, run, count) for (run, partition), count in rows.items()), columns)


def summaries(chunks: Iterable[Found]) -> Iterator[Summary]:
    """What each chunk holds."""
    for run, chunk in chunks:
        if isinstance(chunk, Problem):
            yield Summary(run, 0, {}, chunk)
        else:
            cells = {name: (dtype_name(array.dtype), array.shape[1:]) for name, array in chunk.items()}
            yield Summary(run, rows_of(chunk), cells)


def _numbered(partition: int, chunks: Iterable[Found]) -> Iterator[tuple[int, Summary]]:
    return ((partition, summary) for summary in summaries(chunks))


def _agree(known: Cells, found: Cells, row: int) -> Cells:
    merged = {}
    for name, (dtype, shape) in known.items():
        other_dtype, other_shape = found[name]
        if shape != other_shape:
            raise ColumnError(name, unequal(shape, other_shape), row)
        common = _common(name, dtype, other_dtype, row)
        # As within a chunk: what would need doubles to hold both becomes float32, wherever the partitions are cut.
        narrowed = common == np.float64 and np.dtype(dtype) != np.dtype(other_dtype)
        merged[name] = (dtype_name(np.dtype(np.float32 if narrowed else common)), shape)
    return merged


def _common(name: str, dtype: str, other: str, row: int) -> np.dtype:
    """The dtype that holds what two hold."""
    try:
        return np.result_type(dtype, other)
    except TypeError:  # as of bfloat16 and whole numbers
        raise ColumnError(name, f"arrays of {dtype} before, of {other} here", row) from None
