"""The uniform distribution on [loc, loc + scale]."""

from typing import Any

import fdl.numpy as fnp
from fdl.scipy._operands import distribution

__all__ = ["cdf", "logpdf", "pdf", "ppf"]

Array = Any


@distribution
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density.

    Args:
        x: where, a real array.
        loc: lower end; broadcasts.
        scale: length, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logpdf(0.5, 0.0, 4.0).item(), 3)
    -1.386
    """
    inside = (x >= loc) & (x <= loc + scale)
    return fnp.where(inside, -fnp.log(scale), -fnp.inf)


@distribution
def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density.

    Args:
        x: where, a real array.
        loc: lower end; broadcasts.
        scale: length, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pdf(0.5, 0.0, 4.0).item(), 3)
    0.25
    """
    return fnp.exp(logpdf(x, loc, scale))


@distribution
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function.

    Args:
        x: where, a real array.
        loc: lower end; broadcasts.
        scale: length, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(cdf(0.5, 0.0, 4.0).item(), 3)
    0.125
    """
    return fnp.clip((x - loc) / scale, 0.0, 1.0)


@distribution
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q; NaN outside [0, 1].

    Args:
        q: probability, in [0, 1].
        loc: lower end; broadcasts.
        scale: length, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(ppf(0.75, 0.0, 4.0).item(), 3)
    3.0
    """
    return fnp.where((q >= 0) & (q <= 1), q * scale + loc, fnp.nan)
