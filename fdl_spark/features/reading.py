"""Columns of Arrow become numbers, strings or instants, or one clear error with the column and the first bad row."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fdl_spark.data.columns import BadColumn

Batch = Mapping[str, pa.Array]
SAY = "missing= says what it becomes"
VECTOR = ("type", "size", "indices", "values")  # the fields of a vector of Spark ML


def plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column in one piece, without a dictionary, an extension or views."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # as pyarrow gives it where there are several chunks or none
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string_view(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
    if pa.types.is_binary_view(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.binary())
    return column


def is_nested(kind: pa.DataType) -> bool:
    """Whether the values of a type are lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_vector(kind: pa.DataType) -> bool:
    """Whether a type is that of Spark ML's vectors, dense or sparse."""
    return pa.types.is_struct(kind) and tuple(field.name for field in kind) == VECTOR


def is_number(kind: pa.DataType) -> bool:
    """Whether the values of a type are numbers or truth values; where all are null, the type may tell nothing."""
    types = pa.types
    real = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    return real or types.is_boolean(kind) or types.is_null(kind)


def first_row(bad: np.ndarray) -> int:
    """The first row of which anything is True."""
    return int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))


def no_nulls(name: str, column: pa.Array, say: str = SAY) -> None:
    """Raise BadColumn if there is a null."""
    if column.null_count:
        raise BadColumn(name, f"null; {say}", first_row(column.is_null().to_numpy(zero_copy_only=False)))


def floats(name: str, column: pa.Array, width: int | None = None) -> np.ndarray:
    """Numbers as float64, NaN where they are null.

    Args:
      name: of the column.
      column: numbers, truth values, lists of equal length, or vectors of Spark ML.
      width: how many numbers a row of the last two has; None: as many as the first one.

    Returns:
      Array [rows] or [rows, width, ...].

    Raises:
      BadColumn: no numbers, or another width.
    """
    if is_vector(column.type):
        return _vectors(name, column, width)
    if is_nested(column.type):
        return _lists(name, column, width)
    if not is_number(column.type):
        raise BadColumn(name, f"{column.type} is no number", 0)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def lengths_of(column: pa.Array) -> np.ndarray:
    """The length of each list; -1 for a null."""
    return pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _lists(name: str, column: pa.Array, width: int | None) -> np.ndarray:
    lengths = lengths_of(column)
    if width is None and pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size  # which the type tells without any list
    width, valid = _agreed(name, lengths, width), lengths >= 0
    try:
        inner = floats(name, column.flatten())
    except BadColumn as bad:
        row = np.flatnonzero(valid)[bad.problem.row // max(width, 1)] if bad.problem.row else 0
        raise BadColumn(name, bad.problem.text, int(row)) from None
    if valid.all():
        return inner.reshape(len(lengths), width, *inner.shape[1:])
    result = np.full((len(lengths), width, *inner.shape[1:]), np.nan)
    result[valid] = inner.reshape(np.count_nonzero(valid), width, *inner.shape[1:])
    return result


def _agreed(name: str, lengths: np.ndarray, width: int | None) -> int:
    """The length that all lists must have; a null (-1) may have any."""
    valid = lengths >= 0
    if width is None:
        width = int(lengths[np.argmax(valid)]) if valid.any() else 0
    if (bad := valid & (lengths != width)).any():
        row = first_row(bad)
        raise BadColumn(name, f"{lengths[row]} numbers in a row, where there must be {width}", row)
    return width


def _vectors(name: str, column: pa.Array, width: int | None) -> np.ndarray:
    sparse, size, indices, values = column.flatten()
    counts = lengths_of(values)
    sparse = pc.equal(sparse, 0).fill_null(False).to_numpy(zero_copy_only=False)
    sizes = size.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    width = _agreed(name, np.where(sparse, sizes, counts), width)
    result = np.zeros((len(counts), width))
    result[counts < 0] = np.nan
    counts = np.maximum(counts, 0)
    rows = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places[sparse[rows]] = indices.filter(pa.array(sparse)).flatten().to_numpy(zero_copy_only=False)
    result[rows, places] = values.flatten().to_numpy(zero_copy_only=False)
    return result


def without_missing(name: str, column: pa.Array, array: np.ndarray, missing: float | None) -> np.ndarray:
    """Numbers with another one in place of NaN; BadColumn if there is none to put there."""
    absent = np.isnan(array)
    if missing is None and not array.size:
        no_nulls(name, column)  # lists of which all are null have no numbers that could be NaN
    if not absent.any():
        return array
    if missing is None:
        row = first_row(absent)
        what = "NaN" if array.ndim == 1 else "null or NaN in a list"
        raise BadColumn(name, f"{what if column[row].is_valid else 'null'}; {SAY}", row)
    return np.where(absent, missing, array)


def as_dtype(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers in another dtype; BadColumn if one of them does not fit it."""
    target = np.dtype(dtype)
    if array.dtype == target:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(target)
    if target.kind == "f":
        bad = np.isinf(result) & np.isfinite(array)
    else:
        bad = result != array
        if target.kind in "iu":
            bad |= _outside(array, target)
    if bad.any():
        row = first_row(bad)
        raise BadColumn(name, f"{array[row].reshape(-1)[bad[row].reshape(-1)][0]} is no {dtype}", row)
    return result


def _outside(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f":
        return (array < limits.min) | (array >= float(limits.max) + 1)  # int64's largest number is no float64
    return (array < limits.min) | (array > limits.max)


def texts(name: str, column: pa.Array, missing: str | None) -> pa.Array:
    """Strings; whole numbers, truth values, decimals and dates as Arrow writes them.

    Raises:
      BadColumn: null if nothing is to stand in for it, or floating-point numbers, lists and others.
    """
    kind, types = column.type, pa.types
    if not types.is_string(kind):
        if types.is_floating(kind) or not (is_number(kind) or types.is_date(kind)):
            raise BadColumn(name, f"{kind} is no string or whole number; bucketize takes floating-point numbers", 0)
        column = column.cast(pa.string())
    if missing is None:
        no_nulls(name, column)
        return column
    return column.fill_null(missing) if column.null_count else column
