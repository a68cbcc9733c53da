"""The distribution of successes among n trials whose probability has a beta distribution."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution, whole

__all__ = ["logpmf", "pmf"]


define = Distribution(
    "2, 5, 2.0, 3.0",
    {"n": whole},
    k="a number of successes.",
    n="number of trials; broadcasts.",
    a="first parameter, positive; broadcasts.",
    b="second parameter, positive; broadcasts.",
)


@define(-1.435)
def logpmf(k: Any, n: Any, a: Any, b: Any, loc: Any = 0) -> Array:
    z = k - loc
    outside = (z < 0) | (z > n) | (z != fnp.floor(z))
    successes = fnp.where(outside, 0.0, z)
    ways = -fnp.log1p(n) - special.betaln(n - successes + 1, successes + 1)
    value = ways + special.betaln(successes + a, n - successes + b) - special.betaln(a, b)
    return fnp.where(outside, -fnp.inf, value)


pmf = define.exp(logpmf, 0.238)


def __dir__() -> list[str]:
    return __all__
