"""The distribution of the number of failures before n successes of probability p."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution, positive
from fdl.scipy.stats import beta

__all__ = ["cdf", "logpmf", "pmf", "sf"]


define = Distribution(
    "2, 3.0, 0.25",
    {"n": positive, "p": lambda p: (p > 0) & (p <= 1)},
    k="a number of failures.",
    n="number of successes, positive; broadcasts.",
    p="probability of success; broadcasts.",
)


@define(-2.942)
def logpmf(k: Any, n: Any, p: Any, loc: Any = 0) -> Array:
    z = k - loc
    outside = (z < 0) | (z != fnp.floor(z))
    failures = fnp.where(outside, 0.0, z)
    # The density at p of the beta distribution has the same powers, and terms that do not cancel.
    value = beta.logpdf(p, n, failures + 1) + fnp.log(p) - fnp.log(n + failures)
    return fnp.where(outside, -fnp.inf, value)


pmf = define.exp(logpmf, 0.053)


@define(0.104)
def cdf(k: Any, n: Any, p: Any, loc: Any = 0) -> Array:
    """The probability of k or less."""
    z = fnp.floor(k - loc)
    return fnp.where(z < 0, 0.0, special.betainc(n, fnp.maximum(z, 0.0) + 1, p))


@define(0.896)
def sf(k: Any, n: Any, p: Any, loc: Any = 0) -> Array:
    """The probability of more than k."""
    z = fnp.floor(k - loc)
    return fnp.where(z < 0, 1.0, special.betainc(fnp.maximum(z, 0.0) + 1, n, 1 - p))


def __dir__() -> list[str]:
    return __all__
