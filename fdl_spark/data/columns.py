"""Columns of rows become arrays, or one clear error with the column and the first bad row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fdl.dtypes import bfloat16

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a column; found on an executor, raised on the driver, which knows the row's global number."""

    column: str
    text: str
    row: int


class BadColumn(Exception):
    """Carries a Problem out of a conversion."""

    def __init__(self, column: str, text: str, row: int):
        super().__init__(column, text, row)
        self.problem = Problem(column, text, row)


def arrow_arrays(batch: pa.RecordBatch) -> Arrays:
    """The arrays of an Arrow record batch, float64 narrowed to float32.

    Raises:
      BadColumn: null, NaN, or arrays of unequal lengths.
    """
    columns = zip(batch.schema.names, batch.columns, strict=True)
    return {name: checked(name, _arrow(name, column)) for name, column in columns}


def _arrow(name: str, column: pa.Array) -> np.ndarray:
    kind = column.type
    if not has_numbers(kind):
        raise BadColumn(name, not_numeric(str(kind)), 0)
    if column.null_count:
        raise BadColumn(name, "null", int(np.argmax(column.is_null().to_numpy(zero_copy_only=False))))
    if isinstance(column, pa.FixedShapeTensorArray):
        return column.to_numpy_ndarray()
    if pa.types.is_fixed_size_list(kind):
        width = kind.list_size
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        width = _width(name, column)
    elif pa.types.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    else:
        return column.to_numpy(zero_copy_only=False)
    try:
        inner = _arrow(name, column.flatten())
    except BadColumn as bad:
        text = "null inside an array" if bad.problem.text == "null" else bad.problem.text
        raise BadColumn(name, text, bad.problem.row // max(width, 1)) from None
    return inner.reshape(len(column), width, *inner.shape[1:])


def _width(name: str, column: pa.Array) -> int:
    """The length that all lists of a column have."""
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    if lengths.size and (lengths != lengths[0]).any():
        row = int(np.argmax(lengths != lengths[0]))
        raise BadColumn(name, unequal(lengths[0], lengths[row]), row)
    return int(lengths[0]) if lengths.size else 0


def has_numbers(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type become numbers or arrays of numbers, if none is null."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return True
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return has_numbers(kind.value_type)
    return is_number(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are numbers that NumPy has too."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def checked(name: str, array: np.ndarray) -> np.ndarray:
    """The array itself, doubles narrowed; raises BadColumn if it holds a NaN."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 4:
        array = array.astype(np.float32)
    return without_nan(name, array)


def without_nan(name: str, array: np.ndarray) -> np.ndarray:
    """The array itself; raises BadColumn if it holds a NaN."""
    if array.size and _has_nan(array):
        bad = np.isnan(array.reshape(len(array), -1)).any(axis=1)
        raise BadColumn(name, "NaN", int(np.argmax(bad)))
    return array


def _has_nan(array: np.ndarray) -> bool:
    if array.dtype in (np.float32, np.float64):
        return bool(np.isnan(array.min()))  # NaN if one of them is, twenty times as fast as asking each
    return (array.dtype.kind in "fc" or array.dtype == bfloat16) and bool(np.isnan(array).any())


def stacked(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Arrays:
    """The arrays of rows that are Python objects; Python floats become float32.

    Raises:
      BadColumn: a missing or surplus column, None, a string, NaN, or shapes that differ between rows.
    """
    for row, values in enumerate(rows):
        for name in values.keys() ^ set(names):
            raise BadColumn(name, "in some rows but not in all", row)
    return {name: checked(name, _stack(name, [row[name] for row in rows])) for name in names}


def size_of(value: Any) -> int:
    """How many bytes a Python object takes as an array; 0 if it becomes none."""
    try:
        return _array(value).nbytes
    except ValueError:
        return 0


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.toArray() if hasattr(value, "toArray") else value)  # which ML's vectors have


def _stack(name: str, values: list[Any]) -> np.ndarray:
    arrays: list[np.ndarray] = []
    for row, value in enumerate(values):
        if value is None:
            raise BadColumn(name, "null", row)
        try:
            array = _array(value)
        except ValueError as error:
            raise BadColumn(name, f"a ragged array ({error})", row) from None
        if array.dtype.kind == "O" and isinstance(value, int):
            raise BadColumn(name, f"{value} does not fit 64 bits", row)
        if not is_numeric(array.dtype):
            raise BadColumn(name, not_numeric(type(value).__name__), row)
        if arrays and array.shape != arrays[0].shape:
            raise BadColumn(name, f"arrays of unequal shapes: {arrays[0].shape} before, {array.shape} here", row)
        arrays.append(array)
    return np.stack(arrays)


NUMERIC = "biufc"


def is_numeric(dtype: np.dtype) -> bool:
    """Whether a dtype is one of numbers.

    >>> is_numeric(bfloat16), is_numeric(np.dtype("V2")), is_numeric(np.dtype([("a", "<f4")]))
    (True, False, False)
    """
    return dtype.kind in NUMERIC or dtype == bfloat16


def not_numeric(kind: str) -> str:
    """The text for a value of a type that is no number."""
    encode = "encode it with features= (fdl_spark.features)"
    if kind.startswith(("date", "timestamp")):
        encode = "encode it with features= (fdl_spark.features.date_parts or seconds_since)"
    return f"{kind} is not numeric; {encode}, convert it to numbers in Spark, or leave it out with columns=[...]"


def unequal(before: object, here: object) -> str:
    """The text for arrays that differ in length."""
    return f"arrays of unequal lengths: {before} before, {here} here (features= can pad them)"
