"""Lookups: rows read from a table, and the derivative by the table that they leave."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fdl.core.operation import Operation
from fdl.core.primitive import Linear
from fdl.core.program import Atom, Equation, Program, Var
from fdl.core.types import TensorType
from fdl.dtypes import int32
from fdl.ops.arithmetic import max_, min_
from fdl.ops.convert import convert
from fdl.ops.indexing import Gather
from fdl.ops.shape import full, full_like, iota, reshape, zeros_of
from fdl.ops.slicing import DynamicSlice, concatenate, slice_
from fdl.sparse.rows import Rows, row_numbers


class Table(Linear):
    """An input of a linear Program whose cotangent is :class:`Rows` where only rows of it are read."""

    def cotangent_through(
        self, operation: Operation, cotangents: Sequence[Any], operands: Sequence[Any]
    ) -> Rows | None:
        if not isinstance(operation, Gather | DynamicSlice):
            return None
        return _cotangent(self.type, operation, operands[1:], cotangents[0])

    def zero(self) -> Any:
        """The cotangent that arrives if nothing is read: zero, in the form that lookups would have given it."""
        if not self.type.shape:
            return zeros_of(self.type)
        nothing = zeros_of(self.type.with_shape((0, *self.type.shape[1:])))
        return Rows(full(0, (0,), int32), nothing, self.type.shape, True)


def _cotangent(table: TensorType, operation: Any, indices: Sequence[Any], cotangent: Any) -> Rows | None:
    """The cotangent of a table from which an operation read whole rows; None if it read something else."""
    rows = _rows_read(table, operation, indices, cotangent.ndim)
    return None if rows is None else Rows(rows, reshape(cotangent, (*rows.shape, *table.shape[1:])), table.shape)


def _rows_read(table: TensorType, operation: Any, indices: Sequence[Any], ndim: int) -> Any:
    """The rows that an operation with a result of `ndim` axes reads; None if it reads something else."""
    sizes = operation.sizes if isinstance(operation, DynamicSlice) else operation.slice_sizes
    if sizes[0] != 1 or sizes[1:] != table.shape[1:] or 0 in table.shape:
        return None
    if isinstance(operation, DynamicSlice):
        return _clipped(reshape(indices[0], (1,)), table.shape[0])
    n, places, only_inside = operation.numbers, indices[0].shape[:-1], operation.mode == "fill"
    if 0 not in n.start_index_map or n.operand_batching_dims or n.offset_dims != tuple(range(len(places), ndim)):
        return None
    if only_inside and n.start_index_map != (0,):
        return None
    place = n.start_index_map.index(0)
    starts, ends = (0,) * len(places) + (place,), (*places, place + 1)
    ids = reshape(slice_(indices[0], starts, ends), (TensorType(places, table.dtype).size,))
    return row_numbers(ids, table.shape[0]) if only_inside else _clipped(ids, table.shape[0])


def _clipped(ids: Any, count: int) -> Any:
    """Numbers of rows, moved into bounds."""
    if count <= np.iinfo(ids.dtype).max:
        ids = min_(ids, full_like(ids, count - 1))
    return convert(max_(ids, full_like(ids, 0)) if ids.dtype.kind == "i" else ids, int32)


def reads_of(program: Program, table: Var) -> list[Equation] | None:
    """The equations that read parts of a table, which is an input; None if it is read in another way."""
    reads = [equation for equation in program.equations if table in equation.inputs]
    parts = [isinstance(e.operation, Gather | DynamicSlice) and table not in e.inputs[1:] for e in reads]
    return None if table in program.outputs or not all(parts) else reads


def rows_of(reads: list[Equation] | None, table: TensorType, values: Mapping[Atom, Any]) -> Any:
    """The numbers of the rows that equations read, whose other inputs have these values; of all rows if not of some."""
    found = [full(0, (0,), int32)]
    for read in reads or ():
        rows = _rows_read(table, read.operation, [values[a] for a in read.inputs[1:]], read.outputs[0].type.ndim)
        if rows is None:
            reads = None
            break
        found.append(rows)
    return iota(int32, (table.shape[0],), 0) if reads is None else concatenate(found, 0)
