"""The Cauchy distribution around `loc`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.scipy._operands import operands

__all__ = ["cdf", "logpdf", "pdf", "ppf"]

Array = Any


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
    x, loc, scale = operands(x, loc, scale)
    z = (x - loc) / scale
    return -math.log(math.pi) - fnp.log(scale) - fnp.log1p(z * z)


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
    x, loc, scale = operands(x, loc, scale)
    return 0.5 + fnp.arctan((x - loc) / scale) / math.pi


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
    q, loc, scale = operands(q, loc, scale)
    return fnp.tan(math.pi * (q - 0.5)) * scale + loc
