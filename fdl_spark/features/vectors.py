"""Vectors of Spark ML, dense and sparse, and lists of equal length."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa

from fdl_spark.data.columns import BadColumn
from fdl_spark.errors import ColumnError
from fdl_spark.features.column_encoder import Arrays, Floating, OneColumn
from fdl_spark.features.reading import Batch, as_dtype, floats, without_missing
from fdl_spark.features.statistics import counts


def vector(
    column: str,
    output: str | None = None,
    *,
    width: int | None = None,
    missing: float | None = None,
    dtype: Floating = "float32",
) -> "Vector":
    """Vectors of Spark ML, dense and sparse, or lists of numbers, all of one width.

    Args:
      column: a column of vectors or lists.
      output: the name of the array [rows, width]; None means the column's.
      width: how many numbers each has; None: learned.
      missing: what a NaN becomes, and all numbers of a null; None makes it an error.
      dtype: of the array.

    >>> vector("x", width=2).encode({"x": pa.array([[1, 2], [3, 4]])})
    {'x': array([[1., 2.],
           [3., 4.]], dtype=float32)}
    """
    return Vector(column, output, width, missing, dtype)


@dataclass(frozen=True, repr=False)
class Vector(OneColumn, kind="vector"):
    width: int | None
    missing: float | None
    dtype: Floating

    def check(self) -> None:
        self.require(self.width is None or self.width >= 1, f"width must be at least 1, not {self.width}")

    @property
    def learns(self) -> bool:
        return self.width is None

    def _numbers(self, batch: Batch) -> np.ndarray:
        x = floats(self.column, batch[self.column], self.width)
        if x.ndim != 2:
            raise BadColumn(self.column, f"{batch[self.column].type} is no vector or list of numbers", 0)
        return without_missing(self.column, batch[self.column], x, self.missing)

    def count(self, batch: Batch) -> pa.Table:
        x = self._numbers(batch)
        present = batch[self.column].null_count < len(x)
        return counts([1], number=x.shape[1]) if present else counts([])

    def learned(self, table: pa.Table) -> Self:
        widths = sorted(int(width) for width in table["number"].to_pylist())
        if not widths:
            raise self.nothing()
        if len(widths) > 1:
            raise ColumnError(self.column, f"vectors of unequal widths, {widths[0]} and {widths[1]} among them")
        return replace(self, width=widths[0])

    def encode(self, batch: Batch) -> Arrays:
        return {self.name: as_dtype(self.column, self._numbers(batch), self.dtype)}
