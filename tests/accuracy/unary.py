"""Elementwise functions of one number: what they and their derivatives are, and how exact they are promised to be.

Errors are in units in the last place of the exact result, over the whole range of float32 and float64, eager and
compiled alike. Subnormal results are compared absolutely, in the smallest numbers there are. What the columns mean:

- `value`, `slope`: the bound of the function and of its derivative; a function of x where the error has to grow with x.
- `floor`, `slope_floor`: where the function (its derivative) passes through zero as a difference of larger terms, the
  unit is that of the terms, of this size.
- `tiny`: the bound for results below that many times the smallest normal number; more than 4 where a factor of that
  size multiplies a subnormal number.
- `at`, `slope_at`: conventions at kinks, poles and infinities: what JAX gives, else the limit. None: not compared.

Where the function itself is not defined (NaN), its derivative is not compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import e, inf, nan, pi
from typing import Any

import mpmath as mp
import numpy as np
import scipy.special

import fdl.numpy as fnp
from fdl import lax, nn
from fdl.scipy import special

Bound = float | Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Row:
    """One function; see the module."""

    function: Callable[..., Any]
    exact: Callable[..., Any]
    derivative: Callable[..., Any]
    value: Bound = 4.0
    slope: Bound = 4.0
    points: Sequence[float] = ()
    floor: Bound = 0.0
    slope_floor: Bound = 0.0
    tiny: float = 4.0
    at: dict[Any, Any] = field(default_factory=dict)
    slope_at: dict[Any, Any] = field(default_factory=dict)
    domain: tuple[float, float] = (-inf, inf)


def half_line(low: float) -> tuple[float, float]:
    """The domain of functions that are NaN below `low`."""
    return (low, inf)


def expit(x: Any) -> Any:
    small = mp.exp(-abs(x))
    return (1 if x >= 0 else small) / (1 + small)


def logistic_density(x: Any) -> Any:
    small = mp.exp(-abs(x))
    return small / (1 + small) ** 2


def softplus(x: Any) -> Any:
    return max(x, mp.mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def density(x: Any) -> Any:
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def upper_tail_ratio(x: Any) -> Any:
    """The normal distribution's upper tail over its density, for large x, by its continued fraction."""
    found = x
    for k in range(60, 0, -1):
        found = x + k / found
    return 1 / found


def ndtr(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2 if abs(x) < 40 else mp.mpf(x > 0)


def log_ndtr(x: Any) -> Any:
    if x < -20:
        return -x * x / 2 - mp.log(2 * mp.pi) / 2 + mp.log(upper_tail_ratio(-x))
    return mp.log1p(-ndtr(-x)) if x > 0 else mp.log(ndtr(x))


def log_ndtr_slope(x: Any) -> Any:
    return 1 / upper_tail_ratio(-x) if x < -20 else density(x) / ndtr(x)


def ndtri(p: Any) -> Any:
    """By Newton's method on the logarithm, which doubles the digits of SciPy's result three times."""
    x = mp.mpf(float(scipy.special.ndtri(float(p))))
    for _ in range(4):
        x -= (mp.log(ndtr(x)) - mp.log(p)) * ndtr(x) / density(x)
    return x


def gelu_argument(x: Any) -> Any:
    return 2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3)


def gelu_slope(x: Any) -> Any:
    u = gelu_argument(x)
    return expit(u) + x * logistic_density(u) * 2 * mp.sqrt(2 / mp.pi) * (1 + 3 * mp.mpf(0.044715) * x * x)


def gelu_bound(x: np.ndarray) -> np.ndarray:
    """The logistic function's argument, a cubic of rounded coefficients, is off by some units, which multiply it."""
    with np.errstate(over="ignore", invalid="ignore"):
        cubic = np.abs(1.6 * x + 0.0714 * x**3)
    return np.where(x < 0, 4 + 4 * np.minimum(cubic, 1000.0), 4.0)


def mish(x: Any) -> Any:
    small = mp.exp(-abs(x))
    if x > 0:
        return x * (1 + 2 * small) / (1 + 2 * small + 2 * small**2)
    return x * small * (small + 2) / (small**2 + 2 * small + 2)


def mish_slope(x: Any) -> Any:
    factor = mish(x) / x if x else mp.mpf(3) / 5
    return factor + x * mp.sech(softplus(x)) ** 2 * expit(x)


def squareplus(x: Any) -> Any:
    root = mp.sqrt(x * x + 4)
    return (x + root) / 2 if x > 0 else 2 / (root - x)


