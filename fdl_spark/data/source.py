"""The kinds of data that can be trained on, each as an RDD of chunks with their runs.

Row i of the data is the i-th row in the order of the partitions and, within a partition, of its rows; that of files is
the i-th row in the order of their paths. That order is the identity of a row: the same rows in the same order give the
same shards however they are cut into partitions.
"""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.serializers import NoOpSerializer
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from fdl_spark.data.arrays import array_chunks, arrow_table, is_table, table_chunks
from fdl_spark.data.chunks import Found, chunks_by_run, chunks_of, of_partition
from fdl_spark.data.columns import Arrays, not_numeric
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.files import Files
from fdl_spark.data.parquet import Piece, parquet_chunks
from fdl_spark.data.rows import rdd_chunks
from fdl_spark.data.scan import scanned_files
from fdl_spark.data.selection import Selection
from fdl_spark.data.staged import Staged, stage
from fdl_spark.data.survey import Survey, merged, summaries
from fdl_spark.errors import ArgumentError, ColumnError, DataError, MissingColumnError
from fdl_spark.spark.classic import RDD, SparkContext, package_of
from fdl_spark.spark.quiet import no_pandas_warning

RUN = ("_metadata.file_path", "_metadata.file_block_start")  # hidden columns of what Spark reads from files
HANDLE = pa.schema([("handle", pa.binary())])


@dataclass(frozen=True)
class Source:
    """Data as it came from the user.

    Attributes:
      chunks: RDD of runs and dicts of arrays by column, or Problems.
      template: the pytree of a batch, with the columns' names as leaves.
      staged: RDD of the handles of the files that the chunks are read from, where making them twice may be dear; cached
        until the caller ends that.
      survey: what the chunks hold, if it is known without reading them.
      promised: what they hold if no row is bad, as far as it is known without reading all of them.
    """

    chunks: RDD
    template: Any
    staged: RDD | None = None
    survey: Survey | None = None
    promised: Survey | None = None


def open_source(
    data: Any,
    context: SparkContext,
    name: str,
    columns: Sequence[str] | None = None,
    features: Encoder | None = None,
) -> Source:
    """See a user's data as chunks.

    Args:
      data: a DataFrame; an RDD of Rows, dicts, tuples or arrays; Files; a table; or a pytree (usually a dict) of
        arrays, one row per entry.
      context: where to run; a DataFrame or RDD brings its own.
      name: begins the names of the files of this data.
      columns: the columns to use as they are, of data whose columns have names; None means all, or none if there are
        `features`.
      features: encodes other columns.

    Returns:
      The Source.

    Raises:
      ColumnError: a column's type is no number.
      DataError: the data is of no such kind, or its arrays differ in length.
    """
    if isinstance(data, DataFrame):
        if (scanned := scanned_files(data)) is not None:
            source = _parquet_source(*scanned, context, name, columns, features)
            if source is not None:
                return source
        return _frame_source(data, name, columns, features)
    if isinstance(data, RDD):
        if features is not None:
            raise ArgumentError("features= needs columns with types; make a DataFrame of the RDD: rdd.toDF()")
        return staged_source(Source(*rdd_chunks(data, columns)), name)
    if isinstance(data, Files):
        return _files_source(data, context, name, columns, features)
    chunks, template = memory_chunks(data, columns)
    found = list(of_partition(chunks))
    return Source(context.parallelize(found, len(found)), template, survey=known(chunks))


def memory_chunks(data: Any, columns: Sequence[str] | None) -> tuple[list[Arrays], Any]:
    """The chunks of data in the driver's memory, and the template."""
    return table_chunks(arrow_table(data), columns) if is_table(data) else array_chunks(data, columns)


def known(chunks: Sequence[Arrays]) -> Survey:
    """What chunks in the driver's memory hold, each as a partition."""
    return merged(enumerate(summaries(of_partition(chunks))))


def _files_source(
    files: Files, context: SparkContext, name: str, columns: Sequence[str] | None, features: Encoder | None
) -> Source:
    if files.paths:
        source = _parquet_source([Piece(path) for path in files.paths], None, context, name, columns, features)
        if source is not None:
            return source
    return _frame_source(files.frame, name, columns, features, by_run=True)


def _parquet_source(
    pieces: Sequence[Piece],
    schema: T.StructType | None,
    context: SparkContext,
    name: str,
    columns: Sequence[str] | None,
    features: Encoder | None,
) -> Source | None:
    """Parquet files that the executors read themselves, if that gives what Spark would give."""
    found = parquet_chunks(pieces, schema, context, columns, features)
    if found is None:
        return None
    chunks, selection, promised = found
    source = Source(chunks, selection.template, promised=promised)
    # Encoding twice may be dear, reading twice is not.
    return source if features is None else staged_source(source, name)


