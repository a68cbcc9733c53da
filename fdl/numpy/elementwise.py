"""Elementwise functions beyond `arithmetic`: exponentials, logarithms, trigonometry, parts of floats."""

import math
from typing import Any

import ml_dtypes
import numpy as np

from fdl.composite import composite
from fdl.dtypes import INTEGER, UNSIGNED, bool_
from fdl.errors import DtypeError
from fdl.numpy._functions import binary, unary
from fdl.numpy._operands import Array, ArrayLike, cast, floating, matched, no_out, number
from fdl.numpy.arithmetic import copysign, multiply, trunc
from fdl.ops import arithmetic, bitwise, compare, rounding, sigmoid, special, transcendental, trigonometric
from fdl.ops.complex import complex_, imag, real
from fdl.ops.convert import bitcast
from fdl.ops.select import select
from fdl.ops.shape import full_like

exp = unary("exp", transcendental.exp, "e to the power x.", "0 -> 1., dtype=float32")
exp2 = unary("exp2", transcendental.exp2, "2 to the power x.", "3 -> 8., dtype=float32")
expm1 = unary("expm1", transcendental.expm1, "exp(x) - 1, accurate near 0.", "0.0 -> 0., dtype=float32")
log = unary(
    "log", transcendental.log, "The natural logarithm; NaN for negative real numbers.", "1 -> 0., dtype=float32"
)
log1p = unary("log1p", transcendental.log1p, "log(1 + x), accurate near 0.", "0.0 -> 0., dtype=float32")
sqrt = unary("sqrt", transcendental.sqrt, "The square root; NaN for negative real numbers.", "9 -> 3., dtype=float32")
cbrt = unary("cbrt", transcendental.cbrt, "The real cube root.", "27 -> 3., dtype=float32")
sin = unary("sin", trigonometric.sin, "The sine of an angle in radians.", "0.0 -> 0., dtype=float32")
cos = unary("cos", trigonometric.cos, "The cosine of an angle in radians.", "0.0 -> 1., dtype=float32")
tan = unary("tan", trigonometric.tan, "The tangent of an angle in radians.", "0.0 -> 0., dtype=float32")
arcsin = asin = unary(
    "arcsin", trigonometric.asin, "The inverse sine, in [-pi/2, pi/2].", "0.5 -> 0.52359..., dtype=float32"
)
arccos = acos = unary("arccos", trigonometric.acos, "The inverse cosine, in [0, pi].", "1.0 -> 0., dtype=float32")
arctan = atan = unary(
    "arctan", trigonometric.atan, "The inverse tangent, in [-pi/2, pi/2].", "1.0 -> 0.78539..., dtype=float32"
)
sinh = unary("sinh", trigonometric.sinh, "The hyperbolic sine.", "0.0 -> 0., dtype=float32")
cosh = unary("cosh", trigonometric.cosh, "The hyperbolic cosine.", "0.0 -> 1., dtype=float32")
tanh = unary("tanh", sigmoid.tanh, "The hyperbolic tangent.", "0.0 -> 0., dtype=float32")
arcsinh = asinh = unary(
    "arcsinh", trigonometric.asinh, "The inverse hyperbolic sine.", "1.0 -> 0.88137..., dtype=float32"
)
arccosh = acosh = unary("arccosh", trigonometric.acosh, "The inverse hyperbolic cosine.", "1.0 -> 0., dtype=float32")
arctanh = atanh = unary(
    "arctanh", trigonometric.atanh, "The inverse hyperbolic tangent.", "0.5 -> 0.54930..., dtype=float32"
)
arctan2 = atan2 = binary(
    "arctan2",
    trigonometric.atan2,
    "The angle of the point (y, x) = (x1, x2), in (-pi, pi].",
    "1.0, -1.0 -> 2.35619..., dtype=float32",
    to_inexact=True,
)


@composite
def log2(x: ArrayLike, /) -> Array:
    """The logarithm to base 2.

    >>> log2(8.0)
    Array(3., dtype=float32)
    """
    return _logarithm("log2", transcendental.log2, 2, x)


@composite
def log10(x: ArrayLike, /) -> Array:
    """The logarithm to base 10.

    >>> log10(1000.0)
    Array(3., dtype=float32)
    """
    return _logarithm("log10", transcendental.log10, 10, x)


def _logarithm(name: str, operation: Any, base: int, x: ArrayLike) -> Array:
    """The primitive `operation`, which is exact for powers of the base; of complex numbers by the natural logarithm."""
    x = _floating(name, x)
    if x.type.dtype.kind != "c":
        return operation(x)
    # Parts by a real number: a complex quotient would multiply infinities by zero.
    found = transcendental.log(x)
    parts = [arithmetic.div(part(found), full_like(part(found), np.log(base))) for part in (real, imag)]
    return complex_(*parts)


