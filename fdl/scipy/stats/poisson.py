"""The Poisson distribution with rate mu."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._stirling import saddle_point

__all__ = ["cdf", "entropy", "logpmf", "pmf", "sf"]


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


# Below this rate the entropy is a sum, which has no terms that count beyond the last one.
_SUMMED, _LAST = 64.0, 176


@define(1.705)
def entropy(mu: Any, loc: Any = 0) -> Array:
    """The expectation of minus the logarithm of the probability, in nats.

    Source, for large rates: Evans, Boersma, Blachman and Jagers 1988, "The entropy of a Poisson distribution".
    """
    few, many = fnp.minimum(mu, _SUMMED), fnp.maximum(mu, _SUMMED)
    k = fnp.arange(_LAST, dtype=mu.dtype).reshape((-1,) + (1,) * mu.ndim)
    log = special.xlogy(k, few) - special.gammaln(k + 1) - few
    summed = -fnp.sum(fnp.where(log == -fnp.inf, 0, log) * fnp.exp(log), axis=0)
    rest: Any = 0
    for coefficient in (-33953 / 5040, -1375 / 1008, -863 / 2520, -9 / 80, -19 / 360, -1 / 24, -1 / 12):
        rest = (rest + coefficient) / many
    return fnp.where(mu < _SUMMED, summed, 0.5 * fnp.log(2 * fnp.pi * fnp.e * many) + rest)


def __dir__() -> list[str]:
    return __all__
