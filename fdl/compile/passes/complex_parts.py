"""Arithmetic of complex64 by parts, so that it is native code in the loops around it.

A complex64 moves through registers as 64 bits, which have no arithmetic; the real and the imaginary part do. Numbers of
complex128 are wider than a register that moves elements, and are left to NumPy.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.dtypes import complex64, float32
from fdl.ops.arithmetic import Abs, Sub
from fdl.ops.complex import Complex, Conj, Imag, Real
from fdl.ops.convert import Convert
from fdl.ops.elementwise import Add, Mul, Neg
from fdl.ops.shape import BroadcastInDim, Sum
from fdl.ops.transcendental import Hypot

Parts = tuple[Atom, Atom]


class Emit(Protocol):
    """Gives what an operation makes of atoms."""

    def __call__(self, operation: Operation, *inputs: Atom) -> Atom: ...


def complex_parts(program: Program) -> Program:
    """A Program in which the arithmetic of complex64 is that of real and imaginary parts."""
    equations = [e for equation in program.equations for e in _visit(equation)]
    return Program(program.inputs, tuple(equations), program.outputs, program.constants)


def _visit(equation: Equation) -> list[Equation]:
    rule = _RULES.get(type(equation.operation))
    if rule is None or complex64 not in (equation.inputs[0].type.dtype, equation.outputs[0].type.dtype):
        return [equation]
    made: list[Equation] = []

    def apply(operation: Operation, *inputs: Atom) -> Atom:
        out = Var(operation.result(*(a.type for a in inputs)))
        made.append(Equation(operation, inputs, (out,), equation.source, equation.scope))
        return out

    operation = rule(equation.operation, apply, equation.inputs)
    if operation is None:
        return [equation]
    last, inputs = operation
    return [*made, Equation(last, inputs, equation.outputs, equation.source, equation.scope)]


def _parts(apply: Emit, x: Atom) -> Parts:
    if isinstance(x, Literal):
        return Literal(x.value.real.copy()), Literal(x.value.imag.copy())
    return apply(Real(), x), apply(Imag(), x)


#: Of (operation, apply, operands): the last operation and its operands; None leaves the equation as it is.
_Rule = Callable[[Operation, Emit, Sequence[Atom]], tuple[Operation, tuple[Atom, ...]] | None]


def _by_parts(operation: Operation, apply: Emit, operands: Sequence[Atom]) -> tuple[Operation, tuple[Atom, ...]]:
    """An operation that works on each part alone."""
    parts = zip(*(_parts(apply, x) for x in operands), strict=True)
    return Complex(), tuple(apply(operation, *part) for part in parts)


def _product(operation: Operation, apply: Emit, operands: Sequence[Atom]) -> tuple[Operation, tuple[Atom, ...]]:
    (a, b), (c, d) = (_parts(apply, x) for x in operands)
    real = apply(Sub(), apply(operation, a, c), apply(operation, b, d))
    return Complex(), (real, apply(Add(), apply(operation, a, d), apply(operation, b, c)))


def _conjugate(operation: Operation, apply: Emit, operands: Sequence[Atom]) -> tuple[Operation, tuple[Atom, ...]]:
    real, imag = _parts(apply, operands[0])
    return Complex(), (real, apply(Neg(), imag))


def _modulus(operation: Operation, apply: Emit, operands: Sequence[Atom]) -> tuple[Operation, tuple[Atom, ...]]:
    return Hypot(), _parts(apply, operands[0])


def _conversion(
    operation: Operation, apply: Emit, operands: Sequence[Atom]
) -> tuple[Operation, tuple[Atom, ...]] | None:
    (x,) = operands
    if x.type.dtype != float32:
        return None
    return Complex(), (x, apply(BroadcastInDim(x.type.shape, ()), Literal(np.zeros((), float32))))


_RULES: dict[type[Operation], _Rule] = {
    Add: _by_parts,
    Sub: _by_parts,
    Neg: _by_parts,
    Sum: _by_parts,
    Mul: _product,
    Conj: _conjugate,
    Abs: _modulus,
    Convert: _conversion,
}
