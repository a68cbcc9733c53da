"""Replay: steps that rows of tables have missed, made up for when the rows are needed."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.control.scan import Scan
from fdl.core.interpret import evaluate
from fdl.core.primitive import Primitive
from fdl.core.program import Literal, Program
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.dtypes import INTEGER, int32, is_inexact
from fdl.errors import DifferentiationError, DtypeError, ShapeError
from fdl.ops.arithmetic import add, mul
from fdl.ops.shape import all_batched


class Replay(Primitive):
    """Brings rows of tables up to date: each that is named runs `body` once for every step that it has missed.

    Operands are the numbers of rows, (k,), where several may be the same and those out of bounds are left out; the
    number of steps that each row of the tables has seen, (n,) int32; the number of steps so far, () int32; what `body`
    needs of a step, arrays (steps,), where step s has its place at ``s % steps``; and the tables, each (n, ...).
    Results are the steps that the rows have seen now, and the tables. `body` takes an element of each table and the
    numbers of a step, and returns the elements of the tables. A row that has missed more steps than are kept becomes
    NaN.
    """

    lowering_kind = "kernel"
    multiple = True
    compile_eagerly = True
    body: Program
    tables: int

    def divide(self, args: Sequence[Any]) -> tuple[Any, Any, Any, Sequence[Any], Sequence[Any]]:
        """Numbers of rows, steps seen, steps so far, numbers of each step, tables."""
        rows, seen, count, *rest = args
        return rows, seen, count, rest[: len(rest) - self.tables], rest[len(rest) - self.tables :]

    def overwritten(self, output: int, operands: int) -> int:
        """The number of the operand in whose memory an output may be made."""
        return 1 if output == 0 else operands - self.tables + output - 1

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        rows, seen, count, numbers, tables = self.divide(types)
        if rows.ndim != 1 or rows.dtype not in INTEGER or seen.dtype != int32 or count != TensorType((), int32):
            raise DtypeError(f"replay needs integers of rows and int32 counts, got {rows}, {seen} and {count}")
        if len({t.shape for t in numbers}) > 1 or any(t.ndim != 1 for t in numbers):
            raise ShapeError(f"replay needs as many numbers for every step, got {', '.join(map(str, numbers))}")
        if any(t.shape != tables[0].shape or t.shape[:1] != seen.shape for t in tables):
            raise ShapeError(f"replay needs tables of one shape and {seen} steps, got {', '.join(map(str, tables))}")
        elements = tuple(TensorType((), t.dtype) for t in (*tables, *numbers))
        if self.body.input_types != elements or self.body.output_types != elements[: self.tables]:
            raise ShapeError(f"the body of replay takes {self.body.input_types}, but is given {elements}")
        return (seen, *tables)

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        rows, seen, count, numbers, tables = self.divide(arrays)
        kept = len(numbers[0]) if numbers else np.inf
        rows = np.unique(rows)
        rows = rows[(rows >= 0) & (rows < len(seen))].astype(np.int64)
        rows = rows[seen[rows] < count]
        late = count.astype(np.int64) - seen[rows] > kept
        tables = [t.copy() for t in tables]
        for table in tables:
            if is_inexact(table.dtype):
                table[rows[late]] = np.nan
        live = rows[~late]
        for step in range(min(seen[live], default=count), int(count)):
            active = live[seen[live] <= step]
            outs = elementwise(self.body, [*(t[active] for t in tables), *(n[step % kept] for n in numbers)])
            for table, out in zip(tables, outs, strict=True):
                table[active] = out
        seen = seen.copy()
        seen[rows] = count
        return [seen, *tables]

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        raise DifferentiationError(
            "steps of an optimizer that are made up for have no derivative; call catch_up outside of the function that "
            "is differentiated"
        )

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        args = all_batched(size, args, batched)
        types = [a.type.with_shape(a.type.shape[1:]) for a in args]
        program, _ = trace_program(lambda *one: list(self(*one)), types)
        return Scan(program, size)(*args), (True,) * (self.tables + 1)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in (np.dtype(np.float32), np.dtype(np.int32)):
            element = TensorType((), dtype)
            body = trace_program(lambda x, y, a: [add(x, y), mul(y, a)], [element] * 3)[0]
            for row in ((), (3,), (21,), (2, 5)):
                tables = [rng.integers(-9, 9, (6, *row)).astype(dtype) for _ in range(2)]
                seen, rate = rng.integers(0, 6, 6).astype(np.int32), rng.integers(1, 3, 4).astype(dtype)
                named = np.array([1, 4, 1, 9, -1, 5])
                yield Replay(body, 2), named, seen, np.array(5, np.int32), rate, *tables
            yield Replay(body, 2), np.zeros(0, np.int32), seen, np.array(5, np.int32), rate, *tables


def elementwise(program: Program, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A Program of scalars on whole arrays."""
    environment: dict[Any, Any] = dict(program.constants) | dict(zip(program.inputs, arrays, strict=True))

    def read(atom: Any) -> np.ndarray:
        return atom.value if isinstance(atom, Literal) else environment[atom]

    for equation in program.equations:
        operands = [read(a) for a in equation.inputs]
        # What else a Program of scalars holds changes no number: broadcasts and reshapes to a scalar.
        made = evaluate(equation.operation, operands) if equation.operation.lowering_kind == "elementwise" else operands
        environment.update(zip(equation.outputs, made, strict=True))
    shape = np.shape(arrays[0])
    return [np.broadcast_to(read(a), shape) for a in program.outputs]
