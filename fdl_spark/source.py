"""The kinds of data that can be trained on, each as an RDD of chunks: dicts of equally long arrays by column name.

Row i of the data is the i-th row in the order of the partitions and, within a partition, of its rows. That order is the
identity of a row: the same rows in the same order give the same shards however they are cut into partitions.
"""

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import RDD, SparkContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as sql
from pyspark.sql import types as T

import fdl
from fdl_spark.columns import NUMERIC, Arrays, BadColumn, Problem, arrow_arrays, not_numeric, stacked, without_nan
from fdl_spark.errors import ColumnError, DataError, MissingColumnError
from fdl_spark.quiet import no_pandas_warning

CHUNK_BYTES = 8 << 20
CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Source:
    """Data as it came from the user.

    Attributes:
      chunks: RDD of dicts of arrays by column, or of Problems.
      template: the pytree of a batch, with the columns' names as leaves.
    """

    chunks: RDD
    template: Any


def open_source(data: Any, context: SparkContext, columns: Sequence[str] | None = None) -> Source:
    """See a user's data as chunks.

    Args:
      data: a DataFrame; an RDD of dicts, tuples or arrays; or a pytree (usually a dict) of arrays, one row per entry.
      context: where to run; a DataFrame or RDD brings its own.
      columns: the DataFrame's columns to use; None means all.

    Returns:
      The Source.

    Raises:
      ColumnError: a column's type is no number.
      DataError: the data is of no such kind, or its arrays differ in length.
    """
    if isinstance(data, DataFrame):
        return _frame_source(data, columns)
    if isinstance(data, RDD):
        return _rdd_source(data)
    return _array_source(data, context)


def numeric_columns(frame: DataFrame, names: Sequence[str]) -> list[Any]:
    """Columns of a frame in types that become arrays: ML vectors as arrays of float, decimals as doubles."""
    for name in names:
        if name not in frame.columns:
            raise MissingColumnError(name, frame.columns, "columns=")
    return [_numeric(frame[f"`{name}`"], frame.schema[name]) for name in names]


def is_numeric(kind: T.DataType) -> bool:
    """Whether values of a Spark type become numbers or arrays of numbers."""
    if isinstance(kind, T.ArrayType):
        return is_numeric(kind.elementType)
    return isinstance(kind, T.NumericType | T.BooleanType) or _is_vector(kind)


def _is_vector(kind: T.DataType) -> bool:
    return type(kind).__name__ == "VectorUDT"


def _numeric(column: Any, field: T.StructField) -> Any:
    if not is_numeric(field.dataType):
        kind = field.dataType.simpleString()
        raise ColumnError(field.name, not_numeric("an encoded image or other binary" if kind == "binary" else kind))
    if _is_vector(field.dataType):
        from pyspark.ml.functions import vector_to_array

        # A null vector must arrive as a null, which vector_to_array does not take.
        return sql.when(column.isNotNull(), vector_to_array(column, "float32"))
    if isinstance(field.dataType, T.DecimalType):
        return column.cast("double")
    return column


def _frame_source(frame: DataFrame, columns: Sequence[str] | None) -> Source:
    names = frame.columns if columns is None else list(columns)
    # Numbers for names: mapInArrow cannot find a column with a dot in its name.
    selected = frame.select(*(column.alias(str(i)) for i, column in enumerate(numeric_columns(frame, names))))
    with no_pandas_warning():
        chunks = selected.mapInArrow(partial(_arrow_chunks, names), "chunk binary").rdd
    return Source(chunks.map(lambda row: pickle.loads(row.chunk)), {name: name for name in names})


def _arrow_chunks(names: list[str], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.num_rows:
            chunk = pickle.dumps(_or_problem(partial(arrow_arrays, batch.rename_columns(names))), protocol=5)
            yield pa.RecordBatch.from_arrays([pa.array([chunk], pa.binary())], ["chunk"])


def _or_problem(convert: Any) -> Arrays | Problem:
    try:
        return convert()
    except BadColumn as bad:
        return bad.problem


def _rdd_source(rdd: RDD) -> Source:
    first = rdd.take(1)
    if not first:
        raise DataError("the RDD has no rows")
    pairs = _flatten_row(first[0])
    names = [name for name, _ in pairs]
    return Source(rdd.mapPartitions(partial(_row_chunks, names)), _template(first[0], names))


def _row_chunks(names: list[str], rows: Iterable[Any]) -> Iterator[Arrays | Problem]:
    iterator = iter(rows)
    while group := [dict(_flatten_row(row)) for row in islice(iterator, CHUNK_ROWS)]:
        yield _or_problem(partial(stacked, group, names))


def _flatten_row(row: Any) -> list[tuple[str, Any]]:
    if isinstance(row, Mapping):
        return [(str(name), value) for name, value in row.items()]
    if isinstance(row, tuple):
        return [(f"[{position}]", value) for position, value in enumerate(row)]
    if isinstance(row, np.ndarray | np.generic | int | float):
        return [("rows", row)]
    raise DataError(f"a row of the RDD must be a dict, a tuple or an array; it is {type(row).__name__}")


def _template(row: Any, names: list[str]) -> Any:
    if isinstance(row, Mapping):
        return {name: str(name) for name in row}
    return tuple(names) if isinstance(row, tuple) else names[0]


def _array_source(data: Any, context: SparkContext) -> Source:
    if isinstance(data, str | bytes) or data is None:
        raise DataError(f"data must be a DataFrame, an RDD or a dict of arrays; it is {type(data).__name__}")
    pairs, structure = fdl.tree.flatten_with_path(data)
    names = [_column_name(path) for path, _ in pairs]
    arrays = {name: _column(name, leaf) for name, (_, leaf) in zip(names, pairs, strict=True)}
    lengths = {name: len(array) for name, array in arrays.items()}
    if not lengths or len(set(lengths.values())) > 1:
        raise DataError(f"the arrays must have one row per example each; their lengths are {lengths}")
    rows = next(iter(lengths.values()))
    chunk_rows = max(1, CHUNK_BYTES * rows // max(1, sum(array.nbytes for array in arrays.values())))
    chunks = [
        {name: array[start : start + chunk_rows] for name, array in arrays.items()}
        for start in range(0, rows, chunk_rows)
    ]
    if not chunks:
        raise DataError("the arrays have no rows")
    return Source(context.parallelize(chunks, len(chunks)), fdl.tree.unflatten(structure, names))


def _column_name(path: Any) -> str:
    """A column's name is its key in a dict, and its key path elsewhere."""
    return str(path[0].key) if len(path) == 1 and hasattr(path[0], "key") else fdl.tree.keystr(path)


def _column(name: str, leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    if array.dtype.kind not in NUMERIC:
        raise ColumnError(name, not_numeric(f"an array of {array.dtype}"), 0)
    if array.ndim == 0:
        raise DataError(f"column {name!r} is a single number; it must have one row per example")
    try:
        return without_nan(name, array)
    except BadColumn as bad:
        raise ColumnError(name, bad.problem.text, bad.problem.row) from None
