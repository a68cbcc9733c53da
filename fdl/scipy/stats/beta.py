"""The beta distribution with parameters a and b, moved to [loc, loc + scale]."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution
from fdl.scipy._stirling import LOG_2PI, deviance, stirling_rest

__all__ = ["cdf", "logpdf", "pdf"]


define = Distribution(
    "0.5, 2.0, 2.0", a="first parameter, positive; broadcasts.", b="second parameter, positive; broadcasts."
)


@define(0.405)
def logpdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    outside, large = (z < 0) | (z > 1), (z > 0) & (z < 1) & (a >= 8) & (b >= 8)
    safe = fnp.where(outside, 0.5, z)
    plain = special.xlogy(a - 1, safe) + special.xlog1py(b - 1, -safe) - special.betaln(a, b)
    # Where terms of the size of a and b cancel: the beta function by Stirling's formula.
    c, d, y = fnp.where(large, a, 8.0), fnp.where(large, b, 8.0), fnp.where(large, z, 0.5)
    total = c + d
    rest = stirling_rest(total) - stirling_rest(c) - stirling_rest(d)
    stable = rest - deviance(c, total * y) - deviance(d, total * (1 - y)) - fnp.log(y) - fnp.log1p(-y)
    stable = stable + 0.5 * (fnp.log(c) + fnp.log(d / total) - LOG_2PI)
    return fnp.where(outside, -fnp.inf, fnp.where(large, stable, plain) - fnp.log(scale))


pdf = define.exp(logpdf, 1.5)


@define(0.5)
def cdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.betainc(a, b, fnp.clip((x - loc) / scale, 0.0, 1.0))