def sinc_slope(x: Any) -> Any:
    if abs(x) < 1e-12:
        return -(mp.pi**2) / 3 * x
    return (mp.cospi(x) - mp.sincpi(x)) / x


def log_cosh(x: Any) -> Any:
    if abs(x) < 1e-12:
        return x * x / 2
    return abs(x) + mp.log1p(mp.exp(-2 * abs(x))) - mp.ln2


def log1mexp(x: Any) -> Any:
    return mp.log(-mp.expm1(-x)) if x < 1 else mp.log1p(-mp.exp(-x))


def ie(order: int, x: Any) -> Any:
    """exp(-|x|) times a modified Bessel function; for large x by its asymptotic series."""
    size = abs(x)
    if size < 400:
        return mp.besseli(order, x) * mp.exp(-size)
    total = term = mp.mpf(1)
    for k in range(1, 40):
        term *= -mp.mpf(4 * order**2 - (2 * k - 1) ** 2) / (8 * k * size)
        total += term
    return total / mp.sqrt(2 * mp.pi * size) * (-1 if order % 2 and x < 0 else 1)


def ie_gap(x: Any) -> Any:
    """exp(-|x|) (I0(x) - I1(|x|))."""
    size = abs(x)
    if size < 400:
        return ie(0, x) - ie(1, size)
    total, first, second = mp.mpf(0), mp.mpf(1), mp.mpf(1)
    for k in range(1, 40):
        first, second = first * (2 * k - 1) ** 2 / (8 * k * size), second * ((2 * k - 1) ** 2 - 4) / (8 * k * size)
        total += first - second
    return total / mp.sqrt(2 * mp.pi * size)


def at_pole(function: Callable[..., Any]) -> Callable[..., Any]:
    """NaN at the poles of the gamma function."""
    return lambda x: mp.nan if x <= 0 and x == mp.floor(x) else function(x)


def inverse_root(x: Any) -> Any:
    return 1 / mp.sqrt((1 - x) * (1 + x))


SELU, SELU_ALPHA = mp.mpf(1.0507009873554805), mp.mpf(1.6732632423543772)
BOTH = {inf: inf, -inf: -inf}
ENDS = {inf: 0, -inf: 0}

