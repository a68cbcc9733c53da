"""The uniform distribution on [loc, loc + scale]."""

from typing import Any

import fdl.numpy as fnp
from fdl.scipy._operands import operands

Array = Any


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density."""
    x, loc, scale = operands(x, loc, scale)
    inside = (x >= loc) & (x <= loc + scale)
    return fnp.where(inside, -fnp.log(scale), -fnp.inf)


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density."""
    return fnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function."""
    x, loc, scale = operands(x, loc, scale)
    return fnp.clip((x - loc) / scale, 0.0, 1.0)


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q; NaN outside [0, 1]."""
    q, loc, scale = operands(q, loc, scale)
    return fnp.where((q >= 0) & (q <= 1), q * scale + loc, fnp.nan)
