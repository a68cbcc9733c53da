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


def _function(name: str, operation: Callable[..., Array], text: str, example: str, **args: str) -> Callable[..., Array]:
    """The operation as a function of arrays, numbers and lists; `args` describes its arguments in order."""

    def unary(x: Any) -> Array:
        return operation(*operands(x))

    def binary(x: Any, y: Any) -> Array:
        return operation(*operands(x, y))

    def ternary(a: Any, b: Any, x: Any) -> Array:
        return operation(*operands(a, b, x))

    args = args or {"x": "real array of any shape."}
    function = (unary, binary, ternary)[len(args) - 1]
    function.__name__ = function.__qualname__ = name
    lines = "\n".join(f"    {arg}: {meaning}" for arg, meaning in args.items())
    returns = f"Returns:\n    A floating array of the {'shape of x' if len(args) == 1 else 'common shape'}."
    function.__doc__ = f"{text}\n\nArgs:\n{lines}\n\n{returns}\n\n>>> {example}\n"
    return function


erf = _function("erf", ops.erf, "The error function.", "round(erf(1.0).item(), 3)\n0.843")
erfc = _function(
    "erfc", ops.erfc, "One minus the error function, without cancellation.", "round(erfc(1.0).item(), 3)\n0.157"
)
erfinv = _function(
    "erfinv", ops.erf_inv, "The inverse of the error function, on (-1, 1).", "round(erfinv(0.5).item(), 3)\n0.477"
)
gammaln = _function(
    "gammaln",
    ops.lgamma,
    "The logarithm of the absolute value of the gamma function.",
    "round(gammaln(4.0).item(), 3)\n1.792",
)
digamma = _function(
    "digamma",
    ops.digamma,
    "The logarithmic derivative of the gamma function.",
    "round(digamma(1.0).item(), 3)\n-0.577",
)
i0e = _function(
    "i0e",
    ops.i0e,
    "The modified Bessel function of order zero times exp(-abs(x)).",
    "round(i0e(1.0).item(), 3)\n0.466",
)
i1e = _function(
    "i1e",
    ops.i1e,
    "The modified Bessel function of order one times exp(-abs(x)).",
    "round(i1e(1.0).item(), 3)\n0.208",
)
gammainc = _function(
    "gammainc",
    ops.igamma,
    "The regularized lower incomplete gamma function P(a, x).",
    "round(gammainc(1.0, 1.0).item(), 3)\n0.632",
    a="shape parameter, positive.",
    x="upper end of the integral, not negative.",
)
gammaincc = _function(
    "gammaincc",
    ops.igammac,
    "The regularized upper incomplete gamma function Q(a, x).",
    "round(gammaincc(1.0, 1.0).item(), 3)\n0.368",
    a="shape parameter, positive.",
    x="lower end of the integral, not negative.",
)
polygamma = _function(
    "polygamma",
    ops.polygamma,
    "The n-th derivative of the digamma function at x.",
    "round(polygamma(1, 1.0).item(), 3)\n1.645",
    n="order, not negative.",
    x="real array.",
)
betainc = _function(
    "betainc",
    ops.betainc,
    "The regularized incomplete beta function of a, b and x.",
    "round(betainc(2.0, 1.0, 0.5).item(), 3)\n0.25",
    a="first parameter, positive.",
    b="second parameter, positive.",
    x="upper end of the integral, in [0, 1].",
)
ndtri = _function(
    "ndtri",
    quantile.ndtri,
    "The inverse of the standard normal distribution function.",
    "round(ndtri(0.975).item(), 2)\n1.96",
    x="probabilities, in [0, 1].",
)


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
    return ops.zeta(*operands(x, q))


