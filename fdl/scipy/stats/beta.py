"""The beta distribution with parameters a and b, moved to [loc, loc + scale]."""

from typing import Any

import fdl.numpy as fnp
from fdl.scipy import special
from fdl.scipy._operands import operands

Array = Any


def logpdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density."""
    x, a, b, loc, scale = operands(x, a, b, loc, scale)
    z = (x - loc) / scale
    outside = (z < 0) | (z > 1)
    safe = fnp.where(outside, 0.5, z)
    value = special.xlogy(a - 1, safe) + special.xlog1py(b - 1, -safe)
    return fnp.where(outside, -fnp.inf, value - special.betaln(a, b) - fnp.log(scale))


def pdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density."""
    return fnp.exp(logpdf(x, a, b, loc, scale))


def cdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function."""
    x, a, b, loc, scale = operands(x, a, b, loc, scale)
    return special.betainc(a, b, fnp.clip((x - loc) / scale, 0.0, 1.0))
