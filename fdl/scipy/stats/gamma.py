"""The gamma distribution with shape parameter a."""

from typing import Any

import fdl.numpy as fnp
from fdl.scipy import special
from fdl.scipy._operands import distribution

__all__ = ["cdf", "logpdf", "pdf", "sf"]

Array = Any


@distribution
def logpdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density.

    Args:
        x: where, a real array.
        a: shape parameter, positive; broadcasts.
        loc: what is added to the variable; broadcasts.
        scale: by what the variable is multiplied, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logpdf(1.0, 2.0).item(), 3)
    -1.0
    """
    z = (x - loc) / scale
    safe = fnp.where(z < 0, 1.0, z)
    value = special.xlogy(a - 1, safe) - safe - special.gammaln(a) - fnp.log(scale)
    return fnp.where(z < 0, -fnp.inf, value)


@distribution
def pdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density.

    Args:
        x: where, a real array.
        a: shape parameter, positive; broadcasts.
        loc: what is added to the variable; broadcasts.
        scale: by what the variable is multiplied, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pdf(1.0, 2.0).item(), 3)
    0.368
    """
    return fnp.exp(logpdf(x, a, loc, scale))


@distribution
def cdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function.

    Args:
        x: where, a real array.
        a: shape parameter, positive; broadcasts.
        loc: what is added to the variable; broadcasts.
        scale: by what the variable is multiplied, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(cdf(1.0, 2.0).item(), 3)
    0.264
    """
    return special.gammainc(a, fnp.maximum((x - loc) / scale, 0.0))


@distribution
def sf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """One minus the distribution function, without cancellation.

    Args:
        x: where, a real array.
        a: shape parameter, positive; broadcasts.
        loc: what is added to the variable; broadcasts.
        scale: by what the variable is multiplied, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(sf(1.0, 2.0).item(), 3)
    0.736
    """
    return special.gammaincc(a, fnp.maximum((x - loc) / scale, 0.0))