def expit(x: Any) -> Array:
    """1 / (1 + exp(-x)).

    Args:
        x: real array of any shape.

    Returns:
        A floating array like x.

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
    (x,) = operands(x)
    return fnp.log(x / (1 - x))


def i0(x: Any) -> Array:
    """The modified Bessel function of order zero.

    Args:
        x: real array of any shape.

    Returns:
        A floating array like x.

    >>> round(i0(1.0).item(), 3)
    1.266
    """
    (x,) = operands(x)
    return fnp.exp(fnp.abs(x)) * ops.i0e(x)


def i1(x: Any) -> Array:
    """The modified Bessel function of order one.

    Args:
        x: real array of any shape.

    Returns:
        A floating array like x.

    >>> round(i1(1.0).item(), 3)
    0.565
    """
    (x,) = operands(x)
    return fnp.exp(fnp.abs(x)) * ops.i1e(x)


def gammasgn(x: Any) -> Array:
    """The sign of the gamma function.

    Args:
        x: real array of any shape.

    Returns:
        A floating array like x.

    >>> gammasgn(fnp.array([-0.5, 0.5])).tolist()
    [-1.0, 1.0]
    """
    (x,) = operands(x)
    odd = fnp.floor(x) % 2 != 0
    sign = fnp.where((x < 0) & odd, -1.0, 1.0)
    return fnp.where((x < 0) & (x == fnp.floor(x)), fnp.nan, sign).astype(x.dtype)


def gamma(x: Any) -> Array:
    """The gamma function.

    Args:
        x: real array of any shape.

    Returns:
        A floating array like x.

    >>> round(gamma(5.0).item(), 3)
    24.0
    """
    (x,) = operands(x)
    return gammasgn(x) * fnp.exp(ops.lgamma(x))


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
    (n,) = operands(n)
    return fnp.where(n < 0, 0.0, fnp.exp(ops.lgamma(fnp.where(n < 0, 0.0, n) + 1)))


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
    z, m = operands(z, m)
    return fnp.where(m == 0, 1.0, gammasgn(z + m) * gammasgn(z) * fnp.exp(ops.lgamma(z + m) - ops.lgamma(z)))


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
    a, b = operands(a, b)
    return ops.lgamma(a) + ops.lgamma(b) - ops.lgamma(a + b)


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
    a, b = operands(a, b)
    return gammasgn(a) * gammasgn(b) * gammasgn(a + b) * fnp.exp(betaln(a, b))


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
    """x log(y), zero where x is zero.

    Args:
        x: array.
        y: array that broadcasts with x.

    Returns:
        A floating array of the common shape.

    >>> xlogy(0.0, 0.0).item()
    0.0
    """
    return _xlogy(*operands(x, y))


@custom_jvp
def _xlog1py(x: Array, y: Array) -> Array:
    return fnp.where(x == 0, 0.0, x * fnp.log1p(y))


@_xlog1py.defjvp
def _xlog1py_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    return _xlog1py(x, y), dx * fnp.log1p(y) + dy * x / (1 + y)


def xlog1py(x: Any, y: Any) -> Array:
    """x log(1 + y), zero where x is zero.

    Args:
        x: array.
        y: array that broadcasts with x.

    Returns:
        A floating array of the common shape.

    >>> xlog1py(0.0, -1.0).item()
    0.0
    """
    return _xlog1py(*operands(x, y))


def entr(x: Any) -> Array:
    """-x log(x), zero at zero and -inf below.

    Args:
        x: real array of any shape.

    Returns:
        A floating array like x.

    >>> round(entr(0.5).item(), 3)
    0.347
    """
    (x,) = operands(x)
    return fnp.where(x < 0, -math.inf, -_xlogy(x, fnp.where(x < 0, 1.0, x)))


def rel_entr(p: Any, q: Any) -> Array:
    """p log(p / q), zero where p is zero, inf outside its domain.

    Args:
        p: array, not negative.
        q: array that broadcasts with p.

    Returns:
        A floating array of the common shape.

    >>> round(rel_entr(1.0, 0.5).item(), 3)
    0.693
    """
    p, q = operands(p, q)
    inside, zero = (p > 0) & (q > 0), (p == 0) & (q >= 0)
    p_safe, q_safe = fnp.where(inside, p, 1.0), fnp.where(inside, q, 1.0)
    value = p_safe * (fnp.log(p_safe) - fnp.log(q_safe))
    return fnp.where(inside, value, fnp.where(zero, 0.0, math.inf))


def kl_div(p: Any, q: Any) -> Array:
    """p log(p / q) - p + q.

    Args:
        p: array, not negative.
        q: array that broadcasts with p.

    Returns:
        A floating array of the common shape.

    >>> round(kl_div(1.0, 0.5).item(), 3)
    0.193
    """
    p, q = operands(p, q)
    return rel_entr(p, q) - p + q


def ndtr(x: Any) -> Array:
    """The standard normal distribution function.

    Args:
        x: real array of any shape.

    Returns:
        A floating array like x.

    >>> round(ndtr(1.96).item(), 3)
    0.975
    """
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

    Returns:
        A floating array like x.

    >>> round(log_ndtr(-20.0).item(), 2)
    -203.92
    """
    (x,) = operands(x)
    return _log_ndtr(x)
