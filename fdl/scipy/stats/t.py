"""Student's distribution with `df` degrees of freedom."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.scipy import special
from fdl.scipy._operands import operands

Array = Any


def logpdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density."""
    x, df, loc, scale = operands(x, df, loc, scale)
    z = (x - loc) / scale
    value = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - 0.5 * fnp.log(df * math.pi) - fnp.log(scale)
    return value - (df + 1) / 2 * fnp.log1p(z * z / df)


def pdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density."""
    return fnp.exp(logpdf(x, df, loc, scale))
