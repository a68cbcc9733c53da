"""What a task does with a function: rows of Arrow to arrays, piece by piece through the function, back to Arrow."""

import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_type

import fdl
from fdl_spark.applying.outputs import Output, results, struct_column, struct_type
from fdl_spark.applying.rows import Shape, lengths, list_of_numbers, nulls_with_lengths, numbers, valid_rows
from fdl_spark.applying.sharing import Readable
from fdl_spark.data.columns import Arrays, BadColumn
from fdl_spark.data.selection import Selection
from fdl_spark.errors import ArgumentError, ColumnError, DataError, UserFunctionError
from fdl_spark.spark.cores import use_cores_of_task

MOST = 512 << 20  # bytes of functions with their parameters that a worker keeps, besides the one in use

Apply = Callable[[Arrays], Any]
_loaded: OrderedDict[str, tuple[int, Apply]] = OrderedDict()  # as a module's attribute it outlives a task


@dataclass(frozen=True)
class Scoring:
    """The function of a Spark UDF over iterators of Arrow arrays; it takes the columns that its selection reads.

    Attributes:
      digest: names the content.
      content: pickled: the function and its parameters.
      selection: what becomes of the columns.
      shapes: the shapes of rows, as far as they are known.
      lists: by the place of a column that is encoded the lengths of its lists, if they are known: where all of them are
        null they tell none.
      outputs: the columns of the results.
      names: the fields of the struct that several outputs are.
      batch_size: rows that are computed at once.
      nulls: whether rows that are not valid give nulls, instead of an error.
    """

    digest: str
    content: Readable
    selection: Selection
    shapes: Mapping[str, Shape]
    lists: Mapping[int, Shape]
    outputs: tuple[Output, ...]
    names: tuple[str, ...]
    batch_size: int
    nulls: bool

    @property
    def kind(self) -> pa.DataType:
        """The Arrow type of the results."""
        return to_arrow_type(struct_type(self.outputs, self.names))

    def __call__(self, batches: Iterator[Any]) -> Iterator[pa.Array]:
        use_cores_of_task()
        apply = loaded(self.digest, self.content)
        row, lists = 0, dict(self.lists)
        for columns in batches:
            rows = self._rows(columns)
            lists |= self._lists(rows)
            try:
                yield self._scored(apply, rows, row, lists)
            except BadColumn as bad:
                text = f"{bad.problem.text} (rows counted in this partition)"
                raise ColumnError(bad.problem.column, text, row + bad.problem.row) from None
            row += rows.num_rows

    def _rows(self, columns: Any) -> pa.RecordBatch:
        """The arguments of a call, of which Spark hands on a single one as it is."""
        arrays = [columns] if isinstance(columns, pa.Array) else list(columns)
        if len(arrays) != len(self.selection.read):
            raise ArgumentError(
                f"the function takes {len(self.selection.read)} columns, {list(self.selection.read)}, "
                f"and is called with {len(arrays)}"
            )
        arrays = [numbers(array, n < len(self.selection.numeric)) for n, array in enumerate(arrays)]
        return pa.RecordBatch.from_arrays(arrays, [str(n) for n in range(len(arrays))])

    def _lists(self, rows: pa.RecordBatch) -> dict[int, Shape]:
        """By the place of a column that is encoded the lengths of its lists of numbers, where rows tell them."""
        places = range(len(self.selection.numeric), rows.num_columns)
        found = {place: lengths(rows.column(place)) for place in places if list_of_numbers(rows.column(place).type)}
        return {place: shape for place, shape in found.items() if shape is not None}

    def _untold(self, rows: pa.RecordBatch, lists: Mapping[int, Shape]) -> int | None:
        """The place of a column that is encoded and has no lists of numbers but should have; None if there is none."""
        for place in set(range(len(self.selection.numeric), rows.num_columns)) - lists.keys():
            column = rows.column(place)
            if list_of_numbers(column.type) and column.null_count == len(column):
                return place
        return None

    def _scored(self, apply: Apply, rows: pa.RecordBatch, first: int, lists: Mapping[int, Shape]) -> pa.Array:
        if not rows.num_rows:
            return pa.array([], self.kind)
        if not self.nulls:
            return self._column(apply, rows, first, lists)
        valid = valid_rows(self.selection, rows)
        if valid.all():
            return self._column(apply, rows, first, lists)
        if not valid.any():
            return pa.nulls(rows.num_rows, self.kind)
        try:
            found = self._column(apply, rows.filter(pa.array(valid)), first, lists)
        except BadColumn as bad:
            raise BadColumn(bad.problem.column, bad.problem.text, int(np.flatnonzero(valid)[bad.problem.row])) from None
        return found.take(pa.array(np.cumsum(valid) - 1, mask=~valid))

    def _column(self, apply: Apply, rows: pa.RecordBatch, first: int, lists: Mapping[int, Shape]) -> pa.Array:
        """The results of valid rows. What is encoded may be large, so it is encoded for one piece at a time."""
        size, pieces = self.batch_size, list[list[np.ndarray]]()
        step = size if self.selection.features is not None else rows.num_rows
        for start in range(0, rows.num_rows, step):
            part = rows.slice(start, step)
            arrays = self._arrays(part, start, lists)
            for place in range(0, part.num_rows, size):
                pieces.append(self._piece(apply, arrays, place, first + start))
        joined = [np.concatenate(arrays)[: rows.num_rows] for arrays in zip(*pieces, strict=True)]
        return struct_column(self.outputs, joined, self.names)

    def _arrays(self, rows: pa.RecordBatch, start: int, lists: Mapping[int, Shape]) -> Arrays:
        try:
            arrays = self.selection.arrays(nulls_with_lengths(rows, lists))
        except BadColumn as bad:
            raise BadColumn(bad.problem.column, bad.problem.text, start + bad.problem.row) from None
        if any(0 in array.shape for array in arrays.values()) and (place := self._untold(rows, lists)) is not None:
            text = "null in all rows so far, which do not tell how long its lists are; features.vector(width=) does"
            raise BadColumn(self.selection.read[place], text, start)
        for name, shape in self.shapes.items():
            row = arrays[name].shape[1:]
            if len(row) != len(shape) or any(n not in (None, m) for n, m in zip(shape, row, strict=True)):
                raise BadColumn(name, f"rows of shape {row}, where {shape} was expected".replace("None", "any"), start)
        return arrays

    def _piece(self, apply: Apply, arrays: Arrays, place: int, first: int) -> list[np.ndarray]:
        """The function on `batch_size` rows; the last ones are padded with copies: it is compiled for one shape."""
        batch = {name: _cut(array, place, self.batch_size) for name, array in arrays.items()}
        until = first + min(place + self.batch_size, len(next(iter(arrays.values()))))
        try:
            given = apply(batch)
        except Exception as error:  # of which Spark would tell no more than the last traceback, which is ours
            where = f"the function, on rows {first + place} to {until - 1} of a partition, {described(batch)},"
            said = f"{where} raised {type(error).__name__}: {error}\n{traceback.format_exc()}"
            raise UserFunctionError(said) from None
        found = [np.asarray(result) for result in results(given, [output.name for output in self.outputs])]
        for output, array in zip(self.outputs, found, strict=True):
            if array.shape[:1] != (self.batch_size,):
                raise DataError(
                    f"the function must give one row of output per row of the batch, {self.batch_size}; for "
                    f"{output.name!r} it gives an array of {array.shape}"
                )
        return found


def described(batch: Arrays) -> str:
    """The types of a batch, for messages."""
    return f"a batch of { {name: f'{array.dtype}{list(array.shape)}' for name, array in batch.items()} }"


def _cut(array: np.ndarray, start: int, size: int) -> np.ndarray:
    part = array[start : start + size]
    missing = size - len(part)
    return part if not missing else np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])


def loaded(digest: str, content: Readable) -> Apply:
    """The compiled function with its parameters, which a worker loads once."""
    if digest not in _loaded:
        pickled = content.value
        apply, params = cloudpickle.loads(pickled)
        while _loaded and sum(size for size, _ in _loaded.values()) > MOST:
            _loaded.popitem(last=False)
        _loaded[digest] = len(pickled), partial(fdl.jit(apply), params)
    _loaded.move_to_end(digest)
    return _loaded[digest][1]
