"""The logistic distribution around `loc`."""

from typing import Any

import fdl.numpy as fnp
from fdl.nn.activations import sigmoid, softplus
from fdl.scipy import special
from fdl.scipy._operands import distribution

__all__ = ["cdf", "logpdf", "pdf", "ppf", "sf"]

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
    -1.627
    """
    z = (x - loc) / scale
    distance = fnp.abs(z)  # the density is even, and finite terms stay so for infinite x
    return -distance - 2 * softplus(-distance) - fnp.log(scale)


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
    0.197
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
    0.731
    """
    return sigmoid((x - loc) / scale)


@distribution
def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """One minus the distribution function, without cancellation.

    Args:
        x: where, a real array.
        loc: the middle; broadcasts.
        scale: scale, positive; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(sf(1.0).item(), 3)
    0.269
    """
    return sigmoid(-(x - loc) / scale)


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
    1.099
    """
    return special.logit(q) * scale + loc
