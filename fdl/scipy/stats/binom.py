"""The distribution of the number of successes of probability p among n trials."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution, whole
from fdl.scipy.stats import beta

__all__ = ["cdf", "logpmf", "pmf", "sf"]


define = Distribution(
    "2, 5, 0.25",
    {"n": whole},
    k="a number of successes.",
    n="number of trials; broadcasts.",
    p="probability of success; broadcasts.",
)


@define(-1.333)
def logpmf(k: Any, n: Any, p: Any, loc: Any = 0) -> Array:
    z = k - loc
    outside = (z < 0) | (z > n) | (z != fnp.floor(z))
    successes = fnp.where(outside, 0.0, z)
    # The density at p of the beta distribution has the same powers, and terms that do not cancel.
    value = beta.logpdf(p, successes + 1, n - successes + 1) - fnp.log(n + 1)
    return fnp.where(outside, -fnp.inf, value)


pmf = define.exp(logpmf, 0.264)


@define(0.896)
def cdf(k: Any, n: Any, p: Any, loc: Any = 0) -> Array:
    """The probability of k or less."""
    z = fnp.floor(k - loc)
    inside = fnp.clip(z, 0.0, fnp.maximum(n - 1, 0.0))
    value = special.betainc(fnp.maximum(n - inside, 1.0), inside + 1, 1 - p)
    return fnp.where(z < 0, 0.0, fnp.where(z >= n, 1.0, value))


@define(0.104)
def sf(k: Any, n: Any, p: Any, loc: Any = 0) -> Array:
    """The probability of more than k."""
    z = fnp.floor(k - loc)
    inside = fnp.clip(z, 0.0, fnp.maximum(n - 1, 0.0))
    value = special.betainc(inside + 1, fnp.maximum(n - inside, 1.0), p)
    return fnp.where(z < 0, 1.0, fnp.where(z >= n, 0.0, value))


def __dir__() -> list[str]:
    return __all__
