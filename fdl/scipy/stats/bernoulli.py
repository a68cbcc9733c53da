"""The distribution of one trial that succeeds with probability p."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "logpmf", "pmf", "ppf"]


define = Distribution("1, 0.25", k="a number of successes.", p="probability of success; broadcasts.")


@define(-1.386)
def logpmf(k: Any, p: Any, loc: Any = 0) -> Array:
    z = k - loc
    value = special.xlogy(z, p) + special.xlog1py(1 - z, -p)
    return fnp.where((z == 0) | (z == 1), value, -fnp.inf)


pmf = define.exp(logpmf, 0.25)


@define(1.0)
def cdf(k: Any, p: Any, loc: Any = 0) -> Array:
    """The probability of k or less."""
    z = k - loc
    return fnp.where(z < 0, 0.0, fnp.where(z < 1, 1 - p, 1.0))


@define(0.0)
def ppf(q: Any, p: Any, loc: Any = 0) -> Array:
    """The smallest k whose :func:`cdf` is at least q."""
    return fnp.where(q <= 0, -1 + loc, fnp.where(q <= 1 - p, loc, 1 + loc))


def __dir__() -> list[str]:
    return __all__
