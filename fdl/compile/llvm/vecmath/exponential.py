"""Exponentials, logarithms, powers and the hyperbolic functions.

Range reductions are the standard ones (J.-M. Muller, "Elementary Functions", 3rd ed., 2016, chapters 11 and 12):
exp(x) = 2^k exp(r) with |r| <= log(2) / 2; log(x) = k log(2) + log(m) with m in [sqrt(1/2), sqrt(2)) and
log(m) = 2 artanh((m - 1) / (m + 1)); powers carry the logarithm in two parts.
"""

import math

import numpy as np

from fdl.compile.llvm.function import FunctionBuilder
from fdl.compile.llvm.values import Value
from fdl.compile.llvm.vecmath import parts
from fdl.compile.llvm.vecmath.tables import (
    DOUBLE,
    EXP_SHORT,
    LOG_FROM_THREE_QUARTERS,
    LOG_INVERSES,
    LOG_SHORT,
    LOG_SINGLE,
    LOG_SIXTEENTHS,
    POWER_LOG,
    SIXTEENTHS,
    MathFunction,
    format_of,
    polynomial,
)
from fdl.dtypes import float64


def two_product(b: FunctionBuilder, x: Value, y: Value) -> tuple[Value, Value]:
    """x * y as its rounded value and the exact rest (Dekker 1971, where there is no fused multiply-add)."""
    product = x * y
    if b.target.fma:
        return product, b.fma(x, y, -product)
    (xh, xl), (yh, yl) = _halves(b, x), _halves(b, y)
    return product, ((xh * yh - product) + xh * yl + xl * yh) + xl * yl


