"""Pareto's distribution of exponent b, from `loc + scale` on."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.nn.activations import log1mexp
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "isf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]


define = Distribution("2.0, 3.0", b="exponent, positive; broadcasts.")


@define(-1.674)
def logpdf(x: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    return fnp.where(z < 1, -fnp.inf, fnp.log(b) - (b + 1) * fnp.log(fnp.maximum(z, 1.0)) - fnp.log(scale))


pdf = define.exp(logpdf, 0.188)


@define(-2.079)
def logsf(x: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -b * fnp.log(fnp.maximum((x - loc) / scale, 1.0))


sf = define.exp(logsf, 0.125)


@define(0.875)
def cdf(x: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -fnp.expm1(logsf(x, b, loc, scale))


@define(-0.134)
def logcdf(x: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return log1mexp(-logsf(x, b, loc, scale))


@define(1.587)
def ppf(q: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return fnp.exp(-fnp.log1p(-q) / b) * scale + loc


@define(1.101)
def isf(q: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return fnp.exp(-fnp.log(q) / b) * scale + loc


def __dir__() -> list[str]:
    return __all__
