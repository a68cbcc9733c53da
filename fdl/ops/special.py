"""Special functions, by SciPy."""

from collections.abc import Iterator
from math import pi
from math import sqrt as _root
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from fdl.dtypes import FLOATING
from fdl.errors import DifferentiationError
from fdl.ops.arithmetic import abs_, add, div, mul, neg, sign, sub
from fdl.ops.compare import gt, is_finite, lt
from fdl.ops.elementwise import Binary, Elementwise, Unary
from fdl.ops.precision import in_float32
from fdl.ops.select import select
from fdl.ops.shape import full_like
from fdl.ops.transcendental import log, log1p


def _scipy(name: str, *arrays: np.ndarray) -> np.ndarray:
    import scipy.special  # slow to import, seldom needed

    return in_float32(getattr(scipy.special, name), *arrays)


def in_scipy(name: str, *arrays: np.ndarray, part: int | None = None) -> np.ndarray:
    """A function of SciPy's, or a part of its result, computed in 64 bits: what is between may leave fewer."""
    import scipy.special  # slow to import, seldom needed

    dtype = arrays[0].dtype
    wide = np.complex128 if dtype.kind == "c" else np.float64
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = getattr(scipy.special, name)(*(a.astype(wide) for a in arrays))
        return np.asarray(found if part is None else found[part]).astype(dtype)


class Special(Elementwise, abstract=True):
    """A function of real numbers that SciPy knows."""

    domain: ClassVar[tuple[np.dtype, ...]] = FLOATING

    def lower(self, build: Any, *xs: Any) -> Any:
        return build.call(self.name, *xs)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.3, 4.0, shape)).astype(dtype)


class Gaussian(Special, Unary):
    """exp(-rate * x**2); computed from x * x in two parts, since the error of one rounding would grow like x * x."""

    rate: float  # a power of two

    def reference(self, x: np.ndarray) -> np.ndarray:
        wide = np.minimum(np.abs(x.astype(np.float64)), 1e4)
        head = wide.astype(np.float32).astype(np.float64)  # whose square is exact
        rest = (wide - head) * (wide + head)
        return (np.exp(-self.rate * head * head) * np.exp(-self.rate * rest)).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(mul(full_like(x, -2 * self.rate), x), out)

    def lower(self, build: Any, x: Any) -> Any:
        return build.call(self.name, x, x * self.rate)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for rate in (0.5, 1.0):
            yield from Special.samples(Gaussian(rate), rng)
            yield Gaussian(rate), np.array([0.0, -3.0, 9.3, 25.0, 30.0, np.inf, -np.inf, np.nan])


class Ndtr(Special, Unary):
    """The standard normal distribution function."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import erfcx, ndtr

        wide = x.astype(np.float64)
        with np.errstate(under="ignore"):  # SciPy's own tail has the error of one rounding of x * x
            tail = 0.5 * erfcx(np.maximum(-wide, 0.0) * _root(0.5)) * Gaussian(0.5).reference(wide)
            return np.where(wide < -1.0, tail, ndtr(wide)).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, 1 / _root(2 * pi)), gaussian_half(x))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(-4.0, 4.0, shape)).astype(dtype)


class Erf(Special, Unary):
    """The error function."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return _scipy("erf", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, 2 / _root(pi)), gaussian(x))


class Erfc(Special, Unary):
    """1 - erf(x), exact where erf(x) is close to one."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import erfc, erfcx

        wide = x.astype(np.float64)
        with np.errstate(under="ignore"):  # as for Ndtr
            tail = erfcx(np.maximum(wide, 0.0)) * Gaussian(1.0).reference(wide)
            return np.where(wide > 0.5, tail, erfc(wide)).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, -2 / _root(pi)), gaussian(x))


class ErfInv(Special, Unary):
    """The inverse of the error function."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.where(x == 0, x, _scipy("erfinv", x))  # keeps the sign of zero

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        one = full_like(x, 1)
        rough = div(full_like(x, _root(pi) / 2), gaussian(out))
        # What is left of x after erf(out), from the nearer end, tells how far `out` is rounded.
        size = abs_(out)
        tail = add(sub(abs_(x), one), erfc(size))
        left = select(gt(size, full_like(x, 0.5)), tail, sub(abs_(x), erf(size)))
        return refined(rough, mul(full_like(x, 2), mul(size, left)))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(-0.9, 0.9, shape)).astype(dtype)


