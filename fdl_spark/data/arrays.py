"""Data in the driver's memory: a pytree of arrays, or a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

import fdl
from fdl_spark.data.chunks import CHUNK_BYTES, chunks_of, rows_of
from fdl_spark.data.columns import Arrays, BadColumn, Problem, is_numeric, not_numeric, without_nan
from fdl_spark.data.selection import Selection
from fdl_spark.errors import ArgumentError, ColumnError, DataError, MissingColumnError

KINDS = "a DataFrame, an RDD, paths of files, a table or a dict of arrays"
LARGEST_ROW = (1 << 31) - (1 << 20)  # bytes: one row must fit an array of the JVM, with what describes it


def array_chunks(data: Any, columns: Sequence[str] | None) -> tuple[list[Arrays], Any]:
    """The chunks of a pytree of arrays, and the template.

    Raises:
      ColumnError, MissingColumnError, DataError: it does not become arrays with equally many rows.
    """
    if isinstance(data, bytes) or data is None:
        raise DataError(f"data must be {KINDS}; it is {type(data).__name__}")
    if columns is not None:
        data = named_entries(data, columns)
    try:
        pairs, structure = fdl.tree.flatten_with_path(data)
    except Exception as error:
        raise DataError(f"the data is no pytree of arrays: {error}") from error
    names = [_column_name(path) for path, _ in pairs]
    if not names:
        raise DataError("the data has no columns")
    arrays = {name: _column(name, leaf) for name, (_, leaf) in zip(names, pairs, strict=True)}
    if len(arrays) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ColumnError(twice, "several columns have this name; rename all but one of them")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the arrays must have one row per example each; their lengths are {lengths}")
    rows = next(iter(lengths.values()))
    size = sum(array.nbytes for array in arrays.values())
    if size > LARGEST_ROW * rows:
        raise DataError(f"one row takes {size // rows} bytes, and Spark at most {LARGEST_ROW}; cut it into several")
    chunk_rows = max(1, CHUNK_BYTES * rows // max(1, size))
    chunks = [
        {name: array[start : start + chunk_rows] for name, array in arrays.items()}
        for start in range(0, rows, chunk_rows)
    ]
    if not chunks:
        raise DataError("the arrays have no rows")
    return chunks, fdl.tree.unflatten(structure, names)


def is_table(data: Any) -> bool:
    """Whether data is a table of Arrow, pandas or polars, or another that has Arrow's interface."""
    return isinstance(data, pa.Table | pa.RecordBatch) or hasattr(data, "__arrow_c_stream__") or _is_pandas(data)


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.split(".")[0] == "pandas" and type(data).__name__ == "DataFrame"


def arrow_table(data: Any) -> pa.Table:
    """A table of another library, or a dict of columns, as a table of Arrow.

    Raises:
      DataError: a column has no type of Arrow.
    """
    try:
        if isinstance(data, Mapping):
            return pa.table({str(name): _arrow_column(column) for name, column in data.items()})
        if isinstance(data, pa.RecordBatch):
            return pa.Table.from_batches([data])
        return pa.Table.from_pandas(data, preserve_index=False) if _is_pandas(data) else pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        kind = f"{type(data).__module__.split('.')[0]} {type(data).__name__}"
        raise DataError(f"the {kind} does not become an Arrow table: {error}") from None


def _arrow_column(column: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column
    return pa.array(list(column) if getattr(column, "ndim", 1) > 1 else column)


def table_chunks(table: pa.Table, columns: Sequence[str] | None) -> tuple[list[Arrays], Any]:
    """The chunks of a table's columns, and the template.

    Raises:
      ColumnError, MissingColumnError, DataError: a column is not there, or does not become an array.
    """
    selection = Selection.of(table.column_names, columns, None)
    chunks: list[Arrays] = []
    for chunk in chunks_of(table.select(selection.read).to_batches(), selection.arrays):
        if isinstance(chunk, Problem):
            raise ColumnError(chunk.column, chunk.text, sum(map(rows_of, chunks)) + chunk.row)
        chunks.append(chunk)
    if not chunks:
        raise DataError("the table has no rows")
    return chunks, selection.template


def _column_name(path: Any) -> str:
    """A column's name is its key in a dict, and its key path elsewhere."""
    return str(path[0].key) if len(path) == 1 and hasattr(path[0], "key") else fdl.tree.keystr(path)


def _column(name: str, leaf: Any) -> np.ndarray:
    try:
        array = np.asarray(leaf)
    except Exception as error:
        raise ColumnError(name, f"{type(leaf).__name__} does not become an array ({error})") from error
    if not is_numeric(array.dtype):
        raise ColumnError(name, not_numeric(f"an array of {array.dtype}"), 0)
    if array.ndim == 0:
        raise DataError(f"column {name!r} is a single number; it must have one row per example")
    try:
        return without_nan(name, array)
    except BadColumn as bad:
        raise ColumnError(name, bad.problem.text, bad.problem.row) from None


def named_entries(columns_of: Any, columns: Sequence[str]) -> Any:
    """The named entries of a dict."""
    if not isinstance(columns_of, Mapping):
        raise ArgumentError("columns= chooses columns by name, but those of the data have none; leave it out")
    for name in columns:
        if name not in columns_of:
            raise MissingColumnError(name, [str(name) for name in columns_of], "columns=")
    return type(columns_of)((name, columns_of[name]) for name in columns)  # type: ignore[call-arg]
