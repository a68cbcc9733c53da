"""What a batch will look like, found out without a look at the data where the schema and the parameters tell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

import fdl
from fdl_spark.arguments import all_strings
from fdl_spark.compute.program import shape_of
from fdl_spark.data.columns import Arrays, BadColumn
from fdl_spark.data.selection import Selection
from fdl_spark.errors import ArgumentError, ColumnError, DataError, UserFunctionError
from fdl_spark.spark.quiet import no_pandas_warning

TRIES = 64  # how many guesses at the lengths of arrays are traced

Shape = tuple[int | None, ...]  # of a row; None where the schema does not tell


@dataclass(frozen=True)
class Traced:
    """What is known of a function's results.

    Attributes:
      shapes: those of rows of the batch by column, as far as they are known.
      traced: whether the function was traced.
      types: those of its results, if it was.
    """

    shapes: dict[str, Shape]
    traced: bool = False
    types: Any = None

    @property
    def exact(self) -> bool:
        """Whether nothing was guessed."""
        return not any(None in shape for shape in self.shapes.values())


def check_shapes(shapes: Any) -> None:
    """Raise unless an argument is a dict of shapes by column, or None."""
    if shapes is None:
        return
    if not isinstance(shapes, Mapping) or not all_strings(list(shapes)):
        raise ArgumentError(f'shapes must be a dict such as {{"x": (784,)}}, not {shapes!r}')
    for name, shape in shapes.items():
        if not isinstance(shape, Sequence) or not all(isinstance(n, int | np.integer) and n >= 0 for n in shape):
            raise ArgumentError(f"shapes[{name!r}] must be a tuple of lengths such as (784,), not {shape!r}")


def types_of_results(
    apply: Callable[[Any, Any], Any],
    params: Any,
    inputs: DataFrame,
    selection: Selection,
    metadata: Sequence[dict[str, Any]],
    shapes: Mapping[str, Sequence[int]],
    rows: int,
    needed: bool,
) -> Traced:
    """Trace a function on what the batch will be.

    Args:
      apply: (params, batch) -> results.
      params: pytree of arrays.
      inputs: the columns that the selection reads, in its order.
      selection: what they become.
      metadata: that of these columns.
      shapes: the shapes of rows that the user knows.
      rows: of the batch.
      needed: whether the types must be known; else a function that cannot be traced without a look at the data is not.

    Returns:
      What is known.

    Raises:
      ArgumentError, ColumnError, MissingColumnError, DataError, UserFunctionError: what is asked for does not fit the
        data, or the function raised.
    """
    arrays = _arrays(selection, _empty(inputs.schema))
    known = _known(selection, arrays, metadata, shapes)

    def trace(sizes: Mapping[str, tuple[Any, ...]]) -> Traced:
        batch = {name: fdl.ShapeDtypeStruct((rows, *shape), arrays[name].dtype) for name, shape in sizes.items()}
        return Traced(known, True, shape_of("the function", apply, params, batch))

    if Traced(known).exact:
        return trace(known)
    failed: UserFunctionError | None = None
    for guess in islice(_guesses(known, params), TRIES):
        try:
            return trace(guess)
        except UserFunctionError as error:
            failed = error
    if not needed:
        return Traced(known)
    first = _first_row(inputs)
    if first is None:
        unknown = [name for name, shape in known.items() if None in shape]
        raise DataError(
            f"the function was traced without rows, and how long the arrays of {unknown} are is not known: "
            f'pass shapes={{"{unknown[0]}": (length,)}}, or the types of all outputs as output={{"name": "double"}}'
        ) from failed
    seen = _arrays(selection, first)
    return trace({name: seen[name].shape[1:] for name in known})


def _empty(schema: T.StructType) -> pa.RecordBatch:
    kinds = [to_arrow_type(field.dataType, timezone="UTC") for field in schema.fields]
    return pa.RecordBatch.from_arrays([pa.array([], kind) for kind in kinds], [str(n) for n in range(len(kinds))])


def _first_row(inputs: DataFrame) -> pa.RecordBatch | None:
    if inputs.isStreaming:
        return None
    with no_pandas_warning():
        rows = inputs.limit(1).toArrow().combine_chunks().to_batches()
    return rows[0] if rows and rows[0].num_rows else None


def _arrays(selection: Selection, rows: pa.RecordBatch) -> Arrays:
    try:
        return selection.arrays(rows)
    except BadColumn as bad:
        raise ColumnError(bad.problem.column, bad.problem.text, bad.problem.row) from None


def _known(
    selection: Selection, arrays: Arrays, metadata: Sequence[dict[str, Any]], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Shape]:
    """The shapes of rows, as far as the schema, metadata of Spark ML, encoders or the user tell them."""
    known: dict[str, Shape] = {name: array.shape[1:] for name, array in arrays.items()}
    for name, fields in zip(selection.numeric, metadata, strict=False):
        if arrays[name].ndim > 1:
            size = fields.get("ml_attr", {}).get("num_attrs")
            known[name] = (size,) if size is not None else (None,) * (arrays[name].ndim - 1)
    for name, shape in shapes.items():
        if name not in known:
            raise ArgumentError(f"shapes= has {name!r}, which is no column of the batch; those are {list(known)}")
        if len(shape) != len(known[name]) or any(n not in (None, m) for n, m in zip(known[name], shape, strict=True)):
            told = str(known[name]).replace("None", "any")
            raise ArgumentError(f"shapes[{name!r}] is {tuple(shape)}; a row of the column has the shape {told}")
        known[name] = tuple(map(int, shape))
    return known


def _guesses(known: Mapping[str, Shape], params: Any) -> Iterator[dict[str, Shape]]:
    """Shapes with the lengths that the parameters have somewhere in place of the unknown ones.

    The type of a result hardly ever depends on a length; tasks check what they find.
    """
    lengths = sorted({size for leaf in fdl.tree.leaves(params) for size in np.shape(leaf)})
    unknown = sum(shape.count(None) for shape in known.values())
    for guess in product(lengths, repeat=unknown):
        left = iter(guess)
        yield {name: tuple(next(left) if n is None else n for n in shape) for name, shape in known.items()}