UNARY = {
    "exp": Row(fnp.exp, mp.exp, mp.exp),
    # Where exp2 overflows so does its derivative, which is 0.69 of it.
    "exp2": Row(fnp.exp2, lambda x: mp.power(2, x), lambda x: mp.power(2, x) * mp.ln2),
    "expm1": Row(fnp.expm1, mp.expm1, mp.exp, points=[0.0]),
    "log": Row(fnp.log, mp.log, lambda x: 1 / x, at={-inf: nan}, slope_at={0.0: None}, points=[1.0]),
    "log2": Row(fnp.log2, lambda x: mp.log(x) / mp.ln2, lambda x: 1 / (x * mp.ln2), at={-inf: nan},
                slope_at={0.0: None}),
    "log10": Row(
        fnp.log10, lambda x: mp.log(x) / mp.ln10, lambda x: 1 / (x * mp.ln10), at={-inf: nan}, slope_at={0.0: None}
    ),
    "log1p": Row(fnp.log1p, mp.log1p, lambda x: 1 / (1 + x), points=[-1.0], at={-inf: nan}, slope_at={-1.0: inf}),
    "sqrt": Row(fnp.sqrt, mp.sqrt, lambda x: 1 / (2 * mp.sqrt(x)), at={-inf: nan}, slope_at={0.0: None}),
    "rsqrt": Row(
        lax.rsqrt, lambda x: 1 / mp.sqrt(x), lambda x: -1 / (2 * x * mp.sqrt(x)), at={0.0: None, -inf: nan},
        slope_at={0.0: -inf},
    ),
    "cbrt": Row(
        fnp.cbrt, lambda x: mp.sign(x) * mp.cbrt(abs(x)), lambda x: 1 / (3 * mp.cbrt(abs(x)) ** 2), at=BOTH,
        slope_at={0.0: inf, **ENDS},
    ),
    "sin": Row(fnp.sin, mp.sin, mp.cos, points=[pi / 2, pi, 2 * pi, 100 * pi]),
    "cos": Row(fnp.cos, mp.cos, lambda x: -mp.sin(x), points=[pi / 2, pi, 2 * pi, 100 * pi]),
    "tan": Row(fnp.tan, mp.tan, lambda x: mp.sec(x) ** 2, points=[pi / 2, pi]),
    # The derivative has a root between any two integers, where two terms of size 1 / x cancel.
    "sinc": Row(
        fnp.sinc, mp.sincpi, sinc_slope, points=[0.5, 1.0, 2.0, 17.0], at={inf: nan, -inf: nan},
        slope_floor=lambda x: np.where(np.abs(x) > 1, 1 / np.abs(x), 0.0),
    ),
    "arcsin": Row(
        fnp.arcsin, mp.asin, inverse_root, points=[1.0, -1.0], slope_at={1.0: inf, -1.0: inf}, domain=(-1, 1),
    ),
    "arccos": Row(
        fnp.arccos, mp.acos, lambda x: -inverse_root(x), points=[1.0, -1.0], slope_at={1.0: -inf, -1.0: -inf},
        domain=(-1, 1),
    ),
    "arctan": Row(fnp.arctan, mp.atan, lambda x: 1 / (1 + x * x)),
    "sinh": Row(fnp.sinh, mp.sinh, mp.cosh),
    "cosh": Row(fnp.cosh, mp.cosh, mp.sinh),
    "tanh": Row(fnp.tanh, mp.tanh, lambda x: mp.sech(x) ** 2),
    "arcsinh": Row(fnp.arcsinh, mp.asinh, lambda x: 1 / mp.sqrt(1 + x * x), at=BOTH, slope_at=ENDS),
    "arccosh": Row(
        fnp.arccosh, mp.acosh, lambda x: 1 / mp.sqrt((x - 1) * (x + 1)), points=[1.0], slope_at={1.0: inf},
        domain=half_line(1.0),
    ),
    "arctanh": Row(
        fnp.arctanh, mp.atanh, lambda x: 1 / ((1 - x) * (1 + x)), points=[1.0, -1.0], at={1.0: inf, -1.0: -inf},
        slope_at={1.0: inf, -1.0: inf}, domain=(-1, 1),
    ),
    "square": Row(fnp.square, lambda x: x * x, lambda x: 2 * x),
    "cube": Row(lambda x: x**3, lambda x: x**3, lambda x: 3 * x * x),
    "reciprocal": Row(fnp.reciprocal, lambda x: 1 / x, lambda x: -1 / (x * x), at={0.0: None}, slope_at={0.0: -inf}),
    "x**-2": Row(lambda x: x**-2, lambda x: x**-2, lambda x: -2 * x**-3, at={0.0: inf}, slope_at={0.0: None}),
    "x**-5": Row(lambda x: x**-5, lambda x: x**-5, lambda x: -5 * x**-6, at={0.0: None}, slope_at={0.0: -inf}),
    "x**1.5": Row(
        lambda x: x**1.5, lambda x: x ** mp.mpf(1.5), lambda x: mp.mpf(1.5) * mp.sqrt(x), at={-inf: inf},
        slope_at={-inf: None},
    ),
    "abs": Row(fnp.abs, abs, mp.sign, slope_at={0.0: 1}),
    "sign": Row(fnp.sign, mp.sign, lambda x: mp.mpf(0)),
    "floor": Row(fnp.floor, mp.floor, lambda x: mp.mpf(0), at=BOTH, value=0, slope=0),
    "ceil": Row(fnp.ceil, mp.ceil, lambda x: mp.mpf(0), at=BOTH, value=0, slope=0),
    "rint": Row(fnp.rint, mp.nint, lambda x: mp.mpf(0), at=BOTH, value=0, slope=0),
    "relu": Row(nn.relu, lambda x: max(x, mp.mpf(0)), lambda x: mp.mpf(x > 0), value=0, slope=0),
    "relu6": Row(nn.relu6, lambda x: min(max(x, mp.mpf(0)), mp.mpf(6)), lambda x: mp.mpf(0 < x < 6), value=0, slope=0),
    "leaky_relu": Row(
        nn.leaky_relu, lambda x: x if x > 0 else x * mp.mpf(0.01), lambda x: mp.mpf(1 if x >= 0 else 0.01)
    ),
    "hard_tanh": Row(
        nn.hard_tanh, lambda x: min(max(x, mp.mpf(-1)), mp.mpf(1)), lambda x: mp.mpf(-1 <= x <= 1), value=0, slope=0
    ),
    # Values near -3 are x + 3 rounded, divided by six.
    "hard_sigmoid": Row(
        nn.hard_sigmoid, lambda x: min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6, lambda x: mp.mpf(-3 < x < 3) / 6
    ),
    "hard_silu": Row(
        nn.hard_silu, lambda x: x * min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6,
        lambda x: mp.mpf(x >= 3) if abs(x) >= 3 else (2 * x + 3) / 6, slope_floor=0.5,
        at={-inf: nan}, slope_at={3.0: None, -3.0: None},
    ),
    "sparse_plus": Row(
        nn.sparse_plus, lambda x: mp.mpf(0) if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4,
        lambda x: mp.mpf(x > 0) if abs(x) >= 1 else (x + 1) / 2, slope_at={inf: None, -inf: None},
    ),
    "sparse_sigmoid": Row(
        nn.sparse_sigmoid, lambda x: min(max((x + 1) / 2, mp.mpf(0)), mp.mpf(1)), lambda x: mp.mpf(abs(x) < 1) / 2,
        slope_at={1.0: None, -1.0: None},
    ),
    "negative": Row(fnp.negative, lambda x: -x, lambda x: mp.mpf(-1), value=0, slope=0),
    "fabs": Row(fnp.fabs, abs, mp.sign, value=0, slope=0, slope_at={0.0: 1}),
    "trunc": Row(fnp.trunc, lambda x: mp.sign(x) * mp.floor(abs(x)), lambda x: mp.mpf(0), at=BOTH, value=0, slope=0),
    "degrees": Row(fnp.degrees, lambda x: x * 180 / mp.pi, lambda x: 180 / mp.pi, at=BOTH, tiny=64),
    "radians": Row(fnp.radians, lambda x: x * mp.pi / 180, lambda x: mp.pi / 180, at=BOTH),
    # Losses, of a target that is given.
    "squared_error": Row(lambda x: nn.squared_error(x), lambda x: x * x, lambda x: 2 * x),
    "l2_loss": Row(lambda x: nn.l2_loss(x), lambda x: x * x / 2, lambda x: x),
    "absolute_error": Row(lambda x: nn.absolute_error(x), abs, mp.sign, slope_at={0.0: 1}),
    "huber_loss": Row(
        lambda x: nn.huber_loss(x), lambda x: x * x / 2 if abs(x) < 1 else abs(x) - mp.mpf(0.5),
        lambda x: max(min(x, mp.mpf(1)), mp.mpf(-1)), points=[1.0, -1.0],
    ),
    "hinge_loss": Row(
        lambda x: nn.hinge_loss(x, 1.0), lambda x: max(1 - x, mp.mpf(0)), lambda x: mp.mpf(-1 if x < 1 else 0),
        slope_at={1.0: -0.5},
    ),
    # The derivative passes through zero at the logit of the target.
    "sigmoid_binary_cross_entropy": Row(
        lambda x: nn.sigmoid_binary_cross_entropy(x, 0.25), lambda x: softplus(x) - x / 4,
        lambda x: expit(x) - mp.mpf(0.25), slope_floor=0.25, floor=lambda x: np.abs(x), at={inf: inf, -inf: inf},
    ),
    "sigmoid": Row(nn.sigmoid, expit, logistic_density),
    "softplus": Row(nn.softplus, softplus, expit),
    "log_sigmoid": Row(nn.log_sigmoid, lambda x: -softplus(-x), lambda x: expit(-x)),
    # Functions x times a factor that vanishes are NaN at -inf, and their derivatives at both infinities, as in JAX.
    "silu": Row(
        nn.silu, lambda x: x * expit(x), lambda x: expit(x) + x * logistic_density(x), points=[-1.2784645],
        slope_floor=lambda x: np.where(np.abs(x + 1.28) < 0.3, 0.25, 0.0), tiny=128, at={-inf: nan},
        slope_at={inf: None},
    ),
    "mish": Row(
        nn.mish, mish, mish_slope, slope=6, points=[-1.1924], tiny=128, at={inf: inf, -inf: nan}, slope_at={inf: None},
        slope_floor=lambda x: np.where(np.abs(x + 1.19) < 0.3, 0.25, 0.0),
    ),
    "elu": Row(nn.elu, lambda x: x if x > 0 else mp.expm1(x), lambda x: mp.exp(min(x, mp.mpf(0)))),
    "celu": Row(
        lambda x: nn.celu(x, 2.0), lambda x: x if x > 0 else 2 * mp.expm1(x / 2),
        lambda x: mp.exp(min(x, mp.mpf(0)) / 2),
    ),
    "selu": Row(
        nn.selu, lambda x: SELU * (x if x > 0 else SELU_ALPHA * mp.expm1(x)),
        lambda x: SELU if x > 0 else SELU * SELU_ALPHA * mp.exp(x),
    ),
    "gelu": Row(
        nn.gelu, lambda x: x * expit(gelu_argument(x)), gelu_slope, value=gelu_bound, slope=gelu_bound,
        points=[-0.7524614], tiny=128, slope_floor=lambda x: np.where(np.abs(x + 0.75) < 0.3, 0.25, 0.0),
        at={-inf: nan}, slope_at={inf: None},
    ),
    "gelu, exact": Row(
        lambda x: nn.gelu(x, False), lambda x: x * ndtr(x), lambda x: ndtr(x) + x * density(x), value=5, slope=5,
        points=[-0.7517915], tiny=128, slope_floor=lambda x: np.where(np.abs(x + 0.75) < 0.3, 0.25, 0.0),
        at={-inf: nan}, slope_at={inf: None},
    ),
    "soft_sign": Row(
        nn.soft_sign, lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, at={inf: nan, -inf: nan}
    ),
    "squareplus": Row(
        nn.squareplus, squareplus, lambda x: squareplus(x) / mp.sqrt(x * x + 4), at={inf: inf, -inf: 0},
        slope_at={inf: None, -inf: 0},
    ),
    "log1mexp": Row(
        nn.log1mexp, log1mexp, lambda x: 1 / mp.expm1(x), points=[0.6931472], at={0.0: -inf}, slope_at={0.0: None},
        domain=half_line(0.0),
    ),
    "log_cosh": Row(nn.log_cosh, log_cosh, mp.tanh, points=[1.0]),
    "erf": Row(special.erf, mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x)),
    "erfc": Row(
        special.erfc, lambda x: mp.erfc(x) if x < 40 else mp.mpf(0), lambda x: -2 / mp.sqrt(mp.pi) * mp.exp(-x * x),
        value=6,
    ),
    "erfinv": Row(
        special.erfinv, mp.erfinv, lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(mp.erfinv(x) ** 2), slope=6,
        points=[1.0, -1.0],
        at={1.0: inf, -1.0: -inf}, slope_at={1.0: inf, -1.0: inf}, domain=(-1, 1),
    ),
    "ndtr": Row(special.ndtr, ndtr, density, value=5),
    "log_ndtr": Row(
        special.log_ndtr, log_ndtr, log_ndtr_slope, value=6, slope=6, at={-inf: -inf}, slope_at={-inf: None},
    ),
    # JAX gives 0 at both ends, where the limit is infinite.
    "ndtri": Row(
        special.ndtri, ndtri, lambda p: 1 / density(ndtri(p)), slope=8, points=[0.5, 1.0],
        at={0.0: -inf, 1.0: inf}, slope_at={0.0: inf, 1.0: inf}, domain=(0, 1),
    ),
    "expit": Row(special.expit, expit, logistic_density),
    "logit": Row(
        special.logit, lambda x: mp.log(x / (1 - x)), lambda x: 1 / (x * (1 - x)), points=[0.3, 0.5, 1.0],
        at={0.0: -inf, 1.0: inf}, slope_at={0.0: None, 1.0: inf}, domain=(0, 1),
    ),
    "entr": Row(
        special.entr, lambda x: -x * mp.log(x), lambda x: -mp.log(x) - 1, points=[1 / e, 1.0],
        at={0.0: 0, inf: -inf, -inf: -inf},
        slope_at={0.0: inf}, slope_floor=1.0, domain=half_line(0.0),
    ),
    # Errors are absolute near the roots at 1, at 2 and between the poles.
    "gammaln": Row(
        special.gammaln, lambda x: mp.inf if x <= 0 and x == mp.floor(x) else mp.re(mp.loggamma(x)),
        at_pole(mp.digamma), points=[1.0, 2.0, -2.5], floor=1.0, value=8,
        slope_floor=lambda x: np.where(x < 2, 8.0, 0.0), slope=6, at={inf: inf, -inf: None},
        slope_at={inf: inf}, domain=(-170.0, inf),
    ),
    "digamma": Row(
        special.digamma, at_pole(mp.digamma), at_pole(lambda x: mp.psi(1, x)), points=[1.4616321449683622, -1.0],
        at={inf: inf, 0.0: None}, slope_at={inf: None}, floor=lambda x: np.where(x < 2, 8.0, 0.0), value=6, slope=6,
        domain=(-170.0, inf),
    ),
    "gamma": Row(
        special.gamma, at_pole(mp.gamma), at_pole(lambda x: mp.gamma(x) * mp.digamma(x)),
        points=[1.0, 1.4616321449683622], value=8, slope=10, at={0.0: None, inf: inf}, slope_at={inf: inf},
        slope_floor=lambda x: np.where(x < 2, 8.0 * np.abs(np.asarray(special.gamma(x))), 0.0), tiny=16,
        domain=(-170.0, inf),
    ),
    "factorial": Row(
        special.factorial, lambda x: mp.gamma(x + 1) if x >= 0 else mp.mpf(0),
        lambda x: mp.gamma(x + 1) * mp.digamma(x + 1) if x >= 0 else mp.mpf(0),
        value=lambda x: 8 + 2 * np.clip(x, 0, 170), slope=lambda x: 16 + 4 * np.clip(x, 0, 170),
        at={inf: inf}, slope_at={inf: inf}, slope_floor=lambda x: np.where((x >= 0) & (x < 2), 8.0, 0.0),
    ),
    "i0": Row(
        special.i0, lambda x: mp.besseli(0, x), lambda x: mp.besseli(1, x), value=6, slope=6, at={inf: inf, -inf: inf},
        slope_at={inf: inf, -inf: -inf}, domain=(-1e4, 1e4),
    ),
    "i1": Row(
        special.i1, lambda x: mp.besseli(1, x), lambda x: (mp.besseli(0, x) + mp.besseli(2, x)) / 2, value=6, slope=6,
        at=BOTH, slope_at={inf: inf, -inf: inf}, domain=(-1e4, 1e4),
    ),
    # The derivatives are differences of two numbers that agree to 1 / |x|, which float64 computes in float64.
    "i0e": Row(
        special.i0e, lambda x: ie(0, x), lambda x: -mp.sign(x) * ie_gap(x), value=6, slope=64, at=ENDS, slope_at=ENDS
    ),
    "i1e": Row(
        special.i1e, lambda x: ie(1, x), lambda x: ie_gap(x) - ie(1, x) / x, value=6, slope=96,
        slope_floor=lambda x: np.where(np.abs(np.abs(x) - 1.5) < 0.3, 0.1, 0.0), at=ENDS, slope_at={0.0: 0.5, **ENDS},
    ),
    # By SciPy in float64, which float32 is rounded from.
    "polygamma(1, x)": Row(
        lambda x: special.polygamma(1, x), lambda x: mp.psi(1, x), lambda x: mp.psi(2, x), value=8, slope=8,
        at={inf: 0, -inf: None}, slope_at={inf: 0}, domain=(1e-40, 1e8),
    ),
    "polygamma(3, x)": Row(
        lambda x: special.polygamma(3, x), lambda x: mp.psi(3, x), lambda x: mp.psi(4, x), value=8, slope=8, tiny=64,
        at={inf: 0, -inf: None}, slope_at={inf: 0}, domain=(1e-40, 1e8),
    ),
    "zeta(2.5, q)": Row(
        lambda q: special.zeta(2.5, q), lambda q: mp.zeta(2.5, q), lambda q: -2.5 * mp.zeta(3.5, q), value=8, slope=8,
        at={inf: None, -inf: None}, slope_at={inf: None}, domain=(1e-40, 1e4),
    ),
    "betainc(2.5, 0.5, x)": Row(
        lambda x: special.betainc(2.5, 0.5, x), lambda x: mp.betainc(2.5, 0.5, 0, x, regularized=True),
        lambda x: x ** mp.mpf(1.5) / mp.sqrt(1 - x) / mp.beta(2.5, 0.5), value=256, slope=512, points=[0.5, 1.0],
        slope_at={1.0: inf}, domain=(1e-100, 1),
    ),
    "betainc(30, 40, x)": Row(
        lambda x: special.betainc(30.0, 40.0, x), lambda x: mp.betainc(30, 40, 0, x, regularized=True),
        lambda x: x**29 * (1 - x) ** 39 / mp.beta(30, 40), value=2048, slope=2048, points=[0.5, 1.0],
        slope_at={0.0: 0, 1.0: 0}, domain=(0, 1), tiny=2048,
    ),
}  # fmt: skip
