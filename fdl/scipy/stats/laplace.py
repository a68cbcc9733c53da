"""The Laplace distribution around `loc`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.scipy._operands import distribution

__all__ = ["cdf", "logpdf", "pdf"]

Array = Any


@distribution
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density.

    Args:
        x: where, a real array.
        loc: the middle; broadcasts.
        scale: scale, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logpdf(1.0).item(), 3)
    -1.693
    """
    return -fnp.abs((x - loc) / scale) - math.log(2) - fnp.log(scale)


@distribution
def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density.

    Args:
        x: where, a real array.
        loc: the middle; broadcasts.
        scale: scale, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pdf(1.0).item(), 3)
    0.184
    """
    return fnp.exp(logpdf(x, loc, scale))


@distribution
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function.

    Args:
        x: where, a real array.
        loc: the middle; broadcasts.
        scale: scale, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(cdf(1.0).item(), 3)
    0.816
    """
    z = (x - loc) / scale
    tail = 0.5 * fnp.exp(-fnp.abs(z))
    return fnp.where(z <= 0, tail, 1 - tail)
