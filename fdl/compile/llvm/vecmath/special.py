"""The error functions, the cube root and the length of a vector."""

import math

import numpy as np

from fdl.compile.llvm.function import FunctionBuilder
from fdl.compile.llvm.values import Value
from fdl.compile.llvm.vecmath.exponential import exp, exp_parts, log, two_product
from fdl.compile.llvm.vecmath.tables import MathFunction, format_of, polynomial
from fdl.dtypes import float64


def _erf_small(b: FunctionBuilder, x: Value) -> Value:
    """erf(x) for |x| <= 1."""
    return b.fma(x, polynomial(b, x * x, format_of(x.dtype).erf), x)


def _erfc_positive(b: FunctionBuilder, x: Value) -> Value:
    """erfc(x) for x >= 1/2: (1 + 2 x) exp(x^2) erfc(x) is a smooth function of (x - K) / (x + K).

    After M. M. Shepherd and J. G. Laframboise, "Chebyshev Approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf",
    Math. Comp. 36 (1981).
    """
    f = format_of(x.dtype)
    limit = 28.0 if f.mantissa == 52 else 10.5
    x = b.select(x > limit, limit, x)
    return gaussian(b, x, x) * _smooth(b, x)


def _is_whole(b: FunctionBuilder, x: Value) -> bool:
    """Whether `_smooth` holds from 0 on; in two roundings a product and sum would miss five units in the last place."""
    return bool(format_of(x.dtype).erfc_whole) and b.target.fma


def _smooth(b: FunctionBuilder, x: Value, unit: float = 1.0) -> Value:
    """exp(y^2) erfc(y) of y = x * unit for 1/2 <= y <= 28, or from 0 on (`_is_whole`).

    Both of its divisions are one, which takes longer than products.
    """
    f = format_of(x.dtype)
    scale, coefficients = (2.0, f.erfc_whole) if _is_whole(b, x) else (3.75, f.erfc)
    divisor, width = x + scale / unit, b.fma(x, 2.0 * unit, 1.0)
    inverse = 1.0 / (divisor * width)
    ratio = (x - scale / unit) * (width * inverse)
    return polynomial(b, ratio, coefficients) * (divisor * inverse)


def gaussian(b: FunctionBuilder, x: Value, y: Value) -> Value:
    """exp(-x y), where x y is not negative."""
    limit = 40.0 if x.dtype == float64 else 20.0
    x, y = (b.select(b.abs(v) > limit, limit, b.abs(v)) for v in (x, y))
    product, rest = two_product(b, x, y)
    return exp(b, -product, -rest)


def ndtr(b: FunctionBuilder, x: Value) -> Value:
    """The standard normal distribution function: erfc(-x / sqrt(2)) / 2, with the exponential of x^2 / 2 itself."""
    f = format_of(x.dtype)
    size = b.abs(x)
    limit = 39.0 if f.mantissa == 52 else 14.5
    size = b.select(size > limit, limit, size)
    product, rest = two_product(b, size, size * 0.5)
    tail = exp(b, -product, -rest) * (_smooth(b, size, math.sqrt(0.5)) * 0.5)
    result = b.select(x < 0.0, tail, 1.0 - tail)
    if _is_whole(b, x):
        return result
    small = b.fma(_erf_small(b, x * math.sqrt(0.5)), 0.5, 0.5)
    return b.select(size < math.sqrt(0.5), small, result)


def erf(b: FunctionBuilder, x: Value) -> Value:
    """The error function: from 1 on 1 - exp(p(|x| - 1)), where p approaches log(erfc)."""
    f = format_of(x.dtype)
    size = b.abs(x)
    limit = 6.0 if f.mantissa == 52 else 4.0  # rounded, erf is 1 there
    power, rest = exp_parts(b, polynomial(b, b.select(size > limit, limit, size) - 1.0, f.erf_tail))
    large = b.copysign(b.fma(-power, rest, 1.0 - power), x)
    return b.select(size < 1.0, _erf_small(b, x), large)


def erfc(b: FunctionBuilder, x: Value) -> Value:
    """1 - erf(x)."""
    size = b.abs(x)
    tail = _erfc_positive(b, size)
    result = b.select(x < 0.0, 2.0 - tail, tail)
    if _is_whole(b, x):
        return result
    return b.select(size < 0.5, 1.0 - _erf_small(b, x), result)


