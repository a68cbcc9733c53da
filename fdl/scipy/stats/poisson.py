"""The Poisson distribution with rate mu."""

from typing import Any

import fdl.numpy as fnp
from fdl.api.custom import custom_jvp
from fdl.core.types import Array
from fdl.numpy._operands import wide
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._stirling import LOG_2PI, saddle_point

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


@custom_jvp
def _summed(mu: Array) -> Array:
    _, p, log = _terms(mu)
    return 0 - fnp.sum(fnp.where(p == 0, 0, p * log), axis=0)


@_summed.defjvp
def _summed_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (mu,), (dmu,) = primals, tangents
    k, p, _ = _terms(mu)
    # The expectation of log(k + 1) - log(mu): infinite at 0, where derivatives of the terms would be NaN.
    return _summed(mu), fnp.sum(fnp.where(p == 0, 0, p * fnp.log((k + 1) / mu)), axis=0) * dmu


def _terms(mu: Array) -> tuple[Array, Array, Array]:
    """Numbers of events along a new first axis, their probabilities and the logarithms of these."""
    k = fnp.arange(_LAST, dtype=mu.dtype).reshape((-1,) + (1,) * mu.ndim)
    log = logpmf(k, mu)
    return k, fnp.exp(log), log


@define(1.705)
def entropy(mu: Any, loc: Any = 0) -> Array:
    """The expectation of minus the logarithm of the probability, in nats.

    Source, for large rates: Evans, Boersma, Blachman and Jagers 1988, "The entropy of a Poisson distribution".
    """
    rate = wide(mu)
    few, many = fnp.minimum(rate, _SUMMED), fnp.maximum(rate, _SUMMED)
    rest: Any = 0
    for coefficient in (-33953 / 5040, -1375 / 1008, -863 / 2520, -9 / 80, -19 / 360, -1 / 24, -1 / 12):
        rest = (rest + coefficient) / many
    large = 0.5 * (1 + LOG_2PI + fnp.log(many)) + rest
    return fnp.where(rate < _SUMMED, _summed(few), large).astype(mu.dtype)


def __dir__() -> list[str]:
    return __all__
