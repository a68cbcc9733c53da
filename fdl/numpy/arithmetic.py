"""Elementwise arithmetic: sums, products, quotients, powers, rounding, extrema."""

from typing import Any

import numpy as np

from fdl.array import alias
from fdl.composite import composite
from fdl.core.trace import Value
from fdl.dtypes import INEXACT, INTEGER, REAL, SIGNED, UNSIGNED, WEAK, bool_, default_dtype, python_number
from fdl.errors import DtypeError
from fdl.numpy._functions import binary, unary
from fdl.numpy._operands import (
    Array,
    ArrayLike,
    broadcast,
    cast,
    floating,
    integer,
    matched,
    no_out,
    number,
    promote,
    real_of,
)
from fdl.numpy.scalar_types import finfo
from fdl.ops import arithmetic as ops
from fdl.ops import bitwise, compare, rounding, transcendental
from fdl.ops import complex as complex_ops
from fdl.ops.convert import bitcast
from fdl.ops.precision import HALVES, accumulator
from fdl.ops.select import select
from fdl.ops.shape import full_like
from fdl.ops.trigonometric import atan2

add = binary("add", ops.add, "x + y; of booleans, x or y.", "1, 2 -> 3, dtype=int32", boolean=bitwise.or_)
subtract = binary("subtract", ops.sub, "x - y.", "1, 2 -> -1, dtype=int32")
multiply = binary("multiply", ops.mul, "x * y; of booleans, x and y.", "3, 2 -> 6, dtype=int32", boolean=bitwise.and_)
divide = true_divide = binary(
    "divide", ops.div, "x / y; integers give the default float.", "1, 2 -> 0.5, dtype=float32", to_inexact=True
)
maximum = binary(
    "maximum", ops.max_, "The larger of x and y; NaN if either is NaN.", "1, 2 -> 2, dtype=int32", boolean=bitwise.or_
)
minimum = binary(
    "minimum", ops.min_, "The smaller of x and y; NaN if either is NaN.", "1, 2 -> 1, dtype=int32", boolean=bitwise.and_
)
nextafter = binary(
    "nextafter",
    ops.nextafter,
    "The number next to x in the direction of y.",
    "0.0, 1.0 -> 1.e-45, dtype=float32",
    to_inexact=True,
)
negative = unary("negative", ops.neg, "-x.", "2 -> -2, dtype=int32", to_inexact=False)
floor = unary(
    "floor",
    rounding.floor,
    "The largest integer not above x.",
    "-1.5 -> -2., dtype=float32",
    to_inexact=False,
    integers="unchanged",
)
ceil = unary(
    "ceil",
    rounding.ceil,
    "The smallest integer not below x.",
    "-1.5 -> -1., dtype=float32",
    to_inexact=False,
    integers="unchanged",
)


@composite
def absolute(x: ArrayLike, /) -> Array:
    """The absolute value; of a complex number its modulus.

    Args:
        x: array or Python scalar of any number.

    Returns:
        An array like x, real if x is complex.

    >>> absolute(-2.5)
    Array(2.5, dtype=float32)
    """
    x = number("abs", x)
    return x if x.type.dtype in UNSIGNED or x.type.dtype == bool_ else ops.abs_(x)


abs = absolute


@composite
def fabs(x: ArrayLike, /) -> Array:
    """The absolute value of a real number, in floating point.

    >>> fabs(-2)
    Array(2., dtype=float32)
    """
    x = number("fabs", x, (bool_, *REAL))
    return ops.abs_(floating(x))


def positive(x: ArrayLike, /) -> Array:
    """x itself, as an array.

    >>> positive(2)
    Array(2, dtype=int32)
    """
    return number("positive", x)


@composite
def square(x: ArrayLike, /) -> Array:
    """x * x.

    >>> square(3)
    Array(9, dtype=int32)
    """
    return power(number("square", x), 2)


@composite
def reciprocal(x: ArrayLike, /) -> Array:
    """1 / x; integers give the default float.

    >>> reciprocal(4)
    Array(0.25, dtype=float32)
    """
    x = number("reciprocal", x)
    return ops.IntegerPow(-1)(floating(x))


