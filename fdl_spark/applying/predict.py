"""A function of parameters and a batch becomes columns of a DataFrame."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame

from fdl_spark.applying.outputs import Output, Wanted, declared, found, wanted
from fdl_spark.applying.places import Places
from fdl_spark.applying.scoring import Scoring
from fdl_spark.applying.shapes import Traced, check_shapes, types_of_results
from fdl_spark.applying.udf import check_applied, sent, spark_udf
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.load import session_of
from fdl_spark.data.selection import Selection
from fdl_spark.data.source import is_numeric, numbered, numeric_columns, raw_columns
from fdl_spark.errors import DataError
from fdl_spark.spark.classic import is_connect, package_of
from fdl_spark.spark.connect.jobs import own_jobs as connect_jobs
from fdl_spark.spark.failures import settled
from fdl_spark.spark.jobs import own_jobs


def predict(
    apply: Callable[[Any, Any], Any],
    params: Any,
    frame: DataFrame,
    output: str | Sequence[str] | Mapping[str, Any] | None = None,
    *,
    columns: Sequence[str] | None = None,
    features: Encoder | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch_size: int = 1024,
    invalid: str = "error",
    replace: bool = False,
) -> DataFrame:
    """Append columns of predictions to a DataFrame, whose rows keep their order and their other columns.

    The DataFrame may be a streaming one. No job is run, unless the function has to be traced for an array column whose
    length neither `shapes` nor metadata of Spark ML nor the parameters tell; then the first row is read.

    Args:
      apply: (params, batch) -> array whose axis 0 is that of the batch, each row of which depends on that row only; or
        a dict or tuple of such arrays.
      params: pytree of arrays.
      frame: the rows.
      output: name of the new column, a list of names, or a dict of types by name: "double", "float", "int", ...,
        "array<double>", "vector" for a vector of Spark ML, or "binary" and "array<binary>" for the bytes of the last
        axes, which `features.raw` reads. Without types a column has that of the function's
        results, with nested arrays for more axes than one. None means the keys of the dict that the function gives, or
        "prediction" for one array. A function that gives a dict need not give all of it to columns.
      columns: the columns that the batch holds as they are; None means all that are numeric, of which no two may have
        one name, or none if there are `features`.
      features: fitted encoders of `fdl_spark.features`, which the executors apply to other columns.
      shapes: by column of arrays the shape of a row, as in {"x": (784,)}; rows of another shape are an error.
      batch_size: rows that are computed at once by each task; the memory that they take is that of a task.
      invalid: what becomes of a row with a null or NaN in a column of the batch, or that cannot be encoded: "error"
        lets the query fail, "null" makes its predictions null.
      replace: whether new columns replace those that have their names, in their places; else such a name is an error.

    Returns:
      The DataFrame with the new columns; it is lazy, as Spark's are: what is wrong with a row is told by the action
      that comes to it. Executors keep the parameters as long as a DataFrame that is made of this one can be used.

    Raises:
      ArgumentError: an argument is not what it must be.
      ColumnError, MissingColumnError: a named column is not numeric or not there, `output` is there already, or the
        batch lacks a column.
      DataError: `apply` does not give one row of output per row of the batch, or what it gives does not become the
        column that `output` asks for.
      UserFunctionError: `apply` raised.

    >>> import numpy as np
    >>> from fdl_spark import session
    >>> frame = session().createDataFrame([("a", 1.0), ("b", 2.0)], "name string, x double")
    >>> predict(lambda w, batch: w * batch["x"], np.float32(10), frame, output={"y": "double"}).show()
    +----+---+----+
    |name|  x|   y|
    +----+---+----+
    |   a|1.0|10.0|
    |   b|2.0|20.0|
    +----+---+----+
    <BLANKLINE>
    """
    check_applied(apply, batch_size, columns, features, invalid)
    check_shapes(shapes)
    asked = wanted(output)
    if not isinstance(frame, DataFrame):
        raise DataError(f"predict needs a DataFrame, whose columns it keeps; it got {type(frame).__name__}")
    with settled("predict"):
        places = Places(frame, replace)
        places.check(asked or ())
        if columns is None and features is None:
            columns = [field.name for field in frame.schema.fields if is_numeric(field.dataType)]
        selection = Selection.of(frame.columns, columns, features)
        where = session_of(frame)
        with connect_jobs(where) if is_connect(where) else own_jobs(where):
            if not is_connect(where):
                where.setJobDescription("fdl: see what predict gives")
            inputs = [*numeric_columns(frame, selection.numeric), *raw_columns(frame, selection.raw)]
            numbers = numbered(frame)
            outputs, known = _outputs(apply, params, frame, numbers, inputs, selection, asked, shapes or {}, batch_size)
            places.check([output.name for output in outputs])
            names = tuple(str(n) for n in range(len(outputs)))
            digest, content = sent(where, apply, params)
            task = Scoring(
                digest, content, selection, known.shapes, known.lists, outputs, names, batch_size, invalid == "null"
            )
            # Spark would push a filter of predictions down, and compute these for it and again for those it leaves.
            result = spark_udf(package_of(frame), task, deterministic=False)(*inputs)
            return places.filled(numbers.select("*", result.alias("results")), outputs)


def _outputs(
    apply: Callable[[Any, Any], Any],
    params: Any,
    frame: DataFrame,
    numbers: DataFrame,
    inputs: Sequence[Any],
    selection: Selection,
    asked: Wanted | None,
    shapes: Mapping[str, Sequence[int]],
    rows: int,
) -> tuple[tuple[Output, ...], Traced]:
    """The new columns, and what is known of the batch and of results."""
    fields = frame.schema.fields
    metadata = [fields[frame.columns.index(name)].metadata for name in selection.read]
    read = numbers.select(*(column.alias(str(n)) for n, column in enumerate(inputs)))
    given = declared(asked)
    looked = types_of_results(apply, params, read, selection, metadata, shapes, rows, needed=given is None)
    if given is not None and not looked.traced:
        return given, looked
    outputs = found(looked.types, asked, rows)
    if not looked.exact:  # lengths that were guessed say nothing of those of results
        outputs = tuple(Output(output.name, output.kind, output.vector) for output in outputs)
    return outputs, looked