class Lgamma(Special, Unary):
    """The logarithm of the absolute value of the gamma function."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        found = _scipy("gammaln", x)  # first, since it refuses complex numbers
        with np.errstate(divide="ignore"):
            tiny = -np.log(np.abs(x.astype(np.float64)))  # SciPy overflows
        return np.where(np.abs(x) < 1e-300, tiny.astype(x.dtype), np.where(np.isinf(x), np.abs(x), found))

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return digamma(x)


class Gamma(Special, Unary):
    """The gamma function; NaN at its poles but zero, where it is infinite."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return _scipy("gamma", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(out, digamma(x))


class Digamma(Special, Unary):
    """The derivative of lgamma; NaN at its poles."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import psi

        # By reflection about 1/2, from the distance to the nearest pole, which is exact.
        wide = x.astype(np.float64)
        left = wide < 0
        angle = np.pi * (wide - np.rint(wide))
        with np.errstate(all="ignore"):
            found = np.where(left, psi(np.where(left, 1 - wide, wide)) - np.pi / np.tan(angle), psi(wide))
        return np.where((wide <= 0) & (angle == 0), np.nan, found).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return trigamma(x)


class Trigamma(Special, Unary):
    """The derivative of digamma; infinite at its poles."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        # By reflection about zero and the recurrence there, as `Digamma`.
        wide = x.astype(np.float64)
        size, angle = np.abs(wide), np.pi * (wide - np.rint(wide))
        found = np.asarray(_scipy("polygamma", np.ones_like(size), size))
        with np.errstate(all="ignore"):
            there = (np.pi / np.sin(angle)) ** 2 + (1 / (size * size) - found)
            there = np.where((angle == 0) | np.isinf(found), np.inf, there)
        return np.where(wide < 0, np.where(np.isneginf(wide), np.inf, there), found).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return polygamma(full_like(x, 2), x)


class Polygamma(Special, Binary):
    """The derivative of digamma of order n, a whole number, at x."""

    def reference(self, n: np.ndarray, x: np.ndarray) -> np.ndarray:
        # In float64: the factorial and the zeta function soon leave float32's range.
        return np.asarray(_scipy("polygamma", n.astype(np.float64), x.astype(np.float64))).astype(x.dtype)

    def derivative(self, index: int, out: Any, n: Any, x: Any) -> Any:
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

    def derivative(self, index: int, out: Any, x: Any, q: Any) -> Any:
        if index == 0:
            return zeta_derivative(x, q)
        return neg(mul(x, zeta(add(x, full_like(x, 1)), q)))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(1.5, 4.0, shape)).astype(dtype)


class ZetaDerivative(Special, Binary):
    """The derivative of zeta(x, q) by x: minus the sum of log(q + k) (q + k)**-x.

    Euler and Maclaurin's formula after twelve terms, differentiated; https://dlmf.nist.gov/25.11.E20
    """

    def reference(self, x: np.ndarray, q: np.ndarray) -> np.ndarray:
        s, a = x.astype(np.float64), q.astype(np.float64)
        with np.errstate(all="ignore"):
            found = -sum(np.log(a + k) * (a + k) ** -s for k in range(12))
            end = a + 12
            logarithm = np.log(end)
            found -= end ** (1 - s) * (logarithm / (s - 1) + 1 / (s - 1) ** 2) + 0.5 * logarithm * end**-s
            # Terms with Bernoulli numbers: each has the product of s, s + 1, ... and a power of the end.
            rising, inverses = s, 1 / s  # the product, and its logarithmic derivative
            for n, factor in enumerate(_BERNOULLI, 1):
                power = end ** (1 - s - 2 * n)
                found += np.where(power > 0, factor * rising * power * (inverses - logarithm), 0)  # not inf * 0
                for more in (2 * n - 1, 2 * n):
                    rising, inverses = rising * (s + more), inverses + 1 / (s + more)
            found = np.where(np.isposinf(a), 0, found)
            return np.asarray(np.where(s > 1, found, np.nan)).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any, q: Any) -> Any:
        raise DifferentiationError("zeta(x, q) has no second derivative by x; wrap x in stop_gradient")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(1.5, 4.0, shape)).astype(dtype)


