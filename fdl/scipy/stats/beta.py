"""The beta distribution with parameters a and b, moved to [loc, loc + scale]."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "logpdf", "pdf"]


define = Distribution(
    "0.5, 2.0, 2.0", a="first parameter, positive; broadcasts.", b="second parameter, positive; broadcasts."
)


@define(0.405)
def logpdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    outside = (z < 0) | (z > 1)
    safe = fnp.where(outside, 0.5, z)
    value = special.xlogy(a - 1, safe) + special.xlog1py(b - 1, -safe)
    return fnp.where(outside, -fnp.inf, value - special.betaln(a, b) - fnp.log(scale))


pdf = define.exp(logpdf, 1.5)


@define(0.5)
def cdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.betainc(a, b, fnp.clip((x - loc) / scale, 0.0, 1.0))
