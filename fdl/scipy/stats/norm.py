"""The normal distribution with mean `loc` and standard deviation `scale`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.scipy import special
from fdl.scipy._operands import distribution

__all__ = ["cdf", "isf", "logcdf", "logpdf", "logsf", "pdf", "ppf", "sf"]

Array = Any


@distribution
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density.

    Args:
        x: where, a real array.
        loc: mean; broadcasts.
        scale: standard deviation, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logpdf(1.0).item(), 3)
    -1.419
    """
    z = (x - loc) / scale
    return -0.5 * (z * z + math.log(2 * math.pi)) - fnp.log(scale)


@distribution
def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density.

    Args:
        x: where, a real array.
        loc: mean; broadcasts.
        scale: standard deviation, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pdf(1.0).item(), 3)
    0.242
    """
    return fnp.exp(logpdf(x, loc, scale))


@distribution
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function.

    Args:
        x: where, a real array.
        loc: mean; broadcasts.
        scale: standard deviation, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(cdf(1.0).item(), 3)
    0.841
    """
    return special.ndtr((x - loc) / scale)


@distribution
def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the distribution function, accurate in the tails.

    Args:
        x: where, a real array.
        loc: mean; broadcasts.
        scale: standard deviation, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logcdf(1.0).item(), 3)
    -0.173
    """
    return special.log_ndtr((x - loc) / scale)


@distribution
def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """One minus the distribution function, without cancellation.

    Args:
        x: where, a real array.
        loc: mean; broadcasts.
        scale: standard deviation, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(sf(1.0).item(), 3)
    0.159
    """
    return special.ndtr(-(x - loc) / scale)


@distribution
def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of :func:`sf`.

    Args:
        x: where, a real array.
        loc: mean; broadcasts.
        scale: standard deviation, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logsf(1.0).item(), 3)
    -1.841
    """
    return special.log_ndtr(-(x - loc) / scale)


@distribution
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q.

    Args:
        q: probability, in [0, 1].
        loc: mean; broadcasts.
        scale: standard deviation, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(ppf(0.75).item(), 3)
    0.674
    """
    return special.ndtri(q) * scale + loc


@distribution
def isf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The inverse of :func:`sf`.

    Args:
        q: probability, in [0, 1].
        loc: mean; broadcasts.
        scale: standard deviation, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(isf(0.75).item(), 3)
    -0.674
    """
    return -special.ndtri(q) * scale + loc
