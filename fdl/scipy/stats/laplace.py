"""The Laplace distribution around `loc`."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy._distribution import Distribution

__all__ = ["cdf", "logpdf", "pdf"]


define = Distribution("1.0", loc="the middle; broadcasts.", scale="scale, positive; broadcasts.")


@define(-1.693)
def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return -fnp.abs((x - loc) / scale) - math.log(2) - fnp.log(scale)


pdf = define.exp(logpdf, 0.184)


@define(0.816)
def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    tail = 0.5 * fnp.exp(-fnp.abs(z))
    return fnp.where(z <= 0, tail, 1 - tail)


def __dir__() -> list[str]:
    return __all__