#: The Bernoulli numbers B_2, B_4, ..., each divided by the factorial of its order.
_BERNOULLI = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600)


class Igamma(Special, Binary):
    """The regularized lower incomplete gamma function P(a, x)."""

    def reference(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        return _scipy("gammainc", a, x)

    def derivative(self, index: int, out: Any, a: Any, x: Any) -> Any:
        return igamma_grad_a(a, x) if index == 0 else gamma_density(a, x)


class Igammac(Special, Binary):
    """The regularized upper incomplete gamma function 1 - P(a, x)."""

    def reference(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        return _scipy("gammaincc", a, x)

    def derivative(self, index: int, out: Any, a: Any, x: Any) -> Any:
        return neg(igamma_grad_a(a, x) if index == 0 else gamma_density(a, x))


class GammaDensity(Special, Binary):
    """The derivative of P(a, x) by x: x**(a - 1) exp(-x) / gamma(a)."""

    def reference(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        from scipy.special import gammaln, xlogy

        a, at, dtype = a.astype(np.float64), x.astype(np.float64), x.dtype
        with np.errstate(all="ignore"):
            plain = np.exp(xlogy(a - 1, at) - at - gammaln(a))
            # By Stirling's series in a, so that large terms do not cancel: Loader, "Fast and accurate computation of
            # binomial probabilities" (2000).
            inverse = 1 / (a * a)
            rest = np.zeros_like(a)
            for coefficient in (-691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
                rest = rest * inverse + coefficient
            peak = np.exp(a * _log_excess(at, a) - rest / a) * np.sqrt(a / (2 * pi)) / at
            found = np.where((a > 10) & (at > 0) & (at < np.inf), peak, np.where(at == np.inf, 0.0, plain))
            return np.where(at < 0, np.nan, found).astype(dtype)

    def derivative(self, index: int, out: Any, a: Any, x: Any) -> Any:
        if index == 0:
            return mul(out, sub(log(x), digamma(a)))
        one = full_like(x, 1)
        return mul(out, sub(div(sub(a, one), x), one))


def _log_excess(x: np.ndarray, a: np.ndarray) -> np.ndarray:
    """log(x / a) - (x - a) / a."""
    u = (x - a) / a
    near = np.abs(u) < 0.5
    v = np.where(near, u, 0.0)
    s = v / (2 + v)
    square, total = s * s, np.zeros_like(s)
    for k in range(20, 0, -1):  # the series of the inverse hyperbolic tangent
        total = total * square + 1 / (2 * k + 1)
    return np.where(near, s * (2 * square * total - v), np.log(x / a) - u)


class IgammaGradA(Special, Binary):
    """The derivative of P(a, x) by a."""

    def reference(self, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        from scipy.special import gammainc, gammaincc, psi

        wide, at = a.astype(np.float64), x.astype(np.float64)
        # P varies with a over the length a near zero and sqrt(a) far from it, and in its tails as fast as the density.
        # The central stencil of fourth order is then exact to about 1e-11.
        with np.errstate(all="ignore"):
            steep = np.abs(np.log(at) - psi(wide))
            h = 2e-3 * np.fmin(np.minimum(wide, np.sqrt(wide)), 1 / steep)
            h = np.where(h > 0, h, np.nan if np.ndim(h) == 0 else 2e-3 * wide)
        # The smaller one of P and 1 - P has the digits.
        left, right = (
            8 * (f(wide + h, at) - f(wide - h, at)) - (f(wide + 2 * h, at) - f(wide - 2 * h, at))
            for f in (gammainc, gammaincc)
        )
        return (np.where(at > wide, -right, left) / (12 * h)).astype(a.dtype)

    def derivative(self, index: int, out: Any, a: Any, x: Any) -> Any:
        if index == 0:
            raise DifferentiationError("the incomplete gamma function has no second derivative by a")
        return mul(gamma_density(a, x), sub(log(x), digamma(a)))


class Betainc(Special):
    """The regularized incomplete beta function of a, b and x."""

    arity = 3

    def reference(self, a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        wide = (v.astype(np.float64) for v in (a, b, x))  # SciPy's float32 has no subnormal results
        return np.asarray(_scipy("betainc", *wide)).astype(x.dtype)

    def derivative(self, index: int, out: Any, a: Any, b: Any, x: Any) -> Any:
        if index < 2:
            raise DifferentiationError("betainc(a, b, x) has no derivative by a and b; wrap them in stop_gradient")
        return beta_density(a, b, x)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.2, 0.9, shape)).astype(dtype)


class BetaDensity(Special):
    """The derivative of betainc(a, b, x) by x; in float64, since large terms cancel."""

    arity = 3

    def reference(self, a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        from scipy.special import betaln, xlog1py, xlogy

        p, q, at = (v.astype(np.float64) for v in (a, b, x))
        with np.errstate(all="ignore"):
            return np.exp(xlog1py(q - 1, -at) + xlogy(p - 1, at) - betaln(p, q)).astype(x.dtype)

    def derivative(self, index: int, out: Any, a: Any, b: Any, x: Any) -> Any:
        one = full_like(x, 1)
        if index == 2:
            return mul(out, sub(div(sub(a, one), x), div(sub(b, one), sub(one, x))))
        mine, end = (a, log(x)) if index == 0 else (b, log1p(neg(x)))
        return mul(out, add(end, sub(digamma(add(a, b)), digamma(mine))))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.2, 0.9, shape)).astype(dtype)


class I0(Special, Unary):
    """The modified Bessel function of order 0."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.where(np.isinf(x), np.abs(x), _scipy("i0", x))

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return i1(x)


class I1(Special, Unary):
    """The modified Bessel function of order 1."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.where((x == 0) | np.isinf(x), x, _scipy("i1", x))  # keeps the sign of zero

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        ratio = _over_x(out, x)
        return select(is_finite(ratio), sub(i0(x), ratio), abs_(out))  # both may be infinite


class I0e(Special, Unary):
    """exp(-abs(x)) times the modified Bessel function of order 0."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return _scipy("i0e", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return neg(mul(sign(x), bessel_gap(x)))


class I1e(Special, Unary):
    """exp(-abs(x)) times the modified Bessel function of order 1."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.where(x == 0, x, _scipy("i1e", x))  # keeps the sign of zero

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return sub(bessel_gap(x), _over_x(out, x))


class BesselGap(Special, Unary):
    """i0e(x) - i1e(abs(x)), which cancel."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import i0e, i1e

        size = np.abs(x.astype(np.float64))
        far = np.maximum(size, 20.0)
        # Far from zero the difference of the asymptotic series: Abramowitz, Stegun (1964), 9.7.1.
        first, second, total, power = 1.0, 1.0, np.zeros_like(far), np.ones_like(far)
        for k in range(1, 26):
            first, second = first * (2 * k - 1) ** 2 / (8 * k), second * ((2 * k - 1) ** 2 - 4) / (8 * k)
            power = power / far
            total = total + (first - second) * power
        with np.errstate(invalid="ignore"):
            near = i0e(size) - i1e(size)
        return np.where(size > 20.0, total / np.sqrt(2 * pi * far), near).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(sign(x), sub(_over_x(i1e(x), x), mul(full_like(x, 2), out)))


def _over_x(out: Any, x: Any) -> Any:
    """A Bessel function of order 1, divided by x; near zero, where it is x / 2, without the digits that are lost."""
    near = lt(abs_(x), full_like(x, 2.0 ** -(ml_dtypes.finfo(x.type.dtype).nmant + 2)))
    return select(near, full_like(x, 0.5), div(out, select(near, full_like(x, 1), x)))


def refined(rough: Any, error: Any) -> Any:
    """``rough * (1 + rough * error)``: a reciprocal density, corrected for the rounding of where it was taken."""
    return mul(rough, add(full_like(rough, 1), select(is_finite(rough), mul(rough, error), full_like(rough, 0))))


gaussian, gaussian_half, ndtr = Gaussian(1.0), Gaussian(0.5), Ndtr()
erf, erfc, erf_inv = Erf(), Erfc(), ErfInv()
lgamma, gamma, digamma, trigamma, polygamma = Lgamma(), Gamma(), Digamma(), Trigamma(), Polygamma()
zeta, zeta_derivative = Zeta(), ZetaDerivative()
igamma, igammac, igamma_grad_a, betainc = Igamma(), Igammac(), IgammaGradA(), Betainc()
gamma_density, beta_density = GammaDensity(), BetaDensity()
i0, i1, i0e, i1e, bessel_gap = I0(), I1(), I0e(), I1e(), BesselGap()
