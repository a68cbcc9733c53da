"""The gamma distribution with shape parameter a."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._stirling import saddle_point

__all__ = ["cdf", "logpdf", "pdf", "sf"]


define = Distribution("1.0, 2.0", a="shape parameter, positive; broadcasts.")


@define(-1.0)
def logpdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    outside, large = (z < 0) | (z == fnp.inf), (z > 0) & (a >= 8)
    safe = fnp.where(outside, 1.0, z)
    plain = special.xlogy(a - 1, safe) - safe - special.gammaln(fnp.where(large, 1.0, a))
    # Where terms of the size of a cancel: a / z times the probability of a events.
    b, y = fnp.where(large, a, 8.0), fnp.where(large & ~outside, z, 1.0)
    value = fnp.where(large, saddle_point(b, y) + fnp.log(b) - fnp.log(y), plain) - fnp.log(scale)
    return fnp.where(outside, -fnp.inf, value)


pdf = define.exp(logpdf, 0.368)


@define(0.264)
def cdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.gammainc(a, fnp.maximum((x - loc) / scale, 0.0))


@define(0.736)
def sf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.gammaincc(a, fnp.maximum((x - loc) / scale, 0.0))