def _halves(b: FunctionBuilder, x: Value) -> tuple[Value, Value]:
    """x cut into two halves of its digits; by bits, so that large numbers do not overflow."""
    f = format_of(x.dtype)
    bits = b.bitcast(x, f.integer)
    kept = (1 << 8 * f.integer.itemsize) - (1 << (f.mantissa // 2 + 1))
    high = b.bitcast(bits & kept, x.dtype)
    return high, x - high


def two_sum(x: Value, y: Value) -> tuple[Value, Value]:
    """x + y as its rounded value and the exact rest (Knuth)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _rounded(b: FunctionBuilder, x: Value, magic: float, steps: int = 1) -> tuple[Value, Value, Value]:
    """(r, k, k + magic): x = k log(2) / steps + r, where `magic` makes an integer of k."""
    f = format_of(x.dtype)
    shifted = b.fma(x, steps / math.log(2), magic)
    k = shifted - magic
    return b.fma(k, -f.ln2_low / steps, b.fma(k, -f.ln2_high / steps, x)), k, shifted


def _divided(b: FunctionBuilder, x: Value, offset: int) -> tuple[Value, Value]:
    """(r, bits): x = k log(2) + r; the lowest bits are those of k + offset, those above them are the same for all x."""
    f = format_of(x.dtype)
    r, _, shifted = _rounded(b, x, f.magic + offset)
    return r, b.bitcast(shifted, f.integer)


def _reduced(b: FunctionBuilder, x: Value) -> tuple[Value, Value]:
    """(r, k): x = k log(2) + r, with the integer k in bits that wrap around zero."""
    rest, bits = _divided(b, x, 0)
    return rest, bits - format_of(x.dtype).magic_bits


def _scaled(b: FunctionBuilder, x: Value, k: Value) -> Value:
    """x * 2^k in two steps, so that the result may be subnormal or infinite."""
    f = format_of(x.dtype)
    # The offset keeps the halved integer positive: processors lack a signed 64-bit shift.
    half = b.shift_right_logical(k + 4096, 1) - 2048
    for step in (half, k - half):
        x = x * b.bitcast(b.shift_left(step + f.bias, f.mantissa), x.dtype)
    return x


def _within(b: FunctionBuilder, x: Value, low: float, high: float) -> tuple[Value, Value]:
    """(x, z): x limited to where its power is finite, and whether that is zero, where x is 0 too; NaN stays NaN.

    Powers that vanish are selected, not computed: a product that underflows takes some processors 150 cycles, and the
    softmax of masked logits has one for each of them.
    """
    vanishes = x < low
    return b.select(vanishes, 0.0, b.select(x > high, high, x)), vanishes


def _expm1_reduced(b: FunctionBuilder, r: Value) -> Value:
    """exp(r) - 1 for |r| <= log(2) / 2."""
    return b.fma(r * r, polynomial(b, r, format_of(r.dtype).exp), r)


def exp(b: FunctionBuilder, x: Value, low: Value | None = None) -> Value:
    """exp(x + low)."""
    f = format_of(x.dtype)
    x, vanishes = _within(b, x, f.exp_low, f.exp_high)
    if b.target.takes_floats_apart:
        return b.select(vanishes, 0.0, parts.scaled(b, *_unscaled_exp(b, x, low)))
    # With twice the bias in them, either half of the bits is a power of two but for a shift that drops what is above.
    r, bits = _divided(b, x, 2 * f.bias)
    r = r if low is None else r + low
    result, half = _expm1_reduced(b, r) + 1.0, b.shift_right_logical(bits, 1)
    for step in (half, bits - half):
        result = result * b.bitcast(b.shift_left(step, f.mantissa), x.dtype)
    return b.select(vanishes, 0.0, result)


def _unscaled_exp(b: FunctionBuilder, x: Value, low: Value | None = None) -> tuple[Value, Value]:
    """(m, k): exp(x + low) = m 2^floor(k), for `parts.scaled`; in float64 with sixteenths of k from a table."""
    f = format_of(x.dtype)
    steps = 16 if x.dtype == float64 else 1
    r, k, shifted = _rounded(b, x, f.magic, steps)
    r = r if low is None else r + low
    if steps == 1:
        return polynomial(b, r, (1.0, 1.0, *f.exp)), k
    power = parts.looked_up(b, SIXTEENTHS, b.bitcast(shifted, f.integer), x.dtype)
    rest = b.fma(r * r, polynomial(b, r, EXP_SHORT), r)
    return b.fma(power, rest, power), k * (1 / steps)


def exp_parts(b: FunctionBuilder, x: Value) -> tuple[Value, Value]:
    """(p, r): exp(x) = p (1 + r), where the power of two p must be a normal number."""
    f = format_of(x.dtype)
    r, bits = _divided(b, x, f.bias)
    return b.bitcast(b.shift_left(bits, f.mantissa), x.dtype), _expm1_reduced(b, r)


def exp2(b: FunctionBuilder, x: Value) -> Value:
    """2^x."""
    f = format_of(x.dtype)
    limit = float(f.bias + f.mantissa + 4)
    x, vanishes = _within(b, x, -limit, limit)
    shifted = x + f.magic
    r = (x - (shifted - f.magic)) * math.log(2)
    result = _scaled(b, _expm1_reduced(b, r) + 1.0, b.bitcast(shifted, f.integer) - f.magic_bits)
    return b.select(vanishes, 0.0, result)


def expm1(b: FunctionBuilder, x: Value) -> Value:
    """exp(x) - 1."""
    f = format_of(x.dtype)
    limited, negative = _within(b, x, -2.0 * f.mantissa, f.exp_high)
    r, k = _reduced(b, limited)
    tail = _expm1_reduced(b, r)
    # Where 2^k alone is beyond the range, subtracting 1 changes nothing.
    large = _scaled(b, tail + 1.0, k)
    power = b.bitcast(b.shift_left(k + f.bias, f.mantissa), x.dtype)
    result = b.select(x > 0.9 * f.exp_high, large, b.fma(power, tail, power - 1.0))
    result = b.select(negative, -1.0, result)
    return b.select(b.eq(x, 0.0), x, result)


def _split(b: FunctionBuilder, x: Value, normal: bool = False) -> tuple[Value, Value]:
    """(k, m): positive x = 2^k m with m in [sqrt(1/2), sqrt(2)); x may be known not to be subnormal."""
    f = format_of(x.dtype)
    tiny = x < f.smallest_normal
    x = x if normal else b.select(tiny, x * 2.0 ** (f.mantissa + 2), x)
    bits = b.bitcast(x, f.integer)
    middle = int(np.array(math.sqrt(0.5), x.dtype).view(f.integer))
    offset = (f.bias + 1) // 2 * 2
    exponent = b.shift_right_logical(bits + ((offset << f.mantissa) - middle), f.mantissa)
    m = b.bitcast(bits - b.shift_left(exponent - offset, f.mantissa), x.dtype)
    # The exponent in the low bits of a float whose unit is one.
    unit = 2.0**f.mantissa
    k = b.bitcast(exponent | int(np.array(unit, x.dtype).view(f.integer)), x.dtype) - (unit + offset)
    return k if normal else b.select(tiny, k - float(f.mantissa + 2), k), m


def _log_special(b: FunctionBuilder, x: Value, result: Value) -> Value:
    """The logarithm's values at zero, negative numbers, infinity and NaN."""
    result = b.select(x < np.inf, result, x)
    result = b.select(x < 0.0, np.nan, result)
    return b.select(b.eq(x, 0.0), -np.inf, result)


def _log_positive(b: FunctionBuilder, x: Value, correction: Value | None = None, normal: bool = False) -> Value:
    f = format_of(x.dtype)
    k, m = _split(b, x, normal)
    t = m - 1.0
    s = t / (t + 2.0)
    z = s * s
    half = t * t * 0.5
    low = k * f.ln2_low if correction is None else b.fma(k, f.ln2_low, correction)
    rest = half - b.fma(s, b.fma(z, polynomial(b, z, f.log), half), low)
    return k * f.ln2_high - (rest - t)


def log(b: FunctionBuilder, x: Value) -> Value:
    """Natural logarithm: in float32 by a longer polynomial of m - 1, which takes less than the division."""
    if b.target.takes_floats_apart:
        return _log_by_parts(b, x)
    if x.dtype == float64:
        return _log_special(b, x, _log_positive(b, x))
    return _log_special(b, x, _log_of_parts(b, *_split(b, x), LOG_SINGLE))


def _log_of_parts(b: FunctionBuilder, k: Value, m: Value, coefficients: tuple[float, ...]) -> Value:
    """log(2^k m) in float32, by the coefficients of (log(1 + t) - t + t^2 / 2) / t^3 with t = m - 1."""
    f = format_of(m.dtype)
    t = m - 1.0
    z = t * t
    rest = b.fma(z * t, polynomial(b, t, coefficients), k * f.ln2_low)
    return b.fma(k, f.ln2_high, t + b.fma(z, -0.5, rest))


def _log_by_parts(b: FunctionBuilder, x: Value) -> Value:
    """log(x), where instructions give the exponent and the significand: -inf, inf and NaN come from them.

    In float64 the product of the significand and an inverse from a table is close to 1, and the logarithms of the
    inverses have 42 bits behind the point, so that adding one to the exponent's share is exact (P. T. P. Tang,
    "Table-driven implementation of the logarithm function in IEEE floating-point arithmetic", 1990).
    """
    f = format_of(x.dtype)
    m = parts.significand(b, x)
    k = parts.exponent(b, x) - parts.exponent(b, m)
    if x.dtype == float64:
        place = b.shift_right_logical(b.bitcast(m, f.integer), f.mantissa - 4)
        t = b.fma(m, parts.looked_up(b, LOG_INVERSES, place, x.dtype), -1.0)
        whole = b.fma(k, f.ln2_high, parts.looked_up(b, LOG_SIXTEENTHS, place, x.dtype))
        rest = b.fma(t * t, polynomial(b, t, LOG_SHORT), k * f.ln2_low)
        return whole + (t + rest)
    return _log_of_parts(b, k, m, LOG_FROM_THREE_QUARTERS)


def log2(b: FunctionBuilder, x: Value) -> Value:
    """Logarithm to base 2."""
    k, m = _split(b, x)
    return _log_special(b, x, b.fma(_log_positive(b, m), 1 / math.log(2), k))


def log10(b: FunctionBuilder, x: Value) -> Value:
    """Logarithm to base 10; the error of the fraction is too small to reach the last place of a whole number."""
    f = format_of(x.dtype)
    k, m = _split(b, x)
    high, low = (0.301025390625, 4.605038981195214e-06) if f.mantissa == 23 else _LOG10_2
    natural = _log_positive(b, m)
    fraction = b.fma(natural, 1 / math.log(10), b.fma(natural, 1.098319650216765e-17, k * low))
    return _log_special(b, x, b.fma(k, high, fraction))


#: log10(2) in two parts, the first short enough for exact products with exponents.
_LOG10_2 = 0.30102999566361177, 3.694239077158931e-13


def log1p(b: FunctionBuilder, x: Value) -> Value:
    """log(1 + x)."""
    u = x + 1.0
    lost = b.select(x < 1.0, x - (u - 1.0), 1.0 - (u - x))
    result = _log_special(b, u, _log_positive(b, u, lost / u))
    return b.select(b.eq(x, 0.0), x, result)


def log1p_inside(b: FunctionBuilder, x: Value) -> Value:
    """log(1 + x) for -1 < x <= 0, with the bits of `log1p` but for the sign of zero; less than -80 at -1."""
    u = x + 1.0
    return _log_positive(b, u, (x - (u - 1.0)) / u, normal=True)


def tanh(b: FunctionBuilder, x: Value) -> Value:
    """Hyperbolic tangent, from t = exp(2 |x|) - 1, which is never so large that it needs care."""
    _, power, rest = _exp_of_twice_size(b, x)
    t = b.fma(power, rest, power - 1.0)
    return b.copysign(t / (t + 2.0), x)


def tanh_derivative(b: FunctionBuilder, x: Value) -> Value:
    """1 - tanh(x)^2, from the same exponential as `tanh`, which LLVM computes once; 4 exp(-2 |x|) far from zero."""
    limit, power, rest = _exp_of_twice_size(b, x)
    q = 1.0 / (b.fma(power, rest, power) + 1.0)
    found, size = b.variable(q * 4.0 * (1.0 - q)), b.abs(x)
    far = size > limit
    with b.if_(b.reduce("or", far), likely=False):
        found.set(b.select(far, exp(b, size * -2.0) * 4.0, found.get()))
    return found.get()


def _exp_of_twice_size(b: FunctionBuilder, x: Value) -> tuple[float, Value, Value]:
    """(limit, p, r): exp(2 |x|) = p (1 + r) up to the limit of |x|, where p is the largest power of two."""
    f = format_of(x.dtype)
    size, limit = b.abs(x), 0.49 * f.bias * math.log(2)
    return limit, *exp_parts(b, b.select(size > limit, limit, size) * 2.0)


def logistic(b: FunctionBuilder, x: Value) -> Value:
    """1 / (1 + exp(-x))."""
    e = exp(b, -b.abs(x))
    return b.select(x < 0.0, e, b.select(b.eq(x, x), 1.0, x)) / (e + 1.0)


def logistic_density(b: FunctionBuilder, x: Value) -> Value:
    """The derivative of the logistic function; the same exponential as `logistic` takes, which LLVM computes once."""
    e = exp(b, -b.abs(x))
    rest = e + 1.0
    return e / (rest * rest)


def sinh(b: FunctionBuilder, x: Value) -> Value:
    """Hyperbolic sine."""
    size = b.abs(x)
    t = expm1(b, size)
    result = (t + t / (t + 1.0)) * 0.5
    return b.copysign(b.select(size > 0.9 * format_of(x.dtype).exp_high, _half_exp(b, size), result), x)


def cosh(b: FunctionBuilder, x: Value) -> Value:
    """Hyperbolic cosine."""
    size = b.abs(x)
    e = exp(b, size)
    return b.select(size > 0.9 * format_of(x.dtype).exp_high, _half_exp(b, size), e * 0.5 + 0.5 / e)


def _half_exp(b: FunctionBuilder, x: Value) -> Value:
    """exp(x) / 2 for positive x, without overflow of exp(x)."""
    if b.target.takes_floats_apart:
        limit = format_of(x.dtype).exp_high + 1.0
        mantissa, k = _unscaled_exp(b, b.select(x > limit, limit, x))
        return parts.scaled(b, mantissa, k - 1.0)
    root = exp(b, x * 0.5)
    return root * 0.5 * root


def asinh(b: FunctionBuilder, x: Value) -> Value:
    """Inverse hyperbolic sine."""
    size = b.abs(x)
    square = size * size
    small = log1p(b, size + square / (b.sqrt(square + 1.0) + 1.0))
    return b.copysign(b.select(size > _HUGE, log(b, size) + math.log(2), small), x)


def acosh(b: FunctionBuilder, x: Value) -> Value:
    """Inverse hyperbolic cosine; NaN below 1."""
    t = x - 1.0
    result = b.select(x > _HUGE, log(b, x) + math.log(2), log1p(b, t + b.sqrt(b.fma(t, t, t * 2.0))))
    return b.select(x < 1.0, np.nan, result)


#: From here on sqrt(x^2 + 1) is x in both formats.
_HUGE = 1e9


def atanh(b: FunctionBuilder, x: Value) -> Value:
    """Inverse hyperbolic tangent; NaN beyond 1."""
    size = b.abs(x)
    return b.copysign(log1p(b, size * 2.0 / (1.0 - size)) * 0.5, x)


def power(b: FunctionBuilder, x: Value, y: Value) -> Value:
    """x^y with C's special values."""
    if x.dtype != float64:
        wide_x, wide_y = (b.convert(v, float64) for v in (x, y))
        size = b.abs(wide_x)
        result = exp(b, wide_y * log(b, size))
        return b.convert(_power_special(b, wide_x, wide_y, result), x.dtype)
    high, low = _log_two_parts(b, b.abs(x))
    h, lost = two_product(b, high, y)
    rest = b.fma(low, y, lost)
    return _power_special(b, x, y, _exp_of_sum(b, h, b.select(b.abs(h) < 1e3, rest, 0.0)))


def _exp_of_sum(b: FunctionBuilder, x: Value, low: Value) -> Value:
    """exp(x + low) within 0.7 ulp, so that a power that the format holds is exact."""
    f = format_of(x.dtype)
    x, vanishes = _within(b, x, f.exp_low, f.exp_high)
    shifted = b.fma(x, 1 / math.log(2), f.magic)
    k = shifted - f.magic
    r, rest = two_sum(b.fma(k, -f.ln2_high, x), b.fma(k, -f.ln2_low, low))
    # 1 + r in two parts; what is added to it is small.
    total = r + 1.0
    rest = (r - (total - 1.0)) + b.fma(rest, total, r * r * polynomial(b, r, f.exp))
    result = _scaled(b, total + rest, b.bitcast(shifted, f.integer) - f.magic_bits)
    return b.select(vanishes, 0.0, result)


def _log_two_parts(b: FunctionBuilder, x: Value) -> tuple[Value, Value]:
    """log(x) for x >= 0 as a sum of two float64, good to about 2^-65 of itself."""
    k, m = _split(b, x)
    t, d = m - 1.0, m + 1.0
    d_low = m - (d - 1.0)
    s = t / d
    p, e = two_product(b, s, d)
    s_low = ((t - p) - e - s * d_low) / d
    z, z_low = two_product(b, s, s)
    z_low = b.fma(s * 2.0, s_low, z_low)
    # 2/3 s^3 in two parts, the rest of the series in one.
    third, third_low = 2.0 / 3.0, 3.700743415417188e-17
    c, c_low = two_product(b, z, b.constant(third, x.dtype, x.lanes))
    c_low = b.fma(z, third_low, b.fma(z_low, third, c_low))
    c, more = two_sum(c, z * z * polynomial(b, z, POWER_LOG))
    c_low = c_low + more
    q, q_low = two_product(b, s, c)
    q_low = b.fma(s, c_low, b.fma(s_low, c, q_low))
    high, low = two_sum(s * 2.0, q)
    low = low + (q_low + s_low * 2.0)
    total, rest = two_sum(k * DOUBLE.ln2_high, high)
    rest = rest + b.fma(k, DOUBLE.ln2_low, low)
    high, low = two_sum(total, rest)
    ordinary = (x > 0.0) & (x < np.inf)
    return b.select(ordinary, high, _log_special(b, x, high)), b.select(ordinary, low, 0.0)


def _power_special(b: FunctionBuilder, x: Value, y: Value, result: Value) -> Value:
    """Signs of odd powers of negative numbers, and the powers that do not follow from logarithms."""
    result = b.select(b.eq(b.abs(x), 1.0) & b.eq(y, y), 1.0, result)
    whole = b.eq(b.floor(y), y)
    half = y * 0.5
    odd = whole & b.ne(b.floor(half), half)
    negative = b.copysign(b.constant(1.0, x.dtype, x.lanes), x) < 0.0
    result = b.select(negative & odd, -result, result)
    undefined = (x < 0.0) & b.is_finite(x) & b.not_(whole) & b.eq(y, y)
    result = b.select(undefined, np.nan, result)
    return b.select(b.eq(y, 0.0) | b.eq(x, 1.0), 1.0, result)


FUNCTIONS: dict[str, MathFunction] = {
    "exp": exp, "exp2": exp2, "expm1": expm1, "log": log, "log2": log2, "log10": log10, "log1p": log1p,
    "log1p_inside": log1p_inside, "tanh": tanh,
    "tanh_derivative": tanh_derivative,
    "logistic": logistic, "logistic_density": logistic_density, "sinh": sinh, "cosh": cosh, "asinh": asinh,
    "acosh": acosh, "atanh": atanh, "pow": power,
}  # fmt: skip
