"""The distribution of how often each of K results comes among n trials, along the last axis."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._operands import operands

__all__ = ["logpmf", "pmf"]


def logpmf(x: Any, n: Any, p: Any) -> Array:
    """The logarithm of the probability of counts x; minus infinity where they are not whole, or do not sum to n.

    Args:
        x: [..., K], counts.
        n: [...], number of trials.
        p: [..., K], probabilities.

    Returns:
        [...].

    >>> round(logpmf(fnp.array([1, 2]), 3, fnp.array([0.25, 0.75])).item(), 3)
    -0.863
    """
    x, p = operands("multinomial.logpmf", x, p)
    n = fnp.asarray(n, x.dtype)
    inside = fnp.all((x >= 0) & (x == fnp.floor(x)), axis=-1) & (fnp.sum(x, axis=-1) == n)
    safe = fnp.where(inside[..., None], x, 0.0)
    ways = special.gammaln(n + 1) - fnp.sum(special.gammaln(safe + 1), axis=-1)
    return fnp.where(inside, ways + fnp.sum(special.xlogy(safe, p), axis=-1), -fnp.inf)


def pmf(x: Any, n: Any, p: Any) -> Array:
    """The probability of counts x.

    Args:
        x: [..., K], counts.
        n: [...], number of trials.
        p: [..., K], probabilities.

    Returns:
        [...].

    >>> round(pmf(fnp.array([1, 2]), 3, fnp.array([0.25, 0.75])).item(), 3)
    0.422
    """
    return fnp.exp(logpmf(x, n, p))


def __dir__() -> list[str]:
    return __all__
