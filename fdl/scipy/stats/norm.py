"""The normal distribution with mean `loc` and standard deviation `scale`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.scipy import special
from fdl.scipy._operands import operands

Array = Any


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density."""
    x, loc, scale = operands(x, loc, scale)
    z = (x - loc) / scale
    return -0.5 * (z * z + math.log(2 * math.pi)) - fnp.log(scale)


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density."""
    return fnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function."""
    x, loc, scale = operands(x, loc, scale)
    return special.ndtr((x - loc) / scale)


def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the distribution function, accurate in the tails."""
    x, loc, scale = operands(x, loc, scale)
    return special.log_ndtr((x - loc) / scale)


def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """One minus the distribution function, without cancellation."""
    x, loc, scale = operands(x, loc, scale)
    return special.ndtr(-(x - loc) / scale)


def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of :func:`sf`."""
    x, loc, scale = operands(x, loc, scale)
    return special.log_ndtr(-(x - loc) / scale)


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q."""
    q, loc, scale = operands(q, loc, scale)
    return special.ndtri(q) * scale + loc


def isf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The inverse of :func:`sf`."""
    q, loc, scale = operands(q, loc, scale)
    return -special.ndtri(q) * scale + loc
