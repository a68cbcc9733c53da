"""The exponential distribution from `loc` on, with mean `scale` above it."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.nn.activations import log1mexp
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]


define = Distribution("1.0", loc="lower end; broadcasts.", scale="mean above it, positive; broadcasts.")


@define(-1.0)
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    return fnp.where(z < 0, -fnp.inf, -z - fnp.log(scale))


pdf = define.exp(logpdf, 0.368)


@define(-1.0)
def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -fnp.maximum((x - loc) / scale, 0.0)


sf = define.exp(logsf, 0.368)


@define(0.632)
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -fnp.expm1(logsf(x, loc, scale))


@define(-0.459)
def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return log1mexp(fnp.maximum((x - loc) / scale, 0.0))


@define(1.386)
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return loc - fnp.log1p(-q) * scale


def __dir__() -> list[str]:
    return __all__
