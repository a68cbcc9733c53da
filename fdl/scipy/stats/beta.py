"""The beta distribution with parameters a and b, moved to [loc, loc + scale]."""

from typing import Any

import fdl.numpy as fnp
from fdl.scipy import special
from fdl.scipy._operands import distribution

__all__ = ["cdf", "logpdf", "pdf"]

Array = Any


@distribution
def logpdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density.

    Args:
        x: where, a real array.
        a: first parameter, positive; broadcasts.
        b: second parameter, positive; broadcasts.
        loc: what is added to the variable; broadcasts.
        scale: by what the variable is multiplied, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logpdf(0.5, 2.0, 3.0).item(), 3)
    0.405
    """
    z = (x - loc) / scale
    outside = (z < 0) | (z > 1)
    safe = fnp.where(outside, 0.5, z)
    value = special.xlogy(a - 1, safe) + special.xlog1py(b - 1, -safe)
    return fnp.where(outside, -fnp.inf, value - special.betaln(a, b) - fnp.log(scale))


@distribution
def pdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density.

    Args:
        x: where, a real array.
        a: first parameter, positive; broadcasts.
        b: second parameter, positive; broadcasts.
        loc: what is added to the variable; broadcasts.
        scale: by what the variable is multiplied, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pdf(0.5, 2.0, 3.0).item(), 3)
    1.5
    """
    return fnp.exp(logpdf(x, a, b, loc, scale))


@distribution
def cdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function.

    Args:
        x: where, a real array.
        a: first parameter, positive; broadcasts.
        b: second parameter, positive; broadcasts.
        loc: what is added to the variable; broadcasts.
        scale: by what the variable is multiplied, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(cdf(0.5, 2.0, 2.0).item(), 3)
    0.5
    """
    return special.betainc(a, b, fnp.clip((x - loc) / scale, 0.0, 1.0))
