"""The Poisson distribution with rate mu."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._stirling import saddle_point

__all__ = ["cdf", "logpmf", "pmf", "sf"]


define = Distribution("2, 1.5", k="a number of events.", mu="rate, not negative; broadcasts.")


@define(-1.382)
def logpmf(k: Any, mu: Any, loc: Any = 0) -> Array:
    z = k - loc
    # Infinity gives NaN, as in SciPy, unless no event happens.
    outside, large = (z < 0) | (z != fnp.floor(z)) | ((z == fnp.inf) & (mu == 0)), z >= 8
    few, many = fnp.where(large | outside, 0.0, z), fnp.where(large & ~outside, z, 8.0)
    value = fnp.where(large, saddle_point(many, mu), special.xlogy(few, mu) - special.gammaln(few + 1) - mu)
    return fnp.where(outside, -fnp.inf, value)


pmf = define.exp(logpmf, 0.251)


@define(0.809)
def cdf(k: Any, mu: Any, loc: Any = 0) -> Array:
    """The probability of k or less."""
    z = fnp.floor(k - loc)
    return fnp.where(z < 0, 0.0, special.gammaincc(fnp.maximum(z, 0) + 1, mu))


@define(0.191)
def sf(k: Any, mu: Any, loc: Any = 0) -> Array:
    """The probability of more than k."""
    z = fnp.floor(k - loc)
    return fnp.where(z < 0, 1.0, special.gammainc(fnp.maximum(z, 0) + 1, mu))


def __dir__() -> list[str]:
    return __all__
