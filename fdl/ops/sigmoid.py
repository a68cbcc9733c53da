"""Sigmoids: the logistic function, the hyperbolic tangent, whose derivatives need each other, and log(e**x + e**y)."""

from collections.abc import Iterator
from math import log as _ln
from typing import Any

import numpy as np

from fdl.dtypes import FLOATING
from fdl.ops.arithmetic import abs_, add, div, mul, neg, sub
from fdl.ops.bitwise import and_, not_
from fdl.ops.compare import eq, is_finite, lt
from fdl.ops.elementwise import Binary
from fdl.ops.precision import in_float32
from fdl.ops.select import select
from fdl.ops.shape import full_like
from fdl.ops.transcendental import Function, exp2


class Logistic(Function):
    """1 / (1 + exp(-x))."""

    @staticmethod
    def function(x: np.ndarray) -> np.ndarray:
        left, e = _exp_of_minus_size(x)
        one = x.dtype.type(1)
        return np.where(left, e, one) / (one + e)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return logistic_density(x)  # out * (1 - out) cancels


class LogisticDensity(Function):
    """The derivative of the logistic function, exp(-|x|) / (1 + exp(-|x|))**2."""

    @staticmethod
    def function(x: np.ndarray) -> np.ndarray:
        _, e = _exp_of_minus_size(x)
        return e / np.square(x.dtype.type(1) + e)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return neg(mul(out, tanh(mul(full_like(x, 0.5), x))))


class Tanh(Function):
    """Hyperbolic tangent."""

    @staticmethod
    def function(x: np.ndarray) -> np.ndarray:
        out = np.asarray(np.tanh(x))
        if x.dtype.kind != "c":
            return out
        # NumPy has the sign of sin(2 imag) there, the Array API that of imag.
        far = np.isinf(x.real) & np.isfinite(x.imag)
        out.imag[far] = np.copysign(0, x.imag[far])
        return out

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        if x.type.dtype.kind == "c":
            return mul(full_like(x, 4), logistic_density(mul(full_like(x, 2), x)))
        return tanh_derivative(x)  # 1 - out * out cancels


class TanhDerivative(Function):
    """The derivative of the hyperbolic tangent, 4 exp(-2 |x|) / (1 + exp(-2 |x|))**2."""

    domain = FLOATING

    @staticmethod
    def function(x: np.ndarray) -> np.ndarray:
        e = np.exp(-2 * np.abs(x))
        return 4 * e / np.square(1 + e)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(mul(full_like(x, -2), tanh(x)), out)


class Logaddexp(Binary):
    """log(e**x + e**y) without overflow, or with base 2 throughout."""

    domain = FLOATING
    base2: bool = False

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return in_float32(np.logaddexp2 if self.base2 else np.logaddexp, x, y)

    def derivative(self, index: int, out: Any, x: Any, y: Any) -> Any:
        mine, other = (x, y) if index == 0 else (y, x)
        zero, one = full_like(x, 0), full_like(x, 1)
        share = and_(eq(x, y), not_(is_finite(x)))  # equal infinities, whose difference is NaN
        ahead = select(share, zero, sub(mine, other))
        if not self.base2:
            return logistic(ahead)
        e = exp2(neg(abs_(ahead)))
        return div(select(lt(ahead, zero), e, one), add(one, e))

    def lower(self, build: Any, x: Any, y: Any) -> Any:
        distance = build.select(build.eq(x, y), 0.0, build.abs(x - y))
        rest = build.call("log1p", build.call("exp2" if self.base2 else "exp", -distance))
        return build.max(x, y) + (rest * (1 / _ln(2)) if self.base2 else rest)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for base2 in (False, True):
            yield from Binary.samples(Logaddexp(base2), rng)
            infinite = np.array([np.inf, -np.inf, np.inf, 0.0, -np.inf, np.nan, np.inf])
            yield Logaddexp(base2), infinite, np.array([np.inf, -np.inf, -np.inf, np.inf, 0.0, np.inf, 0.0])


def _exp_of_minus_size(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where x (its real part) is negative, and exp(x) there, exp(-x) elsewhere, which never overflow."""
    left = x.real < 0
    return left, np.exp(np.where(left, x, -x) if x.dtype.kind == "c" else -np.abs(x))


logistic, logistic_density, logaddexp, logaddexp2 = Logistic(), LogisticDensity(), Logaddexp(), Logaddexp(base2=True)
tanh, tanh_derivative = Tanh(), TanhDerivative()
