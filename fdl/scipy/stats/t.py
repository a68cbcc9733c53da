"""Student's distribution with `df` degrees of freedom."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._operands import log1p_square
from fdl.scipy._stirling import LOG_2PI

__all__ = ["cdf", "logpdf", "pdf", "sf"]


define = Distribution("1.0, 3.0", df="degrees of freedom, positive; broadcasts.")


@define(-1.576)
def logpdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    normal = df == fnp.inf
    n = fnp.where(normal, 1.0, df)
    value = -special.betaln(n / 2, 0.5) - 0.5 * fnp.log(n) - (n + 1) / 2 * log1p_square(z / fnp.sqrt(n))
    return fnp.where(normal, -0.5 * (z * z + LOG_2PI), value) - fnp.log(scale)


pdf = define.exp(logpdf, 0.207)


def _tail(z: Array, df: Array) -> Array:
    """The probability beyond abs(z)."""
    normal, square = df == fnp.inf, z * z
    n = fnp.where(normal, 1.0, df)
    small = square < n
    # Of the two ends of the incomplete beta function the one whose argument has the digits.
    near = 0.5 - 0.5 * special.betainc(0.5, 0.5 * n, square / (n + square))
    far = 0.5 * special.betainc(0.5 * n, 0.5, fnp.where(small, 0.5, n / (n + square)))
    return fnp.where(normal, special.ndtr(-fnp.abs(z)), fnp.where(small, near, far))


@define(0.804)
def cdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    tail = _tail(z, df)
    return fnp.where(z < 0, tail, 1 - tail)


@define(0.196)
def sf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return cdf(-x, df, -loc, scale)


def __dir__() -> list[str]:
    return __all__
