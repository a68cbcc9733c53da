"""Exponentials, logarithms, powers and roots."""

from collections.abc import Callable, Iterator
from math import log as _ln
from typing import Any, ClassVar

import numpy as np

from fdl.dtypes import FLOATING, INEXACT
from fdl.ops.arithmetic import abs_, add, div, mul, sub
from fdl.ops.bitwise import and_, not_
from fdl.ops.compare import eq, gt
from fdl.ops.elementwise import Binary, Unary
from fdl.ops.precision import in_float32
from fdl.ops.select import select
from fdl.ops.shape import full_like


class Function(Unary, abstract=True):
    """A function of one number, given by a NumPy function."""

    function: ClassVar[Callable[..., Any]]
    interval: ClassVar[tuple[float, float]] = (-2.0, 2.0)  # where samples are drawn

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_float32(type(self).function, x)

    def lower(self, build: Any, x: Any) -> Any:
        return build.call(self.name, x)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        x = rng.uniform(*self.interval, shape)
        return np.asarray(x + 0.3j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


class Exp(Function):
    """e to the power x."""

    function = np.exp

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return out


class Exp2(Function):
    """2 to the power x."""

    function = np.exp2

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return mul(out, full_like(x, _ln(2)))


class Expm1(Function):
    """exp(x) - 1, exact near zero."""

    function = np.expm1

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return add(out, full_like(x, 1))


class Log(Function):
    """The natural logarithm."""

    function = np.log
    interval = (0.2, 3.0)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 1), x)


class Log1p(Function):
    """log(1 + x), exact near zero."""

    function = np.log1p
    interval = (-0.7, 3.0)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 1), add(x, full_like(x, 1)))


class Sqrt(Function):
    """The square root."""

    function = np.sqrt
    interval = (0.2, 3.0)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return div(full_like(x, 0.5), out)

    def lower(self, build: Any, x: Any) -> Any:
        return build.sqrt(x)


class Rsqrt(Function):
    """1 / sqrt(x)."""

    interval = (0.2, 3.0)

    @staticmethod
    def function(x: np.ndarray) -> np.ndarray:
        return np.reciprocal(np.sqrt(x))

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, -0.5), div(out, x))

    def lower(self, build: Any, x: Any) -> Any:
        return build.rsqrt(x)


class Cbrt(Function):
    """The real cube root."""

    function = np.cbrt
    domain = FLOATING
    interval = (0.2, 3.0)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return div(out, mul(full_like(x, 3), x))


class Logistic(Function):
    """1 / (1 + exp(-x))."""

    @staticmethod
    def function(x: np.ndarray) -> np.ndarray:
        one = x.dtype.type(1)
        return np.reciprocal(one + np.exp(-x))

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return mul(out, sub(full_like(x, 1), out))


class Pow(Binary):
    """x to the power y."""

    domain = INEXACT

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return in_float32(np.power, x, y)

    def slope(self, index: int, out: Any, x: Any, y: Any) -> Any:
        one, zero = full_like(x, 1), full_like(x, 0)
        if index == 0:
            # Where y * x**(y - 1) would be 0 * inf or 0 * nan although x**0 is one everywhere.
            constant = and_(eq(y, zero), not_(gt(abs_(x), full_like(abs_(x), 0))))
            return select(constant, zero, mul(y, pow_(x, select(constant, one, sub(y, one)))))
        return mul(out, log(select(eq(x, zero), one, x)))

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        return build.call("pow", x, y)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield from super().samples(rng)
        yield self, np.array([2.0, 3.0, 0.5]), np.array([0.0, 1.0, -2.0])

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.3, 2.5, shape)).astype(dtype)


exp, exp2, expm1, log, log1p, pow_ = Exp(), Exp2(), Expm1(), Log(), Log1p(), Pow()
sqrt, rsqrt, cbrt, logistic = Sqrt(), Rsqrt(), Cbrt(), Logistic()
