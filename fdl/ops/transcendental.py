"""Exponentials, logarithms, powers and roots."""

from collections.abc import Callable, Iterator, Sequence
from math import log as _ln
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from fdl.core.types import TensorType
from fdl.dtypes import FLOATING, INEXACT, float32, float64
from fdl.ops.arithmetic import abs_, add, div, max_, mul, sign, sub
from fdl.ops.bitwise import and_, not_, or_
from fdl.ops.compare import eq, gt, is_finite, lt
from fdl.ops.elementwise import Binary, Unary
from fdl.ops.precision import in_float32, in_float64
from fdl.ops.select import select
from fdl.ops.shape import full_like


class Function(Unary, abstract=True):
    """A function of one number, given by a NumPy function."""

    function: ClassVar[Callable[..., Any]]
    interval: ClassVar[tuple[float, float]] = (-2.0, 2.0)  # where samples are drawn

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_float64(type(self).function, x)

    def reference_for(self, *types: TensorType) -> Callable[..., Any]:
        function = type(self).function
        if types[0].dtype is not float32 or type(self).reference is not Function.reference:
            return self.reference
        return lambda x: function(x.astype(float64)).astype(float32)  # what `in_float64` does

    def lower(self, build: Any, x: Any) -> Any:
        return build.call(self.name, x)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        x = rng.uniform(*self.interval, shape)
        return np.asarray(x + 0.3j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


class Exp(Function):
    """e to the power x."""

    function = np.exp

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return out


class Exp2(Function):
    """2 to the power x."""

    function = np.exp2

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(out, full_like(x, _ln(2)))


class Expm1(Function):
    """exp(x) - 1, exact near zero."""

    @staticmethod
    def function(x: np.ndarray) -> np.ndarray:
        out = np.expm1(x)
        if x.dtype.kind != "c":
            return out
        # NumPy multiplies infinity by the sine of zero; the exponential has the limits that C's standard demands. Of
        # zero the real part has no sign.
        out = np.where(np.isfinite(x), out, np.exp(x) - 1)
        out.real[x == 0] = 0
        return out

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return exp(x)  # out + 1 cancels


class Log(Function):
    """The natural logarithm."""

    function = np.log
    interval = (0.2, 3.0)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return log(*primals), div(tangents[0], primals[0])  # 1 / x may overflow where a multiple of it does not


class Log2(Function):
    """The logarithm to base 2, exact for powers of 2."""

    function = np.log2
    domain = FLOATING
    interval = (0.2, 3.0)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 1 / _ln(2)), x)


class Log10(Function):
    """The logarithm to base 10, exact for powers of 10."""

    function = np.log10
    domain = FLOATING
    interval = (0.2, 3.0)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 1 / _ln(10)), x)


class Log1p(Function):
    """log(1 + x), exact near zero."""

    function = np.log1p
    interval = (-0.7, 3.0)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 1), add(x, full_like(x, 1)))


class Sqrt(Function):
    """The square root."""

    function = np.sqrt
    interval = (0.2, 3.0)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_float32(np.sqrt, x)  # which is rounded right in every format

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 0.5), out)

    def lower(self, build: Any, x: Any) -> Any:
        return build.sqrt(x)


class Rsqrt(Function):
    """1 / sqrt(x)."""

    interval = (0.2, 3.0)

    @staticmethod
    def function(x: np.ndarray) -> np.ndarray:
        return np.reciprocal(np.sqrt(x))

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return div(mul(full_like(x, -0.5), out), x)

    def lower(self, build: Any, x: Any) -> Any:
        return build.rsqrt(x)


class Cbrt(Function):
    """The real cube root."""

    @staticmethod
    def function(x: np.ndarray) -> np.ndarray:
        # C's libraries miss the roots of perfect cubes in float64: one step of Newton's method, the residual exact.
        scaled, exponent = np.frexp(x)
        shift = exponent % 3
        scaled = np.ldexp(scaled, shift)
        root = np.cbrt(scaled)
        square, square_low = _product(root, root)
        cube, cube_low = _product(square, root)
        residual = (cube - scaled) + (cube_low + square_low * root)
        root = np.ldexp(root - residual / (3 * square), (exponent - shift) // 3)
        return np.where(np.isfinite(x) & (x != 0), root, x)

    domain = FLOATING
    interval = (0.2, 3.0)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 1 / 3), mul(out, out))


class Pow(Binary):
    """x to the power y."""

    domain = INEXACT

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return in_float64(np.power, x, y)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        one, zero = full_like(x, 1), full_like(x, 0)
        if index == 0:
            # Where y * x**(y - 1) would be 0 * inf or 0 * nan although x**0 is one everywhere.
            constant = and_(eq(y, zero), not_(gt(abs_(x), full_like(abs_(x), 0))))
            less = select(constant, one, sub(y, one))
            by_power = mul(y, pow_(x, less))
            if x.type.dtype.kind != "c":
                # The rounding of y - 1 is multiplied by log(x); of large y it loses whether y is odd.
                normal = full_like(x, float(ml_dtypes.finfo(x.type.dtype).tiny))
                plain = or_(eq(less, y), and_(gt(abs_(out), normal), is_finite(out)))
                plain = and_(plain, and_(gt(abs_(x), zero), is_finite(x)))
                small = lt(abs_(y), one)  # y / x may overflow where out is large, 1 / x where x is subnormal
                quotient = div(select(small, mul(y, out), out), select(plain, x, one))
                by_power = select(plain, select(small, quotient, mul(y, quotient)), by_power)
            return select(constant, zero, by_power)
        return mul(out, log(select(eq(x, zero), one, x)))

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.call("pow", x, y)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield from super().samples(rng)
        yield self, np.array([2.0, 3.0, 0.5]), np.array([0.0, 1.0, -2.0])

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.3, 2.5, shape)).astype(dtype)


class Hypot(Binary):
    """The length of the vector (x, y), without overflow; exact where it is a whole number of times the unit of both."""

    domain = FLOATING

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return in_float64(np.hypot, x, y)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        a, b, size = direction(x, y)
        share = div(a if index == 0 else b, sqrt(add(mul(a, a), mul(b, b))))
        # Where the length is zero both share the derivative of abs, as in JAX.
        return select(eq(size, full_like(x, 0)), full_like(x, 0.5), share)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.call("hypot", x, y)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield from super().samples(rng)
        yield self, np.array([3.0, 0.0, np.inf, np.nan, -5.0]), np.array([-4.0, -0.0, np.nan, 1.0, 12.0])


def direction(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """x and y divided by the larger of their sizes, so that no square overflows or underflows; and that size."""
    zero, one, infinite = (full_like(x, v) for v in (0, 1, np.inf))
    size = max_(abs_(x), abs_(y))
    divisor = select(eq(size, zero), one, size)
    a, b = (select(eq(abs_(v), infinite), sign(v), div(v, divisor)) for v in (x, y))
    return a, b, size


def _product(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x y of float64 of ordinary size, as its rounded value and the exact rest (Dekker 1971)."""
    split = 2.0**27 + 1
    x_high, y_high = (v * split - (v * split - v) for v in (x, y))
    x_low, y_low = x - x_high, y - y_high
    product = x * y
    return product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


exp, exp2, expm1, log, log2, log10, log1p, pow_ = Exp(), Exp2(), Expm1(), Log(), Log2(), Log10(), Log1p(), Pow()
sqrt, rsqrt, cbrt, hypot = Sqrt(), Rsqrt(), Cbrt(), Hypot()
