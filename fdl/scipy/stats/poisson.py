"""The Poisson distribution with rate mu."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "logpmf", "pmf"]


define = Distribution("2, 1.5", k="a number of events.", mu="rate, not negative; broadcasts.")


@define(-1.382)
def logpmf(k: Any, mu: Any, loc: Any = 0) -> Array:
    z = k - loc
    value = special.xlogy(z, mu) - special.gammaln(fnp.where(z < 0, 0, z) + 1) - mu
    return fnp.where((z < 0) | (z != fnp.floor(z)), -fnp.inf, value)


pmf = define.exp(logpmf, 0.251)


@define(0.809)
def cdf(k: Any, mu: Any, loc: Any = 0) -> Array:
    """The probability of k or less."""
    z = fnp.floor(k - loc)
    return fnp.where(z < 0, 0.0, special.gammaincc(fnp.maximum(z, 0) + 1, mu))
