"""The Cauchy distribution around `loc`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.scipy._operands import distribution, log1p_square

__all__ = ["cdf", "logpdf", "pdf", "ppf"]

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

    >>> round(logpdf(0.75).item(), 3)
    -1.591
    """
    z = (x - loc) / scale
    return -math.log(math.pi) - fnp.log(scale) - log1p_square(z)


@distribution
def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density.

    Args:
        x: where, a real array.
        loc: the middle; broadcasts.
        scale: scale, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pdf(0.75).item(), 3)
    0.204
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

    >>> round(cdf(0.75).item(), 3)
    0.705
    """
    return fnp.arctan2(1.0, (loc - x) / scale) / math.pi  # exact in the lower tail too


@distribution
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q.

    Args:
        q: probability, in [0, 1].
        loc: the middle; broadcasts.
        scale: scale, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(ppf(0.75).item(), 3)
    1.0
    """
    # The cotangent of the distance from the nearer end, which is exact, is infinite there.
    rest = fnp.minimum(q, 1 - q)
    size = fnp.where(rest == 0, math.inf, 1 / fnp.tan(math.pi * fnp.where(rest == 0, 0.25, rest)))
    z = fnp.where(fnp.abs(q - 0.5) < 0.25, fnp.tan(math.pi * (q - 0.5)), fnp.where(q < 0.5, -size, size))
    return z * scale + loc
