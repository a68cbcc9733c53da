"""Special functions, under the names of ``scipy.special``. Elementwise; operands broadcast and promote."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl import dtypes
from fdl.api.custom import custom_jvp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.nn.activations import sigmoid
from fdl.nn.softmax import log_softmax as _log_softmax
from fdl.nn.softmax import logsumexp
from fdl.nn.softmax import softmax as _softmax
from fdl.numpy._operands import wide
from fdl.ops import gamma_ratios, quantile
from fdl.ops import special as ops
from fdl.scipy._entropy import entr, kl_div, rel_entr, xlog1py, xlogy
from fdl.scipy._harmonics import sph_harm_y
from fdl.scipy._hypergeometric import bessel_jn, hyp1f1, hyp2f1, loggamma, wofz
from fdl.scipy._integrals import dawsn, erfcx, exp1, expi, expn, fresnel, owens_t, sici, spence
from fdl.scipy._inverses import betaincinv, gammainccinv, gammaincinv
from fdl.scipy._operands import operands
from fdl.scipy._powers import bernoulli, boxcox, boxcox1p, comb
from fdl.scipy._stirling import stirling_rest

__all__ = [
    "bernoulli",
    "bessel_jn",
    "beta",
    "betainc",
    "betaincinv",
    "betaln",
    "boxcox",
    "boxcox1p",
    "comb",
    "dawsn",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "exp1",
    "expi",
    "expit",
    "expn",
    "factorial",
    "fresnel",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammainccinv",
    "gammaincinv",
    "gammaln",
    "gammasgn",
    "hyp1f1",
    "hyp2f1",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "kl_div",
    "log_ndtr",
    "log_softmax",
    "loggamma",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "owens_t",
    "poch",
    "polygamma",
    "rel_entr",
    "sici",
    "softmax",
    "spence",
    "sph_harm_y",
    "wofz",
    "xlog1py",
    "xlogy",
    "zeta",
]


_elementwise = fill_docstring({"x": "real array of any shape."}, "A floating array like x.")


@_elementwise
def erf(x: Any) -> Array:
    """The error function.

    >>> round(erf(1.0).item(), 3)
    0.843
    """
    return ops.erf(*operands("erf", x))


@_elementwise
def erfc(x: Any) -> Array:
    """One minus the error function, without cancellation.

    >>> round(erfc(1.0).item(), 3)
    0.157
    """
    return ops.erfc(*operands("erfc", x))


def erfinv(x: Any) -> Array:
    """The inverse of the error function.

    Args:
        x: real array, in [-1, 1].

    Returns:
        A floating array like x.

    >>> round(erfinv(0.5).item(), 3)
    0.477
    """
    return ops.erf_inv(*operands("erfinv", x))


def ndtri(p: Any) -> Array:
    """The inverse of the standard normal distribution function.

    Args:
        p: probabilities, in [0, 1].

    Returns:
        A floating array like p.

    >>> round(ndtri(0.975).item(), 2)
    1.96
    """
    (p,) = operands("ndtri", p)
    return quantile.ndtri(wide(p)).astype(p.dtype)


@_elementwise
def gammaln(x: Any) -> Array:
    """The logarithm of the absolute value of the gamma function.

    >>> round(gammaln(4.0).item(), 3)
    1.792
    """
    return ops.lgamma(*operands("gammaln", x))


@_elementwise
def digamma(x: Any) -> Array:
    """The logarithmic derivative of the gamma function.

    >>> round(digamma(1.0).item(), 3)
    -0.577
    """
    return ops.digamma(*operands("digamma", x))


def polygamma(n: Any, x: Any) -> Array:
    """The n-th derivative of the digamma function at x.

    Args:
        n: order, not negative.
        x: real array.

    Returns:
        A floating array of the common shape.

    >>> round(polygamma(1, 1.0).item(), 3)
    1.645
    """
    if isinstance(n, int) and n == 1:
        return ops.trigamma(*operands("polygamma", x))
    return ops.polygamma(*operands("polygamma", n, x))


def gammainc(a: Any, x: Any) -> Array:
    """The regularized lower incomplete gamma function P(a, x).

    Args:
        a: shape parameter, positive.
        x: upper end of the integral, not negative.

    Returns:
        A floating array of the common shape.

    >>> round(gammainc(1.0, 1.0).item(), 3)
    0.632
    """
    return ops.igamma(*operands("gammainc", a, x))


def gammaincc(a: Any, x: Any) -> Array:
    """The regularized upper incomplete gamma function Q(a, x).

    Args:
        a: shape parameter, positive.
        x: lower end of the integral, not negative.

    Returns:
        A floating array of the common shape.

    >>> round(gammaincc(1.0, 1.0).item(), 3)
    0.368
    """
    return ops.igammac(*operands("gammaincc", a, x))


def betainc(a: Any, b: Any, x: Any) -> Array:
    """The regularized incomplete beta function I_x(a, b).

    Args:
        a: first parameter, positive.
        b: second parameter, positive.
        x: upper end of the integral, in [0, 1].

    Returns:
        A floating array of the common shape.

    >>> round(betainc(2.0, 1.0, 0.5).item(), 3)
    0.25
    """
    return ops.betainc(*operands("betainc", a, b, x))


@_elementwise
def i0e(x: Any) -> Array:
    """The modified Bessel function of order zero times exp(-abs(x)).

    >>> round(i0e(1.0).item(), 3)
    0.466
    """
    return ops.i0e(*operands("i0e", x))


@_elementwise
def i1e(x: Any) -> Array:
    """The modified Bessel function of order one times exp(-abs(x)).

    >>> round(i1e(1.0).item(), 3)
    0.208
    """
    return ops.i1e(*operands("i1e", x))


def zeta(x: Any, q: Any = 1.0) -> Array:
    """The Hurwitz zeta function: the sum of (k + q) ** -x over k = 0, 1, ...

    Args:
        x: exponent, above one.
        q: start, positive.

    Returns:
        A floating array of the common shape.

    >>> round(zeta(2.0).item(), 3)
    1.645
    """
    return ops.zeta(*operands("zeta", x, q))


@_elementwise
def expit(x: Any) -> Array:
    """1 / (1 + exp(-x)).

    >>> round(expit(0.0).item(), 3)
    0.5
    """
    return sigmoid(x)


def logit(x: Any) -> Array:
    """log(x / (1 - x)), the inverse of :func:`expit`.

    Args:
        x: probabilities, in (0, 1).

    Returns:
        A floating array like x.

    >>> round(logit(0.75).item(), 3)
    1.099
    """
    return _logit(*operands("logit", x))


@custom_jvp
def _logit(x: Array) -> Array:
    low = x < 0.3
    ratio = fnp.where(low, x, 2 * x - 1) / (1 - x)
    return fnp.where(low, fnp.log(ratio), fnp.log1p(ratio))


@_logit.defjvp
def _logit_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _logit(x), dx / x / (1 - x)


@_elementwise
def i0(x: Any) -> Array:
    """The modified Bessel function of order zero.

    >>> round(i0(1.0).item(), 3)
    1.266
    """
    return ops.i0(*operands("i0", x))


@_elementwise
def i1(x: Any) -> Array:
    """The modified Bessel function of order one.

    >>> round(i1(1.0).item(), 3)
    0.565
    """
    return ops.i1(*operands("i1", x))


@_elementwise
def gammasgn(x: Any) -> Array:
    """The sign of the gamma function.

    >>> gammasgn(fnp.array([-0.5, 0.5])).tolist()
    [-1.0, 1.0]
    """
    (x,) = operands("gammasgn", x)
    odd = fnp.floor(x) % 2 != 0
    sign = fnp.where(((x < 0) & odd) | ((x == 0) & fnp.signbit(x)), -1.0, 1.0)
    return fnp.where(fnp.isnan(x) | ((x < 0) & (x == fnp.floor(x))), fnp.nan, sign).astype(x.dtype)


@_elementwise
def gamma(x: Any) -> Array:
    """The gamma function, of complex numbers, too.

    >>> round(gamma(5.0).item(), 3)
    24.0
    """
    (x,) = operands("gamma", x)
    return fnp.exp(loggamma(x)) if fnp.iscomplexobj(x) else ops.gamma(x)


def factorial(n: Any, exact: bool = False) -> Array:
    """n!, as a float; zero for negative n.

    Args:
        n: real array.
        exact: must be False.

    Returns:
        A floating array like n.

    Raises:
        NotImplementedError: `exact` is true.

    >>> round(factorial(4).item(), 3)
    24.0
    """
    if exact:
        raise NotImplementedError("factorial: arrays hold no exact integers of any size; use exact=False")
    (n,) = operands("factorial", n)
    wide = fnp.where(n < 0, 0.0, n).astype(dtypes.float64)  # in which n + 1 is exact
    return fnp.where(n < 0, 0.0, ops.gamma(wide + 1).astype(n.dtype))


def poch(z: Any, m: Any) -> Array:
    """The rising factorial gamma(z + m) / gamma(z).

    Args:
        z: real array.
        m: real array that broadcasts with z.

    Returns:
        A floating array of the common shape.

    >>> round(poch(2.0, 3.0).item(), 3)
    24.0
    """
    return gamma_ratios.poch(*operands("poch", z, m))


def betaln(a: Any, b: Any) -> Array:
    """The logarithm of the absolute value of the beta function.

    Args:
        a: real array.
        b: real array that broadcasts with a.

    Returns:
        A floating array of the common shape.

    >>> round(betaln(2.0, 3.0).item(), 3)
    -2.485
    """
    return _betaln(*operands("betaln", a, b))


@custom_jvp
def _betaln(a: Array, b: Array) -> Array:
    small, large = fnp.minimum(a, b), fnp.maximum(a, b)
    total = small + large
    plain = ops.lgamma(small) + ops.lgamma(large) - ops.lgamma(total)
    # lgamma(large) and lgamma(total) cancel, unless what is left of Stirling's series is subtracted by hand.
    apart = (large >= 8) & (total >= 8)
    x, y = fnp.where(apart, small, 1.0), fnp.where(apart, large, 8.0)
    ratio, both = fnp.log1p(x / y), x + y
    rest = stirling_rest(y) - stirling_rest(both)
    one_large = ops.lgamma(x) - x * fnp.log(y) - (both - 0.5) * ratio + x + rest
    z = fnp.maximum(x, 8.0)
    both_large = z * fnp.log(z / y) - 0.5 * fnp.log(z) + 0.5 * math.log(2 * math.pi) - (both - 0.5) * ratio
    stable = fnp.where(x >= 8, both_large + stirling_rest(z) + rest, one_large)
    return fnp.where(apart & fnp.isfinite(large), stable, plain)


@_betaln.defjvp
def _betaln_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (a, b), (da, db) = primals, tangents
    return _betaln(a, b), -gamma_ratios.digamma_step(a, b) * da - gamma_ratios.digamma_step(b, a) * db


def beta(a: Any, b: Any) -> Array:
    """The beta function.

    Args:
        a: real array.
        b: real array that broadcasts with a.

    Returns:
        A floating array of the common shape.

    >>> round(beta(2.0, 3.0).item(), 3)
    0.083
    """
    return gamma_ratios.beta(*operands("beta", a, b))


def multigammaln(a: Any, d: int) -> Array:
    """The logarithm of the gamma function of d dimensions.

    Args:
        a: array, above (d - 1) / 2.
        d: number of dimensions.

    Returns:
        A floating array like a.

    >>> round(multigammaln(3.0, 1).item(), 3)
    0.693
    """
    (a,) = operands("multigammaln", a)
    steps = fnp.arange(d).astype(a.dtype).reshape((1,) * a.ndim + (-1,)) / 2
    return d * (d - 1) / 4 * math.log(math.pi) + fnp.sum(ops.lgamma(fnp.expand_dims(a, -1) - steps), axis=-1)


def softmax(x: Any, axis: int | tuple[int, ...] | None = None) -> Array:
    """Positive numbers that sum to one: exp(x) / sum(exp(x)).

    Args:
        x: array.
        axis: an axis, several, or None for all; unlike in :func:`fdl.nn.softmax` all by default.

    Returns:
        A floating array like x.

    >>> softmax(fnp.array([[0.0], [0.0]])).tolist()
    [[0.5], [0.5]]
    """
    return _softmax(x, axis)


def log_softmax(x: Any, axis: int | tuple[int, ...] | None = None) -> Array:
    """Logarithm of :func:`softmax`, without overflow.

    Args:
        x: array.
        axis: an axis, several, or None for all; unlike in :func:`fdl.nn.log_softmax` all by default.

    Returns:
        A floating array like x.

    >>> [round(v, 3) for v in log_softmax(fnp.array([1000.0, 1000.0])).tolist()]
    [-0.693, -0.693]
    """
    return _log_softmax(x, axis)


@_elementwise
def ndtr(x: Any) -> Array:
    """The standard normal distribution function.

    >>> round(ndtr(1.96).item(), 3)
    0.975
    """
    return ops.ndtr(*operands("ndtr", x))


@custom_jvp
def _log_ndtr(x: Array) -> Array:
    edge, tail, series = _lower_tail(x)
    low = -0.5 * tail * tail - fnp.log(-tail) - 0.5 * math.log(2 * math.pi) + fnp.log(series)
    one_side = ops.ndtr(fnp.where(x > 0.0, -x, fnp.maximum(x, edge)))
    return fnp.where(x > 0.0, fnp.log1p(-one_side), fnp.where(x > edge, fnp.log(one_side), low))


@_log_ndtr.defjvp
def _log_ndtr_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    edge, tail, series = _lower_tail(x)
    inside = fnp.maximum(x, edge)
    ratio = ops.gaussian_half(inside) / (math.sqrt(2 * math.pi) * ops.ndtr(inside))
    return _log_ndtr(x), dx * fnp.where(x > edge, ratio, -tail / series)


def _lower_tail(x: Array) -> tuple[float, Array, Array]:
    """Where the tail begins that is too small for ndtr to hold, x in it, and the asymptotic series of -x ndtr / pdf."""
    edge = -20.0 if x.dtype == dtypes.float64 else -10.0
    tail = fnp.minimum(x, edge)
    series: Any = 0.0
    term: Any = 1.0
    square = (1 / tail) ** 2
    for k in range(1, 13):
        series, term = series + term, -(2 * k - 1) * term * square
    return edge, tail, series


def log_ndtr(x: Any, series_order: int = 3) -> Array:
    """The logarithm of the standard normal distribution function, accurate in the tails.

    Args:
        x: array.
        series_order: accepted for compatibility; enough terms are always taken.

    Returns:
        A floating array like x.

    >>> round(log_ndtr(-20.0).item(), 2)
    -203.92
    """
    (x,) = operands("log_ndtr", x)
    return _log_ndtr(x)


def __dir__() -> list[str]:
    return __all__
