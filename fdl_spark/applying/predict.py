"""A function of parameters and a batch becomes a column of a DataFrame."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import cloudpickle
import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import types as T

import fdl
from fdl_spark.arguments import check_function, check_names, check_whole
from fdl_spark.compute.program import shape_of
from fdl_spark.data.columns import BadColumn, arrow_arrays
from fdl_spark.data.load import session_of
from fdl_spark.data.source import is_numeric, numbered, numeric_columns
from fdl_spark.errors import ArgumentError, ColumnError, DataError, UserFunctionError
from fdl_spark.spark.broadcasts import lend
from fdl_spark.spark.classic import SparkContext, is_connect
from fdl_spark.spark.connect.jobs import own_jobs as connect_jobs
from fdl_spark.spark.connect.share import lasting
from fdl_spark.spark.cores import use_cores_of_task
from fdl_spark.spark.failures import calling, settled
from fdl_spark.spark.jobs import own_jobs
from fdl_spark.spark.quiet import no_pandas_warning


class Readable(Protocol):
    """Bytes that tasks can read."""

    @property
    def value(self) -> Any: ...


_appliers: dict[str, Callable[[Any], np.ndarray]] = {}  # as a module's attribute it outlives a task


def predict(
    apply: Callable[[Any, Any], Any],
    params: Any,
    frame: DataFrame,
    output: str = "prediction",
    *,
    columns: Sequence[str] | None = None,
    batch_size: int = 1024,
) -> DataFrame:
    """Append a column of predictions to a DataFrame, whose rows keep their order and their other columns.

    Args:
      apply: (params, batch) -> array whose axis 0 is that of the batch, each row of which depends on that row only.
      params: pytree of arrays.
      frame: the rows.
      output: name of the new column: a number, or nested arrays if `apply` gives more axes than one.
      columns: the columns that the batch holds; None means all that are numeric, of which no two may have one name.
      batch_size: rows that are computed at once.

    Returns:
      The DataFrame with the new column; it is lazy, as Spark's are: what is wrong with a later row is told by the
      action that comes to it.

    Raises:
      ArgumentError: an argument is not what it must be.
      ColumnError, MissingColumnError: a named column is not numeric or not there, `output` is there already, or the
        batch lacks a column.
      DataError: `apply` does not give one row of output per row of the batch, or the DataFrame's query fails.
      UserFunctionError: `apply` raised.

    >>> from fdl_spark import session
    >>> frame = session().createDataFrame([("a", 1.0), ("b", 2.0)], "name string, x double")
    >>> predict(lambda w, batch: w * batch["x"], np.float32(10), frame, output="y").show()
    +----+---+----+
    |name|  x|   y|
    +----+---+----+
    |   a|1.0|10.0|
    |   b|2.0|20.0|
    +----+---+----+
    <BLANKLINE>
    """
    check_function("apply", apply, "(params, batch)")
    check_whole("batch_size", batch_size, 1)
    check_names("columns", columns)
    if not isinstance(frame, DataFrame):
        raise DataError(f"predict needs a DataFrame, whose columns it keeps; it got {type(frame).__name__}")
    if not isinstance(output, str) or not output:
        raise ArgumentError(f"output must be the name of the new column, not {output!r}")
    with settled("predict"):
        _check_new(output, frame)
        if columns is None:
            columns = [field.name for field in frame.schema.fields if is_numeric(field.dataType)]
        where = session_of(frame)
        if is_connect(where):
            with connect_jobs(where):
                return _appended(partial(lasting, where), apply, params, frame, output, columns, batch_size)
        with own_jobs(where):
            where.setJobDescription("fdl: see what predict gives")
            return _appended(partial(_broadcast, where), apply, params, frame, output, columns, batch_size)


def _check_new(output: str, frame: DataFrame) -> None:
    """Raise if the frame has the column, as Spark compares names."""
    exact = frame.sparkSession.conf.get("spark.sql.caseSensitive", "false") == "true"
    taken = frame.columns if exact else [name.lower() for name in frame.columns]
    if (output if exact else output.lower()) in taken:
        raise ColumnError(output, "the DataFrame has this column already; choose another output=, or drop it before")


def _appended(
    send: Callable[[bytes], Readable],
    apply: Callable[[Any, Any], Any],
    params: Any,
    frame: DataFrame,
    output: str,
    columns: Sequence[str],
    batch_size: int,
) -> DataFrame:
    names = frame.columns
    inputs = [column.alias(f"input {n}") for n, column in enumerate(numeric_columns(frame, columns))]
    widened = numbered(frame).select("*", *inputs)
    with calling("sending the function and params to the executors"):
        function = cloudpickle.dumps((apply, fdl.tree.map(np.asarray, params)))
    prediction = Prediction(sha256(function).hexdigest(), None, tuple(columns), len(names), batch_size)
    kind = _output_type(widened, apply, params, prediction)
    prediction = replace(prediction, function=send(function))
    fields = [T.StructField(str(n), f.dataType, f.nullable, f.metadata) for n, f in enumerate(frame.schema.fields)]
    schema = T.StructType([*fields, T.StructField(str(len(names)), kind)])
    with no_pandas_warning():
        return widened.mapInArrow(partial(_predict, prediction), schema).toDF(*names, output)


_lent: list[tuple[Any, str]] = []  # weak references to broadcasts of predictions, and their files on the driver


def _broadcast(context: SparkContext, content: bytes) -> Any:
    """A broadcast that lives as long as the DataFrames that use it, which only the JVM knows.

    When it has collected those, Spark frees the broadcast but not its file on the driver, which goes with the next one.
    """
    for entry in list(_lent):
        reference, path = entry
        with suppress(Exception):
            if reference.get() is not None:
                continue
        with suppress(OSError):
            Path(path).unlink(missing_ok=True)  # or its JVM is gone altogether
        _lent.remove(entry)
    broadcast = lend(context, content)
    _lent.append((context._jvm.java.lang.ref.WeakReference(broadcast._jbroadcast), broadcast._path))
    return broadcast


@dataclass(frozen=True)
class Prediction:
    """What the tasks of a prediction are told."""

    digest: str
    function: Readable | None
    inputs: tuple[str, ...]
    kept: int
    batch_size: int

    def batch(self, rows: pa.RecordBatch) -> dict[str, np.ndarray]:
        """The arrays of a record batch by their columns' names."""
        return arrow_arrays(pa.RecordBatch.from_arrays(rows.columns[self.kept :], list(self.inputs)))


