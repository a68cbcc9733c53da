"""The body of a loop nest: what is computed for every index, before any code exists."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fdl.compile.ir.affine import Affine, Position, flatten, row_major, unflatten
from fdl.compile.ir.fusion import Copy
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Var
from fdl.core.types import DType
from fdl.ops.shape import IndexMap, Iota, Reshape
from fdl.ops.slicing import Pad

#: Conditions under which an index lies inside an operand: (index, extent), meaning 0 <= index < extent.
Guards = tuple[tuple[Affine, int], ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Element number `flat` of the stored value `var`, or anything at all where a guard does not hold."""

    var: Var
    flat: Affine
    guards: Guards


@dataclass(frozen=True, slots=True)
class Constant:
    """A number known now, as the bytes of one element."""

    data: bytes
    dtype: DType


@dataclass(frozen=True, slots=True)
class Index:
    """An index as a number."""

    value: Affine
    dtype: DType


@dataclass(frozen=True, slots=True)
class Choose:
    """Instruction `inside` where all guards hold, else `outside`."""

    guards: Guards
    inside: int
    outside: int
    dtype: DType


@dataclass(frozen=True, slots=True)
class Apply:
    """An elementwise operation on earlier instructions."""

    operation: Operation
    operands: tuple[int, ...]
    dtype: DType


Instruction = Load | Constant | Index | Choose | Apply


class NotAffine(Exception):
    """`var` has to be stored before it can be read in this way."""

    def __init__(self, var: Var) -> None:
        self.var = var


class Body:
    """Instructions, each once, in the order in which they can be computed.

    Args:
        extents: of the loops around it.
        inlined: the equation of a value that is computed where it is read, or None if it is stored.
    """

    def __init__(self, extents: tuple[int, ...], inlined: Callable[[Var], Equation | None]) -> None:
        self.extents, self.inlined = extents, inlined
        self.instructions: list[Instruction] = []
        self.local: dict[Var, int] = {}
        self.reduced: dict[Var, int] = {}
        self._numbers: dict[Instruction, int] = {}
        self._read: dict[tuple[Var, Position, Guards], int] = {}

    def place(self, shape: Sequence[int]) -> Position:
        """Where in an array of `shape` the iteration is, which has as many elements as there are iterations."""
        if 0 in shape:
            return tuple(self.index(0) for _ in shape)
        position = unflatten(row_major(self.extents), shape)
        assert position is not None, (self.extents, shape)
        return position

    def index(self, number: int) -> Affine:
        """A constant index."""
        return Affine(number, (0,) * len(self.extents), self.extents)

    def define(self, equation: Equation) -> int:
        """Compute the result of an elementwise or move equation for every iteration."""
        (var,) = equation.outputs
        self.local[var] = self.expand(equation, self.place(var.type.shape), ())
        return self.local[var]

    def read(self, atom: Atom, position: Position, guards: Guards = ()) -> int:
        """The instruction that makes the element of `atom` at `position`."""
        if isinstance(atom, Literal):
            return self.add(Constant(atom.value.tobytes(), atom.value.dtype))
        key = (atom, position, guards)
        if key not in self._read:
            self._read[key] = self._find(atom, position, guards)
        return self._read[key]

    def _find(self, var: Var, position: Position, guards: Guards) -> int:
        flat = flatten(position, var.type.shape, self.extents)
        if var in self.local and flat == row_major(self.extents):
            return self.local[var]
        equation = self.inlined(var)
        if equation is None:
            return self.add(Load(var, flat, guards))
        return self.expand(equation, position, guards, flat)

    def expand(self, equation: Equation, position: Position, guards: Guards, flat: Affine | None = None) -> int:
        """The instruction for the result of `equation` at `position`."""
        operation, inputs = equation.operation, equation.inputs
        if operation.lowering_kind == "elementwise":
            operands = tuple(self.read(a, position if a.type.shape else (), guards) for a in inputs)
            return self.add(Apply(operation, operands, equation.outputs[0].type.dtype))
        match operation:
            case Reshape():
                flat = flat or flatten(position, operation.shape, self.extents)
                return self._reshaped(inputs[0], flat, guards)
            case IndexMap():
                return self.read(inputs[0], tuple(operation.index_map(position, inputs[0].type)), guards)
            case Copy():
                return self.read(inputs[0], position, guards)
            case Iota():
                return self.add(Index(position[operation.axis], operation.dtype))
            case Pad():
                return self._padded(operation, inputs, position, guards)
        raise AssertionError(f"{operation!r} is not computed in loops")

    def _reshaped(self, x: Atom, flat: Affine, guards: Guards) -> int:
        """Element number `flat` of `x` in row-major order."""
        if isinstance(x, Literal):
            return self.read(x, ())
        if x in self.local and flat == row_major(self.extents):
            return self.local[x]
        equation = self.inlined(x)
        if equation is None:
            return self.add(Load(x, flat, guards))
        if isinstance(equation.operation, Reshape):
            return self._reshaped(equation.inputs[0], flat, guards)
        position = unflatten(flat, x.type.shape)
        if position is None:
            raise NotAffine(x)
        return self.read(x, position, guards)

    def _padded(self, operation: Pad, inputs: Sequence[Atom], position: Position, guards: Guards) -> int:
        x, filler = inputs
        if 0 in x.type.shape:
            return self.read(filler, ())
        inner = tuple(p + -low for p, low in zip(position, operation.low, strict=True))
        tests = []
        for index, extent in zip(inner, x.type.shape, strict=True):
            low, high = index.bounds()
            if low < 0 or high >= extent:
                tests.append((index, extent))
        if not tests:
            return self.read(x, inner, guards)
        inside = self.read(x, inner, guards + tuple(tests))
        return self.add(Choose(tuple(tests), inside, self.read(filler, ()), x.type.dtype))

    def add(self, instruction: Instruction) -> int:
        """The number of the instruction, which is appended if it is new."""
        if instruction not in self._numbers:
            self._numbers[instruction] = len(self.instructions)
            self.instructions.append(instruction)
        return self._numbers[instruction]

    def loads(self) -> list[Load]:
        """What is read from memory."""
        return [i for i in self.instructions if isinstance(i, Load)]
