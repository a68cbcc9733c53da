"""Updates of rows: an elementwise function of those rows of tables that are named, in one pass."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from fdl.core.interpret import apply_program
from fdl.core.primitive import Primitive
from fdl.core.program import Program
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.dtypes import INTEGER
from fdl.errors import DtypeError, ShapeError
from fdl.ops.arithmetic import add, mul, sub
from fdl.ops.compare import lt
from fdl.ops.select import select
from fdl.ops.shape import broadcast_in_dim, full_like, repeat, reshape, zeros_of
from fdl.sparse.replay import elementwise
from fdl.sparse.rows import read_rows, row_numbers, write_rows
from fdl.transforms.batch import batch_values
from fdl.transforms.forward import jvp_values


class UpdateRows(Primitive):
    """Computes rows of tables, and an array for each of its other results, from these rows and from arrays.

    Operands are the numbers of rows, (k,), each within bounds at most once; numbers, each () or (k,), one for each row;
    arrays, each (k, ...); and the tables, each (n, ...). `body` takes an element of each table and of each array, and
    the numbers, and returns the elements of the tables and of the other results, each (k, ...). Rows out of bounds are
    left out; their part of the other results is zero.

    The same as gathers, elementwise operations and scatters, by which derivatives and batches are computed; but what
    they would store in between, several times the rows, stays in registers.
    """

    lowering_kind = "kernel"
    multiple = True
    compile_eagerly = True
    body: Program
    tables: int
    arrays: int

    def divide(self, args: Sequence[Any]) -> tuple[Any, Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Numbers of rows, numbers, arrays, tables."""
        rows, *rest = args
        first, second = len(rest) - self.tables - self.arrays, len(rest) - self.tables
        return rows, rest[:first], rest[first:second], rest[second:]

    def overwritten(self, output: int, operands: int) -> int:
        """The number of the operand in whose memory an output may be made."""
        if output < self.tables:
            return operands - self.tables + output
        return operands - self.tables - self.arrays + min(output - self.tables, self.arrays - 1)

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        rows, numbers, arrays, tables = self.divide(types)
        if rows.ndim != 1 or rows.dtype not in INTEGER:
            raise DtypeError(f"update_rows needs a vector of integers that number rows, got {rows}")
        if any(t.shape not in ((), rows.shape) for t in numbers):
            raise ShapeError(f"update_rows needs numbers () or {rows.shape}, got {', '.join(map(str, numbers))}")
        whole, part = tables[0].shape, (*rows.shape, *tables[0].shape[1:])
        if any(t.shape != whole for t in tables) or any(t.shape != part for t in arrays) or not arrays:
            given = ", ".join(map(str, (*arrays, *tables)))
            raise ShapeError(f"update_rows needs tables of one shape and arrays {part}, got {given}")
        elements = tuple(TensorType((), t.dtype) for t in (*tables, *arrays, *numbers))
        made = self.body.output_types
        if self.body.input_types != elements or made[: self.tables] != elements[: self.tables]:
            raise ShapeError(f"the body of update_rows takes {self.body.input_types}, but is given {elements}")
        if any(t.shape for t in made):
            raise ShapeError(f"the body of update_rows must return numbers, it returns {made}")
        return (*tables, *(TensorType(part, t.dtype) for t in made[self.tables :]))

    def reference(self, *args: np.ndarray) -> list[np.ndarray]:
        rows, numbers, arrays, tables = self.divide(args)
        inside = (rows >= 0) & (rows < len(tables[0]))
        named = rows[inside].astype(np.int64)
        of_row = (-1, *[1] * (tables[0].ndim - 1))
        values = [*(t[named] for t in tables), *(a[inside] for a in arrays)]
        values += [n[inside].reshape(of_row) if n.ndim else n for n in numbers]
        made = elementwise(self.body, values)
        results = [t.copy() for t in tables]
        results += [np.zeros((len(rows), *tables[0].shape[1:]), x.dtype) for x in made[self.tables :]]
        for result, new, place in zip(
            results, made, [named] * self.tables + [inside] * (len(made) - self.tables), strict=True
        ):
            result[place] = new
        return results

    def composed(self, *args: Any) -> list[Any]:
        """The same by other operations."""
        rows, numbers, arrays, tables = self.divide(args)
        count, extent, row = rows.type.shape[0], tables[0].type.shape[0], tables[0].type.shape[1:]
        size, part = count * prod(row), (count, *row)

        def flat(x: Any) -> Any:
            return reshape(x if x.type.shape == part else broadcast_in_dim(x, part, (0,)), (size,))

        elements = [flat(x) for x in (*(read_rows(t, rows) for t in tables), *arrays)]
        values = [*elements, *(flat(n) if n.type.shape else n for n in numbers)]
        found, batched = batch_values(
            lambda *xs: apply_program(self.body, xs), size, values, [bool(v.type.shape) for v in values]
        )
        made = [reshape(x if b else repeat(x, size), part) for x, b in zip(found, batched, strict=True)]
        named = row_numbers(rows, extent)
        inside = broadcast_in_dim(lt(named, full_like(named, extent)), part, (0,))
        return [
            *(write_rows("set", t, rows, new, True) for t, new in zip(tables, made, strict=False)),
            *(select(inside, x, zeros_of(x.type)) for x in made[self.tables :]),
        ]

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return jvp_values(self.composed, primals, tangents)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return batch_values(self.composed, size, args, batched)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.int32)):
            element = TensorType((), dtype)
            body = trace_program(
                lambda x, y, g, a, c: [
                    add(mul(x, x), mul(y, c)), sub(mul(y, y), mul(a, a)), sub(add(mul(g, g), mul(c, c)), x)
                ],
                [element] * 5,
            )[0]  # fmt: skip
            for row in ((), (3,), (21,), (2, 35)):
                tables = [rng.integers(-9, 9, (6, *row)).astype(dtype) for _ in range(2)]
                for named in (np.array([1, 4, 9, -1, 5]), np.zeros(0, np.int32)):
                    array, numbers = (
                        rng.integers(-9, 9, (len(named), *row)).astype(dtype),
                        rng.integers(1, 5, len(named)),
                    )
                    yield UpdateRows(body, 2, 1), named, np.array(3, dtype), numbers.astype(dtype), array, *tables