def _output_type(
    widened: DataFrame, apply: Callable[[Any, Any], Any], params: Any, prediction: Prediction
) -> T.DataType:
    """The Spark type of the new column, from the types of the first row."""
    rows = widened.limit(1)
    with no_pandas_warning():
        rows = rows.toArrow().combine_chunks()
    batches = rows.to_batches() or [pa.RecordBatch.from_pylist([], rows.schema)]
    try:
        batch = prediction.batch(batches[0])
    except BadColumn as bad:
        raise ColumnError(bad.problem.column, bad.problem.text, bad.problem.row) from None
    types = {name: fdl.ShapeDtypeStruct((prediction.batch_size, *a.shape[1:]), a.dtype) for name, a in batch.items()}
    try:
        found = shape_of("the function", apply, params, types)
    except UserFunctionError:
        if rows.num_rows == 0:
            return T.FloatType()  # without rows the widths of arrays are not known
        raise
    if (getattr(found, "shape", None) or ())[:1] != (prediction.batch_size,):
        raise DataError(f"the function must give one row of output per row of the batch; it gives {found}")
    kind = _SPARK_TYPES.get(np.dtype(found.dtype).name)
    if kind is None:
        raise DataError(f"Spark has no column type for the function's {found.dtype}; cast it to float32 or int32")
    for _ in found.shape[1:]:
        kind = T.ArrayType(kind)
    return kind


_SPARK_TYPES = {
    "float32": T.FloatType(),
    "float64": T.DoubleType(),
    "bool": T.BooleanType(),
    "int8": T.ByteType(),
    "int16": T.ShortType(),
    "int32": T.IntegerType(),
    "int64": T.LongType(),
}


def _predict(prediction: Prediction, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    use_cores_of_task()
    if prediction.digest not in _appliers:
        assert prediction.function is not None
        _appliers.clear()
        apply, params = cloudpickle.loads(prediction.function.value)
        _appliers[prediction.digest] = partial(fdl.jit(apply), params)
    row = 0
    for rows in batches:
        try:
            batch = prediction.batch(rows)
        except BadColumn as bad:
            text = f"{bad.problem.text} (rows counted in this partition)"
            raise ColumnError(bad.problem.column, text, row + bad.problem.row) from None
        if not rows.num_rows:
            continue
        predicted = _in_pieces(_appliers[prediction.digest], batch, rows.num_rows, prediction.batch_size)
        columns = [*rows.columns[: prediction.kept], _nested(predicted)]
        yield pa.RecordBatch.from_arrays(columns, [str(n) for n in range(len(columns))])
        row += rows.num_rows


def _in_pieces(apply: Callable[[Any], Any], batch: dict[str, np.ndarray], rows: int, size: int) -> np.ndarray:
    """The function on `size` rows at a time, the last ones padded with copies: it is compiled for one shape."""
    pieces = []
    for start in range(0, rows, size):
        index = np.minimum(np.arange(start, start + size), rows - 1)
        pieces.append(np.asarray(apply({name: array[index] for name, array in batch.items()})))
    return np.concatenate(pieces)[:rows]


def _nested(array: np.ndarray) -> pa.Array:
    """An Arrow array of numbers or of nested lists."""
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        count = int(np.prod(array.shape[:axis]))
        offsets = np.arange(count + 1, dtype=np.int32) * array.shape[axis]
        flat = pa.ListArray.from_arrays(pa.array(offsets), flat)
    return flat
