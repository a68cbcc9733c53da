"""Rows in Arrow: as what can become numbers, and which of them a function can be applied to."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fdl_spark.data.columns import BadColumn, is_number
from fdl_spark.data.selection import Selection

Shape = tuple[int | None, ...]  # of a row; None where a length is not known
VECTOR = ("type", "size", "indices", "values")  # the fields of a vector of Spark ML


def numbers(column: pa.Array, decimals: bool) -> pa.Array:
    """A column in a type that becomes an array, if it can: vectors of Spark ML as lists of doubles.

    Args:
      column: as Spark gives it to a UDF.
      decimals: whether those become doubles.
    """
    if decimals and (kind := _with_doubles(column.type)) != column.type:
        return column.cast(kind)
    if pa.types.is_struct(column.type) and tuple(field.name for field in column.type) == VECTOR:
        return _dense(column)
    return column


def _with_doubles(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind) and (inner := _with_doubles(kind.value_type)) != kind.value_type:
        return pa.list_(inner)
    return pa.float64() if pa.types.is_decimal(kind) else kind


def _dense(column: pa.Array) -> pa.Array:
    """Lists of all elements of vectors, of which a sparse one (type 0) has those that are not zero, and where."""
    kind, size, indices, values = column.flatten()
    counts = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    sparse = pc.fill_null(pc.equal(kind, 0), False).to_numpy(zero_copy_only=False)
    lengths = np.where(sparse, pc.fill_null(size, 0).to_numpy(zero_copy_only=False), counts)
    starts = np.cumsum(lengths) - lengths
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places[np.repeat(sparse, counts)] = indices.filter(pa.array(sparse)).flatten().to_numpy(zero_copy_only=False)
    elements = np.zeros(lengths.sum())
    elements[np.repeat(starts, counts) + places] = values.flatten().to_numpy(zero_copy_only=False)
    offsets = pa.array(np.append(starts, lengths.sum()).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(elements), mask=column.is_null())


def list_of_numbers(kind: pa.DataType) -> int:
    """How deep the lists of numbers of a type are; 0 if it has none."""
    depth = 0
    while pa.types.is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth if is_number(kind) or pa.types.is_decimal(kind) else 0


def lengths(column: pa.Array) -> Shape | None:
    """The lengths of a column's first list that is not null, and of the first one in it; None if there is none."""
    found: Shape = ()
    while pa.types.is_list(column.type):
        if column.null_count == len(column):
            return None
        first = int(np.argmax(column.is_valid().to_numpy(zero_copy_only=False))) if column.null_count else 0
        column = column[first].values
        found += (len(column),)
    return found


def with_lengths(kind: pa.DataType, shape: Shape) -> pa.DataType:
    """A type of lists as one of lists of these lengths; None leaves a length open."""
    if not shape or not pa.types.is_list(kind):
        return kind
    inner = with_lengths(kind.value_type, shape[1:])
    return pa.list_(inner) if shape[0] is None else pa.list_(inner, shape[0])


def nulls_with_lengths(rows: pa.RecordBatch, lists: Mapping[int, Shape]) -> pa.RecordBatch:
    """Rows whose columns of nothing but nulls are of a type that tells the lengths of lists, where these are known."""
    columns = list(rows.columns)
    for place, shape in lists.items():
        if columns[place].null_count == rows.num_rows:
            columns[place] = pa.nulls(rows.num_rows, with_lengths(columns[place].type, shape))
    return pa.RecordBatch.from_arrays(columns, rows.schema.names)


def valid_rows(selection: Selection, rows: pa.RecordBatch) -> np.ndarray:
    """Whether a function can be applied to each of some rows.

    Args:
      selection: what becomes of the columns.
      rows: the columns that it reads.

    Returns:
      Bool array (rows,).
    """
    valid = np.ones(rows.num_rows, bool)
    for column in rows.columns[: len(selection.numeric)]:
        valid &= ~_missing(column)
    if selection.features is not None and valid.any():
        chosen = np.flatnonzero(valid)
        valid[chosen] = _encodable(selection, rows.take(pa.array(chosen)))
    return valid


def _missing(column: pa.Array) -> np.ndarray:
    """Whether a row is null or NaN, or has one inside of its arrays."""
    missing = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_list(column.type):
        inside = _missing(column.flatten())
        if inside.any():
            missing = missing.copy()
            missing[pc.list_parent_indices(column).to_numpy()[inside]] = True
    return missing


def _encodable(selection: Selection, rows: pa.RecordBatch) -> np.ndarray:
    """Whether each row can be encoded: an encoder names one bad row only, so those beside it are tried in halves."""
    try:
        selection.arrays(rows)
    except BadColumn:
        if rows.num_rows == 1:
            return np.zeros(1, bool)
        half = rows.num_rows // 2
        return np.concatenate([_encodable(selection, rows.slice(0, half)), _encodable(selection, rows.slice(half))])
    return np.ones(rows.num_rows, bool)