def erf_inv(b: FunctionBuilder, x: Value) -> Value:
    """The inverse of the error function: x times a polynomial, or from 1/2 on t times one, for t = sqrt(-log(1 - |x|)).

    1 - |x| is exact there, and erf_inv(x) / t goes from 0.57 to 0.96 (after M. Giles, "Approximating the erfinv
    function", 2010, whose variable is log(1 - x^2)).
    """
    f = format_of(x.dtype)
    size = b.abs(x)
    t = b.sqrt(-log(b, 1.0 - size))
    tail = b.copysign(t * polynomial(b, (t - 2.25) / (t + 1.5), f.erf_inv_tail), x)
    tail = b.select(b.eq(size, 1.0), b.copysign(b.constant(np.inf, x.dtype, x.lanes), x), tail)
    return b.select(size < 0.5, x * polynomial(b, x * x, f.erf_inv), tail)


def cbrt(b: FunctionBuilder, x: Value) -> Value:
    """Cube root: a third of the logarithm, then one step of Newton's method, whose residual carries twice the digits.

    The step changes the root by far less than its precision is, so that the result is the rounded root of all but the
    rarest numbers, and the root itself of a perfect cube.
    """
    f = format_of(x.dtype)
    size = b.abs(x)
    # The cube of the root and what rounding it loses stay in the range of the format.
    step = f.bias // 6
    tiny, huge = size < 2.0 ** (-f.bias // 4), size > 2.0 ** (f.bias - 4)
    scale = b.select(tiny, 2.0 ** (3 * step), b.select(huge, 2.0**-6, b.constant(1.0, x.dtype, x.lanes)))
    scaled = size * scale
    root = exp(b, log(b, scaled) * (1.0 / 3.0))
    square, square_low = two_product(b, root, root)
    cube, cube_low = two_product(b, square, root)
    residual = (cube - scaled) + b.fma(square_low, root, cube_low)
    root = root - residual / (square * 3.0)
    root = root * b.select(tiny, 2.0**-step, b.select(huge, 4.0, b.constant(1.0, x.dtype, x.lanes)))
    ordinary = (size > 0.0) & (size < np.inf)
    return b.select(ordinary, b.copysign(root, x), x)


def hypot(b: FunctionBuilder, x: Value, y: Value) -> Value:
    """The length of (x, y): the root of the sum of squares, then one step of Newton's method with an exact residual."""
    if x.dtype != float64:
        wide_x, wide_y = (b.convert(v, float64) for v in (x, y))
        result = b.sqrt(wide_x * wide_x + wide_y * wide_y)
        infinite = b.eq(b.abs(wide_x), np.inf) | b.eq(b.abs(wide_y), np.inf)
        return b.convert(b.select(infinite, np.inf, result), x.dtype)
    width, height = b.abs(x), b.abs(y)
    steep = height > width
    low, high = b.select(steep, width, height), b.select(steep, height, width)
    one = b.constant(1.0, x.dtype, x.lanes)
    small, large = high < 2.0**-400, high > 2.0**400
    low, high = (v * b.select(small, 2.0**600, b.select(large, 2.0**-600, one)) for v in (low, high))
    length = b.sqrt(b.fma(high, high, low * low))
    # Of an infinite or vanishing length there is nothing to correct.
    (root, root_low), (a, a_low), (c, c_low) = (two_product(b, v, v) for v in (length, high, low))
    residual = ((root - a) - c) + (root_low - a_low - c_low)
    corrected = length - residual / (length * 2.0)
    length = b.select((length > 0.0) & (length < np.inf), corrected, length)
    length = length * b.select(small, 2.0**-600, b.select(large, 2.0**600, one))
    return b.select(b.eq(width, np.inf) | b.eq(height, np.inf), np.inf, length)


FUNCTIONS: dict[str, MathFunction] = {
    "erf": erf, "erfc": erfc, "erf_inv": erf_inv, "gaussian": gaussian, "ndtr": ndtr, "cbrt": cbrt, "hypot": hypot,
}  # fmt: skip
