"""The generalised normal distribution, with density of exp(-abs(x)**beta)."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.scipy import special
from fdl.scipy._distribution import Distribution, positive

__all__ = ["cdf", "logpdf", "pdf", "sf"]


define = Distribution("1.0, 3.0", domains={"beta": positive}, beta="exponent, positive; broadcasts.")


@define(-1.58)
def logpdf(x: Any, beta: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = fnp.abs((x - loc) / scale)
    safe = fnp.where(z == 0, 1.0, z)  # whose power has a derivative
    power = fnp.where(z == 0, 0.0, safe**beta)
    return fnp.log(0.5 * beta) - special.gammaln(1 / beta) - power - fnp.log(scale)


pdf = define.exp(logpdf, 0.206)


@define(0.952)
def cdf(x: Any, beta: Any, loc: Any = 0, scale: Any = 1) -> Array:
    return sf(-x, beta, -loc, scale)


@define(0.048)
def sf(x: Any, beta: Any, loc: Any = 0, scale: Any = 1) -> Array:
    z = (x - loc) / scale
    tail = 0.5 * special.gammaincc(1 / beta, fnp.abs(z) ** beta)
    return fnp.where(z > 0, tail, 1 - tail)


def __dir__() -> list[str]:
    return __all__
