"""From the columns of a DataFrame to what a model's function is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

import fdl
from fdl_spark.data.columns import BadColumn
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.source import numbered, selected
from fdl_spark.errors import ColumnError, DataError
from fdl_spark.ml.rows import column_of
from fdl_spark.spark.classic import package_of
from fdl_spark.spark.failures import settled
from fdl_spark.spark.quiet import no_pandas_warning


@dataclass(frozen=True)
class Inputs:
    """The columns that a model's function reads.

    Attributes:
      columns: those that become arrays as they are.
      single: whether the function is given the array of the only column, and no dict of arrays by column.
      features: encodes other columns; None encodes none.
    """

    columns: tuple[str, ...]
    single: bool = False
    features: Encoder | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The entries of the dict."""
        return (*self.columns, *(() if self.features is None else self.features.outputs))

    @property
    def read(self) -> tuple[str, ...]:
        """The columns that are read, each once."""
        return tuple(dict.fromkeys((*self.columns, *(() if self.features is None else self.features.inputs))))

    def of(self, batch: Mapping[str, Any]) -> Any:
        """What the function is given of a batch that has other columns too."""
        return batch[self.columns[0]] if self.single else {name: batch[name] for name in self.names}


def with_columns(frame: DataFrame, inputs: Inputs, others: Mapping[str, str | None]) -> DataFrame:
    """The columns that a model reads, and others in the types that are named.

    Args:
      frame: the data.
      inputs: what the model reads.
      others: the Spark type of each other column by its name; None leaves it as it is.

    Raises:
      MissingColumnError, ColumnError: a column is not there, or is there twice.
    """
    functions = import_module(f"{package_of(frame)}.functions")
    chosen = []
    for name in (*inputs.read, *others):
        column = functions.col(str(column_of(frame, name, "the estimator")))
        kind = others.get(name)
        chosen.append((column if kind is None else column.cast(kind)).alias(name))
    return numbered(frame).select(*chosen)


def row_types(frame: DataFrame, columns: Sequence[str], features: Encoder | None) -> dict[str, Any]:
    """The shape and dtype of each column's arrays, without the rows, from the schema or else from the first row.

    Raises:
      ColumnError: the first row does not become arrays.
      DataError: there is none.
    """
    with settled("reading the first row"):
        chosen, selection = selected(frame, columns, features)
        metadata = {field.name: field.metadata for field in frame.schema.fields}
        row = None
        if features is None:
            row = row_of_zeros(chosen.schema, [metadata[name] for name in selection.numeric])
        if row is None:
            with no_pandas_warning():
                rows = chosen.limit(1).toArrow().combine_chunks().to_batches()
            if not rows or not rows[0].num_rows:
                raise DataError("the DataFrame has no rows")
            row = rows[0]
    try:
        arrays = selection.arrays(row)
    except BadColumn as bad:
        raise ColumnError(bad.problem.column, bad.problem.text, bad.problem.row) from None
    return {name: fdl.ShapeDtypeStruct(array.shape[1:], array.dtype) for name, array in arrays.items()}


def row_of_zeros(schema: T.StructType, metadata: Sequence[Mapping[str, Any]]) -> pa.RecordBatch | None:
    """A row of columns of numbers, and of arrays whose lengths the metadata of Spark ML tells; None if it does not.

    Args:
      schema: of the columns.
      metadata: that of each, as VectorAssembler writes it.
    """
    arrays = []
    for field, told in zip(schema.fields, metadata, strict=True):
        kind, zero = to_arrow_type(field.dataType), pa.array([0], pa.int8())
        if not pa.types.is_list(kind):
            arrays.append(zero.cast(kind))
            continue
        width = told.get("ml_attr", {}).get("num_attrs")
        if not isinstance(width, int) or pa.types.is_list(kind.value_type):
            return None
        arrays.append(pa.array([[0] * width], kind))
    return pa.RecordBatch.from_arrays(arrays, schema.names)


def batch_types(types: Any, rows: int) -> Any:
    """The types of a batch of so many rows, from those of one."""
    return fdl.tree.map(lambda t: fdl.ShapeDtypeStruct((rows, *t.shape), t.dtype), types)


def extents(types: Any) -> Any:
    """What an `init` function is told of the types: the length of a vector, else the shape of a row."""
    if isinstance(types, dict):
        return {name: extents(found) for name, found in types.items()}
    return types.shape[0] if types.ndim == 1 else types.shape


def to_row(types: Any, value: Any) -> np.ndarray:
    """A batch of one row, of a vector of Spark ML or an array."""
    array = np.asarray(value.toArray() if hasattr(value, "toArray") else value, types.dtype)
    return array.reshape(1, *types.shape)
