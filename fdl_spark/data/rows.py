"""Rows that are Python objects: the elements of an RDD."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from fdl_spark.data import chunks
from fdl_spark.data.arrays import named_entries
from fdl_spark.data.chunks import Found, of_partition, or_problem
from fdl_spark.data.columns import Arrays, Problem, size_of, stacked
from fdl_spark.data.record import Record
from fdl_spark.errors import ColumnError, DataError
from fdl_spark.spark.classic import RDD

CHUNK_ROWS = 4096


def rdd_chunks(rdd: RDD, columns: Sequence[str] | None) -> tuple[RDD, Any]:
    """The chunks of an RDD's rows, and the template.

    Args:
      rdd: Rows, dicts, tuples or arrays.
      columns: the columns to use; None means all.

    Raises:
      ColumnError, MissingColumnError, DataError: its first row is of no such kind, or lacks a column.
    """
    first = rdd.take(1)
    if not first:
        raise DataError("the RDD has no rows")
    template = _template(first[0])
    names = [name for name, _ in _flatten_row(first[0])]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ColumnError(twice, "several columns have this name; rename all but one of them")
    if columns is not None:
        template = named_entries(template, columns)
        names = list(template)
    if not names:
        raise DataError("the rows of the RDD have no columns")
    return rdd.mapPartitions(partial(_found, names, columns is None)), template


def _found(names: list[str], whole: bool, rows: Iterable[Any]) -> Iterator[Found]:
    return of_partition(row_chunks(names, whole, rows))


def row_chunks(names: list[str], whole: bool, rows: Iterable[Any]) -> Iterator[Arrays | Problem]:
    """The chunks of a partition's rows; `whole` says that a row has no other columns than those named."""
    flat = (dict(_flatten_row(row)) for row in rows)
    if not whole:
        flat = ({name: value for name, value in row.items() if name in names} for row in flat)
    for first in flat:
        size = max(1, sum(size_of(value) for value in first.values()))  # that of the others, or stacking them fails
        group = [first, *islice(flat, min(CHUNK_ROWS, max(1, chunks.CHUNK_BYTES // size)) - 1)]
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
