"""A function of parameters and a batch becomes a UDF of Spark."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from typing import Any

import cloudpickle
import numpy as np
from pyspark.sql import SparkSession
from pyspark.util import PythonEvalType

import fdl
from fdl_spark.applying.outputs import declared, struct_type, wanted
from fdl_spark.applying.scoring import Scoring
from fdl_spark.applying.sharing import Readable, send
from fdl_spark.arguments import check_choice, check_features, check_function, check_names, check_whole
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.load import session_of
from fdl_spark.data.selection import Selection
from fdl_spark.errors import ArgumentError
from fdl_spark.spark.classic import SparkContext, package_of
from fdl_spark.spark.failures import calling, settled
from fdl_spark.spark.session import session

INVALID = ("error", "null")
Applied = Callable[[Any, Any], Any]


def as_udf(
    apply: Applied,
    params: Any,
    output: str | Mapping[str, Any],
    columns: Sequence[str] | None = None,
    *,
    features: Encoder | None = None,
    batch_size: int = 1024,
    invalid: str = "error",
) -> Any:
    """Make a Spark UDF of a function of parameters and a batch, for `DataFrame.select` and for SQL.

    The UDF takes as many columns as the batch has, in their order: numbers, arrays, vectors of Spark ML; then those
    that `features` encodes. It belongs to the active session, which may be one of Spark Connect.

    Args:
      apply: (params, batch) -> array, or a dict or tuple of arrays, as for `predict`.
      params: pytree of arrays.
      output: the type of the result, as "double" or "array<float>"; or a dict of types by name, of which the UDF gives
        a struct.
      columns: the names that the arguments have in the batch; None means none, if there are `features`.
      features: fitted encoders of `fdl_spark.features`; the UDF takes the columns that these read.
      batch_size: rows that are computed at once by each task.
      invalid: what becomes of a row with a null or NaN, or that cannot be encoded: "error" or "null".

    Returns:
      The UDF.

    Raises:
      ArgumentError: an argument is not what it must be.

    >>> import numpy as np
    >>> from fdl_spark import session
    >>> spark = session()
    >>> score = as_udf(lambda w, batch: w * batch["x"] + batch["y"], np.float32(10), "double", ["x", "y"])
    >>> _ = spark.udf.register("score", score)
    >>> spark.sql("SELECT score(id, 5) AS s FROM range(3)").show()
    +----+
    |   s|
    +----+
    | 5.0|
    |15.0|
    |25.0|
    +----+
    <BLANKLINE>
    """
    check_applied(apply, batch_size, columns, features, invalid)
    asked = wanted({"result": output} if not isinstance(output, Mapping) else output)
    outputs = declared(asked)
    if outputs is None or any(output.vector for output in outputs):
        raise ArgumentError(
            'output must be the type of the result, as "double" or "array<float>", or a dict of such types by name, '
            f"not {output!r}"
        )
    if columns is None and features is None:
        raise ArgumentError('columns must name what the arguments of the UDF are in the batch, as columns=["x", "y"]')
    selection = Selection.of([*(columns or ()), *_raw(features, columns)], columns or (), features)
    with settled("as_udf"):
        spark = session()
        digest, content = sent(session_of(spark), apply, params)
    names = tuple(output.name for output in outputs)
    task = Scoring(digest, content, selection, {}, {}, outputs, names, batch_size, invalid == "null")
    return spark_udf(package_of(spark), task)


def _raw(features: Encoder | None, columns: Sequence[str] | None) -> list[str]:
    return [name for name in (features.inputs if features else ()) if name not in (columns or ())]


def check_applied(apply: Any, batch_size: Any, columns: Any, features: Any, invalid: Any) -> None:
    """Raise ArgumentError unless arguments are what they must be."""
    check_function("apply", apply, "(params, batch)")
    check_whole("batch_size", batch_size, 1)
    check_names("columns", columns)
    check_features(features)
    check_choice("invalid", invalid, INVALID)


def sent(where: SparkContext | SparkSession, apply: Applied, params: Any) -> tuple[str, Readable]:
    """A function and its parameters for the tasks, and the digest that names them."""
    with calling("sending the function and params to the executors"):
        content = cloudpickle.dumps((apply, fdl.tree.map(np.asarray, params)))
    digest = sha256(content).hexdigest()
    return digest, send(where, digest, content)


def spark_udf(package: str, task: Scoring, deterministic: bool = True) -> Any:
    """A UDF over iterators of Arrow arrays.

    Args:
      package: of the session.
      task: the function.
      deterministic: whether Spark may compute it more often than once, or for other rows than those of its place.
    """
    kind = struct_type(task.outputs, task.names)
    made = import_module(f"{package}.udf").UserDefinedFunction
    return made(task, kind, "fdl", PythonEvalType.SQL_SCALAR_ARROW_ITER_UDF, deterministic)
