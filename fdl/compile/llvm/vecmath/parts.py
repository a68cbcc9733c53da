"""Instructions of AVX-512 that take floats apart, put them together and look numbers up, for any number of lanes.

They serve programs whose vectors have 512 bits (`Target.takes_floats_apart`), for single elements as for vectors, so
that an element has the same bits wherever it is in an array. Other programs have ordinary arithmetic instead.
"""

from collections.abc import Sequence

from llvmlite import ir

from fdl.compile.llvm import values
from fdl.compile.llvm.function import FunctionBuilder
from fdl.compile.llvm.values import I32, Value, register_type, undefined
from fdl.dtypes import float32

#: Results are rounded as the processor is set to, which is to nearest.
_AS_SET = I32(4)
#: The interval of `significand`, and that negative numbers give NaN.
_FROM_THREE_QUARTERS, _NEVER_NEGATIVE = 3, 8


def scaled(b: FunctionBuilder, x: Value, power: Value) -> Value:
    """x times 2 to the power of the largest integer not above `power`, rounded once, also where it is subnormal."""
    return _masked(b, "scalef", [x, power])


def exponent(b: FunctionBuilder, x: Value) -> Value:
    """The largest integer not above log2(|x|), also of subnormal numbers: -inf of zero, inf of infinity, NaN of NaN."""
    return _masked(b, "getexp", [x])


def significand(b: FunctionBuilder, x: Value) -> Value:
    """x divided by a power of 2, from 3/4 to 3/2; 1 or -1 of zeros, 1 of infinity, NaN of negative numbers and NaN."""
    return _masked(b, "getmant", [x], I32(_NEVER_NEGATIVE | _FROM_THREE_QUARTERS))


def looked_up(b: FunctionBuilder, table: Sequence[float], place: Value, dtype: values.DType) -> Value:
    """Elements of a table of 16 floats of `dtype`, by the lowest four bits of integers of its size."""
    width = _width(dtype)
    kind, places = (ir.VectorType(register_type(d), width) for d in (dtype, place.dtype))
    halves = [ir.Constant(kind, list(map(float, table[start : start + width]))) for start in range(0, 16, width)]
    if len(halves) == 1:
        function = b.declare("llvm.x86.avx512.permvar.sf.512", kind, [kind, places])
        parts = [b.ir.call(function, [halves[0], p]) for p in _registers(b, place, width)]
    else:
        function = b.declare("llvm.x86.avx512.vpermi2var.pd.512", kind, [kind, places, kind])
        parts = [b.ir.call(function, [halves[0], p, halves[1]]) for p in _registers(b, place, width)]
    return b.value(_joined(b, parts, place.lanes), dtype)


def _masked(b: FunctionBuilder, name: str, operands: list[Value], kind: ir.Constant | None = None) -> Value:
    """An instruction on whole registers, whose mask keeps all lanes."""
    x = operands[0]
    width = _width(x.dtype)
    register = ir.VectorType(register_type(x.dtype), width)
    extra = ([] if kind is None else [kind]) + [undefined(register), ir.IntType(width)(-1), _AS_SET]
    symbol = f"llvm.x86.avx512.mask.{name}.{'ps' if x.dtype == float32 else 'pd'}.512"
    function = b.declare(symbol, register, [register] * len(operands) + [e.type for e in extra])
    columns = zip(*(_registers(b, v, width) for v in operands), strict=True)
    return b.value(_joined(b, [b.ir.call(function, [*c, *extra]) for c in columns], x.lanes), x.dtype)


def _width(dtype: values.DType) -> int:
    return 64 // dtype.itemsize


def _registers(b: FunctionBuilder, x: Value, width: int) -> list[ir.Value]:
    """The registers that hold a vector, or one of which it is the beginning."""
    if x.lanes == width:
        return [x.ir]
    if x.lanes > width:
        return [b.part(x, start, width).ir for start in range(0, x.lanes, width)]
    if x.lanes == 1:
        nothing = undefined(ir.VectorType(x.ir.type, width))
        return [b.ir.insert_element(nothing, x.ir, I32(0))]
    # What is beyond the vector is undefined: LLVM 22 forgets places in a table that seem to repeat the first one.
    nothing = undefined(x.ir.type)
    return [_shuffled(b, x.ir, nothing, [*range(x.lanes), *[x.lanes] * (width - x.lanes)])]


def _joined(b: FunctionBuilder, registers: list[ir.Value], lanes: int) -> ir.Value:
    """The first `lanes` of some registers as one vector; their number is a power of two."""
    while len(registers) > 1:
        count = 2 * registers[0].type.count
        registers = [
            _shuffled(b, low, high, list(range(count)))
            for low, high in zip(registers[::2], registers[1::2], strict=True)
        ]
    (found,) = registers
    if lanes == 1:
        return b.ir.extract_element(found, I32(0))
    return found if lanes == found.type.count else _shuffled(b, found, found, list(range(lanes)))


def _shuffled(b: FunctionBuilder, x: ir.Value, y: ir.Value, order: list[int]) -> ir.Value:
    return b.ir.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(order)), order))
