"""Numbers become the index of the bucket in which they lie."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from fdl_spark.data.columns import BadColumn
from fdl_spark.features.column_encoder import IndexEncoder
from fdl_spark.features.reading import Batch, first_row, floats, without_missing
from fdl_spark.features.statistics import frequencies_of_numbers, quantiles


def bucketize(
    column: str,
    output: str | None = None,
    *,
    buckets: int = 10,
    missing: float | Literal["bucket"] | None = None,
    splits: Sequence[float] | None = None,
) -> "Bucketize":
    """The index of the bucket in which a number lies, as Spark ML's Bucketizer and QuantileDiscretizer.

    Bucket i has the numbers x with splits[i - 1] <= x < splits[i]; the first and the last have no other end. Learned
    splits are exact quantiles: split i is the smallest number such that i/buckets of all are no greater, and splits
    that are equal are one. All distinct numbers of the column are counted on the driver.

    Args:
      column: a column of numbers.
      output: the name of the array, int32; None means the column's.
      buckets: how many buckets of about as many rows each are learned.
      missing: what a null or NaN becomes before, or "bucket" for a last bucket of its own; None makes it an error. It
        is not counted.
      splits: where a bucket ends and the next one begins, in ascending order; None: learned.

    >>> bucketize("age", splits=[18, 65]).encode({"age": pa.array([8, 18, 70])})
    {'age': array([0, 1, 2], dtype=int32)}
    """
    return Bucketize(column, output, buckets, missing, splits)


@dataclass(frozen=True, repr=False)
class Bucketize(IndexEncoder, kind="bucketize"):
    buckets: int
    missing: float | Literal["bucket"] | None
    splits: Sequence[float] | None

    def check(self) -> None:
        self.require(self.buckets >= 2, f"buckets must be at least 2, not {self.buckets}")
        if self.splits is not None:
            ascending = all(a < b for a, b in pairwise(self.splits))
            self.require(len(self.splits) > 0 and ascending, "splits must be in ascending order, at least one")

    @property
    def learns(self) -> bool:
        return self.splits is None

    @property
    def depth(self) -> int:
        return len(self.splits or ()) + 1 + (self.missing == "bucket")

    def _numbers(self, batch: Batch) -> np.ndarray:
        x = floats(self.column, batch[self.column])
        if x.ndim > 1:
            raise BadColumn(self.column, "lists; bucketize takes numbers", 0)
        if self.missing is None:
            without_missing(self.column, batch[self.column], x, None)
        return x

    def count(self, batch: Batch) -> pa.Table:
        x = self._numbers(batch)
        if np.isinf(x).any():
            raise BadColumn(self.column, "an infinite number, at which no bucket can end", first_row(np.isinf(x)))
        return frequencies_of_numbers(x[~np.isnan(x)])

    def learned(self, table: pa.Table) -> Self:
        if not table.num_rows:
            raise self.nothing()
        return replace(self, splits=sorted(set(quantiles(table, range(1, self.buckets), self.buckets))))

    def indices(self, batch: Batch) -> np.ndarray:
        assert self.splits is not None
        x = self._numbers(batch)
        if isinstance(self.missing, float):
            x = np.where(np.isnan(x), self.missing, x)
        # NaN stands behind all numbers, also in np.searchsorted.
        found = np.searchsorted(np.array(self.splits), x, side="right")
        return np.where(np.isnan(x), len(self.splits) + 1, found).astype(np.int32)
