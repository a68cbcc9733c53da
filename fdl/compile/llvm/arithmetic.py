"""Elementwise arithmetic, comparisons and bits on registers, with NumPy's and JAX's edge cases."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.conversion import Conversion
from fdl.compile.llvm.values import HALVES, Operand, Value, is_float, is_signed, undefined, wide
from fdl.dtypes import bool_
from fdl.errors import DtypeError

#: Emits an instruction on two registers.
Combine = Callable[[ir.Value, ir.Value], ir.Value]


def _is_harmless(divisor: ir.Constant) -> bool:
    """Whether no lane of a constant is 0 or -1."""
    lanes = divisor.constant if isinstance(divisor.constant, (list, tuple)) else [divisor.constant]
    numbers = [getattr(n, "constant", n) for n in lanes]
    return all(isinstance(n, int) and n not in (0, -1) for n in numbers)


class Arithmetic(Conversion):
    """The arithmetic half of `Build`: methods take values of one dtype (or Python numbers) and return a value."""

    def add(self, x: Operand, y: Operand) -> Value:
        """x + y; integers wrap, booleans are or-ed."""
        return self._binary(x, y, self.ir.fadd, self.ir.add, self.ir.or_)

    def sub(self, x: Operand, y: Operand) -> Value:
        """x - y; integers wrap."""
        return self._binary(x, y, self.ir.fsub, self.ir.sub)

    def mul(self, x: Operand, y: Operand) -> Value:
        """x * y; integers wrap, booleans are and-ed."""
        return self._binary(x, y, self.ir.fmul, self.ir.mul, self.ir.and_)

    def div(self, x: Operand, y: Operand) -> Value:
        """x / y; integers truncate toward zero, and x / 0 is -1 (all bits set) as in JAX."""
        x, y = self._pair(x, y)
        if is_float(x.dtype):
            return self._float(self.ir.fdiv(x.ir, y.ir), x)
        quotient = self._quotient(x, self._safe_divisor(x, y))
        minus = self.value(self._constant_bits(x.dtype, x.lanes, -1), x.dtype)
        return self.select(self.eq(y, 0), minus, quotient)

    def rem(self, x: Operand, y: Operand) -> Value:
        """Remainder with the sign of x; for integers the remainder by 0 is x."""
        x, y = self._pair(x, y)
        if is_float(x.dtype):
            return self._float(self.ir.frem(x.ir, y.ir), x)
        divisor = self._safe_divisor(x, y)
        return self.select(self.eq(y, 0), x, x - self._quotient(x, divisor) * divisor)

    def _quotient(self, x: Value, y: Value) -> Value:
        """The integer quotient by a divisor that does not trap.

        There are no instructions for vectors of integers. Floats of at least twice as many bits as the integers, less
        the sign, divide exactly enough: a quotient below a whole number is below it by more than the rounding error.
        LLVM multiplies instead where it sees the divisor.
        """
        if x.lanes > 1 and x.dtype.itemsize <= 4 and not isinstance(y.ir, ir.Constant):
            floating = np.dtype(np.float64 if x.dtype.itemsize == 4 else np.float32)
            numerator, denominator = (self.convert(v, floating) for v in (x, y))
            kind = wide(ir.IntType(64 if x.dtype.itemsize == 8 else 32), x.lanes)
            whole = (self.ir.fptosi if is_signed(x.dtype) else self.ir.fptoui)((numerator / denominator).ir, kind)
            return self.value(whole if x.dtype.itemsize == 4 else self.ir.trunc(whole, x.ir.type), x.dtype)
        return self.value((self.ir.sdiv if is_signed(x.dtype) else self.ir.udiv)(x.ir, y.ir), x.dtype)

    def _safe_divisor(self, x: Value, y: Value) -> Value:
        """y, or 1 where x / y would trap: y = 0, and the smallest integer by -1 (whose quotient wraps to itself)."""
        if isinstance(y.ir, ir.Constant) and _is_harmless(y.ir):
            return y
        bad = self.eq(y, 0)
        if is_signed(x.dtype):
            bad = bad | (self.eq(y, -1) & self.eq(x, int(np.iinfo(x.dtype.name).min)))
        return self.select(bad, self.constant(1, x.dtype, x.lanes), y)

    def neg(self, x: Value) -> Value:
        """-x."""
        return self.value(self.ir.fneg(x.ir) if is_float(x.dtype) else self.ir.neg(x.ir), x.dtype)

    def abs(self, x: Value) -> Value:
        """Absolute value; the smallest integer stays itself."""
        if is_float(x.dtype):
            return self.intrinsic("fabs", x)
        return self.select(x < 0, -x, x) if is_signed(x.dtype) else x

    def sign(self, x: Value) -> Value:
        """-1, 0 or 1; zeros and NaN are returned as they are."""
        one = self.constant(1, x.dtype, x.lanes)
        if not is_float(x.dtype) and not is_signed(x.dtype):
            return self.select(self.eq(x, 0), x, one)
        return self.select(x > 0, one, self.select(x < 0, -one, x))

    def max(self, x: Operand, y: Operand) -> Value:
        """The larger one; NaN if either is NaN."""
        return self._extreme(*self._pair(x, y), self.gt)

    def min(self, x: Operand, y: Operand) -> Value:
        """The smaller one; NaN if either is NaN."""
        return self._extreme(*self._pair(x, y), self.lt)

    def _extreme(self, x: Value, y: Value, better: Callable[[Value, Value], Value]) -> Value:
        if is_float(x.dtype):
            # Before the comparison, not after it: LLVM would join the two conditions of one choice, and the processor's
            # own maximum, which gives its second operand unless the first is larger, is the comparison alone.
            y = self.select(self.ne(x, x), x, y)
        return self.select(better(x, y), x, y)

    def clamp(self, low: Operand, x: Value, high: Operand) -> Value:
        """min(max(x, low), high)."""
        return self.min(self.max(x, low), high)

    def fma(self, x: Operand, y: Operand, z: Operand) -> Value:
        """x * y + z in one rounding where the processor has it, otherwise in two."""
        like = next(v for v in (x, y, z) if isinstance(v, Value))
        x, y, z = self._common(x, y, z, like=like)
        if not self.target.fma or not is_float(x.dtype):
            return x * y + z
        return self._float(self.intrinsic("fma", x, y, z).ir, x)

    def floor(self, x: Value) -> Value:
        """Largest integer not above x."""
        return self.intrinsic("floor", x)

    def ceil(self, x: Value) -> Value:
        """Smallest integer not below x."""
        return self.intrinsic("ceil", x)

    def trunc(self, x: Value) -> Value:
        """x without its fraction."""
        return self.intrinsic("trunc", x)

    def round_half_even(self, x: Value) -> Value:
        """The nearest integer, halves to the even one."""
        return self.intrinsic("rint", x)

    def round_half_away(self, x: Value) -> Value:
        """The nearest integer, halves away from zero."""
        return self.intrinsic("round", x)

    def copysign(self, x: Value, y: Value) -> Value:
        """The magnitude of x with the sign of y."""
        return self.intrinsic("copysign", x, y)

    def sqrt(self, x: Value) -> Value:
        """Square root, correctly rounded."""
        return self._float(self.intrinsic("sqrt", x).ir, x)

    def rsqrt(self, x: Value) -> Value:
        """1 / sqrt(x), within 1 ulp."""
        return self._float(self.ir.fdiv(self.constant(1, x.dtype, x.lanes).ir, self.intrinsic("sqrt", x).ir), x)

    def eq(self, x: Operand, y: Operand) -> Value:
        """x == y."""
        return self._compare("==", x, y)

    def ne(self, x: Operand, y: Operand) -> Value:
        """x != y; true when either is NaN."""
        return self._compare("!=", x, y)

    def lt(self, x: Operand, y: Operand) -> Value:
        """x < y."""
        return self._compare("<", x, y)

    def le(self, x: Operand, y: Operand) -> Value:
        """x <= y."""
        return self._compare("<=", x, y)

    def gt(self, x: Operand, y: Operand) -> Value:
        """x > y."""
        return self._compare(">", x, y)

    def ge(self, x: Operand, y: Operand) -> Value:
        """x >= y."""
        return self._compare(">=", x, y)

    def _compare(self, sign: str, x: Operand, y: Operand) -> Value:
        x, y = self._pair(x, y)
        if is_float(x.dtype):
            compare = self.ir.fcmp_unordered if sign == "!=" else self.ir.fcmp_ordered
        else:
            compare = self.ir.icmp_signed if is_signed(x.dtype) else self.ir.icmp_unsigned
        return self.value(compare(sign, x.ir, y.ir), bool_)

    def and_(self, x: Operand, y: Operand) -> Value:
        """Bitwise and, logical for booleans."""
        return self._binary(x, y, None, self.ir.and_, self.ir.and_)

    def or_(self, x: Operand, y: Operand) -> Value:
        """Bitwise or, logical for booleans."""
        return self._binary(x, y, None, self.ir.or_, self.ir.or_)

    def xor(self, x: Operand, y: Operand) -> Value:
        """Bitwise exclusive or, logical for booleans."""
        return self._binary(x, y, None, self.ir.xor, self.ir.xor)

    def not_(self, x: Value) -> Value:
        """Bitwise not, logical for booleans."""
        if is_float(x.dtype):
            raise DtypeError(f"not is not defined for dtype {x.dtype}")
        return self.value(self.ir.xor(x.ir, self._constant_bits(x.dtype, x.lanes, -1)), x.dtype)

    def shift_left(self, x: Operand, y: Operand) -> Value:
        """x << y; 0 when y is not less than the number of bits."""
        return self._shift(x, y, self.ir.shl)

    def shift_right_logical(self, x: Operand, y: Operand) -> Value:
        """x >> y filled with zeros; 0 when y is not less than the number of bits."""
        return self._shift(x, y, self.ir.lshr)

    def shift_right_arithmetic(self, x: Operand, y: Operand) -> Value:
        """x >> y filled with the sign; only the sign when y is not less than the number of bits."""
        x, y = self._pair(x, y)
        bits = x.dtype.itemsize * 8
        far = self.ir.icmp_unsigned(">=", y.ir, self.constant(bits, x.dtype, x.lanes).ir)
        count = self.select(self.value(far, bool_), self.constant(bits - 1, x.dtype, x.lanes), y)
        return self.value(self.ir.ashr(x.ir, count.ir), x.dtype)

    def _shift(self, x: Operand, y: Operand, emit: Combine) -> Value:
        x, y = self._pair(x, y)
        bits = x.dtype.itemsize * 8
        far = self.value(self.ir.icmp_unsigned(">=", y.ir, self.constant(bits, x.dtype, x.lanes).ir), bool_)
        return self.select(far, self.constant(0, x.dtype, x.lanes), self.value(emit(x.ir, y.ir), x.dtype))

    def select(self, condition: Value, x: Operand, y: Operand) -> Value:
        """x where `condition` (boolean) holds, otherwise y."""
        x, y = self._pair(x, y)
        lanes = max(condition.lanes, x.lanes)
        condition, x, y = (self.broadcast(v, lanes) for v in (condition, x, y))
        chosen = self.value(self.ir.select(condition.ir, x.ir, y.ir), x.dtype)
        return replace(chosen, low_zero=x.low_zero and y.low_zero)

    def is_finite(self, x: Value) -> Value:
        """Whether x is neither infinite nor NaN."""
        if not is_float(x.dtype):
            return self.constant(True, bool_, x.lanes)
        return self.abs(x) < np.inf

    def popcount(self, x: Value) -> Value:
        """How many bits are set."""
        return self.intrinsic("ctpop", x)

    def clz(self, x: Value) -> Value:
        """How many leading bits are zero."""
        return self.intrinsic("ctlz", x, flags=(False,))

    def _binary(
        self, x: Operand, y: Operand, floating: Combine | None, integer: Combine, boolean: Combine | None = None
    ) -> Value:
        x, y = self._pair(x, y)
        emit = floating if is_float(x.dtype) else boolean if x.dtype == bool_ else integer
        if emit is None:
            raise DtypeError(f"this operation is not defined for dtype {x.dtype}")
        result = emit(x.ir, y.ir)
        return self._float(result, x) if is_float(x.dtype) else self.value(result, x.dtype)

    def _float(self, result: ir.Value, like: Value) -> Value:
        """A computed float; 16-bit dtypes are rounded to what they can hold."""
        return self.round_to(result, like.dtype) if like.dtype in HALVES else self.value(result, like.dtype)

    def _pair(self, x: Operand, y: Operand) -> tuple[Value, Value]:
        like = x if isinstance(x, Value) else y
        if not isinstance(like, Value):
            raise TypeError(f"one operand must be a Value, got {x!r} and {y!r}")
        left, right = self._common(x, y, like=like)
        return left, right

    def _common(self, *operands: Operand, like: Value) -> list[Value]:
        """The operands as values of one dtype and one number of lanes."""
        values = [v if isinstance(v, Value) else self.constant(v, like.dtype) for v in operands]
        for v in values:
            if v.dtype != like.dtype:
                raise DtypeError(
                    f"operands of one operation have dtypes {like.dtype} and {v.dtype}; convert one of them"
                )
        lanes = max(v.lanes for v in values)
        return [self.broadcast(v, lanes) for v in values]

    def reduce(self, kind: str, x: Value) -> Value:
        """All lanes of x combined by `kind` into one element, halving the vector each time.

        Args:
            kind: ``sum``, ``prod``, ``max``, ``min``, ``and``, ``or`` or ``xor``.
            x: any power of two of lanes.
        """
        combine = {
            "sum": self.add, "prod": self.mul, "max": self.max, "min": self.min,
            "and": self.and_, "or": self.or_, "xor": self.xor,
        }[kind]  # fmt: skip
        lanes = x.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (self.part(x, start, lanes) for start in (0, lanes))
            x = combine(low, high)
        return x

    def part(self, x: Value, start: int, lanes: int) -> Value:
        """Some lanes of a vector, from number `start` on."""
        if lanes == 1:
            return self.value(self.ir.extract_element(x.ir, ir.IntType(32)(start)), x.dtype)
        index = ir.Constant(wide(ir.IntType(32), lanes), list(range(start, start + lanes)))
        return self.value(self.ir.shuffle_vector(x.ir, undefined(x.ir.type), index), x.dtype)
