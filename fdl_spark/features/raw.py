"""Binary columns that hold the bytes of arrays, such as those that `predict` makes of "binary" outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fdl_spark.data.columns import BadColumn
from fdl_spark.features.column_encoder import Arrays, Floating, OneColumn, Whole
from fdl_spark.features.reading import Batch, first_row, no_nulls


def raw(
    column: str,
    output: str | None = None,
    *,
    shape: Sequence[int],
    dtype: Floating | Whole | Literal["bool"] = "uint8",
) -> "Raw":
    """The arrays whose bytes a binary column holds: row-major and little-endian, as outputs "binary" of `predict` are.

    Args:
      column: a column of binary, each value of as many bytes as an array has.
      output: the name of the array [rows, *shape]; None means the column's.
      shape: of each row's array.
      dtype: of the numbers.

    >>> raw("crop", shape=(1, 2)).encode({"crop": pa.array([b"ab", b"cd"])})
    {'crop': array([[[ 97,  98]],
    <BLANKLINE>
           [[ 99, 100]]], dtype=uint8)}
    """
    return Raw(column, output, tuple(shape), dtype)


@dataclass(frozen=True, repr=False)
class Raw(OneColumn, kind="raw"):
    shape: Sequence[int]
    dtype: Floating | Whole | Literal["bool"]

    def check(self) -> None:
        self.require(all(n >= 1 for n in self.shape), f"the shape must be lengths from 1 up, not {self.shape}")

    def encode(self, batch: Batch) -> Arrays:
        column, dtype = batch[self.column], np.dtype(self.dtype).newbyteorder("<")
        if pa.types.is_null(column.type) or pa.types.is_fixed_size_binary(column.type):
            column = column.cast(pa.binary())
        if not pa.types.is_binary(column.type):
            raise BadColumn(self.column, f"{column.type} does not hold the bytes of arrays; binary does", 0)
        no_nulls(self.column, column)
        size = prod(self.shape) * dtype.itemsize
        lengths = pc.binary_length(column).to_numpy(zero_copy_only=False)
        if (other := lengths != size).any():
            row = first_row(other)
            text = f"{lengths[row]} bytes, where {self.dtype} of shape {tuple(self.shape)} has {size}"
            raise BadColumn(self.column, text, row)
        if not len(column):
            return {self.name: np.zeros((0, *self.shape), self.dtype)}
        _, offsets, content = column.buffers()
        start = np.frombuffer(offsets, np.int32)[column.offset]
        flat = np.frombuffer(content, dtype, len(column) * prod(self.shape), offset=int(start))
        return {self.name: flat.reshape(len(column), *self.shape).astype(self.dtype, copy=False)}
