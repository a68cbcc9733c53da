"""Elementwise functions of two numbers: what they and their partial derivatives are, and how exact they are promised.

As for functions of one number (`tests.accuracy.unary`), at pairs of finite numbers. Bounds and floors are functions of
both numbers. `inside` says where the function is compared; where its derivatives are None they are not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

import fdl.numpy as fnp
from fdl.scipy import special
from tests.accuracy.unary import expit

Bound = float | Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pair:
    """One function; see the module."""

    function: Callable[..., Any]
    exact: Callable[..., Any]
    partials: tuple[Callable[..., Any], Callable[..., Any]]
    value: Bound = 4.0
    slopes: tuple[Bound, Bound] = (4.0, 4.0)
    floor: Bound = 0.0
    slope_floors: tuple[Bound, Bound] = (0.0, 0.0)
    tiny: float = 4.0
    inside: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda x, y: np.ones_like(x, bool)


def zero(x: Any, y: Any) -> Any:
    return mp.mpf(0)


def one(x: Any, y: Any) -> Any:
    return mp.mpf(1)


def nan(x: Any, y: Any) -> None:
    """Not compared."""
    return None


def share(x: Any, y: Any) -> Any:
    return mp.mpf(x > y) if x != y else mp.mpf(0.5)


def power(x: Any, y: Any) -> Any:
    if x == 0:
        return mp.mpf(1) if y == 0 else mp.mpf(0) if y > 0 else None
    if x < 0 and y != mp.floor(y):
        return mp.nan
    if abs(y * mp.log(abs(x))) > 1e5:
        # The number itself would have too many digits; it is infinite or zero in all formats.
        large = (abs(x) > 1) == (y > 0)
        return (mp.mpf("1e9999") if large else mp.mpf("1e-9999")) * (-1 if x < 0 and mp.fmod(y, 2) else 1)
    return x**y if x > 0 else abs(x) ** y * (-1 if mp.fmod(y, 2) else 1)


def power_by_x(x: Any, y: Any) -> Any:
    if y == 0:
        return mp.mpf(0)
    if x == 0:
        return mp.mpf(y == 1) if y >= 1 else None
    out = power(x, y)
    return y * out / x


def power_by_y(x: Any, y: Any) -> Any:
    return power(x, y) * mp.log(x) if x > 0 else None


def logaddexp(base: Any) -> tuple[Callable[..., Any], tuple[Callable[..., Any], Callable[..., Any]]]:
    scale = mp.mpf(1) if base is None else mp.ln2

    def value(x: Any, y: Any) -> Any:
        return max(x, y) + mp.log1p(mp.exp(-abs(x - y) * scale)) / scale

    return value, (lambda x, y: expit((x - y) * scale), lambda x, y: expit((y - x) * scale))


def far(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The difference x - y is rounded once, and what is rounded off is multiplied by the exponential."""
    with np.errstate(over="ignore"):
        return 4 + np.minimum(np.abs(x - y), 1100)


def quotient(x: Any, y: Any) -> Any:
    return (x - mp.fmod(x, y)) / y


def truncated(x: Any, y: Any) -> Any:
    with mp.extraprec(4500):
        return mp.sign(x) * mp.sign(y) * mp.floor(abs(x) / abs(y))


def fmod(x: Any, y: Any) -> Any:
    with mp.extraprec(4500):
        return x - truncated(x, y) * y


def floored(x: Any, y: Any) -> Any:
    with mp.extraprec(4500):
        return mp.floor(x / y)


def mod(x: Any, y: Any) -> Any:
    with mp.extraprec(4500):
        return x - floored(x, y) * y


def positive(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x > 0) & (y > 0)


