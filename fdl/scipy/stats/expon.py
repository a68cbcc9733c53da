"""The exponential distribution from `loc` on, with mean `scale` above it."""

from typing import Any

import fdl.numpy as fnp
from fdl.scipy._operands import operands

Array = Any


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density."""
    x, loc, scale = operands(x, loc, scale)
    z = (x - loc) / scale
    return fnp.where(z < 0, -fnp.inf, -z - fnp.log(scale))


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density."""
    return fnp.exp(logpdf(x, loc, scale))


def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of :func:`sf`."""
    x, loc, scale = operands(x, loc, scale)
    return -fnp.maximum((x - loc) / scale, 0.0)


def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """One minus the distribution function."""
    return fnp.exp(logsf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function."""
    return -fnp.expm1(logsf(x, loc, scale))


def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the distribution function."""
    return fnp.log(cdf(x, loc, scale))


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q."""
    q, loc, scale = operands(q, loc, scale)
    return loc - fnp.log1p(-q) * scale
