"""The Poisson distribution with rate mu."""

from typing import Any

import fdl.numpy as fnp
from fdl.scipy import special
from fdl.scipy._operands import distribution

__all__ = ["cdf", "logpmf", "pmf"]

Array = Any


@distribution
def logpmf(k: Any, mu: Any, loc: Any = 0) -> Array:
    """The logarithm of the probability of k.

    Args:
        k: a number of events.
        mu: rate, not negative; broadcasts.
        loc: what is added to the variable; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(logpmf(2, 1.5).item(), 3)
    -1.382
    """
    z = k - loc
    value = special.xlogy(z, mu) - special.gammaln(fnp.where(z < 0, 0, z) + 1) - mu
    return fnp.where((z < 0) | (z != fnp.floor(z)), -fnp.inf, value)


@distribution
def pmf(k: Any, mu: Any, loc: Any = 0) -> Array:
    """The probability of k.

    Args:
        k: a number of events.
        mu: rate, not negative; broadcasts.
        loc: what is added to the variable; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(pmf(2, 1.5).item(), 3)
    0.251
    """
    return fnp.exp(logpmf(k, mu, loc))


@distribution
def cdf(k: Any, mu: Any, loc: Any = 0) -> Array:
    """The probability of k or less.

    Args:
        k: a number of events.
        mu: rate, not negative; broadcasts.
        loc: what is added to the variable; broadcasts.

    Returns:
        A floating array of the common shape.

    >>> round(cdf(2, 1.5).item(), 3)
    0.809
    """
    z = fnp.floor(k - loc)
    return fnp.where(z < 0, 0.0, special.gammaincc(fnp.maximum(z, 0) + 1, mu))
