"""Special functions, under the names of ``scipy.special``. Elementwise; operands broadcast and promote."""

import math
from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl import dtypes
from fdl.api.custom import custom_jvp
from fdl.nn.activations import log_softmax, logsumexp, sigmoid, softmax
from fdl.ops import quantile
from fdl.ops import special as ops
from fdl.scipy._operands import operands

Array = Any

__all__ = [
    "beta",
    "betainc",
    "betaln",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "expit",
    "factorial",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaln",
    "gammasgn",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "kl_div",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "poch",
    "polygamma",
    "rel_entr",
    "softmax",
    "xlog1py",
    "xlogy",
    "zeta",
]


def _function(name: str, operation: Callable[..., Array], text: str, arity: int = 1) -> Callable[..., Array]:
    def unary(x: Any) -> Array:
        return operation(*operands(x))

    def binary(x: Any, y: Any) -> Array:
        return operation(*operands(x, y))

    def ternary(a: Any, b: Any, x: Any) -> Array:
        return operation(*operands(a, b, x))

    function = (unary, binary, ternary)[arity - 1]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function


erf = _function("erf", ops.erf, "The error function.")
erfc = _function("erfc", ops.erfc, "One minus the error function, without cancellation.")
erfinv = _function("erfinv", ops.erf_inv, "The inverse of the error function, on (-1, 1).")
gammaln = _function("gammaln", ops.lgamma, "The logarithm of the absolute value of the gamma function.")
digamma = _function("digamma", ops.digamma, "The logarithmic derivative of the gamma function.")
i0e = _function("i0e", ops.i0e, "The modified Bessel function of order zero times exp(-|x|).")
i1e = _function("i1e", ops.i1e, "The modified Bessel function of order one times exp(-|x|).")
gammainc = _function("gammainc", ops.igamma, "The regularized lower incomplete gamma function P(a, x).", 2)
gammaincc = _function("gammaincc", ops.igammac, "The regularized upper incomplete gamma function Q(a, x).", 2)
polygamma = _function("polygamma", ops.polygamma, "The n-th derivative of the digamma function at x.", 2)
betainc = _function("betainc", ops.betainc, "The regularized incomplete beta function of a, b and x.", 3)
ndtri = _function("ndtri", quantile.ndtri, "The inverse of the standard normal distribution function.")


def zeta(x: Any, q: Any = 1.0) -> Array:
    """The Hurwitz zeta function: the sum of (k + q) ** -x over k = 0, 1, ..."""
    return ops.zeta(*operands(x, q))


def expit(x: Any) -> Array:
    """1 / (1 + exp(-x))."""
    return sigmoid(x)


def logit(x: Any) -> Array:
    """log(x / (1 - x)), the inverse of :func:`expit`."""
    (x,) = operands(x)
    return fnp.log(x / (1 - x))


def i0(x: Any) -> Array:
    """The modified Bessel function of order zero."""
    (x,) = operands(x)
    return fnp.exp(fnp.abs(x)) * ops.i0e(x)


def i1(x: Any) -> Array:
    """The modified Bessel function of order one."""
    (x,) = operands(x)
    return fnp.exp(fnp.abs(x)) * ops.i1e(x)


def gammasgn(x: Any) -> Array:
    """The sign of the gamma function."""
    (x,) = operands(x)
    odd = fnp.floor(x) % 2 != 0
    sign = fnp.where((x < 0) & odd, -1.0, 1.0)
    return fnp.where((x < 0) & (x == fnp.floor(x)), fnp.nan, sign).astype(x.dtype)


def gamma(x: Any) -> Array:
    """The gamma function."""
    (x,) = operands(x)
    return gammasgn(x) * fnp.exp(ops.lgamma(x))


def factorial(n: Any, exact: bool = False) -> Array:
    """n!, as a float; zero for negative n."""
    if exact:
        raise NotImplementedError("factorial: arrays hold no exact integers of any size; use exact=False")
    (n,) = operands(n)
    return fnp.where(n < 0, 0.0, fnp.exp(ops.lgamma(fnp.where(n < 0, 0.0, n) + 1)))


def poch(z: Any, m: Any) -> Array:
    """The rising factorial gamma(z + m) / gamma(z)."""
    z, m = operands(z, m)
    return fnp.where(m == 0, 1.0, gammasgn(z + m) * gammasgn(z) * fnp.exp(ops.lgamma(z + m) - ops.lgamma(z)))


