"""The kinds of data that can be trained on, each as an RDD of chunks: dicts of equally long arrays by column name.

Row i of the data is the i-th row in the order of the partitions and, within a partition, of its rows. That order is the
identity of a row: the same rows in the same order give the same shards however they are cut into partitions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.serializers import NoOpSerializer
from pyspark.sql import DataFrame
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

import fdl
from fdl_spark.data.columns import (
    NUMERIC,
    Arrays,
    BadColumn,
    Problem,
    not_numeric,
    size_of,
    stacked,
    without_nan,
)
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.record import Record
from fdl_spark.data.selection import Selection
from fdl_spark.data.survey import Survey, merged, summaries
from fdl_spark.errors import ArgumentError, ColumnError, DataError, MissingColumnError
from fdl_spark.spark.classic import RDD, SparkContext, package_of

CHUNK_BYTES = 8 << 20
CHUNK_ROWS = 4096
ARROW_ROWS = 10_000
LARGEST_ROW = (1 << 31) - (1 << 20)  # bytes: one row must fit an array of the JVM, with what describes it
TABLES = ("pandas", "polars", "pyarrow")


@dataclass(frozen=True)
class Source:
    """Data as it came from the user.

    Attributes:
      chunks: RDD of dicts of arrays by column, or of Problems.
      template: the pytree of a batch, with the columns' names as leaves.
      costly: the RDD that is persisted between two readings of the chunks, because computing it twice may be dear.
      survey: what the chunks hold, if it is known without reading them.
    """

    chunks: RDD
    template: Any
    costly: RDD | None = None
    survey: Survey | None = None


def open_source(
    data: Any, context: SparkContext, columns: Sequence[str] | None = None, features: Encoder | None = None
) -> Source:
    """See a user's data as chunks.

    Args:
      data: a DataFrame; an RDD of Rows, dicts, tuples or arrays; or a pytree (usually a dict) of arrays, one row per
        entry.
      context: where to run; a DataFrame or RDD brings its own.
      columns: the columns to use as they are, of data whose columns have names; None means all, or none if there are
        `features`.
      features: encodes other columns of a DataFrame.

    Returns:
      The Source.

    Raises:
      ColumnError: a column's type is no number.
      DataError: the data is of no such kind, or its arrays differ in length.
    """
    if isinstance(data, DataFrame):
        return _frame_source(data, columns, features)
    needs_frame(features)
    if isinstance(data, RDD):
        return _rdd_source(data, columns)
    chunks, template = array_chunks(data, columns)
    known = merged([found for n, chunk in enumerate(chunks) for found in summaries(n, [chunk])], len(chunks))
    return Source(context.parallelize(chunks, len(chunks)), template, survey=known)


def needs_frame(features: Encoder | None) -> None:
    """Raise if data that is no DataFrame should be encoded."""
    if features is not None:
        raise ArgumentError("features= encodes the columns of a DataFrame; make the data one: spark.createDataFrame")


def numbered(frame: DataFrame) -> DataFrame:
    """The frame with numbers for names: names may have dots or capitals, or stand twice."""
    return frame.toDF(*map(str, range(len(frame.columns))))


def numeric_columns(frame: DataFrame, names: Sequence[str]) -> list[Any]:
    """Columns of the numbered frame in types that become arrays: ML vectors as arrays of float, decimals as doubles."""
    found, seen = [], set()
    for name in names:
        places = [place for place, other in enumerate(frame.columns) if other == name]
        if not places:
            raise MissingColumnError(name, frame.columns, "columns=")
        if len(places) > 1:
            raise ColumnError(name, f"{len(places)} columns have this name; rename or drop all but one of them")
        if name in seen:
            raise ColumnError(name, "columns= has it twice")
        seen.add(name)
        found.append(_numeric(package_of(frame), str(places[0]), frame.schema.fields[places[0]]))
    return found


def is_numeric(kind: T.DataType) -> bool:
    """Whether values of a Spark type become numbers or arrays of numbers."""
    return _is_vector(kind) or _is_nested_number(kind)


def _is_nested_number(kind: T.DataType) -> bool:
    if isinstance(kind, T.ArrayType):
        return _is_nested_number(kind.elementType)
    return isinstance(kind, T.NumericType | T.BooleanType)


def _is_vector(kind: T.DataType) -> bool:
    return type(kind).__name__ == "VectorUDT"


def _numeric(package: str, name: str, field: T.StructField) -> Any:
    if not is_numeric(field.dataType):
        kind = field.dataType.simpleString()
        raise ColumnError(field.name, not_numeric("an encoded image or other binary" if kind == "binary" else kind))
    functions = import_module(f"{package}.functions")
    column = functions.col(name)
    if _is_vector(field.dataType):
        return _vector_array(package, column, "float32")
    kind = _with_doubles(field.dataType)
    return column if kind == field.dataType else column.cast(kind)


def _vector_array(package: str, column: Any, kind: str) -> Any:
    functions = import_module(f"{package}.functions")
    vectors = import_module(f"{package}.functions".replace(".sql", ".ml"))
    # A null vector must arrive as a null, which vector_to_array does not take.
    return functions.when(column.isNotNull(), vectors.vector_to_array(column, kind))


def _with_doubles(kind: T.DataType) -> T.DataType:
    if isinstance(kind, T.ArrayType):
        return T.ArrayType(_with_doubles(kind.elementType), kind.containsNull)
    return T.DoubleType() if isinstance(kind, T.DecimalType) else kind


def raw_columns(frame: DataFrame, names: Sequence[str]) -> list[Any]:
    """Columns of the numbered frame as encoders take them: as they are, but ML vectors as arrays of doubles."""
    places = [frame.columns.index(name) for name in names]
    return [_raw(package_of(frame), str(place), frame.schema.fields[place]) for place in places]


def _raw(package: str, name: str, field: T.StructField) -> Any:
    column = import_module(f"{package}.functions").col(name)
    return _vector_array(package, column, "float64") if _is_vector(field.dataType) else column


def selected(frame: DataFrame, columns: Sequence[str] | None, features: Encoder | None) -> tuple[DataFrame, Selection]:
    """The columns to use, with numbers for names, in types that become arrays or can be encoded; and which they are."""
    if frame.isStreaming:
        raise DataError("a streaming DataFrame has no end; train on its batches with writeStream.foreachBatch")
    if not frame.columns:
        raise DataError("the DataFrame has no columns")
    selection = Selection.of(frame.columns, columns, features)
    chosen = [*numeric_columns(frame, selection.numeric), *raw_columns(frame, selection.raw)]
    return numbered(frame).select(*(column.alias(str(i)) for i, column in enumerate(chosen))), selection


def _frame_source(frame: DataFrame, columns: Sequence[str] | None, features: Encoder | None) -> Source:
    chosen, selection = selected(frame, columns, features)
    fields = chosen.schema.fields
    schema = pa.schema([pa.field(field.name, to_arrow_type(field.dataType, timezone="UTC")) for field in fields])
    # Arrow batches that the JVM makes: mapInArrow's Python workers are others than those of RDDs, and start anew.
    content = partial(_arrow_batches, chosen)
    rows = min(ARROW_ROWS, max(1, CHUNK_BYTES // (8 * len(fields))))
    if not all(isinstance(field.dataType, T.NumericType | T.BooleanType) for field in fields):
        # The JVM cuts batches by rows, and its heap must hold one: the first row tells how wide the others are.
        rows = min(rows, *(max(1, CHUNK_BYTES // len(row)) for row in content(1).take(1)), ARROW_ROWS)
    batches: RDD = RDD(content(rows), frame.sparkSession.sparkContext, NoOpSerializer())
    return Source(batches.mapPartitions(partial(_arrow_chunks, schema, selection)), selection.template, batches)


def _arrow_batches(frame: DataFrame, rows: int) -> Any:
    """A Java RDD of Arrow record batches of at most so many rows."""
    return frame._jdf.toArrowBatchRdd(rows, "UTC", False, False).toJavaRDD()


def _arrow_chunks(schema: pa.Schema, selection: Selection, batches: Iterable[bytes]) -> Iterator[Arrays | Problem]:
    return chunks_of((pa.ipc.read_record_batch(pa.py_buffer(content), schema) for content in batches), selection.arrays)


def chunks_of(
    batches: Iterable[pa.RecordBatch], convert: Callable[[pa.RecordBatch], Arrays]
) -> Iterator[Arrays | Problem]:
    """The chunks of Arrow record batches, which are joined and cut to about CHUNK_BYTES each.

    Args:
      batches: all of one schema.
      convert: gives the arrays of a record batch, or raises BadColumn.
    """
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        rows = max(1, CHUNK_BYTES * batch.num_rows // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, rows):
            waiting.append(batch.slice(start, rows))
            size += waiting[-1].nbytes
            if size > CHUNK_BYTES // 2:
                yield or_problem(partial(convert, _joined(waiting)))
                waiting, size = [], 0
    if waiting:
        yield or_problem(partial(convert, _joined(waiting)))


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return batch


def or_problem(convert: Callable[[], Arrays]) -> Arrays | Problem:
    """What a conversion gives, or what is wrong with a column."""
    try:
        return convert()
    except BadColumn as bad:
        return bad.problem


def _rdd_source(rdd: RDD, columns: Sequence[str] | None) -> Source:
    first = rdd.take(1)
    if not first:
        raise DataError("the RDD has no rows")
    template = _template(first[0])
    names = [name for name, _ in _flatten_row(first[0])]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ColumnError(twice, "several columns have this name; rename all but one of them")
    if columns is not None:
        template = _chosen(template, columns)
        names = list(template)
    if not names:
        raise DataError("the rows of the RDD have no columns")
    chunks = rdd.mapPartitions(partial(_row_chunks, names, columns is None))
    return Source(chunks, template, chunks)


def _row_chunks(names: list[str], whole: bool, rows: Iterable[Any]) -> Iterator[Arrays | Problem]:
    flat = (dict(_flatten_row(row)) for row in rows)
    if not whole:
        flat = ({name: value for name, value in row.items() if name in names} for row in flat)
    for first in flat:
        size = max(1, sum(size_of(value) for value in first.values()))  # that of the others, or stacking them fails
        group = [first, *islice(flat, min(CHUNK_ROWS, max(1, CHUNK_BYTES // size)) - 1)]
        yield or_problem(partial(stacked, group, names))


def _flatten_row(row: Any) -> list[tuple[str, Any]]:
    if isinstance(row, Mapping):
        return [(str(name), value) for name, value in row.items()]
    if isinstance(row, tuple):
        return list(zip(_field_names(row) or [f"[{n}]" for n in range(len(row))], row, strict=True))
    if isinstance(row, int | float | list) or hasattr(row, "__array__") or hasattr(row, "toArray"):
        return [("rows", row)]
    raise DataError(f"a row of the RDD must be a Row, a dict, a tuple or an array; it is {type(row).__name__}")


def _field_names(row: tuple[Any, ...]) -> list[str]:
    """The names of a Row's or a namedtuple's fields; a plain tuple has none."""
    return list(getattr(row, "__fields__", getattr(row, "_fields", ())))


def _template(row: Any) -> Any:
    names = [name for name, _ in _flatten_row(row)]
    if isinstance(row, Mapping):
        return dict(zip(row, names, strict=True))
    if isinstance(row, tuple):
        return Record(zip(names, names, strict=True)) if _field_names(row) else tuple(names)
    return names[0]


def _chosen(columns_of: Any, columns: Sequence[str]) -> Any:
    """The named entries of a dict."""
    if not isinstance(columns_of, Mapping):
        raise ArgumentError("columns= chooses columns by name, but those of the data have none; leave it out")
    for name in columns:
        if name not in columns_of:
            raise MissingColumnError(name, [str(name) for name in columns_of], "columns=")
    return type(columns_of)((name, columns_of[name]) for name in columns)  # type: ignore[call-arg]


def array_chunks(data: Any, columns: Sequence[str] | None) -> tuple[list[Arrays], Any]:
    """The chunks of a pytree of arrays, and the template."""
    if isinstance(data, str | bytes) or data is None:
        raise DataError(f"data must be a DataFrame, an RDD or a dict of arrays; it is {type(data).__name__}")
    if type(data).__module__.split(".")[0] in TABLES:
        raise DataError(
            f"data must be a DataFrame of Spark, an RDD or a dict of arrays; it is a {type(data).__module__} "
            f"{type(data).__name__}: make it one with spark.createDataFrame, or a dict of its columns' arrays"
        )
    if columns is not None:
        data = _chosen(data, columns)
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


def _column_name(path: Any) -> str:
    """A column's name is its key in a dict, and its key path elsewhere."""
    return str(path[0].key) if len(path) == 1 and hasattr(path[0], "key") else fdl.tree.keystr(path)


def _column(name: str, leaf: Any) -> np.ndarray:
    try:
        array = np.asarray(leaf)
    except Exception as error:
        raise ColumnError(name, f"{type(leaf).__name__} does not become an array ({error})") from error
    if array.dtype.kind not in NUMERIC:
        raise ColumnError(name, not_numeric(f"an array of {array.dtype}"), 0)
    if array.ndim == 0:
        raise DataError(f"column {name!r} is a single number; it must have one row per example")
    try:
        return without_nan(name, array)
    except BadColumn as bad:
        raise ColumnError(name, bad.problem.text, bad.problem.row) from None