@composite
def power(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 raised to x2.

    Args:
        x1: array or Python scalar.
        x2: the exponent; a Python integer is expanded into products. Integers may not be raised to negative ones.

    Returns:
        An array of the common shape and dtype.

    Raises:
        DtypeError: an integer to a negative Python integer.

    >>> power(2.0, 3), power(4.0, 0.5)
    (Array(8., dtype=float32), Array(2., dtype=float32))
    """
    x2 = python_number(x2)
    if type(x2) is int and isinstance(x1, Value) and x1.type.dtype == bool_:
        x1 = cast(x1, default_dtype(int))
    if type(x2) in (int, float) and isinstance(x1, Value):
        simple = _power_of_scalar(x1, x2)
        if simple is not None:
            return simple
    x1, x2 = broadcast("power", *promote("power", x1, x2))
    if x1.type.dtype in INTEGER or x1.type.dtype == bool_:
        return _integer_power(*(cast(x, np.dtype(np.int32)) if x.type.dtype == bool_ else x for x in (x1, x2)))
    return transcendental.pow_(x1, x2)


pow = power


def _power_of_scalar(x: Any, exponent: int | float) -> Any:
    """x to a Python number by products or a square root, or None if that is not how it is done."""
    dtype = x.type.dtype
    whole = dtype in INTEGER
    if type(exponent) is int and whole and exponent < 0:
        raise DtypeError(f"power: integers ({x.type}) cannot be raised to the negative power {exponent}; use floats")
    if dtype not in ops.IntegerPow.domain or (whole and type(exponent) is float):
        return None
    if exponent == 0.5 and dtype.kind != "c":
        return transcendental.sqrt(x)
    if type(exponent) is float and (exponent % 1 or not -16 <= exponent <= 16):
        return None
    return alias(x) if exponent == 1 else ops.IntegerPow(int(exponent))(x)


def _integer_power(x: Array, exponent: Array) -> Array:
    """By squaring, for one bit of the exponent after the other; negative exponents give 0 unless x is 1 or -1."""
    result, one, zero = full_like(x, 1), full_like(x, 1), full_like(x, 0)
    left = exponent
    for _ in range(8 * x.type.dtype.itemsize - 1):
        odd = compare.ne(bitwise.and_(left, one), zero)
        result = select(odd, ops.mul(result, x), result)
        x, left = ops.mul(x, x), bitwise.shift_right_logical(left, one)
    return result


@composite
def sign(x: ArrayLike, /) -> Array:
    """-1, 0 or 1 by the sign of x, 0 for -0.0 too; of a complex number, x / |x|.

    >>> sign(-2.5)
    Array(-1., dtype=float32)
    """
    found = ops.sign(number("sign", x))
    return ops.add(found, full_like(found, 0)) if found.type.dtype in INEXACT else found  # -0.0 + 0.0 is 0.0


def float_power(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x raised to y in floating point of at least the default precision.

    >>> float_power(2, -1)
    Array(0.5, dtype=float32)
    """
    return transcendental.pow_(*matched("float_power", x, y, to_inexact=True))


@composite
def floor_divide(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 / x2 rounded towards minus infinity.

    >>> floor_divide(-7, 2)
    Array(-4, dtype=int32)
    """
    return _divmod("floor_divide", x1, x2)[0]


@composite
def remainder(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """What is left of x1 after division by x2; it has the sign of x2.

    >>> remainder(-7, 2)
    Array(1, dtype=int32)
    """
    return _modulo(*_real_pair("remainder", x1, x2))[0]


mod = remainder


@composite
def divmod(x1: ArrayLike, x2: ArrayLike, /) -> tuple[Array, Array]:
    """Quotient rounded towards minus infinity, and remainder.

    >>> divmod(7, 2)
    (Array(3, dtype=int32), Array(1, dtype=int32))
    """
    return _divmod("divmod", x1, x2)


def fmod(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """What is left of x1 after division by x2 rounded towards zero; it has the sign of x1.

    >>> fmod(-7, 2)
    Array(-1, dtype=int32)
    """
    x, y = _real_pair("fmod", x1, x2)
    left = ops.rem(x, y)
    return select(compare.eq(y, full_like(y, 0)), full_like(x, 0), left) if x.type.dtype in INTEGER else left


def _real_pair(name: str, x: ArrayLike, y: ArrayLike) -> list[Array]:
    x, y = matched(name, x, y)
    if x.type.dtype == bool_:
        x, y = cast(x, np.dtype(np.int32)), cast(y, np.dtype(np.int32))
    if x.type.dtype not in REAL:
        raise DtypeError(f"{name} is not defined for {x.type}")
    return [x, y]


def _modulo(x: Array, y: Array) -> tuple[Array, Array]:
    """The remainder with the sign of y, and where it differs from the one with the sign of x."""
    zero, left = full_like(x, 0), ops.rem(x, y)
    if x.type.dtype in INTEGER:
        left = select(compare.eq(y, zero), zero, left)
    shifted = bitwise.and_(compare.ne(left, zero), compare.ne(compare.lt(left, zero), compare.lt(y, zero)))
    modulo = select(shifted, ops.add(left, y), left)
    if x.type.dtype in INTEGER:
        return modulo, shifted
    # A zero with the sign of y, and with the derivative of `left`.
    nothing = ops.sub(copysign(zero, y), ops.sub(ops.stop_gradient(left), left))
    return select(compare.eq(left, zero), nothing, modulo), shifted


def _divmod(name: str, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    x, y = _real_pair(name, x, y)
    dtype = x.type.dtype
    if dtype in HALVES:
        x, y = cast(x, np.dtype(np.float32)), cast(y, np.dtype(np.float32))
    modulo, shifted = _modulo(x, y)
    # A quotient that is rounded has no derivative.
    x, y = ops.stop_gradient(x), ops.stop_gradient(y)
    one, zero = full_like(x, 1), full_like(x, 0)
    if dtype in INTEGER:
        quotient = ops.div(x, y)
        quotient = select(shifted, ops.sub(quotient, one), quotient)
        return select(compare.eq(y, zero), zero, quotient), modulo  # zero by zero, as in NumPy
    # The multiple of y below x is exact but for its last bit, which rounding repairs. From the remainder with the sign
    # of x it is finite for an infinite y too.
    exact = ops.div(ops.sub(x, ops.rem(x, y)), y)
    exact = select(shifted, ops.sub(exact, one), exact)
    whole = rounding.floor(exact)
    whole = select(compare.gt(ops.sub(exact, whole), full_like(x, 0.5)), ops.add(whole, one), whole)
    ratio = ops.stop_gradient(ops.div(x, y))
    quotient = select(compare.eq(exact, zero), copysign(zero, ratio), whole)
    # As the Array API has it, which rounds the ratio down: infinity // 2 is infinity, and 1 // -infinity is -0.
    far = full_like(x, np.inf)
    known = bitwise.or_(compare.eq(ops.abs_(x), far), compare.eq(ops.abs_(y), far))
    quotient = select(bitwise.or_(compare.eq(y, zero), known), ratio, quotient)
    return cast(quotient, dtype), cast(modulo, dtype)


@composite
def trunc(x: ArrayLike, /) -> Array:
    """x rounded towards zero.

    >>> trunc(-1.5)
    Array(-1., dtype=float32)
    """
    x = number("trunc", x, (bool_, *REAL))
    if x.type.dtype.kind in "iub":
        return x
    return select(compare.lt(x, full_like(x, 0)), rounding.ceil(x), rounding.floor(x))


@composite
def rint(x: ArrayLike, /) -> Array:
    """x rounded to the nearest integer, halves to the even one, in floating point.

    >>> rint(2.5)
    Array(2., dtype=float32)
    """
    x = number("rint", x)
    if x.type.dtype.kind in "iub":
        return cast(x, default_dtype(float))
    return _each_part(rounding.round_, x)


@composite
def round(a: ArrayLike, decimals: int = 0, out: None = None) -> Array:
    """Rounded to a number of decimals, halves to even.

    Args:
        a: array or Python scalar.
        decimals: how many digits after the point to keep; negative ones round integer digits.
        out: not supported.

    >>> round(2.345, 1)
    Array(2.3, dtype=float32)
    """
    no_out("round", out)
    x, decimals = number("round", a), integer("round: decimals", decimals)
    if x.type.dtype.kind in "iub":
        if decimals >= 0:
            return x
        factor = cast(10**-decimals, x.type.dtype)
        return multiply(cast(rounding.round_(cast(x, np.dtype(np.float64)) / 10.0**-decimals), x.type.dtype), factor)
    if decimals == 0:
        return _each_part(rounding.round_, x)
    return cast(_each_part(lambda part: _rounded(part, decimals), cast(x, accumulator(x.type.dtype))), x.type.dtype)


around = round


def _rounded(x: Array, decimals: int) -> Array:
    """Real numbers rounded to some decimals; those whose multiple overflows have none."""
    most = 38 if x.type.dtype.itemsize == 4 else 308  # the powers of ten that the dtype holds
    factor = full_like(x, 10.0 ** max(-most, min(decimals, most)))
    scaled = ops.mul(x, factor)
    return select(compare.is_finite(scaled), ops.div(rounding.round_(scaled), factor), x)


def _each_part(operation: Any, x: Array) -> Array:
    """A function of real numbers applied to real and imaginary part."""
    if x.type.dtype.kind != "c":
        return operation(x)
    return complex_ops.complex_(operation(complex_ops.real(x)), operation(complex_ops.imag(x)))


@composite
def fmax(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The larger of x1 and x2; the other one if one is NaN.

    >>> fmax(1.0, float("nan"))
    Array(1., dtype=float32)
    """
    return _unless_nan(compare.gt, *matched("fmax", x1, x2))


@composite
def fmin(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The smaller of x1 and x2; the other one if one is NaN.

    >>> fmin(1.0, float("nan"))
    Array(1., dtype=float32)
    """
    return _unless_nan(compare.lt, *matched("fmin", x1, x2))


def _unless_nan(better: Any, x: Array, y: Array) -> Array:
    """x where it is better or y is NaN, else y, which also takes the derivative of equal ones, as in JAX."""
    return select(bitwise.or_(better(x, y), compare.ne(y, y)), x, y)


@composite
def clip(
    arr: ArrayLike | None = None,
    /,
    min: ArrayLike | None = None,
    max: ArrayLike | None = None,
) -> Array:
    """Limited to an interval.

    Args:
        arr: array or Python scalar.
        min: lower limit; None for none. A Python integer that `arr` cannot hold counts as the nearest that it can.
        max: upper limit; None for none. It wins where the limits cross.

    Raises:
        DtypeError: a complex operand.

    >>> clip(5.0, max=2)
    Array(2., dtype=float32)
    """
    x: Any = number("clip", arr, (bool_, *REAL))
    if type(arr) in WEAK:  # it takes the dtype of the bounds with all digits
        x, *limits = promote("clip", arr, *(bound for bound in (min, max) if bound is not None))
        min, max = limits[0] if min is not None else None, limits[-1] if max is not None else None
    elif x.type.dtype in INTEGER:
        min, max = _nearest(min, x.type.dtype), _nearest(max, x.type.dtype)
    min, max = (b if b is None or type(b) in WEAK else number("clip", b, (bool_, *REAL)) for b in (min, max))
    if min is not None:
        x = maximum(min, x)
    return x if max is None else minimum(max, x)


def _nearest(bound: Any, dtype: np.dtype) -> Any:
    """A limit, if it is a Python integer as the nearest one that an integer dtype holds."""
    if WEAK.get(type(bound)) is not int:
        return bound
    span = np.iinfo(dtype)
    return max(span.min, min(int(bound), span.max))


@composite
def copysign(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The magnitude of x1 with the sign of x2.

    >>> copysign(2.0, -0.0)
    Array(-2., dtype=float32)
    """
    x, y = matched("copysign", x1, x2, to_inexact=True)
    magnitude = ops.abs_(x)
    return select(signbit(y), ops.neg(magnitude), magnitude)


def signbit(x: ArrayLike, /) -> Array:
    """Whether the sign bit is set: true for negative numbers, -0.0 and negative NaN.

    >>> signbit(-0.0)
    Array(True, dtype=bool)
    """
    x = number("signbit", x, (bool_, *REAL))
    if x.type.dtype in UNSIGNED or x.type.dtype == bool_:
        return compare.ne(x, x)
    bits = x if x.type.dtype in SIGNED else bitcast(x, np.dtype(f"int{8 * x.type.dtype.itemsize}"))
    return compare.lt(bits, full_like(bits, 0))


def heaviside(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """0 where x1 is negative, 1 where it is positive, x2 where it is zero.

    >>> heaviside(0.0, 0.5)
    Array(0.5, dtype=float32)
    """
    x, y = matched("heaviside", x1, x2, to_inexact=True)
    zero, one = full_like(x, 0), full_like(x, 1)
    step = select(compare.lt(x, zero), zero, select(compare.gt(x, zero), one, y))
    return select(compare.ne(x, x), x, step)


def gcd(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The greatest common divisor, by Euclid's algorithm.

    >>> gcd(12, 18)
    Array(6, dtype=int32)
    """
    x, y = _integer_pair("gcd", x1, x2)
    zero = full_like(x, 0)
    # Fibonacci numbers need the most steps: 1.44 for every bit.
    for _ in range(int(1.45 * 8 * x.type.dtype.itemsize) + 1):
        done = compare.eq(y, zero)
        x, y = select(done, x, y), select(done, zero, ops.rem(x, select(done, full_like(x, 1), y)))
    # The smallest integer has no positive one: what was computed of it may be negative.
    return absolute(x)


def lcm(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The least common multiple.

    >>> lcm(4, 6)
    Array(12, dtype=int32)
    """
    x, y = _integer_pair("lcm", x1, x2)
    divisor = gcd(x, y)
    none = compare.eq(divisor, full_like(x, 0))
    return select(none, full_like(x, 0), ops.mul(x, ops.div(y, select(none, full_like(x, 1), divisor))))


def _integer_pair(name: str, x: ArrayLike, y: ArrayLike) -> list[Array]:
    x, y = matched(name, x, y)
    if x.type.dtype not in INTEGER:
        raise DtypeError(f"{name} is defined for integers, got {x.type}")
    return [absolute(x), absolute(y)]


def angle(z: ArrayLike, deg: bool = False) -> Array:
    """The argument of a complex number.

    Args:
        z: array or Python scalar.
        deg: whether in degrees instead of radians.

    >>> angle(1j, deg=True)
    Array(90., dtype=float32)
    """
    z = number("angle", z)
    z = z if z.type.dtype in INEXACT else cast(z, default_dtype(float))
    parts = (complex_ops.imag(z), complex_ops.real(z)) if z.type.dtype.kind == "c" else (full_like(z, 0), z)
    radians = atan2(*parts)
    return multiply(radians, 180 / np.pi) if deg else radians


def conjugate(x: ArrayLike, /) -> Array:
    """The complex conjugate; real numbers as they are.

    >>> conjugate(1 + 2j)
    Array(1.-2.j, dtype=complex64)
    """
    x = number("conjugate", x)
    return complex_ops.conj(x) if x.type.dtype.kind == "c" else x


conj = conjugate


def real(val: ArrayLike, /) -> Array:
    """The real part.

    >>> real(1 + 2j)
    Array(1., dtype=float32)
    """
    x = number("real", val)
    return complex_ops.real(x) if x.type.dtype.kind == "c" else x


def imag(val: ArrayLike, /) -> Array:
    """The imaginary part; zeros for real numbers.

    >>> imag(1 + 2j)
    Array(2., dtype=float32)
    """
    x = number("imag", val)
    return complex_ops.imag(x) if x.type.dtype.kind == "c" else full_like(x, 0)


@composite
def nan_to_num(
    x: ArrayLike,
    copy: bool = True,
    nan: ArrayLike = 0.0,
    posinf: ArrayLike | None = None,
    neginf: ArrayLike | None = None,
) -> Array:
    """NaN and infinities replaced by numbers.

    Args:
        x: array or Python scalar.
        copy: accepted for compatibility; arrays are immutable.
        nan: replaces NaN.
        posinf: replaces infinity; None is the largest finite number.
        neginf: replaces minus infinity; None is the smallest finite number.

    >>> nan_to_num(float("inf"), posinf=9.0)
    Array(9., dtype=float32)
    """
    x = number("nan_to_num", x)
    dtype = x.type.dtype
    if dtype.kind in "iub":
        return x
    if dtype.kind == "c":
        parts = (nan_to_num(part(x), copy, nan, posinf, neginf) for part in (complex_ops.real, complex_ops.imag))
        return complex_ops.complex_(*parts)
    limits = finfo(real_of(dtype))
    top = limits.max if posinf is None else posinf
    bottom = limits.min if neginf is None else neginf
    for wrong, replacement in (
        (compare.ne(x, x), nan),
        (compare.eq(x, full_like(x, np.inf)), top),
        (compare.eq(x, full_like(x, -np.inf)), bottom),
    ):
        x = select(wrong, broadcast("nan_to_num", cast(replacement, dtype), x)[0], x)
    return x