def log_terms(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The size of log(x / y) + 1, computed as log(x) - log(y)."""
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.abs(np.log(np.abs(x))) + np.abs(np.log(np.abs(y))) + 1, posinf=1e3)


def larger(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y))


def is_divisor(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return y != 0


LOGADDEXP, LOGADDEXP_SLOPES = logaddexp(None)
LOGADDEXP2, LOGADDEXP2_SLOPES = logaddexp(2)

BINARY = {
    "add": Pair(fnp.add, lambda x, y: x + y, (one, one), value=0.5, slopes=(0, 0)),
    "subtract": Pair(fnp.subtract, lambda x, y: x - y, (one, lambda x, y: mp.mpf(-1)), value=0.5, slopes=(0, 0)),
    "multiply": Pair(fnp.multiply, lambda x, y: x * y, (lambda x, y: y, lambda x, y: x), value=0.5, slopes=(0, 0)),
    "divide": Pair(
        fnp.divide, lambda x, y: x / y, (lambda x, y: 1 / y, lambda x, y: -x / (y * y)), value=0.5, inside=is_divisor
    ),
    # Where the power is subnormal, the exponent multiplies it.
    "power": Pair(fnp.power, power, (power_by_x, power_by_y), tiny=256),
    "hypot": Pair(
        fnp.hypot, mp.hypot, (lambda x, y: x / mp.hypot(x, y), lambda x, y: y / mp.hypot(x, y)),
        inside=lambda x, y: (x != 0) | (y != 0),
    ),
    "arctan2": Pair(
        fnp.arctan2, mp.atan2, (lambda x, y: y / (x * x + y * y), lambda x, y: -x / (x * x + y * y)),
        inside=lambda x, y: x != 0,
    ),
    "logaddexp": Pair(
        fnp.logaddexp, LOGADDEXP, LOGADDEXP_SLOPES, slopes=(far, far), floor=larger,
    ),
    "logaddexp2": Pair(
        fnp.logaddexp2, LOGADDEXP2, LOGADDEXP2_SLOPES, slopes=(far, far), floor=larger,
    ),
    "fmod": Pair(fnp.fmod, fmod, (one, lambda x, y: -truncated(x, y)), value=0, slopes=(0, 1), inside=is_divisor),
    "remainder": Pair(fnp.remainder, mod, (one, lambda x, y: -floored(x, y)), value=0.5, slopes=(0, 1),
                      inside=is_divisor),
    "maximum": Pair(fnp.maximum, max, (share, lambda x, y: share(y, x)), value=0, slopes=(0, 0)),
    "minimum": Pair(fnp.minimum, min, (lambda x, y: share(y, x), share), value=0, slopes=(0, 0)),
    # Of equal numbers the second one is taken.
    "fmax": Pair(fnp.fmax, max, (lambda x, y: mp.mpf(x > y), lambda x, y: mp.mpf(x <= y)), value=0, slopes=(0, 0)),
    "fmin": Pair(fnp.fmin, min, (lambda x, y: mp.mpf(x < y), lambda x, y: mp.mpf(x >= y)), value=0, slopes=(0, 0)),
    "copysign": Pair(
        fnp.copysign, lambda x, y: abs(x) * mp.sign(y), (lambda x, y: mp.sign(x) * mp.sign(y), zero),
        value=0, slopes=(0, 0), inside=lambda x, y: (x != 0) & (y != 0),
    ),
    "heaviside": Pair(
        fnp.heaviside, lambda x, y: mp.mpf(x > 0) if x else y, (zero, lambda x, y: mp.mpf(x == 0)), value=0,
        slopes=(0, 0),
    ),
    "xlogy": Pair(
        special.xlogy, lambda x, y: x * mp.log(y) if x else mp.mpf(0), (lambda x, y: mp.log(y), lambda x, y: x / y),
        inside=lambda x, y: y > 0, tiny=1024,
    ),
    "xlog1py": Pair(
        special.xlog1py, lambda x, y: x * mp.log1p(y) if x else mp.mpf(0),
        (lambda x, y: mp.log1p(y), lambda x, y: x / (1 + y)),
        inside=lambda x, y: y > -1, tiny=1024,
    ),
    "rel_entr": Pair(
        special.rel_entr, lambda x, y: x * mp.log(x / y), (lambda x, y: mp.log(x / y) + 1, lambda x, y: -x / y),
        floor=lambda x, y: np.abs(x) * log_terms(x, y), slope_floors=(log_terms, 0.0), inside=positive, tiny=1024,
    ),
    "kl_div": Pair(
        special.kl_div, lambda x, y: x * mp.log(x / y) - x + y, (lambda x, y: mp.log(x / y), lambda x, y: 1 - x / y),
        floor=lambda x, y: np.abs(x) * log_terms(x, y) + np.abs(y), slope_floors=(log_terms, 1.0), inside=positive,
        tiny=1024,
    ),
}  # fmt: skip


def gamma_density(a: Any, x: Any) -> Any:
    return mp.exp((a - 1) * mp.log(x) - x - mp.loggamma(a))


def by_shape(a: Any, x: Any) -> Any:
    """The derivative of P(a, x) by a: of its power series, term by term, which cancel where x is large."""
    with mp.extraprec(int(4 * x) + 100):
        term = mp.exp(a * mp.log(x) - x - mp.loggamma(a + 1))
        slope = mp.log(x) - mp.digamma(a + 1)
        found, k = term * slope, 0
        while k < x or abs(term * slope) > abs(found) * mp.eps:
            k += 1
            term *= x / (a + k)
            slope -= 1 / (a + k)
            found += term * slope
        return found


def gammainc(a: Any, x: Any) -> Any:
    return mp.gammainc(a, 0, x, regularized=True)


def gammaincc(a: Any, x: Any) -> Any:
    return mp.gammainc(a, x, mp.inf, regularized=True)


def exponent(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The logarithm of the gamma density is rounded, which the exponential multiplies."""
    return 16 + 8 * np.abs(a - x + a * np.log(x / a))


def lgamma(x: Any) -> Any:
    return mp.re(mp.loggamma(x))


def step(x: Any, y: Any) -> Any:
    return mp.digamma(x + y) - mp.digamma(x)


SHAPES = [1e-3, 0.1, 0.5, 1.0, 2.5, 7.0, 40.0]

#: Of positive numbers, the first among SHAPES; by SciPy in float64, whose errors the bounds are. In float32 they are
#: those results rounded. Where the function overflows so may its derivatives.
GAMMA = {
    "gammainc": Pair(
        special.gammainc, gammainc, (by_shape, gamma_density), value=lambda a, x: 1024 + exponent(a, x),
        slopes=(2.0**26, exponent),
    ),
    "gammaincc": Pair(
        special.gammaincc, gammaincc, (lambda a, x: -by_shape(a, x), lambda a, x: -gamma_density(a, x)),
        value=lambda a, x: 1024 + exponent(a, x), slopes=(2.0**26, exponent),
    ),
    "betaln": Pair(
        special.betaln, lambda a, b: lgamma(a) + lgamma(b) - lgamma(a + b),
        (lambda a, b: -step(a, b), lambda a, b: -step(b, a)), value=16, slopes=(8, 8), floor=1.0,
    ),
    "beta": Pair(
        special.beta, mp.beta, (lambda a, b: -mp.beta(a, b) * step(a, b), lambda a, b: -mp.beta(a, b) * step(b, a)),
        value=4096, slopes=(4096, 4096),
    ),
    "poch": Pair(
        special.poch, mp.rf, (lambda a, b: mp.rf(a, b) * step(a, b), lambda a, b: mp.rf(a, b) * mp.digamma(a + b)),
        value=4096, slopes=(4096, 4096),
    ),
}  # fmt: skip