def betaln(a: Any, b: Any) -> Array:
    """The logarithm of the absolute value of the beta function."""
    a, b = operands(a, b)
    return ops.lgamma(a) + ops.lgamma(b) - ops.lgamma(a + b)


def beta(a: Any, b: Any) -> Array:
    """The beta function."""
    a, b = operands(a, b)
    return gammasgn(a) * gammasgn(b) * gammasgn(a + b) * fnp.exp(betaln(a, b))


def multigammaln(a: Any, d: int) -> Array:
    """The logarithm of the gamma function of d dimensions."""
    (a,) = operands(a)
    steps = fnp.arange(d).astype(a.dtype) / 2
    return d * (d - 1) / 4 * math.log(math.pi) + fnp.sum(ops.lgamma(fnp.expand_dims(a, -1) - steps), axis=-1)


@custom_jvp
def _xlogy(x: Array, y: Array) -> Array:
    return fnp.where(x == 0, 0.0, x * fnp.log(y))


@_xlogy.defjvp
def _xlogy_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    return _xlogy(x, y), dx * fnp.log(y) + dy * x / y


def xlogy(x: Any, y: Any) -> Array:
    """x log(y), zero where x is zero."""
    return _xlogy(*operands(x, y))


@custom_jvp
def _xlog1py(x: Array, y: Array) -> Array:
    return fnp.where(x == 0, 0.0, x * fnp.log1p(y))


@_xlog1py.defjvp
def _xlog1py_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    return _xlog1py(x, y), dx * fnp.log1p(y) + dy * x / (1 + y)


def xlog1py(x: Any, y: Any) -> Array:
    """x log(1 + y), zero where x is zero."""
    return _xlog1py(*operands(x, y))


def entr(x: Any) -> Array:
    """-x log(x), zero at zero and -inf below."""
    (x,) = operands(x)
    return fnp.where(x < 0, -math.inf, -_xlogy(x, fnp.where(x < 0, 1.0, x)))


def rel_entr(p: Any, q: Any) -> Array:
    """p log(p / q), zero where p is zero, inf outside its domain."""
    p, q = operands(p, q)
    inside, zero = (p > 0) & (q > 0), (p == 0) & (q >= 0)
    p_safe, q_safe = fnp.where(inside, p, 1.0), fnp.where(inside, q, 1.0)
    value = p_safe * (fnp.log(p_safe) - fnp.log(q_safe))
    return fnp.where(inside, value, fnp.where(zero, 0.0, math.inf))


def kl_div(p: Any, q: Any) -> Array:
    """p log(p / q) - p + q."""
    p, q = operands(p, q)
    return rel_entr(p, q) - p + q


def ndtr(x: Any) -> Array:
    """The standard normal distribution function."""
    (x,) = operands(x)
    return 0.5 * ops.erfc(-x * math.sqrt(0.5))


@custom_jvp
def _log_ndtr(x: Array) -> Array:
    # Below, the tail is too small for erfc to hold; the asymptotic series is exact there to the last bit or two.
    edge = -10.0 if x.dtype == dtypes.float32 else -20.0
    middle = fnp.clip(x, edge, 0.0)
    tail = fnp.minimum(x, edge)
    series, term, square = 0.0, 1.0, 1 / (tail * tail)
    for k in range(1, 8):
        series, term = series + term, -(2 * k - 1) * term * square
    low = -0.5 * tail * tail - fnp.log(-tail) - 0.5 * math.log(2 * math.pi) + fnp.log(series)
    high = fnp.log1p(-0.5 * ops.erfc(fnp.maximum(x, 0.0) * math.sqrt(0.5)))
    inside = fnp.log(0.5 * ops.erfc(-middle * math.sqrt(0.5)))
    return fnp.where(x > 0.0, high, fnp.where(x > edge, inside, low))


@_log_ndtr.defjvp
def _log_ndtr_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    out = _log_ndtr(x)
    return out, dx * fnp.exp(-0.5 * x * x - out - 0.5 * math.log(2 * math.pi))


def log_ndtr(x: Any, series_order: int = 3) -> Array:
    """The logarithm of the standard normal distribution function, accurate in the tails.

    Args:
        x: array.
        series_order: accepted for compatibility; enough terms are always taken.
    """
    (x,) = operands(x)
    return _log_ndtr(x)
