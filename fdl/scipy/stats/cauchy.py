"""The Cauchy distribution around `loc`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy._distribution import Distribution
from fdl.scipy._operands import log1p_square
from fdl.scipy._tails import log_of_tail

__all__ = ["cdf", "isf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]


define = Distribution("0.75", loc="the middle; broadcasts.", scale="scale, positive; broadcasts.")


@define(-1.591)
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    return -math.log(math.pi) - fnp.log(scale) - log1p_square(z)


pdf = define.exp(logpdf, 0.204)


@define(0.705)
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return fnp.arctan2(1.0, (loc - x) / scale) / math.pi  # exact in the lower tail too


@define(1.0)
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    # The cotangent of the distance from the nearer end, which is exact, is infinite there.
    rest = fnp.minimum(q, 1 - q)
    size = fnp.where(rest == 0, math.inf, 1 / fnp.tan(math.pi * fnp.where(rest == 0, 0.25, rest)))
    z = fnp.where(fnp.abs(q - 0.5) < 0.25, fnp.tan(math.pi * (q - 0.5)), fnp.where(q < 0.5, -size, size))
    return z * scale + loc


@define(0.295)
def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return fnp.arctan2(1.0, (x - loc) / scale) / math.pi


@define(-0.35)
def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return log_of_tail(cdf(x, loc, scale), sf(x, loc, scale))


@define(-1.22)
def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return log_of_tail(sf(x, loc, scale), cdf(x, loc, scale))


@define(-1.0)
def isf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -ppf(q, -loc, scale)


def __dir__() -> list[str]:
    return __all__
