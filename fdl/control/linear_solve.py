"""Linear maps that are applied, or solved, by Programs of the user's choice."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.control.call import Call
from fdl.control.higher import Higher, check_operands, is_linear, nonzero, spread, take
from fdl.core.interpret import apply_program, interpret
from fdl.core.program import Program
from fdl.core.trace import trace_program
from fdl.core.types import TensorType
from fdl.errors import DifferentiationError
from fdl.ops.arithmetic import add, div, mul, sub
from fdl.ops.shape import all_batched, zeros_of
from fdl.transforms.batch import batch_program
from fdl.transforms.forward import jvp_program
from fdl.transforms.transpose import transpose_program


class LinearSolve(Higher):
    """The `x` with ``matvec(x) = b``, as `solve` finds it, and what `solve` returns besides.

    All Programs take `constants` values first, which are the operation's first operands. Derivatives follow from the
    equation: ``A dx = db - dA x``, and the transpose solves with the transpose of A.
    """

    linear = True
    matvec: Program
    solve: Program
    transpose_solve: Program | None
    constants: int
    symmetric: bool = False

    @property
    def inlined(self) -> Program:
        return self.solve

    @property
    def count(self) -> int:
        """How many values the unknown consists of."""
        return len(self.matvec.outputs)

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        check_operands(self, self.solve.input_types, types)
        check_operands(self, self.matvec.input_types[self.constants :], self.solve.output_types[: self.count])
        return self.solve.output_types

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return interpret(self.solve, arrays)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        constants, dots = primals[: self.constants], tangents[: self.constants]
        outs = self(*primals)
        solution, marks = outs[: self.count], nonzero(dots)
        right = [
            zeros_of(b.type) if d is None else d for b, d in zip(solution, tangents[self.constants :], strict=True)
        ]
        if any(marks):
            still = (False,) * self.count
            program, has = jvp_program(self.matvec, (*marks, *still), still)
            moved = spread(apply_program(program, [*constants, *solution, *take(dots, marks)])[self.count :], has)
            right = [b if m is None else sub(b, m) for b, m in zip(right, moved, strict=True)]
        found = self(*constants, *right)[: self.count]
        return outs, [*found, *[None] * (len(outs) - self.count)]

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        return (range(self.constants, len(types)),)

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        if self.transpose_solve is None:
            raise DifferentiationError(
                "custom_linear_solve was given no transpose_solve, which reverse mode needs: pass a function that "
                "solves with the transpose of matvec, or symmetric=True if it is its own transpose"
            )
        back = self.matvec  # what the solver inverts, also where the constants are not symmetric, as in a difference
        if not self.symmetric:
            marks = (False,) * self.constants + (True,) * self.count
            back, _ = transpose_program(self.matvec, marks, (True,) * self.count, instantiate=True, separate=True)
        types = self.matvec.output_types
        given = [zeros_of(t) if c is None else c for c, t in zip(cotangents, types, strict=False)]
        operation = LinearSolve(back, self.transpose_solve, self.solve, self.constants, self.symmetric)
        found = operation(*args[: self.constants], *given)[: self.count]
        linear = is_linear(args[self.constants :])
        return [None] * self.constants + [f if is_lin else None for f, is_lin in zip(found, linear, strict=True)]

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        flags = (*batched[: self.constants], *(True,) * self.count)

        def over_batch(program: Program) -> Program:
            every = (True,) * len(program.outputs)
            return batch_program(program, size, flags, every, axis_name)[0]

        back = None if self.transpose_solve is None else over_batch(self.transpose_solve)
        whole = over_batch(self.matvec), over_batch(self.solve), back
        operation = LinearSolve(*whole, self.constants, self.symmetric)
        right = all_batched(size, args[self.constants :], batched[self.constants :])
        return operation(*args[: self.constants], *right), (True,) * len(self.solve.outputs)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        scale, b = rng.normal(size=3) + 3.0, rng.normal(size=3)
        type = TensorType((3,), b.dtype)
        matvec = trace_program(lambda c, x: [mul(c, x)], [type, type])[0]
        solve = trace_program(lambda c, x: [div(x, c)], [type, type])[0]
        yield LinearSolve(matvec, solve, solve, 1), scale, b


class LinearCall(Higher):
    """A linear Program whose transpose is another one.

    Both take `residuals` values, in which they need not be linear, and then a linear operand.
    """

    linear = True
    program: Program
    transposed: Program
    residuals: int

    @property
    def inlined(self) -> Program:
        return self.program

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        check_operands(self, self.program.input_types, types)
        return self.program.output_types

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return interpret(self.program, arrays)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        known, marks = primals[: self.residuals], nonzero(tangents[: self.residuals])
        outs = self(*primals)
        dots = [
            zeros_of(p.type) if t is None else t
            for p, t in zip(primals[self.residuals :], tangents[self.residuals :], strict=True)
        ]
        found = list(self(*known, *dots))
        if any(marks):
            still, none = (False,) * len(dots), (False,) * len(outs)
            program, has = jvp_program(self.program, (*marks, *still), none)
            moved = spread(Call(program)(*primals, *take(tangents[: self.residuals], marks))[len(outs) :], has)
            found = [f if m is None else add(f, m) for f, m in zip(found, moved, strict=True)]
        return outs, found

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        return (range(self.residuals, len(types)),)

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        given = [zeros_of(t) if c is None else c for c, t in zip(cotangents, self.program.output_types, strict=True)]
        found = LinearCall(self.transposed, self.program, self.residuals)(*args[: self.residuals], *given)
        linear = is_linear(args[self.residuals :])
        return [None] * self.residuals + [f if is_lin else None for f, is_lin in zip(found, linear, strict=True)]

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        known = tuple(batched[: self.residuals])

        def over_batch(program: Program) -> Program:
            count, every = len(program.inputs) - self.residuals, (True,) * len(program.outputs)
            return batch_program(program, size, known + (True,) * count, every, axis_name)[0]

        operation = LinearCall(over_batch(self.program), over_batch(self.transposed), self.residuals)
        rest = all_batched(size, args[self.residuals :], batched[self.residuals :])
        return operation(*args[: self.residuals], *rest), (True,) * len(self.program.outputs)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        type = TensorType((3,), np.dtype(np.float64))
        program = trace_program(lambda c, x: [mul(c, x)], [type, type])[0]
        yield LinearCall(program, program, 1), rng.normal(size=3), rng.normal(size=3)
