"""What a batch will look like, found out without a look at the data where the schema and the parameters tell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_type

import fdl
from fdl_spark.applying.rows import Shape, lengths, list_of_numbers, with_lengths
from fdl_spark.arguments import all_strings
from fdl_spark.compute.program import shape_of
from fdl_spark.data.columns import Arrays, BadColumn
from fdl_spark.data.selection import Selection
from fdl_spark.errors import ArgumentError, ColumnError, DataError, UserFunctionError
from fdl_spark.spark.quiet import no_pandas_warning

TRIES = 64  # how many guesses at the lengths of arrays are traced


@dataclass(frozen=True)
class Traced:
    """What is known of a function's results.

    Attributes:
      shapes: those of rows of the batch by column, as far as they are known.
      traced: whether the function was traced.
      types: those of its results, if it was.
      lists: by the place of a column that is encoded the lengths of its lists, where they are known.
    """

    shapes: dict[str, Shape]
    traced: bool = False
    types: Any = None
    lists: dict[int, Shape] = field(default_factory=dict)

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
    kinds = [to_arrow_type(field.dataType, timezone="UTC") for field in inputs.schema.fields]
    lists = _lists(kinds, selection, metadata)

    def empty(lists: Mapping[int, Shape]) -> Arrays:
        columns = [pa.array([], with_lengths(kind, lists.get(place, ()))) for place, kind in enumerate(kinds)]
        return _arrays(selection, _rows(columns))

    arrays = empty(lists)
    known, places = _known(selection, empty, lists, shapes)

    def trace(sizes: Mapping[str, tuple[Any, ...]], lists: dict[int, Shape]) -> Traced:
        batch = {name: fdl.ShapeDtypeStruct((rows, *shape), arrays[name].dtype) for name, shape in sizes.items()}
        told = {place: shape for place, shape in lists.items() if None not in shape}
        return Traced(known, True, shape_of("the function", apply, params, batch), told)

    if Traced(known).exact:
        return trace(known, _told(empty, lists, known))
    failed: UserFunctionError | None = None
    for guess in islice(_guesses(known, params), TRIES):
        try:
            return trace(guess, {})
        except UserFunctionError as error:
            failed = error
    if not needed:
        return Traced(known)
    first = _first_row(inputs, places)
    if first is None:
        unknown = [name for name, shape in known.items() if None in shape]
        raise DataError(
            f"the function was traced without rows, and how long the arrays of {unknown} are is not known: "
            f'pass shapes={{"{unknown[0]}": (length,)}}, or the types of all outputs as output={{"name": "double"}}'
        ) from failed
    lists |= {place: lengths(first.column(place)) or lists[place] for place in places}
    seen = {name: array.shape[1:] for name, array in empty(lists).items()}
    if any(n is None and m == 0 for name, shape in known.items() for n, m in zip(shape, seen[name], strict=True)):
        seen = {name: array.shape[1:] for name, array in _arrays(selection, first).items()}
    return trace(seen, lists)


def _rows(columns: Sequence[pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns), [str(n) for n in range(len(columns))])


def _first_row(inputs: DataFrame, places: Sequence[int]) -> pa.RecordBatch | None:
    """The first row whose columns at these places are not null."""
    if inputs.isStreaming:
        return None
    for place in places:
        inputs = inputs.where(f"`{place}` IS NOT NULL")
    with no_pandas_warning():
        rows = inputs.limit(1).toArrow().combine_chunks().to_batches()
    return rows[0] if rows and rows[0].num_rows else None


def _arrays(selection: Selection, rows: pa.RecordBatch) -> Arrays:
    try:
        return selection.arrays(rows)
    except BadColumn as bad:
        raise ColumnError(bad.problem.column, bad.problem.text, bad.problem.row) from None


def _lists(kinds: Sequence[pa.DataType], selection: Selection, metadata: Sequence[dict[str, Any]]) -> dict[int, Shape]:
    """By place the lengths of the lists in the columns that are read, as far as metadata of Spark ML tell them."""
    found: dict[int, Shape] = {}
    for place, (kind, fields) in enumerate(zip(kinds, metadata, strict=True)):
        if depth := list_of_numbers(kind):
            size = fields.get("ml_attr", {}).get("num_attrs")
            found[place] = (size,) if depth == 1 else (None,) * depth
    return found


def _known(
    selection: Selection,
    empty: Callable[[Mapping[int, Shape]], Arrays],
    lists: Mapping[int, Shape],
    shapes: Mapping[str, Sequence[int]],
) -> tuple[dict[str, Shape], list[int]]:
    """The shapes of rows, as far as the schema, metadata of Spark ML, encoders or the user tell them; and the places of
    the columns on whose lengths they depend.

    Lists of which there are none have the length 0. What becomes of them with another one tells what depends on it.
    """
    none = {name: array.shape[1:] for name, array in empty(lists).items()}
    known, places = dict[str, Shape](none), list[int]()
    for place in [place for place, shape in lists.items() if None in shape]:
        others: Arrays = {}
        with suppress(Exception):  # of an encoder that takes lists of one length only, which it knows
            others = empty({**lists, place: tuple(n or 1 for n in lists[place])})
        for name, array in others.items():
            if array.shape[1:] != none[name]:
                known[name] = tuple(n if n == m else None for n, m in zip(known[name], array.shape[1:], strict=True))
                places = [*dict.fromkeys([*places, place])]
    for name in set(known) - set(selection.numeric):
        known[name] = tuple(n or None for n in known[name])
    for name, shape in shapes.items():
        if name not in known:
            raise ArgumentError(f"shapes= has {name!r}, which is no column of the batch; those are {list(known)}")
        if len(shape) != len(known[name]) or any(n not in (None, m) for n, m in zip(known[name], shape, strict=True)):
            told = str(known[name]).replace("None", "any")
            raise ArgumentError(f"shapes[{name!r}] is {tuple(shape)}; a row of the column has the shape {told}")
        known[name] = tuple(map(int, shape))
    return known, places


def _told(
    empty: Callable[[Mapping[int, Shape]], Arrays], lists: Mapping[int, Shape], known: Mapping[str, Shape]
) -> dict[int, Shape]:
    """The lengths of lists that become arrays of their own shape, which is known."""
    found = dict(lists)
    for place, (name, shape) in product([place for place in lists if None in lists[place]], known.items()):
        with suppress(Exception):  # of an encoder that takes lists of one length only
            if len(shape) == len(lists[place]) and empty({**lists, place: shape})[name].shape[1:] == shape:
                found[place] = shape
    return found


def _guesses(known: Mapping[str, Shape], params: Any) -> Iterator[dict[str, Shape]]:
    """Shapes with the lengths that the parameters have somewhere in place of the unknown ones.

    The type of a result hardly ever depends on a length; tasks check what they find.
    """
    return _filled(known, sorted({size for leaf in fdl.tree.leaves(params) for size in np.shape(leaf)}))


def _filled(shapes: Mapping[Any, Shape], lengths: Sequence[int]) -> Iterator[dict[Any, Shape]]:
    """The shapes with any of some lengths in place of each that is not known."""
    unknown = sum(shape.count(None) for shape in shapes.values())
    for guess in product(lengths, repeat=unknown):
        left = iter(guess)
        yield {key: tuple(next(left) if n is None else n for n in shape) for key, shape in shapes.items()}
