"""The exponential distribution from `loc` on, with mean `scale` above it."""

from typing import Any

import fdl.numpy as fnp
from fdl.scipy._operands import distribution

__all__ = ["cdf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]

Array = Any


@distribution
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density.

    Args:
        x: where, a real array.
        loc: lower end; broadcasts.
        scale: mean above it, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logpdf(1.0).item(), 3)
    -1.0
    """
    z = (x - loc) / scale
    return fnp.where(z < 0, -fnp.inf, -z - fnp.log(scale))


@distribution
def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density.

    Args:
        x: where, a real array.
        loc: lower end; broadcasts.
        scale: mean above it, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pdf(1.0).item(), 3)
    0.368
    """
    return fnp.exp(logpdf(x, loc, scale))


@distribution
def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of :func:`sf`.

    Args:
        x: where, a real array.
        loc: lower end; broadcasts.
        scale: mean above it, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logsf(1.0).item(), 3)
    -1.0
    """
    return -fnp.maximum((x - loc) / scale, 0.0)


@distribution
def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """One minus the distribution function.

    Args:
        x: where, a real array.
        loc: lower end; broadcasts.
        scale: mean above it, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(sf(1.0).item(), 3)
    0.368
    """
    return fnp.exp(logsf(x, loc, scale))


@distribution
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function.

    Args:
        x: where, a real array.
        loc: lower end; broadcasts.
        scale: mean above it, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(cdf(1.0).item(), 3)
    0.632
    """
    return -fnp.expm1(logsf(x, loc, scale))


@distribution
def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the distribution function.

    Args:
        x: where, a real array.
        loc: lower end; broadcasts.
        scale: mean above it, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logcdf(1.0).item(), 3)
    -0.459
    """
    return fnp.log(cdf(x, loc, scale))


@distribution
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q.

    Args:
        q: probability, in [0, 1].
        loc: lower end; broadcasts.
        scale: mean above it, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(ppf(0.75).item(), 3)
    1.386
    """
    return loc - fnp.log1p(-q) * scale
