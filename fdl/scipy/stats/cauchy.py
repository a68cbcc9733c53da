"""The Cauchy distribution around `loc`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.scipy._operands import operands

Array = Any


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density."""
    x, loc, scale = operands(x, loc, scale)
    z = (x - loc) / scale
    return -math.log(math.pi) - fnp.log(scale) - fnp.log1p(z * z)


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density."""
    return fnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function."""
    x, loc, scale = operands(x, loc, scale)
    return 0.5 + fnp.arctan((x - loc) / scale) / math.pi


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q."""
    q, loc, scale = operands(q, loc, scale)
    return fnp.tan(math.pi * (q - 0.5)) * scale + loc
