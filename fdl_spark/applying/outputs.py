"""The columns that a function's results become: their names, their Spark types, their Arrow arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

from fdl_spark.errors import ArgumentError, DataError

#: The Spark types of numbers, by the dtype of the results that have them without being asked.
NUMBERS: dict[str, T.DataType] = {
    "float32": T.FloatType(),
    "float64": T.DoubleType(),
    "bool": T.BooleanType(),
    "int8": T.ByteType(),
    "int16": T.ShortType(),
    "int32": T.IntegerType(),
    "int64": T.LongType(),
}
WORDS = {"integer": "int", "long": "bigint", "short": "smallint", "byte": "tinyint", "real": "float"}
BY_NAME = {kind.simpleString(): kind for kind in NUMBERS.values()}
VECTOR = "vector"
BINARY = T.BinaryType()
EXPECTED = f'"{VECTOR}", "binary", {", ".join(map(repr, BY_NAME))}, or "array<...>" of those but the vector'

#: By column the type that the user asked for, or None.
Wanted = dict[str, Any]


@dataclass(frozen=True)
class Output:
    """A column of results.

    Attributes:
      name: of the column.
      kind: its Spark type, as tasks give it.
      vector: whether the array is to become a vector of Spark ML.
      width: the length of its arrays, if that is known.
    """

    name: str
    kind: T.DataType
    vector: bool = False
    width: int | None = None


def wanted(output: Any) -> Wanted | None:
    """The columns that the argument `output` asks for; None if it leaves them to the function.

    >>> wanted("p"), wanted(["p", "q"]), wanted({"p": "array<double>"})
    ({'p': None}, {'p': None, 'q': None}, {'p': ArrayType(DoubleType(), True)})

    Raises:
      ArgumentError: it is no name, list of names, or dict of types by name.
    """
    if output is None:
        return None
    if isinstance(output, Mapping):
        found = {name: None if kind is None else spark_type(kind, f"output[{name!r}]") for name, kind in output.items()}
    elif isinstance(output, Sequence) and not isinstance(output, str):
        found = dict.fromkeys(output)
    else:
        found = {output: None}
    if not found or not all(isinstance(name, str) and name for name in found):
        raise ArgumentError(
            f"output must be the name of the new column, a list of names, or a dict of types by name, not {output!r}"
        )
    if not isinstance(output, str | Mapping) and len(found) < len(output):
        raise ArgumentError(f"output names a column twice: {list(output)}")
    return found


def spark_type(kind: Any, argument: str) -> Any:
    """The Spark type that is meant, or VECTOR.

    Args:
      kind: a DataType, or the name of one that numbers can have.
      argument: whose, for messages.
    """
    if isinstance(kind, T.ArrayType):
        return T.ArrayType(spark_type(kind.elementType, argument), kind.containsNull)
    if kind in NUMBERS.values() or kind == BINARY:
        return kind
    if type(kind).__name__ == "VectorUDT":
        return VECTOR
    if isinstance(kind, str):
        word = kind.replace(" ", "").lower()
        word = WORDS.get(word, word)
        if word == VECTOR:
            return VECTOR
        if word == "binary":
            return BINARY
        if word in BY_NAME:
            return BY_NAME[word]
        if word.startswith("array<") and word.endswith(">"):
            inner = spark_type(word[6:-1], argument)
            if inner != VECTOR:
                return T.ArrayType(inner)
    raise ArgumentError(f"{argument} must be {EXPECTED}, not {kind!r}")


def declared(asked: Wanted | None) -> tuple[Output, ...] | None:
    """The columns, if the user gave the types of all."""
    if asked is None or None in asked.values():
        return None
    return tuple(_output(name, kind) for name, kind in asked.items())


def found(types: Any, asked: Wanted | None, rows: int) -> tuple[Output, ...]:
    """The columns, from the types of a function's results.

    Args:
      types: ShapeDtypeStructs: one, or a dict or tuple of them.
      asked: what the user wants to have of them.
      rows: of the batch that the function was traced on.

    Raises:
      ArgumentError, DataError: they do not become such columns.
    """
    if asked is None and isinstance(types, Mapping):
        asked = dict.fromkeys(types)
        if not asked or not all(isinstance(name, str) and name for name in asked):
            raise DataError(f"the function's dict must have the names of columns as keys; it has {list(types)}")
    elif asked is None:
        if isinstance(types, tuple | list):
            raise ArgumentError(f'the function gives {len(types)} results; name their columns: output=["a", "b", ...]')
        asked = {"prediction": None}
    return tuple(
        _checked(name, kind, result, rows)
        for (name, kind), result in zip(asked.items(), results(types, tuple(asked)), strict=True)
    )


def results(given: Any, names: Sequence[str]) -> list[Any]:
    """What a function gives for each column: by its name in a dict, by its place in a tuple.

    Raises:
      DataError: it does not give so many, or none of that name.
    """
    if isinstance(given, Mapping):
        for name in names:
            if name not in given:
                raise DataError(f"output names {name!r}, and the function gives {sorted(map(str, given))}")
        return [given[name] for name in names]
    several = list(given) if isinstance(given, tuple | list) else [given]
    if len(several) != len(names):
        raise DataError(f"output names {len(names)} columns, {list(names)}, and the function gives {len(several)}")
    return several


def _checked(name: str, kind: Any, result: Any, rows: int) -> Output:
    shape: tuple[int, ...] = getattr(result, "shape", None) or ()
    if shape[:1] != (rows,):
        raise DataError(f"the function must give one row of output per row of the batch; it gives {result}")
    width = shape[1] if len(shape) == 2 else None
    if kind is not None:
        output = _output(name, kind, width)
        if (problem := _misfit(output, len(shape), np.dtype(result.dtype))) is not None:
            raise DataError(problem)
        return output
    number = NUMBERS.get(np.dtype(result.dtype).name)
    if number is None:
        raise DataError(f"Spark has no column type for the function's {result.dtype}; cast it to float32 or int32")
    for _ in shape[1:]:
        number = T.ArrayType(number)
    return Output(name, number, width=width)


def _output(name: str, kind: Any, width: int | None = None) -> Output:
    return Output(name, T.ArrayType(T.DoubleType()) if kind == VECTOR else kind, kind == VECTOR, width)


def _misfit(output: Output, axes: int, dtype: np.dtype) -> str | None:
    """Why results of so many axes and of a dtype do not become a column; None if they do."""
    kind, depth = output.kind, 1
    while isinstance(kind, T.ArrayType):
        kind, depth = kind.elementType, depth + 1
    asked = VECTOR if output.vector else output.kind.simpleString()
    if kind == BINARY:
        if axes > depth:
            return None
        return (
            f"output {output.name!r} was to be {asked}, for which {depth + 1} axes or more are needed, the last of "
            f"which become bytes; the function gives {axes}"
        )
    if depth != axes:
        return f"output {output.name!r} was to be {asked}, for which {depth} axes are needed; the function gives {axes}"
    if not np.can_cast(dtype, _dtype(kind), "same_kind"):
        return f"output {output.name!r} was to be {asked}, which cannot hold the function's {dtype}; cast it"
    return None


def _dtype(number: T.DataType) -> np.dtype:
    return np.dtype(next(name for name, kind in NUMBERS.items() if kind == number))


def arrow_column(output: Output, array: np.ndarray) -> pa.Array:
    """The Arrow array of a column, of exactly its type.

    Args:
      output: the column.
      array: [rows, ...], numbers that its type can hold.

    Raises:
      DataError: they are of other axes, or of a dtype that does not fit.
    """
    if (problem := _misfit(output, array.ndim, array.dtype)) is not None:
        raise DataError(problem)
    return _nested(np.ascontiguousarray(array), to_arrow_type(output.kind))


def _nested(array: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_binary(kind):
        return _bytes(array)
    if not pa.types.is_list(kind):
        numbers = array.astype(kind.to_pandas_dtype(), copy=False)
        if pa.types.is_integer(kind) and (numbers != array).any():
            raise DataError(f"{array[numbers != array][0]}, which the function gives, does not fit {kind}")
        return pa.array(numbers, kind)
    rows, width = array.shape[:2]
    if rows * width > np.iinfo(np.int32).max:
        raise DataError(
            f"{rows} rows of {width} results are more than an Arrow array holds; lower "
            f"spark.sql.execution.arrow.maxRecordsPerBatch"
        )
    flat = _nested(array.reshape(rows * width, *array.shape[2:]), kind.value_type)
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind)


def _bytes(array: np.ndarray) -> pa.Array:
    """The bytes of each row, little-endian."""
    content = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    size = content[0].nbytes if len(content) else 0
    if content.nbytes > np.iinfo(np.int32).max:
        raise DataError(
            f"{len(content)} rows of {size} bytes are more than an Arrow array holds; lower "
            f"spark.sql.execution.arrow.maxRecordsPerBatch"
        )
    offsets = np.arange(len(content) + 1, dtype=np.int32) * np.int32(size)
    return pa.Array.from_buffers(pa.binary(), len(content), [None, pa.py_buffer(offsets), pa.py_buffer(content)])


def struct_column(outputs: Sequence[Output], arrays: Sequence[np.ndarray], names: Sequence[str]) -> pa.Array:
    """All columns in one: the only one as it is, several as a struct."""
    columns = [arrow_column(output, array) for output, array in zip(outputs, arrays, strict=True)]
    if len(columns) == 1:
        return columns[0]
    return pa.StructArray.from_arrays(columns, fields=list(to_arrow_type(struct_type(outputs, names))))


def struct_type(outputs: Sequence[Output], names: Sequence[str]) -> Any:
    """The Spark type of `struct_column`."""
    if len(outputs) == 1:
        return outputs[0].kind
    return T.StructType([T.StructField(name, output.kind) for name, output in zip(names, outputs, strict=True)])
