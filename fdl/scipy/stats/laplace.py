"""The Laplace distribution around `loc`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.scipy._operands import operands

Array = Any


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density."""
    x, loc, scale = operands(x, loc, scale)
    return -fnp.abs((x - loc) / scale) - math.log(2) - fnp.log(scale)


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density."""
    return fnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function."""
    x, loc, scale = operands(x, loc, scale)
    z = (x - loc) / scale
    tail = 0.5 * fnp.exp(-fnp.abs(z))
    return fnp.where(z <= 0, tail, 1 - tail)
