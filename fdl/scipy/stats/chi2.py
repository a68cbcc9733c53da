"""The chi-squared distribution: of the sum of `df` squares of standard normal variables."""

from typing import Any

from fdl.core.types import Array
from fdl.scipy._distribution import Distribution
from fdl.scipy.stats import gamma

__all__ = ["cdf", "isf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]


define = Distribution("1.0, 3.0", df="degrees of freedom, positive; broadcasts.")


@define(-1.419)
def logpdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return gamma.logpdf(x, 0.5 * df, loc, 2 * scale)


pdf = define.exp(logpdf, 0.242)


@define(0.199)
def cdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return gamma.cdf(x, 0.5 * df, loc, 2 * scale)


@define(0.801)
def sf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return gamma.sf(x, 0.5 * df, loc, 2 * scale)


@define(-1.616)
def logcdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return gamma.logcdf(x, 0.5 * df, loc, 2 * scale)


@define(-0.222)
def logsf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return gamma.logsf(x, 0.5 * df, loc, 2 * scale)


@define(4.108)
def ppf(q: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return gamma.ppf(q, 0.5 * df, loc, 2 * scale)


@define(1.213)
def isf(q: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return gamma.isf(q, 0.5 * df, loc, 2 * scale)


def __dir__() -> list[str]:
    return __all__
