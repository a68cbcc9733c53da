"""Programs over rows: elementwise functions, sums and extrema along the last axes, for rows of any number and length.

An array is taken as rows of elements: all leading axes together count rows, all trailing ones together the elements of
a row. A value may vary from row to row, along a row, in both ways or not at all. Where all operations of a Program
agree on such a division, extents are arguments of its machine code instead of constants in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from fdl.array import LARGE
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.types import DType, NumPyArray, TensorType
from fdl.dtypes import bfloat16, float16, float32
from fdl.ops.reduce import ReduceMax, ReduceMin
from fdl.ops.shape import BroadcastInDim, Reshape, Sum


def _is_reduced(dtype: DType) -> bool:
    """Whether rows of a dtype are reduced here; NumPy adds float64 up in pairs, which loses less."""
    return dtype in (float32, bfloat16, float16) or dtype.kind in "iu"


@dataclass(frozen=True)
class Kind:
    """How a value varies, and its dtype."""

    rows: bool
    columns: bool
    dtype: DType


@dataclass(frozen=True)
class Step:
    """An operation on values, by number; a reduction (of one value) ends its variation along the row."""

    operation: Operation
    operands: tuple[int, ...]
    kind: Kind

    @property
    def reduces(self) -> bool:
        """Whether it is a reduction."""
        return self.operation.lowering_kind == "reduce"


@dataclass(frozen=True)
class RowProgram:
    """What to compute for each row, without extents.

    Attributes:
        inputs: kinds of the values that are read; they have the first numbers.
        steps: values that are computed, numbered from there on.
        outputs: numbers of the results.
    """

    inputs: tuple[Kind, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def kind(self, number: int) -> Kind:
        """The kind of a value."""
        count = len(self.inputs)
        return self.inputs[number] if number < count else self.steps[number - count].kind


@dataclass(frozen=True)
class RowLayout:
    """A Program as rows.

    Attributes:
        program: what is computed.
        rows, columns: the extents.
        given: numbers of the Program's inputs that are read, in the order of the first of `program.inputs`.
        constants: the arrays of the inputs after them.
    """

    program: RowProgram
    rows: int
    columns: int
    given: tuple[int, ...]
    constants: tuple[NumPyArray, ...]


class _OtherwiseError(Exception):
    """The Program is not one over rows, divided in this way."""


def rows_of(program: Program) -> RowLayout | None:
    """A Program as one over rows; None if it is none."""
    reductions = [e for e in program.equations if isinstance(e.operation, (Sum, ReduceMax, ReduceMin))]
    types = [v.type for e in program.equations for v in e.outputs]
    if not types:
        return None
    shape = reductions[0].inputs[0].type.shape if reductions else max(types, key=lambda t: t.size).shape
    divisions = [len(shape) - len(reductions[0].operation.axes)] if reductions else range(len(shape) + 1)  # type: ignore[attr-defined]
    for leading in divisions:
        try:
            return _Division(program, shape, leading).rows()
        except _OtherwiseError:
            continue
    return None


class _Division:
    """One way to take a Program as rows: the first `leading` axes of the full shape count rows."""

    def __init__(self, program: Program, shape: tuple[int, ...], leading: int) -> None:
        self.program, self.shape, self.leading = program, shape, leading
        ones = (1,) * (len(shape) - leading)
        self.row_shapes = (shape[:leading], shape[:leading] + ones) if leading else ()
        self.column_shapes = (shape[leading:], (1,) * leading + shape[leading:])
        self.kinds: dict[Atom, tuple[bool, bool]] = {}

    def rows(self) -> RowLayout:
        """The Program; raises `_OtherwiseError`."""
        for atom in (*self.program.inputs, *(var for var, _ in self.program.constants)):
            self.kinds[atom] = self.of_input(atom)
        for equation in self.program.equations:
            (out,) = equation.outputs if len(equation.outputs) == 1 else (None,)
            if out is None:
                raise _OtherwiseError
            self.kinds[out] = self.of_result(equation)
        return self.written()

    def require(self, condition: bool) -> None:
        if not condition:
            raise _OtherwiseError

    def of_input(self, var: Var) -> tuple[bool, bool]:
        """How an input varies."""
        shape = var.type.shape
        if shape == self.shape:
            return self.leading > 0, True
        if var.type.size == 1:
            return False, False
        rows, columns = shape in self.row_shapes, shape in self.column_shapes
        self.require(rows or columns)
        if rows and columns:  # a square; what becomes of it tells
            return self._repeated(var)
        return rows, columns

    def _repeated(self, var: Var) -> tuple[bool, bool]:
        for equation in self.program.equations:
            if var in equation.inputs and isinstance(equation.operation, BroadcastInDim):
                rows = equation.operation.axes == tuple(range(self.leading))
                return rows, not rows
        return True, False

    def of_atom(self, atom: Atom) -> tuple[bool, bool]:
        return (False, False) if isinstance(atom, Literal) else self.kinds[atom]

    def of_result(self, equation: Equation) -> tuple[bool, bool]:
        """How the result of an equation varies."""
        operation, out = equation.operation, equation.outputs[0].type
        kinds = [self.of_atom(a) for a in equation.inputs]
        if isinstance(operation, BroadcastInDim):
            self.of_broadcast(operation, equation.inputs[0].type.shape, kinds[0])
            return kinds[0]
        if isinstance(operation, Reshape):
            if kinds[0] == (False, False):
                self.require(equation.inputs[0].type.size == 1)
            elif kinds[0] == (True, False):
                self.require(out.shape in self.row_shapes)
            elif kinds[0] == (False, True) and self.leading:
                self.require(out.shape in self.column_shapes)
            else:
                self.require(out.shape == self.shape or not self.leading)
            return kinds[0]
        if isinstance(operation, (Sum, ReduceMax, ReduceMin)):
            source = equation.inputs[0].type
            self.require(kinds[0] == (self.leading > 0, True) and _is_reduced(source.dtype))
            self.require(source.shape == self.shape and operation.axes == tuple(range(self.leading, len(self.shape))))
            return self.leading > 0, False
        self.require(operation.lowering_kind == "elementwise" and type(operation).__module__.startswith("fdl.ops."))
        return any(rows for rows, _ in kinds), any(columns for _, columns in kinds)

    def of_broadcast(self, operation: BroadcastInDim, source: tuple[int, ...], kind: tuple[bool, bool]) -> None:
        """Raise if a value that varies is repeated in another way than its kind says."""
        if kind == (False, False):
            return
        every = tuple(range(len(operation.shape)))
        here = every == operation.axes
        if kind == (True, False) and len(source) == self.leading:
            here = operation.axes == tuple(range(self.leading))
        elif kind == (False, True) and source == self.shape[self.leading :]:
            here = operation.axes == every[self.leading :]
        self.require(here and (operation.shape == self.shape or (kind == (True, False) and self._is_row(operation))))

    def _is_row(self, operation: BroadcastInDim) -> bool:
        return operation.shape in self.row_shapes

    def written(self) -> RowLayout:
        """The Program without extents, and without what nothing depends on."""
        made = {e.outputs[0]: e for e in self.program.equations}
        known = dict(self.program.constants)
        needed = self._needed(made)
        given = [n for n, var in enumerate(self.program.inputs) if var in needed]
        numbers: dict[Atom, int] = {self.program.inputs[n]: place for place, n in enumerate(given)}
        inputs = [self._kind(self.program.inputs[n]) for n in given]
        constants: list[NumPyArray] = []
        for atom in needed:
            if isinstance(atom, Literal) or atom in known:
                numbers[atom] = len(inputs)
                inputs.append(self._kind(atom))
                constants.append(np.ascontiguousarray(atom.value if isinstance(atom, Literal) else known[atom]))
        steps: list[Step] = []
        for equation in self.program.equations:
            out, operation = equation.outputs[0], equation.operation
            if out not in needed:
                continue
            operands = tuple([numbers[a] for a in equation.inputs])
            if isinstance(operation, (BroadcastInDim, Reshape)):
                numbers[out] = operands[0]
                continue
            if operation.lowering_kind == "reduce":
                operation = type(operation)((0,))  # type: ignore[call-arg]
            numbers[out] = len(inputs) + len(steps)
            steps.append(Step(operation, operands, self._kind(out)))
        self._check_outputs(numbers, len(inputs))
        program = RowProgram(tuple(inputs), tuple(steps), tuple([numbers[v] for v in self.program.outputs]))
        extents = prod(self.shape[: self.leading]), prod(self.shape[self.leading :])
        return RowLayout(program, *extents, tuple(given), tuple(constants))

    def _needed(self, made: dict[Var, Equation]) -> dict[Atom, None]:
        needed: dict[Atom, None] = {}
        stack: list[Atom] = list(self.program.outputs)
        while stack:
            atom = stack.pop()
            if atom not in needed:
                needed[atom] = None
                stack += made[atom].inputs if isinstance(atom, Var) and atom in made else ()
        return needed

    def _kind(self, atom: Atom) -> Kind:
        return Kind(*self.of_atom(atom), atom.type.dtype)

    def _check_outputs(self, numbers: dict[Atom, int], first: int) -> None:
        """Raise unless results are computed, and have memory of the form that their kind says."""
        for out in self.program.outputs:
            self.require(numbers[out] >= first)
            rows, columns = self.of_atom(out)
            extent = prod(self.shape[: self.leading]) if rows or columns else 1
            self.require(not columns or rows == (self.leading > 0))
            self.require(out.type.size == (prod(self.shape) if columns else extent))


def is_worth_it(rows: RowLayout, least: int) -> bool:
    """Whether machine code is faster than NumPy: there are functions that NumPy computes slowly, or sums, or several
    operations in one pass, of arrays of at least so many elements; or the result is large and takes memory of the pool,
    where NumPy would ask the operating system for it."""
    program, count = rows.program, rows.rows * rows.columns
    if count < least:
        return False
    if len(program.steps) > 1 or any(count * program.kind(n).dtype.itemsize >= LARGE for n in program.outputs):
        return True
    return any(not s.operation.exact or s.reduces or _is_slow(program, s) for s in program.steps)


def _is_slow(program: RowProgram, step: Step) -> bool:
    """Whether NumPy takes long for an operation that has the same bits in machine code."""
    return step.operation.prefers_native(*[TensorType((1,), program.kind(n).dtype) for n in step.operands])


def stages(program: RowProgram) -> Sequence[int]:
    """For each value the pass over its row in which, or before which, it can be computed; reductions end passes."""
    found = [0] * len(program.inputs)
    for step in program.steps:
        found.append(max([found[o] for o in step.operands], default=0) + step.reduces)
    return found


def stored_values(program: RowProgram) -> list[int]:
    """Values that are kept from one pass over a row to a later one, because they take long to compute."""
    stage, found = stages(program), []
    for number, step in enumerate(program.steps, len(program.inputs)):
        later = any(
            number in other.operands and stage[n] - other.reduces > stage[number]
            for n, other in enumerate(program.steps, len(program.inputs))
        )
        if later and step.kind.columns and not step.reduces and not step.operation.exact:
            found.append(number)
    return found
