"""Where a value of a Program got its dtype: for errors that name the line to change."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl.core.program import Atom, Equation, Literal, Program, subprograms
from fdl.core.trace import lift, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import is_inexact, short_name
from fdl.ops.convert import Convert

#: What the input of a number is, in words.
Describe = Callable[[int], str]

CAPTURED = "an array that the function closes over"


def described(captured: int, describe: Describe) -> Describe:
    """What the inputs of a recorded function are, the first `captured` of which it closes over."""
    return lambda number: CAPTURED if number < captured else describe(number - captured)


def dtype_origin(program: Program, place: int, describe: Describe) -> str:
    """What gave an output of a Program its dtype, as a sentence that names the operation and the user's line.

    That is the operation where a value of another dtype was converted because it met one of this dtype; else the one
    that made the first value of this dtype.

    Args:
        program: as it was recorded.
        place: the number of the output.
        describe: what the input of a number is.
    """
    return _Origins(program, program.output_types[place].dtype, describe).of(program.outputs[place])


def origin_of_result(function: Callable[..., Any], types: Sequence[TensorType], place: int) -> str:
    """The same for a result of a function that was called at once: it is recorded for this.

    Args:
        function: takes values of these types, and returns a sequence of values.
        types: of its arguments.
        place: the number of the result.
    """
    # Strong values: a weak one is no tracer of the Program, which would take it for an array of outside.
    program, captured = trace_program(lambda *values: [lift(v) for v in function(*values)], types)
    return dtype_origin(program, place, described(len(captured), lambda number: "an argument of the function"))


class _Origins:
    """The values of one dtype in a Program."""

    def __init__(self, program: Program, dtype: np.dtype, describe: Describe) -> None:
        self.program, self.dtype, self.describe = program, dtype, describe
        self.made: dict[Atom, Equation] = {var: e for e in program.equations for var in e.outputs}

    def of(self, output: Atom) -> str:
        """The sentence for one output."""
        chain = self.chain(output)
        computing = [e for e in chain if not isinstance(e.operation, Convert)]
        for equation in computing:
            operands = [(atom, self.before(atom)) for atom in equation.inputs if atom.type.dtype == self.dtype]
            narrow = [type for _, type in operands if type is not None]
            wide = [atom for atom, type in operands if type is None]
            if narrow and wide:
                other = self.unmoved(wide[0])
                met = f"where {narrow[0]} met {other.type}, {self.what(other, narrow[0])}"
                return f"{_named(equation)} made it {short_name(self.dtype)}, {met}"
            if len(set(narrow)) > 1:  # both were converted to a dtype that holds them
                return f"{_named(equation)} made it {short_name(self.dtype)}, where {narrow[0]} met {narrow[1]}"
        if not chain:
            return f"it is {self.what(output)}"
        first = (computing or chain)[0]
        given = next((atom for atom in first.inputs if atom.type.dtype == self.dtype), None)
        source = "" if given is None else f" from {given.type}, {self.what(given)}"
        return self.inside(first) or f"{_named(first)} made it {short_name(self.dtype)}{source}"

    def chain(self, output: Atom) -> list[Equation]:
        """The equations that an output follows from through values of the dtype, in their order."""
        found: set[Equation] = set()
        waiting = [output]
        while waiting:
            equation = self.made.get(waiting.pop())
            if equation is not None and equation not in found:
                found.add(equation)
                waiting += [atom for atom in equation.inputs if atom.type.dtype == self.dtype]
        return [equation for equation in self.program.equations if equation in found]

    def before(self, atom: Atom) -> TensorType | None:
        """The type that a value had before it was converted, if it has only been moved since; else None."""
        equation = self.made.get(self.unmoved(atom))
        return equation.inputs[0].type if equation and isinstance(equation.operation, Convert) else None

    def unmoved(self, atom: Atom) -> Atom:
        """The value that a value was before its elements were moved."""
        while (equation := self.made.get(atom)) is not None and equation.operation.lowering_kind == "move":
            if not equation.inputs:
                break
            atom = equation.inputs[0]
        return atom

    def inside(self, equation: Equation) -> str:
        """The sentence for a Program that an equation holds and whose outputs are its own."""
        place = next(n for n, var in enumerate(equation.outputs) if var.type.dtype == self.dtype)
        programs = [p for p in subprograms(equation.operation) if len(p.outputs) == len(equation.outputs)]
        inner = next((p for p in programs if p.output_types[place].dtype == self.dtype), None)
        if inner is None:
            return ""
        operands = equation.inputs if len(inner.inputs) == len(equation.inputs) else ()
        return dtype_origin(inner, place, lambda n: self.what(operands[n]) if operands else "an operand")

    def what(self, atom: Atom, met: TensorType | None = None) -> str:
        """What a value is, in words; `met` is the type of the operand that it widened."""
        if isinstance(atom, Literal):
            if met is not None and not is_inexact(met.dtype) and is_inexact(atom.type.dtype):
                return f"the number {atom.value.item()!r}"  # a Python number widens integers as well
            return f"an array without axes, {atom.value.item()!r}"
        if atom in self.made:
            return f"made by {_named(self.made[atom])}"
        return self.describe(self.program.inputs.index(atom)) if atom in self.program.inputs else CAPTURED


def _named(equation: Equation) -> str:
    return f"{equation.operation.name} at {equation.source}" if equation.source else equation.operation.name
