"""Gumbel's distribution of the largest of many variables, around `loc`."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.nn.activations import log1mexp
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "isf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]


define = Distribution("1.0", loc="the mode; broadcasts.", scale="scale, positive; broadcasts.")


@define(-1.368)
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    return fnp.where(fnp.isinf(z), -fnp.inf, -z - fnp.exp(-z)) - fnp.log(scale)


pdf = define.exp(logpdf, 0.255)


@define(-0.368)
def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -fnp.exp(-(x - loc) / scale)


cdf = define.exp(logcdf, 0.692)


@define(0.308)
def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -fnp.expm1(-fnp.exp(-(x - loc) / scale))


@define(-1.178)
def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    far, u = z > 10, fnp.exp(-z)  # which may underflow
    return fnp.where(far, -z - 0.5 * u + u * u / 24, log1mexp(fnp.exp(-fnp.where(far, 0.0, z))))


@define(1.246)
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -fnp.log(-fnp.log(q)) * scale + loc


@define(-0.327)
def isf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -fnp.log(-fnp.log1p(-q)) * scale + loc


def __dir__() -> list[str]:
    return __all__
