"""Typed registers: what a value of some dtype is in LLVM, in a register and in memory."""

from dataclasses import dataclass
from typing import Protocol, Union

from llvmlite import ir

from fdl.core.types import DType
from fdl.dtypes import bfloat16, bool_, complex64, float16, float32, float64, key, uint64
from fdl.errors import DtypeError

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
POINTER = ir.PointerType()

#: Floats that are stored in 16 bits and computed in float32, rounded after every operation.
HALVES = (float16, bfloat16)

Operand = Union["Value", int, float, bool]


def register_type(dtype: DType) -> ir.Type:
    """The LLVM type of one element of `dtype` in a register.

    Raises:
        DtypeError: there is no register form (complex numbers, random keys).
    """
    if dtype == bool_:
        return I1
    if dtype.kind in "iu":
        return ir.IntType(dtype.itemsize * 8)
    if dtype == float64:
        return ir.DoubleType()
    if dtype == float32 or dtype in HALVES:
        return ir.FloatType()
    raise DtypeError(f"generated code has no register for dtype {dtype}")


def memory_type(dtype: DType) -> ir.Type:
    """The LLVM type of one element of `dtype` in memory."""
    if dtype == bool_:
        return I8
    return I16 if dtype in HALVES else register_type(dtype)


def transport_dtype(dtype: DType) -> DType | None:
    """The dtype of the register that moves an element of `dtype`; None if there is none that wide."""
    if dtype in (complex64, key):
        return uint64
    return None if dtype.kind in "cV" and dtype.itemsize != 2 else dtype


def wide(element: ir.Type, lanes: int) -> ir.Type:
    """`element` itself for one lane, otherwise the vector of `lanes`."""
    return element if lanes == 1 else ir.VectorType(element, lanes)


class _Word(ir.Constant):
    """A constant whose text is one word of LLVM's, where llvmlite writes each lane."""

    def __init__(self, kind: ir.Type, content: object, word: str) -> None:
        super().__init__(kind, content)
        self._word = word

    def _get_reference(self) -> str:
        return self._word


def zeros(kind: ir.Type) -> ir.Constant:
    """A vector of zeros; floats are +0.0."""
    return _Word(kind, [0] * kind.count, "zeroinitializer")


def undefined(kind: ir.Type) -> ir.Constant:
    """A value that nothing reads."""
    return _Word(kind, ir.Undefined, "undef")


def is_float(dtype: DType) -> bool:
    """Whether `dtype` computes in floating point."""
    return dtype in (float32, float64) or dtype in HALVES


def is_signed(dtype: DType) -> bool:
    """Whether `dtype` is a signed integer."""
    return dtype.kind == "i"


class Emitter(Protocol):
    """What a register's operators emit code with; see `Build`."""

    def add(self, x: Operand, y: Operand) -> "Value": ...
    def sub(self, x: Operand, y: Operand) -> "Value": ...
    def mul(self, x: Operand, y: Operand) -> "Value": ...
    def div(self, x: Operand, y: Operand) -> "Value": ...
    def and_(self, x: Operand, y: Operand) -> "Value": ...
    def or_(self, x: Operand, y: Operand) -> "Value": ...
    def xor(self, x: Operand, y: Operand) -> "Value": ...
    def lt(self, x: Operand, y: Operand) -> "Value": ...
    def le(self, x: Operand, y: Operand) -> "Value": ...
    def gt(self, x: Operand, y: Operand) -> "Value": ...
    def ge(self, x: Operand, y: Operand) -> "Value": ...
    def neg(self, x: Operand) -> "Value": ...
    def not_(self, x: Operand) -> "Value": ...
    def shift_left(self, x: Operand, y: Operand) -> "Value": ...
    def shift_right_logical(self, x: Operand, y: Operand) -> "Value": ...
    def select(self, condition: "Value", x: Operand, y: Operand) -> "Value": ...


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """A register: one element of `dtype`, or a vector of `lanes` of them.

    Arithmetic operators emit code through the `build` that made the value; the other operand may be a Python number,
    and a single element meets a vector by being copied to every lane.

    Attributes:
        ir: LLVM's register.
        dtype: what it holds; 16-bit floats are float32 registers whose numbers are of that dtype.
        lanes: how many.
        build: what made it.
        low_zero: whether it is bfloat16 and the lower half of every lane is known to be 0.
    """

    ir: ir.Value
    dtype: DType
    lanes: int
    build: Emitter
    low_zero: bool = False

    def __add__(self, other: Operand) -> "Value":
        return self.build.add(self, other)

    def __radd__(self, other: Operand) -> "Value":
        return self.build.add(other, self)

    def __sub__(self, other: Operand) -> "Value":
        return self.build.sub(self, other)

    def __rsub__(self, other: Operand) -> "Value":
        return self.build.sub(other, self)

    def __mul__(self, other: Operand) -> "Value":
        return self.build.mul(self, other)

    def __rmul__(self, other: Operand) -> "Value":
        return self.build.mul(other, self)

    def __truediv__(self, other: Operand) -> "Value":
        return self.build.div(self, other)

    def __rtruediv__(self, other: Operand) -> "Value":
        return self.build.div(other, self)

    def __neg__(self) -> "Value":
        return self.build.neg(self)

    def __and__(self, other: Operand) -> "Value":
        return self.build.and_(self, other)

    def __or__(self, other: Operand) -> "Value":
        return self.build.or_(self, other)

    def __xor__(self, other: Operand) -> "Value":
        return self.build.xor(self, other)

    def __invert__(self) -> "Value":
        return self.build.not_(self)

    def __lt__(self, other: Operand) -> "Value":
        return self.build.lt(self, other)

    def __le__(self, other: Operand) -> "Value":
        return self.build.le(self, other)

    def __gt__(self, other: Operand) -> "Value":
        return self.build.gt(self, other)

    def __ge__(self, other: Operand) -> "Value":
        return self.build.ge(self, other)
