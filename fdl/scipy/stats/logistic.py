"""The logistic distribution around `loc`."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.nn.activations import sigmoid, softplus
from fdl.scipy import special
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "isf", "logpdf", "pdf", "ppf", "sf"]


define = Distribution("1.0", loc="the middle; broadcasts.", scale="scale, positive; broadcasts.")


@define(-1.627)
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    distance = fnp.abs(z)  # the density is even, and finite terms stay so for infinite x
    return -distance - 2 * softplus(-distance) - fnp.log(scale)


pdf = define.exp(logpdf, 0.197)


@define(0.731)
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return sigmoid((x - loc) / scale)


@define(0.269)
def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return sigmoid(-(x - loc) / scale)


@define(1.099)
def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return special.logit(q) * scale + loc


@define(-1.099)
def isf(q: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -special.logit(q) * scale + loc


def __dir__() -> list[str]:
    return __all__
