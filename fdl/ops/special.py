"""Special functions, by SciPy."""

from collections.abc import Iterator
from math import pi
from math import sqrt as _root
from typing import Any, ClassVar

import numpy as np

from fdl.dtypes import FLOATING
from fdl.errors import DifferentiationError
from fdl.ops.arithmetic import add, div, mul, neg, sign, sub
from fdl.ops.compare import eq
from fdl.ops.elementwise import Binary, Elementwise, Unary
from fdl.ops.precision import in_float32
from fdl.ops.select import select
from fdl.ops.shape import full_like
from fdl.ops.transcendental import exp, log, log1p


def _scipy(name: str, *arrays: np.ndarray) -> np.ndarray:
    import scipy.special  # slow to import, seldom needed

    return in_float32(getattr(scipy.special, name), *arrays)


class Special(Elementwise, abstract=True):
    """A function of real numbers that SciPy knows."""

    domain: ClassVar[tuple[np.dtype, ...]] = FLOATING

    def lower(self, build: Any, *xs: Any) -> Any:
        return build.call(self.name, *xs)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.3, 4.0, shape)).astype(dtype)


class Erf(Special, Unary):
    """The error function."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return _scipy("erf", x)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, 2 / _root(pi)), exp(neg(mul(x, x))))


class Erfc(Special, Unary):
    """1 - erf(x), exact where erf(x) is close to one."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return _scipy("erfc", x)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, -2 / _root(pi)), exp(neg(mul(x, x))))


class ErfInv(Special, Unary):
    """The inverse of the error function."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.where(x == 0, x, _scipy("erfinv", x))  # keeps the sign of zero

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, _root(pi) / 2), exp(mul(out, out)))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(-0.9, 0.9, shape)).astype(dtype)


class Lgamma(Special, Unary):
    """The logarithm of the absolute value of the gamma function."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return _scipy("gammaln", x)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return digamma(x)


class Digamma(Special, Unary):
    """The derivative of lgamma; NaN at its poles."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        pole = (x <= 0) & (x == np.floor(x))
        return np.where(pole, np.array(np.nan).astype(x.dtype), _scipy("psi", x))

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return polygamma(full_like(x, 1), x)


class Polygamma(Special, Binary):
    """The derivative of digamma of order n, a whole number, at x."""

    def reference(self, n: np.ndarray, x: np.ndarray) -> np.ndarray:
        # In float64: the factorial and the zeta function soon leave float32's range.
        return np.asarray(_scipy("polygamma", n.astype(np.float64), x.astype(np.float64))).astype(x.dtype)

    def slope(self, index: int, out: Any, n: Any, x: Any) -> Any:
        if index == 0:
            raise DifferentiationError("polygamma(n, x) has no derivative by its order n; wrap n in stop_gradient")
        return polygamma(add(n, full_like(n, 1)), x)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in FLOATING:
            yield self, np.array([0, 1, 2, 3]).astype(dtype), self.draw(rng, (4,), dtype)


class Zeta(Special, Binary):
    """Hurwitz' zeta function: the sum of (q + k) to the power -x over k = 0, 1, 2, ..."""

    def reference(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        return _scipy("zeta", x, q)

    def slope(self, index: int, out: Any, x: Any, q: Any) -> Any:
        if index == 0:
            raise DifferentiationError("zeta(x, q) has no derivative by x; wrap x in stop_gradient")
        return neg(mul(x, zeta(add(x, full_like(x, 1)), q)))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(1.5, 4.0, shape)).astype(dtype)


class Igamma(Special, Binary):
    """The regularized lower incomplete gamma function P(a, x)."""

    def reference(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        return _scipy("gammainc", a, x)

    def slope(self, index: int, out: Any, a: Any, x: Any) -> Any:
        return igamma_grad_a(a, x) if index == 0 else _gamma_density(a, x)


class Igammac(Special, Binary):
    """The regularized upper incomplete gamma function 1 - P(a, x)."""

    def reference(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        return _scipy("gammaincc", a, x)

    def slope(self, index: int, out: Any, a: Any, x: Any) -> Any:
        return neg(igamma_grad_a(a, x) if index == 0 else _gamma_density(a, x))


def _gamma_density(a: Any, x: Any) -> Any:
    """The derivative of P(a, x) by x: the density of the gamma distribution."""
    return exp(sub(mul(sub(a, full_like(a, 1)), log(x)), add(x, lgamma(a))))


class IgammaGradA(Special, Binary):
    """The derivative of P(a, x) by a."""

    def reference(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        from scipy.special import gammainc

        wide, at = a.astype(np.float64), x.astype(np.float64)
        # P varies with a over the length a near zero and sqrt(a) far from it. The central stencil of fourth order is
        # then exact to about 1e-11.
        h = 2e-3 * np.minimum(wide, np.sqrt(wide))
        near = gammainc(wide + h, at) - gammainc(wide - h, at)
        far = gammainc(wide + 2 * h, at) - gammainc(wide - 2 * h, at)
        return ((8 * near - far) / (12 * h)).astype(a.dtype)

    def slope(self, index: int, out: Any, a: Any, x: Any) -> Any:
        if index == 0:
            raise DifferentiationError("the incomplete gamma function has no second derivative by a")
        return mul(_gamma_density(a, x), sub(log(x), digamma(a)))


class Betainc(Special):
    """The regularized incomplete beta function of a, b and x."""

    arity = 3

    def reference(self, a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        return _scipy("betainc", a, b, x)

    def slope(self, index: int, out: Any, a: Any, b: Any, x: Any) -> Any:
        if index < 2:
            raise DifferentiationError("betainc(a, b, x) has no derivative by a and b; wrap them in stop_gradient")
        one = full_like(x, 1)
        log_beta = sub(add(lgamma(a), lgamma(b)), lgamma(add(a, b)))
        return exp(sub(add(mul(sub(b, one), log1p(neg(x))), mul(sub(a, one), log(x))), log_beta))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.2, 0.9, shape)).astype(dtype)


class I0e(Special, Unary):
    """exp(-abs(x)) times the modified Bessel function of order 0."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return _scipy("i0e", x)

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return sub(i1e(x), mul(sign(x), out))


class I1e(Special, Unary):
    """exp(-abs(x)) times the modified Bessel function of order 1."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.where(x == 0, x, _scipy("i1e", x))  # keeps the sign of zero

    def slope(self, index: int, out: Any, x: Any) -> Any:
        zero = eq(x, full_like(x, 0))
        safe = select(zero, full_like(x, 1), x)
        away = sub(i0e(x), mul(out, add(sign(x), div(full_like(x, 1), safe))))
        return select(zero, full_like(x, 0.5), away)


erf, erfc, erf_inv = Erf(), Erfc(), ErfInv()
lgamma, digamma, polygamma, zeta = Lgamma(), Digamma(), Polygamma(), Zeta()
igamma, igammac, igamma_grad_a, betainc = Igamma(), Igammac(), IgammaGradA(), Betainc()
i0e, i1e = I0e(), I1e()
