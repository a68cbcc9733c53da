"""Elementwise arithmetic, but for sum, product and negation, which `elementwise` needs itself."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fdl.core.primitive import Linear
from fdl.core.types import TensorType
from fdl.dtypes import ALL, ANY, FLOATING, INEXACT, NUMERIC, REAL, SIGNED, float64
from fdl.errors import DtypeError
from fdl.ops.compare import eq
from fdl.ops.complex import complex_, conj, real
from fdl.ops.elementwise import Binary, Unary, add, mul, neg
from fdl.ops.precision import in_float32, in_float64
from fdl.ops.rounding import round_
from fdl.ops.select import select
from fdl.ops.shape import full_like


class Sub(Binary):
    """x - y; integers wrap around."""

    exact = True
    linear = True

    reference = staticmethod(np.subtract)  # type: ignore[assignment]

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        dx, dy = tangents
        return sub(*primals), neg(dy) if dx is None else dx if dy is None else sub(dx, dy)

    def transpose(self, cotangent: Any, x: Any, y: Any) -> Sequence[Any]:
        return (
            cotangent if isinstance(x, Linear) else None,
            neg(cotangent) if isinstance(y, Linear) else None,
        )

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.sub(x, y)


class Div(Binary):
    """x / y; integers truncate towards zero, and divided by zero give -1 (all bits set)."""

    linear = ((0,),)

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype in INEXACT:
            return np.true_divide(x, y)
        quotient = np.floor_divide(x, np.where(y == 0, 1, y))
        short = (quotient < 0) & (quotient * y != x)
        return np.where(y == 0, np.array(-1).astype(x.dtype), quotient + short).astype(x.dtype)

    def reference_for(self, *types: TensorType) -> Callable[..., Any]:
        return np.true_divide if types[0].dtype in INEXACT else self.reference

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x, y), (dx, dy) = primals, tangents
        out = div(x, y)
        if dy is None:
            return out, div(dx, y)
        by_y = neg(mul(div(out, y), dy))
        return out, by_y if dx is None else add(div(dx, y), by_y)

    def transpose(self, cotangent: Any, x: Any, y: Any) -> Sequence[Any]:
        return div(cotangent, y), None

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.div(x, y)


class Rem(Binary):
    """What is left of x after division by y truncated towards zero; the remainder of an integer by zero is x."""

    exact = True
    domain = REAL

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype in INEXACT:
            return in_float32(np.fmod, x, y)
        safe = np.where(y == 0, 1, y).astype(x.dtype)
        if x.dtype in SIGNED:
            safe = np.where(y == -1, 1, safe).astype(x.dtype)
        return np.where(y == 0, x, np.fmod(x, safe))

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        # The quotient of what the remainder leaves is a whole number but for its rounding.
        return full_like(x, 1) if index == 0 else neg(round_(div(sub(x, out), y)))

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.rem(x, y)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in self.domain:
            y = rng.integers(1, 5, (3, 9))
            whole, rest = rng.integers(0, 5, y.shape), rng.uniform(0.2, 0.8, y.shape)  # not where it jumps
            yield self, ((whole + rest) * y).astype(dtype), y.astype(dtype)
        yield self, np.array([7, -7, 7, -7, 5, -128], np.int8), np.array([3, 3, -3, -3, 0, -1], np.int8)
        special = np.array([7.5, -7.5, 7.5, np.inf, 1.0, 1.0, -0.0], np.float32)
        yield self, special, np.array([2.0, 2.0, -2.0, 2.0, np.inf, 0.0, 1.0], np.float32)
        yield self, np.ones((0, 2)), np.ones((0, 2))


class Nextafter(Binary):
    """The next number after x in the direction of y."""

    lowering_kind = "host"
    domain = FLOATING

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.nextafter(x, y)


class StopGradient(Unary):
    """x itself, as a constant to every derivative."""

    exact = True
    domain = ANY

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x

    def lower(self, build: Any, x: Any) -> Any:
        return x


class IntegerPow(Unary):
    """x to an integer power that is known beforehand; of integers it is not negative, and wraps around."""

    domain = NUMERIC
    exponent: int

    def result(self, *types: TensorType) -> TensorType:
        type = super().result(*types)
        if self.exponent < 0 and type.dtype not in INEXACT:
            raise DtypeError(f"{type} to the power {self.exponent} is not an integer; convert it to a float first")
        return type

    def reference(self, x: np.ndarray) -> np.ndarray:
        if x.dtype in INEXACT:
            if self.exponent == -1:  # zero at infinities, where the power of a complex number is NaN
                return in_float64(np.reciprocal, x)
            if x.dtype != float64 and x.dtype.kind != "c" and self.exponent in (2, 3):  # rounded from float64 the same
                return in_float64(np.square if self.exponent == 2 else _cubed, x)
            return in_float64(lambda v: np.power(v, v.dtype.type(self.exponent)), x)
        self.result(TensorType(x.shape, x.dtype))
        power, square, left = np.ones_like(x), x, self.exponent
        while left:
            power = np.multiply(power, square) if left & 1 else power
            square, left = np.multiply(square, square), left >> 1
        return power

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        if self.exponent == 0:
            return None
        return mul(full_like(x, self.exponent), IntegerPow(self.exponent - 1)(x))

    def lower(self, build: Any, x: Any) -> Any:
        return power_by_squaring(build, x, self.exponent)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for exponent in (-2, -1, 0, 1, 2, 3, 5):
            for dtype in INEXACT if exponent < 0 else NUMERIC:
                yield IntegerPow(exponent), rng.uniform(0.5, 4, (3, 4)).astype(dtype)


def power_by_squaring(build: Any, x: Any, exponent: int) -> Any:
    """Code for x ** exponent in about log2(exponent) multiplications."""
    one = build.constant(1, x.dtype, x.lanes)
    if exponent < 0:
        # In two steps, so that x**-exponent does not overflow where x**exponent is still a number.
        first = build.div(one, power_by_squaring(build, x, (1 - exponent) // 2))
        return first if exponent == -1 else build.div(first, power_by_squaring(build, x, -exponent // 2))
    result, square, left = None, x, exponent
    while left:
        if left & 1:
            result = square if result is None else build.mul(result, square)
        left >>= 1
        square = build.mul(square, square) if left else square
    return one if result is None else result


def _cubed(x: np.ndarray) -> np.ndarray:
    return x * x * x


class Max(Binary):
    """The larger of x and y; NaN if either is. Equal operands share the derivative."""

    exact = True
    domain = ALL

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(x, y)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        return _share(index, x, y, out)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.max(x, y)


class Min(Binary):
    """The smaller of x and y; NaN if either is. Equal operands share the derivative."""

    exact = True
    domain = ALL

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.minimum(x, y)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        return _share(index, x, y, out)

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.min(x, y)


def _share(index: int, x: Any, y: Any, out: Any) -> Any:
    """One where operand `index` was chosen, a half where both are equal."""
    mine, other = (x, y) if index == 0 else (y, x)
    won = select(eq(mine, out), full_like(x, 1), full_like(x, 0))
    return select(eq(mine, other), full_like(x, 0.5), won)


class Abs(Unary):
    """Absolute value; of a complex number its (real) modulus."""

    exact = True
    domain = SIGNED + INEXACT

    def result(self, *types: TensorType) -> TensorType:
        type = super().result(*types)
        return TensorType(type.shape, np.empty(0, type.dtype).real.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        # NumPy's own modulus of 3 + 4i is not 5 on processors with AVX-512.
        return in_float64(np.hypot, x.real, x.imag) if x.dtype.kind == "c" else np.abs(x)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x,), (dx,) = primals, tangents
        out = abs_(x)
        if x.type.dtype.kind != "c":
            return out, mul(select(eq(x, full_like(x, 0)), full_like(x, 1), sign(x)), dx)
        return out, real(mul(conj(sign(x)), dx))

    def lower(self, build: Any, x: Any) -> Any:
        return build.abs(x)


class Sign(Unary):
    """-1, 0 or 1 by the sign of x (NaN stays); of a complex number x / |x|."""

    domain = Binary.domain

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.where(x == 0, x, np.sign(x)).astype(x.dtype)  # keeps the sign of zero

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x,), (dx,) = primals, tangents
        out = sign(x)
        if x.type.dtype.kind != "c":
            return out, None
        # Of the motion only the part across the radius turns x / |x|.
        modulus = abs_(x)
        along = real(mul(conj(out), dx))
        across = sub(dx, mul(out, complex_(along, full_like(along, 0))))
        safe = select(eq(modulus, full_like(modulus, 0)), full_like(modulus, np.inf), modulus)
        return out, div(across, complex_(safe, full_like(safe, 0)))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield from super().samples(rng)
        yield self, np.array([0.0, -0.0, np.nan, np.inf, -np.inf], np.float32)

    def lower(self, build: Any, x: Any) -> Any:
        return build.sign(x)


sub, div, rem = Sub(), Div(), Rem()
nextafter, stop_gradient = Nextafter(), StopGradient()
max_, min_, abs_, sign = Max(), Min(), Abs(), Sign()
