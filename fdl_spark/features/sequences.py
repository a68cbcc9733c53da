"""Lists of unequal length become arrays of one length, with a mask of what is there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from fdl_spark.data.columns import BadColumn
from fdl_spark.features.column_encoder import Arrays, Floating, OneColumn, Whole
from fdl_spark.features.reading import Batch, as_dtype, first_row, floats, is_nested, lengths_of, no_nulls
from fdl_spark.features.statistics import frequencies_of_numbers

Keep = Literal["first", "last"]


def padded(
    flat: np.ndarray, lengths: np.ndarray, length: int, fill: float, keep: Keep
) -> tuple[np.ndarray, np.ndarray]:
    """Lists of one length.

    Args:
      flat: the elements of all lists, one after the other.
      lengths: of the lists.
      length: which they are to have.
      fill: what stands behind the elements of a list that is shorter.
      keep: which elements of a longer one stay.

    Returns:
      Array [rows, length, ...] of flat's dtype, and bool [rows, length]: where an element is.
    """
    kept = np.minimum(lengths, length)
    starts = np.cumsum(lengths) - lengths + (lengths - kept if keep == "last" else 0)
    mask = np.arange(length) < kept[:, None]
    result = np.full((len(lengths), length, *flat.shape[1:]), fill, flat.dtype)
    result[mask] = flat[(starts[:, None] + np.arange(length))[mask]]
    return result, mask


def pad(
    column: str,
    output: str | None = None,
    *,
    length: int | None = None,
    buckets: Sequence[int] | None = None,
    value: float = 0.0,
    keep: Keep | Literal["all"] = "first",
    missing: Literal["empty"] | None = None,
    dtype: Floating | Whole = "float32",
) -> "Pad":
    """Lists of unequal length as arrays of one length, and "NAME_mask", which is True where an element is.

    Args:
      column: a column of lists of numbers, or of lists of equal length.
      output: the name of the array [rows, length, ...]; None means the column's.
      length: of each row; None: learned, the longest list's, or the least of `buckets` that holds it.
      buckets: lengths in ascending order; there is another array, "NAME_bucket": the index of the least of them that
        holds the row's list, or of the last one, to train on rows of like length together.
      value: what stands behind the elements of a shorter list.
      keep: which elements of a longer list stay; with "all" it is an error.
      missing: "empty" makes an empty list of a null; None makes it an error. A null or NaN inside is an error.
      dtype: of the array.

    >>> pad("clicks", length=3, dtype="int32").encode({"clicks": pa.array([[7, 8], [1, 2, 3, 4]])})
    {'clicks': array([[7, 8, 0],
           [1, 2, 3]], dtype=int32), 'clicks_mask': array([[ True,  True, False],
           [ True,  True,  True]])}
    """
    return Pad(column, output, length, buckets, value, keep, missing, dtype)


@dataclass(frozen=True, repr=False)
class Pad(OneColumn, kind="pad"):
    length: int | None
    buckets: Sequence[int] | None
    value: float
    keep: Keep | Literal["all"]
    missing: Literal["empty"] | None
    dtype: Floating | Whole

    def check(self) -> None:
        self.require(self.length is None or self.length >= 1, f"length must be at least 1, not {self.length}")
        if self.buckets is not None:
            ascending = all(a < b for a, b in pairwise((0, *self.buckets)))
            self.require(bool(self.buckets) and ascending, "buckets must be lengths from 1 up in ascending order")
        if np.dtype(self.dtype).kind != "f":
            limits = np.iinfo(self.dtype)
            fits = self.value == int(self.value) and limits.min <= self.value <= limits.max
            self.require(fits, f"value is {self.value}, which is no {self.dtype}")

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.name, self.mask, *([f"{self.name}_bucket"] if self.buckets else []))

    @property
    def learns(self) -> bool:
        return self.length is None

    def _lengths(self, batch: Batch) -> np.ndarray:
        column = batch[self.column]
        if not is_nested(column.type):
            raise BadColumn(self.column, f"{column.type} is no list; pad takes lists of numbers", 0)
        if self.missing is None:
            no_nulls(self.column, column, 'null; missing="empty" makes an empty list of it')
        return np.maximum(lengths_of(column), 0)

    def count(self, batch: Batch) -> pa.Table:
        return frequencies_of_numbers(np.unique(self._lengths(batch)).astype(np.float64))

    def learned(self, table: pa.Table) -> Self:
        if not table.num_rows:
            raise self.nothing()
        longest = max(1, int(max(table["number"].to_pylist())))
        lengths = self.buckets or [longest]
        return replace(self, length=min((length for length in lengths if length >= longest), default=max(lengths)))

    def encode(self, batch: Batch) -> Arrays:
        assert self.length is not None
        lengths = self._lengths(batch)
        if self.keep == "all" and (lengths > self.length).any():
            row = first_row(lengths > self.length)
            text = f'{lengths[row]} elements, more than length={self.length}; keep="first" would leave out the others'
            raise BadColumn(self.column, text, row)
        flat = self._elements(batch[self.column].flatten(), lengths)
        keep: Keep = "last" if self.keep == "last" else "first"
        array, mask = padded(flat, lengths, self.length, self.value, keep)
        found = {self.name: array, self.mask: mask}
        if self.buckets:
            bucket = np.searchsorted(np.array(self.buckets), lengths)
            found[f"{self.name}_bucket"] = np.minimum(bucket, len(self.buckets) - 1).astype(np.int32)
        return found

    def _elements(self, column: pa.Array, lengths: np.ndarray) -> np.ndarray:
        try:
            if pa.types.is_integer(column.type) and np.dtype(self.dtype).kind != "f":
                no_nulls(self.column, column, "in a list")
                return as_dtype(self.column, column.to_numpy(zero_copy_only=False), self.dtype)
            flat = floats(self.column, column)
            if (bad := np.isnan(flat)).any():
                raise BadColumn(self.column, "null or NaN in a list", first_row(bad))
            return as_dtype(self.column, flat, self.dtype)
        except BadColumn as bad:
            row = int(np.searchsorted(np.cumsum(lengths), bad.problem.row, side="right"))
            raise BadColumn(self.column, bad.problem.text, min(row, max(len(lengths) - 1, 0))) from None
