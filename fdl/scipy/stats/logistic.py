"""The logistic distribution around `loc`."""

from typing import Any

import fdl.numpy as fnp
from fdl.nn.activations import sigmoid, softplus
from fdl.scipy import special
from fdl.scipy._operands import operands

__all__ = ["cdf", "logpdf", "pdf", "ppf", "sf"]

Array = Any


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
    x, loc, scale = operands(x, loc, scale)
    z = (x - loc) / scale
    return -z - 2 * softplus(-z) - fnp.log(scale)


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
    x, loc, scale = operands(x, loc, scale)
    return sigmoid((x - loc) / scale)


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
    x, loc, scale = operands(x, loc, scale)
    return sigmoid(-(x - loc) / scale)


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
    q, loc, scale = operands(q, loc, scale)
    return special.logit(q) * scale + loc
