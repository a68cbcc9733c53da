"""Comparisons, logic, bits, and predicates."""

from typing import Any

import numpy as np

from fdl.composite import composite
from fdl.dtypes import BOOLEAN, INEXACT, INTEGER, REAL, WEAK, bool_
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._functions import binary
from fdl.numpy._operands import Array, ArrayLike, broadcast_shapes, cast, expand_to, matched, no_out, number
from fdl.numpy.arithmetic import absolute, add, multiply, subtract
from fdl.numpy.shapes import any_array
from fdl.ops import arithmetic, bitwise, compare, reduce
from fdl.ops.complex import imag, real
from fdl.ops.shape import full_like

equal = binary("equal", compare.eq, "Whether x == y.", "1, 2 -> False, dtype=bool", decided=True)
not_equal = binary("not_equal", compare.ne, "Whether x != y.", "1, 2 -> True, dtype=bool", decided=True)
less = binary("less", compare.lt, "Whether x < y.", "1, 2 -> True, dtype=bool", decided=True)
less_equal = binary("less_equal", compare.le, "Whether x <= y.", "2, 2 -> True, dtype=bool", decided=True)
greater = binary("greater", compare.gt, "Whether x > y.", "1, 2 -> False, dtype=bool", decided=True)
greater_equal = binary("greater_equal", compare.ge, "Whether x >= y.", "2, 2 -> True, dtype=bool", decided=True)
bitwise_and = binary("bitwise_and", bitwise.and_, "The bits set in both x and y.", "6, 3 -> 2, dtype=int32")
bitwise_or = binary("bitwise_or", bitwise.or_, "The bits set in x or y.", "6, 3 -> 7, dtype=int32")
bitwise_xor = binary("bitwise_xor", bitwise.xor, "The bits set in exactly one of x and y.", "6, 3 -> 5, dtype=int32")
left_shift = bitwise_left_shift = binary(
    "left_shift", bitwise.shift_left, "The bits of x moved up by y places.", "3, 2 -> 12, dtype=int32"
)


def _truth(name: str, x: ArrayLike) -> Array:
    """Whether `x` is not zero."""
    x = number(name, x)
    return x if x.type.dtype == bool_ else compare.ne(x, full_like(x, 0))


