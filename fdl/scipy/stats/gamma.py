"""The gamma distribution with shape parameter a."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "logpdf", "pdf", "sf"]


define = Distribution("1.0, 2.0", a="shape parameter, positive; broadcasts.")


@define(-1.0)
def logpdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    safe = fnp.where(z < 0, 1.0, z)
    value = special.xlogy(a - 1, safe) - safe - special.gammaln(a) - fnp.log(scale)
    return fnp.where(z < 0, -fnp.inf, value)


pdf = define.exp(logpdf, 0.368)


@define(0.264)
def cdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.gammainc(a, fnp.maximum((x - loc) / scale, 0.0))


@define(0.736)
def sf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.gammaincc(a, fnp.maximum((x - loc) / scale, 0.0))
