"""Simplification: constants, algebra that is exact, equal equations once, nothing that is not needed."""

from collections.abc import Hashable, Iterator
from dataclasses import replace

import numpy as np

from fdl.compile.llvm.target import host_target
from fdl.compile.passes.unused import narrow
from fdl.core.interpret import evaluate
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.rewrite import eliminate_dead
from fdl.core.types import NumPyArray
from fdl.ops.arithmetic import Div, StopGradient, Sub
from fdl.ops.complex import Complex, Imag, Part
from fdl.ops.elementwise import Add, Mul, Neg
from fdl.ops.select import Gate
from fdl.ops.shape import BroadcastInDim, Reduction, Reshape, Transpose


def simplify(program: Program) -> Program:
    """A Program of the same results, bit for bit, with fewer equations."""
    return narrow(eliminate_dead(_Simplifier(program).run()))


class _Simplifier:
    def __init__(self, program: Program) -> None:
        self.program, self.folded_bytes = program, host_target().tuning.folded_bytes
        self.names: dict[Var, Atom] = {v: v for v in program.inputs}
        self.values: dict[Var, NumPyArray] = {}
        self.makers: dict[Var, Equation] = {}
        #: What has been made already, by all that decides its value.
        self.known: dict[tuple[Hashable, ...], tuple[Var, ...]] = {}
        for var, value in program.constants:
            self.names[var] = self.constant(value, var)

    def run(self) -> Program:
        equations = [e for equation in self.program.equations for e in self.visit(equation)]
        outputs = tuple(self.rename(a) for a in self.program.outputs)
        return Program(self.program.inputs, tuple(equations), outputs, tuple(self.values.items()))

    def rename(self, atom: Atom) -> Atom:
        return atom if isinstance(atom, Literal) else self.names[atom]

    def constant(self, value: NumPyArray, var: Var) -> Atom:
        """The atom of a value known now; equal ones share it."""
        if value.shape == ():
            return Literal(value)
        key = ("constant", value.shape, value.dtype, value.tobytes())
        if key not in self.known:
            self.known[key] = (var,)
            self.values[var] = value
        return self.known[key][0]

    def visit(self, equation: Equation) -> Iterator[Equation]:
        inputs = tuple(self.rename(a) for a in equation.inputs)
        equation = Equation(equation.operation, inputs, equation.outputs, equation.source, equation.scope)
        if equation.operation.effect:
            self.names.update((v, v) for v in equation.outputs)
            yield equation
            return
        if self.fold(equation):
            return
        short = self.shorten(self.uniform(equation))
        if not isinstance(short, Equation):
            self.names[equation.outputs[0]] = short
            return
        key = (short.operation, tuple(_key(a) for a in short.inputs), short.scope)
        if key in self.known:
            self.names.update(zip(short.outputs, self.known[key], strict=True))
            return
        self.known[key] = short.outputs
        for var in short.outputs:
            self.names[var] = var
            self.makers[var] = short
        yield short

    def fold(self, equation: Equation) -> bool:
        """Compute the equation now if all it reads is known, and small."""
        operation = equation.operation
        if operation.lowering_kind in ("host", "control", "random") or isinstance(operation, BroadcastInDim):
            return False
        if (
            not equation.inputs
            or sum(v.type.size * v.type.dtype.itemsize for v in equation.outputs) > self.folded_bytes
        ):
            return False
        operands = [a.value if isinstance(a, Literal) else self.values.get(a) for a in equation.inputs]
        known = [o for o in operands if o is not None and o.nbytes <= self.folded_bytes]
        if len(known) < len(operands):
            return False
        for var, value in zip(equation.outputs, evaluate(operation, known), strict=True):
            self.names[var] = self.constant(np.asarray(value), var)
        return True

    def uniform(self, equation: Equation) -> Equation:
        """The equation; a broadcast of one number if it is elementwise and each operand is known to be one."""
        operation, operands = equation.operation, [self.number(a) for a in equation.inputs]
        known = [o for o in operands if o is not None]
        if operation.lowering_kind != "elementwise" or len(known) < len(operands) or len(equation.outputs) != 1:
            return equation
        type = equation.outputs[0].type
        (value,) = evaluate(operation, known)
        if not known or not type.shape or np.shape(value) != ():
            return equation
        return replace(equation, operation=BroadcastInDim(type.shape, ()), inputs=(Literal(np.asarray(value)),))

    def number(self, atom: Atom) -> NumPyArray | None:
        """The number that all elements of an atom are known to be."""
        if isinstance(atom, Literal):
            return atom.value if atom.value.shape == () else None
        maker = self.makers.get(atom)
        broadcast = maker is not None and isinstance(maker.operation, BroadcastInDim)
        return self.number(maker.inputs[0]) if maker is not None and broadcast else None

    def shorten(self, equation: Equation) -> Equation | Atom:
        """An equal equation or atom that costs less."""
        operation = equation.operation
        if isinstance(operation, (Add, Sub, Mul, Div)):
            return self.arithmetic(equation)
        if isinstance(operation, (StopGradient, Gate)):
            return equation.inputs[-1]
        if isinstance(operation, Reduction) and all(equation.inputs[0].type.shape[a] == 1 for a in operation.axes):
            return self.shorten(replace(equation, operation=Reshape(equation.outputs[0].type.shape)))
        if isinstance(operation, Part):
            before = self.makers.get(equation.inputs[0]) if isinstance(equation.inputs[0], Var) else None
            if before is not None and before.scope == equation.scope and isinstance(before.operation, Complex):
                return before.inputs[isinstance(operation, Imag)]
        if isinstance(operation, (Neg, BroadcastInDim, Reshape, Transpose)):
            (x,) = equation.inputs
            if not isinstance(operation, Neg) and _is_identity(operation, x.type.shape):
                return x
            before = self.makers.get(x) if isinstance(x, Var) else None
            if before is not None and before.scope == equation.scope and type(before.operation) is type(operation):
                return self.twice(before, equation)
        return equation

    def twice(self, before: Equation, equation: Equation) -> Equation | Atom:
        """One equation for two of a kind that follow each other."""
        (x,) = before.inputs
        merged: Reshape | Transpose | BroadcastInDim
        match before.operation, equation.operation:
            case Reshape(), Reshape() as second:
                merged = second
            case Transpose() as first, Transpose() as second:
                merged = Transpose(tuple(first.axes[a] for a in second.axes))
            case BroadcastInDim() as first, BroadcastInDim() as second:
                merged = BroadcastInDim(second.shape, tuple(second.axes[a] for a in first.axes))
            case _:  # two negations
                return x
        return x if _is_identity(merged, x.type.shape) else replace(equation, operation=merged, inputs=(x,))

    def arithmetic(self, equation: Equation) -> Equation | Atom:
        x, y = equation.inputs
        kind = type(equation.operation)
        if kind in (Mul, Div) and self.is_all(y, 1):
            return x
        if kind is Mul and self.is_all(x, 1):
            return y
        # -0.0 is what floating-point addition leaves alone: -0.0 + 0.0 is 0.0.
        nothing = -0.0 if x.type.dtype.kind not in "iub" else 0
        if (kind is Add and self.is_all(y, nothing)) or (kind is Sub and self.is_all(y, 0)):
            return x
        return y if kind is Add and self.is_all(x, nothing) else equation

    def is_all(self, atom: Atom, number: float) -> bool:
        """Whether every element of `atom` is known to be `number`, sign of zero included."""
        while isinstance(atom, Var):
            maker = self.makers.get(atom)
            if maker is None or not isinstance(maker.operation, (BroadcastInDim, Reshape)):
                return False
            atom = maker.inputs[0]
        if atom.value.dtype.kind not in "iub" and atom.value.dtype.kind != "f":
            return False
        return bool(atom.value == number) and (number != 0 or bool(np.signbit(atom.value) == np.signbit(number)))


def _key(atom: Atom) -> Hashable:
    return (atom.value.dtype, atom.value.tobytes()) if isinstance(atom, Literal) else atom


def _is_identity(operation: Reshape | Transpose | BroadcastInDim, shape: tuple[int, ...]) -> bool:
    if isinstance(operation, Transpose):
        return operation.axes == tuple(range(len(shape)))
    return operation.shape == shape
