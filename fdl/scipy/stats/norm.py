"""The normal distribution with mean `loc` and standard deviation `scale`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "isf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]


define = Distribution("1.0", loc="mean; broadcasts.", scale="standard deviation, positive; broadcasts.")


@define(-1.419)
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    return -0.5 * (z * z + math.log(2 * math.pi)) - fnp.log(scale)


pdf = define.exp(logpdf, 0.242)


@define(0.841)
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.ndtr((x - loc) / scale)


@define(-0.173)
def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.log_ndtr((x - loc) / scale)


@define(0.159)
def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.ndtr(-(x - loc) / scale)


@define(-1.841)
def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.log_ndtr(-(x - loc) / scale)


@define(0.674)
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.ndtri(q) * scale + loc


@define(-0.674)
def isf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -special.ndtri(q) * scale + loc


def __dir__() -> list[str]:
    return __all__
