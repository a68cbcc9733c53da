"""The distribution of one trial that succeeds with probability p."""

from typing import Any

import fdl.numpy as fnp
from fdl.scipy import special
from fdl.scipy._operands import distribution

__all__ = ["cdf", "logpmf", "pmf"]

Array = Any


@distribution
def logpmf(k: Any, p: Any, loc: Any = 0) -> Array:
    """The logarithm of the probability of k.

    Args:
        k: a number of successes.
        p: probability of success; broadcasts.
        loc: what is added to the variable; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logpmf(1, 0.25).item(), 3)
    -1.386
    """
    z = k - loc
    value = special.xlogy(z, p) + special.xlog1py(1 - z, -p)
    return fnp.where((z == 0) | (z == 1), value, -fnp.inf)


@distribution
def pmf(k: Any, p: Any, loc: Any = 0) -> Array:
    """The probability of k.

    Args:
        k: a number of successes.
        p: probability of success; broadcasts.
        loc: what is added to the variable; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pmf(1, 0.25).item(), 3)
    0.25
    """
    return fnp.exp(logpmf(k, p, loc))


@distribution
def cdf(k: Any, p: Any, loc: Any = 0) -> Array:
    """The probability of k or less.

    Args:
        k: a number of successes.
        p: probability of success; broadcasts.
        loc: what is added to the variable; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(cdf(1, 0.25).item(), 3)
    1.0
    """
    z = k - loc
    return fnp.where(z < 0, 0.0, fnp.where(z < 1, 1 - p, 1.0))
