"""The logistic distribution around `loc`."""

from typing import Any

import fdl.numpy as fnp
from fdl.nn.activations import sigmoid, softplus
from fdl.scipy import special

Array = Any


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The logarithm of the density."""
    z = (fnp.asarray(x) - loc) / scale
    return -z - 2 * softplus(-z) - fnp.log(scale)


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The density."""
    return fnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The distribution function."""
    return sigmoid((fnp.asarray(x) - loc) / scale)


def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """One minus the distribution function, without cancellation."""
    return sigmoid(-(fnp.asarray(x) - loc) / scale)


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    """The quantile at probability q."""
    return special.logit(q) * scale + loc