def staged_source(source: Source, name: str) -> Source:
    """The same data through files of the executors that read it."""
    # Cached before anything is made of it, or PySpark would run both functions as one, and read the data again.
    handles = source.chunks.mapPartitions(partial(_stage, name)).persist(StorageLevel.MEMORY_ONLY)
    return replace(source, chunks=handles.mapPartitions(_unstaged), staged=handles)


def _stage(name: str, chunks: Iterable[Found]) -> Iterator[Staged]:
    yield stage(name, chunks)


def _unstaged(handles: Iterable[Any]) -> Iterator[Found]:
    for handle in handles:
        yield from handle_of(handle).chunks()


def handle_of(element: Any) -> Staged:
    """The handle that an element of `Source.staged` is: as it is, or as the JVM has it in an Arrow batch."""
    if isinstance(element, Staged):
        return element
    batch = pa.ipc.read_record_batch(pa.py_buffer(element), HANDLE)
    return pickle.loads(batch.column(0)[0].as_py())


def numbered(frame: DataFrame) -> DataFrame:
    """The frame with numbers for names: names may have dots or capitals, or stand twice."""
    return frame.toDF(*map(str, range(len(frame.columns))))


def place_of(frame: DataFrame, name: str, what: str) -> int:
    """Where the column of a name is; `what` needs it, say errors."""
    places = [place for place, other in enumerate(frame.columns) if other == name]
    if not places:
        raise MissingColumnError(name, frame.columns, what)
    if len(places) > 1:
        raise ColumnError(name, f"{len(places)} columns have this name; rename or drop all but one of them")
    return places[0]


def numeric_columns(frame: DataFrame, names: Sequence[str]) -> list[Any]:
    """Columns of the numbered frame in types that become arrays: ML vectors as arrays of float, decimals as doubles."""
    found, seen = [], set()
    for name in names:
        place = place_of(frame, name, "columns=")
        if name in seen:
            raise ColumnError(name, "columns= has it twice")
        seen.add(name)
        found.append(_numeric(package_of(frame), str(place), frame.schema.fields[place]))
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


def selected(
    frame: DataFrame, columns: Sequence[str] | None, features: Encoder | None, by_run: bool = False
) -> tuple[DataFrame, Selection]:
    """The columns to use, with numbers for names, in types that become arrays or can be encoded; and which they are.

    Args:
      frame, columns, features: as of `open_source`.
      by_run: whether to add the path and the offset of each row's run; the frame must come from files.
    """
    if frame.isStreaming:
        raise DataError("a streaming DataFrame has no end; train on its batches with writeStream.foreachBatch")
    if not frame.columns:
        raise DataError("the DataFrame has no columns")
    selection = Selection.of(frame.columns, columns, features)
    chosen = [*numeric_columns(frame, selection.numeric), *raw_columns(frame, selection.raw)]
    if by_run:
        width = len(frame.columns)
        frame = frame.select("*", *RUN)
        chosen += [import_module(f"{package_of(frame)}.functions").col(str(width + place)) for place in range(len(RUN))]
    return numbered(frame).select(*(column.alias(str(i)) for i, column in enumerate(chosen))), selection


def _frame_source(
    frame: DataFrame, name: str, columns: Sequence[str] | None, features: Encoder | None, by_run: bool = False
) -> Source:
    chosen, selection = selected(frame, columns, features, by_run)
    with no_pandas_warning():
        staged = chosen.mapInArrow(partial(_stage_batches, name, selection, by_run), "handle binary")
    # As Arrow batches of one row: rows would need another Python worker beside each that reads.
    batches = staged._jdf.toArrowBatchRdd(1, "UTC", False, False).toJavaRDD()
    handles: RDD = RDD(batches, frame.sparkSession.sparkContext, NoOpSerializer()).persist(StorageLevel.MEMORY_ONLY)
    return Source(handles.mapPartitions(_unstaged), selection.template, handles)


def _stage_batches(
    name: str, selection: Selection, by_run: bool, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    handle = stage(name, found_in(selection, by_run, batches))
    yield pa.RecordBatch.from_pylist([{"handle": pickle.dumps(handle, protocol=5)}], HANDLE)


def found_in(selection: Selection, by_run: bool, batches: Iterable[pa.RecordBatch]) -> Iterator[Found]:
    """The chunks of the record batches of a partition of the DataFrame that was `selected`."""
    if by_run:
        return chunks_by_run(batches, selection.arrays)
    return of_partition(chunks_of(batches, selection.arrays))