@composite
def logical_and(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether x and y are both not zero.

    Args:
        x: array or Python scalar.
        y: array or Python scalar.

    >>> logical_and(True, 0)
    Array(False, dtype=bool)
    """
    return bitwise.and_(*matched("logical_and", _truth("logical_and", x), _truth("logical_and", y)))


@composite
def logical_or(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether x or y is not zero.

    >>> logical_or(True, 0)
    Array(True, dtype=bool)
    """
    return bitwise.or_(*matched("logical_or", _truth("logical_or", x), _truth("logical_or", y)))


@composite
def logical_xor(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether exactly one of x and y is not zero.

    >>> logical_xor(True, 1)
    Array(False, dtype=bool)
    """
    return bitwise.xor(*matched("logical_xor", _truth("logical_xor", x), _truth("logical_xor", y)))


@composite
def logical_not(x: ArrayLike, /) -> Array:
    """Whether x is zero.

    >>> logical_not(0.0)
    Array(True, dtype=bool)
    """
    return bitwise.not_(_truth("logical_not", x))


def invert(x: ArrayLike, /) -> Array:
    """All bits flipped; of booleans, not x.

    >>> invert(5), invert(True)
    (Array(-6, dtype=int32), Array(False, dtype=bool))
    """
    return bitwise.not_(number("invert", x, BOOLEAN + INTEGER))


bitwise_not = bitwise_invert = invert


@composite
def right_shift(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The bits of x1 moved down by x2 places; signed numbers keep their sign.

    >>> right_shift(-8, 1)
    Array(-4, dtype=int32)
    """
    x, y = matched("right_shift", x1, x2)
    if x.type.dtype not in INTEGER:
        raise DtypeError(f"right_shift is defined for integers, got {x.type}")
    logical = x.type.dtype.kind == "u"
    return (bitwise.shift_right_logical if logical else bitwise.shift_right_arithmetic)(x, y)


bitwise_right_shift = right_shift


def bitwise_count(x: ArrayLike, /) -> Array:
    """How many bits of the absolute value are set, as uint8.

    >>> bitwise_count(7)
    Array(3, dtype=uint8)
    """
    x = number("bitwise_count", x, INTEGER)
    if x.type.dtype.kind == "i":
        x = arithmetic.abs_(x)
    return cast(bitwise.population_count(x), np.dtype(np.uint8))


def _parts(x: Array) -> tuple[Array, ...]:
    if x.type.dtype.kind != "c":
        return (x,)
    return real(x), imag(x)


@composite
def isnan(x: ArrayLike, /) -> Array:
    """Whether x is not a number.

    >>> isnan(float("nan"))
    Array(True, dtype=bool)
    """
    x = number("isnan", x)
    return compare.ne(x, x)


@composite
def isfinite(x: ArrayLike, /) -> Array:
    """Whether x is neither infinite nor NaN.

    >>> isfinite(1.0)
    Array(True, dtype=bool)
    """
    x = number("isfinite", x)
    if x.type.dtype.kind in "iub":
        return compare.eq(x, x)
    found = [compare.is_finite(p) for p in _parts(x)]
    return found[0] if len(found) == 1 else bitwise.and_(*found)


def _is_infinity(x: Array, infinity: float) -> Array:
    return compare.eq(x, full_like(x, infinity))


@composite
def isinf(x: ArrayLike, /) -> Array:
    """Whether x is infinite.

    >>> isinf(float("-inf"))
    Array(True, dtype=bool)
    """
    x = number("isinf", x)
    if x.type.dtype.kind in "iub":
        return compare.ne(x, x)
    found = [_is_infinity(arithmetic.abs_(p), np.inf) for p in _parts(x)]
    return found[0] if len(found) == 1 else bitwise.or_(*found)


@composite
def isposinf(x: ArrayLike, /, out: None = None) -> Array:
    """Whether x is plus infinity.

    >>> isposinf(float("inf"))
    Array(True, dtype=bool)
    """
    no_out("isposinf", out)
    x = number("isposinf", x, (bool_, *REAL))
    return compare.ne(x, x) if x.type.dtype.kind in "iub" else _is_infinity(x, np.inf)


@composite
def isneginf(x: ArrayLike, /, out: None = None) -> Array:
    """Whether x is minus infinity.

    >>> isneginf(float("inf"))
    Array(False, dtype=bool)
    """
    no_out("isneginf", out)
    x = number("isneginf", x, (bool_, *REAL))
    return compare.ne(x, x) if x.type.dtype.kind in "iub" else _is_infinity(x, -np.inf)


def iscomplex(x: ArrayLike) -> Array:
    """Whether the imaginary part is not zero.

    >>> iscomplex(1 + 1j)
    Array(True, dtype=bool)
    """
    return logical_not(isreal(x))


def isreal(x: ArrayLike) -> Array:
    """Whether the imaginary part is zero.

    >>> isreal(1 + 1j)
    Array(False, dtype=bool)
    """
    x = number("isreal", x)
    if x.type.dtype.kind != "c":
        return full_like(compare.eq(x, x), True)
    imaginary = _parts(x)[1]
    return compare.eq(imaginary, full_like(imaginary, 0))


@composite
def isclose(
    a: ArrayLike, b: ArrayLike, rtol: ArrayLike = 1e-05, atol: ArrayLike = 1e-08, equal_nan: bool = False
) -> Array:
    """Whether |a - b| <= atol + rtol |b|, elementwise.

    Args:
        a: array or Python scalar.
        b: array or Python scalar.
        rtol: relative tolerance.
        atol: absolute tolerance.
        equal_nan: whether NaN is close to NaN.

    >>> isclose(1.0, 1.0 + 1e-6)
    Array(True, dtype=bool)
    """
    x, y = matched("isclose", a, b)
    same = compare.eq(x, y)
    if x.type.dtype == bool_:
        return same
    if x.type.dtype in INTEGER:
        x, y = (cast(v, np.dtype(np.float64)) for v in (x, y))
    near = less_equal(absolute(subtract(x, y)), add(atol, multiply(rtol, absolute(y))))
    close = logical_or(same, logical_and(near, logical_and(isfinite(x), isfinite(y))))
    return logical_or(close, logical_and(isnan(x), isnan(y))) if equal_nan else close


def allclose(
    a: ArrayLike, b: ArrayLike, rtol: ArrayLike = 1e-05, atol: ArrayLike = 1e-08, equal_nan: bool = False
) -> Array:
    """Whether all elements are close in the sense of :func:`isclose`.

    >>> allclose(1.0, 1.1)
    Array(False, dtype=bool)
    """
    return _all(isclose(a, b, rtol, atol, equal_nan))


def _all(x: Array) -> Array:
    return reduce.all_(x, tuple(range(x.type.ndim)))


def array_equal(a1: ArrayLike, a2: ArrayLike, equal_nan: bool = False) -> Array:
    """Whether shapes and all elements are the same.

    Args:
        a1: array.
        a2: array.
        equal_nan: whether NaN equals NaN.

    >>> array_equal(1, 1.0)
    Array(True, dtype=bool)
    """
    x, y = any_array("array_equal", a1), any_array("array_equal", a2)
    if x.type.shape != y.type.shape:
        return cast(False, bool_)
    same = equal(*(raw if type(raw) in WEAK else a for raw, a in ((a1, x), (a2, y))))
    may_be_nan = equal_nan and x.dtype in INEXACT and y.dtype in INEXACT
    return _all(logical_or(same, logical_and(isnan(x), isnan(y))) if may_be_nan else same)


def array_equiv(a1: ArrayLike, a2: ArrayLike) -> Array:
    """Whether the arrays, broadcast to one shape, are the same.

    >>> array_equiv(1, array([1, 1]))
    Array(True, dtype=bool)
    """
    x, y = any_array("array_equiv", a1), any_array("array_equiv", a2)
    try:
        shape = broadcast_shapes(x.type.shape, y.type.shape)
    except ShapeError:
        return cast(False, bool_)
    return _all(equal(*(raw if type(raw) in WEAK or a.weak else expand_to(a, shape) for raw, a in ((a1, x), (a2, y)))))


def iterable(y: Any) -> bool:
    """Whether one can loop over `y`.

    >>> iterable([1]), iterable(1)
    (True, False)
    """
    return bool(np.iterable(y))