@composite
def logaddexp(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """log(exp(x1) + exp(x2)) without overflow.

    Args:
        x1: array or Python scalar.
        x2: array or Python scalar. The imaginary part of a complex result lies between -pi and pi.

    >>> logaddexp(0.0, 0.0)
    Array(0.6931472, dtype=float32)
    """
    x, y = matched("logaddexp", x1, x2, to_inexact=True)
    return _log_of_sum(x, y) if x.type.dtype.kind == "c" else sigmoid.logaddexp(x, y)


@composite
def logaddexp2(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """log2(2**x1 + 2**x2) without overflow.

    >>> logaddexp2(3.0, 3.0)
    Array(4., dtype=float32)
    """
    x, y = matched("logaddexp2", x1, x2, to_inexact=True)
    if x.type.dtype.kind == "c":
        ln2 = full_like(x, math.log(2))
        return arithmetic.div(_log_of_sum(arithmetic.mul(x, ln2), arithmetic.mul(y, ln2)), ln2)
    return sigmoid.logaddexp2(x, y)


def _log_of_sum(x: Array, y: Array) -> Array:
    """log(exp(x) + exp(y)) of complex numbers: the one with the larger real part is taken out."""
    larger = compare.gt(real(x), real(y))
    high, low = select(larger, x, y), select(larger, y, x)
    # The difference of an infinity from itself is no number.
    same = bitwise.and_(compare.eq(low, high), bitwise.not_(compare.is_finite(real(high))))
    apart = select(same, full_like(x, 0), arithmetic.sub(low, high))
    found = arithmetic.add(high, log1p(exp(apart)))
    turn, angle = full_like(imag(found), 2 * math.pi), imag(found)
    turns = rounding.round_(arithmetic.div(angle, turn))
    return complex_(real(found), arithmetic.sub(angle, arithmetic.mul(turns, turn)))


def _real_floats(name: str, *args: ArrayLike) -> list[Array]:
    found = matched(name, *args, to_inexact=True)
    if found[0].type.dtype.kind == "c":
        raise DtypeError(f"{name} is defined for real numbers, got {found[0].type}")
    return found


@composite
def hypot(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """sqrt(x1**2 + x2**2) without overflow.

    >>> hypot(3.0, 4.0)
    Array(5., dtype=float32)
    """
    return transcendental.hypot(*_real_floats("hypot", x1, x2))


@composite
def sinc(x: ArrayLike, /) -> Array:
    """sin(pi x) / (pi x), and 1 at 0.

    >>> sinc(0.0)
    Array(1., dtype=float32)
    """
    x = number("sinc", x)
    x = floating(x)
    one, number_of_terms = full_like(x, 1), 13 if x.type.dtype.itemsize > 4 else 8
    near = compare.lt(_modulus(x), full_like(_modulus(x), 0.5))
    # Near 0 the power series, which does not cancel in derivatives.
    square = arithmetic.IntegerPow(2)(select(near, x, full_like(x, 0)))
    series = full_like(x, 0)
    for k in reversed(range(number_of_terms)):
        coefficient = full_like(x, (-(np.pi**2)) ** k / math.factorial(2 * k + 1))
        series = arithmetic.add(arithmetic.mul(series, square), coefficient)
    away = select(near, one, x)
    return select(near, series, arithmetic.div(_sin_of_pi(away), away))


def _modulus(x: Array) -> Array:
    return arithmetic.abs_(x)


def _sin_of_pi(x: Array) -> Array:
    """sin(pi x) / pi; real numbers are reduced first, which is exact."""
    pi, inverse = full_like(x, np.pi), full_like(x, 1 / np.pi)
    if x.type.dtype.kind == "c":
        return arithmetic.mul(trigonometric.sin(arithmetic.mul(x, pi)), inverse)
    whole = rounding.round_(x)
    half = arithmetic.mul(whole, full_like(x, 0.5))
    odd = compare.ne(half, rounding.floor(half))
    sine = trigonometric.sin(arithmetic.mul(arithmetic.sub(x, whole), pi))
    return arithmetic.mul(sine, select(odd, arithmetic.neg(inverse), inverse))


@composite
def degrees(x: ArrayLike, /) -> Array:
    """An angle in radians, in degrees.

    >>> degrees(pi)
    Array(180., dtype=float32)
    """
    return multiply(_floating("degrees", x), 180 / np.pi)


@composite
def radians(x: ArrayLike, /) -> Array:
    """An angle in degrees, in radians.

    >>> radians(180.0)
    Array(3.1415927, dtype=float32)
    """
    return multiply(_floating("radians", x), np.pi / 180)


rad2deg, deg2rad = degrees, radians


def _floating(name: str, x: ArrayLike) -> Array:
    x = number(name, x)
    return floating(x)


@composite
def i0(x: ArrayLike) -> Array:
    """The modified Bessel function of the first kind, order 0.

    >>> i0(0.0)
    Array(1., dtype=float32)
    """
    return special.i0(_floating("i0", x))


@composite
def frexp(x: ArrayLike, /) -> tuple[Array, Array]:
    """Mantissa in [0.5, 1) and exponent, so that x = mantissa * 2**exponent.

    Args:
        x: array or Python scalar, real.

    Returns:
        The mantissa, and the exponent as int32.

    >>> frexp(6.0)
    (Array(0.75, dtype=float32), Array(3, dtype=int32))
    """
    x = _floating("frexp", x)
    name = x.type.dtype
    if name.itemsize < 4:
        mantissa, exponent = frexp(cast(x, np.dtype(np.float32)))
        return cast(mantissa, name), exponent
    wide = name.itemsize == 8
    integer, digits, bias = np.dtype(np.int64 if wide else np.int32), 52 if wide else 23, 1022 if wide else 126
    # Numbers below the normal range are scaled up first.
    tiny = compare.lt(arithmetic.abs_(x), full_like(x, float(np.finfo(name).tiny)))
    scaled = select(tiny, arithmetic.mul(x, full_like(x, 2.0 ** (digits + 1))), x)
    bits = bitcast(scaled, integer)
    mask = (1 << (11 if wide else 8)) - 1
    field = bitwise.and_(bitwise.shift_right_logical(bits, full_like(bits, digits)), full_like(bits, mask))
    exponent = arithmetic.sub(field, full_like(bits, bias))
    exponent = select(tiny, arithmetic.sub(exponent, full_like(bits, digits + 1)), exponent)
    plain = bitwise.or_(compare.eq(x, full_like(x, 0)), bitwise.not_(compare.is_finite(x)))
    exponent = select(plain, full_like(bits, 0), exponent)
    # Two exact products, which have a derivative; the bits of the mantissa would have none.
    half = bitwise.shift_right_arithmetic(exponent, full_like(bits, 1))
    mantissa = x
    for part in (half, arithmetic.sub(exponent, half)):
        power = bitwise.shift_left(arithmetic.sub(full_like(bits, bias + 1), part), full_like(bits, digits))
        mantissa = arithmetic.mul(mantissa, bitcast(power, name))
    return mantissa, cast(exponent, np.dtype(np.int32))


@composite
def ldexp(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 * 2**x2.

    Args:
        x1: array or Python scalar, real.
        x2: integer exponents.

    >>> ldexp(0.75, 3)
    Array(6., dtype=float32)
    """
    exponent = number("ldexp", x2)
    if exponent.type.dtype not in INTEGER and exponent.type.dtype != bool_:
        raise DtypeError(f"ldexp: the exponent x2 must be an integer, got {exponent.type}")
    x = _floating("ldexp", x1)
    # By three powers of two that the dtype holds, which take each number to its ends, and no zero to no number.
    reach = int(ml_dtypes.finfo(x.type.dtype).maxexp) - 2
    if exponent.type.dtype.itemsize < 4:
        exponent = cast(exponent, np.dtype(np.int32))
    if exponent.type.dtype in UNSIGNED:
        exponent = arithmetic.min_(exponent, full_like(exponent, 3 * reach))
    else:
        exponent = _within(exponent, 3 * reach)
    x, rest = matched("ldexp", x, cast(exponent, x.type.dtype))
    for _ in range(3):
        part = _within(rest, reach)
        x, rest = arithmetic.mul(x, transcendental.exp2(part)), arithmetic.sub(rest, part)
    return x


def _within(x: Array, reach: int) -> Array:
    """`x`, not below -reach and not above it."""
    return arithmetic.max_(arithmetic.min_(x, full_like(x, reach)), full_like(x, -reach))


@composite
def modf(x: ArrayLike, /, out: None = None) -> tuple[Array, Array]:
    """Fractional and integral part, both with the sign of x.

    >>> modf(-2.5)
    (Array(-0.5, dtype=float32), Array(-2., dtype=float32))
    """
    no_out("modf", out)
    x = _floating("modf", x)
    whole = trunc(x)
    infinite = compare.eq(arithmetic.abs_(x), full_like(x, np.inf))
    fraction = select(infinite, full_like(x, 0), arithmetic.sub(x, whole))
    return copysign(fraction, x), whole


def spacing(x: ArrayLike, /) -> Array:
    """The distance to the next number away from zero, in float16 to the next larger one.

    >>> spacing(1.0)
    Array(1.1920929e-07, dtype=float32)
    """
    x = _floating("spacing", x)
    up = full_like(x, np.inf)
    away = up if x.type.dtype == np.float16 else copysign(up, x)  # NumPy's rule for half precision
    return arithmetic.sub(arithmetic.nextafter(x, away), x)
