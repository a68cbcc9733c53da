"""Integrals of elementary functions that have names, by SciPy: of exponentials, of sines, of the error function."""

from math import pi
from math import sqrt as _root
from typing import Any

import numpy as np

from fdl.errors import DifferentiationError
from fdl.ops.arithmetic import add, div, mul, neg, sub
from fdl.ops.compare import eq, lt
from fdl.ops.elementwise import Binary, Unary
from fdl.ops.select import select
from fdl.ops.shape import full_like
from fdl.ops.special import Special, erf, in_scipy
from fdl.ops.transcendental import exp, log, log1p
from fdl.ops.trigonometric import cos, sin


class Exp1(Special, Unary):
    """The integral of exp(-t) / t from x to infinity."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("exp1", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return neg(div(exp(neg(x)), x))


class Expi(Special, Unary):
    """The principal value of the integral of exp(t) / t from minus infinity to x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("expi", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return div(exp(x), x)


class Expn(Special, Binary):
    """The integral of exp(-x t) / t**n from 1 to infinity; n is a whole number."""

    def reference(self, n: np.ndarray, x: np.ndarray) -> np.ndarray:
        import scipy.special  # slow to import, seldom needed

        order, at = n.astype(np.float64), x.astype(np.float64)
        whole = (order >= 0) & (order == np.floor(order)) & (order < 2**31)
        found = scipy.special.expn(np.where(whole, order, 0).astype(np.int32), at)
        return np.where(whole & ~np.isnan(at), found, np.nan).astype(x.dtype)

    def derivative(self, index: int, out: Any, n: Any, x: Any) -> Any:
        if index == 0:
            raise DifferentiationError("expn(n, x) has no derivative by its order n; wrap n in stop_gradient")
        one, first = full_like(x, 1), eq(n, full_like(n, 0))
        lower = expn(select(first, one, sub(n, one)), x)
        return neg(select(first, mul(out, add(one, div(one, x))), lower))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.integers(1, 4, shape)).astype(dtype)


class Si(Special, Unary):
    """The integral of sin(t) / t from 0 to x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("sici", x, part=0)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        origin = eq(x, full_like(x, 0))
        one = full_like(x, 1)
        return select(origin, one, div(sin(x), select(origin, one, x)))


class Ci(Special, Unary):
    """Euler's constant, log(x), and the integral of (cos(t) - 1) / t from 0 to x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("sici", x, part=1)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return div(cos(x), x)


class FresnelSin(Special, Unary):
    """The integral of sin(pi t**2 / 2) from 0 to x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("fresnel", x, part=0)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return sin(mul(full_like(x, pi / 2), mul(x, x)))


class FresnelCos(Special, Unary):
    """The integral of cos(pi t**2 / 2) from 0 to x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("fresnel", x, part=1)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return cos(mul(full_like(x, pi / 2), mul(x, x)))


class Dawsn(Special, Unary):
    """Dawson's integral: exp(-x**2) times the integral of exp(t**2) from 0 to x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("dawsn", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return dawsn_derivative(x)


class DawsnDerivative(Special, Unary):
    """1 - 2 x dawsn(x), whose terms cancel for large x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import dawsn

        size = np.abs(x.astype(np.float64))
        far = np.maximum(size, 8.0)
        with np.errstate(invalid="ignore", under="ignore", over="ignore"):
            near = 1 - 2 * size * dawsn(size)
            return np.where(size > 8.0, -_tail(far, 1.0), near).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, -2), add(dawsn(x), mul(x, out)))


class Erfcx(Special, Unary):
    """exp(x**2) erfc(x)."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("erfcx", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return erfcx_derivative(x)


class ErfcxDerivative(Special, Unary):
    """2 x erfcx(x) - 2 / sqrt(pi), whose terms cancel for large x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import erfcx

        wide = x.astype(np.float64)
        far = np.maximum(wide, 8.0)
        with np.errstate(invalid="ignore", under="ignore", over="ignore"):
            near = 2 * wide * erfcx(wide) - 2 / _root(pi)
            return np.where(wide > 8.0, 2 / _root(pi) * _tail(far, -1.0), near).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, 2), add(erfcx(x), mul(x, out)))


def _tail(x: np.ndarray, sign: float) -> np.ndarray:
    """The sum of (2k - 1)!! (sign / (2 x**2))**k over k = 1, 2, ...: asymptotic, for x above 8."""
    ratio = sign / (2 * x * x)
    term, total = np.ones_like(x), np.zeros_like(x)
    for k in range(1, 26):
        term = term * (2 * k - 1) * ratio
        total = total + term
    return total


class Spence(Special, Unary):
    """The integral of log(t) / (1 - t) from 1 to x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("spence", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        one = full_like(x, 1)
        left = sub(x, one)
        flat = eq(left, full_like(x, 0))
        low = lt(x, full_like(x, 0.5))
        safe = select(flat, one, left)
        logarithm = select(low, log(select(low, x, one)), log1p(select(low, full_like(x, 0), safe)))
        return select(flat, neg(one), neg(div(logarithm, safe)))


class OwensT(Special, Binary):
    """Owen's T: the integral of exp(-h**2 (1 + t**2) / 2) / (1 + t**2) from 0 to a, over 2 pi."""

    def reference(self, h: np.ndarray, a: np.ndarray) -> np.ndarray:
        from scipy.special import owens_t

        return np.asarray(owens_t(h.astype(np.float64), a.astype(np.float64))).astype(h.dtype)

    def derivative(self, index: int, out: Any, h: Any, a: Any) -> Any:
        half = full_like(h, -0.5)
        if index == 0:
            density = exp(mul(half, mul(h, h)))
            return mul(full_like(h, -0.5 / _root(2 * pi)), mul(density, erf(mul(mul(a, h), full_like(h, _root(0.5))))))
        whole = add(full_like(a, 1), mul(a, a))
        return div(exp(mul(half, mul(mul(h, h), whole))), mul(full_like(a, 2 * pi), whole))


exp1, expi, expn, sine_integral, cosine_integral = Exp1(), Expi(), Expn(), Si(), Ci()
fresnel_sin, fresnel_cos, spence, owens_t = FresnelSin(), FresnelCos(), Spence(), OwensT()
dawsn, dawsn_derivative, erfcx, erfcx_derivative = Dawsn(), DawsnDerivative(), Erfcx(), ErfcxDerivative()
