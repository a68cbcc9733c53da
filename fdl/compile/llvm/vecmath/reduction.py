"""Angles modulo pi / 2, for arguments of any size.

Near zero the product of pi / 2 and the number of quadrants is subtracted in parts (W. J. Cody and W. Waite, "Software
Manual for the Elementary Functions", 1980): in the dtype itself where there is fused multiply-add, which subtracts the
first part exactly, otherwise in float64. float32 goes on in float64 from 2^14 on. Beyond 2^20, 192 bits of 1 / (2 pi)
are multiplied by the significand (M. H. Payne and R. N. Hanek, "Radian reduction for trigonometric functions", 1983),
lane by lane since such arguments are rare.
"""

import math

from llvmlite import ir

from fdl.compile.llvm.function import FunctionBuilder, Variable, new_function
from fdl.compile.llvm.values import I64, POINTER, Value
from fdl.compile.llvm.vecmath.exponential import two_product, two_sum
from fdl.compile.llvm.vecmath.tables import DOUBLE, format_of
from fdl.dtypes import float32, float64, uint64

#: pi / 2 as a sum; the first three have 33 bits.
_PARTS = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)
_LIMIT = 2.0**20
#: The same of rounded parts, and up to where the first product leaves a rest that the dtype holds.
_ROUNDED = {
    float32: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    float64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
_SINGLE_LIMIT = 2.0**14
#: The first 1280 bits of 1 / (2 pi).
_INVERSE = int(
    "28be60db9391054a7f09d5f47d4d377036d8a5664f10e4107f9458eaf7aef1586dc91b8e909374b801924bba827464873f877ac72c4a69cf"
    "ba208d7d4baed1213a671c09ad17df904e64758e60d4ce7d272117e2ef7e4a0ec7fe25fff7816603fbcbc462d6829b47db4d9fb3c9f2c26d"
    "d3d18fd9a797fa8b5d49eeb1faf97c5ecf41ce7de294a4ba9afed7ec47e357421580cc11bf1edaeafc33ef0826bd0d87",
    16,
)
_TWO_PI = (6.283185307179586, 2.4492935982947064e-16)


def quadrant(b: FunctionBuilder, x: Value) -> tuple[Value, Value, Value]:
    """(q, r, s): x = q pi / 2 + r + s, where q (unsigned, modulo 4) has the size of x, and |r| is at most pi / 4."""
    if x.dtype == float64:
        return _quadrant(b, x)
    if not b.target.fma:
        return _quadrant_of_single(b, x)
    found = [b.variable(v) for v in _near(b, x)]
    size = b.abs(x)
    far = (size >= _SINGLE_LIMIT) & (size < math.inf)
    with b.if_(b.reduce("or", far), likely=False):
        for variable, value in zip(found, _quadrant_of_single(b, x), strict=True):
            variable.set(b.select(far, value, variable.get()))
    q, r, low = (v.get() for v in found)
    return q, r, low


def _quadrant_of_single(b: FunctionBuilder, x: Value) -> tuple[Value, Value, Value]:
    q, r, low = _quadrant(b, b.convert(x, float64))
    near = b.convert(r, x.dtype)
    return b.convert(q, "uint32"), near, b.convert((r - b.convert(near, float64)) + low, x.dtype)


def _quadrant(b: FunctionBuilder, x: Value) -> tuple[Value, Value, Value]:
    found = [b.variable(v) for v in (_near if b.target.fma else _near_in_four)(b, x)]
    size = b.abs(x)
    far = (size >= _LIMIT) & (size < math.inf)
    with b.if_(b.reduce("or", far), likely=False):
        _replace_far(b, x, found)
    q, r, low = (v.get() for v in found)
    return q, r, low


def _near(b: FunctionBuilder, x: Value) -> tuple[Value, Value, Value]:
    """By fused multiply-add: what the first part leaves is less than 1 and a multiple of that part's last place."""
    f = format_of(x.dtype)
    first, second, third = _ROUNDED[x.dtype]
    shifted = b.fma(x, 2 / math.pi, f.magic)
    k = shifted - f.magic
    product, rest = two_product(b, k, b.constant(second, x.dtype, x.lanes))
    r, error = two_sum(b.fma(k, -first, x), -product)
    return b.bitcast(shifted, f.integer), r, b.fma(k, -third, error - rest)


def _near_in_four(b: FunctionBuilder, x: Value) -> tuple[Value, Value, Value]:
    shifted = b.fma(x, 2 / math.pi, DOUBLE.magic)
    k = shifted - DOUBLE.magic
    first, second, third, fourth = (k * p for p in _PARTS)
    r, e = two_sum(x - first, -second)
    r, e2 = two_sum(r, -third)
    low = (e + e2) - fourth
    total = r + low
    return b.bitcast(shifted, uint64), total, (r - total) + low


def _replace_far(b: FunctionBuilder, x: Value, found: list[Variable]) -> None:
    """Overwrite the lanes of `found` whose |x| is beyond the limit."""
    kinds = (float64, uint64, float64, float64)
    memory = [b.stack_slot(I64, x.lanes) for _ in kinds]
    for slot, value in zip(memory, (x, *(v.get() for v in found)), strict=True):
        b.store(value, slot)
    reduce = b.module.globals.get("math.payne_hanek") or _emit_payne_hanek(b)
    with b.loop(0, x.lanes) as i:
        argument = b.load(memory[0], float64, i)
        size = b.abs(argument)
        with b.if_((size >= _LIMIT) & (size < math.inf)):
            b.call_function(reduce, [argument, *(b.at(slot, i, float64) for slot in memory[1:])])
    for variable, slot, kind in zip(found, memory[1:], kinds[1:], strict=True):
        variable.set(b.load(slot, kind, lanes=x.lanes))


def _emit_payne_hanek(outer: FunctionBuilder) -> ir.Function:
    """void (double x, ptr q, ptr r, ptr low) for 2^20 <= |x| < inf."""
    module = outer.module
    function = new_function(module, "math.payne_hanek", [ir.DoubleType(), POINTER, POINTER, POINTER])
    function.attributes.add("noinline")
    b = FunctionBuilder(module, outer.target, function)
    q = b.ir
    wide = ir.IntType(192)
    x = b.argument(0, float64)
    bits = b.bitcast(b.abs(x), uint64).ir
    significand = q.or_(q.and_(bits, I64((1 << 52) - 1)), I64(1 << 52))
    # x = significand * 2^(exponent - 1075); the table starts with 64 zero bits so that no index is negative.
    start = q.sub(q.lshr(bits, I64(52)), I64(1075 - 64))
    product = q.mul(_window(b, start), q.zext(significand, wide))
    # The fraction of a turn, moved by an eighth: its two leading bits are the quadrant.
    moved = q.add(product, wide(1 << 189))
    turns = q.trunc(q.lshr(moved, wide(190)), I64)
    rest = q.sub(q.and_(moved, wide((1 << 190) - 1)), wide(1 << 189))
    negative = q.icmp_signed("<", rest, wide(0))
    size = q.select(negative, q.sub(wide(0), rest), rest)
    zeros = b.declare("llvm.ctlz.i192", wide, [wide, ir.IntType(1)])
    shift = q.call(zeros, [size, ir.Constant(ir.IntType(1), False)])
    size = q.shl(size, shift)
    parts = [q.trunc(q.and_(q.lshr(size, wide(192 - 53 * i)), wide((1 << 53) - 1)), I64) for i in (1, 2)]
    high, low = (b.value(q.uitofp(p, ir.DoubleType()), float64) for p in parts)
    scale = b.value(q.bitcast(q.shl(q.sub(I64(1023 - 53), q.trunc(shift, I64)), I64(52)), ir.DoubleType()), float64)
    high, low = high * scale, low * scale * 2.0**-53
    flip = b.ne(b.value(negative, "bool"), x < 0.0)
    r, e = two_product(b, high, b.constant(_TWO_PI[0], float64))
    e = e + (high * _TWO_PI[1] + low * _TWO_PI[0])
    total = r + e
    e = (r - total) + e
    turns_value = b.value(turns, uint64)
    b.store(b.select(x < 0.0, b.constant(0, uint64) - turns_value, turns_value), function.args[1])
    b.store(b.select(flip, -total, total), function.args[2])
    b.store(b.select(flip, -e, e), function.args[3])
    b.ret()
    return function


def _window(b: FunctionBuilder, start: ir.Value) -> ir.Value:
    """192 bits of the table from bit `start` on, as an integer."""
    q, wide = b.ir, ir.IntType(256)
    table = b.module.globals.get("math.inverse_pi")
    if table is None:
        words = [0] + [(_INVERSE >> (1280 - 64 * i)) & (2**64 - 1) for i in range(1, 21)] + [0] * 4
        kind = ir.ArrayType(I64, len(words))
        table = ir.GlobalVariable(b.module, kind, "math.inverse_pi")
        table.initializer, table.global_constant, table.linkage = ir.Constant(kind, words), True, "internal"
    first = q.lshr(start, I64(6))
    joined = wide(0)
    for i in range(4):
        word = q.load(q.gep(table, [q.add(first, I64(i))], source_etype=I64), typ=I64, align=8)
        joined = q.or_(q.shl(joined, wide(64)), q.zext(word, wide))
    inside = q.zext(q.and_(start, I64(63)), wide)
    return q.trunc(q.lshr(joined, q.sub(wide(64), inside)), ir.IntType(192))
