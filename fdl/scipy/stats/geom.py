"""The distribution of the number of trials up to the first success of probability p."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.nn.activations import log1mexp
from fdl.scipy import special
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "logcdf", "logpmf", "logsf", "pmf", "sf"]


define = Distribution(
    "2, 0.25",
    {"p": lambda p: (p > 0) & (p <= 1)},
    k="a number of trials.",
    p="probability of success; broadcasts.",
)


@define(-1.674)
def logpmf(k: Any, p: Any, loc: Any = 0) -> Array:
    z = k - loc
    outside = (z < 1) | (z != fnp.floor(z))
    value = special.xlog1py(fnp.where(outside, 1.0, z) - 1, -p) + fnp.log(p)
    return fnp.where(outside, -fnp.inf, value)


pmf = define.exp(logpmf, 0.188)


@define(-0.575)
def logsf(k: Any, p: Any, loc: Any = 0) -> Array:
    """The logarithm of the probability of more than k."""
    return special.xlog1py(fnp.floor(fnp.maximum(k - loc, 0.0)), -p)


@define(0.562)
def sf(k: Any, p: Any, loc: Any = 0) -> Array:
    """The probability of more than k."""
    return fnp.exp(logsf(k, p, loc))


@define(0.438)
def cdf(k: Any, p: Any, loc: Any = 0) -> Array:
    """The probability of k or less."""
    return -fnp.expm1(logsf(k, p, loc))


@define(-0.827)
def logcdf(k: Any, p: Any, loc: Any = 0) -> Array:
    """The logarithm of the probability of k or less."""
    return log1mexp(-logsf(k, p, loc))


def __dir__() -> list[str]:
    return __all__
