"""The logistic distribution around `loc`."""

from typing import Any

import fdl.numpy as fnp
from fdl.nn.activations import sigmoid, softplus
from fdl.scipy import special
from fdl.scipy._operands import operands

Array = Any


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density."""
    x, loc, scale = operands(x, loc, scale)
    z = (x - loc) / scale
    return -z - 2 * softplus(-z) - fnp.log(scale)


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density."""
    return fnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function."""
    x, loc, scale = operands(x, loc, scale)
    return sigmoid((x - loc) / scale)


def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """One minus the distribution function, without cancellation."""
    x, loc, scale = operands(x, loc, scale)
    return sigmoid(-(x - loc) / scale)


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q."""
    q, loc, scale = operands(q, loc, scale)
    return special.logit(q) * scale + loc
