"""A function of parameters and a batch becomes a column of a DataFrame."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import types as T

import fdl
from fdl_spark.columns import BadColumn, arrow_arrays
from fdl_spark.cores import use_cores_of_task
from fdl_spark.errors import ColumnError, DataError, MissingColumnError
from fdl_spark.quiet import no_pandas_warning
from fdl_spark.source import is_numeric, numeric_columns

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
      columns: the columns that the batch holds; None means all that are numeric.
      batch_size: rows that are computed at once.

    Returns:
      The DataFrame with the new column; it is lazy, as Spark's are.

    Raises:
      ColumnError, MissingColumnError: a named column is not numeric or not there, or the batch lacks one.
      DataError: `apply` does not give one row of output per row of the batch.

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
    if columns is None:
        columns = [field.name for field in frame.schema.fields if is_numeric(field.dataType)]
    # Numbers for names: mapInArrow cannot find a column with a dot in its name.
    numbered = [*(frame[f"`{name}`"] for name in frame.columns), *numeric_columns(frame, columns)]
    widened = frame.select(*(column.alias(str(i)) for i, column in enumerate(numbered)))
    context = frame.sparkSession.sparkContext
    shared = context.broadcast(cloudpickle.dumps((apply, fdl.tree.map(np.asarray, params))))
    task = Task(uuid.uuid4().hex, shared, tuple(columns), tuple(frame.columns), output, batch_size)
    kind = _output_type(widened, apply, params, task)
    schema = T.StructType([*frame.schema.fields, T.StructField(output, kind)])
    with no_pandas_warning():
        return widened.mapInArrow(partial(_predict, task), schema)


@dataclass(frozen=True)
class Task:
    """What the tasks of a prediction are told."""

    run: str
    program: Broadcast
    inputs: tuple[str, ...]
    kept: tuple[str, ...]
    output: str
    batch_size: int

    def batch(self, rows: pa.RecordBatch) -> dict[str, np.ndarray]:
        """The arrays of a record batch by their columns' names."""
        return arrow_arrays(pa.RecordBatch.from_arrays(rows.columns[len(self.kept) :], list(self.inputs)))


def _output_type(widened: DataFrame, apply: Callable[[Any, Any], Any], params: Any, task: Task) -> T.DataType:
    """The Spark type of the new column, from the types of the first row."""
    rows = widened.limit(1)
    with no_pandas_warning():
        rows = rows.toArrow().combine_chunks()
    if rows.num_rows == 0:
        return T.FloatType()
    try:
        batch = task.batch(rows.to_batches()[0])
    except BadColumn as bad:
        raise ColumnError(bad.problem.column, bad.problem.text, bad.problem.row) from None
    types = {name: fdl.ShapeDtypeStruct((task.batch_size, *a.shape[1:]), a.dtype) for name, a in batch.items()}
    try:
        found = fdl.eval_shape(apply, params, types)
    except KeyError as missing:
        raise MissingColumnError(missing.args[0], list(types), "the function") from None
    if getattr(found, "shape", ())[:1] != (task.batch_size,):
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


def _predict(task: Task, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    use_cores_of_task()
    if task.run not in _appliers:
        _appliers.clear()
        apply, params = cloudpickle.loads(task.program.value)
        _appliers[task.run] = partial(fdl.jit(apply), params)
    row = 0
    for rows in batches:
        try:
            batch = task.batch(rows)
        except BadColumn as bad:
            text = f"{bad.problem.text} (rows counted in this partition)"
            raise ColumnError(bad.problem.column, text, row + bad.problem.row) from None
        predicted = _in_pieces(_appliers[task.run], batch, rows.num_rows, task.batch_size)
        kept = rows.columns[: len(task.kept)]
        yield pa.RecordBatch.from_arrays([*kept, _nested(predicted)], [*task.kept, task.output])
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
